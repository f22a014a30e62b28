//! `KeyService`: the life of keys.

use ::kms::wrapping::UnderNamespace;
use audit::Detail;
use proto::kms::v1 as wire;
use proto::kms::v1::key_service_server::KeyService;
use state::{Command, Reply, State};
use tonic::{Request, Response, Status};
use types::{Action, KeyId, KeyName, NamespaceName, Refusal};

use super::Api;
use super::macros::request_fields;
use crate::core::StateView;
use crate::keyring::WrappedKek;
use crate::request::authn::Caller;
use crate::request::mutation::{self, Mutation};
use crate::request::query::{self, Query};
use crate::request::target::Target;
use crate::wire::cluster::{check_etag, etag};
use crate::wire::{kms, name, page};

#[tonic::async_trait]
impl KeyService for Api {
    async fn create_key(&self, request: Request<wire::CreateKeyRequest>) -> Result<Response<wire::Key>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn list_keys(
        &self,
        request: Request<wire::ListKeysRequest>,
    ) -> Result<Response<wire::ListKeysResponse>, Status> {
        query::serve(&self.node, request).await
    }

    async fn get_key(&self, request: Request<wire::GetKeyRequest>) -> Result<Response<wire::Key>, Status> {
        query::serve(&self.node, request).await
    }

    async fn list_key_versions(
        &self,
        request: Request<wire::ListKeyVersionsRequest>,
    ) -> Result<Response<wire::ListKeyVersionsResponse>, Status> {
        query::serve(&self.node, request).await
    }

    async fn update_key(&self, request: Request<wire::UpdateKeyRequest>) -> Result<Response<wire::Key>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn rotate_key(&self, request: Request<wire::RotateKeyRequest>) -> Result<Response<wire::Key>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn enable_key(&self, request: Request<wire::EnableKeyRequest>) -> Result<Response<wire::Key>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn disable_key(&self, request: Request<wire::DisableKeyRequest>) -> Result<Response<wire::Key>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn destroy_key(&self, request: Request<wire::DestroyKeyRequest>) -> Result<Response<wire::Key>, Status> {
        mutation::serve(&self.node, request).await
    }
}

/// The key of that name.
///
/// # Errors
/// In the words that an outsider would get as well.
pub(super) fn find<'a>(state: &'a State, ns: &NamespaceName, key: &KeyName) -> Result<&'a ::kms::Key, Refusal> {
    state.key(ns, key).ok_or_else(|| Refusal::not_found("key", key))
}

/// Receipts that are told of a key.
const RECEIPTS: usize = 100;

/// A key with the receipts of what was destroyed of it.
fn answer_with_receipts(state: &State, full_name: &str) -> Result<wire::Key, Refusal> {
    let (ns, key) = name::key(full_name)?;
    let receipts = state.receipts_of(&find(state, &ns, &key)?.id, RECEIPTS);
    let receipts = receipts.iter().map(kms::receipt).collect();
    Ok(wire::Key { receipts, ..answer(state, full_name)? })
}

/// A namespace's key as that state has it.
pub(super) fn kek_of<'a>(state: &State, row: &'a state::rows::Namespace) -> WrappedKek<'a> {
    WrappedKek { epoch: state.root_epoch(), bytes: &row.kek_wrapped }
}

fn answer(state: &State, full_name: &str) -> Result<wire::Key, Refusal> {
    let (ns, key) = name::key(full_name)?;
    Ok(kms::key(state, &ns, &key, find(state, &ns, &key)?))
}

fn target(full_name: &str) -> Result<Target, Refusal> {
    name::key(full_name).map(|(ns, key)| Target::Key(ns, key))
}

impl Mutation for wire::CreateKeyRequest {
    const ACTION: Action = Action::CreateKey;
    type Answer = wire::Key;
    request_fields!(dry);

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        let ns = name::namespace(&self.parent)?;
        Ok(Target::Key(ns, KeyName::parse(&self.key_id).map_err(name::refused)?))
    }

    fn command(&self, desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        let namespace = name::namespace(&self.parent)?;
        let id = KeyId(crypto::entropy::array());
        let algorithm = kms::parse_algorithm(self.algorithm)?;
        let row = desk.state.namespace(&namespace).ok_or_else(|| Refusal::not_found("namespace", &namespace))?;
        let place = UnderNamespace { namespace: &namespace, key_id: id, version: 1, algorithm };
        Ok(Command::CreateKey {
            id,
            algorithm,
            rotation_period: kms::rotation_period(self.rotation_period.as_ref())?,
            wrapped: desk.keyring.draw_material(kek_of(desk.state, row), place)?,
            name: KeyName::parse(&self.key_id).map_err(name::refused)?,
            namespace,
        })
    }

    fn answer(&self, desk: &mutation::Desk<'_>, _reply: &Reply) -> Result<wire::Key, Refusal> {
        answer(desk.state, &format!("{}/keys/{}", self.parent, self.key_id))
    }
}

impl Mutation for wire::UpdateKeyRequest {
    const ACTION: Action = Action::UpdateKey;
    type Answer = wire::Key;
    request_fields!(dry);

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        target(&self.name)
    }

    fn command(&self, desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        let (namespace, name) = name::key(&self.name)?;
        check_etag(desk.state, &self.etag, find(desk.state, &namespace, &name)?.revision)?;
        let rotation_period = kms::rotation_period(self.rotation_period.as_ref())?;
        Ok(Command::UpdateKey { namespace, name, rotation_period })
    }

    fn answer(&self, desk: &mutation::Desk<'_>, _reply: &Reply) -> Result<wire::Key, Refusal> {
        answer(desk.state, &self.name)
    }
}

impl Mutation for wire::RotateKeyRequest {
    const ACTION: Action = Action::RotateKey;
    type Answer = wire::Key;
    request_fields!(dry);

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        target(&self.name)
    }

    fn command(&self, desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        let (namespace, name) = name::key(&self.name)?;
        check_etag(desk.state, &self.etag, find(desk.state, &namespace, &name)?.revision)?;
        next_version(desk.state, desk.keyring, &namespace, &name, ::kms::RotationCause::Operator)
    }

    /// The key as this request left it: when others have rotated since, the caller is told of its own version, and given
    /// the etag of that moment, so that it does not change what it has not seen.
    fn answer(&self, desk: &mutation::Desk<'_>, reply: &Reply) -> Result<wire::Key, Refusal> {
        let mut key = answer(desk.state, &self.name)?;
        if let Reply::Version(made) = reply
            && *made != key.primary_version
        {
            let (namespace, name) = name::key(&self.name)?;
            let row = desk.state.key_version(&find(desk.state, &namespace, &name)?.id, *made);
            key.etag = row.map(|row| etag(desk.state, row.revision)).unwrap_or_default();
            key.primary_version = *made;
        }
        Ok(key)
    }
}

/// The command that adds a key's next version: its material drawn and wrapped, bound to what was seen.
///
/// # Errors
/// When the key is not there or has all the versions it may have.
pub(crate) fn next_version(
    state: &State,
    keyring: &crate::keyring::Keyring,
    namespace: &NamespaceName,
    name: &KeyName,
    cause: ::kms::RotationCause,
) -> Result<Command, Refusal> {
    let key = find(state, namespace, name)?;
    let row = state.namespace(namespace).ok_or_else(|| Refusal::not_found("key", name))?;
    let place = UnderNamespace { namespace, key_id: key.id, version: key.next_version()?, algorithm: key.algorithm };
    Ok(Command::AddKeyVersion {
        namespace: namespace.clone(),
        name: name.clone(),
        expect_last: key.last_version,
        cause,
        wrapped: keyring.draw_material(kek_of(state, row), place)?,
    })
}

macro_rules! set_enabled {
    ($request:ty, $action:ident, $enabled:literal) => {
        impl Mutation for $request {
            const ACTION: Action = Action::$action;
            type Answer = wire::Key;
            request_fields!(dry);

            fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
                target(&self.name)
            }

            fn command(&self, desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
                let (namespace, name) = name::key(&self.name)?;
                check_etag(desk.state, &self.etag, find(desk.state, &namespace, &name)?.revision)?;
                let version = (self.version != 0).then_some(self.version);
                Ok(Command::SetKeyEnabled { namespace, name, version, enabled: $enabled })
            }

            fn answer(&self, desk: &mutation::Desk<'_>, _reply: &Reply) -> Result<wire::Key, Refusal> {
                answer(desk.state, &self.name)
            }
        }
    };
}

set_enabled!(wire::EnableKeyRequest, EnableKey, true);
set_enabled!(wire::DisableKeyRequest, DisableKey, false);

impl Mutation for wire::DestroyKeyRequest {
    const ACTION: Action = Action::DestroyKey;
    type Answer = wire::Key;
    request_fields!(dry);

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        target(&self.name)
    }

    fn command(&self, desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        let (namespace, name) = name::key(&self.name)?;
        check_etag(desk.state, &self.etag, find(desk.state, &namespace, &name)?.revision)?;
        let version = (self.version != 0).then_some(self.version);
        Ok(Command::DestroyKey { namespace, name, version, urgent: self.erase_now })
    }

    fn answer(&self, desk: &mutation::Desk<'_>, _reply: &Reply) -> Result<wire::Key, Refusal> {
        answer_with_receipts(desk.state, &self.name)
    }
}

impl Query for wire::GetKeyRequest {
    const ACTION: Action = Action::GetKey;
    type Answer = wire::Key;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        target(&self.name)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::Key, Detail), Refusal> {
        Ok((answer_with_receipts(&desk.state, &self.name)?, Detail::new()))
    }
}

impl Query for wire::ListKeysRequest {
    const ACTION: Action = Action::ListKeys;
    type Answer = wire::ListKeysResponse;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        name::namespace(&self.parent).map(Target::Namespace)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::ListKeysResponse, Detail), Refusal> {
        let ns = name::namespace(&self.parent)?;
        let after = page::after(&self.page_token, |text| KeyName::parse(text).ok())?;
        let found = desk.state.keys(&ns, after.as_ref(), page::size(self.page_size)?);
        let keys: Vec<_> = found.items.into_iter().map(|(name, key)| kms::key(&desk.state, &ns, name, key)).collect();
        let detail = Detail::new().count("items", keys.len() as u64);
        Ok((wire::ListKeysResponse { keys, next_page_token: page::token(found.next) }, detail))
    }
}

impl Query for wire::ListKeyVersionsRequest {
    const ACTION: Action = Action::ListKeyVersions;
    type Answer = wire::ListKeyVersionsResponse;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        target(&self.parent)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::ListKeyVersionsResponse, Detail), Refusal> {
        let (ns, key_name) = name::key(&self.parent)?;
        let key = find(&desk.state, &ns, &key_name)?;
        let below = page::after(&self.page_token, |text| text.parse().ok())?;
        let found = desk.state.key_versions(&key.id, below, page::size(self.page_size)?);
        let versions: Vec<_> =
            found.items.into_iter().map(|(number, row)| kms::version(&ns, &key_name, number, row)).collect();
        let detail = Detail::new().count("items", versions.len() as u64);
        Ok((wire::ListKeyVersionsResponse { versions, next_page_token: page::token(found.next) }, detail))
    }
}

//! `KeyService`: the life of keys.

use std::sync::Arc;

use ::kms::key::At;
use ::kms::wrapping::UnderNamespace;
use ::kms::{Algorithm, WrappedMaterial};
use audit::Detail;
use proto::kms::v1 as wire;
use proto::kms::v1::key_service_server::KeyService;
use state::{Command, Reply, State};
use tonic::{Request, Response, Status};
use types::{Action, KeyId, KeyName, NamespaceName, Reason, Refusal, Revision};

use super::Api;
use super::macros::request_fields;
use crate::core::{Core, StateView};
use crate::keyring::{Keyring, WrappedKek};
use crate::node::Node;
use crate::request::authn::Caller;
use crate::request::mutation::{self, Findings, Mutation, NotCarriedOut};
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

    async fn get_public_key(
        &self,
        request: Request<wire::GetPublicKeyRequest>,
    ) -> Result<Response<wire::PublicKey>, Status> {
        query::serve(&self.node, request).await
    }

    async fn destroy_key(&self, request: Request<wire::DestroyKeyRequest>) -> Result<Response<wire::Key>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn create_alias(&self, request: Request<wire::CreateAliasRequest>) -> Result<Response<wire::Alias>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn update_alias(&self, request: Request<wire::UpdateAliasRequest>) -> Result<Response<wire::Alias>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn delete_alias(
        &self,
        request: Request<wire::DeleteAliasRequest>,
    ) -> Result<Response<wire::DeleteAliasResponse>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn get_alias(&self, request: Request<wire::GetAliasRequest>) -> Result<Response<wire::Alias>, Status> {
        query::serve(&self.node, request).await
    }

    async fn list_aliases(
        &self,
        request: Request<wire::ListAliasesRequest>,
    ) -> Result<Response<wire::ListAliasesResponse>, Status> {
        query::serve(&self.node, request).await
    }
    async fn restore_key(&self, request: Request<wire::RestoreKeyRequest>) -> Result<Response<wire::Key>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn activate_key_version(
        &self,
        request: Request<wire::ActivateKeyVersionRequest>,
    ) -> Result<Response<wire::Key>, Status> {
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

/// Receipts that are told of a key, and versions that are to be destroyed.
const RECEIPTS: usize = 100;

/// A key with the receipts of what was destroyed of it.
pub(super) fn answer_with_receipts(state: &State, ns: &NamespaceName, key: &KeyName) -> Result<wire::Key, Refusal> {
    let row = find(state, ns, key)?;
    let receipts = state.receipts_of(&row.id, RECEIPTS).iter().map(kms::receipt).collect();
    let scheduled = state.ending_versions(&row.id).take(RECEIPTS);
    let scheduled_versions = scheduled.map(|(number, row)| kms::version(state, ns, key, number, row)).collect();
    Ok(wire::Key { receipts, scheduled_versions, ..kms::key(state, ns, key, row) })
}

/// A namespace's key as that state has it.
pub(super) fn kek_of<'a>(state: &State, row: &'a state::rows::Namespace) -> WrappedKek<'a> {
    WrappedKek { epoch: state.root_epoch(), bytes: &row.kek_wrapped }
}

pub(super) fn answer(state: &State, full_name: &str) -> Result<wire::Key, Refusal> {
    let (ns, key) = name::key(full_name)?;
    Ok(kms::key(state, &ns, &key, find(state, &ns, &key)?))
}

pub(super) fn target(full_name: &str) -> Result<Target, Refusal> {
    name::key(full_name).map(|(ns, key)| Target::Key(ns, key))
}

/// The key that is to be changed, as whoever changes it has seen it.
///
/// # Errors
/// When it is not there, or has changed since.
pub(super) fn seen(state: &State, full_name: &str, etag: &str) -> Result<(NamespaceName, KeyName), Refusal> {
    let (namespace, name) = name::key(full_name)?;
    check_etag(state, etag, find(state, &namespace, &name)?.revision)?;
    Ok((namespace, name))
}

impl Mutation for wire::CreateKeyRequest {
    const ACTION: Action = Action::CreateKey;
    type Answer = wire::Key;
    request_fields!(dry);

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        let ns = name::namespace(&self.parent)?;
        Ok(Target::Key(ns, KeyName::parse(&self.key_id).map_err(name::refused)?))
    }

    async fn prepare(&self, _node: &Arc<Node>, core: &Core) -> Result<Findings, NotCarriedOut> {
        match kms::parse_algorithm(self.algorithm) {
            Ok(algorithm) if algorithm.is_slow_to_make() && !self.validate_only => {
                check_new(&core.state(), self, algorithm).map_err(NotCarriedOut::Answered)?;
                drawn(draw_open(core, algorithm).await.map(Some))
            }
            // What is not known, `command` refuses.
            Ok(_) | Err(_) => Ok(Findings::default()),
        }
    }

    fn command(&self, desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        let namespace = name::namespace(&self.parent)?;
        let id = KeyId(crypto::entropy::array());
        let algorithm = kms::parse_algorithm(self.algorithm)?;
        let drawn = desk.findings.drawn.as_deref();
        let row = desk.state.namespace(&namespace).ok_or_else(|| Refusal::not_found("namespace", &namespace))?;
        // There is no key any more to wrap it under.
        desk.state.check_not_closed(&namespace)?;
        let place = UnderNamespace { namespace: &namespace, key_id: id, version: 1, algorithm };
        Ok(Command::CreateKey {
            id,
            algorithm,
            settings: kms::settings(self)?,
            material: match drawn {
                None if self.validate_only && algorithm.is_slow_to_make() => placeholder(),
                drawn => desk.keyring.wrap_material(kek_of(desk.state, row), place, drawn)?,
            },
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
        let (namespace, name) = seen(desk.state, &self.name, &self.etag)?;
        Ok(Command::UpdateKey { namespace, name, change: kms::change(self)? })
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

    async fn prepare(&self, _node: &Arc<Node>, core: &Core) -> Result<Findings, NotCarriedOut> {
        let state = core.state();
        let wanted = name::key(&self.name).ok().filter(|_| !self.validate_only).filter(|(namespace, name)| {
            // What does not hold, `command` refuses.
            find(&state, namespace, name).is_ok_and(|key| check_etag(&state, &self.etag, key.revision).is_ok())
        });
        match wanted {
            Some((namespace, name)) => drawn(draw_for(core, &namespace, &name).await),
            None => Ok(Findings::default()),
        }
    }

    fn command(&self, desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        let (namespace, name) = seen(desk.state, &self.name, &self.etag)?;
        let (drawn, key) = (desk.findings.drawn.as_deref(), (&namespace, &name));
        let cause = ::kms::RotationCause::Operator;
        let command = if self.validate_only && find(desk.state, &namespace, &name)?.algorithm.is_slow_to_make() {
            version_of(desk.state, key, cause, |_, _| Ok(placeholder()))
        } else {
            next_version(desk.state, desk.keyring, key, cause, drawn)
        };
        match command? {
            Command::AddKeyVersion { namespace, name, expect_last, material, .. } if self.pre_active => {
                Ok(Command::AddPreActiveVersion { namespace, name, expect_last, material })
            }
            command => Ok(command),
        }
    }

    /// The key as this request left it: when others have rotated since, the caller is told of its own version, and given
    /// the etag of that moment, so that it does not change what it has not seen.
    fn answer(&self, desk: &mutation::Desk<'_>, reply: &Reply) -> Result<wire::Key, Refusal> {
        let mut key = answer(desk.state, &self.name)?;
        if let Reply::Version(made) = reply
            && *made != key.primary_version
            && !self.pre_active
        {
            let (namespace, name) = name::key(&self.name)?;
            let row = desk.state.key_version(&find(desk.state, &namespace, &name)?.id, *made);
            key.etag = row.map(|row| etag(desk.state, row.revision)).unwrap_or_default();
            key.primary_version = *made;
        }
        Ok(key)
    }
}

/// Refuses what `apply` would refuse after a key was made that takes long to make.
fn check_new(state: &State, request: &wire::CreateKeyRequest, algorithm: Algorithm) -> Result<(), Refusal> {
    let namespace = name::namespace(&request.parent)?;
    let name = KeyName::parse(&request.key_id).map_err(name::refused)?;
    if state.key(&namespace, &name).is_some() {
        return Err(Refusal::new(Reason::AlreadyExists, format!("key `{name}` exists already, choose another name")));
    }
    let row = state.namespace(&namespace).ok_or_else(|| Refusal::not_found("namespace", &namespace))?;
    state.check_not_closed(&namespace)?;
    let at = At { now: state.time(), revision: Revision::NONE };
    let (settings, floors) = (kms::settings(request)?, row.settings.floors());
    ::kms::Key::create(KeyId([0; 16]), algorithm, settings, floors, placeholder(), at).map(drop)
}

/// In the place of a key pair that takes long to make, where what it becomes part of is judged and thrown away: a dry run
/// (AIP-163) is applied to a copy of the state, and a request is looked at before a key is made for it. Never proposed: it is no
/// wrapped secret and opens under no key.
fn placeholder() -> WrappedMaterial {
    WrappedMaterial { wrapped: vec![0], public: vec![0] }
}

/// Makes a key aside, unless the node closes meanwhile.
async fn draw_open(core: &Core, algorithm: Algorithm) -> Result<Arc<::kms::NewMaterial>, Refusal> {
    tokio::select! {
        drawn = core.keyring.draw_aside(algorithm) => drawn,
        () = core.stop.cancelled() => Err(Refusal::new(Reason::Sealed, "the node was sealed meanwhile")),
    }
}

fn drawn(drawn: Result<Option<Arc<::kms::NewMaterial>>, Refusal>) -> Result<Findings, NotCarriedOut> {
    let drawn = drawn.map_err(NotCarriedOut::Answered)?;
    Ok(Findings { drawn, ..Findings::default() })
}

/// Material for a key's next version, if it takes long to make.
///
/// # Errors
/// When it cannot be made.
pub(crate) async fn draw_for(
    core: &Core,
    namespace: &NamespaceName,
    name: &KeyName,
) -> Result<Option<Arc<::kms::NewMaterial>>, Refusal> {
    let algorithm = {
        let state = core.state();
        let key = state.key(namespace, name).filter(|key| key.usable().is_ok() && key.next_version().is_ok());
        key.map(|key| key.algorithm).filter(|algorithm| algorithm.is_slow_to_make())
    };
    match algorithm {
        Some(algorithm) => draw_open(core, algorithm).await.map(Some),
        None => Ok(None),
    }
}

/// The command that adds a key's next version: its material, drawn before or now, wrapped and bound to what was seen.
///
/// # Errors
/// When the key is not there, is not to be used or has all the versions it may have.
pub(crate) fn next_version(
    state: &State,
    keyring: &Keyring,
    (namespace, name): (&NamespaceName, &KeyName),
    cause: ::kms::RotationCause,
    drawn: Option<&::kms::NewMaterial>,
) -> Result<Command, Refusal> {
    version_of(state, (namespace, name), cause, |kek, place| keyring.wrap_material(kek, place, drawn))
}

fn version_of(
    state: &State,
    (namespace, name): (&NamespaceName, &KeyName),
    cause: ::kms::RotationCause,
    material: impl FnOnce(WrappedKek<'_>, UnderNamespace<'_>) -> Result<WrappedMaterial, Refusal>,
) -> Result<Command, Refusal> {
    let key = find(state, namespace, name)?;
    key.usable()?;
    let row = state.namespace(namespace).ok_or_else(|| Refusal::not_found("key", name))?;
    state.check_not_closed(namespace)?;
    let place = UnderNamespace { namespace, key_id: key.id, version: key.next_version()?, algorithm: key.algorithm };
    Ok(Command::AddKeyVersion {
        namespace: namespace.clone(),
        name: name.clone(),
        expect_last: key.last_version,
        cause,
        material: material(kek_of(state, row), place)?,
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
                let (namespace, name) = seen(desk.state, &self.name, &self.etag)?;
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

impl Query for wire::GetKeyRequest {
    const ACTION: Action = Action::GetKey;
    type Answer = wire::Key;

    fn target(&self, state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Target::named_key(state, &self.name)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::Key, Detail), Refusal> {
        let (ns, key) = desk.target.key()?;
        Ok((answer_with_receipts(&desk.state, &ns, &key)?, Detail::new()))
    }
}

impl Query for wire::GetPublicKeyRequest {
    const ACTION: Action = Action::GetPublicKey;
    type Answer = wire::PublicKey;

    fn target(&self, state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Target::named_key(state, &self.name)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::PublicKey, Detail), Refusal> {
        let (ns, key_name) = desk.target.key()?;
        let key = find(&desk.state, &ns, &key_name)?;
        let number = if self.version == 0 { key.primary } else { self.version };
        let row = desk.state.key_version(&key.id, number);
        let row = row.ok_or_else(|| Refusal::not_found("key version", &number))?;
        let name = kms::version_name(&ns, &key_name, number);
        let public = kms::public_key(kms::state_in(&desk.state, &ns, row), name, key.algorithm, number, row)?;
        Ok((public, Detail::new().count("version", u64::from(number))))
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
        let versions: Vec<_> = found
            .items
            .into_iter()
            .map(|(number, row)| kms::version(&desk.state, &ns, &key_name, number, row))
            .collect();
        let detail = Detail::new().count("items", versions.len() as u64);
        Ok((wire::ListKeyVersionsResponse { versions, next_page_token: page::token(found.next) }, detail))
    }
}

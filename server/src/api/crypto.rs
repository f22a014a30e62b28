//! `CryptoService`: the use of keys, on whichever node the caller reached. No log entry, one audit record each.

use std::collections::HashMap;
use std::sync::Arc;

use ::kms::wrapping::UnderNamespace;
use ::kms::{Binding, Ciphertext, EncryptionContext, Key, KeyMaterial, KeyVersion, Kind, VersionState};
use audit::{Detail, Fact};
use proto::kms::v1 as wire;
use proto::kms::v1::crypto_service_server::CryptoService;
use tonic::{Request, Response, Status};
use types::{Action, KeyId, KeyName, NamespaceName, Reason, Refusal, limits};

use super::Api;
use super::keys::{find, kek_of};
use crate::core::StateView;
use crate::request::authn::Caller;
use crate::request::decide::decide;
use crate::request::query::{self, Desk, Query};
use crate::request::target::Target;
use crate::wire::{kms, name};

#[tonic::async_trait]
impl CryptoService for Api {
    async fn encrypt(&self, request: Request<wire::EncryptRequest>) -> Result<Response<wire::EncryptResponse>, Status> {
        query::serve(&self.node, request).await
    }

    async fn decrypt(&self, request: Request<wire::DecryptRequest>) -> Result<Response<wire::DecryptResponse>, Status> {
        query::serve(&self.node, request).await
    }

    async fn generate_data_key(
        &self,
        request: Request<wire::GenerateDataKeyRequest>,
    ) -> Result<Response<wire::GenerateDataKeyResponse>, Status> {
        query::serve(&self.node, request).await
    }

    async fn re_encrypt(
        &self,
        request: Request<wire::ReEncryptRequest>,
    ) -> Result<Response<wire::ReEncryptResponse>, Status> {
        query::serve(&self.node, request).await
    }

    async fn sign(&self, request: Request<wire::SignRequest>) -> Result<Response<wire::SignResponse>, Status> {
        query::serve(&self.node, request).await
    }

    async fn verify(&self, request: Request<wire::VerifyRequest>) -> Result<Response<wire::VerifyResponse>, Status> {
        query::serve(&self.node, request).await
    }

    async fn generate_mac(
        &self,
        request: Request<wire::GenerateMacRequest>,
    ) -> Result<Response<wire::GenerateMacResponse>, Status> {
        query::serve(&self.node, request).await
    }

    async fn verify_mac(
        &self,
        request: Request<wire::VerifyMacRequest>,
    ) -> Result<Response<wire::VerifyMacResponse>, Status> {
        query::serve(&self.node, request).await
    }

    async fn asymmetric_decrypt(
        &self,
        request: Request<wire::AsymmetricDecryptRequest>,
    ) -> Result<Response<wire::AsymmetricDecryptResponse>, Status> {
        query::serve(&self.node, request).await
    }
}

/// What a message is bound to beside its key.
struct Bound {
    namespace: NamespaceName,
    context: EncryptionContext,
    aad: Vec<u8>,
}

impl Bound {
    fn new(namespace: NamespaceName, pairs: HashMap<String, String>, aad: Vec<u8>) -> Result<Self, Refusal> {
        Ok(Self { namespace, context: kms::context(pairs)?, aad })
    }

    fn binding(&self) -> Result<Binding<'_>, Refusal> {
        Binding::new(&self.namespace, &self.context, &self.aad)
    }
}

/// The material of a version that may be used now.
pub(super) fn material(
    desk: &Desk<'_>,
    ns: &NamespaceName,
    key_name: &KeyName,
    number: u32,
) -> Result<Arc<KeyMaterial>, Refusal> {
    let (key, row) = usable(desk, ns, key_name, number)?;
    let namespace = desk.state.namespace(ns).ok_or_else(unverified)?;
    let place = UnderNamespace { namespace: ns, key_id: key.id, version: number, algorithm: key.algorithm };
    desk.core.keyring.material(kek_of(&desk.state, namespace), place, &row.wrapped)
}

/// A version that may be used now, and its key.
pub(super) fn usable<'a>(
    desk: &'a Desk<'_>,
    ns: &NamespaceName,
    key_name: &KeyName,
    number: u32,
) -> Result<(&'a Key, &'a KeyVersion), Refusal> {
    let key = find(&desk.state, ns, key_name)?;
    desk.state.check_open(ns)?;
    let Some(row) = desk.state.key_version(&key.id, number) else {
        // What the key's state says comes first: of a disabled one nobody is told which versions there are.
        key.usable()?;
        return Err(unverified());
    };
    key.version_usable(number, row)?;
    Ok((key, row))
}

fn primary(desk: &Desk<'_>, ns: &NamespaceName, key: &KeyName) -> Result<Arc<KeyMaterial>, Refusal> {
    material(desk, ns, key, find(&desk.state, ns, key)?.primary)
}

fn unverified() -> Refusal {
    Refusal::new(Reason::InvalidCiphertext, "ciphertext or context does not verify")
}

/// The key that a unary ciphertext names, in the namespace that the caller names. A ciphertext of another namespace's key
/// looks like one that does not verify: it must not tell whether that key exists.
fn key_of(state: &StateView, ns: &NamespaceName, ciphertext: &[u8]) -> Result<(KeyName, u32), Refusal> {
    let header = Ciphertext::parse(ciphertext)?.header;
    if header.kind != Kind::Unary {
        return Err(Refusal::new(
            Reason::InvalidArgument,
            "this is a stream or an envelope file: decrypt it with the client, which opens its data key here",
        ));
    }
    let found = find_by_id(state, header.key_id).filter(|(found, _)| found == ns);
    found.map(|(_, key)| (key, header.version)).ok_or_else(unverified)
}

fn find_by_id(state: &StateView, id: KeyId) -> Option<(NamespaceName, KeyName)> {
    state.key_by_id(&id).map(|(ns, key, _)| (ns.clone(), key.clone()))
}

/// A ciphertext of a version that this node does not know, or not as active, was made by one that does: waiting tells it from a
/// forged one.
fn lacks_version(state: &StateView, ciphertext: &[u8]) -> bool {
    Ciphertext::parse(ciphertext)
        .is_ok_and(|parsed| is_behind(state.key_version(&parsed.header.key_id, parsed.header.version)))
}

/// Whether others may have made use of a version that is, here, not to be used yet.
pub(super) fn is_behind(version: Option<&KeyVersion>) -> bool {
    version.is_none_or(|row| row.state == VersionState::PreActive)
}

/// A key or alias that was created a moment ago on another node.
pub(super) fn lacks_key(state: &StateView, full_name: &str) -> bool {
    Target::named_key(state, full_name)
        .is_ok_and(|target| target.key().map_or(true, |(ns, key)| state.key(&ns, &key).is_none()))
}

fn check_plaintext(plaintext: &[u8]) -> Result<(), Refusal> {
    if plaintext.len() <= limits::UNARY_PLAINTEXT_BYTES_MAX {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::LimitExceeded,
        format!(
            "`plaintext` has {} bytes and may have {}: encrypt it under a data key (GenerateDataKey), as \
             `chancery encrypt` does",
            plaintext.len(),
            limits::UNARY_PLAINTEXT_BYTES_MAX
        ),
    ))
}

/// What a record says of a version's use: the version, and a stand-in for the context, equal for equal contexts.
fn used(desk: &Desk<'_>, version: u32, bound: &Bound) -> Result<Detail, Refusal> {
    let detail = Detail::new().count("version", u64::from(version));
    if bound.context.is_empty() {
        return Ok(detail);
    }
    let mut encoded = Vec::new();
    for text in bound.context.iter().flat_map(|(key, value)| [key, value]) {
        // Every text carries its length, so that no two contexts have the same bytes.
        encoded.extend_from_slice(&(text.len() as u64).to_be_bytes());
        encoded.extend_from_slice(text.as_bytes());
    }
    let stand_in = desk.core.keyring.pseudonym(desk.state.root_epoch(), &[&encoded])?;
    Ok(detail.with("context", Fact::Hmac(stand_in)))
}

/// A ciphertext's key, when its caller may do that in the namespace; else the namespace, on which the decision then
/// falls in the same way, so that nobody learns from a refusal which key ids there are or what their keys are called.
/// What names no key of the namespace is the answer's to refuse.
fn ciphertext_target(
    state: &StateView,
    caller: &Caller,
    action: Action,
    parent: &str,
    ciphertext: &[u8],
) -> Result<Target, Refusal> {
    let ns = name::namespace(parent)?;
    let namespace = Target::Namespace(ns.clone());
    if decide(state, &caller.principal, action, &namespace).is_err() {
        return Ok(namespace);
    }
    Ok(key_of(state, &ns, ciphertext).map_or(namespace, |(key, _)| Target::Key(ns, key)))
}

impl Query for wire::EncryptRequest {
    const ACTION: Action = Action::Encrypt;
    type Answer = wire::EncryptResponse;

    fn wants_newer(&self, state: &StateView) -> bool {
        lacks_key(state, &self.name)
    }

    fn target(&self, state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Target::named_key(state, &self.name)
    }

    async fn answer(self, desk: &Desk<'_>) -> Result<(wire::EncryptResponse, Detail), Refusal> {
        let (ns, key) = desk.target.key()?;
        let plaintext = crypto::SecretBytes::from_vec(self.plaintext);
        check_plaintext(plaintext.expose())?;
        let bound = Bound::new(ns.clone(), self.context, self.additional_authenticated_data)?;
        let material = primary(desk, &ns, &key)?;
        let salt = crypto::entropy::array();
        let ciphertext = ::kms::encrypt(&material, &bound.binding()?, salt, plaintext.expose())?;
        Ok((wire::EncryptResponse { ciphertext, version: material.version() }, used(desk, material.version(), &bound)?))
    }
}

impl Query for wire::DecryptRequest {
    const ACTION: Action = Action::Decrypt;
    type Answer = wire::DecryptResponse;

    fn wants_newer(&self, state: &StateView) -> bool {
        lacks_version(state, &self.ciphertext)
    }

    fn target(&self, state: &StateView, caller: &Caller) -> Result<Target, Refusal> {
        ciphertext_target(state, caller, Self::ACTION, &self.parent, &self.ciphertext)
    }

    async fn answer(self, desk: &Desk<'_>) -> Result<(wire::DecryptResponse, Detail), Refusal> {
        let ns = name::namespace(&self.parent)?;
        let (key, version) = key_of(&desk.state, &ns, &self.ciphertext)?;
        let bound = Bound::new(ns.clone(), self.context, self.additional_authenticated_data)?;
        let material = material(desk, &ns, &key, version)?;
        let plaintext = ::kms::decrypt(&material, &bound.binding()?, &Ciphertext::parse(&self.ciphertext)?)?;
        let answer =
            wire::DecryptResponse { plaintext: plaintext.dangerous_into_vec(), key: kms::key_name(&ns, &key), version };
        Ok((answer, used(desk, version, &bound)?))
    }
}

impl Query for wire::GenerateDataKeyRequest {
    const ACTION: Action = Action::GenerateDataKey;
    type Answer = wire::GenerateDataKeyResponse;

    fn wants_newer(&self, state: &StateView) -> bool {
        lacks_key(state, &self.name)
    }

    fn target(&self, state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Target::named_key(state, &self.name)
    }

    async fn answer(self, desk: &Desk<'_>) -> Result<(wire::GenerateDataKeyResponse, Detail), Refusal> {
        let (ns, key) = desk.target.key()?;
        let length = match usize::try_from(self.length_bytes).unwrap_or(usize::MAX) {
            0 => 32,
            length @ 16..=limits::DATA_KEY_BYTES_MAX => length,
            _ => {
                let bound = limits::DATA_KEY_BYTES_MAX;
                let text = format!("`length_bytes` must be between 16 and {bound}, or zero for 32");
                return Err(Refusal::new(Reason::InvalidArgument, text));
            }
        };
        let bound = Bound::new(ns.clone(), self.context, self.additional_authenticated_data)?;
        let material = primary(desk, &ns, &key)?;
        let drawn = crypto::entropy::secret::<{ limits::DATA_KEY_BYTES_MAX }>();
        let data_key = drawn.expose().get(..length).unwrap_or_default();
        let wrapped = ::kms::encrypt(&material, &bound.binding()?, crypto::entropy::array(), data_key)?;
        let plaintext = if self.without_plaintext { Vec::new() } else { data_key.to_vec() };
        let answer = wire::GenerateDataKeyResponse { plaintext, wrapped, version: material.version() };
        Ok((answer, used(desk, material.version(), &bound)?.count("length_bytes", length as u64)))
    }
}

impl Query for wire::ReEncryptRequest {
    const ACTION: Action = Action::ReEncrypt;
    type Answer = wire::ReEncryptResponse;

    /// The wait for a destination is for whoever may use it: in another namespace it would tell what exists.
    fn wants_newer(&self, state: &StateView) -> bool {
        let own = self.destination_name.strip_prefix(&self.parent).is_some_and(|rest| rest.starts_with('/'));
        lacks_version(state, &self.ciphertext) || own && lacks_key(state, &self.destination_name)
    }

    fn target(&self, state: &StateView, caller: &Caller) -> Result<Target, Refusal> {
        ciphertext_target(state, caller, Self::ACTION, &self.parent, &self.ciphertext)
    }

    async fn answer(self, desk: &Desk<'_>) -> Result<(wire::ReEncryptResponse, Detail), Refusal> {
        let ns = name::namespace(&self.parent)?;
        let (source, source_version) = key_of(&desk.state, &ns, &self.ciphertext)?;
        let destination = match self.destination_name.as_str() {
            "" => Target::Key(ns.clone(), source.clone()),
            destination => Target::named_key(&desk.state, destination)?,
        };
        // The right to the source was decided on the way in; the destination is a second resource.
        decide(&desk.state, &desk.caller.principal, Action::Encrypt, &destination)?;
        let (to_ns, to_key) = destination.key()?;
        let from = Bound::new(ns.clone(), self.source_context, self.source_additional_authenticated_data)?;
        let to = Bound::new(to_ns.clone(), self.destination_context, self.destination_additional_authenticated_data)?;
        let old = material(desk, &ns, &source, source_version)?;
        let new = primary(desk, &to_ns, &to_key)?;
        let ciphertext = Ciphertext::parse(&self.ciphertext)?;
        let plaintext = ::kms::decrypt(&old, &from.binding()?, &ciphertext)?;
        let ciphertext = ::kms::encrypt(&new, &to.binding()?, crypto::entropy::array(), plaintext.expose())?;
        let key = kms::key_name(&to_ns, &to_key);
        let mut detail =
            used(desk, new.version(), &to)?.count("source_version", u64::from(source_version)).text("to", &key);
        if let Some(alias) = destination.alias() {
            detail = detail.text("alias", alias.as_str());
        }
        Ok((wire::ReEncryptResponse { ciphertext, source_version, version: new.version(), key }, detail))
    }
}

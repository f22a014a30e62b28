//! `CryptoService`: the use of keys, on whichever node the caller reached. No log entry, one audit record each.

use std::collections::HashMap;
use std::sync::Arc;

use ::kms::wrapping::UnderNamespace;
use ::kms::{Binding, Ciphertext, EncryptionContext, Key, KeyMaterial, KeyVersion, Kind, Purpose, Usage, VersionState};
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
use crate::usage::{Counted, NotSpent, Spent};
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

/// What is done to a key that is counted where the key says so.
#[derive(Clone, Copy)]
pub(super) struct Spending<'a> {
    pub(super) action: Action,
    /// What the caller named.
    pub(super) target: &'a Target,
    pub(super) key: (&'a NamespaceName, &'a KeyName),
    /// None: the primary version.
    pub(super) version: Option<u32>,
    /// Bytes of plaintext or message.
    pub(super) bytes: usize,
}

/// What a key must be for, for that to be done to it.
const fn purpose_of(action: Action) -> Purpose {
    match action {
        Action::Sign => Purpose::SignVerify,
        Action::GenerateMac => Purpose::Mac,
        _ => Purpose::EncryptDecrypt,
    }
}

/// Spends one use of a version, and says which, and by which state it may be used. A node that does not know of the next version yet, for the
/// sake of which the one before is spent, looks again; after a wait, what was decided before it is looked at again.
pub(super) async fn spend<'a>(desk: &Desk<'a>, spending: Spending<'_>) -> Result<(Desk<'a>, u32), Refusal> {
    let spent = match spend_one(desk, spending).await {
        Ok(spent) => check_still(desk, spending, spent),
        Err(NotSpent::InThisState(refusal)) => spend_again(desk, spending, refusal).await,
        Err(NotSpent::Refused(refusal)) => Err(refusal),
    };
    spent.inspect_err(|_| desk.core.usage.count_refused())
}

/// In the newest state that there is.
async fn spend_again<'a>(
    desk: &Desk<'a>,
    spending: Spending<'_>,
    refusal: Refusal,
) -> Result<(Desk<'a>, u32), Refusal> {
    let state = desk.core.fresh_state().await.map_err(|_| refusal)?;
    let now = Desk { state, ..*desk };
    check_allowed(&now, spending.action, spending.target, spending.key)?;
    match spend_one(&now, spending).await {
        Ok(spent) => check_still(&now, spending, spent),
        Err(NotSpent::InThisState(refusal)) => {
            let key = find(&now.state, spending.key.0, spending.key.1)?;
            let number = spending.version.unwrap_or(key.primary);
            now.core.usage.refuse(&now.state, (key, number), Usage::once(spending.bytes), &refusal);
            Err(refusal)
        }
        Err(NotSpent::Refused(refusal)) => Err(refusal),
    }
}

async fn spend_one(desk: &Desk<'_>, spending: Spending<'_>) -> Result<(u32, Spent), NotSpent> {
    let Spending { action, key: (namespace, name), version, bytes, .. } = spending;
    let key = find(&desk.state, namespace, name).map_err(NotSpent::Refused)?;
    let number = version.unwrap_or(key.primary);
    // What it is not for is refused by whoever does it.
    if !key.usage.is_counted() || key.algorithm.purpose() != purpose_of(action) {
        return Ok((number, Spent::AtOnce));
    }
    let (key, row) = usable(desk, namespace, name, number).map_err(NotSpent::Refused)?;
    let counted = Counted { namespace, name, key, version: (number, row) };
    let spent = desk.core.usage.spend(&desk.state, counted, Usage::once(bytes)).await?;
    Ok((number, spent))
}

/// The state that a use is carried out by: after a wait the one of now, if what was decided before still holds in it and the version is still
/// to be used.
fn check_still<'a>(
    desk: &Desk<'a>,
    spending: Spending<'_>,
    (number, spent): (u32, Spent),
) -> Result<(Desk<'a>, u32), Refusal> {
    if spent == Spent::AtOnce {
        return Ok((Desk { state: desk.state.clone(), ..*desk }, number));
    }
    let now = Desk { state: desk.core.state(), ..*desk };
    let Spending { action, target, key: (ns, key), .. } = spending;
    check_allowed(&now, action, target, (ns, key))?;
    usable(&now, ns, key, number)?;
    Ok((now, number))
}

/// Whether what was decided holds in a state that is newer than the one it was decided on.
pub(super) fn check_allowed(
    now: &Desk<'_>,
    action: Action,
    target: &Target,
    (ns, key): (&NamespaceName, &KeyName),
) -> Result<(), Refusal> {
    decide(&now.state, &now.caller.principal, action, target)?;
    match target.alias() {
        Some(alias) if now.state.alias(ns, alias).map(|row| &row.key) != Some(key) => {
            Err(Refusal::new(Reason::Stale, "the alias was moved meanwhile: try again"))
        }
        _ => Ok(()),
    }
}

/// One use of a key's primary version to encrypt that many bytes.
async fn spend_primary<'a>(
    desk: &Desk<'a>,
    (action, target): (Action, &Target),
    key: (&NamespaceName, &KeyName),
    bytes: usize,
) -> Result<(Desk<'a>, Arc<KeyMaterial>), Refusal> {
    let spending = Spending { action, target, key, version: None, bytes };
    let (desk, number) = spend(desk, spending).await?;
    let material = material(&desk, key.0, key.1, number)?;
    Ok((desk, material))
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
        let (named, binding) = ((Self::ACTION, desk.target), bound.binding()?);
        let (desk, material) = spend_primary(desk, named, (&ns, &key), plaintext.expose().len()).await?;
        let salt = crypto::entropy::array();
        let ciphertext = ::kms::encrypt(&material, &binding, salt, plaintext.expose())?;
        Ok((
            wire::EncryptResponse { ciphertext, version: material.version() },
            used(&desk, material.version(), &bound)?,
        ))
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
        let binding = bound.binding()?;
        let (desk, material) = spend_primary(desk, (Self::ACTION, desk.target), (&ns, &key), length).await?;
        let drawn = crypto::entropy::secret::<{ limits::DATA_KEY_BYTES_MAX }>();
        let data_key = drawn.expose().get(..length).unwrap_or_default();
        let wrapped = ::kms::encrypt(&material, &binding, crypto::entropy::array(), data_key)?;
        let plaintext = if self.without_plaintext { Vec::new() } else { data_key.to_vec() };
        let answer = wire::GenerateDataKeyResponse { plaintext, wrapped, version: material.version() };
        Ok((answer, used(&desk, material.version(), &bound)?.count("length_bytes", length as u64)))
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
        let ciphertext = Ciphertext::parse(&self.ciphertext)?;
        let plaintext = ::kms::decrypt(&old, &from.binding()?, &ciphertext)?;
        let (named, binding) = ((Action::Encrypt, &destination), to.binding()?);
        let (now, new) = spend_primary(desk, named, (&to_ns, &to_key), plaintext.expose().len()).await?;
        if now.state.index() != desk.state.index() {
            check_allowed(&now, Self::ACTION, desk.target, (&ns, &source))?;
            usable(&now, &ns, &source, source_version)?;
        }
        let ciphertext = ::kms::encrypt(&new, &binding, crypto::entropy::array(), plaintext.expose())?;
        let key = kms::key_name(&to_ns, &to_key);
        let mut detail =
            used(&now, new.version(), &to)?.count("source_version", u64::from(source_version)).text("to", &key);
        if let Some(alias) = destination.alias() {
            detail = detail.text("alias", alias.as_str());
        }
        Ok((wire::ReEncryptResponse { ciphertext, source_version, version: new.version(), key }, detail))
    }
}

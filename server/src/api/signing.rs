//! The part of `CryptoService` that makes and checks signatures and MACs, and decrypts what was encrypted to a public key.

use ::kms::{KeyMaterial, ToSign};
use audit::{Detail, Fact};
use crypto::SecretBytes;
use proto::kms::v1 as wire;
use types::{Action, KeyId, KeyName, NamespaceName, Reason, Refusal};

use super::crypto::{Spending, check_allowed, is_behind, lacks_key, material, spend, usable};
use super::keys::find;
use crate::core::StateView;
use crate::request::authn::Caller;
use crate::request::query::{Desk, Query};
use crate::request::target::Target;
use crate::usage;
use crate::wire::kms;

/// What is to be signed, as the wire has it.
enum Input {
    Message(SecretBytes),
    Digest(Vec<u8>),
}

impl Input {
    /// An empty message is one, an empty digest is none: `kms` refuses it.
    fn of(message: Vec<u8>, digest: Option<Vec<u8>>) -> Result<Self, Refusal> {
        match digest {
            None => Ok(Self::Message(SecretBytes::from_vec(message))),
            Some(digest) if message.is_empty() => Ok(Self::Digest(digest)),
            Some(_) => Err(Refusal::new(
                Reason::InvalidArgument,
                "both `message` and `digest` are given: one of them is signed",
            )),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Message(message) => message.expose().len(),
            Self::Digest(digest) => digest.len(),
        }
    }

    fn as_signed(&self) -> ToSign<'_> {
        match self {
            Self::Message(message) => ToSign::Message(message.expose()),
            Self::Digest(digest) => ToSign::Digest(digest),
        }
    }

    /// A stand-in for the record: equal for what is equal and signed with the same key, so that whoever may use another key cannot
    /// try what it was.
    fn pseudonym(&self, desk: &Desk<'_>, key: KeyId) -> Result<Fact, Refusal> {
        let (kind, bytes): (&[u8], _) = match self {
            Self::Message(message) => (b"message", message.expose()),
            Self::Digest(digest) => (b"digest", digest),
        };
        pseudonym(desk, key, kind, bytes)
    }
}

fn pseudonym(desk: &Desk<'_>, key: KeyId, kind: &[u8], bytes: &[u8]) -> Result<Fact, Refusal> {
    let stand_in = desk.core.keyring.pseudonym(desk.state.root_epoch(), &[&key.0, kind, b":", bytes])?;
    Ok(Fact::Hmac(stand_in))
}

/// The key of which a version, or the primary one, is asked for that is there.
fn named_key(desk: &Desk<'_>, version: u32) -> Result<(NamespaceName, KeyName), Refusal> {
    let (ns, key) = desk.target.key()?;
    let number = if version == 0 { find(&desk.state, &ns, &key)?.primary } else { version };
    found(desk, ns, key, number).map(|(ns, key, _)| (ns, key))
}

/// One use, of the version that is asked for or else of the primary one, to sign or authenticate that many bytes.
async fn spend_named<'a>(
    desk: &Desk<'a>,
    action: Action,
    (ns, key, version): (&NamespaceName, &KeyName, u32),
    bytes: usize,
) -> Result<(Desk<'a>, u32), Refusal> {
    let version = (version != 0).then_some(version);
    spend(desk, Spending { action, target: desk.target, key: (ns, key), version, bytes }).await
}

/// The version that is asked for: which one made a signature is part of knowing it.
fn version_given(desk: &Desk<'_>, version: u32) -> Result<(NamespaceName, KeyName, u32), Refusal> {
    let (ns, key) = desk.target.key()?;
    if version == 0 {
        let text = "`version` is missing: give the one that was told when it was made";
        return Err(Refusal::new(Reason::InvalidArgument, text));
    }
    found(desk, ns, key, version)
}

fn found(
    desk: &Desk<'_>,
    ns: NamespaceName,
    key: KeyName,
    number: u32,
) -> Result<(NamespaceName, KeyName, u32), Refusal> {
    let id = find(&desk.state, &ns, &key)?.id;
    match desk.state.key_version(&id, number) {
        Some(_) => Ok((ns, key, number)),
        None => Err(Refusal::not_found("key version", &number)),
    }
}

/// A key, alias or version that was made a moment ago on another node.
fn lacks(state: &StateView, full_name: &str, version: u32) -> bool {
    let lacks_version = || {
        let named = Target::named_key(state, full_name).and_then(|target| target.key()).ok();
        let key = named.and_then(|(ns, key)| state.key(&ns, &key));
        key.is_some_and(|key| is_behind(state.key_version(&key.id, version)))
    };
    lacks_key(state, full_name) || version != 0 && lacks_version()
}

/// Uses a version's material. RSA takes milliseconds, for which the tasks of other calls do not wait, and of which only so many are
/// done at once. What was taken back while a call waited for its turn is not handed out.
async fn with_material<T: Send + 'static>(
    desk: &Desk<'_>,
    action: Action,
    (ns, key, version): (&NamespaceName, &KeyName, u32),
    work: impl FnOnce(&KeyMaterial) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let found = find(&desk.state, ns, key)?;
    let (algorithm, limits) = (found.algorithm, found.usage_revision);
    // What takes long to make takes long to use.
    if !algorithm.is_slow_to_make() {
        return work(&*material(desk, ns, key, version)?);
    }
    let done = async {
        let turn = desk.core.keyring.turn().await?;
        let material = material(desk, ns, key, version)?;
        let working = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&material)
        });
        working.await.map_err(|_| Refusal::new(Reason::Internal, "the key could not be used"))?
    };
    let done = tokio::select! {
        done = done => done?,
        () = desk.core.stop.cancelled() => return Err(Refusal::new(Reason::Sealed, "the node was sealed meanwhile")),
    };
    let now = Desk { state: desk.core.state(), ..*desk };
    check_allowed(&now, action, desk.target, (ns, key))?;
    let (row, _) = usable(&now, ns, key, version)?;
    if row.usage_revision != limits {
        // It may have been counted under a ceiling that does not hold any more, or not at all.
        return Err(usage::changed());
    }
    Ok(done)
}

fn of_version(number: u32) -> Detail {
    Detail::new().count("version", u64::from(number))
}

impl Query for wire::SignRequest {
    const ACTION: Action = Action::Sign;
    type Answer = wire::SignResponse;

    fn wants_newer(&self, state: &StateView) -> bool {
        lacks(state, &self.name, self.version)
    }

    fn target(&self, state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Target::named_key(state, &self.name)
    }

    async fn answer(self, desk: &Desk<'_>) -> Result<(wire::SignResponse, Detail), Refusal> {
        let (ns, key) = named_key(desk, self.version)?;
        let input = Input::of(self.message, self.digest)?;
        let row = find(&desk.state, &ns, &key)?;
        let (algorithm, signed) = (row.algorithm, input.pseudonym(desk, row.id)?);
        // What is refused is not counted; what a key is not for, `kms` refuses.
        ::kms::check_to_sign(algorithm, input.as_signed())?;
        let bytes = input.len();
        let sign = move |material: &KeyMaterial| ::kms::sign(material, input.as_signed());
        let (desk, version) = spend_named(desk, Self::ACTION, (&ns, &key, self.version), bytes).await?;
        let signature = with_material(&desk, Self::ACTION, (&ns, &key, version), sign).await?;
        let (key, algorithm) = (kms::key_name(&ns, &key), kms::wire_algorithm(algorithm).into());
        let detail = of_version(version).with("signed", signed);
        Ok((wire::SignResponse { signature, version, algorithm, key }, detail))
    }
}

impl Query for wire::VerifyRequest {
    const ACTION: Action = Action::Verify;
    type Answer = wire::VerifyResponse;

    fn wants_newer(&self, state: &StateView) -> bool {
        lacks(state, &self.name, self.version)
    }

    fn target(&self, state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Target::named_key(state, &self.name)
    }

    async fn answer(self, desk: &Desk<'_>) -> Result<(wire::VerifyResponse, Detail), Refusal> {
        let (ns, key, version) = version_given(desk, self.version)?;
        let input = Input::of(self.message, self.digest)?;
        let (key, row) = usable(desk, &ns, &key, version)?;
        let detail = of_version(version).with("signed", input.pseudonym(desk, key.id)?);
        ::kms::verify(key.algorithm, &row.public, input.as_signed(), &self.signature)?;
        Ok((wire::VerifyResponse { algorithm: kms::wire_algorithm(key.algorithm).into() }, detail))
    }
}

impl Query for wire::GenerateMacRequest {
    const ACTION: Action = Action::GenerateMac;
    type Answer = wire::GenerateMacResponse;

    fn wants_newer(&self, state: &StateView) -> bool {
        lacks(state, &self.name, self.version)
    }

    fn target(&self, state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Target::named_key(state, &self.name)
    }

    async fn answer(self, desk: &Desk<'_>) -> Result<(wire::GenerateMacResponse, Detail), Refusal> {
        let (ns, key) = named_key(desk, self.version)?;
        let message = SecretBytes::from_vec(self.message);
        ::kms::check_message(message.expose())?;
        let bytes = message.expose().len();
        let (desk, version) = spend_named(desk, Self::ACTION, (&ns, &key, self.version), bytes).await?;
        let material = material(&desk, &ns, &key, version)?;
        let mac = ::kms::generate_mac(&material, message.expose())?;
        let signed = pseudonym(&desk, material.key_id(), b"message", message.expose())?;
        let detail = of_version(version).with("signed", signed);
        Ok((wire::GenerateMacResponse { mac, version, key: kms::key_name(&ns, &key) }, detail))
    }
}

impl Query for wire::VerifyMacRequest {
    const ACTION: Action = Action::VerifyMac;
    type Answer = wire::VerifyMacResponse;

    fn wants_newer(&self, state: &StateView) -> bool {
        lacks(state, &self.name, self.version)
    }

    fn target(&self, state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Target::named_key(state, &self.name)
    }

    async fn answer(self, desk: &Desk<'_>) -> Result<(wire::VerifyMacResponse, Detail), Refusal> {
        let (ns, key, version) = version_given(desk, self.version)?;
        let message = SecretBytes::from_vec(self.message);
        let material = material(desk, &ns, &key, version)?;
        ::kms::verify_mac(&material, message.expose(), &self.mac)?;
        let signed = pseudonym(desk, material.key_id(), b"message", message.expose())?;
        let detail = of_version(version).with("signed", signed);
        Ok((wire::VerifyMacResponse {}, detail))
    }
}

impl Query for wire::AsymmetricDecryptRequest {
    const ACTION: Action = Action::AsymmetricDecrypt;
    type Answer = wire::AsymmetricDecryptResponse;

    fn wants_newer(&self, state: &StateView) -> bool {
        lacks(state, &self.name, self.version)
    }

    fn target(&self, state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Target::named_key(state, &self.name)
    }

    async fn answer(self, desk: &Desk<'_>) -> Result<(wire::AsymmetricDecryptResponse, Detail), Refusal> {
        let (ns, key, version) = version_given(desk, self.version)?;
        let ciphertext = self.ciphertext;
        let open = move |material: &KeyMaterial| ::kms::asymmetric_decrypt(material, &ciphertext);
        let plaintext = with_material(desk, Self::ACTION, (&ns, &key, version), open).await?;
        Ok((wire::AsymmetricDecryptResponse { plaintext: plaintext.dangerous_into_vec() }, of_version(version)))
    }
}

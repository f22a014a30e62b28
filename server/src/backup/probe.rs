//! One ciphertext a namespace, made when the backup is, that opens only if root key, namespace key and material in the
//! backup belong together (docs/spec/backup.md §2).

use crypto::aead;
use kms::wrapping::UnderNamespace;
use kms::{Binding, Ciphertext, EncryptionContext};
use serde::{Deserialize, Serialize};
use state::State;
use types::{NamespaceName, Reason, Refusal, limits};

use crate::keyring::{Keyring, WrappedKek};

const INFO: &[u8] = b"chancery backup probe v1";
const SALT_BYTES: usize = 32;

/// A namespace's probe.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Probe {
    pub(super) namespace: NamespaceName,
    kind: Kind,
    bytes: Vec<u8>,
}

/// Under what a probe was made. Stored: new ones go at the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Kind {
    /// A ciphertext v1 under a key of the namespace.
    Key,
    /// Under the namespace's own key, for one that has none that may be used to encrypt.
    Namespace,
}

/// Makes a probe for every namespace.
///
/// # Errors
/// When a stored key does not open: a backup of it would be worth nothing.
pub(super) fn make_all(state: &State, keyring: &Keyring) -> Result<Vec<Probe>, Refusal> {
    let names: Vec<_> = state.namespace_keys().map(|(name, _)| name.clone()).collect();
    names.into_iter().map(|name| make(state, keyring, name)).collect()
}

fn make(state: &State, keyring: &Keyring, namespace: NamespaceName) -> Result<Probe, Refusal> {
    let text = text(state, &namespace);
    let page = state.keys(&namespace, None, limits::PAGE_SIZE_MAX);
    for (_, key) in &page.items {
        let Some(version) = state.key_version(&key.id, key.primary) else { continue };
        if key.usable().and_then(|()| version.usable()).is_err() || key.algorithm.suite().is_err() {
            continue;
        }
        let place =
            UnderNamespace { namespace: &namespace, key_id: key.id, version: key.primary, algorithm: key.algorithm };
        let material = keyring.material(wrapped_key(state, &namespace)?, place, &version.wrapped)?;
        let context = context()?;
        let binding = Binding::new(&namespace, &context, &[])?;
        let bytes = kms::encrypt(&material, &binding, crypto::entropy::array(), text.as_bytes())?;
        return Ok(Probe { namespace, kind: Kind::Key, bytes });
    }
    let salt: [u8; SALT_BYTES] = crypto::entropy::array();
    let key = under_namespace(state, keyring, &namespace, &salt)?;
    let mut sealed = text.into_bytes();
    // The salt is fresh, so the derived key seals this one text and the fixed nonce meets it once.
    let done = key.seal(aead::SINGLE_USE_NONCE, namespace.as_str().as_bytes(), &mut sealed);
    done.map_err(|_| Refusal::new(Reason::Internal, "a probe is too long"))?;
    Ok(Probe { namespace, kind: Kind::Namespace, bytes: [&salt[..], &sealed].concat() })
}

impl Probe {
    /// Decrypts it, and compares what it says.
    ///
    /// # Errors
    /// When it does not open or says something else.
    pub(super) fn check(&self, state: &State, keyring: &Keyring, made_at: u64) -> Result<(), Refusal> {
        let opened = match self.kind {
            Kind::Key => self.open_under_key(state, keyring)?,
            Kind::Namespace => self.open_under_namespace(state, keyring)?,
        };
        if opened == text_of(state, &self.namespace, made_at).as_bytes() {
            return Ok(());
        }
        Err(Refusal::new(Reason::InvalidCiphertext, format!("the probe of `{}` says something else", self.namespace)))
    }

    fn open_under_key(&self, state: &State, keyring: &Keyring) -> Result<Vec<u8>, Refusal> {
        let ciphertext = Ciphertext::parse(&self.bytes)?;
        let header = &ciphertext.header;
        let lost = || {
            let text = format!("the key of the probe of `{}` is not in the backup", self.namespace);
            Refusal::new(Reason::InvalidCiphertext, text)
        };
        let (namespace, _, key) = state.key_by_id(&header.key_id).ok_or_else(lost)?;
        let version = state.key_version(&key.id, header.version).ok_or_else(lost)?;
        if *namespace != self.namespace {
            return Err(lost());
        }
        let place = UnderNamespace { namespace, key_id: key.id, version: header.version, algorithm: key.algorithm };
        let material = keyring.material(wrapped_key(state, namespace)?, place, &version.wrapped)?;
        let context = context()?;
        let binding = Binding::new(namespace, &context, &[])?;
        Ok(kms::decrypt(&material, &binding, &ciphertext)?.expose().to_vec())
    }

    fn open_under_namespace(&self, state: &State, keyring: &Keyring) -> Result<Vec<u8>, Refusal> {
        let unverified =
            || Refusal::new(Reason::InvalidCiphertext, format!("the probe of `{}` does not open", self.namespace));
        let (salt, sealed) = self.bytes.split_first_chunk::<SALT_BYTES>().ok_or_else(unverified)?;
        let key = under_namespace(state, keyring, &self.namespace, salt)?;
        let mut opened = sealed.to_vec();
        let done = key.open(aead::SINGLE_USE_NONCE, self.namespace.as_str().as_bytes(), &mut opened);
        done.map_err(|_| unverified()).map(|()| opened)
    }
}

fn under_namespace(
    state: &State,
    keyring: &Keyring,
    namespace: &NamespaceName,
    salt: &[u8; SALT_BYTES],
) -> Result<aead::Key, Refusal> {
    let kek = keyring.namespace_key(namespace, wrapped_key(state, namespace)?)?;
    Ok(aead::Key::new(crypto::kdf::extract_sha512(salt, kek.expose()).expand(&[INFO]).expose()))
}

/// A namespace's key as state has it.
pub(super) fn wrapped_key<'a>(state: &'a State, namespace: &NamespaceName) -> Result<WrappedKek<'a>, Refusal> {
    let row = state.namespace(namespace).ok_or_else(|| Refusal::not_found("namespace", namespace))?;
    Ok(WrappedKek { epoch: state.root_epoch(), bytes: &row.kek_wrapped })
}

fn context() -> Result<EncryptionContext, Refusal> {
    EncryptionContext::new([("chancery", "backup probe")])
}

fn text(state: &State, namespace: &NamespaceName) -> String {
    text_of(state, namespace, state.index())
}

fn text_of(state: &State, namespace: &NamespaceName, index: u64) -> String {
    let cluster = state.cluster().map(|row| row.id.to_hex()).unwrap_or_default();
    format!("backup probe of {cluster} {namespace} at {index}")
}

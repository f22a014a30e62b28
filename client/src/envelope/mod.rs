//! Encrypting data of any size: small data by the service itself, large data under a data key, in constant memory.
//!
//! The format is docs/spec/ciphertext.md and its code is `kms`; here are only the readers and writers around it. What is
//! at most 64 KiB becomes a unary ciphertext, made and opened by a node, which can be re-encrypted there without showing
//! the plaintext; what is larger becomes an envelope file, and the node sees only the wrapped data key.

mod file;
mod open;
mod seal;
mod service;

use std::future::Future;

use crypto::{Secret, SecretBytes};
use kms::Binding;
use types::{NamespaceName, Reason, Refusal};

pub use kms::EncryptionContext;

pub use file::{open_to_file, seal_to_file};
pub use open::{Opened, open, open_verified_first};
pub use seal::{Sealed, seal};
pub use service::ServiceKeys;

/// Bytes read at once: large enough that the calls between reader, cipher and writer do not show.
const BUFFER_BYTES: usize = 1_024 * 1_024;

/// What a ciphertext is bound to, besides its key.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The namespace of the key.
    pub namespace: NamespaceName,
    /// Pairs that must be given again to decrypt.
    pub context: EncryptionContext,
    /// Bytes that must be given again to decrypt.
    pub aad: Vec<u8>,
}

/// A data key fresh from the service.
#[derive(Debug)]
pub struct DataKey {
    /// The key in clear.
    pub plaintext: Secret<32>,
    /// The same, as the service will open it again.
    pub wrapped: Vec<u8>,
    /// The version that wrapped it.
    pub version: u32,
}

/// What the service decrypted.
#[derive(Debug)]
pub struct Unwrapped {
    /// The plaintext.
    pub plaintext: SecretBytes,
    /// `namespaces/{ns}/keys/{key}`
    pub key: String,
    /// The version that had encrypted it.
    pub version: u32,
}

/// The use of one key as a node offers it; [`ServiceKeys`] asks a cluster.
pub trait KeyUse {
    /// Encrypts at most 64 KiB; ciphertext and version.
    fn encrypt(
        &self,
        plaintext: &[u8],
        bound: &Bound,
    ) -> impl Future<Output = Result<(Vec<u8>, u32), EnvelopeError>> + Send;

    /// Draws a data key.
    fn data_key(&self, bound: &Bound) -> impl Future<Output = Result<DataKey, EnvelopeError>> + Send;

    /// Decrypts what either made.
    fn decrypt(
        &self,
        ciphertext: &[u8],
        bound: &Bound,
    ) -> impl Future<Output = Result<Unwrapped, EnvelopeError>> + Send;
}

/// Why data was not encrypted or decrypted.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// The service did not do its part.
    #[error(transparent)]
    Service(#[from] crate::Error),
    /// The data did not verify, or a bound was passed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Reading or writing failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl EnvelopeError {
    /// The reason, when it is a refusal.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Service(error) => error.reason(),
            Self::Refused(refusal) => Some(refusal.reason),
            Self::Io { .. } => None,
        }
    }

    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

impl Bound {
    fn binding(&self) -> Result<Binding<'_>, Refusal> {
        Binding::new(&self.namespace, &self.context, &self.aad)
    }
}

/// The one answer to everything that does not verify; which check failed is nobody's business.
fn unverified() -> EnvelopeError {
    Refusal::new(Reason::InvalidCiphertext, "ciphertext or context does not verify").into()
}

#[cfg(test)]
mod tests;

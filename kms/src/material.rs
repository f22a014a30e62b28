//! The secret of one key version, in locked memory, together with what it may be used as.

use crypto::LockedBytes;
use types::{KeyId, Refusal};

use crate::header::{Header, Identity, Kind};
use crate::{Algorithm, WrappingFault, refuse};

/// Material that knows which key and version it is, so that a caller cannot use it as another.
#[derive(Debug)]
pub struct KeyMaterial {
    key_id: KeyId,
    version: u32,
    algorithm: Algorithm,
    secret: LockedBytes,
}

impl KeyMaterial {
    /// Takes material into locked memory.
    ///
    /// # Errors
    /// When no more memory can be locked, or the material has another length than its algorithm's.
    pub fn new(key_id: KeyId, version: u32, algorithm: Algorithm, material: &[u8]) -> Result<Self, WrappingFault> {
        if algorithm.secret_bytes().is_some_and(|bytes| bytes != material.len()) {
            return Err(WrappingFault::DoesNotOpen);
        }
        Ok(Self { key_id, version, algorithm, secret: LockedBytes::new(material)? })
    }

    /// The key it belongs to.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The version it is.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// What it may be used for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether that is the public half of this material, or there is none and is to be none.
    #[must_use]
    pub fn has_public_half(&self, public: &[u8]) -> bool {
        match self.algorithm.key_type() {
            Some(kind) => kind.public_of(self.secret.expose()).is_ok_and(|ours| ours == public),
            None => public.is_empty(),
        }
    }

    /// Bytes of locked memory that it takes.
    #[must_use]
    pub fn locked_bytes(&self) -> usize {
        self.secret.footprint()
    }

    /// What a new ciphertext is made of.
    pub(crate) fn for_messages(&self, kind: Kind) -> Result<(Identity, &[u8; 32]), Refusal> {
        let identity = Identity { suite: self.algorithm.suite()?, kind, key_id: self.key_id, version: self.version };
        Ok((identity, self.message_secret()?))
    }

    /// What opens a ciphertext of that kind with that header, if it is this version's.
    pub(crate) fn opens(&self, kind: Kind, header: &Header) -> Result<&[u8; 32], Refusal> {
        match self.for_messages(kind) {
            Ok((identity, secret)) if identity == header.identity() => Ok(secret),
            _ => Err(refuse::unverified()),
        }
    }

    fn message_secret(&self) -> Result<&[u8; 32], Refusal> {
        self.secret.expose().try_into().map_err(|_| self.algorithm.not_for("encrypt"))
    }

    pub(crate) fn expose(&self) -> &[u8] {
        self.secret.expose()
    }
}

//! The secret of one key version, in locked memory, together with what it may be used as.

use crypto::{LockedSecret, locked::LockError};
use types::KeyId;

use crate::Algorithm;

/// Material that knows which key and version it is, so that a caller cannot use it as another.
#[derive(Debug)]
pub struct KeyMaterial {
    key_id: KeyId,
    version: u32,
    algorithm: Algorithm,
    secret: LockedSecret,
}

impl KeyMaterial {
    /// Takes material into locked memory.
    ///
    /// # Errors
    /// When no more memory can be locked.
    pub fn new(key_id: KeyId, version: u32, algorithm: Algorithm, material: &[u8; 32]) -> Result<Self, LockError> {
        Ok(Self { key_id, version, algorithm, secret: LockedSecret::new(material)? })
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

    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.secret.expose()
    }
}

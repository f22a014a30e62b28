//! Material for a new version. Draws random bytes, so it is never reached from `apply`.

use crypto::{LockedBytes, Unverified, entropy, locked::LockError};

use crate::Algorithm;

/// A new version's secret, and the public half of a key pair. In locked memory, for it may have to wait for its entry.
#[derive(Debug)]
pub struct NewMaterial {
    /// The secret bytes, or the private key as PKCS#8.
    pub secret: LockedBytes,
    /// DER SubjectPublicKeyInfo; empty for a secret without a public half.
    pub public: Vec<u8>,
}

/// Why there is no new material. Never the caller's fault.
#[derive(Debug, thiserror::Error)]
pub enum DrawFault {
    /// The primitive failed, as without random bytes.
    #[error("the key could not be made")]
    NotMade,
    /// No more memory can be locked.
    #[error(transparent)]
    NoLockedMemory(#[from] LockError),
}

impl NewMaterial {
    /// Draws material for a version of a key of that algorithm.
    ///
    /// # Errors
    /// When the primitive fails, or no memory can be locked.
    pub fn draw(algorithm: Algorithm) -> Result<Self, DrawFault> {
        match (algorithm.secret_bytes(), algorithm.key_type()) {
            (Some(bytes), _) => {
                Ok(Self { secret: LockedBytes::new(entropy::secret_bytes(bytes).expose())?, public: Vec::new() })
            }
            (None, Some(kind)) => {
                let pair = kind.generate()?;
                Ok(Self { secret: LockedBytes::new(pair.private.expose())?, public: pair.public })
            }
            (None, None) => Err(DrawFault::NotMade),
        }
    }
}

impl From<Unverified> for DrawFault {
    fn from(Unverified: Unverified) -> Self {
        Self::NotMade
    }
}

//! One version of a key: a row of the replicated state.

use serde::{Deserialize, Serialize};
use types::{Reason, Refusal, Revision, Time};

use crate::RotationCause;

/// What a version may do. NIST SP 800-57 part 1 §7 calls these active, suspended and destroyed; its further states
/// (deactivated, compromised) go at the end when they come: the order is stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum VersionState {
    /// Decrypts; encrypts if it is the primary.
    Enabled,
    /// Does neither, until it is enabled again.
    Disabled,
    /// Does neither, ever: its material is gone, the row remains so that its number is never used again.
    Destroyed,
}

/// A version's material on its way into state: its secret wrapped, its public half as it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WrappedMaterial {
    /// Under the namespace's key (`docs/spec/wrapping.md`).
    pub wrapped: Vec<u8>,
    /// DER SubjectPublicKeyInfo; empty for a secret without a public half.
    pub public: Vec<u8>,
}

/// A version's row. The material in it is wrapped (`docs/spec/wrapping.md`), never clear.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyVersion {
    /// What it may do.
    pub state: VersionState,
    /// When it was made, in state time.
    pub created: Time,
    /// Why it was made.
    pub cause: RotationCause,
    /// Its material under the namespace's key; empty once it was destroyed.
    pub wrapped: Vec<u8>,
    /// The public half of a key pair, which stays when the private one is destroyed: what was signed can still be verified
    /// elsewhere. Empty for a secret without one.
    pub public: Vec<u8>,
    /// The log index of the entry that last changed it.
    pub revision: Revision,
}

impl WrappedMaterial {
    /// Of a secret without a public half.
    #[must_use]
    pub const fn secret(wrapped: Vec<u8>) -> Self {
        Self { wrapped, public: Vec::new() }
    }
}

impl KeyVersion {
    pub(crate) fn new(cause: RotationCause, material: WrappedMaterial, now: Time, revision: Revision) -> Self {
        let WrappedMaterial { wrapped, public } = material;
        Self { state: VersionState::Enabled, created: now, cause, wrapped, public, revision }
    }

    /// Lets it be used or not; says whether that changed anything. The revision moves only with a change.
    ///
    /// # Errors
    /// `KeyDestroyed` when there is nothing left to be used.
    pub fn set_enabled(&mut self, enabled: bool, revision: Revision) -> Result<bool, Refusal> {
        let state = if enabled { VersionState::Enabled } else { VersionState::Disabled };
        if self.state == VersionState::Destroyed {
            return Err(destroyed());
        }
        if self.state == state {
            return Ok(false);
        }
        (self.state, self.revision) = (state, revision);
        Ok(true)
    }

    /// Lets go of the material for good. Whether the version is disabled, its key knows
    /// ([`Key::check_destruction`](crate::Key::check_destruction)).
    pub fn destroy(&mut self, revision: Revision) {
        self.state = VersionState::Destroyed;
        self.wrapped = Vec::new();
        self.revision = revision;
    }

    /// Whether the version may be used now.
    ///
    /// # Errors
    /// `KeyDisabled` when it is disabled, `KeyDestroyed` when it was destroyed.
    pub fn usable(&self) -> Result<(), Refusal> {
        match self.state {
            VersionState::Enabled => Ok(()),
            VersionState::Disabled => {
                Err(Refusal::new(Reason::KeyDisabled, "this version of the key is disabled, enable it to use it"))
            }
            VersionState::Destroyed => Err(destroyed()),
        }
    }
}

impl VersionState {
    /// Its name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "ENABLED",
            Self::Disabled => "DISABLED",
            Self::Destroyed => "DESTROYED",
        }
    }
}

fn destroyed() -> Refusal {
    let message = "this version of the key was destroyed: nobody can use it any more";
    Refusal::new(Reason::KeyDestroyed, message)
}

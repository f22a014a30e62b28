//! One version of a key: a row of the replicated state.

use serde::{Deserialize, Serialize};
use types::{Reason, Refusal, Revision, Time};

use crate::RotationCause;

/// What a version may do. NIST SP 800-57 part 1 §7 calls these active and suspended; its further states (deactivated,
/// compromised, destroyed) go at the end when they come: the order is stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum VersionState {
    /// Decrypts; encrypts if it is the primary.
    Enabled,
    /// Does neither, until it is enabled again.
    Disabled,
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
    /// Its material under the namespace's key.
    pub wrapped: Vec<u8>,
    /// The log index of the entry that last changed it.
    pub revision: Revision,
}

impl KeyVersion {
    pub(crate) fn new(cause: RotationCause, wrapped: Vec<u8>, now: Time, revision: Revision) -> Self {
        Self { state: VersionState::Enabled, created: now, cause, wrapped, revision }
    }

    /// Moves to a state; says whether that changed anything. The revision moves only with a change.
    pub fn set_state(&mut self, state: VersionState, revision: Revision) -> bool {
        if self.state == state {
            return false;
        }
        (self.state, self.revision) = (state, revision);
        true
    }

    /// Whether the version may be used now.
    ///
    /// # Errors
    /// `KeyDisabled` when it is disabled.
    pub fn usable(&self) -> Result<(), Refusal> {
        match self.state {
            VersionState::Enabled => Ok(()),
            VersionState::Disabled => {
                Err(Refusal::new(Reason::KeyDisabled, "this version of the key is disabled, enable it to use it"))
            }
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
        }
    }
}

//! One version of a key: a row of the replicated state.

use serde::{Deserialize, Serialize};
use types::{Reason, Refusal, Revision, Time};

use crate::{RotationCause, ScheduledDestruction};

/// What a version may do. NIST SP 800-57 part 1 §7 calls these active, suspended, destroyed and pre-active; one that is about to be
/// destroyed is suspended there. New states go at the end: the order is stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum VersionState {
    /// Decrypts; encrypts if it is the primary.
    Enabled,
    /// Does neither, until it is enabled again.
    Disabled,
    /// Does neither, ever: its material is gone, the row remains so that its number is never used again.
    Destroyed,
    /// Does neither yet: it was made to be known before it is used.
    PreActive,
    /// Does neither, and is destroyed when the waiting period is over.
    DestroyScheduled(ScheduledDestruction),
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
    /// When it was first the primary version, in state time; none: not yet.
    pub activated: Option<Time>,
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
        let (state, activated) = (VersionState::Enabled, Some(now));
        Self { state, created: now, activated, cause, wrapped, public, revision }
    }

    pub(crate) fn pre_active(material: WrappedMaterial, now: Time, revision: Revision) -> Self {
        let (state, activated) = (VersionState::PreActive, None);
        Self { state, activated, ..Self::new(RotationCause::Operator, material, now, revision) }
    }

    /// What a rotation period counts from.
    pub(crate) fn in_use_since(&self) -> Time {
        self.activated.unwrap_or(self.created)
    }

    /// Lets it be used or not; says whether that changed anything. The revision moves only with a change.
    ///
    /// # Errors
    /// `KeyDestroyed` when there is nothing left to be used; `PreconditionFailed` when something else has to come first.
    pub fn set_enabled(&mut self, enabled: bool, revision: Revision) -> Result<bool, Refusal> {
        let state = match (self.state, enabled) {
            (VersionState::Destroyed, _) => return Err(destroyed()),
            (VersionState::PreActive, true) => {
                let message = "this version was never in use: activate it, which makes it the primary one";
                return Err(Refusal::new(Reason::PreconditionFailed, message));
            }
            (VersionState::DestroyScheduled(scheduled), true) => {
                let message = scheduled.refusal("this version of the key").message;
                return Err(Refusal::new(Reason::PreconditionFailed, message));
            }
            (VersionState::DestroyScheduled(_), false) => return Ok(false),
            // Suspended before it was ever active: what it was made for is still to come.
            (_, true) if self.activated.is_none() => VersionState::PreActive,
            (_, true) => VersionState::Enabled,
            (_, false) => VersionState::Disabled,
        };
        if self.state == state {
            return Ok(false);
        }
        (self.state, self.revision) = (state, revision);
        Ok(true)
    }

    /// Whether the version may be used now.
    ///
    /// # Errors
    /// `KeyDisabled` when it is disabled, not active yet or about to be destroyed, `KeyDestroyed` when it was destroyed.
    pub fn usable(&self) -> Result<(), Refusal> {
        match self.state {
            VersionState::Enabled => Ok(()),
            VersionState::Disabled => {
                Err(Refusal::new(Reason::KeyDisabled, "this version of the key is disabled, enable it to use it"))
            }
            VersionState::Destroyed => Err(destroyed()),
            VersionState::PreActive => Err(Refusal::new(
                Reason::KeyDisabled,
                "this version of the key is not active yet, activate it to use it",
            )),
            VersionState::DestroyScheduled(scheduled) => Err(scheduled.refusal("this version of the key")),
        }
    }

    /// When it is destroyed unless it is restored before.
    #[must_use]
    pub fn scheduled(&self) -> Option<ScheduledDestruction> {
        match self.state {
            VersionState::DestroyScheduled(scheduled) => Some(scheduled),
            _ => None,
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
            Self::PreActive => "PRE_ACTIVE",
            Self::DestroyScheduled(_) => "DESTROY_SCHEDULED",
        }
    }
}

fn destroyed() -> Refusal {
    let message = "this version of the key was destroyed: nobody can use it any more";
    Refusal::new(Reason::KeyDestroyed, message)
}

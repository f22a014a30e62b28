//! A key: the row that names its versions, and the rules by which it changes. `apply` calls these, so they are functions
//! of their arguments and leave the row untouched when they refuse.

use serde::{Deserialize, Serialize};
use types::{KeyId, Millis, Reason, Refusal, Revision, Time, limits::KEY_VERSION_STEP, limits::KEY_VERSIONS_MAX};

use crate::{
    Algorithm, KeyChange, KeySettings, KeyVersion, Labels, Rotation, RotationCause, VersionState, WrappedMaterial,
};

/// A key's row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Key {
    /// What ciphertexts name it by.
    pub id: KeyId,
    /// What it is for; fixed.
    pub algorithm: Algorithm,
    /// When it was made, in state time.
    pub created: Time,
    /// Its schedule, if it has one.
    pub rotation: Option<Rotation>,
    /// The version that encrypts.
    pub primary: u32,
    /// Whether any version may be used.
    pub enabled: bool,
    /// The highest version there ever was: numbers only go up and none is used twice (invariant 4).
    pub last_version: u32,
    /// How many versions there were: numbers skip some after a restore.
    pub versions: u32,
    /// When it was destroyed with all of its versions. Its name stays taken.
    pub destroyed: Option<Time>,
    /// For people and filters.
    pub labels: Labels,
    /// Nothing of it is destroyed until this is taken back.
    pub deletion_protection: bool,
    /// The log index of the entry that last changed it.
    pub revision: Revision,
}

/// What every change of a row happens at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct At {
    /// State time.
    pub now: Time,
    /// The log index of the entry.
    pub revision: Revision,
}

impl Key {
    /// A new key, its first version and that version's number, 1. The material was wrapped for version 1.
    ///
    /// # Errors
    /// `InvalidArgument` for a period below the namespace's floor or above ten years; as [`Labels::check`].
    pub fn create(
        id: KeyId,
        algorithm: Algorithm,
        settings: KeySettings,
        floor: Millis,
        material: WrappedMaterial,
        at: At,
    ) -> Result<(Self, KeyVersion), Refusal> {
        let (At { now, revision }, KeySettings { rotation_period, labels, deletion_protection }) = (at, settings);
        labels.check()?;
        let rotation = rotation_period.map(|period| Rotation::starting(period, floor, now)).transpose()?;
        let key = Self {
            id,
            algorithm,
            created: now,
            rotation,
            primary: 1,
            enabled: true,
            last_version: 1,
            versions: 1,
            destroyed: None,
            labels,
            deletion_protection,
            revision,
        };
        Ok((key, KeyVersion::new(RotationCause::Created, material, now, revision)))
    }

    /// The number that the next version will have: what its material has to be wrapped for.
    ///
    /// # Errors
    /// `LimitExceeded` when the key has all the versions it may have.
    pub fn next_version(&self) -> Result<u32, Refusal> {
        let next = self.last_version.checked_add(1).filter(|_| self.versions < KEY_VERSIONS_MAX);
        next.ok_or_else(|| {
            let message = format!("a key has at most {KEY_VERSIONS_MAX} versions, create a new key");
            Refusal::new(Reason::LimitExceeded, message)
        })
    }

    /// Rotates: adds a version, makes it primary and returns it with its number.
    ///
    /// `expect_last` is the last version that the proposer saw; comparing it makes a repeated proposal harmless.
    ///
    /// # Errors
    /// `KeyDisabled` for a disabled key, `KeyDestroyed` for a destroyed one; `NotDue` for a schedule that is not due or has been served already;
    /// `PreconditionFailed` when an operator's expectation does not hold; `LimitExceeded` past the last version.
    pub fn add_version(
        &mut self,
        expect_last: u32,
        cause: RotationCause,
        material: WrappedMaterial,
        at: At,
    ) -> Result<(u32, KeyVersion), Refusal> {
        let At { now, revision } = at;
        self.usable()?;
        if cause == RotationCause::Schedule && (self.last_version != expect_last || !self.is_due(now)) {
            return Err(Refusal::new(Reason::NotDue, "the rotation is not due"));
        }
        if self.last_version != expect_last {
            let message = format!("the last version is {}, not {expect_last}, read the key again", self.last_version);
            return Err(Refusal::new(Reason::PreconditionFailed, message));
        }
        let version = self.next_version()?;
        self.primary = version;
        self.last_version = version;
        self.versions = self.versions.saturating_add(1);
        self.rotation = self.rotation.map(|rotation| rotation.rotated(now));
        self.revision = revision;
        Ok((version, KeyVersion::new(cause, material, now, revision)))
    }

    /// Changes what an admin may change. `primary` is the row of the primary version, whose age a period counts from.
    ///
    /// # Errors
    /// `InvalidArgument` for a period below the namespace's floor or above ten years; as [`Labels::check`]; `KeyDestroyed`.
    pub fn change(
        &mut self,
        change: KeyChange,
        floor: Millis,
        primary: &KeyVersion,
        revision: Revision,
    ) -> Result<(), Refusal> {
        if self.destroyed.is_some() {
            return Err(destroyed());
        }
        let KeyChange { rotation_period, labels, deletion_protection } = change;
        if let Some(labels) = &labels {
            labels.check()?;
        }
        if let Some(period) = rotation_period {
            self.rotation = period.map(|period| Rotation::starting(period, floor, primary.created)).transpose()?;
        }
        self.labels = labels.unwrap_or_else(|| std::mem::take(&mut self.labels));
        self.deletion_protection = deletion_protection.unwrap_or(self.deletion_protection);
        self.revision = revision;
        Ok(())
    }

    /// Lets the key be used or not; says whether that changed anything. The revision moves only with a change.
    ///
    /// # Errors
    /// `KeyDestroyed` when there is nothing left to be used.
    pub fn set_enabled(&mut self, enabled: bool, revision: Revision) -> Result<bool, Refusal> {
        if self.destroyed.is_some() {
            return Err(destroyed());
        }
        if self.enabled == enabled {
            return Ok(false);
        }
        (self.enabled, self.revision) = (enabled, revision);
        Ok(true)
    }

    /// Whether a version of this key may be destroyed: only what nobody uses is, so that a slip of the hand can be undone.
    ///
    /// # Errors
    /// `PreconditionFailed` when it is enabled or the key is protected, `KeyDestroyed` when it is gone already.
    pub fn check_destruction(&self, number: u32, version: &KeyVersion) -> Result<(), Refusal> {
        match version.state {
            VersionState::Destroyed => version.usable(),
            VersionState::Enabled | VersionState::Disabled if self.deletion_protection => {
                let message =
                    "the key is protected from deletion: take the protection back first, and ask whoever set it";
                Err(Refusal::new(Reason::PreconditionFailed, message))
            }
            VersionState::Enabled if self.enabled => {
                let message =
                    format!("version {number} is enabled, disable it first and see whether anybody misses it");
                Err(Refusal::new(Reason::PreconditionFailed, message))
            }
            VersionState::Enabled | VersionState::Disabled => Ok(()),
        }
    }

    /// Ends the key as a whole; its versions are destroyed beside it.
    pub fn destroy(&mut self, at: At) {
        (self.enabled, self.rotation, self.destroyed, self.revision) = (false, None, Some(at.now), at.revision);
    }

    /// Goes on after a restore: the versions that the lost life may have made after the backup are never made again, with
    /// other material under the same number. The next one is the multiple of [`KEY_VERSION_STEP`] that lies at least half a
    /// step ahead, and another step for each further life of the cluster since the backup: those began from here too.
    pub fn skip_lost_versions(&mut self, lives: u32, revision: Revision) {
        let ahead = self.last_version.saturating_add(KEY_VERSION_STEP / 2);
        let first = ahead.checked_next_multiple_of(KEY_VERSION_STEP);
        let further = KEY_VERSION_STEP.checked_mul(lives.saturating_sub(1));
        let next = first.zip(further).and_then(|(first, further)| first.checked_add(further));
        // Without a number left the key makes no more versions.
        self.last_version = next.map_or(u32::MAX, |next| next.saturating_sub(1)).max(self.last_version);
        self.revision = revision;
    }

    /// Whether the key may be used now; its version is asked too.
    ///
    /// # Errors
    /// `KeyDisabled` when it is disabled, `KeyDestroyed` when it was destroyed.
    pub fn usable(&self) -> Result<(), Refusal> {
        match self.destroyed {
            Some(_) => Err(destroyed()),
            None if self.enabled => Ok(()),
            None => Err(disabled()),
        }
    }

    /// When its schedule is next due: never without one, and not while the key is disabled.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        self.rotation.filter(|_| self.enabled).map(|rotation| rotation.next_due)
    }

    /// Whether its schedule is due.
    #[must_use]
    pub fn is_due(&self, now: Time) -> bool {
        self.enabled && self.rotation.is_some_and(|rotation| rotation.is_due(now))
    }
}

fn disabled() -> Refusal {
    Refusal::new(Reason::KeyDisabled, "the key is disabled, enable it to use it")
}

fn destroyed() -> Refusal {
    Refusal::new(Reason::KeyDestroyed, "the key was destroyed: nobody can use it any more")
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;

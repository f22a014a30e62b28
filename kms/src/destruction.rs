//! How a key ends (`docs/spec/destroy.md` §1): asked for, waited for, taken back or carried out. What waits is used by nobody.

use serde::{Deserialize, Serialize};
use types::limits::{WAITING_PERIOD_DEFAULT, WAITING_PERIOD_MAX};
use types::{Millis, Reason, Refusal, Time};

use crate::key::At;
use crate::{Key, KeyVersion, VersionState, refuse};

/// A destruction that was asked for and can still be taken back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ScheduledDestruction {
    /// The state time from which it is carried out.
    pub due: Time,
    /// Nodes then erase it at once, not within a day.
    pub urgent: bool,
}

impl ScheduledDestruction {
    /// Whether its waiting period is over.
    #[must_use]
    pub fn is_due(self, now: Time) -> bool {
        now >= self.due
    }

    pub(crate) fn refusal(self, what: &str) -> Refusal {
        let message = format!("{what} is to be destroyed at {}: restore it first, to use it again", self.due);
        Refusal::new(Reason::KeyDisabled, message)
    }
}

/// The waiting period that is asked for, or 30 days, or the namespace's floor where that is longer.
///
/// # Errors
/// `InvalidArgument` outside of `floor` to a year.
pub fn waiting_period(asked: Option<Millis>, floor: Millis) -> Result<Millis, Refusal> {
    let period = asked.unwrap_or(WAITING_PERIOD_DEFAULT.max(floor));
    if period < floor || period > WAITING_PERIOD_MAX {
        let message = format!("a waiting period of {period} is outside {floor} to {WAITING_PERIOD_MAX}");
        return Err(refuse::invalid(message));
    }
    Ok(period)
}

impl Key {
    /// When a destruction that is asked for now is carried out: the key's own period, or the namespace's floor where that was raised since.
    #[must_use]
    pub fn schedules(&self, floor: Millis, urgent: bool, now: Time) -> ScheduledDestruction {
        ScheduledDestruction { due: now.after(self.waiting_period.max(floor)), urgent }
    }

    /// Whether a version of this key may be destroyed: only what nobody uses is, so that a slip of the hand can be undone.
    ///
    /// # Errors
    /// `PreconditionFailed` when it is enabled or the key is protected, `KeyDestroyed` when it is gone already.
    pub fn check_destruction(&self, number: u32, version: &KeyVersion) -> Result<(), Refusal> {
        match version.state {
            VersionState::Destroyed => version.usable(),
            _ if self.deletion_protection => Err(protected()),
            VersionState::Enabled if self.enabled => {
                let message =
                    format!("version {number} is enabled, disable it first and see whether anybody misses it");
                Err(Refusal::new(Reason::PreconditionFailed, message))
            }
            VersionState::Enabled
            | VersionState::Disabled
            | VersionState::PreActive
            | VersionState::DestroyScheduled(_) => Ok(()),
        }
    }

    /// Has the key as a whole destroyed later; until then nobody uses it.
    pub fn schedule_destruction(&mut self, scheduled: ScheduledDestruction, at: At) {
        (self.enabled, self.scheduled, self.revision) = (false, Some(scheduled), at.revision);
    }

    /// Has it wait for a whole period again, after a restore: it may have been taken back since the backup.
    pub fn put_off(&mut self, floor: Millis, now: Time) {
        let again = self.schedules(floor, false, now).due;
        self.scheduled = self.scheduled.map(|waits| ScheduledDestruction { due: waits.due.max(again), ..waits });
    }

    /// Takes that back. The key stays disabled until it is enabled.
    ///
    /// # Errors
    /// `PreconditionFailed` when nothing was scheduled, `KeyDestroyed` when it is too late.
    pub fn restore(&mut self, at: At) -> Result<(), Refusal> {
        self.check_exists()?;
        if self.scheduled.take().is_none() {
            return Err(not_scheduled("the key as a whole"));
        }
        self.revision = at.revision;
        Ok(())
    }

    /// Ends the key as a whole; its versions are destroyed beside it.
    pub fn destroy(&mut self, at: At) {
        (self.enabled, self.rotation, self.scheduled) = (false, None, None);
        (self.destroyed, self.revision) = (Some(at.now), at.revision);
    }
}

impl KeyVersion {
    /// Has the version destroyed later. Whether it may be, its key knows ([`Key::check_destruction`]).
    pub fn schedule_destruction(&mut self, scheduled: ScheduledDestruction, at: At) {
        (self.state, self.revision) = (VersionState::DestroyScheduled(scheduled), at.revision);
    }

    /// As [`Key::put_off`].
    pub fn put_off(&mut self, key: &Key, floor: Millis, now: Time) {
        let again = key.schedules(floor, false, now).due;
        if let VersionState::DestroyScheduled(waits) = &mut self.state {
            waits.due = waits.due.max(again);
        }
    }

    /// Takes that back. The version stays disabled until it is enabled.
    ///
    /// # Errors
    /// `PreconditionFailed` when nothing was scheduled, `KeyDestroyed` when it is too late.
    pub fn restore(&mut self, number: u32, at: At) -> Result<(), Refusal> {
        match self.state {
            VersionState::DestroyScheduled(_) => {
                (self.state, self.revision) = (VersionState::Disabled, at.revision);
                Ok(())
            }
            VersionState::Destroyed => self.usable(),
            VersionState::Enabled | VersionState::Disabled | VersionState::PreActive => {
                Err(not_scheduled(&format!("version {number}")))
            }
        }
    }

    /// Lets go of the material for good.
    pub fn destroy(&mut self, at: At) {
        (self.state, self.revision) = (VersionState::Destroyed, at.revision);
        self.wrapped = Vec::new();
    }
}

/// What is said of a key that is protected from deletion.
#[must_use]
pub fn protected() -> Refusal {
    let message = "the key is protected from deletion: take the protection back first, and ask whoever set it";
    Refusal::new(Reason::PreconditionFailed, message)
}

fn not_scheduled(what: &str) -> Refusal {
    Refusal::new(
        Reason::PreconditionFailed,
        format!("{what} is not about to be destroyed: there is nothing to restore"),
    )
}

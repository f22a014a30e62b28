//! A key: the row that names its versions, and the rules by which it changes. `apply` calls these, so they are functions
//! of their arguments and leave the row untouched when they refuse.

use serde::{Deserialize, Serialize};
use types::limits::{KEY_VERSION_STEP, KEY_VERSIONS_MAX};
use types::{KeyId, Millis, Reason, Refusal, Revision, Time};

use crate::rotation::InUse;
use crate::{
    Algorithm, Floors, KeyChange, KeySettings, KeyVersion, Labels, Rotation, RotationCause, ScheduledDestruction,
    Usage, UsageLevel, UsagePolicy, VersionState, VersionUsage, WrappedMaterial, destruction, refuse,
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
    /// The lowest version that may be used: whatever a lower one encrypted or signed is not taken any more.
    pub min_version: u32,
    /// When it was destroyed with all of its versions. Its name stays taken.
    pub destroyed: Option<Time>,
    /// That it will be, unless it is restored before.
    pub scheduled: Option<ScheduledDestruction>,
    /// From asking for a destruction, of the key or of a version, to the destruction.
    pub waiting_period: Millis,
    /// How much each version is used.
    pub usage: UsagePolicy,
    /// The entry that last changed that: what was handed out under other limits is not spent under these.
    pub usage_revision: Revision,
    /// Versions up to this one were in use before a restore, for how much nobody knows: where there is a ceiling they have reached it.
    pub spent_through: u32,
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
    /// `InvalidArgument` for a period outside of its bounds, of which the namespace's floor is one; as [`Labels::check`].
    pub fn create(
        id: KeyId,
        algorithm: Algorithm,
        settings: KeySettings,
        floors: Floors,
        material: WrappedMaterial,
        at: At,
    ) -> Result<(Self, KeyVersion), Refusal> {
        let At { now, revision } = at;
        let KeySettings { rotation_period, labels, deletion_protection, waiting_period, rotation_jitter, usage } =
            settings;
        labels.check()?;
        usage.check(algorithm)?;
        let primary = InUse { key: id, version: 1, since: now };
        let rotation = schedule(rotation_period, rotation_jitter, floors, primary)?;
        let waiting_period = destruction::waiting_period(waiting_period, floors.waiting_period)?;
        let key = Self {
            id,
            algorithm,
            created: now,
            rotation,
            primary: 1,
            enabled: true,
            last_version: 1,
            versions: 1,
            min_version: 1,
            destroyed: None,
            scheduled: None,
            waiting_period,
            usage,
            usage_revision: revision,
            spent_through: 0,
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
    /// `expect_last` is the last version that the proposer saw; comparing it makes a repeated proposal harmless. `used` is how much of the
    /// primary version was handed out.
    ///
    /// # Errors
    /// `KeyDisabled` for a disabled key, `KeyDestroyed` for a destroyed one; `NotDue` for what is not due or has been served already;
    /// `PreconditionFailed` when an operator's expectation does not hold; `LimitExceeded` past the last version.
    pub fn add_version(
        &mut self,
        expect_last: u32,
        cause: RotationCause,
        used: Option<&VersionUsage>,
        material: WrappedMaterial,
        at: At,
    ) -> Result<(u32, KeyVersion), Refusal> {
        let At { now, revision } = at;
        self.usable()?;
        let due = match cause {
            RotationCause::Created | RotationCause::Operator => true,
            RotationCause::Schedule => self.last_version == expect_last && self.is_due(now),
            RotationCause::Count => self.last_version == expect_last && self.is_used_up(used),
        };
        if !due {
            return Err(Refusal::new(Reason::NotDue, "the rotation is not due"));
        }
        let version = self.count_version(expect_last, revision)?;
        self.come_into_use(version, now);
        Ok((version, KeyVersion::new(cause, material, now, revision)))
    }

    /// Adds a version that is not used yet, and returns it with its number.
    ///
    /// # Errors
    /// As [`Key::add_version`] for an operator.
    pub fn add_pre_active(
        &mut self,
        expect_last: u32,
        material: WrappedMaterial,
        at: At,
    ) -> Result<(u32, KeyVersion), Refusal> {
        self.usable()?;
        let version = self.count_version(expect_last, at.revision)?;
        Ok((version, KeyVersion::pre_active(material, at.now, at.revision)))
    }

    /// Makes a pre-active version the primary one. The primary version never goes back to a lower number.
    ///
    /// # Errors
    /// `PreconditionFailed` for a version that is not pre-active, or is lower than the primary one; as [`Key::usable`].
    pub fn activate(&mut self, number: u32, version: &mut KeyVersion, at: At) -> Result<(), Refusal> {
        self.usable()?;
        if version.state != VersionState::PreActive {
            let message = format!("version {number} is {}: only a pre-active one is activated", version.state.as_str());
            return Err(Refusal::new(Reason::PreconditionFailed, message));
        }
        if number < self.primary {
            let message = format!(
                "version {} is in use by now, which is later than version {number}: rotate again with a pre-active version, and \
                 destroy this one",
                self.primary
            );
            return Err(Refusal::new(Reason::PreconditionFailed, message));
        }
        (version.state, version.activated, version.revision) = (VersionState::Enabled, Some(at.now), at.revision);
        self.revision = at.revision;
        self.come_into_use(number, at.now);
        Ok(())
    }

    fn come_into_use(&mut self, version: u32, now: Time) {
        self.primary = version;
        let primary = InUse { key: self.id, version, since: now };
        self.rotation = self.rotation.map(|rotation| rotation.rotated(primary));
    }

    /// Gives out the next number.
    fn count_version(&mut self, expect_last: u32, revision: Revision) -> Result<u32, Refusal> {
        if self.last_version != expect_last {
            let message = format!("the last version is {}, not {expect_last}, read the key again", self.last_version);
            return Err(Refusal::new(Reason::PreconditionFailed, message));
        }
        let version = self.next_version()?;
        (self.last_version, self.revision) = (version, revision);
        self.versions = self.versions.saturating_add(1);
        Ok(version)
    }

    /// Changes what an admin may change. `primary` is the row of the primary version, whose age a period counts from.
    ///
    /// # Errors
    /// `InvalidArgument` for a period outside of its bounds, or a lowest version that there is not or that is later than the primary one; as
    /// [`Labels::check`]; `KeyDestroyed`.
    pub fn change(
        &mut self,
        change: KeyChange,
        floors: Floors,
        primary: &KeyVersion,
        revision: Revision,
    ) -> Result<(), Refusal> {
        self.check_exists()?;
        let KeyChange {
            rotation_period,
            labels,
            deletion_protection,
            waiting_period,
            min_version,
            rotation_jitter,
            usage,
        } = change;
        if let Some(labels) = &labels {
            labels.check()?;
        }
        if let Some(period) = waiting_period {
            destruction::waiting_period(Some(period), floors.waiting_period)?;
        }
        if let Some(lowest) = min_version.filter(|lowest| !(1..=self.primary).contains(lowest)) {
            let message = format!(
                "the lowest version that may be used lies between 1 and the primary one, {}, not at {lowest}",
                self.primary
            );
            return Err(refuse::invalid(message));
        }
        let usage = self.usage.changed(usage, self.algorithm)?;
        if rotation_period.is_some() || rotation_jitter.is_some() {
            let period = rotation_period.unwrap_or(self.rotation.map(|rotation| rotation.period));
            let kept = self.rotation.filter(|_| period.is_some()).map_or(Millis::ZERO, |rotation| rotation.jitter);
            let in_use = InUse { key: self.id, version: self.primary, since: primary.in_use_since() };
            self.rotation = schedule(period, rotation_jitter.unwrap_or(kept), floors, in_use)?;
        }
        if self.usage != usage {
            (self.usage, self.usage_revision) = (usage, revision);
        }
        self.labels = labels.unwrap_or_else(|| std::mem::take(&mut self.labels));
        self.deletion_protection = deletion_protection.unwrap_or(self.deletion_protection);
        self.waiting_period = waiting_period.unwrap_or(self.waiting_period);
        self.min_version = min_version.unwrap_or(self.min_version);
        self.revision = revision;
        Ok(())
    }

    /// Lets the key be used or not; says whether that changed anything. The revision moves only with a change.
    ///
    /// # Errors
    /// `KeyDestroyed` when there is nothing left to be used, `PreconditionFailed` to enable what is about to be destroyed.
    pub fn set_enabled(&mut self, enabled: bool, revision: Revision) -> Result<bool, Refusal> {
        self.check_exists()?;
        if let Some(scheduled) = self.scheduled.filter(|_| enabled) {
            return Err(Refusal::new(Reason::PreconditionFailed, scheduled.refusal("the key").message));
        }
        if self.enabled == enabled {
            return Ok(false);
        }
        (self.enabled, self.revision) = (enabled, revision);
        Ok(true)
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
        if !self.usage.ceiling.is_none() {
            self.spent_through = self.last_version;
        }
        self.last_version = next.map_or(u32::MAX, |next| next.saturating_sub(1)).max(self.last_version);
        self.revision = revision;
    }

    /// Whether the key may be used now; its version is asked too.
    ///
    /// # Errors
    /// `KeyDisabled` when it is disabled or about to be destroyed, `KeyDestroyed` when it was destroyed.
    pub fn usable(&self) -> Result<(), Refusal> {
        self.check_exists()?;
        match self.scheduled {
            Some(scheduled) => Err(scheduled.refusal("the key")),
            None if self.enabled => Ok(()),
            None => Err(disabled()),
        }
    }

    /// Whether that version of the key may be used now.
    ///
    /// # Errors
    /// As [`Key::usable`] and [`KeyVersion::usable`]; `VersionTooOld` for one below the lowest that may be used.
    pub fn version_usable(&self, number: u32, version: &KeyVersion) -> Result<(), Refusal> {
        self.usable()?;
        version.usable()?;
        if number < self.min_version {
            let message = format!(
                "version {number} is below the lowest version that may be used, {}: to bring along what it made, lower that for a while",
                self.min_version
            );
            return Err(Refusal::new(Reason::VersionTooOld, message));
        }
        Ok(())
    }

    /// Hands out a block of a version's use to one of `nodes`: of at least `least`, to be spent by that node alone.
    ///
    /// # Errors
    /// As [`Key::version_usable`]; `UsageExhausted` when the ceiling does not leave that much; `PreconditionFailed` when nothing is counted.
    pub fn grant_use(
        &self,
        (number, version): (u32, &KeyVersion),
        used: &mut VersionUsage,
        (least, nodes): (Usage, u64),
        now: Time,
    ) -> Result<Usage, Refusal> {
        self.version_usable(number, version)?;
        if !self.usage.is_counted() {
            let message = "the use of this key is not counted: it has no usage limits";
            return Err(Refusal::new(Reason::PreconditionFailed, message));
        }
        if self.is_spent(number) {
            let message = "how much this version of the key was used before the restore is not known, so it has reached its ceiling: rotate the key";
            return Err(Refusal::new(Reason::UsageExhausted, message));
        }
        used.grant(&self.usage, least, nodes, now)
    }

    /// Whether a version reached its ceiling before a restore, for all that is known.
    #[must_use]
    pub const fn is_spent(&self, number: u32) -> bool {
        !self.usage.ceiling.is_none() && number <= self.spent_through
    }

    /// Whether the next version is due because so much of the primary one was handed out.
    #[must_use]
    pub fn is_used_up(&self, used: Option<&VersionUsage>) -> bool {
        let granted = used.map(|used| used.granted).unwrap_or_default();
        let may = self.enabled && self.next_version().is_ok();
        may && (self.is_spent(self.primary) || self.usage.is_due(granted))
    }

    /// How near the primary version is to its ceiling.
    #[must_use]
    pub fn usage_level(&self, used: Option<&VersionUsage>) -> UsageLevel {
        let granted = used.map(|used| used.granted).unwrap_or_default();
        match self.destroyed {
            Some(_) => UsageLevel::Low,
            None if self.is_spent(self.primary) => UsageLevel::Exhausted,
            None => self.usage.level(granted),
        }
    }

    /// Whether nothing of it is to be destroyed; nothing is left of what was.
    #[must_use]
    pub const fn is_protected(&self) -> bool {
        self.deletion_protection && self.destroyed.is_none()
    }

    pub(crate) fn check_exists(&self) -> Result<(), Refusal> {
        match self.destroyed {
            Some(_) => Err(destroyed()),
            None => Ok(()),
        }
    }

    /// When its schedule is next due: never without one, and not while the key is disabled or has all the versions it may have.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        self.rotation.filter(|_| self.enabled && self.next_version().is_ok()).map(|rotation| rotation.next_due)
    }

    /// Whether its schedule is due.
    #[must_use]
    pub fn is_due(&self, now: Time) -> bool {
        self.enabled && self.rotation.is_some_and(|rotation| rotation.is_due(now))
    }
}

/// A schedule of that period; a jitter needs one.
fn schedule(
    period: Option<Millis>,
    jitter: Millis,
    floors: Floors,
    primary: InUse,
) -> Result<Option<Rotation>, Refusal> {
    if period.is_none() && jitter != Millis::ZERO {
        return Err(refuse::invalid("a rotation jitter without a rotation period: give both"));
    }
    period.map(|period| Rotation::starting(period, jitter, floors.rotation, primary)).transpose()
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

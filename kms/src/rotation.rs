//! When a key is to be rotated. What is due is a question to the row, not an event: asking twice changes nothing.

use serde::{Deserialize, Serialize};
use types::{KeyId, Millis, Refusal, Time, limits::ROTATION_PERIOD_MAX};

use crate::refuse;

/// A schedule. After an outage one rotation is due, not one for each missed period.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rotation {
    /// From one rotation to the next, at the latest.
    pub period: Millis,
    /// A rotation may come this much sooner, each version's by another part of it, so that keys that were made together do not rotate together.
    pub jitter: Millis,
    /// The state time from which the next is due.
    pub next_due: Time,
}

/// Whose next rotation it is, and since when it is in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct InUse {
    pub(crate) key: KeyId,
    /// The primary version.
    pub(crate) version: u32,
    pub(crate) since: Time,
}

/// Why a version exists. New causes go at the end: the order is stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum RotationCause {
    /// The first version of a key.
    Created,
    /// An operator asked for it.
    Operator,
    /// The schedule was due.
    Schedule,
    /// The version before was used often enough, or for enough bytes.
    Count,
}

impl Rotation {
    /// A schedule of that period and jitter: a key whose primary version is older than its new period is due at once, so that shortening a
    /// period takes effect and saving it again does not put rotation off.
    ///
    /// # Errors
    /// `InvalidArgument` for a period below `floor` (the namespace's) or above ten years, and for a jitter that is more than half
    /// of it or makes it shorter than the floor.
    pub(crate) fn starting(period: Millis, jitter: Millis, floor: Millis, primary: InUse) -> Result<Self, Refusal> {
        if period < floor || period > ROTATION_PERIOD_MAX {
            let message = format!("a rotation period of {period} is outside {floor} to {ROTATION_PERIOD_MAX}");
            return Err(refuse::invalid(message));
        }
        let most = Millis(period.0 / 2).min(Millis(period.0.saturating_sub(floor.0)));
        if jitter > most {
            let message = format!(
                "a rotation jitter of {jitter} is more than {most}: half of the period at most, and no rotation sooner than the \
                 namespace's floor, {floor}"
            );
            return Err(refuse::invalid(message));
        }
        Ok(Self { period, jitter, next_due: Time(0) }.rotated(primary))
    }

    /// The schedule once a version has come into use.
    #[must_use]
    pub(crate) fn rotated(self, primary: InUse) -> Self {
        let InUse { key, version, since } = primary;
        let sooner = match self.jitter.0.checked_add(1) {
            Some(choices @ 2..) => {
                let drawn =
                    crypto::hash::sha256(&[b"rotation jitter", key.0.as_slice(), &version.to_be_bytes()].concat());
                let (first, _) = drawn.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
                u64::from_be_bytes(*first) % choices
            }
            _ => 0,
        };
        Self { next_due: since.after(Millis(self.period.0.saturating_sub(sooner))), ..self }
    }

    /// Whether it is due.
    #[must_use]
    pub fn is_due(self, now: Time) -> bool {
        now >= self.next_due
    }
}

impl RotationCause {
    /// Its name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Operator => "OPERATOR",
            Self::Schedule => "SCHEDULE",
            Self::Count => "COUNT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: Millis = Millis::from_hours(1);

    fn in_use(version: u32, since: Time) -> InUse {
        InUse { key: KeyId([7; 16]), version, since }
    }

    fn starting(period: Millis, jitter: Millis) -> Result<Rotation, types::Reason> {
        Rotation::starting(period, jitter, FLOOR, in_use(1, Time(0))).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn a_period_is_bounded_on_both_sides() {
        assert!(starting(FLOOR, Millis::ZERO).is_ok());
        assert!(starting(ROTATION_PERIOD_MAX, Millis::ZERO).is_ok());
        for period in [Millis::ZERO, Millis(FLOOR.0 - 1), Millis(ROTATION_PERIOD_MAX.0 + 1)] {
            assert_eq!(starting(period, Millis::ZERO), Err(types::Reason::InvalidArgument));
        }
    }

    #[test]
    fn a_jitter_is_half_of_the_period_at_most_and_keeps_to_the_floor() {
        let day = Millis::from_days(1);
        assert!(starting(day, Millis(day.0 / 2)).is_ok());
        assert_eq!(starting(day, Millis(day.0 / 2 + 1)), Err(types::Reason::InvalidArgument));
        let short = Millis(FLOOR.0 + 60_000);
        assert!(starting(short, Millis::from_secs(60)).is_ok());
        assert_eq!(starting(short, Millis::from_secs(61)), Err(types::Reason::InvalidArgument));
    }

    #[test]
    fn one_rotation_is_due_after_an_outage() {
        let rotation = Rotation::starting(FLOOR, Millis::ZERO, FLOOR, in_use(1, Time(1_000))).expect("a schedule");
        let due = Time(1_000).after(FLOOR);
        assert_eq!((rotation.is_due(Time(due.0 - 1)), rotation.is_due(due)), (false, true));
        let late = due.after(Millis::from_days(30));
        let after = rotation.rotated(in_use(2, late));
        assert!(!after.is_due(late) && after.next_due == late.after(FLOOR));
    }

    /// Each of a thousand keys in its tenth of the jitter: were it not spread, one tenth would have them all.
    #[test]
    fn a_jitter_spreads_what_was_made_together() {
        let (period, jitter) = (Millis::from_days(30), Millis::from_days(10));
        let mut tenths = [0_u32; 10];
        for key in 0..1_000_u128 {
            let primary = InUse { key: KeyId(key.to_be_bytes()), version: 1, since: Time(0) };
            let due = Rotation::starting(period, jitter, FLOOR, primary).expect("a schedule").next_due;
            let sooner = Time(0).after(period).since(due);
            assert!(sooner <= jitter, "{sooner}");
            tenths[usize::try_from((sooner.0 * 10 / (jitter.0 + 1)).min(9)).expect("small")] += 1;
        }
        assert!(tenths.iter().all(|count| (60..=140).contains(count)), "{tenths:?}");
        // Each version of one key by another part, and asked again by the same.
        let due = |version| Rotation::starting(period, jitter, FLOOR, in_use(version, Time(0))).map(|it| it.next_due);
        assert_eq!(due(1), due(1));
        assert_ne!(due(1), due(2));
    }
}

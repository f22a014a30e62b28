//! When a key is to be rotated. What is due is a question to the row, not an event: asking twice changes nothing.

use serde::{Deserialize, Serialize};
use types::{Millis, Refusal, Time, limits::ROTATION_PERIOD_MAX};

use crate::refuse;

/// A schedule. After an outage one rotation is due, not one for each missed period.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rotation {
    /// From one rotation to the next.
    pub period: Millis,
    /// The state time from which the next is due.
    pub next_due: Time,
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
}

impl Rotation {
    /// A schedule of that period whose primary version was made at `primary_created`: a key that is older than its new
    /// period is due at once, so that shortening a period takes effect and saving it again does not put rotation off.
    ///
    /// # Errors
    /// `InvalidArgument` for a period below `floor` (the namespace's) or above ten years.
    pub fn starting(period: Millis, floor: Millis, primary_created: Time) -> Result<Self, Refusal> {
        if period < floor || period > ROTATION_PERIOD_MAX {
            let message = format!("a rotation period of {period} is outside {floor} to {ROTATION_PERIOD_MAX}");
            return Err(refuse::invalid(message));
        }
        Ok(Self { period, next_due: primary_created.after(period) })
    }

    /// The schedule after a rotation at `now`.
    #[must_use]
    pub fn rotated(self, now: Time) -> Self {
        Self { next_due: now.after(self.period), ..self }
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: Millis = Millis::from_hours(1);

    #[test]
    fn a_period_is_bounded_on_both_sides() {
        assert!(Rotation::starting(FLOOR, FLOOR, Time(0)).is_ok());
        assert!(Rotation::starting(ROTATION_PERIOD_MAX, FLOOR, Time(0)).is_ok());
        for period in [Millis::ZERO, Millis(FLOOR.0 - 1), Millis(ROTATION_PERIOD_MAX.0 + 1)] {
            let refusal = Rotation::starting(period, FLOOR, Time(0)).expect_err("out of bounds");
            assert_eq!(refusal.reason, types::Reason::InvalidArgument);
        }
    }

    #[test]
    fn one_rotation_is_due_after_an_outage() {
        let rotation = Rotation::starting(FLOOR, FLOOR, Time(1_000)).expect("a schedule");
        let due = Time(1_000).after(FLOOR);
        assert_eq!((rotation.is_due(Time(due.0 - 1)), rotation.is_due(due)), (false, true));
        let late = due.after(Millis::from_days(30));
        let after = rotation.rotated(late);
        assert!(!after.is_due(late) && after.next_due == late.after(FLOOR));
    }
}

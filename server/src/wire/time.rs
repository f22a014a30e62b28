//! `google.protobuf.Timestamp` and `Duration`, to and from ours.

use types::{Millis, Reason, Refusal, Time};

/// A point in time; absent for one that never comes.
#[must_use]
pub(crate) fn timestamp(time: Time) -> Option<prost_types::Timestamp> {
    let seconds = i64::try_from(time.0 / 1_000).ok()?;
    let nanos = i32::try_from(time.0 % 1_000).ok()? * 1_000_000;
    (time != Time::NEVER).then_some(prost_types::Timestamp { seconds, nanos })
}

/// A length of time.
#[must_use]
pub(crate) fn duration(length: Millis) -> prost_types::Duration {
    let seconds = i64::try_from(length.0 / 1_000).unwrap_or(i64::MAX);
    let nanos = i32::try_from(length.0 % 1_000).unwrap_or(0) * 1_000_000;
    prost_types::Duration { seconds, nanos }
}

/// A length of time from the wire.
///
/// # Errors
/// When it is negative or longer than can be counted; `field` names it.
pub(crate) fn millis(field: &str, length: &prost_types::Duration) -> Result<Millis, Refusal> {
    let refused = || Refusal::new(Reason::InvalidArgument, format!("`{field}` must be a duration of zero or more"));
    let seconds = u64::try_from(length.seconds).map_err(|_| refused())?;
    let nanos = u64::try_from(length.nanos).map_err(|_| refused())?;
    seconds.checked_mul(1_000).and_then(|ms| ms.checked_add(nanos / 1_000_000)).map(Millis).ok_or_else(refused)
}

/// A point in time from the wire.
///
/// # Errors
/// When it lies before the Unix epoch; `field` names it.
pub(crate) fn time(field: &str, time: &prost_types::Timestamp) -> Result<Time, Refusal> {
    let length = prost_types::Duration { seconds: time.seconds, nanos: time.nanos };
    millis(field, &length).map(|millis| Time(millis.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_times_go_there_and_back() {
        for ms in [0, 1, 999, 1_000, 3_600_000, 1_795_358_000_123] {
            assert_eq!(millis("f", &duration(Millis(ms))), Ok(Millis(ms)));
            let there = timestamp(Time(ms)).expect("representable");
            assert_eq!(time("f", &there), Ok(Time(ms)));
        }
        assert_eq!(timestamp(Time::NEVER), None);
        assert!(millis("f", &prost_types::Duration { seconds: -1, nanos: 0 }).is_err());
        assert!(millis("f", &prost_types::Duration { seconds: i64::MAX, nanos: 0 }).is_err());
    }
}

//! Time as the state machine knows it: milliseconds since the Unix epoch, handed in, never read here.

use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Time(pub u64);

/// A length of time in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Millis(pub u64);

impl Time {
    /// The earliest time; before it nothing is due and everything has expired.
    pub const EPOCH: Self = Self(0);
    /// A time that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The time `length` after this one, saturating at [`Time::NEVER`].
    #[must_use]
    pub const fn after(self, length: Millis) -> Self {
        Self(self.0.saturating_add(length.0))
    }

    /// The time `length` before this one, saturating at [`Time::EPOCH`].
    #[must_use]
    pub const fn before(self, length: Millis) -> Self {
        Self(self.0.saturating_sub(length.0))
    }

    /// How long from `earlier` to this time; zero when it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds since the epoch, rounded down, as X.509 and JWT count.
    #[must_use]
    pub const fn as_unix_seconds(self) -> u64 {
        self.0 / 1_000
    }

    /// RFC 3339 in UTC with seconds, for example `2026-11-22T14:53:09Z`.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        i64::try_from(self.as_unix_seconds())
            .ok()
            .and_then(|s| time::OffsetDateTime::from_unix_timestamp(s).ok())
            .and_then(|t| t.format(&time::format_description::well_known::Rfc3339).ok())
            .unwrap_or_else(|| "never".to_owned())
    }
}

impl Millis {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A length in whole seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000))
    }

    /// A length in whole hours.
    #[must_use]
    pub const fn from_hours(hours: u64) -> Self {
        Self::from_secs(hours.saturating_mul(3_600))
    }

    /// A length in whole days.
    #[must_use]
    pub const fn from_days(days: u64) -> Self {
        Self::from_hours(days.saturating_mul(24))
    }

    /// The same length for the standard library.
    #[must_use]
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

impl std::fmt::Debug for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

impl std::fmt::Debug for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

impl std::fmt::Display for Millis {
    /// The two largest units that matter: `90d`, `9h 12m`, `1.4s`, `10ms`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let secs = self.0 / 1_000;
        let (days, hours, minutes) = (secs / 86_400, secs / 3_600 % 24, secs / 60 % 60);
        match (days, hours, minutes, secs) {
            (1.., 0, _, _) => write!(f, "{days}d"),
            (1.., _, _, _) => write!(f, "{days}d {hours}h"),
            (0, 1.., 0, _) => write!(f, "{hours}h"),
            (0, 1.., _, _) => write!(f, "{hours}h {minutes}m"),
            (0, 0, 1.., _) => write!(f, "{minutes}m"),
            (0, 0, 0, 10..) => write!(f, "{secs}s"),
            (0, 0, 0, 0) => write!(f, "{}ms", self.0),
            _ => match self.0 % 1_000 / 100 {
                0 => write!(f, "{secs}s"),
                tenths => write!(f, "{secs}.{tenths}s"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_print_their_largest_units() {
        let table = [
            (Millis::ZERO, "0ms"),
            (Millis(10), "10ms"),
            (Millis(999), "999ms"),
            (Millis(1_000), "1s"),
            (Millis(1_400), "1.4s"),
            (Millis::from_secs(59), "59s"),
            (Millis::from_secs(60 * 59), "59m"),
            (Millis::from_secs(3_600 * 59 + 720), "2d 11h"),
            (Millis::from_days(90), "90d"),
        ];
        for (length, text) in table {
            assert_eq!(length.to_string(), text);
        }
    }

    #[test]
    fn times_print_as_rfc_3339_and_saturate() {
        assert_eq!(Time(1_795_358_000_000).to_string(), "2026-11-22T14:33:20Z");
        assert_eq!(Time::NEVER.to_string(), "never");
        assert_eq!(Time::NEVER.after(Millis(1)), Time::NEVER);
        assert_eq!(Time(5).before(Millis(9)), Time::EPOCH);
        assert_eq!(Time(5).since(Time(9)), Millis::ZERO);
    }
}

//! Options that bound how much each version of a key is used.

use chancery_client::proto::kms::v1::UsageLimits;
use clap::Args;

/// A bound, or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bound(Option<u64>);

/// Bounds on the use of each version.
#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct UsageArgs {
    /// Make the next version once one was used this often, at least 1000, or `none`
    #[arg(long, value_name = "N", value_parser = uses)]
    rotate_after_uses: Option<Bound>,
    /// Make the next version once one was used for so much, at least 1MiB, for example 64GiB, or `none`
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    rotate_after_bytes: Option<Bound>,
    /// Ceiling: no version encrypts, signs or authenticates more often, whatever crashes; then the key has to be rotated. Or `none`
    #[arg(long, value_name = "N", value_parser = uses)]
    max_uses: Option<Bound>,
    /// Ceiling in bytes, for example 1TiB, or `none`
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    max_bytes: Option<Bound>,
}

impl UsageArgs {
    /// What makes the next version due; zero: nothing.
    pub(crate) fn rotate_after(&self) -> Option<UsageLimits> {
        Some(limits(self.rotate_after_uses, self.rotate_after_bytes))
    }

    /// What is never passed; zero: nothing.
    pub(crate) fn ceiling(&self) -> Option<UsageLimits> {
        Some(limits(self.max_uses, self.max_bytes))
    }

    /// What of a key is named here.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &'static str> {
        let given = [
            ("rotate_after.uses", self.rotate_after_uses),
            ("rotate_after.bytes", self.rotate_after_bytes),
            ("ceiling.uses", self.max_uses),
            ("ceiling.bytes", self.max_bytes),
        ];
        given.into_iter().filter(|(_, bound)| bound.is_some()).map(|(path, _)| path)
    }
}

fn limits(uses: Option<Bound>, bytes: Option<Bound>) -> UsageLimits {
    let bound = |bound: Option<Bound>| bound.and_then(|Bound(bound)| bound).unwrap_or_default();
    UsageLimits { uses: bound(uses), bytes: bound(bytes) }
}

fn uses(text: &str) -> Result<Bound, String> {
    bound(text, |text| text.parse().ok()).ok_or_else(|| "give a number from 1, or `none`".to_owned())
}

fn bytes(text: &str) -> Result<Bound, String> {
    bound(text, size)
        .ok_or_else(|| "give a number of bytes from 1, with KiB, MiB, GiB or TiB if you like, or `none`".to_owned())
}

fn bound(text: &str, parse: impl Fn(&str) -> Option<u64>) -> Option<Bound> {
    match text {
        "none" => Some(Bound(None)),
        text => parse(text).filter(|bound| *bound > 0).map(|bound| Bound(Some(bound))),
    }
}

fn size(text: &str) -> Option<u64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        for (text, bound) in [
            ("none", None),
            ("1", Some(1)),
            ("512B", Some(512)),
            ("64KiB", Some(65_536)),
            ("3GiB", Some(3 << 30)),
            ("1TiB", Some(1 << 40)),
        ] {
            assert_eq!(bytes(text), Ok(Bound(bound)), "{text}");
        }
        for wrong in ["", "0", "0GiB", "GiB", "-1", "1.5GiB", "1 GiB", "1GB", "1g", "99999999999TiB", "None"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        assert_eq!((uses("10000"), uses("none")), (Ok(Bound(Some(10_000))), Ok(Bound(None))));
        for wrong in ["", "0", "1k", "1KiB", "-1", "1_000"] {
            assert!(uses(wrong).is_err(), "{wrong}");
        }
    }
}

//! How new the state must be that a read is answered from: what a client asks for, and what an answer says of it
//! (docs/spec/reads.md).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tonic::metadata::{MetadataMap, MetadataValue};

use crate::ledger::{LEDGER, LEDGER_NONE};

/// Request: [`STALE`] lets a node answer a read from what it has applied, without asking who leads.
pub const CONSISTENCY: &str = "x-chancery-consistency";
/// The one value of [`CONSISTENCY`] beside the default.
pub const STALE: &str = "stale";
/// Request: not before the node has applied that. Answer: what the change was, or what the read saw.
pub const INDEX: &str = "x-chancery-index";
/// Answer to a stale read: it has seen everything that was acknowledged so many milliseconds ago.
pub const AGE_MS: &str = "x-chancery-age-ms";
/// Answer: the sequence of the trust document as of that state.
pub const TRUST: &str = "x-chancery-trust";

/// A place in the history of a cluster: generation · 2^40 + log index. Whoever has one can ask any node for a state that is at
/// least as new.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct IndexToken(pub u64);

impl std::fmt::Display for IndexToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::str::FromStr for IndexToken {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// What a client asks of each of its reads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) stale: bool,
    pub(crate) after: Option<IndexToken>,
}

impl Wanted {
    pub(crate) fn put_into(self, metadata: &mut MetadataMap) {
        if self.stale {
            metadata.insert(CONSISTENCY, MetadataValue::from_static(STALE));
        }
        if let Some(IndexToken(index)) = self.after {
            metadata.insert(INDEX, MetadataValue::from(index));
        }
    }
}

/// What the answers said so far. Shared by the clones of a client.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// The highest; zero before the first.
    index: AtomicU64,
    /// The last one, plus one; zero before the first.
    age_ms: AtomicU64,
    unledgered: AtomicBool,
    /// The highest sequence of a trust document; zero before the first.
    trust: AtomicU64,
}

impl Observed {
    pub(crate) fn note(&self, metadata: &MetadataMap) {
        let number = |name| metadata.get(name)?.to_str().ok()?.parse::<u64>().ok();
        if let Some(index) = number(INDEX) {
            self.index.fetch_max(index, Ordering::Relaxed);
        }
        if let Some(sequence) = number(TRUST) {
            self.trust.fetch_max(sequence, Ordering::Relaxed);
        }
        if let Some(age) = number(AGE_MS) {
            self.age_ms.store(age.saturating_add(1), Ordering::Relaxed);
        }
        if metadata.get(LEDGER).is_some_and(|value| value == LEDGER_NONE) {
            self.unledgered.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn index(&self) -> Option<IndexToken> {
        Some(self.index.load(Ordering::Relaxed)).filter(|index| *index > 0).map(IndexToken)
    }

    pub(crate) fn trust(&self) -> u64 {
        self.trust.load(Ordering::Relaxed)
    }

    pub(crate) fn unledgered(&self) -> bool {
        self.unledgered.load(Ordering::Relaxed)
    }

    pub(crate) fn age(&self) -> Option<Duration> {
        self.age_ms.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_and_what_is_said_goes_through_the_metadata() {
        let mut metadata = MetadataMap::new();
        Wanted { stale: true, after: Some(IndexToken(1_099_511_627_783)) }.put_into(&mut metadata);
        assert_eq!(metadata.get(CONSISTENCY).and_then(|value| value.to_str().ok()), Some("stale"));
        assert_eq!(metadata.get(INDEX).and_then(|value| value.to_str().ok()), Some("1099511627783"));
        let observed = Observed::default();
        assert_eq!((observed.index(), observed.age()), (None, None));
        observed.note(&metadata);
        metadata.insert(INDEX, MetadataValue::from(5_u64));
        metadata.insert(AGE_MS, MetadataValue::from(0_u64));
        assert!(!observed.unledgered());
        metadata.insert(TRUST, MetadataValue::from(9_u64));
        metadata.insert(LEDGER, MetadataValue::from_static(LEDGER_NONE));
        observed.note(&metadata);
        assert!(observed.unledgered());
        // The highest: a token that stands for everything that was seen.
        assert_eq!(observed.index(), Some(IndexToken(1_099_511_627_783)));
        assert_eq!(observed.age(), Some(Duration::ZERO));
        assert_eq!(observed.trust(), 9);
    }
}

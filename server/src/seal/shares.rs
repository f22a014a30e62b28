//! Shares that have been brought to a sealed node and still wait for others.
//!
//! They lie in memory that wipes itself and are forgotten when the node opens, when nobody has brought another for a
//! while, or when the process ends: each node collects its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crypto::shamir::Share;

/// How long the shares brought so far wait for the next.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// The shares, by the quorum that they are of and their index: while new shares are on their way there are two quorums.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    given: BTreeMap<(String, u8), Share>,
    last: Option<Instant>,
}

impl Shares {
    /// Takes a share; the same one twice counts once.
    pub(crate) fn add(&mut self, quorum: &str, share: Share, now: Instant) {
        self.forget_stale(now);
        self.given.insert((quorum.to_owned(), share.index), share);
        self.last = Some(now);
    }

    /// How many there are of a quorum.
    pub(crate) fn count(&mut self, quorum: &str, now: Instant) -> u8 {
        self.forget_stale(now);
        u8::try_from(self.given.keys().filter(|(of, _)| of == quorum).count()).unwrap_or(u8::MAX)
    }

    /// Takes those of a quorum and forgets the others.
    pub(crate) fn take(&mut self, quorum: &str) -> Vec<Share> {
        self.last = None;
        let given = std::mem::take(&mut self.given).into_iter();
        given.filter(|((of, _), _)| of == quorum).map(|(_, share)| share).collect()
    }

    fn forget_stale(&mut self, now: Instant) {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) >= PATIENCE) {
            self.given.clear();
            self.last = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use crypto::Secret;

    use super::*;

    fn share(index: u8) -> Share {
        Share { index, value: Secret::from_bytes([index; 32]) }
    }

    #[test]
    fn a_share_counts_once_and_none_waits_for_ever() {
        let (mut shares, start) = (Shares::default(), Instant::now());
        shares.add("q", share(1), start);
        shares.add("q", share(1), start);
        shares.add("other", share(2), start);
        assert_eq!(shares.count("q", start), 1);
        shares.add("q", share(2), start + PATIENCE / 2);
        assert_eq!(shares.count("q", start + PATIENCE), 2, "the last one began the wait again");
        assert_eq!(shares.count("q", start + PATIENCE * 2), 0);
        shares.add("q", share(3), start);
        shares.add("other", share(3), start);
        assert_eq!(shares.take("q").len(), 1);
        assert_eq!(shares.count("q", start) + shares.count("other", start), 0);
    }
}

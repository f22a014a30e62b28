//! The node lease: the right to serve and sign, renewed by word of the leader (docs/spec/lease.md).
//!
//! A node that has been out of touch with the leader for longer than its lease refuses crypto and issuance, because the
//! cluster may by then have disabled a key or revoked a caller without it. The follower counts from before it asked, so
//! its lease is never longer than the leader believes. Time is CLOCK_BOOTTIME, which goes on in suspend; the lease is
//! void if wall and boot clock part by more than a second, for then one of them was changed.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use types::{Reason, Refusal};

use crate::core::CaughtUp;
use crate::fence::{GrantName, Granted};

/// How far wall and boot clock may part while a lease runs.
const CLOCKS_PART_MAX: Duration = Duration::from_secs(1);

/// Two clocks read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clocks {
    /// Since the machine booted, suspend included.
    pub boot: Duration,
    /// Since the Unix epoch.
    pub wall: Duration,
}

/// The lease of this node.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    held: Mutex<Held>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Held {
    /// Not yet.
    #[default]
    None,
    /// From then, by that grant.
    Granted { from: Clocks, granted: Granted },
    /// None until the node comes back: it retired, and the leader may have been told.
    Retired,
    /// Never again: the leader may have been told.
    GivenUp,
}

impl Clocks {
    /// Reads both.
    #[must_use]
    pub(crate) fn now() -> Self {
        let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let boot = Duration::new(u64::try_from(boot.tv_sec).unwrap_or(0), u32::try_from(boot.tv_nsec).unwrap_or(0));
        Self { boot, wall }
    }

    /// Whether both have run equally far since `earlier`, within the tolerance.
    fn agree_since(self, earlier: Self) -> bool {
        let (boot, wall) = (self.boot.checked_sub(earlier.boot), self.wall.checked_sub(earlier.wall));
        match (boot, wall) {
            (Some(boot), Some(wall)) => boot.abs_diff(wall) <= CLOCKS_PART_MAX,
            _ => false,
        }
    }
}

impl Lease {
    /// The leader has granted a lease, counted from `asked`: the clocks before the question was sent. What is served under
    /// it counts from there as well, so the node must have caught up since.
    pub(crate) fn renew(&self, asked: Clocks, granted: Granted, _: CaughtUp) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*held, Held::Retired | Held::GivenUp) {
            *held = Held::Granted { from: asked, granted };
        }
    }

    /// Gives the lease up at once and for good: what is granted from now on comes too late.
    pub(crate) fn give_up(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Held::GivenUp;
    }

    /// Gives the lease up at once, and takes none until [`Lease::come_back`].
    pub(crate) fn retire(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*held, Held::GivenUp) {
            *held = Held::Retired;
        }
    }

    /// A node that retired was not removed: it takes leases again. What was asked for before it retired must be over.
    pub(crate) fn come_back(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*held, Held::Retired) {
            *held = Held::None;
        }
    }

    /// Lets it go until another is granted.
    pub(crate) fn let_go(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*held, Held::Retired | Held::GivenUp) {
            *held = Held::None;
        }
    }

    /// What the leader called it; nothing for a node that holds none.
    pub(crate) fn name(&self) -> GrantName {
        match *self.held.lock().unwrap_or_else(PoisonError::into_inner) {
            Held::Granted { granted, .. } => granted.name,
            Held::None | Held::Retired | Held::GivenUp => GrantName::default(),
        }
    }

    /// How long ago this node had certainly applied everything that was acknowledged then; none without a lease.
    pub(crate) fn age(&self, now: Clocks) -> Option<Duration> {
        match *self.held.lock().unwrap_or_else(PoisonError::into_inner) {
            Held::Granted { from, .. } => now.boot.checked_sub(from.boot),
            Held::None | Held::Retired | Held::GivenUp => None,
        }
    }

    /// What is left of it at `now`. A lease that was seen to be void stays void, should the clocks ever agree again: the
    /// leader may have been told that nothing is left.
    pub(crate) fn left(&self, now: Clocks) -> Duration {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match *held {
            Held::Granted { from, granted } if now.agree_since(from) => {
                granted.length.saturating_sub(now.boot.saturating_sub(from.boot))
            }
            Held::Granted { .. } => {
                *held = Held::None;
                Duration::ZERO
            }
            Held::None | Held::Retired | Held::GivenUp => Duration::ZERO,
        }
    }

    /// Whether the node may serve and sign at `now`.
    ///
    /// # Errors
    /// [`Reason::LeaseExpired`]: another node may answer.
    pub(crate) fn check(&self, now: Clocks) -> Result<(), Refusal> {
        if self.left(now) > Duration::ZERO {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::LeaseExpired,
            "this node has lost touch with the leader and may not serve until it is back",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THIRTY: Granted = Granted { length: Duration::from_secs(30), name: GrantName { term: 1, number: 1 } };
    const START: Clocks = Clocks { boot: Duration::from_secs(100), wall: Duration::from_secs(1_000_000) };

    fn later(boot_ms: u64, wall_ms: i64) -> Clocks {
        let wall = i64::try_from(START.wall.as_millis()).expect("fits") + wall_ms;
        Clocks {
            boot: START.boot + Duration::from_millis(boot_ms),
            wall: Duration::from_millis(u64::try_from(wall).expect("positive")),
        }
    }

    #[test]
    fn a_lease_runs_from_the_question_and_ends_on_time() {
        let lease = Lease::default();
        assert_eq!(lease.check(START).map_err(|r| r.reason), Err(Reason::LeaseExpired));
        lease.renew(START, THIRTY, CaughtUp::CLAIMED);
        assert!(lease.check(START).is_ok());
        assert!(lease.check(later(29_999, 29_999)).is_ok());
        assert!(lease.check(later(30_000, 30_000)).is_err());
    }

    #[test]
    fn a_clock_that_was_changed_voids_it() {
        for (boot, wall) in [(5_000, 6_500), (5_000, 3_500), (5_000, -3_600_000), (1_000, 3_600_000)] {
            let lease = Lease::default();
            lease.renew(START, THIRTY, CaughtUp::CLAIMED);
            assert!(lease.check(later(boot, wall)).is_err(), "{boot} {wall}");
            // It was set right: too late.
            assert!(lease.check(later(boot, i64::try_from(boot).expect("fits"))).is_err(), "{boot} {wall}");
        }
    }

    #[test]
    fn a_node_that_retired_takes_none_until_it_comes_back() {
        let lease = Lease::default();
        lease.renew(START, THIRTY, CaughtUp::CLAIMED);
        lease.retire();
        lease.let_go();
        lease.renew(START, THIRTY, CaughtUp::CLAIMED);
        assert!(lease.check(START).is_err());
        lease.come_back();
        lease.renew(START, THIRTY, CaughtUp::CLAIMED);
        assert!(lease.check(START).is_ok());
        lease.give_up();
        lease.retire();
        lease.come_back();
        lease.renew(START, THIRTY, CaughtUp::CLAIMED);
        assert!(lease.check(START).is_err(), "given up is for good");
    }

    #[test]
    fn it_can_be_given_up() {
        let lease = Lease::default();
        lease.renew(START, THIRTY, CaughtUp::CLAIMED);
        lease.give_up();
        assert!(lease.check(START).is_err());
        // The answer to a question that was under way.
        lease.renew(START, THIRTY, CaughtUp::CLAIMED);
        assert!(lease.check(START).is_err());
    }
}

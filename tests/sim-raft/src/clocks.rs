//! Wall clocks, one a node, each wrong in its own way. True time is the simulation's.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use sim::certificates::BEGINNING;
use types::{Millis, Time};

/// A clock; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Clock {
    /// How far the wall clock is ahead, in milliseconds.
    ahead: Arc<AtomicI64>,
    /// How much faster the boot clock runs, in parts per million.
    faster: Arc<AtomicI64>,
}

impl Clock {
    /// Sets how far it is ahead of true time, in milliseconds.
    pub(crate) fn skew(&self, ahead_ms: i64) {
        self.ahead.store(ahead_ms, Ordering::Relaxed);
    }

    /// Sets how much faster than true time it runs; the slowest and the fastest may differ by less than one in a hundred.
    pub(crate) fn drift(&self, faster_ppm: i64) {
        self.faster.store(faster_ppm, Ordering::Relaxed);
    }

    /// What the boot clock shows: nobody can set it.
    pub(crate) fn boot(&self) -> Duration {
        let elapsed = turmoil::sim_elapsed().unwrap_or_default();
        let faster = i32::try_from(self.faster.load(Ordering::Relaxed)).unwrap_or(0);
        elapsed.mul_f64(1.0 + f64::from(faster) / 1_000_000.0)
    }

    /// What it shows.
    pub(crate) fn now(&self) -> Time {
        let elapsed = turmoil::sim_elapsed().unwrap_or_default();
        let elapsed = Millis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        Time(BEGINNING.after(elapsed).0.saturating_add_signed(self.ahead.load(Ordering::Relaxed)))
    }
}

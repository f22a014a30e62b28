//! Closed-loop load: so many calls in flight, each followed by the next, for a while.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::Fault;

/// What was done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Calls that were answered; none failed.
    pub(crate) calls: u64,
    /// From the first call to the last answer.
    pub(crate) wall: Duration,
}

impl Load {
    /// Calls a second.
    pub(crate) fn rate(&self) -> f64 {
        as_f64(self.calls) / self.wall.as_secs_f64()
    }
}

/// Connections that callers take in turn.
pub(crate) struct Turns<T> {
    of: Vec<T>,
    turn: AtomicUsize,
}

impl<T> Turns<T> {
    /// So many of them.
    pub(crate) fn new(count: usize, make: impl Fn() -> Result<T, Fault>) -> Result<Self, Fault> {
        Ok(Self { of: (0..count).map(|_| make()).collect::<Result<_, _>>()?, turn: AtomicUsize::new(0) })
    }

    /// Whose turn it is.
    pub(crate) fn next(&self) -> Result<&T, Fault> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.of.len().max(1);
        Ok(self.of.get(turn).ok_or("no connection")?)
    }
}

/// Keeps `in_flight` calls going for `window`. The first failure ends it: a rate with failures in it says nothing.
pub(crate) async fn closed<U>(in_flight: usize, window: Duration, call: impl Fn() -> U) -> Result<Load, Fault>
where
    U: Future<Output = Result<(), Fault>>,
{
    let started = Instant::now();
    let caller = || async {
        let mut calls = 0_u64;
        while started.elapsed() < window {
            call().await?;
            calls += 1;
        }
        Ok::<u64, Fault>(calls)
    };
    let calls = futures::future::try_join_all((0..in_flight).map(|_| caller())).await?;
    Ok(Load { calls: calls.into_iter().sum(), wall: started.elapsed() })
}

/// Counts are far below 2⁵³.
#[expect(clippy::cast_precision_loss, reason = "counts of a bench are far below 2^53")]
pub(crate) const fn as_f64(count: u64) -> f64 {
    count as f64
}

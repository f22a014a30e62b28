//! Chance that one seed decides: SplitMix64 in a thread-local, because a simulation runs on one thread.

use std::cell::Cell;
use std::time::Duration;

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// Begins the sequence of that seed.
pub fn seed(seed: u64) {
    STATE.set(seed);
}

/// The next 64 bits.
#[must_use]
pub fn bits() -> u64 {
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number below `bound`, zero when that is zero.
#[must_use]
pub fn below(bound: u64) -> u64 {
    bits().checked_rem(bound).unwrap_or(0)
}

/// True that often in a thousand.
#[must_use]
pub fn per_mille(chance: u64) -> bool {
    below(1_000) < chance
}

/// A length from nothing up to `longest`.
#[must_use]
pub fn within(longest: Duration) -> Duration {
    Duration::from_micros(below(u64::try_from(longest.as_micros()).unwrap_or(u64::MAX)))
}

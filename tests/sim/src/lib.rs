//! Tier A: the pure state machine under thousands of seeds. Several replicas apply one log at their own pace, crash, come
//! back from a snapshot and the log, and must be equal at every index; clocks are skewed, proposals are repeated,
//! re-proposed, sent again with another body, or decided on a state that has moved on. A model of its own, which knows
//! nothing of the tables, judges every entry.
//!
//! Nothing here is random: one seed gives one run, bit for bit.

/// Says what is wrong, unless it holds.
macro_rules! ensure {
    ($holds:expr, $($words:tt)*) => {
        if !$holds {
            return Err(format!($($words)*));
        }
    };
}

mod aliases;
pub mod certificates;
mod keys;
pub mod model;
pub mod propose;
pub mod rng;
mod root_keys;
mod trusted;
mod usage;
pub mod world;

pub use root_keys::wrapped_under;

/// Runs one seed and says how to run it again when it fails.
///
/// # Errors
/// What went wrong, with the line that replays it.
pub fn run(seed: u64, steps: usize) -> Result<world::Tally, String> {
    world::World::new(seed).run(steps).map_err(|what| {
        format!("seed {seed}: {what}\nreplay: SEED={seed} SEEDS=1 STEPS={steps} cargo test -p sim --test seeds")
    })
}

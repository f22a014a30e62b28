//! The replicated state machine, as this crate sees it: bytes in, bytes out, an O(1) clone, a stream of bytes.
//!
//! It does not say what the bytes mean, and it never persists state by itself: durability is the log and the snapshots.

use std::io::{self, Read};

use crate::member::Members;

/// What the log drives. Each replica applies the same entries in the same order and must end in the same state, so an
/// implementation reads no clock and draws no randomness.
pub trait Machine: Send + Sync + 'static {
    /// A clone of the state that costs O(1): taken after every applied batch for readers, and for snapshot files.
    type Snapshot: Send + Sync + 'static;

    /// Applies the entry at `index` and returns the encoded reply for its proposer. Called once per entry, in order.
    fn apply(&mut self, index: u64, payload: &[u8]) -> Vec<u8>;

    /// Whether the machine can go on after what it has applied or read: one that met an entry of a later version than it
    /// knows stops before the next one, and nothing after it is told to anybody.
    ///
    /// # Errors
    /// Why it cannot.
    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    /// The members changed at `index`, or a snapshot or restart brought them.
    fn applied_members(&mut self, index: u64, members: &Members);

    /// The state as it is now.
    fn snapshot(&self) -> Self::Snapshot;

    /// Writes a state in chunks of any size; runs off the apply task.
    ///
    /// # Errors
    /// Those of `out`, passed on.
    fn write_snapshot(snapshot: &Self::Snapshot, out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>;

    /// Replaces the state with one that [`Machine::write_snapshot`] wrote. On an error the state may be anything: the
    /// caller throws the machine's content away or stops the node.
    ///
    /// # Errors
    /// When the bytes are not a state.
    fn read_snapshot(&mut self, input: &mut dyn Read) -> io::Result<()>;
}

/// An applied state that readers hold without stopping `apply`.
#[derive(Debug)]
pub struct View<S> {
    /// The last applied entry; zero before the first, which can never be applied by a proposal (entry 0 is the
    /// membership that formed the cluster).
    pub applied: u64,
    /// The state after that entry.
    pub state: S,
}

//! The replicated state machine: what every member holds alike, and the one function that changes it.
//!
//! Read [`apply`](State::apply) in `apply.rs` first. State is memory only; the log and the snapshots that make it durable
//! are `raft`'s and `server`'s. Nothing here reads a clock, draws randomness, opens a socket or a file, decides who may do
//! what, or sees a secret in clear: material arrives wrapped, tokens arrive hashed. `docs/spec/state.md` fixes the
//! encodings.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod accounting;
mod actors;
pub mod apply;
mod clock;
pub mod command;
mod describe;
mod fence;
mod handlers;
pub mod ledger;
pub mod outcome;
pub mod queries;
mod request_key;
mod requests;
mod revisions;
pub mod rows;
pub mod snapshot;
mod state;
pub mod sum;
mod table;
mod turn;

/// The epoch of the root key with which every cluster begins.
pub const ROOT_EPOCH_FIRST: u32 = 1;
/// The version of the state machine in which every cluster begins.
pub const VERSION_FIRST: u32 = 1;
/// The newest version that this build knows. A later one changes what an entry does: it is used from the entry on that
/// raises it, which every member must know beforehand (docs/spec/membership.md).
pub const VERSION_NEWEST: u32 = 1;

pub use accounting::Accounted;
pub use command::{
    AuthorityStep, Command, Entry, EntryBody, JoinKind, NodeInfo, NodeReport, OpenedSeal, Proposal, Release, Reply,
};
pub use ledger::Untold;
pub use outcome::{AuditLeaf, Effect, Outcome};
pub use queries::due::{DestructionDue, RotationDue, RotationForecast};
pub use queries::erasure::{Erasure, Receipt};
pub use queries::page::Page;
pub use queries::principals::Unrecognised;
pub use request_key::RequestKey;
pub use rows::NamespaceSettings;
pub use snapshot::{SnapshotError, read_snapshot, write_snapshot};
pub use state::State;

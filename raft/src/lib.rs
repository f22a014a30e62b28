//! Order and durability: openraft over an fsynced log, snapshot files and the peer port.
//!
//! [`RaftHandle::open`] starts a member. What is replicated is opaque bytes: a [`Machine`] applies them, an [`Envelope`]
//! seals everything that touches the disk, and TLS is handed in with the peer listener ([`Peering`]). This crate knows
//! nothing of keys, certificates or policy, draws no secrets, and never decides who is a member: it is told.
//!
//! Where to read first: `handle.rs` (what callers do), `log/` (what is fsynced, and how damage is told from a torn
//! tail), `snapshot/` (files), `apply.rs` (entries become state), `peer/` (the wire). Formats: `docs/spec/raft-files.md`.

pub mod config;
pub mod envelope;
pub mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub mod handle;
pub mod machine;
pub mod member;
pub mod peer;
pub mod seed;
#[cfg(chancery_sim)]
pub mod simulation;
pub mod status;

mod apply;
mod codec;
mod duties;
mod erase;
mod handover;
mod log;
mod opening;
mod room;
mod snapshot;
mod system;
mod type_config;

#[cfg(test)]
mod damage_test;
#[cfg(test)]
mod log_test;
#[cfg(test)]
mod suite_test;

pub use config::Config;
pub use envelope::{Envelope, FileKind, Tampered};
pub use error::{ChangeError, OpenError, ProposeError, ReadError};
pub use handle::{Proposed, RaftHandle};
pub use machine::{Machine, View};
pub use member::{Member, Members};
pub use peer::{Names, PeerInfo, Peering, ROOT_PROOF, Session, Vouch, check_names, serve_peers};
pub use room::{Room, Watermarks};
pub use seed::seed;
pub use status::{Role, Status};

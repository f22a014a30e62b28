//! The node: every network, disk and clock edge, thin. What it decides, it asks of the pure crates.
//!
//! [`run`] is the whole of it. A node is [empty](node), sealed or open; only an open one has a [`core`](core::Core), in
//! which keys can be reached. Requests come in through `net`, are taken through the typed stages of `request` by the
//! services of `api`, and become either an answer from applied state or one log entry. What the node does by itself is in
//! `duties`.

mod api;
pub mod audit_store;
mod authority;
pub mod backup;
mod clock;
pub mod config;
mod core;
mod duties;
mod envelope;
mod erasing;
mod fence;
mod folder;
mod formation;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod introduced;
mod join;
mod keyring;
mod leading;
mod lease;
mod leaving;
mod ledger;
mod machine;
mod member;
mod membership;
mod metrics;
mod net;
mod node;
mod opening;
mod peer_unseal;
mod pinning;
mod recorder;
mod recovery;
mod rekey;
mod release;
mod request;
mod root;
mod run;
mod seal;
mod sealed_port;
mod trust;
mod unwrapped;
mod usage;
mod vouched;
mod wire;

pub use config::Config;
pub use run::{RunError, run};
pub use seal::new_shares;

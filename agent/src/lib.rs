//! The workload agent: the SPIFFE Workload API on a unix socket, for the processes of one host.
//!
//! The agent is admitted once by a join token and known from then on by its key. It learns which entries are its own
//! and whom to trust, asks the kernel who is calling, and hands each process the identities that match it. Private keys of
//! workloads are made here and leave only to the workload. It decides nothing: entries say who gets what, and the
//! cluster signs. The promises are in `docs/spec/workload-api.md`; how to run it is in `docs/operate/agent.md`.

pub mod upstream;

mod attachments;
mod attest;
mod authority;
mod clock;
mod compose;
mod config;
mod enrol;
mod error;
mod executable;
mod follow;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod hub;
mod keeper;
mod link;
mod peer;
mod pushes;
mod run;
mod serve;
mod slot;
mod socket;
mod svid;
mod view;
mod wire;
mod workload_api;

pub use config::{Config, SOCKET_PATH_DEFAULT};
pub use error::AgentError;
pub use run::run;
pub use serve::serve;
pub use upstream::Upstream;

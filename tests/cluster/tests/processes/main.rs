//! Clusters of real processes, as an operator starts them: each node is the program itself with its own folder, ports
//! and log, formed by the public calls and killed, stopped, damaged and started again from outside.
//!
//! One test binary, so that the client is linked once. Nothing here reaches into a node: what cannot be seen through
//! the API, the command line or the files on the disk is not asserted.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod audit_log;
mod backup;
mod canary;
mod errors;
mod kill;
mod ledger;
mod membership;
mod memory;
mod restart;
mod rolling;
mod support;
mod token;
mod usage;

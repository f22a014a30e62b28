//! The state machine from outside, in one binary.

mod aliases;
mod common;
mod destroy;
mod ends;
mod ledger;
mod machine;
mod members;
mod peer_unseal;
mod recovery;
mod restore;
mod root_keys;
mod snapshot;
mod time;
mod usage;

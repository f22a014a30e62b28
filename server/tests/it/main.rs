//! Nodes over real sockets and files, in one binary.

mod aliases;
mod backup;
mod cluster;
mod destroy;
mod disk_full;
mod ends;
mod fence;
mod key_kinds;
mod key_settings;
mod ledger;
mod openings;
mod peer_unseal;
mod promises;
mod reads;
mod recovery;
mod rekey;
mod storm;
mod support;
mod usage;

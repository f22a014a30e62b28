//! Backups: the cluster at one log index, sealed to recipients that are not in it (docs/spec/backup.md).
//!
//! `making` takes one from an open node, `schedule` does so by itself and `store` keeps the folder; `read`, `verify` and
//! [`mod@restore`] need neither a node nor a network. `write` and `read` are the format. Nothing here decides who may make
//! one.

mod error;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod ledgers;
pub(crate) mod making;
mod manifest;
mod probe;
mod read;
pub mod restore;
pub(crate) mod schedule;
mod section;
pub(crate) mod store;
mod verify;
mod write;

#[cfg(test)]
mod tests;

use crypto::LockedSecret;

pub use error::BackupError;
pub use ledgers::{Accounting, HeldLedger};
pub use manifest::Manifest;
pub(crate) use manifest::hex;
pub use read::{Inspected, inspect};
pub use store::{Kept, list};
pub use verify::{Verified, verify};

/// What every backup begins with; the last byte is the version.
const MAGIC: [u8; 8] = *b"CHYBKUP\x01";
/// What every backup ends with.
const END: [u8; 8] = *b"CHYBEND\x01";
/// Longest manifest.
const MANIFEST_BYTES_MAX: u32 = 1 << 16;
/// Room for the signature: a DER signature of P-256 has at most 72 bytes.
const SIGNATURE_BYTES_MAX: usize = 80;
/// Two hashes, the body's length, the signature and its length, the end.
const SEAL_BYTES: usize = 32 + 32 + 8 + 1 + SIGNATURE_BYTES_MAX + 8;

/// A root key and the epoch that namespaces' keys name it by.
struct RootKey {
    epoch: u32,
    key: LockedSecret,
}

/// What the cluster key signs.
fn statement(hashes: &[u8]) -> Vec<u8> {
    [b"chancery backup v1", hashes].concat()
}

//! A seal without a cipher: the bytes in clear and a checksum over them and where they belong, so that the simulation
//! still notices a record that was moved, and its checks can read what was stored.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use crate::envelope::{Envelope, FileKind, Tampered};

const SUM_BYTES: usize = 8;

struct Checksum;

/// The simulation's envelope.
#[must_use]
pub fn envelope() -> Arc<dyn Envelope> {
    Arc::new(Checksum)
}

/// What was sealed, whatever its checksum says.
pub(super) fn plain(sealed: &[u8]) -> &[u8] {
    sealed.split_last_chunk::<SUM_BYTES>().map_or(sealed, |(plain, _)| plain)
}

/// A hash that is the same in every process.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

fn sum(kind: FileKind, aad: &[u8], plain: &[u8]) -> [u8; SUM_BYTES] {
    let mut bytes = format!("{kind:?}").into_bytes();
    bytes.extend_from_slice(aad);
    bytes.extend_from_slice(plain);
    digest(&bytes).to_be_bytes()
}

impl Envelope for Checksum {
    fn seal(&self, kind: FileKind, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut sealed = plain.to_vec();
        sealed.extend_from_slice(&sum(kind, aad, plain));
        sealed
    }

    fn open(&self, kind: FileKind, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Tampered> {
        let (plain, found) = sealed.split_last_chunk::<SUM_BYTES>().ok_or(Tampered)?;
        if *found == sum(kind, aad, plain) { Ok(plain.to_vec()) } else { Err(Tampered) }
    }
}

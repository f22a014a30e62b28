//! How much of a snapshot there is, and which: counted and summed chunk by chunk on both sides of a transfer.
//!
//! The sum is a CRC-32: it tells one snapshot's chunks from another's. Whether bytes were changed by somebody is for
//! TLS on the way and for the envelope on the disk to say.

/// Chunks from the first one on: how many, how long, and their sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sum {
    pub(crate) chunks: u64,
    pub(crate) bytes: u64,
    /// CRC-32 (IEEE 802.3) of all bytes, one chunk after the other.
    pub(crate) checksum: u32,
}

/// A [`Sum`] under way.
#[derive(Clone, Default, Debug)]
pub(crate) struct Tally {
    chunks: u64,
    bytes: u64,
    crc: crc32fast::Hasher,
}

impl Tally {
    pub(crate) fn add(&mut self, chunk: &[u8]) {
        self.chunks += 1;
        self.bytes = self.bytes.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        self.crc.update(chunk);
    }

    pub(crate) fn sum(&self) -> Sum {
        Sum { chunks: self.chunks, bytes: self.bytes, checksum: self.crc.clone().finalize() }
    }
}

/// The sum of one chunk.
pub(crate) fn checksum(chunk: &[u8]) -> u32 {
    crc32fast::hash(chunk)
}

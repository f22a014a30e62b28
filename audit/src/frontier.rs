//! The right edge of a Merkle tree: enough to append and to know the root, in at most 64 hashes.

use serde::{Deserialize, Serialize};

use crate::{Hash, Head, LogName, leaf_hash};

/// The size of a tree and the roots of its perfect subtrees, largest first: one for each bit set in the size.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

/// The number of subtree roots does not fit the size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a frontier of size {size} has {} subtree roots, not {peaks}", size.count_ones())]
pub struct FrontierError {
    size: u64,
    peaks: usize,
}

#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The frontier of no leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of leaves; also the index of the next one.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf and returns its index.
    pub fn push(&mut self, leaf: &[u8]) -> u64 {
        self.append(leaf_hash(leaf))
    }

    /// Appends a leaf hash and returns its index.
    pub fn append(&mut self, leaf: Hash) -> u64 {
        let index = self.size;
        // A tree of 2^64 leaves cannot be reached: at a million a second it takes half a million years.
        self.size = self.size.saturating_add(1);
        let mut node = leaf;
        for _ in 0..index.trailing_ones() {
            let Some(left) = self.peaks.pop() else { break };
            node = Hash::node(left, node);
        }
        self.peaks.push(node);
        index
    }

    /// The root: RFC 6962 §2.1 Merkle tree hash.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.peaks.iter().rev().copied().reduce(|right, left| Hash::node(left, right)).unwrap_or_else(Hash::empty_tree)
    }

    /// The head of that log, if this is its frontier.
    #[must_use]
    pub fn head(&self, log: LogName) -> Head {
        Head { log, size: self.size, root: self.root() }
    }
}

impl TryFrom<Stored> for Frontier {
    type Error = FrontierError;
    fn try_from(Stored { size, peaks }: Stored) -> Result<Self, FrontierError> {
        if u32::try_from(peaks.len()) == Ok(size.count_ones()) {
            Ok(Self { size, peaks })
        } else {
            Err(FrontierError { size, peaks: peaks.len() })
        }
    }
}

impl From<Frontier> for Stored {
    fn from(Frontier { size, peaks }: Frontier) -> Self {
        Self { size, peaks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::vectors::{ROOTS, leaves};

    #[test]
    fn rfc_6962_roots() {
        let mut frontier = Frontier::new();
        assert_eq!(frontier.root().to_string(), ROOTS[0]);
        for (i, leaf) in leaves().iter().enumerate() {
            assert_eq!(frontier.push(leaf), i as u64);
            assert_eq!(frontier.root().to_string(), ROOTS[i + 1], "after {} leaves", i + 1);
        }
    }

    #[test]
    fn it_is_stored_and_checked_when_it_is_read() {
        let mut frontier = Frontier::new();
        for leaf in leaves().iter().take(7) {
            frontier.push(leaf);
        }
        let bytes = postcard::to_stdvec(&frontier).expect("encodes");
        assert_eq!(bytes.len(), 2 + 3 * 32);
        let mut read: Frontier = postcard::from_bytes(&bytes).expect("decodes");
        read.push(&leaves()[7]);
        assert_eq!(read.root().to_string(), ROOTS[8]);
        let mut wrong = bytes;
        wrong[0] = 8;
        assert!(postcard::from_bytes::<Frontier>(&wrong).is_err());
    }
}

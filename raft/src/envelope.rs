//! The seal around everything this crate writes to disk. The cipher is handed in by the server.
//!
//! This file fixes what is sealed together with the bytes (the additional data), so that a record cannot be moved to
//! another place, node, cluster or kind of file. It does not choose keys, nonces or algorithms.

use types::{ClusterId, NodeId};

/// The kind of file a sealed record belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// A payload in the Raft log.
    Log,
    /// A record of a snapshot file.
    Snapshot,
    /// The witness file: the highest synced position and the vote.
    Witness,
}

/// A sealed record does not open: it was changed, moved, or sealed under another key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the record does not open: it was damaged, moved here from elsewhere, or sealed under another key")]
pub struct Tampered;

/// Seals and opens records: authenticated encryption, because its tag is the only checksum of a snapshot record.
pub trait Envelope: Send + Sync + 'static {
    /// Seals `plain` together with `aad`, which is not stored.
    fn seal(&self, kind: FileKind, aad: &[u8], plain: &[u8]) -> Vec<u8>;

    /// Opens what [`Envelope::seal`] returned for the same kind and `aad`.
    ///
    /// # Errors
    /// [`Tampered`] when one bit differs.
    fn open(&self, kind: FileKind, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Tampered>;
}

impl FileKind {
    /// The kind's byte in the additional data; never reused.
    const fn byte(self) -> u8 {
        match self {
            Self::Log => 1,
            Self::Snapshot => 2,
            Self::Witness => 3,
        }
    }
}

/// Whose files these are: the first part of every record's additional data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owner {
    /// The cluster.
    pub(crate) cluster: ClusterId,
    /// The node.
    pub(crate) node: NodeId,
}

impl Owner {
    /// `kind(1) | cluster(16) | node(u64 BE) | place…`, each place a u64 BE.
    pub(crate) fn aad(&self, kind: FileKind, place: &[u64]) -> Vec<u8> {
        let mut aad = Vec::with_capacity(25 + 8 * place.len());
        aad.push(kind.byte());
        aad.extend_from_slice(&self.cluster.0);
        aad.extend_from_slice(&self.node.0.to_be_bytes());
        for part in place {
            aad.extend_from_slice(&part.to_be_bytes());
        }
        aad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_additional_data_names_kind_cluster_node_and_place() {
        let owner = Owner { cluster: ClusterId([7; 16]), node: NodeId(2) };
        let mut expected = vec![1];
        expected.extend_from_slice(&[7; 16]);
        expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 2]);
        expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(owner.aad(FileKind::Log, &[3, 256]), expected);
    }
}

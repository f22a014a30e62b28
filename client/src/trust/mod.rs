//! The trust document: what the cluster key vouches for, and the only thing a client pins is that key's hash.
//!
//! Clients fetch it from a server they do not trust yet, verify it, and from then on accept only servers whose key it
//! lists (docs/spec/formation.md, pinning). This module signs, verifies and compares; it opens no connection.

mod cache;
mod statement;

use crypto::sign::{P256Signer, verify_p256_spki};
use proto::cluster::v1 as wire;
use types::SpkiHash;

pub use cache::TrustCache;
pub use statement::{Statement, TrustedNode};

use crate::private_file::FileError;

/// Longest statement: sixteen nodes and sixteen authorities fit many times.
const STATEMENT_BYTES_MAX: usize = 256 * 1_024;

/// Why a trust document was refused.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// It is signed by another key than the pinned one.
    #[error("the trust document is signed by key {found}, but this identity belongs to the cluster of key {pinned}")]
    OtherCluster {
        /// The hash of the key in the document.
        found: SpkiHash,
        /// The hash that is pinned.
        pinned: SpkiHash,
    },
    /// Its signature does not verify.
    #[error("the trust document's signature does not verify")]
    BadSignature,
    /// It is signed, and not well formed.
    #[error("the trust document is malformed: {0}")]
    Malformed(String),
    /// It is older than one seen before: a server is behind, restored, or replays the past.
    #[error("the trust document is older (generation {}, sequence {}) than the one seen before ({}, {})", .offered.0, .offered.1, .seen.0, .seen.1)]
    Older {
        /// Generation and sequence offered.
        offered: (u64, u64),
        /// Generation and sequence seen before.
        seen: (u64, u64),
    },
    /// The server that handed it out is not in it.
    #[error("the server's key {0} is not in the cluster's trust document")]
    ServerNotListed(SpkiHash),
    /// The cache on disk could not be used.
    #[error(transparent)]
    Cache(#[from] FileError),
}

/// A document whose signature and form have been checked under a pinned key.
#[derive(Clone, Debug)]
pub struct TrustDocument {
    statement: Statement,
    wire: wire::TrustDocument,
}

/// Signs a statement with the cluster key.
#[must_use]
pub fn sign(statement: &Statement, cluster_key: &P256Signer) -> wire::TrustDocument {
    let statement = statement.encode();
    let signature = cluster_key.sign(&statement);
    wire::TrustDocument { statement, signature, cluster_spki: cluster_key.spki_der() }
}

impl TrustDocument {
    /// Checks a document under the pinned hash of the cluster key.
    ///
    /// # Errors
    /// When it is another cluster's, its signature does not verify, or it is malformed.
    pub fn verify(wire: wire::TrustDocument, pinned: SpkiHash) -> Result<Self, TrustError> {
        if wire.statement.len() > STATEMENT_BYTES_MAX {
            return Err(TrustError::Malformed(format!("it is longer than {STATEMENT_BYTES_MAX} bytes")));
        }
        let found = ca::spki_hash(&wire.cluster_spki);
        if found != pinned {
            return Err(TrustError::OtherCluster { found, pinned });
        }
        verify_p256_spki(&wire.cluster_spki, &wire.statement, &wire.signature).map_err(|_| TrustError::BadSignature)?;
        // Parsed only after it is known who wrote it.
        let statement = Statement::decode(&wire.statement)?;
        Ok(Self { statement, wire })
    }

    /// What it says.
    #[must_use]
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The document as it travels.
    #[must_use]
    pub fn wire(&self) -> &wire::TrustDocument {
        &self.wire
    }

    /// Refuses this document when `seen` is newer.
    ///
    /// # Errors
    /// [`TrustError::Older`].
    pub fn check_not_older_than(&self, seen: &Self) -> Result<(), TrustError> {
        let (offered, seen) = (self.statement.order(), seen.statement.order());
        if offered < seen { Err(TrustError::Older { offered, seen }) } else { Ok(()) }
    }

    /// Refuses a server that the document does not list.
    ///
    /// # Errors
    /// [`TrustError::ServerNotListed`].
    pub fn check_lists(&self, server: SpkiHash) -> Result<(), TrustError> {
        if self.statement.nodes.iter().any(|node| node.spki == server) {
            Ok(())
        } else {
            Err(TrustError::ServerNotListed(server))
        }
    }

    /// The keys of the nodes: what a client pins.
    pub fn pins(&self) -> impl Iterator<Item = SpkiHash> + '_ {
        self.statement.nodes.iter().map(|node| node.spki)
    }
}

#[cfg(test)]
mod tests;

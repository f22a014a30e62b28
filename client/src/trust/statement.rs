//! What a trust document states, parsed.

use prost::Message as _;
use proto::cluster::v1 as wire;
use types::limits::{BUNDLE_ROOTS_MAX, NODES_MAX};
use types::{ClusterId, NodeId, SpkiHash, TrustDomain};

use super::TrustError;
use crate::Address;

/// A node that the cluster vouches for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustedNode {
    /// Its number.
    pub node: NodeId,
    /// The hash of its identity key.
    pub spki: SpkiHash,
    /// Where its API is reached.
    pub api_address: Address,
}

/// What the cluster key vouches for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// Grows with every restore.
    pub generation: u64,
    /// Grows with every change of what is below.
    pub sequence: u64,
    /// The members.
    pub nodes: Vec<TrustedNode>,
    /// Where SPIFFE IDs are made.
    pub trust_domain: TrustDomain,
    /// The X.509 authorities of the bundle, DER.
    pub x509_authorities: Vec<Vec<u8>>,
}

impl Statement {
    /// What is compared to tell older from newer.
    #[must_use]
    pub fn order(&self) -> (u64, u64) {
        (self.generation, self.sequence)
    }

    /// The bytes that are signed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let nodes = self.nodes.iter().map(|node| wire::TrustedNode {
            node: node.node.0,
            spki_sha256: node.spki.0.to_vec(),
            api_address: node.api_address.to_string(),
        });
        let statement = wire::TrustStatement {
            cluster_id: self.cluster_id.to_hex(),
            generation: self.generation,
            sequence: self.sequence,
            nodes: nodes.collect(),
            trust_domain: self.trust_domain.to_string(),
            x509_authorities: self.x509_authorities.clone(),
        };
        statement.encode_to_vec()
    }

    /// Reads what [`Statement::encode`] wrote.
    ///
    /// # Errors
    /// [`TrustError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, TrustError> {
        let malformed = |why: &str| TrustError::Malformed(why.to_owned());
        let wire = wire::TrustStatement::decode(bytes).map_err(|error| malformed(&error.to_string()))?;
        if wire.nodes.is_empty() || wire.nodes.len() > NODES_MAX {
            return Err(malformed("it lists no node, or more than a cluster can have"));
        }
        if wire.x509_authorities.len() > BUNDLE_ROOTS_MAX {
            return Err(malformed("it lists more authorities than a bundle can hold"));
        }
        Ok(Self {
            cluster_id: ClusterId::from_hex(&wire.cluster_id).ok_or_else(|| malformed("its cluster id"))?,
            generation: wire.generation,
            sequence: wire.sequence,
            nodes: wire.nodes.into_iter().map(node).collect::<Result<_, _>>()?,
            trust_domain: TrustDomain::parse(&wire.trust_domain).map_err(|error| malformed(&error.to_string()))?,
            x509_authorities: wire.x509_authorities,
        })
    }
}

fn node(wire: wire::TrustedNode) -> Result<TrustedNode, TrustError> {
    let spki = <[u8; 32]>::try_from(wire.spki_sha256)
        .map_err(|_| TrustError::Malformed("a node's key hash has not 32 bytes".to_owned()))?;
    let api_address = Address::parse(&wire.api_address).map_err(|error| TrustError::Malformed(error.to_string()))?;
    Ok(TrustedNode { node: NodeId(wire.node), spki: SpkiHash(spki), api_address })
}

//! What a backup says of itself to whoever has no identity (docs/spec/backup.md §2).

use crypto::recipients::{RECIPIENTS_MAX, Recipient};
use serde::{Deserialize, Serialize};
use state::State;
use types::{ClusterId, NodeId, SpkiHash, Time, TrustDomain};

/// The manifest of a backup. It is signed with the rest of the file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Whose it is, in hexadecimal.
    pub cluster_id: String,
    /// The cluster's SPIFFE IDs are made in it.
    pub trust_domain: TrustDomain,
    /// Which life of the cluster.
    pub generation: u64,
    /// DER SubjectPublicKeyInfo of the cluster key, in hexadecimal.
    pub cluster_spki: String,
    /// The last entry that it holds.
    pub index: u64,
    /// The term in which its maker was then.
    pub term: u64,
    /// State time of that entry, in milliseconds since the Unix epoch.
    pub state_time_ms: u64,
    /// The maker's clock, in milliseconds since the Unix epoch.
    pub created_time_ms: u64,
    /// The node that made it.
    pub node: u64,
    /// Version of the state machine.
    pub state_version: u32,
    /// Epochs of the root keys in it, ascending.
    pub root_epochs: Vec<u32>,
    /// How many namespaces it holds.
    pub namespaces: u64,
    /// How many keys.
    pub keys: u64,
    /// How many records of the cluster's audit log.
    pub audit_leaves: u64,
    /// To whom it is sealed.
    pub recipients: Vec<String>,
    /// Version of the program that made it.
    pub build: String,
}

/// Who makes a backup, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Maker {
    pub(super) node: NodeId,
    pub(super) term: u64,
    pub(super) now: Time,
}

impl Manifest {
    /// The manifest of a backup of that state; none before there is a cluster.
    pub(super) fn of(state: &State, maker: Maker, root_epochs: Vec<u32>, recipients: &[Recipient]) -> Option<Self> {
        let row = state.cluster()?;
        Some(Self {
            cluster_id: row.id.to_hex(),
            trust_domain: row.trust_domain.clone(),
            generation: row.generation.get(),
            cluster_spki: hex(&row.spki),
            index: state.index(),
            term: maker.term,
            state_time_ms: state.time().0,
            created_time_ms: maker.now.0,
            node: maker.node.0,
            state_version: state.version(),
            root_epochs,
            namespaces: state.namespaces().count() as u64,
            keys: state.key_count(),
            audit_leaves: state.cluster_audit_head().size,
            recipients: recipients.iter().map(ToString::to_string).collect(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    /// The bytes that stand in the file.
    pub(super) fn to_bytes(&self) -> std::io::Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(std::io::Error::other)
    }

    /// Reads it, and refuses what no node writes.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let read: Self = serde_json::from_slice(bytes).map_err(|error| format!("its manifest: {error}"))?;
        if read.cluster().is_none() {
            return Err("its manifest names no cluster".to_owned());
        }
        let sealed_to = read.recipients.len();
        let known = read.recipients.iter().all(|text| Recipient::parse(text).is_ok());
        if !known || !(1..=RECIPIENTS_MAX).contains(&sealed_to) {
            return Err("its manifest names recipients that are none".to_owned());
        }
        Ok(read)
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        ClusterId::from_hex(&self.cluster_id)
    }

    /// The hash of the cluster key: what operators' identities pin.
    #[must_use]
    pub fn cluster_key_hash(&self) -> Option<SpkiHash> {
        Some(ca::spki_hash(&self.spki()?))
    }

    /// The cluster key's public half, DER.
    pub(super) fn spki(&self) -> Option<Vec<u8>> {
        let text = self.cluster_spki.as_bytes();
        if !text.len().is_multiple_of(2) {
            return None;
        }
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let pair = |pair: &[u8]| match pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        };
        text.chunks(2).map(pair).collect()
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

//! Members of the cluster: where they listen and by which key they are known.
//!
//! Data only: who becomes a member is decided by the server and committed through the log.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use types::{NodeId, SpkiHash};

/// One member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// `host:port` of its peer port.
    pub address: String,
    /// SHA-256 of its identity key's SubjectPublicKeyInfo; the peer port accepts no other key for it.
    pub spki: SpkiHash,
}

impl Default for Member {
    /// No address and a key hash that no key has. It exists because openraft's own tests make members without data.
    fn default() -> Self {
        Self { address: String::new(), spki: SpkiHash([0; 32]) }
    }
}

/// The membership at one point of the log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Members {
    /// Every member by number: voters and learners.
    pub all: BTreeMap<NodeId, Member>,
    /// Those that vote, in the old or the new half of a change under way.
    pub voters: BTreeSet<NodeId>,
    /// A change of voters is under way: both halves must agree (joint consensus).
    pub changing: bool,
}

impl Members {
    /// The member of that number.
    #[must_use]
    pub fn get(&self, id: NodeId) -> Option<&Member> {
        self.all.get(&id)
    }

    /// The member that holds that key.
    #[must_use]
    pub fn by_key(&self, spki: &SpkiHash) -> Option<(NodeId, &Member)> {
        self.all.iter().find(|(_, member)| member.spki == *spki).map(|(id, member)| (*id, member))
    }

    /// Whether that node votes.
    #[must_use]
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.voters.contains(&id)
    }
}

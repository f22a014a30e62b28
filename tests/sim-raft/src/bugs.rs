//! Bugs that are planted to see that they are found. Each is a wrong adapter of the simulation; no production code has a
//! switch for it.

use std::str::FromStr;

use raft::simulation::Bug;

/// A planted bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Plant {
    /// The leader answers its client as soon as the entry is in its own log.
    CommitWithoutQuorum,
    /// The log reports entries as synced when they are only written.
    AcknowledgeOnAppend,
    /// A vote is answered without a sync.
    VoteNotSynced,
    /// The log is purged up to the newest snapshot instead of the older of two.
    PurgeTooEarly,
    /// Retries are not recognised.
    DedupeOff,
    /// Reads are answered from whatever a node has applied.
    StaleReads,
    /// A revocation is answered as soon as it is committed, while other nodes may serve the state before it.
    FenceTooEarly,
    /// One replica applies some entries differently.
    Diverge,
}

/// All of them by the name that the command line takes.
pub(crate) const ALL: [(&str, Plant); 8] = [
    ("commit-without-quorum", Plant::CommitWithoutQuorum),
    ("acknowledge-on-append", Plant::AcknowledgeOnAppend),
    ("vote-not-synced", Plant::VoteNotSynced),
    ("purge-too-early", Plant::PurgeTooEarly),
    ("dedupe-off", Plant::DedupeOff),
    ("stale-reads", Plant::StaleReads),
    ("fence-too-early", Plant::FenceTooEarly),
    ("diverge", Plant::Diverge),
];

impl Plant {
    /// Its part that lies in the simulated disks.
    pub(crate) const fn in_disk(self) -> Option<Bug> {
        match self {
            Self::AcknowledgeOnAppend => Some(Bug::AcknowledgeOnAppend),
            Self::VoteNotSynced => Some(Bug::VoteNotSynced),
            _ => None,
        }
    }
}

impl FromStr for Plant {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = ALL.iter().find(|(known, _)| *known == name).map(|(_, plant)| *plant);
        found.ok_or_else(|| format!("there is no bug `{name}`, choose one of {:?}", ALL.map(|(name, _)| name)))
    }
}

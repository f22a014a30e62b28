//! The ledger and the state (docs/spec/ledger.md): which facts a ledger lacks, and what a backup becomes when a ledger is held
//! against it.

use audit::{Ledger, LedgerFact};
use kms::VersionState;
use kms::key::At;
use types::{AgentName, Generation, KeyId, OperatorName, Principal, Reason, Refusal, Revision, SpkiHash, Time};

use crate::State;
use crate::rows::{Agent, Destruction, Operator, QuarantineReason};

/// A key's highest version is told whenever it has passed another multiple of this: less than what a restore skips.
const VERSIONS_TOLD: u32 = types::limits::KEY_VERSION_STEP / 4;

/// A fact that a ledger lacks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Untold {
    /// By which entry.
    pub index: u64,
    /// When, in state time.
    pub at: Time,
    /// What.
    pub fact: LedgerFact,
}

/// A backup that a ledger was held against.
#[derive(Clone, Debug)]
pub struct Accounted {
    /// What was destroyed and revoked after the backup is destroyed and revoked in it.
    pub state: State,
    /// Why its namespaces are to be quarantined; none when the ledger goes beyond the backup.
    pub quarantine: Option<QuarantineReason>,
    /// The latest life of the cluster that either knows of.
    pub seen: Generation,
    /// How many things the backup would have brought back.
    pub applied: u64,
}

impl State {
    /// What a ledger lacks that ends at `after`, in the order of the entries that did it. Repeating what it has is harmless.
    #[must_use]
    pub fn ledger_facts(&self, after: (Generation, u64)) -> Vec<Untold> {
        // Another life's indexes say nothing of this one's.
        let (generation, index) = after;
        let after = if generation == self.generation() { Revision(index) } else { Revision::NONE };
        let from = Revision(after.0.saturating_add(1));
        let destroyed = self.destruction_table().range(from..).filter_map(|(by, row)| self.told_destroyed(*by, row));
        let operators = self.operator_table().iter().filter_map(|(name, row)| {
            let fact = LedgerFact::OperatorRevoked { name: name.to_string(), spki: row.spki };
            row.revoked.filter(|_| row.revision > after).map(|at| Untold { index: row.revision.0, at, fact })
        });
        let agents = self.agent_table().iter().filter_map(|(name, row)| {
            let fact = LedgerFact::AgentRevoked { name: name.to_string(), spki: row.spki };
            row.revoked.filter(|_| row.revision > after).map(|at| Untold { index: row.revision.0, at, fact })
        });
        let mut facts: Vec<Untold> =
            destroyed.chain(operators).chain(agents).chain(self.told_versions(after)).collect();
        facts.sort_by_key(|untold| untold.index);
        if generation < self.generation() && generation > Generation::NONE {
            let fact = LedgerFact::Generation(self.generation());
            facts.insert(0, Untold { index: 0, at: self.time(), fact });
        }
        facts
    }

    /// This state, when it came out of a backup, with what a ledger knows of the time since.
    ///
    /// # Errors
    /// `PreconditionFailed` for the ledger of another cluster.
    pub fn account_for(&self, ledger: &Ledger) -> Result<Accounted, Refusal> {
        let own = self.cluster().map(|cluster| cluster.id);
        if ledger.lines.iter().any(|line| Some(line.cluster) != own) {
            let message = "the ledger is another cluster's: name the one of the cluster that the backup is of";
            return Err(Refusal::new(Reason::PreconditionFailed, message));
        }
        let behind = ledger.end.last < (self.generation(), self.index());
        let mut accounted = Accounted {
            state: self.clone(),
            quarantine: behind.then_some(QuarantineReason::LedgerBehind),
            seen: self.generation(),
            applied: 0,
        };
        for line in &ledger.lines {
            let by = By { index: Revision(line.index), at: line.at };
            accounted.seen = accounted.seen.max(line.generation);
            let changed = match &line.fact {
                LedgerFact::Begun(_) | LedgerFact::Mark => false,
                LedgerFact::Generation(opened) => {
                    accounted.seen = accounted.seen.max(*opened);
                    false
                }
                LedgerFact::Destroyed { key_id, versions, whole, .. } => {
                    accounted.state.destroy_again(key_id, versions, *whole, by)
                }
                LedgerFact::Version { key_id, last } => accounted.state.raise_version(key_id, *last),
                LedgerFact::OperatorRevoked { name, spki } => accounted.state.revoke_operator_again(name, *spki, by),
                LedgerFact::AgentRevoked { name, spki } => accounted.state.revoke_agent_again(name, *spki, by),
            };
            accounted.applied = accounted.applied.saturating_add(u64::from(changed));
        }
        Ok(accounted)
    }

    fn told_destroyed(&self, by: Revision, row: &Destruction) -> Option<Untold> {
        let (namespace, name, key) = self.key_by_id(&row.key)?;
        let fact = LedgerFact::Destroyed {
            namespace: namespace.to_string(),
            key: name.to_string(),
            key_id: row.key,
            versions: row.versions.clone(),
            whole: key.destroyed.is_some() && key.revision == by,
        };
        Some(Untold { index: by.0, at: row.at, fact })
    }

    /// The versions whose number is a multiple, of keys that have changed since.
    fn told_versions(&self, after: Revision) -> impl Iterator<Item = Untold> {
        let many =
            self.key_table().iter().filter(move |(_, key)| key.revision > after && key.last_version >= VERSIONS_TOLD);
        many.filter_map(move |(_, key)| {
            let told = key.last_version - key.last_version % VERSIONS_TOLD;
            let row = self.key_version(&key.id, told).filter(|row| row.revision > after)?;
            let fact = LedgerFact::Version { key_id: key.id, last: told };
            Some(Untold { index: row.revision.0, at: row.created, fact })
        })
    }

    fn destroy_again(&mut self, id: &KeyId, versions: &[u32], whole: bool, by: By) -> bool {
        let found = self.key_by_id(id).map(|(namespace, name, key)| (namespace.clone(), name.clone(), key.clone()));
        let Some((namespace, name, mut key)) = found else { return false };
        let mut changed = false;
        for version in versions {
            let row = self.key_version(id, *version).filter(|row| row.state != VersionState::Destroyed).cloned();
            let Some(mut row) = row else { continue };
            row.destroy(by.index);
            self.put_version((*id, *version), row);
            changed = true;
        }
        if whole && key.destroyed.is_none() {
            key.destroy(At { now: by.at, revision: by.index });
            // Versions that the lost life did not have any more.
            let left = self.key_versions(id, None, usize::MAX).items.into_iter();
            let left: Vec<_> = left.filter(|(_, row)| row.state != VersionState::Destroyed).collect();
            let left: Vec<_> = left.into_iter().map(|(number, row)| (number, row.clone())).collect();
            for (number, mut row) in left {
                row.destroy(by.index);
                self.put_version((*id, number), row);
            }
            changed = true;
        }
        if changed {
            let last = versions.iter().copied().max().unwrap_or(0);
            key.last_version = key.last_version.max(last);
            self.put_key(namespace, name, key);
            if self.destruction_table().get(&by.index).is_none() {
                let row = Destruction {
                    key: *id,
                    versions: versions.to_vec(),
                    at: by.at,
                    urgent: false,
                    members: Vec::new(),
                };
                self.put_destruction(by.index, row);
            }
        }
        changed
    }

    fn raise_version(&mut self, id: &KeyId, last: u32) -> bool {
        let found = self.key_by_id(id).map(|(namespace, name, key)| (namespace.clone(), name.clone(), key.clone()));
        let Some((namespace, name, mut key)) = found else { return false };
        // As many may have been made since it was told.
        let least = last.saturating_add(VERSIONS_TOLD);
        if key.last_version >= least {
            return false;
        }
        key.last_version = least;
        self.put_key(namespace, name, key);
        true
    }

    fn revoke_operator_again(&mut self, name: &str, spki: SpkiHash, by: By) -> bool {
        let Ok(name) = OperatorName::parse(name) else { return false };
        let row = self.operator(&name).filter(|row| row.spki == spki && row.revoked.is_none()).cloned();
        self.put_spent(spki, Principal::Operator(name.clone()));
        let Some(row) = row else { return false };
        self.put_operator(name, Operator { revoked: Some(by.at), revision: by.index, ..row });
        true
    }

    fn revoke_agent_again(&mut self, name: &str, spki: SpkiHash, by: By) -> bool {
        let Ok(name) = AgentName::parse(name) else { return false };
        let row = self.agent(&name).filter(|row| row.spki == spki && row.revoked.is_none()).cloned();
        self.put_spent(spki, Principal::Agent(name.clone()));
        let Some(row) = row else { return false };
        self.put_agent(name, Agent { revoked: Some(by.at), revision: by.index, ..row });
        true
    }
}

/// The entry of the lost life that did something.
#[derive(Clone, Copy)]
struct By {
    index: Revision,
    at: Time,
}

//! What a backup becomes when ledgers are held against it (docs/spec/ledger.md §4). Whoever restores asks, before the new life
//! is opened; everything that changes does so under an index of that life.

use audit::{Ledger, LedgerError, LedgerFact, LedgerLine};
use kms::key::At;
use kms::{ScheduledDestruction, VersionState};
use types::{
    AgentName, Binding, EntryName, Generation, KeyId, KeyName, NamespaceName, OperatorName, Principal, Reason, Refusal,
    Revision, SpkiHash, Time,
};

use crate::State;
use crate::ledger::VERSIONS_TOLD;
use crate::rows::{Agent, Destruction, Namespace, NamespaceLife, Operator, QuarantineReason, Withdrawn};

/// A backup that ledgers were held against.
#[derive(Clone, Debug)]
pub struct Accounted {
    /// What was destroyed and revoked after the backup is destroyed and revoked in it.
    pub state: State,
    /// Why its namespaces are to be quarantined; none when a ledger accounts for all that came after the backup.
    pub quarantine: Option<QuarantineReason>,
    /// The latest life of the cluster that any of them knows of.
    pub seen: Generation,
    /// How many things the backup would have brought back.
    pub applied: u64,
}

impl State {
    /// This state, when it came out of a backup, with what the ledgers know of the time since: each as far as it verifies, and
    /// what was wrong with it then.
    ///
    /// # Errors
    /// `PreconditionFailed` for the ledger of another cluster.
    pub fn account_for(&self, ledgers: &[(Ledger, Option<LedgerError>)]) -> Result<Accounted, Refusal> {
        let own = self.cluster().map(|cluster| cluster.id);
        let lines = || ledgers.iter().flat_map(|(ledger, _)| &ledger.lines);
        if lines().any(|line| Some(line.cluster) != own) {
            let message = "the ledger is another cluster's: name the one of the cluster that the backup is of";
            return Err(Refusal::new(Reason::PreconditionFailed, message));
        }
        let backup = (self.generation(), self.index());
        let mut accounting = Accounting { state: self.clone(), backup, applied: 0 };
        accounting.state.leave_life(backup.0, Revision(backup.1));
        let (mut seen, mut time) = (backup.0, self.time());
        for line in lines() {
            (seen, time) = (seen.max(line.generation), time.max(line.at));
            accounting.hold(line);
        }
        let Accounting { mut state, applied, .. } = accounting;
        state.progress_mut().time = time;
        Ok(Accounted { state, quarantine: quarantine(ledgers, backup), seen, applied })
    }
}

/// None when one of them accounts for what came after the backup; otherwise what the best of them lacks.
fn quarantine(ledgers: &[(Ledger, Option<LedgerError>)], backup: (Generation, u64)) -> Option<QuarantineReason> {
    let lacks = |(ledger, damage): &(Ledger, Option<LedgerError>)| {
        let gap = |line: &LedgerLine| line.fact == LedgerFact::Since && (line.generation, line.index) > backup;
        if damage.is_some() {
            Some(QuarantineReason::LedgerUnsound)
        } else if ledger.end.marked < backup {
            Some(QuarantineReason::LedgerBehind)
        } else {
            ledger.lines.iter().any(gap).then_some(QuarantineReason::LedgerGap)
        }
    };
    ledgers.iter().map(lacks).min().unwrap_or(Some(QuarantineReason::NoLedger))
}

/// A backup on its way.
struct Accounting {
    state: State,
    /// Where the backup ends.
    backup: (Generation, u64),
    applied: u64,
}

impl Accounting {
    /// Carries a line out, under an index of its own: those of the lost life mean nothing here.
    fn hold(&mut self, line: &LedgerLine) {
        let by = At { now: line.at, revision: Revision(self.state.index().saturating_add(1)) };
        // Up to its end the backup knows better what was given back.
        let later = (line.generation, line.index) > self.backup;
        let state = &mut self.state;
        let withdrawn = match &line.fact {
            LedgerFact::Begun(_) | LedgerFact::Generation(_) | LedgerFact::Since | LedgerFact::Mark => None,
            LedgerFact::Destroyed { key_id, versions, whole, .. } => state
                .destroy_again(key_id, versions, *whole, by)
                .then_some(Withdrawn::Destroyed { key: *key_id, whole: *whole }),
            LedgerFact::Version { key_id, last } => state.raise_version(key_id, *last, by.revision),
            LedgerFact::OperatorRevoked { name, spki } => state.revoke_operator_again(name, *spki, by),
            LedgerFact::AgentRevoked { name, spki } => state.revoke_agent_again(name, *spki, by),
            LedgerFact::AgentReplaced { name, spki } => state.replace_agent_again(name, *spki, by),
            LedgerFact::NamespaceClosed { namespace, namespace_id, destroyed: true } => {
                state.destroy_namespace_again(namespace, namespace_id, by)
            }
            LedgerFact::Disabled { .. }
            | LedgerFact::BelowMinimum { .. }
            | LedgerFact::NamespaceClosed { .. }
            | LedgerFact::OperatorLimited { .. }
            | LedgerFact::RoleRevoked(_)
            | LedgerFact::EntryWithdrawn { .. }
            | LedgerFact::SuffixWithdrawn { .. }
                if !later =>
            {
                None
            }
            LedgerFact::Disabled { key_id, version, .. } => state.disable_again(key_id, *version, by.revision),
            LedgerFact::BelowMinimum { key_id, version, .. } => state.raise_minimum(key_id, *version, by.revision),
            LedgerFact::NamespaceClosed { namespace, namespace_id, destroyed: false } => {
                state.close_namespace_again(namespace, namespace_id, by)
            }
            LedgerFact::OperatorLimited { name, spki, expires } => state.limit_again(name, *spki, *expires, by),
            LedgerFact::RoleRevoked(binding) => state.revoke_role_again(binding),
            LedgerFact::EntryWithdrawn { namespace, entry } => state.withdraw_entry_again(namespace, entry, by.now),
            LedgerFact::SuffixWithdrawn { namespace, suffix } => {
                state.withdraw_suffix_again(namespace, suffix, by.revision)
            }
        };
        if let Some(what) = withdrawn {
            self.state.withdraw(by.revision, by.now, what);
            self.state.progress_mut().index = by.revision.0;
            self.applied = self.applied.saturating_add(1);
        }
    }
}

/// Each says what it changed, if it changed anything.
impl State {
    fn keyed(&self, id: &KeyId) -> Option<(NamespaceName, KeyName, kms::Key)> {
        self.key_by_id(id).map(|(namespace, name, key)| (namespace.clone(), name.clone(), key.clone()))
    }

    fn destroy_again(&mut self, id: &KeyId, versions: &[u32], whole: bool, by: At) -> bool {
        let Some((namespace, name, mut key)) = self.keyed(id) else { return false };
        let left = self.key_versions(id, None, usize::MAX).items.into_iter();
        let doomed = left.filter(|(number, row)| {
            // As a whole: those, too, that the lost life did not have any more.
            row.state != VersionState::Destroyed && (whole || versions.contains(number))
        });
        let doomed: Vec<_> = doomed.map(|(number, row)| (number, row.clone())).collect();
        let ends = whole && key.destroyed.is_none();
        if doomed.is_empty() && !ends {
            return false;
        }
        let mut versions: Vec<u32> = doomed.iter().map(|(number, _)| *number).collect();
        versions.sort_unstable();
        for (number, mut row) in doomed {
            row.destroy(by);
            self.put_version((*id, number), row);
        }
        if ends {
            key.destroy(by);
        }
        key.revision = by.revision;
        self.put_key(namespace, name, key);
        // No member has had it: the new one's disk is written without it.
        let root_epoch = self.root_epoch();
        let row = Destruction { key: *id, versions, at: by.now, urgent: false, members: Vec::new(), root_epoch };
        self.put_destruction(by.revision, row);
        true
    }

    fn raise_version(&mut self, id: &KeyId, last: u32, by: Revision) -> Option<Withdrawn> {
        let (namespace, name, mut key) = self.keyed(id)?;
        // As many may have been made since it was told.
        let least = last.saturating_add(VERSIONS_TOLD);
        if key.last_version >= least {
            return None;
        }
        (key.last_version, key.revision) = (least, by);
        self.put_key(namespace, name, key);
        Some(Withdrawn::Version { key: *id, last })
    }

    fn disable_again(&mut self, id: &KeyId, version: Option<u32>, by: Revision) -> Option<Withdrawn> {
        let (namespace, name, mut key) = self.keyed(id)?;
        let changed = match version {
            None => key.set_enabled(false, by).ok()?,
            Some(number) => {
                let mut row = self.key_version(id, number)?.clone();
                let changed = row.set_enabled(false, by).ok()?;
                self.put_version((*id, number), row);
                changed
            }
        };
        if !changed {
            return None;
        }
        key.revision = by;
        self.put_key(namespace, name, key);
        Some(Withdrawn::Disabled { key: *id, version })
    }

    fn raise_minimum(&mut self, id: &KeyId, version: u32, by: Revision) -> Option<Withdrawn> {
        let (namespace, name, mut key) = self.keyed(id).filter(|(_, _, key)| key.min_version < version)?;
        (key.min_version, key.revision) = (version, by);
        self.put_key(namespace, name, key);
        Some(Withdrawn::BelowMinimum { key: *id, version })
    }

    fn destroy_namespace_again(&mut self, name: &NamespaceName, id: &KeyId, by: At) -> Option<Withdrawn> {
        let row = self.namespace_keys().find(|(other, row)| *other == name && row.id == *id)?.1.clone();
        let life = NamespaceLife::Destroyed { at: by.now, by: by.revision };
        self.put_namespace(name.clone(), Namespace { life, kek_wrapped: Vec::new(), revision: by.revision, ..row });
        let root_epoch = self.root_epoch();
        let (key, versions, members) = (*id, Vec::new(), Vec::new());
        let row = Destruction { key, versions, at: by.now, urgent: false, members, root_epoch };
        self.put_destruction(by.revision, row);
        Some(Withdrawn::Namespace { name: name.clone(), destroyed: true })
    }

    /// Until when the lost life would have waited is not known: the restore has it wait for a whole period.
    fn close_namespace_again(&mut self, name: &NamespaceName, id: &KeyId, by: At) -> Option<Withdrawn> {
        let row = self.namespace(name).filter(|row| row.id == *id && row.life == NamespaceLife::Open)?.clone();
        let life = NamespaceLife::DestroyScheduled(ScheduledDestruction { due: by.now, urgent: false });
        self.put_namespace(name.clone(), Namespace { life, revision: by.revision, ..row });
        Some(Withdrawn::Namespace { name: name.clone(), destroyed: false })
    }

    fn revoke_operator_again(&mut self, name: &OperatorName, spki: SpkiHash, by: At) -> Option<Withdrawn> {
        let principal = Principal::Operator(name.clone());
        let spent = self.spend_again(spki, &principal);
        let row = self.operator(name).filter(|row| row.spki == spki && row.revoked.is_none()).cloned();
        if let Some(row) = row.clone() {
            let bindings: Vec<Binding> = self.bindings_of(&principal).cloned().collect();
            for binding in &bindings {
                self.remove_binding(binding);
            }
            self.remove_recovery(name);
            self.put_operator(name.clone(), Operator { revoked: Some(by.now), revision: by.revision, ..row });
        }
        (spent || row.is_some()).then(|| Withdrawn::Operator(name.clone(), spki))
    }

    fn limit_again(&mut self, name: &OperatorName, spki: SpkiHash, expires: Time, by: At) -> Option<Withdrawn> {
        let row = self.operator(name).filter(|row| row.spki == spki && row.expires > expires)?.clone();
        self.put_operator(name.clone(), Operator { expires, revision: by.revision, ..row });
        Some(Withdrawn::OperatorLimited(name.clone(), spki, expires))
    }

    fn revoke_agent_again(&mut self, name: &AgentName, spki: SpkiHash, by: At) -> Option<Withdrawn> {
        let spent = self.spend_again(spki, &Principal::Agent(name.clone()));
        let row = self.agent(name).filter(|row| row.spki == spki && row.revoked.is_none()).cloned();
        if let Some(row) = row.clone() {
            self.put_agent(name.clone(), Agent { revoked: Some(by.now), revision: by.revision, ..row });
        }
        (spent || row.is_some()).then(|| Withdrawn::Agent(name.clone(), spki))
    }

    /// The agent may come back with a token; its old key may not.
    fn replace_agent_again(&mut self, name: &AgentName, spki: SpkiHash, by: At) -> Option<Withdrawn> {
        let spent = self.spend_again(spki, &Principal::Agent(name.clone()));
        let row = self.agent(name).filter(|row| row.spki == spki && row.expires > by.now).cloned();
        if let Some(row) = row.clone() {
            self.put_agent(name.clone(), Agent { expires: by.now, revision: by.revision, ..row });
        }
        (spent || row.is_some()).then(|| Withdrawn::AgentReplaced(name.clone(), spki))
    }

    fn spend_again(&mut self, spki: SpkiHash, holder: &Principal) -> bool {
        let fresh = !self.is_spent(&spki);
        if fresh {
            self.put_spent(spki, holder.clone());
        }
        fresh
    }

    fn revoke_role_again(&mut self, binding: &Binding) -> Option<Withdrawn> {
        self.remove_binding(binding).then(|| Withdrawn::Role(binding.clone()))
    }

    fn withdraw_entry_again(&mut self, namespace: &NamespaceName, name: &EntryName, now: Time) -> Option<Withdrawn> {
        let ttl = self.entry(namespace, name)?.spec().svid_ttl;
        self.remember_ttl(now, ttl);
        self.remove_entry(namespace, name);
        Some(Withdrawn::Entry(namespace.clone(), name.clone()))
    }

    fn withdraw_suffix_again(&mut self, name: &NamespaceName, suffix: &String, by: Revision) -> Option<Withdrawn> {
        let mut row = self.namespace(name).filter(|row| row.settings.dns_suffixes.contains(suffix))?.clone();
        row.settings.dns_suffixes.retain(|held| held != suffix);
        self.put_namespace(name.clone(), Namespace { revision: by, ..row });
        Some(Withdrawn::Suffix(name.clone(), suffix.clone()))
    }
}

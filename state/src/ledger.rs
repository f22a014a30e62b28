//! What a ledger is told (docs/spec/ledger.md §2): an entry that takes something away leaves a row beside its change, so that
//! what a ledger lacks is a question to state. What a backup becomes with one is in `accounting.rs`.

use audit::LedgerFact;
use types::limits::{KEY_VERSION_STEP, WITHDRAWALS_KEPT};
use types::{Generation, Revision, Time};

use crate::State;
use crate::rows::{Lives, Withdrawal, Withdrawn};

/// A key's highest version is told whenever it is a multiple of this: less than what a restore skips.
pub(crate) const VERSIONS_TOLD: u32 = KEY_VERSION_STEP / 4;

/// A fact that a ledger lacks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Untold {
    /// In which life of the cluster.
    pub generation: Generation,
    /// By which entry.
    pub index: u64,
    /// When, in state time.
    pub at: Time,
    /// What.
    pub fact: LedgerFact,
}

impl State {
    /// What a ledger lacks whose last mark is `end`, in the order of the entries that did it. Costs as much as there is to tell.
    #[must_use]
    pub fn ledger_facts(&self, end: (Generation, u64)) -> Vec<Untold> {
        let (own, lives, told) = (self.generation(), self.lives(), self.told_upto(end));
        let from = (Revision(told.0.saturating_add(1)), 0);
        // Of one entry's: that its life began, then that something is missing, then what it did.
        let mut facts: Vec<(Revision, Time, LedgerFact)> = Vec::new();
        if end.0 < own && own > Generation::FIRST {
            let opened = lives.ended.last().map_or(0, |(_, last)| last.0.saturating_add(1));
            facts.push((Revision(opened), self.time(), LedgerFact::Generation(own)));
        }
        if lives.forgotten > told {
            facts.push((lives.forgotten, self.time(), LedgerFact::Since));
        }
        let rows = self.withdrawal_table().range(from..);
        facts.extend(rows.filter_map(|((by, _), row)| Some((*by, row.at, self.fact_of(*by, &row.what)?))));
        facts.sort_by_key(|(by, _, _)| *by);
        let untold = facts.into_iter().map(|(by, at, fact)| {
            // A ledger never goes back, whichever life it was of.
            let (generation, index) = (lives.life_of(by).unwrap_or(own), by.0).max(end);
            Untold { generation, index, at, fact }
        });
        untold.collect()
    }

    /// Whether an entry took something away that a ledger is told of.
    #[must_use]
    pub fn withdrew(&self, index: u64) -> bool {
        let by = Revision(index);
        self.withdrawal_table().range((by, 0)..=(by, u32::MAX)).next().is_some()
    }

    /// The earlier lives that this state came out of.
    #[must_use]
    pub fn lives(&self) -> Lives {
        self.lives_table().get(&()).cloned().unwrap_or_default()
    }

    /// Up to which entry of this state a ledger knows everything that ends there.
    fn told_upto(&self, (generation, index): (Generation, u64)) -> Revision {
        if generation == self.generation() {
            return Revision(index);
        }
        // What it knows of that life's later entries is not of this one; of a life that is none of ours it may know nothing.
        let left = self.lives().ended.into_iter().find(|(life, _)| *life == generation);
        left.map_or(Revision::NONE, |(_, last)| last.min(Revision(index)))
    }

    fn fact_of(&self, by: Revision, what: &Withdrawn) -> Option<LedgerFact> {
        let fact = match what.clone() {
            Withdrawn::Destroyed { key: key_id, whole } => {
                let (namespace, key, _) = self.key_by_id(&key_id)?;
                let versions = self.destruction_table().get(&by).map(|row| row.versions.clone()).unwrap_or_default();
                LedgerFact::Destroyed { namespace: namespace.clone(), key: key.clone(), key_id, versions, whole }
            }
            Withdrawn::Disabled { key: key_id, version } => {
                let (namespace, key, _) = self.key_by_id(&key_id)?;
                LedgerFact::Disabled { namespace: namespace.clone(), key: key.clone(), key_id, version }
            }
            Withdrawn::BelowMinimum { key: key_id, version } => {
                let (namespace, key, _) = self.key_by_id(&key_id)?;
                LedgerFact::BelowMinimum { namespace: namespace.clone(), key: key.clone(), key_id, version }
            }
            Withdrawn::Namespace { name, destroyed } => {
                let namespace_id = self.namespace(&name)?.id;
                LedgerFact::NamespaceClosed { namespace: name, namespace_id, destroyed }
            }
            Withdrawn::Version { key: key_id, last } => LedgerFact::Version { key_id, last },
            Withdrawn::Operator(name, spki) => LedgerFact::OperatorRevoked { name, spki },
            Withdrawn::OperatorLimited(name, spki, expires) => LedgerFact::OperatorLimited { name, spki, expires },
            Withdrawn::Agent(name, spki) => LedgerFact::AgentRevoked { name, spki },
            Withdrawn::AgentReplaced(name, spki) => LedgerFact::AgentReplaced { name, spki },
            Withdrawn::Role(binding) => LedgerFact::RoleRevoked(binding),
            Withdrawn::Entry(namespace, entry) => LedgerFact::EntryWithdrawn { namespace, entry },
            Withdrawn::Suffix(namespace, suffix) => LedgerFact::SuffixWithdrawn { namespace, suffix },
        };
        Some(fact)
    }

    /// Remembers, for ledgers, what the entry at `by` takes away.
    pub(crate) fn withdraw(&mut self, by: Revision, at: Time, what: Withdrawn) {
        self.withdraw_within(WITHDRAWALS_KEPT, by, Withdrawal { at, what });
    }

    fn withdraw_within(&mut self, kept: usize, by: Revision, row: Withdrawal) {
        let own = (by, 0)..=(by, u32::MAX);
        let last = self.withdrawal_table().range(own).next_back().map(|((_, number), _)| *number);
        self.put_withdrawal((by, last.map_or(0, |last| last.saturating_add(1))), row);
        while self.withdrawal_table().len() > kept {
            let Some(oldest) = self.withdrawal_table().first().map(|(key, _)| *key) else { return };
            self.remove_withdrawal(&oldest);
            let lives = self.lives();
            self.put_lives(Lives { forgotten: lives.forgotten.max(oldest.0), ..lives });
        }
    }

    /// The life `generation` was left at `last`; what it did afterwards is not here.
    pub(crate) fn leave_life(&mut self, generation: Generation, last: Revision) {
        let mut lives = self.lives();
        if lives.ended.last().is_none_or(|(left, _)| *left < generation) {
            lives.ended.push((generation, last));
            self.put_lives(lives);
        }
    }

    /// What was taken away before `by` is not all known here.
    pub(crate) fn forget_withdrawals(&mut self, by: Revision) {
        let lives = self.lives();
        self.put_lives(Lives { forgotten: by, ..lives });
    }
}

impl Lives {
    /// The earlier life that an entry was of; none: this one's.
    fn life_of(&self, by: Revision) -> Option<Generation> {
        self.ended.iter().find(|(_, last)| by <= *last).map(|(life, _)| *life)
    }
}

#[cfg(test)]
mod tests {
    use types::SpkiHash;

    use super::*;

    fn gone(state: &mut State, by: u64) {
        let name = types::OperatorName::parse("bob").unwrap_or_else(|_| unreachable!("a name"));
        let what = Withdrawn::Operator(name, SpkiHash([by.to_le_bytes()[0]; 32]));
        state.withdraw_within(3, Revision(by), Withdrawal { at: Time(by), what });
    }

    fn told(state: &State, after: u64) -> Vec<(u64, bool)> {
        let facts = state.ledger_facts((Generation::NONE, after));
        facts.into_iter().map(|untold| (untold.index, untold.fact == LedgerFact::Since)).collect()
    }

    #[test]
    fn what_is_forgotten_leaves_a_gap_that_is_told() {
        let mut state = State::new();
        (1..=3).for_each(|by| gone(&mut state, by));
        assert_eq!(told(&state, 0), [(1, false), (2, false), (3, false)]);
        gone(&mut state, 3);
        assert_eq!(told(&state, 0), [(1, true), (2, false), (3, false), (3, false)]);
        assert_eq!(told(&state, 1), [(2, false), (3, false), (3, false)], "whoever had the first lacks nothing");
        gone(&mut state, 9);
        assert_eq!(told(&state, 1), [(2, true), (3, false), (3, false), (9, false)]);
        assert_eq!(told(&state, 9), []);
        assert_eq!(state.check(), Ok(()));
    }
}

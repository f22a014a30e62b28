//! What was destroyed, and which nodes have erased it: the receipt, and what a node has still to erase.

use std::collections::BTreeSet;

use types::limits::{ERASED_WITHIN, ERASURE_WAITS};
use types::{KeyId, NamespaceName, NodeId, Revision, Time};

use crate::State;
use crate::rows::{Departed, Destruction, Erased, NamespaceLife};

/// Who has erased what one entry destroyed (`docs/spec/destroy.md` §3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt<'a> {
    /// The entry.
    pub revision: Revision,
    /// What it destroyed.
    pub destruction: &'a Destruction,
    /// When every node has erased it at the latest, in state time.
    pub due: Time,
    /// The members of then and of now.
    pub nodes: Vec<(NodeId, Erasure)>,
}

/// What is known of one node's disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Erasure {
    /// It holds nothing of before `upto`, since `at`.
    Done {
        /// An entry past the one that destroyed.
        upto: Revision,
        /// State time of its word.
        at: Time,
    },
    /// It has not said so yet.
    Pending,
    /// It was removed before it said so: only whoever has its disk can erase it.
    Removed,
}

impl Receipt<'_> {
    /// Whether no disk that a member has holds it any more.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.nodes.iter().all(|(_, erasure)| matches!(erasure, Erasure::Done { .. }))
    }
}

impl State {
    /// The receipt of what the entry at `revision` destroyed.
    #[must_use]
    pub fn receipt(&self, revision: Revision) -> Option<Receipt<'_>> {
        let destruction = self.destruction_table().get(&revision)?;
        // One that came later may have been sent a snapshot and a log from before.
        let now = self.nodes().map(|(id, _)| id);
        let nodes: BTreeSet<NodeId> = destruction.members.iter().copied().chain(now).collect();
        let nodes = nodes.into_iter().map(|node| (node, self.erasure(node, revision))).collect();
        let due = if destruction.urgent { destruction.at } else { destruction.at.after(ERASED_WITHIN) };
        Some(Receipt { revision, destruction, due, nodes })
    }

    /// What was ever destroyed, by the entry that did it.
    pub fn destructions(&self) -> impl Iterator<Item = (Revision, &Destruction)> {
        self.destruction_table().iter().map(|(revision, row)| (*revision, row))
    }

    /// The receipts of a key, newest first: those of its `count` last destroyed versions.
    #[must_use]
    pub fn receipts_of(&self, key: &KeyId, count: usize) -> Vec<Receipt<'_>> {
        let versions = self.key_versions(key, None, usize::MAX).items.into_iter();
        let destroyed = versions.filter(|(_, row)| row.state == kms::VersionState::Destroyed);
        let by: BTreeSet<Revision> = destroyed.take(count).map(|(_, row)| row.revision).collect();
        by.into_iter().rev().filter_map(|revision| self.receipt(revision)).collect()
    }

    /// The receipt of a namespace's destruction.
    #[must_use]
    pub fn receipt_of_namespace(&self, name: &NamespaceName) -> Option<Receipt<'_>> {
        match self.namespace(name)?.life {
            NamespaceLife::Destroyed { by, .. } => self.receipt(by),
            NamespaceLife::Open | NamespaceLife::DestroyScheduled(_) => None,
        }
    }

    /// Up to which entry a node's disk holds nothing; none before its first word.
    #[must_use]
    pub fn erased_upto(&self, node: NodeId) -> Option<Revision> {
        self.erasures_of(node).next_back().map(|(upto, _)| upto)
    }

    /// The entry up to which a node is to erase its disk by now: the newest one that destroyed, once the oldest that is not
    /// erased has waited long enough or is urgent.
    #[must_use]
    pub fn erasure_due(&self, node: NodeId, now: Time) -> Option<Revision> {
        let from = Revision(self.erased_upto(node).map_or(0, |upto| upto.0.saturating_add(1)));
        // What no entry has done yet stands on no disk, and no log reaches it.
        let last = Revision(self.index());
        let mut pending = self.destruction_table().range(from..).filter(|(revision, _)| **revision <= last);
        let due = |destruction: &Destruction| destruction.urgent || now >= destruction.at.after(ERASURE_WAITS);
        let newest = pending.clone().next_back().map(|(revision, _)| *revision);
        pending.any(|(_, destruction)| due(destruction)).then_some(newest).flatten()
    }

    /// Members that were removed and may still hold a lease.
    pub fn departed(&self) -> impl Iterator<Item = (NodeId, &Departed)> {
        self.departed_table().iter().map(|(node, row)| (*node, row))
    }

    pub(crate) fn erasures_of(&self, node: NodeId) -> impl DoubleEndedIterator<Item = (Revision, &Erased)> {
        let all = (node, Revision::NONE)..=(node, Revision(u64::MAX));
        self.erasure_table().range(all).map(|((_, upto), row)| (*upto, row))
    }

    fn erasure(&self, node: NodeId, revision: Revision) -> Erasure {
        let first = self.erasure_table().range((node, revision)..=(node, Revision(u64::MAX))).next();
        match first {
            Some(((_, upto), row)) => Erasure::Done { upto: *upto, at: row.at },
            None if self.node(node).is_some() => Erasure::Pending,
            None => Erasure::Removed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_erased_up_to_an_entry_that_does_not_exist() {
        let row = |urgent| {
            let (key, members) = (KeyId([1; 16]), vec![NodeId(1)]);
            Destruction { key, versions: vec![1], at: Time(0), urgent, members, root_epoch: 1 }
        };
        let mut state = State::new();
        state.progress_mut().index = 10;
        // As a build wrote it that kept the indexes of a lost life.
        state.put_destruction(Revision(1_000), row(true));
        assert_eq!(state.erasure_due(NodeId(1), Time::NEVER), None);
        state.put_destruction(Revision(9), row(false));
        assert_eq!(state.erasure_due(NodeId(1), Time(0)), None, "what does not exist yet hurries nothing");
        assert_eq!(state.erasure_due(NodeId(1), Time::NEVER), Some(Revision(9)));
    }
}

//! The lease table: which node may hold a lease until when, as the leader of one term knows it (docs/spec/lease.md §2).
//!
//! Pure: every time is handed in, in the leader's boot clock. It errs to one side only: a lease is never over here before
//! it is over at its holder.

use std::collections::BTreeMap;
use std::time::Duration;

use types::NodeId;

/// What a leader counts on top of a lease for two clocks that run at different speeds: one part in so many.
const DRIFT_PART: u32 = 100;

/// The leases of one term.
#[derive(Debug)]
pub(crate) struct LeaseTable {
    term: u64,
    holders: BTreeMap<NodeId, Holder>,
    /// The highest index that was ever fenced in this term.
    fenced: u64,
    /// Counts the grants of this term.
    grants: u64,
}

/// The name of a grant: no two have the same, and a later one has a higher.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct GrantName {
    /// The term of the leader that made it.
    pub term: u64,
    /// Which of its grants, from 1.
    pub number: u64,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    /// It may hold a lease until then, and not longer.
    until: Duration,
    /// When the question came on which the newest grant was made.
    granted: Duration,
    /// That grant, if it was made in this term.
    newest: Option<GrantName>,
    /// It has applied that much, and any state that it serves from now on is at least as new.
    applied: u64,
}

impl LeaseTable {
    /// What a leader knows at its election: nothing, so every node may hold the longest lease there is from then on.
    /// `elected` may be any moment after the election.
    pub(crate) fn assume(
        term: u64,
        elected: Duration,
        nodes: impl IntoIterator<Item = NodeId>,
        longest: Duration,
    ) -> Self {
        let holder = Holder { until: ends(elected, longest), granted: elected, newest: None, applied: 0 };
        Self { term, holders: nodes.into_iter().map(|node| (node, holder)).collect(), fenced: 0, grants: 0 }
    }

    /// The term for which this holds.
    pub(crate) const fn term(&self) -> u64 {
        self.term
    }

    /// A node holds the grant of that name, and no more of it than `left`, by its own count and before it said so. If it is
    /// the newest that this leader made, nothing longer is left of earlier ones: a node has one lease.
    pub(crate) fn holds(&mut self, node: NodeId, received: Duration, name: GrantName, left: Duration) {
        if let Some(holder) = self.holders.get_mut(&node)
            && holder.newest == Some(name)
        {
            holder.until = holder.until.min(ends(received, left));
        }
    }

    /// A node whose question came at `received` is granted `length`. Called before the answer is sent.
    pub(crate) fn grants(&mut self, node: NodeId, received: Duration, length: Duration) -> GrantName {
        self.grants += 1;
        let name = GrantName { term: self.term, number: self.grants };
        let until = ends(received, length);
        let holder = self.holders.entry(node).or_insert(Holder { until, granted: received, newest: None, applied: 0 });
        holder.until = holder.until.max(until);
        holder.granted = holder.granted.max(received);
        holder.newest = Some(name);
        name
    }

    /// A node has applied that entry.
    pub(crate) fn has_applied(&mut self, node: NodeId, index: u64) {
        if let Some(holder) = self.holders.get_mut(&node) {
            holder.applied = holder.applied.max(index);
        }
    }

    /// Whether a node is known to have applied that entry.
    pub(crate) fn has(&self, node: NodeId, index: u64) -> bool {
        index == 0 || self.holders.get(&node).is_some_and(|holder| holder.applied >= index)
    }

    /// A node said, after it was asked at `asked`, that it is sealed. What it asked for since stands.
    pub(crate) fn holds_none(&mut self, node: NodeId, asked: Duration) {
        if let Some(holder) = self.holders.get_mut(&node)
            && holder.granted <= asked
        {
            holder.until = Duration::ZERO;
        }
    }

    /// Whether a node can hold no lease any more. One that this table does not know was granted nothing in this term and was no
    /// member before it.
    pub(crate) fn is_over(&self, node: NodeId, now: Duration) -> bool {
        self.holders.get(&node).is_none_or(|holder| holder.until <= now)
    }

    /// A fence is put up at that index: it stays a condition of every renewal.
    pub(crate) fn fence(&mut self, index: u64) {
        self.fenced = self.fenced.max(index);
    }

    /// The highest index that was ever fenced.
    pub(crate) const fn fenced(&self) -> u64 {
        self.fenced
    }

    /// How long anybody may still hold a lease.
    pub(crate) fn longest(&self, now: Duration) -> Duration {
        self.holders.values().map(|holder| holder.until.saturating_sub(now)).max().unwrap_or_default()
    }

    /// The nodes that a fence at `index` waits for, and for how long at most.
    pub(crate) fn waits_for(&self, index: u64, now: Duration) -> BTreeMap<NodeId, Duration> {
        let open = self.holders.iter().filter(|(_, holder)| holder.applied < index && holder.until > now);
        open.map(|(node, holder)| (*node, holder.until.saturating_sub(now))).collect()
    }
}

/// When a lease of that length has ended at its holder too.
pub(crate) fn ends(from: Duration, length: Duration) -> Duration {
    from.saturating_add(length).saturating_add(length / DRIFT_PART)
}

#[cfg(test)]
#[path = "table_test.rs"]
mod tests;

//! Raft's promises, judged after every step of the clock from what the disks saw and what the nodes say of themselves.
//!
//! Figures 3 of the Raft paper: election safety, log matching, leader completeness, state-machine safety (that one in
//! `facts`). And what makes an acknowledgement worth something: a commit is synced on a majority, a saved vote is never
//! taken back, terms and indexes never go back.

use std::collections::BTreeMap;
use std::sync::Arc;

use raft::simulation::{Disk, Event, Quorums};
use raft::{Role, Status};
use types::NodeId;

use crate::facts::Facts;
use crate::node::Windows;

type Checked = Result<(), String>;

/// Everything seen so far.
pub(crate) struct Checks {
    facts: Facts,
    windows: Windows,
    nodes: BTreeMap<NodeId, Seen>,
    /// (index, term) → payload, and the term of the entry before it: one each, on all disks, for ever.
    entries: BTreeMap<(u64, u64), (u64, Option<u64>)>,
    /// Memberships by index, one for each term in which somebody wrote one there.
    quorums: BTreeMap<u64, Vec<(u64, Quorums)>>,
    leaders: BTreeMap<u64, NodeId>,
    /// Index → term of what some node has applied.
    committed: BTreeMap<u64, u64>,
}

/// A node's log as its process sees it, and what it has said.
#[derive(Default)]
struct Seen {
    log: BTreeMap<u64, u64>,
    purged: u64,
    vote: Option<(u64, u64, bool)>,
    status: Option<Arc<Status>>,
}

impl Checks {
    pub(crate) fn new(facts: Facts, windows: Windows, nodes: impl Iterator<Item = NodeId>) -> Self {
        Self {
            facts,
            windows,
            nodes: nodes.map(|node| (node, Seen::default())).collect(),
            entries: BTreeMap::new(),
            quorums: BTreeMap::new(),
            leaders: BTreeMap::new(),
            committed: BTreeMap::new(),
        }
    }

    /// Judges what happened since the last step.
    pub(crate) fn step(&mut self) -> Checked {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for node in &ids {
            for event in Disk::of(*node).take_events() {
                self.follow(*node, event)?;
            }
        }
        for (index, node) in self.facts.take_fresh() {
            self.commit(index, node)?;
        }
        for node in ids {
            self.judge_status(node)?;
        }
        self.facts.first_violation().map_or(Ok(()), Err)
    }

    /// A process ended: what the next one says of itself starts anew, but for its votes.
    pub(crate) fn ended(&mut self, node: NodeId) {
        if let Some(seen) = self.nodes.get_mut(&node) {
            seen.status = None;
        }
    }

    /// Who leads in the highest term that anybody leads in.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let leads =
            |seen: &Seen| seen.status.as_ref().filter(|status| status.role == Role::Leader).map(|status| status.term);
        let leaders = self.nodes.iter().filter_map(|(node, seen)| Some((leads(seen)?, *node)));
        leaders.max().map(|(_, node)| node)
    }

    /// The last entry that somebody applied.
    pub(crate) fn last_committed(&self) -> u64 {
        self.committed.last_key_value().map_or(0, |(index, _)| *index)
    }

    fn follow(&mut self, node: NodeId, event: Event) -> Checked {
        let Some(seen) = self.nodes.get_mut(&node) else { return Ok(()) };
        match event {
            Event::Appended { term, index, digest, previous, members } => {
                self.facts.trace(&format!("{node} wrote {index} of term {term} after {previous:?}"));
                seen.log.insert(index, term);
                if let Some(quorums) = members {
                    let known = self.quorums.entry(index).or_default();
                    if !known.iter().any(|(of, _)| *of == term) {
                        known.push((term, quorums));
                    }
                }
                let (payload, before) = self.entries.entry((index, term)).or_insert((digest, previous));
                if *payload != digest {
                    return Err(format!("log matching: {node} holds another entry {index} of term {term} than others"));
                }
                match (&before, previous) {
                    (None, Some(_)) => *before = previous,
                    (Some(known), Some(previous)) if *known != previous => {
                        return Err(format!(
                            "log matching: before entry {index} of term {term}, {node} holds term {previous}, others {known}"
                        ));
                    }
                    _ => {}
                }
            }
            Event::Truncated(keep) => {
                self.facts.trace(&format!("{node} cut its log after {keep}"));
                self.facts.count("truncations");
                let gone = seen.log.split_off(&(keep + 1));
                let lost = gone.iter().find(|(index, term)| self.committed.get(index) == Some(term));
                if let Some((index, _)) = lost {
                    return Err(format!("{node} cut off entry {index}, which is committed"));
                }
            }
            Event::Purged(upto) => {
                self.facts.trace(&format!("{node} purged up to {upto}"));
                if seen.log.last_key_value().is_none_or(|(last, _)| *last < upto) {
                    self.facts.count("snapshots installed");
                }
                seen.log = seen.log.split_off(&(upto + 1));
                seen.purged = seen.purged.max(upto);
            }
            Event::VoteSaved(term, voted_for, leads) => {
                self.facts.trace(&format!("{node} voted for {voted_for} in {term}: {leads}"));
                let kept = seen.vote.is_none_or(|(held, other, led)| {
                    (term, leads) > (held, led) || (term, voted_for, leads) == (held, other, led)
                });
                if !kept {
                    return Err(format!(
                        "{node} said that its vote {:?} was saved, and now votes for {voted_for} in term {term}",
                        seen.vote
                    ));
                }
                seen.vote = Some((term, voted_for, leads));
                if leads {
                    self.leads(term, NodeId(voted_for))?;
                }
            }
            Event::Cut(last) => {
                self.facts.trace(&format!("the power of {node} was cut at {last:?}"));
                seen.log.split_off(&last.map_or(0, |last| last + 1));
            }
        }
        Ok(())
    }

    /// Election safety: one leader a term.
    fn leads(&mut self, term: u64, node: NodeId) -> Checked {
        let known = *self.leaders.entry(term).or_insert(node);
        if known == node {
            return Ok(());
        }
        Err(format!("election safety: {known} and {node} both lead in term {term}"))
    }

    /// An entry was applied somewhere for the first time: a majority must hold it whatever happens now, and every leader of
    /// a later term must hold it as well.
    fn commit(&mut self, index: u64, node: NodeId) -> Checked {
        let Some(term) = self.nodes.get(&node).and_then(|seen| seen.log.get(&index)).copied() else {
            // Applied and purged within one step; others have judged it, or will.
            return Ok(());
        };
        if self.committed.insert(index, term).is_some_and(|known| known != term) {
            return Err(format!("entry {index} was committed in two terms"));
        }
        let holders: Vec<NodeId> =
            self.nodes.keys().copied().filter(|node| Disk::of(*node).holds(term, index)).collect();
        let has = |group: &Vec<NodeId>| 2 * group.iter().filter(|node| holders.contains(node)).count() > group.len();
        let leader = self.leader().unwrap_or(node);
        let mut rules = self.rules(node, index).into_iter().chain(self.rules(leader, index));
        if !rules.any(|rule| rule.groups.iter().all(has)) {
            return Err(format!(
                "{node} applied entry {index} of term {term}, which only {holders:?} would hold after a power cut"
            ));
        }
        // Every leader of a later term held it when it was elected; the newest one still leads.
        self.leaders.range(term + 1..).next_back().map_or(Ok(()), |(_, leader)| self.must_hold(*leader, index, term))
    }

    /// The memberships in a node's log that may have decided on an entry: the last one up to it, and every later one.
    fn rules(&self, node: NodeId, index: u64) -> Vec<&Quorums> {
        let Some(seen) = self.nodes.get(&node) else { return Vec::new() };
        let is_held = |at: u64, term: u64| at <= seen.purged || seen.log.get(&at) == Some(&term);
        let held = |(at, known): (&u64, &'_ Vec<(u64, Quorums)>)| {
            known.iter().any(|(term, _)| is_held(*at, *term)).then_some(*at)
        };
        let first = self.quorums.range(..=index).rev().find_map(held).unwrap_or(0);
        let later = self.quorums.range(first..).flat_map(|(at, known)| known.iter().map(move |rule| (*at, rule)));
        later.filter(|(at, (term, _))| is_held(*at, *term)).map(|(_, (_, rule))| rule).collect()
    }

    fn judge_status(&mut self, node: NodeId) -> Checked {
        let Some(window) = self.windows.open(node) else { return Ok(()) };
        let now = Arc::clone(&window.status.borrow());
        let Some(seen) = self.nodes.get_mut(&node) else { return Ok(()) };
        let before = seen.status.replace(Arc::clone(&now));
        if let Some(before) = &before {
            if Arc::ptr_eq(before, &now) {
                return Ok(());
            }
            let back = now.term < before.term
                || now.committed < before.committed
                || now.applied < before.applied
                || now.purged < before.purged
                || now.snapshot < before.snapshot;
            if back && now.role != Role::Stopped {
                return Err(format!("{node} went back: {before:?}, then {now:?}"));
            }
        }
        let led = before.is_some_and(|before| before.role == Role::Leader && before.term == now.term);
        if now.role == Role::Leader && !led {
            self.facts.trace(&format!("{node} leads in term {}", now.term));
            self.facts.count("elections");
            self.leads(now.term, node)?;
            // Leader completeness.
            let earlier: Vec<(u64, u64)> = self
                .committed
                .iter()
                .filter(|(_, term)| **term < now.term)
                .map(|(index, term)| (*index, *term))
                .collect();
            for (index, term) in earlier {
                self.must_hold(node, index, term)?;
            }
        }
        Ok(())
    }

    fn must_hold(&self, leader: NodeId, index: u64, term: u64) -> Checked {
        let Some(seen) = self.nodes.get(&leader) else { return Ok(()) };
        // A leader that is down holds nothing in memory; it is judged when it leads again.
        let leads = seen.status.as_ref().is_some_and(|status| status.role == Role::Leader && status.term > term);
        if !leads || seen.purged >= index || seen.log.get(&index) == Some(&term) {
            return Ok(());
        }
        Err(format!("leader completeness: {leader} leads without entry {index} of term {term}, which is committed"))
    }
}

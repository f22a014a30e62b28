//! The table by hand, and a world of nodes with clocks of their own in which it must never err.

use super::*;

const LEASE: Duration = Duration::from_secs(30);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn after_election(seconds: u64) -> LeaseTable {
    LeaseTable::assume(7, at(seconds), [NodeId(2), NodeId(3)], LEASE)
}

#[test]
fn a_new_leader_assumes_that_everybody_holds_a_full_lease() {
    let table = after_election(100);
    assert_eq!(table.waits_for(5, at(100)).len(), 2);
    // One in a hundred more than the lease, for clocks that run at different speeds.
    assert_eq!(table.waits_for(5, at(130)).len(), 2);
    assert_eq!(table.waits_for(5, Duration::from_millis(130_299)).len(), 2);
    assert_eq!(table.waits_for(5, Duration::from_millis(130_300)).len(), 0);
}

#[test]
fn who_has_applied_is_not_waited_for() {
    let mut table = after_election(100);
    table.has_applied(NodeId(2), 5);
    table.has_applied(NodeId(2), 3);
    assert_eq!(table.waits_for(5, at(101)).into_keys().collect::<Vec<_>>(), [NodeId(3)]);
    assert_eq!(table.waits_for(6, at(101)).len(), 2);
    // Somebody who was never granted anything holds nothing, and what it says of itself changes nothing.
    table.has_applied(NodeId(4), 9);
    assert!(!table.has(NodeId(4), 9));
}

#[test]
fn a_lease_counts_from_the_question_and_never_gets_shorter_by_a_grant() {
    let mut table = after_election(100);
    table.grants(NodeId(3), at(140), LEASE);
    table.grants(NodeId(3), at(140), at(5));
    let left = table.waits_for(1, at(150));
    assert_eq!(left.get(&NodeId(3)).copied(), Some(Duration::from_millis(20_300)));
    assert_eq!(left.len(), 1, "the other one's has run out");
}

#[test]
fn a_node_that_holds_the_newest_grant_holds_nothing_longer() {
    let mut table = after_election(100);
    let first = table.grants(NodeId(2), at(101), at(3_600));
    let second = table.grants(NodeId(2), at(111), LEASE);
    assert!(second > first);
    let left = |table: &LeaseTable| table.waits_for(1, at(121)).get(&NodeId(2)).copied();
    // It may not have had the answer yet, and goes by the long one.
    table.holds(NodeId(2), at(121), first, at(3_580));
    assert_eq!(left(&table), Some(ends(at(101), at(3_600)) - at(121)));
    // A name of somebody else's, or of another leader's.
    table.holds(NodeId(3), at(121), second, at(1));
    table.holds(NodeId(2), at(121), GrantName { term: 6, ..second }, at(1));
    assert_eq!(left(&table), Some(ends(at(101), at(3_600)) - at(121)));
    table.holds(NodeId(2), at(121), second, at(20));
    assert_eq!(left(&table), Some(Duration::from_millis(20_200)));
    table.holds(NodeId(2), at(121), second, Duration::ZERO);
    assert_eq!(left(&table), None, "it gave the lease back");
}

#[test]
fn a_node_that_is_sealed_is_not_waited_for_until_it_is_granted_another() {
    let mut table = after_election(100);
    table.grants(NodeId(2), at(101), LEASE);
    // It was asked whether it is sealed before it asked for a lease: an old story.
    table.holds_none(NodeId(2), Duration::from_millis(100_999));
    assert!(table.waits_for(1, at(102)).contains_key(&NodeId(2)));
    table.holds_none(NodeId(2), at(102));
    assert!(!table.waits_for(1, at(102)).contains_key(&NodeId(2)));
    table.grants(NodeId(2), at(103), LEASE);
    assert!(table.waits_for(1, at(103)).contains_key(&NodeId(2)));
}

#[test]
fn a_fence_stays_a_condition_of_renewal() {
    let mut table = after_election(100);
    table.fence(8);
    table.fence(5);
    assert_eq!(table.fenced(), 8);
    assert!(table.has(NodeId(2), 0) && !table.has(NodeId(2), 8));
    table.has_applied(NodeId(2), 8);
    assert!(table.has(NodeId(2), 8));
}

/// Nodes whose clocks start anywhere and run up to half a percent fast or slow, a network that delays and loses, elections,
/// restarts and nodes that are cut off. Whenever the table lets a fence end, nobody may serve from before it.
#[test]
fn no_fence_ends_while_anybody_can_serve_the_state_before_it() {
    let mut ended = 0;
    for seed in 1..=400 {
        ended += World::new(seed).run(600);
    }
    assert!(ended > 5_000, "only {ended} fences ended: the worlds do nothing");
}

const NODES: usize = 4;

#[derive(Clone, Copy, Default)]
struct Node {
    offset_ms: u64,
    /// Parts in 10,000 by which its clock is fast, on top of 9,950.
    speed: u64,
    applied: u64,
    /// By its own clock: from, length.
    lease: Option<(Duration, Duration)>,
    grant: GrantName,
    cut_off: bool,
    /// Counts questions and restarts: the answer to an earlier question is not waited for.
    process: u64,
}

enum Message {
    Asks { from: usize, process: u64, to_term: u64, sent: Duration, held: Duration, grant: GrantName, applied: u64 },
    Granted { to: usize, process: u64, sent: Duration, grant: GrantName },
    Applied { from: usize, to_term: u64, index: u64 },
}

struct World {
    random: u64,
    now_ms: u64,
    nodes: [Node; NODES],
    leader: usize,
    table: LeaseTable,
    committed: u64,
    /// Fenced and not acknowledged, with the leader's time at which that leader learned of it.
    fences: Vec<(u64, Duration)>,
    /// When each arrives.
    messages: Vec<(u64, Message)>,
    ended: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            random: seed,
            now_ms: 1_000_000,
            nodes: [Node::default(); NODES],
            leader: 0,
            table: LeaseTable::assume(0, at(0), [], LEASE),
            committed: 1,
            fences: Vec::new(),
            messages: Vec::new(),
            ended: 0,
        };
        for node in 0..NODES {
            world.nodes[node].offset_ms = world.below(1_000_000);
            world.nodes[node].speed = world.below(101);
        }
        world.elect();
        world
    }

    fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn pick(&mut self) -> usize {
        usize::try_from(self.below(NODES as u64)).expect("small")
    }

    fn clock(&self, node: usize) -> Duration {
        let Node { offset_ms, speed, .. } = self.nodes[node];
        Duration::from_micros((offset_ms * 1_000) + self.now_ms * (9_950 + speed) / 10)
    }

    fn serves(&self, node: usize) -> bool {
        self.nodes[node].lease.is_some_and(|(from, length)| self.clock(node) < from + length)
    }

    fn held(&self, node: usize) -> Duration {
        let now = self.clock(node);
        self.nodes[node].lease.map_or(Duration::ZERO, |(from, length)| (from + length).saturating_sub(now))
    }

    /// Somebody who is not cut off and has everything leads from now on, and looks at its clock a little later.
    fn elect(&mut self) {
        let Some(leader) = (0..NODES).cycle().skip(self.pick()).take(NODES).find(|n| !self.nodes[*n].cut_off) else {
            return;
        };
        self.leader = leader;
        self.nodes[leader].applied = self.committed;
        let others = (0..NODES).filter(|n| *n != leader).map(|n| NodeId(n as u64));
        self.table = LeaseTable::assume(self.table.term() + 1, self.clock(leader), others, LEASE);
        // Whoever was told to come back asks the new leader.
        let (now, fences) = (self.clock(leader), std::mem::take(&mut self.fences));
        self.fences = fences.into_iter().map(|(index, _)| (index, now)).collect();
        self.fences.iter().for_each(|(index, _)| self.table.fence(*index));
    }

    fn run(mut self, steps: usize) -> u64 {
        for _ in 0..steps {
            let longest = if self.below(20) == 0 { 20_000 } else { 800 };
            self.now_ms += self.below(longest);
            self.deliver();
            let node = self.pick();
            match self.below(40) {
                0 => self.elect(),
                1 => self.nodes[node].cut_off = node != self.leader,
                2..=4 => self.nodes.iter_mut().for_each(|node| node.cut_off = false),
                5 if node != self.leader => self.restart(node),
                6..=11 => {
                    self.committed += 1;
                    let (index, now) = (self.committed, self.clock(self.leader));
                    self.nodes[self.leader].applied = index;
                    self.fences.push((index, now));
                    self.table.fence(index);
                }
                12..=22 if !self.nodes[node].cut_off => self.nodes[node].applied = self.committed,
                23..=27 => {
                    let index = self.nodes[node].applied;
                    self.send(node, Message::Applied { from: node, to_term: self.table.term(), index });
                }
                _ => self.renew(node),
            }
            self.judge();
        }
        self.ended
    }

    fn restart(&mut self, node: usize) {
        self.nodes[node].process += 1;
        (self.nodes[node].lease, self.nodes[node].grant) = (None, GrantName::default());
        // It starts from a snapshot and hears of the rest later.
        self.nodes[node].applied -= self.below(3).min(self.nodes[node].applied);
    }

    fn renew(&mut self, node: usize) {
        let sent = self.clock(node);
        if node == self.leader {
            (self.nodes[node].lease, self.nodes[node].grant) = (Some((sent, LEASE)), GrantName::default());
            return;
        }
        let Node { process, applied, grant, .. } = self.nodes[node];
        let (held, to_term) = (self.held(node), self.table.term());
        // One question at a time: the answer to an earlier one is no longer waited for.
        self.nodes[node].process = process + 1;
        self.send(node, Message::Asks { from: node, process: process + 1, to_term, sent, held, grant, applied });
    }

    fn send(&mut self, node: usize, message: Message) {
        if !self.nodes[node].cut_off && self.below(10) != 0 {
            let longest = if self.below(10) == 0 { 15_000 } else { 300 };
            let delay = self.below(longest);
            self.messages.push((self.now_ms + delay, message));
        }
    }

    fn deliver(&mut self) {
        let now = self.now_ms;
        let (due, later) = std::mem::take(&mut self.messages).into_iter().partition(|(at, _)| *at <= now);
        self.messages = later;
        let due: Vec<(u64, Message)> = due;
        for (_, message) in due {
            match message {
                // A leader that was deposed grants nothing: no quorum confirms it.
                Message::Asks { to_term, .. } | Message::Applied { to_term, .. } if to_term != self.table.term() => {}
                Message::Applied { from, index, .. } => self.table.has_applied(NodeId(from as u64), index),
                Message::Asks { from, process, sent, held, grant, applied, .. } => {
                    let (id, received) = (NodeId(from as u64), self.clock(self.leader));
                    self.table.holds(id, received, grant, held);
                    self.table.has_applied(id, applied);
                    if self.table.has(id, self.table.fenced()) {
                        let grant = self.table.grants(id, received, LEASE);
                        self.send(from, Message::Granted { to: from, process, sent, grant });
                    }
                }
                Message::Granted { to, process, sent, grant } => {
                    // It catches up with what is committed, and only then takes the lease.
                    if self.nodes[to].process == process && !self.nodes[to].cut_off {
                        self.nodes[to].applied = self.nodes[to].applied.max(self.committed);
                        (self.nodes[to].lease, self.nodes[to].grant) = (Some((sent, LEASE)), grant);
                    }
                }
            }
        }
    }

    fn judge(&mut self) {
        let now = self.clock(self.leader);
        for (index, since) in std::mem::take(&mut self.fences) {
            let waits = self.table.waits_for(index, now);
            if !waits.is_empty() {
                // No longer than one lease from the moment at which this leader learned of it.
                let longest = waits.values().max().copied().unwrap_or_default();
                assert!(now + longest <= ends(since, LEASE), "fence {index} lasts beyond one lease");
                self.fences.push((index, since));
                continue;
            }
            self.ended += 1;
            for node in 0..NODES {
                let old = self.nodes[node].applied < index;
                assert!(!(old && self.serves(node)), "fence {index} ended, node {node} serves {:?}", self.held(node));
            }
        }
    }
}

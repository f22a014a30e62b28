//! What goes wrong and when: power cuts, partitions, lost and late messages, failing and slow disks, wrong clocks.
//!
//! Every fault ends by itself; the seed decides which, where and for how long. Majorities may be lost for a while.

use std::sync::atomic::Ordering;
use std::time::Duration;

use raft::Role;
use raft::simulation::{Disk, chance};
use turmoil::Sim;
use types::NodeId;

use crate::checks::Checks;
use crate::node::Site;
use crate::scripts::{Act, Script};
use crate::wire::name;

/// A crash lasts longer than two elections, so that openraft's leases have run out.
const DOWN_MIN: Duration = Duration::from_millis(2_100);
const DOWN_MORE: Duration = Duration::from_millis(3_000);

/// The weather.
pub(crate) struct Faults {
    sites: Vec<Site>,
    /// When something is to be undone or done.
    due: Vec<(Duration, Change)>,
    down: Vec<NodeId>,
    next: Duration,
    /// What is to happen, when that is written down.
    script: Option<Vec<(Duration, Act)>>,
}

#[derive(Clone, Debug)]
enum Change {
    Start(NodeId),
    Heal(Vec<(NodeId, NodeId)>),
    Cut(Vec<(NodeId, NodeId)>),
    Release(NodeId, NodeId),
    Calm,
    FastDisk(NodeId),
}

impl Faults {
    /// Drawn, or as the script says, counted from `now`.
    pub(crate) fn new(sites: Vec<Site>, script: Option<&Script>, now: Duration) -> Self {
        let script = script.map(|script| script.due().map(|(after, act)| (now + after, act)).collect());
        Self { sites, due: Vec::new(), down: Vec::new(), next: now, script }
    }

    /// Lets things go wrong, and right again.
    pub(crate) fn step(&mut self, sim: &mut Sim<'_>, checks: &mut Checks, now: Duration) {
        self.undo(sim, now);
        self.cut_stopped(sim, checks, now);
        if let Some(script) = &mut self.script {
            let (due, later) = std::mem::take(script).into_iter().partition(|(when, _)| *when <= now);
            *script = later;
            let due: Vec<(Duration, Act)> = due;
            due.into_iter().for_each(|(_, act)| self.act(sim, checks, act));
        } else if now >= self.next {
            self.next = now + Duration::from_millis(200) + chance::within(Duration::from_millis(1_600));
            self.strike(sim, checks, now);
        }
    }

    /// All faults off; what is down starts again.
    pub(crate) fn end(&mut self, sim: &mut Sim<'_>) {
        self.due.clear();
        for down in std::mem::take(&mut self.down) {
            sim.bounce(name(down));
        }
        for site in &self.sites {
            site.clock.skew(0);
            Disk::of(site.node).slow(Duration::from_millis(2));
        }
        self.heal_all(sim);
        Self::calm(sim);
    }

    /// Goes on after the end: a node that stopped because its disk had failed is started again.
    pub(crate) fn tend(&mut self, sim: &mut Sim<'_>, checks: &mut Checks, now: Duration) {
        self.undo(sim, now);
        self.cut_stopped(sim, checks, now);
    }

    fn undo(&mut self, sim: &mut Sim<'_>, now: Duration) {
        let (due, later) = std::mem::take(&mut self.due).into_iter().partition(|(when, _)| *when <= now);
        self.due = later;
        let due: Vec<(Duration, Change)> = due;
        for (_, change) in due {
            match change {
                Change::Start(node) => {
                    self.trace(format!("{node} starts"));
                    self.down.retain(|down| *down != node);
                    sim.bounce(name(node));
                }
                Change::Heal(links) => {
                    for (from, to) in links {
                        sim.repair_oneway(name(from), name(to));
                    }
                }
                Change::Cut(links) => Self::cut_links(sim, &links),
                Change::Release(one, other) => sim.release(name(one), name(other)),
                Change::Calm => Self::calm(sim),
                Change::FastDisk(node) => Disk::of(node).slow(Duration::from_millis(2)),
            }
        }
    }

    /// A node whose disk failed has stopped; somebody notices and starts it again.
    fn cut_stopped(&mut self, sim: &mut Sim<'_>, checks: &mut Checks, now: Duration) {
        let stopped: Vec<NodeId> =
            self.sites.iter().map(|site| site.node).filter(|node| !self.down.contains(node)).collect();
        for node in stopped {
            let window = self.windows().open(node);
            if window.is_some_and(|window| window.status.borrow().role == Role::Stopped) {
                self.crash(sim, checks, node, now);
            }
        }
    }

    fn strike(&mut self, sim: &mut Sim<'_>, checks: &mut Checks, now: Duration) {
        let node = self.any_node();
        match chance::below(100) {
            0..=24 => self.crash(sim, checks, node, now),
            25..=28 => {
                let all: Vec<NodeId> = self.sites.iter().map(|site| site.node).collect();
                for node in all {
                    self.crash(sim, checks, node, now);
                }
            }
            29..=40 => self.partition(sim, node, now),
            41..=50 => self.one_way(sim, node, now),
            51..=56 => self.ring(sim, now),
            57..=62 => self.flapping(node, now),
            63..=70 => {
                let other = self.any_node();
                if node != other {
                    self.trace(format!("messages between {node} and {other} are held"));
                    sim.hold(name(node), name(other));
                    self.later(now, 1_500, Change::Release(node, other));
                }
            }
            71..=77 => {
                self.trace("messages are late".to_owned());
                sim.set_max_message_latency(Duration::from_millis(50 + chance::below(400)));
                self.later(now, 2_500, Change::Calm);
            }
            78..=83 => {
                self.trace("messages get lost".to_owned());
                sim.set_fail_rate(0.002 + 0.002 * f64::from(u32::try_from(chance::below(10)).unwrap_or(0)));
                self.later(now, 2_500, Change::Calm);
            }
            84..=89 => {
                self.trace(format!("the disk of {node} is slow"));
                Disk::of(node).slow(Duration::from_millis(50 + chance::below(400)));
                self.later(now, 3_000, Change::FastDisk(node));
            }
            90..=94 => {
                self.trace(format!("the disk of {node} fails"));
                Disk::of(node).fail();
            }
            _ => self.turn_clock(node),
        }
    }

    fn act(&mut self, sim: &mut Sim<'_>, checks: &mut Checks, act: Act) {
        self.trace(format!("{act:?}"));
        let leader = checks.leader();
        let follower =
            self.sites.iter().map(|site| site.node).find(|node| Some(*node) != leader && !self.down.contains(node));
        match (act, leader, follower) {
            (Act::CrashFollower, _, Some(node)) => self.power_off(sim, checks, node),
            (Act::CrashAll, ..) => {
                let all: Vec<NodeId> = self.sites.iter().map(|site| site.node).collect();
                all.into_iter().for_each(|node| self.power_off(sim, checks, node));
            }
            (Act::StartAll, ..) => std::mem::take(&mut self.down).into_iter().for_each(|node| sim.bounce(name(node))),
            (Act::IsolateLeader, Some(leader), _) => {
                Self::cut_links(sim, &self.links(|from, to| from == leader || to == leader));
            }
            (Act::MuteLeader, Some(leader), _) => Self::cut_links(sim, &self.links(|from, _| from == leader)),
            (Act::Heal, ..) => self.heal_all(sim),
            (Act::SlowDisks(longest), ..) => {
                self.sites.iter().for_each(|site| Disk::of(site.node).slow(Duration::from_millis(longest)));
            }
            (Act::LoseLog, ..) => self.down.iter().for_each(|node| Disk::of(*node).wipe()),
            _ => self.trace("there is nobody to do that to".to_owned()),
        }
    }

    /// The power of a node is cut.
    fn power_off(&mut self, sim: &mut Sim<'_>, checks: &mut Checks, node: NodeId) {
        if self.down.contains(&node) {
            return;
        }
        self.trace(format!("{node} crashes"));
        self.windows().close(node);
        sim.crash(name(node));
        Disk::of(node).cut();
        checks.ended(node);
        self.down.push(node);
        self.count("crashes");
    }

    /// The power of a node is cut, and comes back after a while.
    fn crash(&mut self, sim: &mut Sim<'_>, checks: &mut Checks, node: NodeId, now: Duration) {
        if self.down.contains(&node) {
            return;
        }
        self.power_off(sim, checks, node);
        let site = self.sites.iter().find(|site| site.node == node);
        if let Some(site) = site.filter(|_| chance::per_mille(300)) {
            site.damage.store(true, Ordering::Relaxed);
        }
        let back = now + DOWN_MIN + chance::within(DOWN_MORE);
        self.due.push((back, Change::Start(node)));
    }

    /// Some on one side, the rest on the other.
    fn partition(&mut self, sim: &mut Sim<'_>, with: NodeId, now: Duration) {
        let mut side: Vec<NodeId> =
            self.sites.iter().map(|site| site.node).filter(|node| *node == with || chance::per_mille(350)).collect();
        side.dedup();
        let links = self.links(|from, to| side.contains(&from) != side.contains(&to));
        self.trace(format!("{side:?} are cut off"));
        self.cut(sim, links, now);
    }

    /// One node hears nobody, or nobody hears it.
    fn one_way(&mut self, sim: &mut Sim<'_>, node: NodeId, now: Duration) {
        let deaf = chance::per_mille(500);
        let links = self.links(|from, to| if deaf { to == node } else { from == node });
        self.trace(format!("{node} is {}", if deaf { "deaf" } else { "mute" }));
        self.cut(sim, links, now);
    }

    /// Each node reaches only its neighbours.
    fn ring(&mut self, sim: &mut Sim<'_>, now: Duration) {
        let nodes: Vec<NodeId> = self.sites.iter().map(|site| site.node).collect();
        let place = |node| nodes.iter().position(|other| *other == node).unwrap_or(0);
        let apart = |from, to| {
            let distance = place(from).abs_diff(place(to));
            distance > 1 && distance + 1 < nodes.len()
        };
        let links = self.links(apart);
        self.trace("the nodes stand in a ring".to_owned());
        self.cut(sim, links, now);
    }

    /// One node's links come and go.
    fn flapping(&mut self, node: NodeId, now: Duration) {
        self.trace(format!("the links of {node} flap"));
        let links = self.links(|from, to| from == node || to == node);
        let mut when = now;
        for _ in 0..4 {
            self.due.push((when, Change::Cut(links.clone())));
            when += Duration::from_millis(50) + chance::within(Duration::from_millis(500));
            self.due.push((when, Change::Heal(links.clone())));
            when += Duration::from_millis(50) + chance::within(Duration::from_millis(500));
        }
        self.count("partitions");
    }

    fn turn_clock(&mut self, node: NodeId) {
        const HOUR: i64 = 3_600_000;
        let offsets = [HOUR, -HOUR, -48 * HOUR, 20_000, -20_000, 0];
        let place = usize::try_from(chance::below(offsets.len() as u64)).unwrap_or(0);
        let ahead = offsets.get(place).copied().unwrap_or(0);
        self.trace(format!("the clock of {node} is {ahead} ms ahead"));
        if let Some(site) = self.sites.iter().find(|site| site.node == node) {
            site.clock.skew(ahead);
        }
    }

    fn cut(&mut self, sim: &mut Sim<'_>, links: Vec<(NodeId, NodeId)>, now: Duration) {
        Self::cut_links(sim, &links);
        self.count("partitions");
        self.later(now, 4_000, Change::Heal(links));
    }

    fn cut_links(sim: &mut Sim<'_>, links: &[(NodeId, NodeId)]) {
        for (from, to) in links {
            sim.partition_oneway(name(*from), name(*to));
        }
    }

    fn heal_all(&self, sim: &mut Sim<'_>) {
        for (from, to) in self.links(|_, _| true) {
            sim.release(name(from), name(to));
            sim.repair_oneway(name(from), name(to));
        }
    }

    fn calm(sim: &mut Sim<'_>) {
        sim.set_fail_rate(0.0);
        sim.set_max_message_latency(Duration::from_millis(8));
    }

    fn links(&self, wanted: impl Fn(NodeId, NodeId) -> bool) -> Vec<(NodeId, NodeId)> {
        let pairs = self.sites.iter().flat_map(|from| self.sites.iter().map(move |to| (from.node, to.node)));
        pairs.filter(|(from, to)| from != to && wanted(*from, *to)).collect()
    }

    fn later(&mut self, now: Duration, within_ms: u64, change: Change) {
        let when = now + Duration::from_millis(300) + chance::within(Duration::from_millis(within_ms));
        self.due.push((when, change));
    }

    fn any_node(&self) -> NodeId {
        let place = usize::try_from(chance::below(self.sites.len() as u64)).unwrap_or(0);
        self.sites.get(place).map_or(NodeId(1), |site| site.node)
    }

    fn windows(&self) -> crate::node::Windows {
        self.sites.first().map(|site| site.windows.clone()).unwrap_or_default()
    }

    fn trace(&self, what: String) {
        if let Some(site) = self.sites.first() {
            site.facts.trace(&what);
        }
    }

    fn count(&self, what: &'static str) {
        if let Some(site) = self.sites.first() {
            site.facts.count(what);
        }
    }
}

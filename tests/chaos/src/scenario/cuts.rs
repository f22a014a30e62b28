//! Cuts between hosts, by filters in their network namespaces; callers reach every node all the time, so that one that is cut
//! off can be caught answering what it no longer knows.

use std::time::{Duration, Instant};

use crate::Fault;
use crate::cluster::last;
use crate::figures::Dice;
use crate::hosts::{Network, address};
use crate::node::Place;
use crate::probes::{Down, Kind};
use crate::verdict::Verdict;

use super::Order;
use super::stage::{Stage, dir};

/// How long a cut lasts: long enough for an election, far shorter than a lease.
const CUT: Duration = Duration::from_secs(5);
/// A flapping link is up or down this long.
const FLAP: Duration = Duration::from_millis(400);
/// The node lease (docs/spec/lease.md), and how long one node is left alone.
const LEASE: Duration = Duration::from_secs(30);
const ALONE: Duration = Duration::from_secs(38);
/// What a caller's clock, the scheduler and the renewal interval may add when the end of a lease is seen from outside.
const MARGIN: Duration = Duration::from_secs(2);

struct Hosted {
    stage: Stage,
    network: Network,
    nodes: usize,
}

/// Four kinds in turn: the leader is deaf, the leader is mute, a follower is deaf, a follower is mute.
pub(super) async fn one_way(order: &Order, verdict: &mut Verdict) -> Result<(), Fault> {
    let mut hosted = Hosted::open(order).await?;
    let mut dice = Dice::new(order.seed);
    for round in 0..order.rounds {
        let (of_leader, deaf) = (round % 4 < 2, round % 2 == 0);
        let leader = hosted.stage.cluster.leader().await?;
        let victim = if of_leader { leader } else { hosted.stage.cluster.follower(dice.below(order.nodes)).await? };
        let from = Instant::now();
        for other in (0..order.nodes).filter(|other| *other != victim) {
            let (ear, mouth) = if deaf { (victim, other) } else { (other, victim) };
            hosted.network.deafen(ear, mouth)?;
        }
        if of_leader {
            hosted.stage.gap(from).await?;
        } else {
            hosted.stage.writes_go_on(20).await?;
        }
        last(CUT.saturating_sub(from.elapsed())).await;
        hosted.heal().await?;
    }
    hosted.stage.close(verdict).await?;
    Ok(())
}

/// Each node hears its two neighbours on either side only as far as a ring of majorities goes: with five nodes, the two
/// opposite are cut. No two nodes see the same majority.
pub(super) async fn ring(order: &Order, verdict: &mut Verdict) -> Result<(), Fault> {
    let mut hosted = Hosted::open(order).await?;
    let count = order.nodes;
    let hears = count / 2 + 1;
    for round in 0..order.rounds {
        let turn = usize::try_from(round)?;
        let from = Instant::now();
        // In odd rounds the order around the ring is another.
        let seat = |node: usize| (node * (1 + turn % 2)) % count;
        for node in 0..count {
            for other in 0..count {
                let apart = (seat(node) + count - seat(other)) % count;
                if node != other && apart.min(count - apart) > (hears - 1) / 2 {
                    hosted.network.deafen(node, other)?;
                }
            }
        }
        hosted.stage.gap(from).await?;
        last(CUT.saturating_sub(from.elapsed())).await;
        hosted.heal().await?;
    }
    hosted.stage.close(verdict).await?;
    Ok(())
}

/// The leader's links to one half of the others come and go for a while.
pub(super) async fn flap(order: &Order, verdict: &mut Verdict) -> Result<(), Fault> {
    let mut hosted = Hosted::open(order).await?;
    for _ in 0..order.rounds {
        let leader = hosted.stage.cluster.leader().await?;
        let from = Instant::now();
        while from.elapsed() < 2 * CUT {
            for other in (0..order.nodes).filter(|other| *other != leader) {
                hosted.network.deafen(leader, other)?;
            }
            last(FLAP).await;
            hosted.network.heal(order.nodes)?;
            last(FLAP).await;
        }
        hosted.heal().await?;
        hosted.stage.gap(Instant::now()).await?;
    }
    hosted.stage.close(verdict).await?;
    Ok(())
}

/// One node is cut off for longer than its lease: it serves until the lease ends and not after it.
pub(super) async fn alone(order: &Order, verdict: &mut Verdict) -> Result<(), Fault> {
    let mut hosted = Hosted::open(order).await?;
    let mut cut = Vec::new();
    for round in 0..order.rounds {
        let leader = hosted.stage.cluster.leader().await?;
        let victim =
            if round % 2 == 0 { leader } else { hosted.stage.cluster.follower(usize::try_from(round)?).await? };
        let from = Instant::now();
        for other in (0..order.nodes).filter(|other| *other != victim) {
            hosted.network.deafen(victim, other)?;
            hosted.network.deafen(other, victim)?;
        }
        if victim == leader {
            hosted.stage.gap(from).await?;
        }
        last(ALONE.saturating_sub(from.elapsed())).await;
        let until = Instant::now();
        hosted.network.heal(order.nodes)?;
        hosted.stage.back(victim, from).await?;
        cut.push(Down { node: victim, from, until });
    }
    let marks = hosted.stage.close(verdict).await?;
    let (mut served, mut too_early, mut too_late) = (0, 0, 0);
    for mark in &marks {
        let Some(cut) = cut.iter().find(|cut| cut.node == mark.node && mark.began > cut.from && mark.ended < cut.until)
        else {
            continue;
        };
        // The lease was last renewed at most a third of its length before the cut.
        let (earliest, latest) = (cut.from + LEASE * 2 / 3 - MARGIN, cut.from + LEASE + MARGIN);
        match &mark.error {
            None if mark.began > latest => too_late += 1,
            None => served += u32::from(mark.kind == Kind::Decrypt),
            Some(_) if mark.ended < earliest => too_early += 1,
            Some(_) => {}
        }
    }
    verdict.fact("decryptions of the node that was alone", served);
    if too_early > 0 || served == 0 {
        verdict.fail(format!("the node that was alone refused {too_early} calls while its lease ran"));
    }
    if too_late > 0 {
        verdict.fail(format!("the node that was alone answered {too_late} calls after its lease had ended"));
    }
    Ok(())
}

impl Hosted {
    async fn open(order: &Order) -> Result<Self, Fault> {
        let network = Network::new(order.hosts.clone().ok_or("this scenario needs hosts: run it by `chaos run`")?);
        let place = |number: usize| -> Result<Place, Fault> {
            Ok(Place::at(dir(&order.folder, number), address(number)?, network.through(number)))
        };
        let places = (1..=order.nodes).map(place).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { stage: Stage::open(order, places).await?, network, nodes: order.nodes })
    }

    /// Ends the cut and waits until every node reads and serves; a cut this short is no reason for any node not to serve.
    async fn heal(&mut self) -> Result<(), Fault> {
        self.network.heal(self.nodes)?;
        self.stage.cluster.all_caught_up().await?;
        for node in 0..self.nodes {
            self.stage.probes.serves(node, Instant::now()).await?;
        }
        self.stage.writes_go_on(20).await
    }
}

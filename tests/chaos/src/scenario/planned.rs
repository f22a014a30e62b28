//! What an operator does on purpose: leadership handed on, nodes drained and restarted, another build rolled in and out again.
//! Callers see none of it, and writes hardly pause.

use std::time::{Duration, Instant};

use proto::cluster::v1 as wire;

use crate::Fault;
use crate::cluster::last;
use crate::figures::spread;
use crate::tools::other;
use crate::verdict::Verdict;

use super::Order;
use super::pulse::Pulse;
use super::stage::{Stage, on_loopback};

/// What is promised (docs/RELIABILITY.md). Counted and not failed on, and told beside the same figure while nothing is done: a
/// machine that is busy with other things is no fault.
const PROMISED: Duration = Duration::from_millis(150);
/// How long is looked at, before and after.
const WINDOW: Duration = Duration::from_millis(500);

pub(super) async fn transfer(order: &Order, verdict: &mut Verdict) -> Result<(), Fault> {
    let stage = Stage::open(order, on_loopback(order)?).await?;
    let mut gaps = Gaps::start(&stage).await?;
    for round in 0..usize::try_from(order.rounds)? {
        let leader = stage.cluster.leader().await?;
        let to = (leader + 1 + round % (order.nodes - 1)) % order.nodes;
        let from = gaps.quiet().await;
        let request = wire::TransferLeaderRequest { node: number(to)?, from: 0 };
        let moved = stage.cluster.doors.all.cluster().transfer_leader(request).await?.leader;
        if moved != number(to)? {
            verdict.fail(format!("round {round}: leadership was to go to node {} and went to {moved}", to + 1));
        }
        gaps.over(from).await;
        stage.writes_go_on(20).await?;
    }
    gaps.tell("hand-over", verdict).await?;
    stage.close(verdict).await?;
    Ok(())
}

pub(super) async fn rolling(order: &Order, verdict: &mut Verdict) -> Result<(), Fault> {
    let mut stage = Stage::open(order, on_loopback(order)?).await?;
    let mut gaps = Gaps::start(&stage).await?;
    for _ in 0..order.rounds {
        roll(&mut stage, &mut gaps).await?;
    }
    gaps.tell("restart of a node", verdict).await?;
    stage.close(verdict).await?;
    Ok(())
}

/// From the other build to this one, back, and so on.
pub(super) async fn upgrade(order: &Order, verdict: &mut Verdict) -> Result<(), Fault> {
    let other = other().ok_or("there is no other build")?;
    let mut places = on_loopback(order)?;
    for place in &mut places {
        place.program = Some(other.clone());
    }
    let mut stage = Stage::open(order, places).await?;
    let mut gaps = Gaps::start(&stage).await?;
    for round in 0..order.rounds {
        for node in &mut stage.cluster.nodes {
            node.place().program = (round % 2 == 1).then(|| other.clone());
        }
        roll(&mut stage, &mut gaps).await?;
    }
    gaps.tell("restart of a node in the other build", verdict).await?;
    stage.close(verdict).await?;
    Ok(())
}

/// Drains, stops and starts every node, the leader last, as an operator would.
async fn roll(stage: &mut Stage, gaps: &mut Gaps) -> Result<(), Fault> {
    let (leader, count) = (stage.cluster.leader().await?, stage.cluster.nodes.len());
    for node in (1..=count).map(|n| (leader + n) % count) {
        let from = gaps.quiet().await;
        let drain = wire::DrainNodeRequest { node: number(node)?, undo: false };
        stage.cluster.doors.all.cluster().drain_node(drain).await?;
        let own = stage.cluster.node(node)?;
        own.stop()?;
        own.start()?;
        stage.back(node, from).await?;
        gaps.over(from).await;
    }
    Ok(())
}

fn number(node: usize) -> Result<u64, Fault> {
    Ok(u64::try_from(node + 1)?)
}

/// The longest times without an acknowledged write, while something is done and while nothing is.
struct Gaps {
    pulse: Pulse,
    quiet: Vec<Duration>,
    busy: Vec<Duration>,
}

impl Gaps {
    async fn start(stage: &Stage) -> Result<Self, Fault> {
        let pulse = Pulse::start(&stage.cluster.doors).await?;
        last(WINDOW).await;
        Ok(Self { pulse, quiet: Vec::new(), busy: Vec::new() })
    }

    /// Looks while nothing is done; what is done then begins now.
    async fn quiet(&mut self) -> Instant {
        let from = Instant::now();
        last(WINDOW).await;
        let to = Instant::now();
        self.quiet.push(self.pulse.longest(from, to));
        to
    }

    /// What was done is over, but for what comes right after.
    async fn over(&mut self, from: Instant) {
        last(WINDOW).await;
        self.busy.push(self.pulse.longest(from, Instant::now()));
    }

    async fn tell(self, of: &str, verdict: &mut Verdict) -> Result<(), Fault> {
        verdict.fact(&format!("longest time without a write, each {of}"), spread(&self.busy));
        verdict.fact("the same while nothing was done", spread(&self.quiet));
        verdict.fact("over 150 ms", self.busy.iter().filter(|gap| **gap > PROMISED).count());
        let errors = self.pulse.stop().await?;
        if let Some(first) = errors.first() {
            verdict.fail(format!("{} writes were refused, for example: {first}", errors.len()));
        }
        Ok(())
    }
}

//! The leader stands still for ten seconds and then goes on as if nothing had been: it must not answer from before.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::Fault;
use crate::cluster::last;
use crate::verdict::Verdict;

use super::Order;
use super::stage::{Stage, on_loopback};

const PAUSED: Duration = Duration::from_secs(10);

pub(super) async fn play(order: &Order, verdict: &mut Verdict) -> Result<(), Fault> {
    let mut stage = Stage::open(order, on_loopback(order)?).await?;
    for _ in 0..order.rounds {
        let leader = stage.cluster.leader().await?;
        let from = Instant::now();
        stage.cluster.node(leader)?.signal(Signal::STOP)?;
        let gap = if order.of_one() { Ok(PAUSED) } else { stage.gap(from).await };
        last(PAUSED.saturating_sub(from.elapsed())).await;
        stage.cluster.node(leader)?.signal(Signal::CONT)?;
        gap?;
        stage.back(leader, from).await?;
        stage.writes_go_on(20).await?;
    }
    stage.close(verdict).await?;
    Ok(())
}

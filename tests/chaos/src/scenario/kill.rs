//! SIGKILL of whoever leads, under load, again and again.

use std::time::{Duration, Instant};

use crate::Fault;
use crate::verdict::Verdict;

use super::Order;
use super::stage::{Stage, on_loopback};

/// The next leader is not killed before this much has been written.
const WRITES_BETWEEN: u64 = 20;
/// What is promised (docs/RELIABILITY.md). Counted and not failed on: a machine that is busy with other things is no fault.
const PROMISED: Duration = Duration::from_millis(2_500);

pub(super) async fn play(order: &Order, verdict: &mut Verdict) -> Result<(), Fault> {
    let mut stage = Stage::open(order, on_loopback(order)?).await?;
    let mut late = 0;
    for _ in 0..order.rounds {
        let leader = stage.cluster.leader().await?;
        let from = Instant::now();
        stage.cluster.node(leader)?.kill()?;
        if order.of_one() {
            stage.cluster.node(leader)?.start()?;
        }
        let gap = stage.gap(from).await?;
        late += u32::from(gap > PROMISED);
        if !order.of_one() {
            stage.cluster.node(leader)?.start()?;
        }
        stage.back(leader, from).await?;
        stage.writes_go_on(WRITES_BETWEEN).await?;
    }
    verdict.fact("gaps over 2.5 s", late);
    stage.close(verdict).await?;
    Ok(())
}

//! What most scenarios share: a cluster under load, watched; how long writes were away; the judgement at the end.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use chancery_client::Client;
use proto::audit::v1 as audit;
use proto::kms::v1 as kms;
use tokio::task::JoinSet;

use crate::Fault;
use crate::cluster::{Cluster, until};
use crate::figures::spread;
use crate::node::Place;
use crate::probes::{Down, Mark, Probes, errors_outside};
use crate::verdict::Verdict;
use crate::workload::Workload;

use super::Order;
use super::schedule::Schedule;

/// A new write is begun this often while writes are away, so that the first success is found when it becomes possible.
const ASKED_EVERY: Duration = Duration::from_millis(50);
/// Writes that are tried at the same time, at most.
const ASKED_MAX: usize = 100;
/// Writes come back within this time, or the scenario fails.
const BACK_WITHIN: Duration = Duration::from_secs(40);

/// A cluster under load.
pub(super) struct Stage {
    pub(super) cluster: Cluster,
    pub(super) probes: Probes,
    pub(super) downs: Vec<Down>,
    workload: Workload,
    schedule: Schedule,
    gaps: Vec<Duration>,
    /// Callers that turn to each node first: with one that stands still, a caller waits before it turns to the next.
    askers: Vec<Client>,
    asked: AtomicU32,
}

/// One place for each node: on loopback.
pub(super) fn on_loopback(order: &Order) -> Result<Vec<Place>, Fault> {
    (1..=order.nodes).map(|number| Place::on_loopback(dir(&order.folder, number))).collect()
}

/// A node's data folder.
pub(super) fn dir(folder: &Path, number: usize) -> std::path::PathBuf {
    folder.join(format!("node-{number}"))
}

impl Stage {
    /// Forms the cluster and sets everybody to work.
    pub(super) async fn open(order: &Order, places: Vec<Place>) -> Result<Self, Fault> {
        let cluster = Cluster::form(&order.folder, places).await?;
        let probes = Probes::start(&cluster.doors).await?;
        let schedule = Schedule::begin(&cluster.doors).await?;
        let workload = Workload::start(&cluster.doors, order.seed).await?;
        let mut askers = Vec::new();
        for first in 0..order.nodes {
            askers.push(cluster.doors.another(first).await?);
        }
        let (downs, gaps, asked) = (Vec::new(), Vec::new(), AtomicU32::new(0));
        let stage = Self { cluster, probes, downs, workload, schedule, gaps, askers, asked };
        stage.writes_go_on(20).await?;
        Ok(stage)
    }

    /// Waits until that many more writes were acknowledged.
    pub(super) async fn writes_go_on(&self, count: u64) -> Result<(), Fault> {
        let before = self.workload.writes();
        crate::cluster::until("writes", async || self.workload.writes() >= before + count).await
    }

    /// How long after `since` the first write was acknowledged that had been begun after it.
    pub(super) async fn gap(&mut self, since: Instant) -> Result<Duration, Fault> {
        let mut under_way = JoinSet::new();
        let mut askers = self.askers.iter().cycle();
        while since.elapsed() < BACK_WITHIN {
            if under_way.len() < ASKED_MAX
                && let Some(client) = askers.next()
            {
                under_way.spawn(write(client.clone(), self.asked.fetch_add(1, Ordering::Relaxed)));
            }
            let next = tokio::time::timeout(ASKED_EVERY, under_way.join_next()).await;
            if let Ok(Some(Ok(true))) = next {
                let gap = since.elapsed();
                self.gaps.push(gap);
                return Ok(gap);
            }
        }
        Err(format!("no write was acknowledged for {BACK_WITHIN:?}").into())
    }

    /// Waits until a node that was away serves again, and notes for how long it was not to be counted on.
    pub(super) async fn back(&mut self, node: usize, from: Instant) -> Result<(), Fault> {
        self.cluster.caught_up(node).await?;
        self.probes.serves(node, Instant::now()).await?;
        self.downs.push(Down { node, from, until: Instant::now() });
        Ok(())
    }

    /// Ends the load and judges it. The answers of the probes are left for whoever has more to say about them.
    pub(super) async fn close(mut self, verdict: &mut Verdict) -> Result<Vec<Mark>, Fault> {
        self.cluster.start_what_ended()?;
        self.cluster.all_caught_up().await?;
        self.writes_go_on(5).await?;
        if !self.gaps.is_empty() {
            verdict.fact("next write after the fault", spread(&self.gaps));
        }
        let marks = self.probes.stop().await?;
        let (errors, answers) = errors_outside(&marks, &self.downs);
        verdict.fact("decrypt and issuance on nodes left alone", format!("{} errors of {answers}", errors.len()));
        for error in errors.iter().take(3) {
            verdict.fail(format!(
                "node {} was left alone and refused {:?} after {:?}: {}",
                error.node + 1,
                error.kind,
                error.ended - error.began,
                error.error.as_deref().unwrap_or_default()
            ));
        }
        self.workload.judge(&self.cluster.doors, verdict).await?;
        self.schedule.judge(&self.cluster.doors, verdict).await?;
        if let Err(error) = one_history(&self.cluster).await {
            verdict.fail(error.to_string());
        }
        Ok(marks)
    }
}

/// Every node's copy of the cluster's audit log has one root, and it is the one in the replicated state: each change made its leaf
/// when it was applied, so nodes that had applied something else would differ here for ever.
async fn one_history(cluster: &Cluster) -> Result<(), Fault> {
    let mut newest = Vec::new();
    let agreed = until("one root of the cluster's audit log on every node", async || {
        newest.clear();
        for client in &cluster.doors.each {
            let Ok(heads) = client.audit().heads(audit::GetHeadsRequest {}).await else { return false };
            let own = |heads: &[audit::Head]| {
                heads.iter().find(|head| head.log == "cluster").map(|head| (head.size, head.root.clone()))
            };
            newest.push(own(&heads.held));
            newest.push(own(&heads.anchored));
        }
        newest.iter().all(|head| head.is_some() && Some(head) == newest.first())
    });
    let agreed = agreed.await;
    let sizes: Vec<_> = newest.iter().map(|head| head.as_ref().map(|(size, _)| size)).collect();
    agreed.map_err(|error| format!("{error}: of sizes {sizes:?}").into())
}

/// Whether a new key was acknowledged.
async fn write(client: Client, number: u32) -> bool {
    let request = kms::CreateKeyRequest {
        parent: "namespaces/default".into(),
        key_id: format!("gap-{number}"),
        ..Default::default()
    };
    client.keys().create(request).await.is_ok()
}

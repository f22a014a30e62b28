//! Keys created, each durable on a quorum and audited before its answer, against the plainest group commit on the same
//! disk: callers hand 512 bytes to one thread, which appends what waits, calls fdatasync once, and answers all.
//!
//! This is a wall figure: what is bought here is the disk's time, not the processor's.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use proto::kms::v1 as wire;
use proto::kms::v1::key_service_client::KeyServiceClient;
use tokio::sync::{mpsc, oneshot};

use crate::cluster::Cluster;
use crate::report::{Row, median};
use crate::unary::report_nodes;
use crate::{Effort, Fault, load};

const RECORD_BYTES: usize = 512;

/// Key creations at several depths.
pub(crate) async fn compare(cluster: &Cluster, nodes: usize, folder: &Path, effort: Effort) -> Result<Vec<Row>, Fault> {
    let client = KeyServiceClient::new(cluster.channel()?);
    let created = AtomicU64::new(0);
    let create = || {
        let request = wire::CreateKeyRequest {
            parent: "namespaces/default".into(),
            key_id: format!("durable-{}", created.fetch_add(1, Ordering::Relaxed)),
            request_id: chancery_client::api::request_id(),
            ..Default::default()
        };
        let mut client = client.clone();
        async move {
            client.create_key(request).await?;
            Ok(())
        }
    };
    let raw = GroupCommit::start(&folder.join("group-commit"))?;
    load::closed(1, effort.window, create).await?;
    let depths: &[usize] = if nodes == 1 { &[1, 16, 256] } else { &[16] };
    let mut rows = Vec::new();
    for &depth in depths {
        let mut rates = Vec::new();
        for n in 0..effort.runs {
            let (mut ours, mut theirs) = (0.0, 0.0);
            for turn in [n, n + 1] {
                if turn % 2 == 0 {
                    ours = load::closed(depth, effort.window, create).await?.rate();
                } else {
                    theirs = load::closed(depth, effort.window, || raw.commit()).await?.rate();
                }
            }
            rates.push((ours, theirs));
        }
        rows.push(Row {
            name: format!("CreateKey, {depth} in flight, {}, wall", report_nodes(nodes)),
            value: median(rates.iter().map(|(ours, _)| *ours)),
            unit: "keys/s",
            against: "group-commit fdatasync of 512 B".to_owned(),
            against_value: median(rates.iter().map(|(_, raw)| *raw)),
            ratio: median(rates.iter().map(|(ours, raw)| ours / raw)),
        });
    }
    Ok(rows)
}

/// The peer.
struct GroupCommit(mpsc::Sender<oneshot::Sender<()>>);

impl GroupCommit {
    fn start(path: &Path) -> Result<Self, Fault> {
        let mut file = File::create(path)?;
        let (hand_in, mut waiting) = mpsc::channel::<oneshot::Sender<()>>(1_024);
        std::thread::spawn(move || {
            let mut batch = Vec::new();
            while let Some(first) = waiting.blocking_recv() {
                batch.push(first);
                while let Ok(next) = waiting.try_recv() {
                    batch.push(next);
                }
                let bytes = vec![7; batch.len() * RECORD_BYTES];
                if file.write_all(&bytes).and_then(|()| file.sync_data()).is_err() {
                    return; // callers see their answers dropped
                }
                for done in batch.drain(..) {
                    let _ = done.send(());
                }
            }
        });
        Ok(Self(hand_in))
    }

    async fn commit(&self) -> Result<(), Fault> {
        let (done, durable) = oneshot::channel();
        self.0.send(done).await?;
        Ok(durable.await?)
    }
}

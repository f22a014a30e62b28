//! Keys created, each durable on a quorum and audited before its answer, against the plainest group commit on the same
//! disk (callers hand 512 bytes to one thread, which appends what waits, calls fdatasync once, and answers all), and
//! against three members of etcd where its binary is given.
//!
//! This is a wall figure: what is bought here is the disk's time, not the processor's.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use proto::kms::v1 as wire;
use proto::kms::v1::key_service_client::KeyServiceClient;
use tokio::sync::{mpsc, oneshot};
use tonic::transport::Channel;

use crate::cluster::Cluster;
use crate::etcd::Etcd;
use crate::load::Turns;
use crate::report::{Row, median};
use crate::unary::report_nodes;
use crate::{Effort, Fault, load};

const RECORD_BYTES: usize = 512;
/// Callers at once.
const DEPTHS: [usize; 3] = [1, 16, 256];
/// Connections that the callers share, to each side alike: one carries some hundred calls at once and no more.
const CONNECTIONS: usize = 8;

/// Key creations at several depths; `etcd` is the binary of that peer.
pub(crate) async fn compare(
    cluster: &Cluster,
    nodes: usize,
    folder: &Path,
    etcd: Option<&Path>,
    effort: Effort,
) -> Result<Vec<Row>, Fault> {
    let ours = Contender::Ours(Keys::new(cluster)?);
    let mut peers = vec![Contender::GroupCommit(GroupCommit::start(&folder.join("group-commit"))?)];
    if let Some(binary) = etcd {
        let folder = folder.join(format!("etcd-{nodes}"));
        peers.push(Contender::Etcd(Etcd::form(binary, &folder, nodes, &cluster.operator, CONNECTIONS).await?));
    }
    load::closed(1, effort.window, || ours.write()).await?;
    let mut rows = Vec::new();
    for depth in DEPTHS {
        for peer in &peers {
            let rates = rates(&ours, peer, depth, effort).await?;
            rows.push(Row {
                name: format!("CreateKey, {depth} in flight, {}, wall", report_nodes(nodes)),
                value: median(rates.iter().map(|(ours, _)| *ours)),
                unit: "keys/s",
                against: peer.name(),
                against_value: median(rates.iter().map(|(_, peer)| *peer)),
                ratio: median(rates.iter().map(|(ours, peer)| ours / peer)),
            });
        }
    }
    for peer in peers {
        if let Contender::Etcd(etcd) = peer {
            etcd.stop().await?;
        }
    }
    Ok(rows)
}

/// Runs in turn; who begins alternates.
async fn rates(ours: &Contender, peer: &Contender, depth: usize, effort: Effort) -> Result<Vec<(f64, f64)>, Fault> {
    let mut rates = Vec::new();
    for n in 0..effort.runs {
        let (mut mine, mut theirs) = (0.0, 0.0);
        for turn in [n, n + 1] {
            if turn % 2 == 0 {
                mine = load::closed(depth, effort.window, || ours.write()).await?.rate();
            } else {
                theirs = load::closed(depth, effort.window, || peer.write()).await?.rate();
            }
        }
        rates.push((mine, theirs));
    }
    Ok(rates)
}

/// Who writes.
enum Contender {
    Ours(Keys),
    GroupCommit(GroupCommit),
    Etcd(Etcd),
}

impl Contender {
    fn name(&self) -> String {
        match self {
            Self::Ours(_) => "CreateKey".to_owned(),
            Self::GroupCommit(_) => format!("group-commit fdatasync of {RECORD_BYTES} B"),
            Self::Etcd(etcd) => etcd.to_string(),
        }
    }

    /// One durable write, answered.
    async fn write(&self) -> Result<(), Fault> {
        match self {
            Self::Ours(keys) => keys.create().await,
            Self::GroupCommit(raw) => raw.commit().await,
            Self::Etcd(etcd) => etcd.put().await,
        }
    }
}

/// Creates one key after the other.
struct Keys {
    clients: Turns<KeyServiceClient<Channel>>,
    created: AtomicU64,
}

impl Keys {
    fn new(cluster: &Cluster) -> Result<Self, Fault> {
        let clients = Turns::new(CONNECTIONS, || Ok(KeyServiceClient::new(cluster.channel()?)))?;
        Ok(Self { clients, created: AtomicU64::new(0) })
    }

    async fn create(&self) -> Result<(), Fault> {
        let request = wire::CreateKeyRequest {
            parent: "namespaces/default".into(),
            key_id: format!("durable-{}", self.created.fetch_add(1, Ordering::Relaxed)),
            request_id: chancery_client::api::request_id(),
            ..Default::default()
        };
        self.clients.next()?.clone().create_key(request).await?;
        Ok(())
    }
}

/// The least that any durable write costs.
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

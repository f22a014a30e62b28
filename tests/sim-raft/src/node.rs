//! One node: our Raft member over the simulated system, a front desk, and the report that keeps state time going.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use raft::simulation::{chance, envelope, purge_to_the_newest_snapshot};
use raft::{Config, Member, Peering, RaftHandle, Status};
use state::{Command, NodeReport};
use tokio::sync::watch;
use turmoil::fs::shim::std::fs;
use turmoil::net::TcpListener;
use types::{ClusterId, NodeId, Principal, SpkiHash};

use crate::bugs::Plant;
use crate::clocks::Clock;
use crate::desk::{Desk, info};
use crate::facts::Facts;
use crate::fences::Fences;
use crate::machine::SimMachine;
use crate::tls::Identity;
use crate::wire::{self, Answer, Ask, DESK_PORT};

/// The cluster's id.
pub(crate) const CLUSTER: ClusterId = ClusterId([0xc1; 16]);
const PEER_PORT: u16 = 7_444;
const DATA: &str = "/data";
/// Small, so that a run of seconds sees snapshots, purges and members that join by snapshot.
const SNAPSHOT_LOG_BYTES: u64 = 8 * 1_024;

/// What the harness sees of a running node between two steps.
#[derive(Clone)]
pub(crate) struct Window {
    pub(crate) status: watch::Receiver<Arc<Status>>,
    pub(crate) states: watch::Receiver<Arc<raft::View<state::State>>>,
}

/// Everything that outlives a node's processes.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) node: NodeId,
    pub(crate) facts: Facts,
    pub(crate) clock: Clock,
    pub(crate) plant: Option<Plant>,
    pub(crate) identity: Identity,
    pub(crate) keys: Arc<BTreeMap<NodeId, SpkiHash>>,
    pub(crate) windows: Windows,
    /// Damage the newest snapshot before the next start.
    pub(crate) damage: Arc<AtomicBool>,
}

/// The windows of all running nodes, and who has installed a snapshot from a peer; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Windows(Arc<Mutex<BTreeMap<NodeId, Window>>>);

impl Windows {
    pub(crate) fn open(&self, node: NodeId) -> Option<Window> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }

    pub(crate) fn close(&self, node: NodeId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
    }

    fn put(&self, node: NodeId, window: Window) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(node, window);
    }
}

impl Site {
    /// How others reach it.
    pub(crate) fn member(&self) -> Member {
        member(self.node, self.identity.spki)
    }

    /// Runs until the power is cut.
    pub(crate) async fn run(self) -> turmoil::Result {
        fs::create_dir_all(DATA)?;
        fs::sync_dir("/")?;
        if self.damage.swap(false, Ordering::Relaxed) && damage_the_newest_snapshot()? {
            self.facts.count("snapshots damaged");
        }
        let raft = match self.open().await {
            Ok(raft) => raft,
            Err(error) => {
                self.facts.broken(format!("{} does not start: {error}", self.node));
                return Ok(());
            }
        };
        if self.plant == Some(Plant::VoteNotSynced) {
            fs::write(Path::new(DATA).join("settled"), b"")?;
        }
        self.windows.put(self.node, Window { status: raft.watch_status(), states: raft.watch_state() });
        tokio::spawn(self.clone().report(raft.clone()));
        let fences = Fences::new(self.node, raft.clone(), self.clock.clone(), self.plant);
        tokio::spawn(keep_lease(fences.clone()));
        let desk =
            Desk { node: self.node, member: self.member(), raft, clock: self.clock.clone(), fences, plant: self.plant };
        serve(desk).await
    }

    async fn open(&self) -> Result<RaftHandle<SimMachine>, Box<dyn std::error::Error + Send + Sync>> {
        let mut config = Config::new(CLUSTER, self.node, Path::new(DATA));
        config.snapshot_log_bytes_min = SNAPSHOT_LOG_BYTES;
        config.witness_interval = Duration::from_millis(200);
        let listener = Arc::new(TcpListener::bind(("0.0.0.0", PEER_PORT)).await?);
        let (identity, keys) = (self.identity.clone(), Arc::clone(&self.keys));
        // Whom it may ask for a snapshot when its own are damaged.
        let others = self.keys.iter().filter(|(node, _)| **node != self.node);
        let others = others.map(|(node, spki)| (*node, member(*node, *spki))).collect();
        let peering = Peering {
            listener,
            server_tls: self.identity.server(keys.values().copied().collect()),
            client_tls: Arc::new(move |_, member: &Member| identity.client(member.spki)),
            key_of: Arc::new(|certificate| ca::spki_hash_of_cert(certificate).ok()),
            trust: Arc::new(move |node, spki| keys.get(&node) == Some(spki)),
            routes: tonic::service::Routes::default(),
            vouch: Arc::new(Anybody),
            seed: raft::Members { all: others, ..raft::Members::default() },
        };
        let machine = SimMachine::new(self.node, self.facts.clone(), self.plant);
        Ok(RaftHandle::open(config, machine, envelope(), peering).await?)
    }

    /// The node's word on its clock, once a second, by way of the leader.
    async fn report(self, raft: RaftHandle<SimMachine>) {
        loop {
            tokio::time::sleep(Duration::from_millis(700) + chance::within(Duration::from_millis(600))).await;
            if self.plant == Some(Plant::PurgeTooEarly) {
                let _ = purge_to_the_newest_snapshot(&raft).await;
            }
            let Some(leader) = raft.leader() else { continue };
            let report = NodeReport {
                node: self.node,
                clock: self.clock.now(),
                audit_size: 0,
                audit_root: [0; 32],
                api_address: info(self.node).api_address,
                supports: state::VERSION_NEWEST,
            };
            let command = Box::new(Command::ReportNode(report));
            let question = Ask::Own { actor: Principal::Node(self.node), command };
            let _ = wire::ask(leader, &question, Duration::from_secs(1)).await;
        }
    }
}

fn member(node: NodeId, spki: SpkiHash) -> Member {
    Member { address: format!("{}:{PEER_PORT}", wire::name(node)), spki }
}

/// Renews the lease when a third of it has passed.
async fn keep_lease(fences: Fences) {
    loop {
        fences.renew().await;
        tokio::time::sleep(Duration::from_millis(800) + chance::within(Duration::from_millis(400))).await;
    }
}

async fn serve(desk: Desk) -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", DESK_PORT)).await?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        let desk = desk.clone();
        tokio::spawn(async move {
            if let Ok(question) = wire::receive::<Ask>(&mut stream).await {
                let answer: Answer = desk.answer(question).await;
                let _ = wire::send(&mut stream, &answer).await;
            }
        });
    }
}

/// Flips a bit in the newer of two snapshots. `false` when there are not two.
fn damage_the_newest_snapshot() -> std::io::Result<bool> {
    let folder = Path::new(DATA).join("raft").join("snapshots");
    if !fs::exists(&folder) {
        return Ok(false);
    }
    let paths: BTreeSet<PathBuf> =
        fs::read_dir(&folder)?.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    let snapshots: Vec<&PathBuf> =
        paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "snapshot")).collect();
    let [_, newest] = snapshots.as_slice() else { return Ok(false) };
    let mut bytes = fs::read(newest)?;
    let at = usize::try_from(chance::below(bytes.len() as u64)).unwrap_or(0);
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << chance::below(8);
    }
    fs::write(newest, &bytes)?;
    fs::OpenOptions::new().write(true).open(newest)?.sync_all()?;
    Ok(true)
}

/// Whoever has a member's key is that member here: nobody steals one.
struct Anybody;

impl raft::Vouch for Anybody {
    fn prove(&self, _: NodeId) -> String {
        "simulated".to_owned()
    }

    fn check(&self, _: NodeId, proof: &str) -> bool {
        proof == "simulated"
    }
}

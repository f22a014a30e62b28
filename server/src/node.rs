//! The node: what it has from its first start on, and whether it is empty, sealed or open.
//!
//! Everything that needs the root key lives in [`Core`], which exists only while the node is open: a sealed node cannot
//! reach a key by mistake, because there is nothing to reach it through.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use chancery_client::tls::{CertificateSlot, Identity, PinSet};
use crypto::sign::P256Signer;
use raft::Role;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::{Action, ClusterId, NodeId, Reason, Refusal};

use crate::config::Config;
use crate::core::Core;
use crate::folder::Folder;
use crate::lease::Clocks;
use crate::membership::Membership;
use crate::metrics::Metrics;
use crate::peer_unseal::{Releasing, by_hand};
use crate::request::strangers::Strangers;
use crate::seal::{Place, Shares};
use crate::sealed_port::SealedPort;

/// A running node.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its settings.
    pub config: Config,
    /// Its data.
    pub folder: Folder,
    /// Its identity key.
    pub signer: P256Signer,
    /// The same key with a self-signed certificate over it.
    pub identity: Identity,
    /// What the API presents: self-signed until an authority has signed it.
    pub certificate: Arc<CertificateSlot>,
    /// `host:port` at which clients reach it.
    pub api_address: String,
    /// `host:port` at which members reach it.
    pub peer_address: String,
    /// The peer port: bound once, used by whoever serves it in this phase.
    pub peer_listener: Arc<TcpListener>,
    /// The keys that the peer port accepts.
    pub pins: PinSet,
    /// Calls refused before anybody was recognised.
    pub(crate) strangers: Strangers,
    /// What it counts.
    pub metrics: Metrics,
    /// Ends the node.
    pub stop: CancellationToken,
    /// One formation, unsealing or sealing at a time.
    pub(crate) turning: tokio::sync::Mutex<()>,
    /// One unseal from afar and one on the local socket are tried at a time.
    pub(crate) remote_unseal: Arc<Semaphore>,
    pub(crate) local_unseal: Arc<Semaphore>,
    /// One backup is made at a time.
    pub(crate) backups: Arc<Semaphore>,
    /// Unseals that failed since the node was last open, for the record of the one that succeeds.
    pub(crate) failed_unseals: AtomicU64,
    /// Shares of the seal that wait for others.
    pub(crate) shares: Mutex<Shares>,
    /// The peer port while Raft does not serve it.
    pub(crate) sealed_port: SealedPort,
    phase: RwLock<Phase>,
    /// Calls under way that leave a record in this node's own log.
    pub(crate) calls: TaskTracker,
    /// It is about to be removed: it has given its lease back and asks for none.
    pub(crate) retired: AtomicBool,
    /// Cancelled while clients are sent elsewhere.
    draining: Mutex<CancellationToken>,
    /// From the start until the node has opened, when its seal lets it do so by itself.
    starting: AtomicBool,
    /// From the start until the node has opened, unless an operator had sealed it: other members may open it.
    asks_peers: AtomicBool,
    /// The members that it is just handing the root key to.
    pub(crate) releasing: Releasing,
}

/// How far a node has come.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// No cluster yet: it may form one or join one.
    Empty,
    /// It was admitted and waits for what its own seal needs, to take the root key from a peer.
    Admitted(Membership),
    /// It belongs to a cluster and its keys are sealed.
    Sealed(Membership),
    /// It serves.
    Open(Arc<Core>),
    /// It was removed from the cluster: nothing runs, and nothing ever will in this folder.
    Removed(NodeId),
}

impl Node {
    pub(crate) fn new(parts: Parts, phase: Phase) -> Arc<Self> {
        let Parts { opens_by_itself, config, folder, signer, identity, api_address, peer_address, peer_listener, stop } =
            parts;
        let asks_peers = AtomicBool::new(!by_hand::is_marked(&folder));
        Arc::new(Self {
            certificate: CertificateSlot::new(&identity),
            config,
            folder,
            signer,
            identity,
            api_address,
            peer_address,
            peer_listener,
            pins: PinSet::new([]),
            strangers: Strangers::default(),
            metrics: Metrics::default(),
            stop,
            turning: tokio::sync::Mutex::new(()),
            remote_unseal: Arc::new(Semaphore::new(1)),
            local_unseal: Arc::new(Semaphore::new(1)),
            backups: Arc::new(Semaphore::new(1)),
            failed_unseals: AtomicU64::new(0),
            shares: Mutex::default(),
            sealed_port: SealedPort::default(),
            phase: RwLock::new(phase),
            calls: TaskTracker::new(),
            retired: AtomicBool::new(false),
            draining: Mutex::default(),
            starting: AtomicBool::new(opens_by_itself),
            asks_peers,
            releasing: Releasing::default(),
        })
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where its seals find what they need.
    pub(crate) fn seal_place(&self, cluster: ClusterId) -> Place<'_> {
        Place { folder: &self.folder, cluster, token: self.config.token.as_ref() }
    }

    /// It does not open by itself after all: somebody has to come.
    pub(crate) fn waits_for_somebody(&self) {
        self.starting.store(false, Ordering::Relaxed);
    }

    pub(crate) fn turn(&self, phase: Phase) {
        if matches!(phase, Phase::Open(_)) {
            self.starting.store(false, Ordering::Relaxed);
        }
        *self.phase.write().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// What an open node works with.
    ///
    /// # Errors
    /// [`Reason::Sealed`], [`Reason::LeaseExpired`] while a node that needs nobody is opening, or
    /// [`Reason::NotInitialized`].
    pub(crate) fn core(&self) -> Result<Arc<Core>, Refusal> {
        match self.phase() {
            Phase::Open(core) => Ok(core),
            // Clients give up on a sealed node, for somebody has to come; for this one they only have to wait.
            Phase::Sealed(_) | Phase::Admitted(_) if self.starting.load(Ordering::Relaxed) => {
                Err(Refusal::new(Reason::LeaseExpired, "this node is starting: try again in a moment"))
            }
            Phase::Sealed(_) | Phase::Admitted(_) => {
                Err(Refusal::new(Reason::Sealed, "this node is sealed; retrying will not help"))
            }
            Phase::Empty => {
                Err(Refusal::new(Reason::NotInitialized, "this node belongs to no cluster yet: run `chancery init`"))
            }
            Phase::Removed(id) => Err(removed(id)),
        }
    }

    /// What an open node works with, for a call that a client makes.
    ///
    /// # Errors
    /// As [`Node::core`]; when the log has stopped; [`Reason::Draining`] for what another node can answer.
    pub(crate) fn serving(&self, action: Action) -> Result<Arc<Core>, Refusal> {
        let core = self.core()?;
        core.check_alive()?;
        self.check_not_removed(&core)?;
        // What is about this very node is answered to the end.
        let of_this_node = matches!(action, Action::GetClusterStatus | Action::DrainNode | Action::Seal);
        if !of_this_node {
            self.check_not_draining()?;
        }
        Ok(core)
    }

    /// Whether the node would serve a request now.
    ///
    /// # Errors
    /// The reason why not.
    pub(crate) fn ready(&self) -> Result<(), Refusal> {
        let core = self.core()?;
        core.check_alive()?;
        self.check_not_removed(&core)?;
        self.check_not_draining()?;
        core.lease.check(Clocks::now())
    }

    /// Whether the cluster still knows this node, as far as this node's own state says.
    ///
    /// # Errors
    /// [`Reason::Removed`].
    pub(crate) fn check_not_removed(&self, core: &Core) -> Result<(), Refusal> {
        if core.state().is_spent(&self.identity.spki()) { Err(removed(core.node)) } else { Ok(()) }
    }

    fn check_not_draining(&self) -> Result<(), Refusal> {
        if self.is_draining() {
            let text = "this node is about to stop and takes no new calls: ask another";
            return Err(Refusal::new(Reason::Draining, text));
        }
        Ok(())
    }

    /// Whether other members may still open it.
    pub(crate) fn asks_peers(&self) -> bool {
        self.asks_peers.load(Ordering::Relaxed)
    }

    /// It has been open: from now on only its own seals open it.
    pub(crate) fn ask_no_peers(&self) {
        self.asks_peers.store(false, Ordering::Relaxed);
    }

    /// Whether clients are sent elsewhere.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining().is_cancelled()
    }

    /// Cancelled when clients are to go elsewhere: streams end then.
    pub(crate) fn draining(&self) -> CancellationToken {
        self.draining.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends clients elsewhere, until [`Node::take_back`] or the end of the process.
    pub(crate) fn drain(&self) {
        self.draining().cancel();
    }

    /// Takes calls again.
    pub(crate) fn take_back(&self) {
        let mut draining = self.draining.lock().unwrap_or_else(PoisonError::into_inner);
        if draining.is_cancelled() {
            *draining = CancellationToken::new();
        }
    }

    /// Why the node's log has stopped by itself, if it has.
    pub(crate) fn failure(&self) -> Option<String> {
        self.core().ok().and_then(|core| core.raft.status().failure.clone())
    }

    /// Brings the gauges up to date; called when somebody reads them.
    pub(crate) fn refresh_metrics(&self) {
        let Ok(core) = self.core() else {
            self.metrics.sealed.set(1);
            return;
        };
        let status = core.raft.status();
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.metrics.sealed.set(0);
        self.metrics.leader.set(i64::from(status.role == Role::Leader));
        self.metrics.applied.set(signed(status.applied.unwrap_or(0)));
        self.metrics.lease.set(i64::from(core.lease.check(Clocks::now()).is_ok()));
        self.metrics.audit_records.set(signed(core.audit_head().size));
        self.metrics.rotations_due.set(signed(due_count(&core)));
        self.metrics.near_ceiling(&core.state().usage_levels());
    }
}

fn due_count(core: &Core) -> u64 {
    let state = core.state();
    state.rotations_due(state.time()).count() as u64
}

fn removed(id: NodeId) -> Refusal {
    let text = format!("{id} was removed from the cluster and never serves again: ask another node");
    Refusal::new(Reason::Removed, text)
}

/// What a node is put together from.
pub(crate) struct Parts {
    /// It needs nobody to come.
    pub(crate) opens_by_itself: bool,
    pub(crate) config: Config,
    pub(crate) folder: Folder,
    pub(crate) signer: P256Signer,
    pub(crate) identity: Identity,
    pub(crate) api_address: String,
    pub(crate) peer_address: String,
    pub(crate) peer_listener: Arc<TcpListener>,
    pub(crate) stop: CancellationToken,
}

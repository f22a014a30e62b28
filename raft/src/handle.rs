//! What callers do with a member: open it, propose, read, watch, shut down; `changes` is about who the members are.
//!
//! Every call that waits has a deadline. Nothing here looks into a payload.

mod changes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{ClientWriteError, ForwardReason, LinearizableReadError, RaftError};
use openraft::{Raft, ReadPolicy};
use proto::raft::v1 as wire;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use types::NodeId;

use crate::apply::{Applier, Published};
use crate::config::{Config, PAYLOAD_BYTES_MAX};
use crate::duties::Duties;
use crate::envelope::{Envelope, Owner};
use crate::erase::Erasing;
use crate::error::{ChangeError, OpenError, ProposeError, ReadError};
use crate::log::Released;
use crate::machine::{Machine, View};
use crate::member::{Member, Members};
use crate::opening::{self, Disk};
use crate::peer::{self, Gate, Inbox, NetworkFactory, PeerService, Peering, Pool, serve_peers};
use crate::room::{Gauge, Room};
use crate::snapshot::Shelf;
use crate::status::{Role, Status};
use crate::system::{Threads, blocking};
use crate::type_config::{Payload, TypeConfig, log_id_parts};

/// How soon a leader without a confirmed lease tries again to propose.
const LEASE_RETRY: Duration = Duration::from_millis(5);
/// How soon a read index is asked for again.
const READ_RETRY: Duration = Duration::from_millis(20);
/// How soon a snapshot is asked for again that did not come.
const SNAPSHOT_RETRY: Duration = Duration::from_millis(500);
/// How long a shutdown waits for the log to be let go.
const RELEASE_PATIENCE: Duration = Duration::from_secs(5);

/// An acknowledged entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proposed {
    /// Where it stands in the log.
    pub index: u64,
    /// The term in which it was proposed and committed.
    pub term: u64,
    /// What [`Machine::apply`] returned for it.
    pub reply: Vec<u8>,
}

/// A running member. Clones share it; [`RaftHandle::shutdown`] stops it for all.
pub struct RaftHandle<M: Machine> {
    inner: Arc<Inner<M>>,
    /// What all of it runs on.
    threads: Arc<Threads>,
}

struct Inner<M: Machine> {
    config: Config,
    raft: Raft<TypeConfig, Applier<M>>,
    views: Published<M>,
    members: watch::Sender<Arc<Members>>,
    status: watch::Receiver<Arc<Status>>,
    pool: Pool,
    gauge: Gauge,
    log: Released,
    erasing: Arc<Erasing>,
    shelf: Shelf,
    stop: CancellationToken,
    tasks: tokio::sync::Mutex<Vec<JoinHandle<()>>>,
}

impl<M: Machine> Clone for RaftHandle<M> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), threads: Arc::clone(&self.threads) }
    }
}

impl<M: Machine> std::fmt::Debug for RaftHandle<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RaftHandle").field("node", &self.inner.config.node).finish_non_exhaustive()
    }
}

impl<M: Machine> RaftHandle<M> {
    /// Opens the log, restores the state from the newest good snapshot and the committed log after it, and serves the
    /// peer port. A new member waits for [`RaftHandle::initialize`] or for a leader.
    ///
    /// # Errors
    /// When the files are damaged, foreign or in use; nothing is repaired by forgetting.
    pub async fn open(
        config: Config,
        machine: M,
        envelope: Arc<dyn Envelope>,
        peering: Peering,
    ) -> Result<Self, OpenError> {
        let failed = |error: std::io::Error| OpenError::Fatal(error.to_string());
        let threads = Threads::start("raft").map_err(failed)?;
        let inner =
            threads.run(Self::start(config, machine, envelope, peering, Handle::current())).await.map_err(failed)??;
        Ok(Self { inner: Arc::new(inner), threads: Arc::new(threads) })
    }

    async fn start(
        config: Config,
        machine: M,
        envelope: Arc<dyn Envelope>,
        peering: Peering,
        caller: Handle,
    ) -> Result<Inner<M>, OpenError> {
        let settings = config.openraft().map_err(|error| OpenError::Config(error.to_string()))?;
        let (members, _) = watch::channel(Arc::new(Members::default()));
        let owner = Owner { cluster: config.cluster, node: config.node };
        let pool = Pool::new(owner, Arc::clone(&peering.client_tls), Arc::clone(&peering.vouch));
        let opened = opening::open(&config, machine, envelope, members.clone(), &pool, &peering.seed);
        let Disk { log, shelf, gauge, applier } = opened.await?;
        let views = applier.views();

        let network = NetworkFactory { pool: pool.clone(), shelf: shelf.clone(), open_timeout: config.election_max };
        let raft = Raft::new(config.node.0, settings, network, log.clone(), applier)
            .await
            .map_err(|error| OpenError::Fatal(error.to_string()))?;
        raft.with_state_machine(|applier| Box::pin(async { applier.restored() }))
            .await
            .map_err(|error| OpenError::Fatal(error.to_string()))?;

        let (stop, released) = (CancellationToken::new(), log.released());
        let (status, status_receiver) = watch::channel(Arc::new(Status::initial(config.node, Members::default())));
        let serving = tokio::spawn(serve(&raft, owner, &shelf, &gauge, peering, caller, stop.clone()));
        let erasing = Arc::<Erasing>::default();
        let duties = Duties {
            raft: raft.clone(),
            log,
            shelf: shelf.clone(),
            status,
            pool: pool.clone(),
            gauge: gauge.clone(),
            interval: config.witness_interval,
            room_interval: config.room_interval,
            snapshot_log_bytes_min: config.snapshot_log_bytes_min,
            erasing: Arc::clone(&erasing),
            stop: stop.clone(),
        };
        let tasks = tokio::sync::Mutex::new(vec![serving, tokio::spawn(duties.run())]);
        Ok(Inner {
            config,
            raft,
            views,
            members,
            status: status_receiver,
            pool,
            gauge,
            log: released,
            erasing,
            shelf,
            stop,
            tasks,
        })
    }

    /// Forms the cluster with this node as its only voter, and waits until it leads. Once, on one node.
    ///
    /// # Errors
    /// When this node has a log already, or does not lead in time.
    pub async fn initialize(&self, member: Member, deadline: Duration) -> Result<(), ChangeError> {
        let by = Instant::now() + deadline;
        let members = BTreeMap::from([(self.inner.config.node.0, member)]);
        self.inner.raft.initialize(members).await.map_err(|error| match error {
            RaftError::APIError(error) => ChangeError::Refused(error.to_string()),
            RaftError::Fatal(fatal) => ChangeError::Fatal(fatal.to_string()),
        })?;
        // Applied: the first term's blank entry is committed, so changes and reads are possible.
        self.until(by, |status| status.role == Role::Leader && status.applied.is_some_and(|index| index > 0)).await?;
        Ok(())
    }

    /// Whether this node has a log: it was initialized, or a leader has reached it.
    ///
    /// # Errors
    /// When the member has stopped.
    pub async fn is_initialized(&self) -> Result<bool, ReadError> {
        self.inner.raft.is_initialized().await.map_err(|fatal| ReadError::Fatal(fatal.to_string()))
    }

    /// Proposes an entry and waits until it is fsynced on a majority and applied here. The state that
    /// [`RaftHandle::state`] returns afterwards holds it.
    ///
    /// # Errors
    /// See [`ProposeError`]; after some of them the entry may still be committed.
    pub async fn propose(&self, payload: Vec<u8>, deadline: Duration) -> Result<Proposed, ProposeError> {
        if self.inner.gauge.room() != Room::Enough && self.status().role == Role::Leader {
            return Err(ProposeError::NoRoom { free: self.inner.gauge.free() });
        }
        self.propose_vital(payload, deadline).await
    }

    /// The same for what must not wait until a disk has room: what keeps the cluster alive, and what takes a right away.
    ///
    /// # Errors
    /// As [`RaftHandle::propose`], but with little room left only when there is none at all.
    pub async fn propose_vital(&self, payload: Vec<u8>, deadline: Duration) -> Result<Proposed, ProposeError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(ProposeError::TooLarge { given: payload.len(), max: PAYLOAD_BYTES_MAX });
        }
        if !self.takes(&payload) {
            return Err(ProposeError::NoRoom { free: self.inner.gauge.free() });
        }
        match tokio::time::timeout(deadline, self.propose_once_led(Payload(payload))).await {
            Err(_) => Err(ProposeError::NoQuorum),
            Ok(result) => result,
        }
    }

    /// Waits until this node's state is at least as new as every entry acknowledged anywhere before the call; returns
    /// the entry it waited for. On the leader one round of heartbeats, elsewhere one call to the leader.
    ///
    /// # Errors
    /// When no quorum confirms the leader, or this node does not catch up, in time.
    pub async fn read_index(&self, deadline: Duration) -> Result<u64, ReadError> {
        let by = Instant::now() + deadline;
        let index = loop {
            let asked = tokio::time::timeout_at(by, self.ask_read_index()).await.map_err(|_| ReadError::NoQuorum)?;
            match asked {
                Ok(index) => break index,
                Err(ReadError::Fatal(why)) => return Err(ReadError::Fatal(why)),
                // An election may be under way, or a new leader may not know yet what is committed.
                Err(error) if Instant::now() + READ_RETRY >= by => return Err(error),
                Err(_) => tokio::time::sleep(READ_RETRY).await,
            }
        };
        self.await_applied(index, by.saturating_duration_since(Instant::now())).await?;
        Ok(index)
    }

    /// Waits until a quorum has confirmed, after the call, that this node leads, and until it has applied what was
    /// committed by then; returns its term. Never asks another node: to know that some node leads is not enough for
    /// whoever grants what only the leader may.
    ///
    /// # Errors
    /// When this node does not lead, or no quorum says so in time.
    pub async fn confirm_leadership(&self, deadline: Duration) -> Result<u64, ReadError> {
        let by = Instant::now() + deadline;
        let asked = self.inner.raft.get_read_linearizer(ReadPolicy::ReadIndex);
        let asked = tokio::time::timeout_at(by, asked).await.map_err(|_| ReadError::NoQuorum)?;
        let linearizer = asked.map_err(|error| match error {
            RaftError::Fatal(fatal) => ReadError::Fatal(fatal.to_string()),
            RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => ReadError::NoQuorum,
            RaftError::APIError(LinearizableReadError::ForwardToLeader(_)) => ReadError::NoLeader,
        })?;
        let read = linearizer.read_log_id();
        // What a leader reads at is its first entry or a later one, so its leader is this one (Raft §6.4).
        let (term, index) = (**read.committed_leader_id(), read.index());
        self.await_applied(index, by.saturating_duration_since(Instant::now())).await?;
        Ok(term)
    }

    /// Waits until this node has applied that entry.
    ///
    /// # Errors
    /// When it has not in time.
    pub async fn await_applied(&self, index: u64, deadline: Duration) -> Result<(), ReadError> {
        let mut views = self.inner.views.subscribe();
        let reached = views.wait_for(|view| view.applied >= index);
        match tokio::time::timeout(deadline, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ReadError::Fatal("the state is no longer published".to_owned())),
            Err(_) => Err(ReadError::NoQuorum),
        }
    }

    /// The applied state: cheap, never blocks `apply`. Linearizable only after [`RaftHandle::read_index`].
    #[must_use]
    pub fn state(&self) -> Arc<View<M::Snapshot>> {
        Arc::clone(&self.inner.views.borrow())
    }

    /// Every applied state as it comes; a slow reader sees the newest only.
    #[must_use]
    pub fn watch_state(&self) -> watch::Receiver<Arc<View<M::Snapshot>>> {
        self.inner.views.subscribe()
    }

    /// The members of the last applied membership, as they change.
    #[must_use]
    pub fn watch_members(&self) -> watch::Receiver<Arc<Members>> {
        self.inner.members.subscribe()
    }

    /// What this member knows now.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.inner.status.borrow())
    }

    /// What this member knows, as it changes.
    #[must_use]
    pub fn watch_status(&self) -> watch::Receiver<Arc<Status>> {
        self.inner.status.clone()
    }

    /// The leader this node knows; it may have been deposed.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.status().leader
    }

    /// The members as of the end of this node's log.
    #[must_use]
    pub fn membership(&self) -> Arc<Members> {
        Arc::clone(&self.status().members)
    }

    /// Whether this member may call an election when it misses the leader. One that is about to stop must not.
    pub fn let_campaign(&self, may: bool) {
        self.inner.raft.runtime_config().elect(may);
    }

    /// Takes a snapshot of the applied state and waits until it is on the disk and was read back.
    ///
    /// # Errors
    /// When nothing was applied yet, or it is not done in time.
    pub async fn trigger_snapshot(&self, deadline: Duration) -> Result<u64, ChangeError> {
        let applied = openraft::async_runtime::WatchReceiver::borrow_watched(&self.inner.raft.metrics()).last_applied;
        let Some(applied) = applied.map(|id| id.index) else {
            return Err(ChangeError::Refused("nothing has been applied yet".to_owned()));
        };
        // The metrics follow a moment later.
        let applied = applied.max(self.state().applied);
        let by = Instant::now() + deadline;
        loop {
            // Nothing comes of it while another is being written, which need not reach as far.
            self.inner.raft.trigger().snapshot().await.map_err(|error| ChangeError::Fatal(error.to_string()))?;
            let reached = |status: &Status| status.snapshot >= Some(applied);
            match self.until(by.min(Instant::now() + SNAPSHOT_RETRY), reached).await {
                Ok(taken) => return Ok(taken.snapshot.unwrap_or(applied)),
                Err(ChangeError::NoQuorum) if Instant::now() < by => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens everything that this member has on its disk: the log from where it begins, the snapshots, the witness. What is
    /// written meanwhile need not be read.
    ///
    /// # Errors
    /// When something does not read, or was replaced meanwhile.
    pub async fn read_back(&self) -> std::io::Result<()> {
        let log = self.inner.log.get().ok_or_else(|| std::io::Error::other("the log was closed"))?;
        let shelf = self.inner.shelf.clone();
        blocking(move || {
            log.read_back()?;
            shelf.read_back()
        })
        .await
    }

    /// The connection to a member for the server's own services: shared with heartbeats, so for small calls with a
    /// deadline. `None` for a node that is not a member.
    #[must_use]
    pub fn channel(&self, id: NodeId) -> Option<Channel> {
        let members = self.membership();
        members.get(id).map(|member| self.inner.pool.lanes(id, member).control)
    }

    /// Stops: no more entries, calls, connections or tasks. The listener stays open for whoever shares it.
    pub async fn shutdown(&self) {
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::error!(%error, "raft did not shut down cleanly");
        }
        self.inner.stop.cancel();
        for task in self.inner.tasks.lock().await.drain(..) {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of raft ended badly");
            }
        }
        // openraft's own tasks let go of the log a moment after they are told to.
        let by = Instant::now() + RELEASE_PATIENCE;
        while !self.inner.log.is_released() {
            if Instant::now() >= by {
                tracing::error!("the log is still in use after the shutdown");
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) fn erasing(&self) -> &Erasing {
        &self.inner.erasing
    }

    #[cfg(chancery_sim)]
    pub(crate) fn raft(&self) -> &Raft<TypeConfig, Applier<M>> {
        &self.inner.raft
    }

    /// Whether this node's own log has room for it; another leader looks after its own.
    fn takes(&self, payload: &[u8]) -> bool {
        self.status().role != Role::Leader || self.inner.gauge.take(u64::try_from(payload.len()).unwrap_or(u64::MAX))
    }

    /// Proposes; a leader that no quorum has confirmed lately waits for one instead of refusing.
    async fn propose_once_led(&self, payload: Payload) -> Result<Proposed, ProposeError> {
        loop {
            let error = match self.inner.raft.client_write(payload.clone()).await {
                Ok(response) => {
                    let (term, index) = log_id_parts(&response.log_id);
                    return Ok(Proposed { index, term, reply: response.data.0 });
                }
                Err(RaftError::Fatal(fatal)) => return Err(ProposeError::Fatal(fatal.to_string())),
                Err(RaftError::APIError(error)) => error,
            };
            match error {
                // Nothing was proposed, and this node leads as far as it knows: just elected, or its lease ran out.
                ClientWriteError::ForwardToLeader(to) if to.reason == ForwardReason::LeaseExpired => {
                    tokio::time::sleep(LEASE_RETRY).await;
                }
                ClientWriteError::ForwardToLeader(to) => {
                    return Err(ProposeError::NotLeader { leader: to.leader_id.map(NodeId) });
                }
                ClientWriteError::LogEntryDiscarded(to) => {
                    return Err(ProposeError::Unknown { leader: to.leader_id.map(NodeId) });
                }
                error @ (ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_)) => {
                    return Err(ProposeError::Fatal(format!("an entry was answered as a change of members: {error}")));
                }
            }
        }
    }

    /// Waits for a status; a member that stops ends the wait.
    async fn until(&self, by: Instant, wanted: impl Fn(&Status) -> bool) -> Result<Arc<Status>, ChangeError> {
        let mut status = self.watch_status();
        let reached = status.wait_for(|status| wanted(status) || status.role == Role::Stopped);
        let reached = tokio::time::timeout_at(by, reached).await.map_err(|_| ChangeError::NoQuorum)?;
        match reached {
            Ok(status) if wanted(&status) => Ok(Arc::clone(&status)),
            Ok(status) => {
                Err(ChangeError::Fatal(status.failure.clone().unwrap_or_else(|| "it was shut down".to_owned())))
            }
            Err(_) => Err(ChangeError::Fatal("the status is no longer published".to_owned())),
        }
    }

    async fn ask_read_index(&self) -> Result<u64, ReadError> {
        let asked = self.inner.raft.get_read_linearizer(ReadPolicy::ReadIndex).await;
        let to = match asked {
            Ok(linearizer) => return Ok(linearizer.read_log_id().index()),
            Err(RaftError::Fatal(fatal)) => return Err(ReadError::Fatal(fatal.to_string())),
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => return Err(ReadError::NoQuorum),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => to,
        };
        let (Some(leader), Some(member)) = (to.leader_id, to.leader_node) else { return Err(ReadError::NoLeader) };
        let leader = NodeId(leader);
        let channel = self.inner.pool.lanes(leader, &member).control;
        let request = peer::stamp(self.inner.pool.owner(), leader, wire::ReadIndexRequest {});
        let answered = self.inner.pool.client(leader, channel).read_index(request).await;
        let reply = answered.map_err(|status| {
            tracing::debug!(%leader, %status, "the leader did not answer a read index");
            ReadError::NoLeader
        })?;
        reply.into_inner().read.map(|read| read.index).ok_or(ReadError::NoLeader)
    }
}

fn serve<M: Machine>(
    raft: &Raft<TypeConfig, Applier<M>>,
    owner: Owner,
    shelf: &Shelf,
    gauge: &Gauge,
    peering: Peering,
    handshakes: Handle,
    stop: CancellationToken,
) -> impl Future<Output = ()> + Send + use<M> {
    let Peering { listener, server_tls, client_tls: _, key_of, trust, vouch, seed: _, routes } = peering;
    let gate = Gate::new(owner, raft.metrics(), trust, vouch);
    let (shelf, gauge) = (shelf.clone(), gauge.clone());
    let service = PeerService { raft: raft.clone(), gate, inbox: Inbox::new(shelf.clone()), shelf, gauge };
    let routes = routes.add_service(service.into_server());
    async move {
        let served = serve_peers(listener, server_tls, key_of, routes, handshakes, stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the peer port stopped serving");
        }
    }
}

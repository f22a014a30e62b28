//! The root key's successor on this node (docs/spec/seal.md): taken onto the disk, confirmed, taken into use when the cluster
//! has made it the active one, and the one before forgotten when nothing is left that only it opens. While this node leads
//! it also draws the key and proposes its steps.
//!
//! A task of its own, which asks state again on each tick: nothing is remembered here that a restart may not lose.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::member::v1::FetchRootRequest;
use state::rows::StagedRoot;
use state::{Command, State};
use types::{NodeId, Reason, Refusal, RootId};

use crate::core::{Core, StateView, own_proposal};
use crate::formation;
use crate::keyring::WrappedKek;
use crate::node::Node;
use crate::release::{self, Transfer};
use crate::root::Root;
use crate::seal::{Quorum, SealError};

/// How often the questions are asked.
const TICK: Duration = Duration::from_millis(250);
/// A key that no member has is drawn again after this time: whoever drew it may be on the way to its disk.
const LOST: Duration = Duration::from_secs(5);
/// How long taking a snapshot may take, and how long until the next attempt when it fails.
const SNAPSHOT: Duration = Duration::from_secs(60);
const SNAPSHOT_RETRY: Duration = Duration::from_secs(10);

/// The task of one open node.
#[derive(Debug)]
pub(crate) struct Rekeying {
    pub(crate) node: Arc<Node>,
    pub(crate) core: Arc<Core>,
}

/// What the task remembers between ticks.
#[derive(Debug, Default)]
struct Memory {
    /// Drawn by this node while it leads, and on no disk yet.
    drawn: Option<Arc<Root>>,
    /// A named key that this node does not find anywhere, and since when.
    missed: Option<(RootId, Instant)>,
    /// The end of the log when this node had begun to write under the active epoch.
    written_before: Option<(u32, u64)>,
    snapshot_failed: Option<Instant>,
}

impl Rekeying {
    /// Runs until the node closes.
    pub(crate) async fn run(self) {
        let mut memory = Memory::default();
        loop {
            tokio::select! {
                () = self.core.stop.cancelled() => return,
                () = tokio::time::sleep(TICK) => {}
            }
            tokio::select! {
                () = self.core.stop.cancelled() => return,
                done = self.round(&mut memory) => if let Err(refusal) = done {
                    tracing::debug!(%refusal, "the root key could not be moved on now");
                }
            }
        }
    }

    async fn round(&self, memory: &mut Memory) -> Result<(), Refusal> {
        let state = self.core.state();
        if !state.is_formed() || self.node.check_not_removed(&self.core).is_err() {
            return Ok(());
        }
        self.use_active(&state).await?;
        // A node that was away goes by an old state for a moment. It must not take a key off its disk that it has confirmed, so
        // whoever has one there, or is to have one, asks the leader how far the log is.
        let on_its_way =
            state.staged_root().is_some() || self.core.seals.look(|record| record.staged().is_some()).await;
        let state = if on_its_way { self.core.fresh_state().await? } else { state };
        self.use_active(&state).await?;
        let moved = match state.staged_root().cloned() {
            None => {
                memory.drawn = None;
                self.unstage(&state).await
            }
            Some(staged) => {
                let taken_in = self.take_in(&staged, memory).await;
                // Also when nobody hands the key out: a leader then draws another.
                if self.core.leads() {
                    self.lead_on(&state, &staged, memory).await?;
                }
                taken_in
            }
        };
        // Meanwhile too: the next one may be waiting for the room that an old one takes.
        self.forget_older(&state, memory).await?;
        moved
    }

    /// Writes under the active root key from now on, and nothing under another.
    async fn use_active(&self, state: &StateView) -> Result<(), Refusal> {
        let Some((epoch, id)) = state.root_keys().and_then(|row| Some((row.epoch, row.id?))) else { return Ok(()) };
        // A node that is catching up sees root keys of the past.
        if epoch < self.core.seals.look(crate::seal::SealRecord::active_epoch).await {
            return Ok(());
        }
        let Some(root) = self.core.keyring.named(epoch, id) else {
            tracing::error!(
                epoch,
                "root key {epoch} is the active one and this node was opened by a seal that does not know it: \
                 it seals itself; the new shares open it"
            );
            formation::seal_soon(&self.node);
            return Err(Refusal::new(Reason::Sealed, "this node has not got the active root key"));
        };
        if self.core.seals.look(|record| record.staged() == Some((epoch, id))).await {
            self.core.seals.activate(&self.node, id).await.map_err(|error| internal(&error))?;
            tracing::info!(epoch, "this node uses the new root key");
        }
        self.core.envelope.write_under(epoch).map_err(|error| internal(&error))?;
        self.core.authority.seal_under(&self.node.folder, &root).map_err(|error| internal(&error))
    }

    /// Takes a root key off the disk that was given up, or that another has taken the place of.
    async fn unstage(&self, state: &State) -> Result<(), Refusal> {
        let Some((epoch, _)) = self.core.seals.look(crate::seal::SealRecord::staged).await else { return Ok(()) };
        self.core.seals.unstage(&self.node).await.map_err(|error| internal(&error))?;
        // One of that number may have become active under another name, while this node was behind.
        if epoch > state.root_epoch() {
            self.core.keyring.forget(epoch);
            self.core.envelope.forget(epoch);
        }
        tracing::info!(epoch, "a root key that was on its way was given up");
        Ok(())
    }

    /// Has the staged root key on the disk, then says so.
    async fn take_in(&self, staged: &StagedRoot, memory: &mut Memory) -> Result<(), Refusal> {
        let active = self.core.seals.look(crate::seal::SealRecord::active_epoch).await;
        let Some(id) = staged.id.filter(|_| staged.epoch > active) else { return Ok(()) };
        let on_disk = self.core.seals.look(|record| record.staged() == Some((staged.epoch, id))).await;
        if !on_disk || self.core.keyring.named(staged.epoch, id).is_none() {
            let Some(root) = self.obtain(staged.epoch, id, memory).await else {
                return Err(Refusal::new(Reason::NoQuorum, format!("no member hands out root key {}", staged.epoch)));
            };
            if !on_disk {
                self.write_down(&root, staged).await?;
            }
            self.core.envelope.learn(&root).map_err(|error| internal(&error))?;
            self.core.keyring.learn(root);
        }
        memory.missed = None;
        if !staged.confirmed.contains(&self.core.node) {
            let confirmed = Command::ConfirmRoot { node: self.core.node, epoch: staged.epoch, id };
            self.core.propose_own(confirmed).await?;
            tracing::info!(epoch = staged.epoch, "this node has the new root key");
        }
        Ok(())
    }

    async fn write_down(&self, root: &Root, staged: &StagedRoot) -> Result<(), Refusal> {
        let quorum = staged.quorum.as_deref().map(serde_json::from_slice::<Quorum>).transpose();
        let quorum = quorum.map_err(|error| internal(&error))?;
        let held = self.core.keyring.roots();
        self.core.seals.stage(&self.node, root, quorum, &held).await.map_err(|error| {
            if matches!(error, SealError::TooManyEpochs) {
                tracing::warn!(%error, epoch = staged.epoch, "this node cannot take the new root key in yet");
            }
            internal(&error)
        })
    }

    /// The key of that name: drawn here, or from a member that has it.
    async fn obtain(&self, epoch: u32, id: RootId, memory: &mut Memory) -> Option<Arc<Root>> {
        let here = self.core.keyring.named(epoch, id).or_else(|| memory.drawn.clone().filter(|root| root.id == id));
        if here.is_some() {
            return here;
        }
        let others: Vec<NodeId> = self.core.state().nodes().map(|(other, _)| other).collect();
        for other in others.into_iter().filter(|other| *other != self.core.node) {
            match self.fetch(other, epoch, id).await {
                Ok(root) => return Some(Arc::new(root)),
                Err(refusal) => tracing::debug!(node = %other, %refusal, "a member did not hand out the new root key"),
            }
        }
        if memory.missed.is_none_or(|(missed, _)| missed != id) {
            memory.missed = Some((id, Instant::now()));
        }
        None
    }

    async fn fetch(&self, other: NodeId, epoch: u32, id: RootId) -> Result<Root, Refusal> {
        let recipient = release::Recipient::draw()?;
        let active = self.core.keyring.root(self.core.state().root_epoch())?;
        let public = recipient.public();
        let transfer = Transfer { cluster: self.core.cluster, to: self.core.node, epoch, id, recipient: public };
        let proof = transfer.proof(&active).to_vec();
        let request = FetchRootRequest { epoch, root_id: id.0.to_vec(), recipient: public.to_vec(), proof };
        let mut request = tonic::Request::new(request);
        request.set_timeout(Duration::from_secs(3));
        let answer = self.core.member(other)?.fetch_root(request).await;
        let answer = answer.map_err(|status| Refusal::new(Reason::NoQuorum, status.message()))?.into_inner();
        recipient.open(self.core.cluster, epoch, id, &answer.sealed)
    }

    /// What the leader does: draws the key, again if it was lost, and makes it active when every member has it.
    async fn lead_on(&self, state: &StateView, staged: &StagedRoot, memory: &mut Memory) -> Result<(), Refusal> {
        let lost = memory.missed.is_some_and(|(_, since)| since.elapsed() >= LOST) && !state.has_confirmed_root();
        if staged.id.is_none() || lost {
            let root = Arc::new(Root::draw(staged.epoch).map_err(|error| internal(&error))?);
            let command = Command::StageRoot { epoch: staged.epoch, id: root.id };
            memory.drawn = Some(root);
            memory.missed = None;
            return self.propose(command).await;
        }
        let Some(id) = staged.id.filter(|_| state.root_waits_for().next().is_none()) else { return Ok(()) };
        let (core, state) = (Arc::clone(&self.core), state.clone());
        let epoch = staged.epoch;
        // Two derivations a namespace, of which there may be thousands.
        let command = tokio::task::spawn_blocking(move || rewrapped(&core, &state, epoch, id));
        let command = command.await.map_err(|error| internal(&error))??;
        self.propose(command).await?;
        tracing::info!(epoch, "the new root key is the active one");
        Ok(())
    }

    async fn propose(&self, command: Command) -> Result<(), Refusal> {
        let proposed = self.core.propose(&own_proposal(self.core.node, command)).await.map_err(Refusal::from)?;
        proposed.reply.map(drop)
    }

    /// Forgets the root keys before the active one, once the log and the snapshots have passed them: that is read back before
    /// it is believed.
    async fn forget_older(&self, state: &StateView, memory: &mut Memory) -> Result<(), Refusal> {
        let active = state.root_epoch();
        let held = self.core.seals.look(crate::seal::SealRecord::epochs).await;
        let older: Vec<u32> = held.into_iter().filter(|epoch| *epoch < active).collect();
        if older.is_empty() {
            return Ok(());
        }
        let status = self.core.raft.status();
        let Some((_, end)) = memory.written_before.filter(|(epoch, _)| *epoch == active) else {
            // A tick after the change: what was being sealed under the key before is in the log by now.
            memory.written_before = status.last_log.map(|end| (active, end));
            return Ok(());
        };
        if status.purged.is_none_or(|purged| purged < end) {
            return self.take_snapshot(memory).await;
        }
        let before = self.core.envelope.opened_of_older();
        self.core.raft.read_back().await.map_err(|error| internal(&error))?;
        if self.core.envelope.opened_of_older() != before {
            return self.take_snapshot(memory).await;
        }
        for epoch in older {
            self.core.seals.retire(&self.node, epoch).await.map_err(|error| internal(&error))?;
            self.core.keyring.forget(epoch);
            self.core.envelope.forget(epoch);
            tracing::info!(epoch, "nothing is left that the old root key opens: it is forgotten");
        }
        Ok(())
    }

    /// The log goes up to the older of two snapshots, so it takes two.
    async fn take_snapshot(&self, memory: &mut Memory) -> Result<(), Refusal> {
        if memory.snapshot_failed.is_some_and(|failed| failed.elapsed() < SNAPSHOT_RETRY) {
            return Ok(());
        }
        let status = self.core.raft.status();
        if status.applied <= status.snapshot {
            return Ok(());
        }
        let taken = self.core.raft.trigger_snapshot(SNAPSHOT).await;
        memory.snapshot_failed = taken.is_err().then(Instant::now);
        taken.map(drop).map_err(|error| internal(&error))
    }
}

/// Everything that the root key wraps, wrapped under its successor.
fn rewrapped(core: &Core, state: &State, epoch: u32, id: RootId) -> Result<Command, Refusal> {
    let active = state.root_epoch();
    let keks_wrapped = state.namespace_keys().map(|(name, row)| {
        let kek = WrappedKek { epoch: active, bytes: &row.kek_wrapped };
        Ok((name.clone(), core.keyring.rewrap_namespace_key(kek, name, epoch)?))
    });
    let keks_wrapped = keks_wrapped.collect::<Result<Vec<_>, Refusal>>()?;
    let cluster = state.cluster().ok_or_else(|| Refusal::new(Reason::NotInitialized, "there is no cluster yet"))?;
    let cluster_key = core.keyring.cluster_key(active, &cluster.key_wrapped)?;
    let cluster_key_wrapped = core.keyring.wrap_cluster_key(epoch, &cluster_key)?;
    Ok(Command::ActivateRoot { epoch, id, keks_wrapped, cluster_key_wrapped })
}

fn internal(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(Reason::Internal, error.to_string())
}

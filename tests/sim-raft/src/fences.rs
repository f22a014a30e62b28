//! Leases and fences as docs/spec/lease.md has them, around the lease table that the server uses: which nodes may serve,
//! and when nobody can serve the state before a change any more. Clock and network are the simulation's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use raft::RaftHandle;
use serde::{Deserialize, Serialize};
use types::NodeId;

use crate::bugs::Plant;
use crate::clocks::Clock;
use crate::machine::SimMachine;
use crate::table::{GrantName, LeaseTable};
use crate::wire::{self, Answer, Ask};

/// Shorter than in production, so that a run of seconds sees leases end.
const LEASE: Duration = Duration::from_secs(3);
/// How long a call waits for a fence before it says that it is pending.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// How long a node is given to say that it has applied.
const ASKED: Duration = Duration::from_millis(500);

/// A node's word when it asks for a lease.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Renewal {
    node: NodeId,
    held: (u64, u64),
    left: Duration,
    applied: u64,
}

/// What one process knows of leases: its own, and everybody's while it leads. Clones share it.
#[derive(Clone)]
pub(crate) struct Fences {
    pub(crate) node: NodeId,
    pub(crate) raft: RaftHandle<SimMachine>,
    pub(crate) clock: Clock,
    pub(crate) plant: Option<Plant>,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    table: Option<LeaseTable>,
    lease: Option<(Duration, Duration, GrantName)>,
}

impl Fences {
    pub(crate) fn new(node: NodeId, raft: RaftHandle<SimMachine>, clock: Clock, plant: Option<Plant>) -> Self {
        Self { node, raft, clock, plant, known: Arc::default() }
    }

    /// Whether this node may serve from what it has applied.
    pub(crate) fn may_serve(&self) -> bool {
        self.left() > Duration::ZERO
    }

    /// Asks the leader for a lease, and takes it once this node has caught up.
    pub(crate) async fn renew(&self) {
        let asked = self.clock.boot();
        let Some(leader) = self.raft.leader() else { return };
        let name = self.lock().lease.map_or_else(GrantName::default, |(_, _, name)| name);
        let renewal = Renewal {
            node: self.node,
            held: (name.term, name.number),
            left: self.left(),
            applied: self.raft.state().applied,
        };
        let Ok(Answer::Granted(length, (term, number))) = wire::ask(leader, &Ask::Renew(renewal), ASKED * 3).await
        else {
            return;
        };
        // After the answer, so that nothing was acknowledged in between that this node lacks.
        if self.raft.read_index(Duration::from_secs(1)).await.is_ok() {
            self.lock().lease = Some((asked, length, GrantName { term, number }));
        }
    }

    /// A member asks for a lease.
    pub(crate) async fn grant(&self, asked: &Renewal) -> Answer {
        let received = self.clock.boot();
        let Ok(term) = self.raft.confirm_leadership(Duration::from_secs(1)).await else { return Answer::Unknown };
        if !self.knows_leases(term).await {
            return Answer::Unknown;
        }
        let mut known = self.lock();
        let Some(table) = known.table.as_mut().filter(|table| table.term() == term) else { return Answer::Unknown };
        table.holds(asked.node, received, GrantName { term: asked.held.0, number: asked.held.1 }, asked.left);
        table.has_applied(asked.node, asked.applied);
        if !table.has(asked.node, table.fenced()) && asked.applied < table.fenced() {
            return Answer::Unknown;
        }
        let name = table.grants(asked.node, received, LEASE);
        Answer::Granted(LEASE, (name.term, name.number))
    }

    /// Waits until no node can serve a state from before `index`; `false` when that takes too long. `since` is the term
    /// in which the entry was proposed, if that is known.
    pub(crate) async fn fence(&self, index: u64, since: Option<u64>) -> bool {
        if self.plant == Some(Plant::FenceTooEarly) {
            return true;
        }
        let term = match since {
            Some(term) => term,
            None => match self.raft.confirm_leadership(PATIENCE).await {
                Ok(term) => term,
                Err(_) => return false,
            },
        };
        if !self.knows_leases(term).await {
            return false;
        }
        if let Some(table) = &mut self.lock().table {
            table.fence(index);
        }
        let settled = async {
            loop {
                let open = self.open(index);
                let Some((node, left)) = open.first_key_value().map(|(node, left)| (*node, *left)) else { return };
                let question = Ask::Applied(index);
                let asked = wire::ask(node, &question, ASKED);
                if let Ok(Ok(Answer::HasApplied(applied))) = tokio::time::timeout(left, asked).await
                    && let Some(table) = &mut self.lock().table
                {
                    table.has_applied(node, applied);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, settled).await.is_ok()
    }

    async fn knows_leases(&self, least: u64) -> bool {
        if self.lock().table.as_ref().is_some_and(|table| table.term() >= least) {
            return true;
        }
        let Ok(term) = self.raft.confirm_leadership(Duration::from_secs(1)).await else { return false };
        let elected = self.clock.boot();
        let view = self.raft.state();
        let members = self.raft.membership();
        let nodes = view.state.nodes().map(|(node, _)| node).chain(members.all.keys().copied());
        let others = nodes.filter(|node| *node != self.node);
        let table = LeaseTable::assume(term, elected, others, LEASE);
        let mut known = self.lock();
        if known.table.as_ref().is_none_or(|table| table.term() < term) {
            known.table = Some(table);
        }
        true
    }

    /// The nodes that a fence waits for. Who knows nothing waits for itself.
    fn open(&self, index: u64) -> BTreeMap<NodeId, Duration> {
        let now = self.clock.boot();
        let open = self.lock().table.as_ref().map(|table| table.waits_for(index, now));
        open.unwrap_or_else(|| BTreeMap::from([(self.node, PATIENCE)]))
    }

    fn left(&self) -> Duration {
        let now = self.clock.boot();
        self.lock().lease.map_or(Duration::ZERO, |(from, length, _)| length.saturating_sub(now.saturating_sub(from)))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

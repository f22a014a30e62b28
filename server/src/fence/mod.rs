//! The fence: a change that takes a right away is acknowledged only when no node can serve the state before it
//! (docs/spec/lease.md §2). Here the lease table meets clock and network; the table itself is pure.

mod table;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::member::v1::{AwaitAppliedRequest, RenewLeaseRequest};
use tokio::time::Instant;
use types::{NodeId, Reason, Refusal, Revision};

use crate::core::{Core, NotAcknowledged};
use crate::lease::Clocks;
use crate::ledger::Mark;
use crate::wire::status::refusal;
pub(crate) use table::{GrantName, LeaseTable};

/// How long one call waits for a fence before it says that it is pending: clients come back and wait on.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// How long a node is given to say that it has applied; past it, it is asked again.
const ASKED: Duration = Duration::from_millis(500);
/// How soon a node that could not be reached is asked again.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a node that asks for a lease may take to apply what is fenced.
const CATCHING_UP: Duration = Duration::from_secs(1);

/// What this node knows of everybody's leases while it leads.
#[derive(Debug, Default)]
pub(crate) struct Fences {
    table: Mutex<Option<LeaseTable>>,
    /// One question to a node at a time.
    asking: Mutex<BTreeMap<NodeId, Arc<tokio::sync::Mutex<()>>>>,
}

/// A lease as the leader grants it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Granted {
    /// From before the question was sent.
    pub length: Duration,
    /// What the holder calls it.
    pub name: GrantName,
}

/// Which leader may judge a fence.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Judge {
    /// The one that proposed the entry, in that term, or a later one.
    Since(u64),
    /// One that a quorum confirms from now on: when the entry's term is not known.
    Confirmed,
}

impl Core {
    /// Waits until no node can serve a state from before `index`.
    ///
    /// # Errors
    /// [`Reason::FencePending`] when that takes longer than a call may wait; that this node no longer leads.
    pub(crate) async fn fence(&self, index: u64, judge: Judge) -> Result<(), NotAcknowledged> {
        let by = Instant::now() + PATIENCE;
        let least = match judge {
            Judge::Since(term) => term,
            Judge::Confirmed => self.confirm(by).await.map_err(|error| unjudged(&error))?,
        };
        self.knows_leases(least, by).await.map_err(|error| unjudged(&error))?;
        self.with_leases(|table| table.fence(index));
        let open = self.open(index);
        if open.is_empty() {
            return Ok(());
        }
        let nodes = futures::future::join_all(open.into_keys().map(|node| self.settle(node, index)));
        match tokio::time::timeout_at(by, nodes).await {
            Ok(_) => Ok(()),
            Err(_) => match self.open(index) {
                open if open.is_empty() => Ok(()),
                open => Err(pending(&open).into()),
            },
        }
    }

    /// Waits until what the entry at `index` took away is over: no node can serve the state before it, and the ledger knows.
    ///
    /// # Errors
    /// Those of [`Core::fence`] and [`Core::tell_ledger`].
    pub(crate) async fn ends(&self, index: u64, judge: Judge) -> Result<(), NotAcknowledged> {
        self.fence(index, judge).await?;
        self.tell_ledger(Mark::WithFacts).await.map_err(NotAcknowledged::Refused)
    }

    /// Makes sure that there is a lease table of term `least` or a later one.
    async fn knows_leases(&self, least: u64, by: Instant) -> Result<(), raft::ReadError> {
        if self.leases_since() >= Some(least) {
            return Ok(());
        }
        // Confirmed and applied: whatever was ever granted rests on settings that this state holds.
        let term = self.confirm(by).await?;
        let elected = Clocks::now().boot;
        let state = self.state();
        let members = self.raft.membership();
        // Those that were removed lately too: one that is cut off goes on under the lease of a leader before this one.
        let departed = state.departed().map(|(id, _)| id);
        let nodes = state.nodes().map(|(id, _)| id).chain(members.all.keys().copied()).chain(departed);
        let others = nodes.filter(|id| *id != self.node);
        let mut table = self.fences.table();
        if table.as_ref().is_none_or(|table| table.term() < term) {
            *table = Some(LeaseTable::assume(term, elected, others, state.longest_lease().to_std()));
        }
        Ok(())
    }

    /// Grants a lease to a member that asks, if it may have one.
    ///
    /// # Errors
    /// When no quorum confirms this leader, or the member lacks what is fenced.
    pub(crate) async fn grant_lease(&self, node: NodeId, asked: &RenewLeaseRequest) -> Result<Granted, Refusal> {
        let received = Clocks::now().boot;
        let by = Instant::now() + CATCHING_UP;
        let unled = |_: raft::ReadError| crate::core::no_leader();
        let term = self.confirm(by).await.map_err(unled)?;
        self.knows_leases(term, by).await.map_err(unled)?;
        let needed = self.with_leases(|table| {
            table.holds(node, received, held(asked), Duration::from_millis(asked.held_ms));
            table.has_applied(node, asked.applied_index);
            table.fenced()
        });
        let needed = needed.ok_or_else(crate::core::no_leader)?;
        if tokio::time::timeout_at(by, self.settle_applied(node, needed)).await.is_err() {
            let text = "this node has not applied a change that must reach it before it may serve on";
            return Err(Refusal::new(Reason::FencePending, text));
        }
        let mut table = self.fences.table();
        // Under the lock as well: one that was removed meanwhile gets nothing that its fence did not see.
        if self.state().node(node).is_none() {
            return Err(Refusal::new(Reason::Removed, "this node was removed from the cluster"));
        }
        // Read under the lock: once somebody has seen that nothing long is held, nothing long is granted.
        let length = self.state().settings().lease.to_std();
        let table = table.as_mut().filter(|table| table.term() == term).ok_or_else(crate::core::no_leader)?;
        Ok(Granted { length, name: table.grants(node, received, length) })
    }

    /// A member gives its lease back, because it stops.
    pub(crate) fn lease_given_back(&self, node: NodeId, word: &RenewLeaseRequest) {
        let now = Clocks::now().boot;
        self.with_leases(|table| table.holds(node, now, held(word), Duration::ZERO));
    }

    /// Which settings to settle: leases were made shorter, and by now nobody can hold one of the longer kind.
    pub(crate) async fn lease_to_settle(&self) -> Option<Revision> {
        self.state().settings().lease_before?;
        let term = self.knows_this_term().await?;
        let now = Clocks::now();
        let table = self.fences.table();
        let settings = self.state().settings();
        settings.lease_before?;
        let table = table.as_ref().filter(|table| table.term() == term)?;
        let longest = table.longest(now.boot).max(self.lease.left(now));
        (longest <= table::ends(Duration::ZERO, settings.lease.to_std())).then_some(settings.revision)
    }

    /// The removed members that can hold no lease any more, as this leader knows.
    pub(crate) async fn departures_to_settle(&self) -> Vec<NodeId> {
        let departed: Vec<NodeId> = self.state().departed().map(|(id, _)| id).collect();
        if departed.is_empty() {
            return Vec::new();
        }
        let Some(term) = self.knows_this_term().await else { return Vec::new() };
        let now = Clocks::now().boot;
        let over = self.with_leases(|table| {
            let over = departed.into_iter().filter(|id| table.term() == term && table.is_over(*id, now));
            over.collect()
        });
        over.unwrap_or_default()
    }

    /// The term in which this node leads, once its table is that term's: an older one knows nothing of what others granted since.
    async fn knows_this_term(&self) -> Option<u64> {
        let by = Instant::now() + CATCHING_UP;
        let term = self.confirm(by).await.ok()?;
        self.knows_leases(term, by).await.ok()?;
        Some(term)
    }

    /// Waits until a node has applied `index` or can hold no lease any more.
    async fn settle(&self, node: NodeId, index: u64) {
        while let Some(left) = self.open(index).get(&node).copied() {
            // What is left may shrink meanwhile: the question ends soon by itself, and is asked again.
            tokio::select! {
                () = self.ask(node, index) => {}
                () = tokio::time::sleep(left) => {}
            }
        }
    }

    /// Waits until a node has applied `index`, whatever it holds.
    async fn settle_applied(&self, node: NodeId, index: u64) {
        while !self.has_applied(node, index) {
            self.ask(node, index).await;
        }
    }

    /// Asks a node to say when it has applied what is fenced; whoever waits for its turn finds the answer there.
    async fn ask(&self, node: NodeId, index: u64) {
        let turn = self.fences.turn(node);
        let _turn = turn.lock().await;
        if self.has_applied(node, index) {
            return;
        }
        let asked = Clocks::now().boot;
        let newest = self.with_leases(|table| table.fenced()).unwrap_or(0).max(index);
        match self.applied_by(node, newest).await {
            Ok(applied) => {
                self.with_leases(|table| table.has_applied(node, applied));
            }
            // One that knows of its removal serves nobody, whatever it has applied since.
            Err(Some(Reason::Sealed | Reason::NotInitialized | Reason::Removed)) => {
                self.with_leases(|table| table.holds_none(node, asked));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }

    async fn applied_by(&self, node: NodeId, index: u64) -> Result<u64, Option<Reason>> {
        let mut member = self.member(node).map_err(|_| None)?;
        let wait_ms = u64::try_from(ASKED.as_millis()).unwrap_or(u64::MAX);
        let asked = member.await_applied(AwaitAppliedRequest { index, wait_ms });
        let answer = tokio::time::timeout(2 * ASKED, asked).await.map_err(|_| None)?;
        let answer = answer.map_err(|status| refusal(&status).map(|refusal| refusal.reason))?;
        Ok(answer.into_inner().applied_index)
    }

    async fn confirm(&self, by: Instant) -> Result<u64, raft::ReadError> {
        self.raft.confirm_leadership(by.saturating_duration_since(Instant::now())).await
    }

    /// The nodes that a fence waits for. Who knows nothing of leases waits for itself, that is for ever.
    fn open(&self, index: u64) -> BTreeMap<NodeId, Duration> {
        let now = Clocks::now().boot;
        let open = self.with_leases(|table| table.waits_for(index, now));
        open.unwrap_or_else(|| BTreeMap::from([(self.node, Duration::MAX)]))
    }

    fn has_applied(&self, node: NodeId, index: u64) -> bool {
        self.with_leases(|table| table.has(node, index)).unwrap_or(false)
    }

    fn leases_since(&self) -> Option<u64> {
        self.with_leases(|table| table.term())
    }

    /// Reads or writes the table; there is none before this node first led.
    fn with_leases<T>(&self, work: impl FnOnce(&mut LeaseTable) -> T) -> Option<T> {
        self.fences.table().as_mut().map(work)
    }
}

impl Fences {
    fn table(&self) -> MutexGuard<'_, Option<LeaseTable>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose turn it is to ask a node.
    fn turn(&self, node: NodeId) -> Arc<tokio::sync::Mutex<()>> {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(asking.entry(node).or_default())
    }
}

/// The grant that a member says it holds.
const fn held(word: &RenewLeaseRequest) -> GrantName {
    GrantName { term: word.held_term, number: word.held_grant }
}

/// What a caller is told whose change is committed and may not have reached every node.
fn pending(open: &BTreeMap<NodeId, Duration>) -> Refusal {
    let nodes: Vec<_> = open.keys().map(ToString::to_string).collect();
    // Rounded up: nobody is to come back a moment too early.
    let longest = open.values().max().map_or(0, |left| left.as_secs().saturating_add(1));
    let text = format!(
        "the change is committed, but {} may serve the state before it for up to {longest} s more: \
         the same request waits for the end of that",
        nodes.join(" and ")
    );
    Refusal::new(Reason::FencePending, text)
}

/// The same, when this node cannot judge it. Another one that leads can.
fn unjudged(error: &raft::ReadError) -> NotAcknowledged {
    if matches!(error, raft::ReadError::NoLeader) {
        return NotAcknowledged::LedByAnother;
    }
    let text = format!(
        "the change is committed, but this node cannot say now whether every node has applied it ({error}): \
         try again with the same request id"
    );
    Refusal::new(Reason::FencePending, text).into()
}

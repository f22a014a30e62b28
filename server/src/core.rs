//! What an open node works with: the keys in memory, Raft, the audit log, the lease, its authorities.
//!
//! It exists from unsealing to sealing. Opening it restores the state and starts the node's own tasks; closing it stops
//! them and wipes the keys.

use std::sync::Arc;
use std::time::Duration;

use audit::{Event, Head};
use proto::member::v1::member_service_client::MemberServiceClient;
use proto::member::v1::{ProposeRequest, RenewLeaseRequest};
use raft::{Names, ProposeError, RaftHandle, Role};
use state::{Command, Proposal, Reply, RequestKey, State};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::interceptor::InterceptedService;
use types::{ClusterId, NodeId, Principal, Reason, Refusal, Time, limits};

use crate::audit_store::AuditStore;
use crate::authority::AuthorityDesk;
use crate::clock;
use crate::envelope::StorageEnvelope;
use crate::fence::{Fences, GrantName};
use crate::introduced::Introduced;
use crate::keyring::Keyring;
use crate::lease::{Clocks, Lease};
use crate::ledger::LedgerDesk;
use crate::machine::{Applied, StateMachine, decode_reply};
use crate::seal::SealDesk;
use crate::trust::TrustDesk;
use crate::usage::UsageDesk;
use crate::vouched::Vouched;
use crate::wire::status;

/// A member's service, asked under the names of both by a holder of the root key.
pub(crate) type MemberClient = MemberServiceClient<InterceptedService<tonic::transport::Channel, Vouched>>;

/// A pause between two attempts at finding the leader.
const HAND_OVER: Duration = Duration::from_millis(5);
/// How long the node's tasks may take to end when it closes.
const STRAGGLERS: Duration = Duration::from_secs(5);

/// How long a node that stops tries to give its lease back.
const FAREWELL: Duration = Duration::from_millis(300);

/// An open node's inside.
#[derive(Debug)]
pub(crate) struct Core {
    /// The cluster.
    pub cluster: ClusterId,
    /// This node.
    pub node: NodeId,
    /// Order and durability.
    pub raft: RaftHandle<StateMachine>,
    /// The keys in memory.
    pub keyring: Arc<Keyring>,
    /// The right to serve and sign.
    pub lease: Lease,
    /// What it knows of the others' leases while it leads.
    pub(crate) fences: Fences,
    /// This node's own authorities.
    pub authority: AuthorityDesk,
    /// What Raft's files are sealed with.
    pub(crate) envelope: Arc<StorageEnvelope>,
    /// This node's own seals.
    pub(crate) seals: SealDesk,
    pub(crate) trust: TrustDesk,
    /// Whom the others have named, until its own log does.
    pub(crate) introduced: Arc<Introduced>,
    pub(crate) ledger: LedgerDesk,
    /// What this node may use of counted keys.
    pub(crate) usage: UsageDesk,
    pub(crate) audit: AuditStore,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// An entry that the cluster has acknowledged and this node has applied.
#[derive(Clone, Debug)]
pub(crate) struct AppliedEntry {
    /// What `apply` said.
    pub reply: Result<Reply, Refusal>,
    /// Where it stands in the log.
    pub index: u64,
    /// The term of the leader that committed it.
    pub term: u64,
}

/// Why an entry was not acknowledged.
#[derive(Clone, Debug)]
pub(crate) enum NotAcknowledged {
    /// This node does not lead any more; the entry may have been committed all the same.
    LedByAnother,
    /// Anything else.
    Refused(Refusal),
}

impl From<Refusal> for NotAcknowledged {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<NotAcknowledged> for Refusal {
    fn from(why: NotAcknowledged) -> Self {
        match why {
            NotAcknowledged::LedByAnother => no_leader(),
            NotAcknowledged::Refused(refusal) => refusal,
        }
    }
}

/// A state to read from: the one after some entry, held for as long as the request needs it.
#[derive(Clone, Debug)]
pub(crate) struct StateView(Arc<raft::View<Applied>>);

impl std::ops::Deref for StateView {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0.state.state
    }
}

/// Evidence that this node has applied everything that was acknowledged before it asked: no lease begins without it,
/// because a node that was away would serve what was disabled meanwhile. Only [`Core::catch_up`] and
/// [`Core::leads_and_caught_up`] give it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CaughtUp(());

impl CaughtUp {
    #[cfg(test)]
    pub(crate) const CLAIMED: Self = Self(());
}

impl Core {
    /// Waits until this node has applied everything that was acknowledged before the call.
    ///
    /// # Errors
    /// [`Reason::NoQuorum`] when no quorum confirms the leader in time.
    pub(crate) async fn catch_up(&self) -> Result<CaughtUp, Refusal> {
        self.fresh_state().await.map(|_| CaughtUp(()))
    }

    /// Waits until a quorum confirms that this node leads, which has then applied everything that was acknowledged before
    /// the call. A leader grants itself a lease on nothing less: one that was deposed would find out from its successor
    /// what to apply, and hold a lease that the successor knows nothing of.
    ///
    /// # Errors
    /// [`Reason::NoQuorum`] when it does not lead.
    pub(crate) async fn leads_and_caught_up(&self) -> Result<CaughtUp, Refusal> {
        let confirmed = self.raft.confirm_leadership(limits::CALL_TIMEOUT.to_std()).await;
        confirmed.map(|_| CaughtUp(())).map_err(|_| no_leader())
    }

    /// The applied state of this node, as it is now.
    #[must_use]
    pub(crate) fn state(&self) -> StateView {
        StateView(self.raft.state())
    }

    /// The applied state, at least as new as everything acknowledged before the call.
    ///
    /// # Errors
    /// [`Reason::NoQuorum`] when no quorum confirms the leader in time.
    pub(crate) async fn fresh_state(&self) -> Result<StateView, Refusal> {
        let read = self.raft.read_index(limits::CALL_TIMEOUT.to_std()).await;
        read.map_err(|error| {
            Refusal::new(Reason::NoQuorum, format!("the cluster cannot confirm a read now: {error}"))
        })?;
        Ok(self.state())
    }

    /// Whether Raft and the audit log still run: a node whose disk failed answers nothing more.
    ///
    /// # Errors
    /// What stopped.
    pub(crate) fn check_alive(&self) -> Result<(), Refusal> {
        match self.raft.status().role {
            _ if self.stop.is_cancelled() => {
                Err(Refusal::new(Reason::LeaseExpired, "this node is being sealed or stopped: ask another"))
            }
            // The others may well answer: a failed disk of one node is no reason to give up the call.
            Role::Stopped => {
                Err(Refusal::new(Reason::LeaseExpired, "this node's log has stopped after a failed write: ask another"))
            }
            _ => Ok(()),
        }
    }

    /// Whether this node leads, as far as it knows.
    #[must_use]
    pub(crate) fn leads(&self) -> bool {
        self.raft.status().role == Role::Leader
    }

    /// The head of this node's own audit log, all of it durable.
    #[must_use]
    pub(crate) fn audit_head(&self) -> Head {
        let log = self.audit.node_log();
        self.audit.head(log).unwrap_or_else(|| Head::empty(log))
    }

    /// Records an answer; only then may it leave (invariant 6).
    ///
    /// # Errors
    /// [`Reason::AuditUnavailable`]: the answer must not leave.
    pub(crate) async fn record(&self, event: Event) -> Result<(), Refusal> {
        self.audit.append(event).await.map(drop).map_err(|error| {
            tracing::error!(%error, "an answer was withheld because it could not be recorded");
            Refusal::new(Reason::AuditUnavailable, "the answer could not be recorded, so it was withheld")
        })
    }

    /// Proposes an entry on this node, which must lead.
    ///
    /// # Errors
    /// Why the entry was not acknowledged; what `apply` refused is in the answer.
    pub(crate) async fn propose(&self, proposal: &Proposal) -> Result<AppliedEntry, NotAcknowledged> {
        let payload = postcard::to_stdvec(proposal)
            .map_err(|_| Refusal::new(Reason::Internal, "the change could not be encoded"))?;
        let deadline = limits::CALL_TIMEOUT.to_std();
        let proposed = if adds(&proposal.command) {
            self.raft.propose(payload, deadline).await
        } else {
            self.raft.propose_vital(payload, deadline).await
        };
        match proposed {
            Ok(raft::Proposed { index, term, reply }) => Ok(AppliedEntry { reply: decode_reply(&reply), index, term }),
            Err(ProposeError::NotLeader { .. } | ProposeError::Unknown { .. }) if !self.stop.is_cancelled() => {
                Err(NotAcknowledged::LedByAnother)
            }
            Err(error) => Err(NotAcknowledged::Refused(lost(&error, self.stop.is_cancelled()))),
        }
    }

    /// Waits a moment for a leader to be known.
    pub(crate) async fn await_leader(&self, patience: Duration) {
        let mut status = self.raft.watch_status();
        let known = async {
            // A hand-over takes some ten milliseconds, in which the old leader is still the one that is known.
            tokio::time::sleep(HAND_OVER).await;
            // A closed channel is a node that stops: whoever asks next is told.
            let _ = status.wait_for(|status| status.leader.is_some() || status.role == Role::Stopped).await;
        };
        let _ = tokio::time::timeout(patience, known).await;
    }

    /// Proposes a command of this node itself, by way of the leader when that is another.
    ///
    /// # Errors
    /// What `apply` refused, or why no leader took it.
    pub(crate) async fn propose_own(&self, command: Command) -> Result<Reply, Refusal> {
        if self.leads() {
            let proposal = own_proposal(self.node, command);
            return self.propose(&proposal).await.map_err(Refusal::from)?.reply;
        }
        let encoded = postcard::to_stdvec(&command)
            .map_err(|_| Refusal::new(Reason::Internal, "the command could not be encoded"))?;
        let mut leader = self.leader()?;
        let mut request = tonic::Request::new(ProposeRequest { command: encoded, request: Vec::new() });
        request.set_timeout(Duration::from_secs(3));
        match leader.propose(request).await {
            Ok(answer) => decode_reply(&answer.into_inner().reply),
            Err(error) => Err(status::refusal(&error).unwrap_or_else(no_leader)),
        }
    }

    /// Proposes what whoever has opened this node's seal asks for, by way of the leader when that is another.
    ///
    /// # Errors
    /// Why no leader took it; what `apply` refused is in the answer.
    pub(crate) async fn propose_for_seal(
        &self,
        command: Command,
        request: RequestKey,
    ) -> Result<AppliedEntry, NotAcknowledged> {
        if self.leads() {
            return self.propose(&sealed_proposal(command, request)).await;
        }
        let encode = |_| Refusal::new(Reason::Internal, "the command could not be encoded");
        let command = postcard::to_stdvec(&command).map_err(encode)?;
        let request = postcard::to_stdvec(&request).map_err(encode)?;
        let mut leader = self.leader().map_err(|_| NotAcknowledged::LedByAnother)?;
        let mut request = tonic::Request::new(ProposeRequest { command, request });
        request.set_timeout(limits::CALL_TIMEOUT.to_std());
        let answer = leader.propose(request).await.map_err(|_| NotAcknowledged::LedByAnother)?.into_inner();
        // The term of the leader is told to nobody: no fence is waited for.
        Ok(AppliedEntry { reply: decode_reply(&answer.reply), index: answer.index, term: 0 })
    }

    /// The leader's member service.
    ///
    /// # Errors
    /// [`Reason::NoQuorum`] when none is known.
    pub(crate) fn leader(&self) -> Result<MemberClient, Refusal> {
        self.member(self.raft.leader().ok_or_else(no_leader)?)
    }

    /// A member's service.
    ///
    /// # Errors
    /// [`Reason::NoQuorum`] when there is no member of that number.
    pub(crate) fn member(&self, id: NodeId) -> Result<MemberClient, Refusal> {
        let channel = self.raft.channel(id).ok_or_else(no_leader)?;
        let names = Names { cluster: self.cluster, from: self.node, to: id };
        Ok(MemberServiceClient::with_interceptor(channel, Vouched::new(names, &self.keyring))
            .max_decoding_message_size(2 * limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(2 * limits::MESSAGE_BYTES_MAX))
    }

    /// Gives the lease up until this node comes back, and back to the leader.
    pub(crate) async fn retire_lease(&self) {
        let held = self.lease.name();
        self.lease.retire();
        self.give_lease_back(held).await;
    }

    /// Gives the lease up for good, and back to the leader.
    pub(crate) async fn end_lease(&self) {
        let held = self.lease.name();
        self.lease.give_up();
        self.give_lease_back(held).await;
    }

    /// Tells the leader that this node holds no lease any more, so that no fence waits for one; the lease has been given up.
    async fn give_lease_back(&self, held: GrantName) {
        let Ok(mut leader) = self.leader() else { return };
        if self.leads() {
            return;
        }
        let word = RenewLeaseRequest {
            gives_back: true,
            held_term: held.term,
            held_grant: held.number,
            ..RenewLeaseRequest::default()
        };
        // Nobody depends on it: without the word, fences wait until the lease has run out.
        let told = tokio::time::timeout(FAREWELL, leader.renew_lease(word)).await;
        tracing::debug!(?told, "the lease was given back");
    }

    /// Whether it knows who leads and has that one's word: it has caught up then.
    pub(crate) fn is_in_touch(&self) -> bool {
        self.raft.leader().is_some() && self.lease.check(Clocks::now()).is_ok()
    }

    /// Stops everything that runs for this core and waits for it.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.end_lease().await;
        self.tasks.close();
        self.raft.shutdown().await;
        if tokio::time::timeout(STRAGGLERS, self.tasks.wait()).await.is_err() {
            tracing::error!("a task of this node did not end in time; the node closes without it");
        }
        // Calls that still hold this core must not write behind the back of the next one.
        let audit = self.audit.clone();
        if tokio::task::spawn_blocking(move || audit.close()).await.is_err() {
            tracing::error!("the audit log could not be closed");
        }
    }
}

/// A command of whoever has opened a node's seal: the proof was the decision.
pub(crate) fn sealed_proposal(command: Command, request: RequestKey) -> Proposal {
    Proposal { actor: Principal::Seal, at: clock::now(), request: Some(request), basis: None, command }
}

/// A command of the node itself: no request id, no decision, judged by `apply` alone.
pub(crate) fn own_proposal(node: NodeId, command: Command) -> Proposal {
    Proposal { actor: Principal::Node(node), at: clock::now(), request: None, basis: None, command }
}

/// What waits when the leader's disk is nearly full: whatever adds to the state. What keeps the cluster alive, and what takes
/// a right away, does not: nobody shall have to make room before a stolen key can be disabled.
const fn adds(command: &Command) -> bool {
    match command {
        // What keeps something from being destroyed, or takes a right away, does not wait for room.
        Command::UpdateKey { change, .. } => !change.takes_away() && change.deletion_protection.is_none(),
        _ => matches!(
            command,
            Command::CreateNamespace { .. }
                | Command::UpdateNamespace { .. }
                | Command::EnrolOperator { .. }
                | Command::GrantRole(_)
                | Command::CreateJoinToken { .. }
                | Command::RedeemNodeToken { .. }
                | Command::RedeemAgentToken { .. }
                | Command::CreateKey { .. }
                | Command::AddKeyVersion { .. }
                | Command::AddPreActiveVersion { .. }
                | Command::ActivateVersion { .. }
                | Command::SetKeyEnabled { enabled: true, .. }
                | Command::CreateEntry { .. }
                | Command::UpdateEntry { .. }
                | Command::CreateAlias { .. }
                | Command::UpdateAlias { .. }
                // Other keys are used all the same; these are once there is room.
                | Command::LeaseUsage { .. }
        ),
    }
}

pub(crate) fn no_leader() -> Refusal {
    Refusal::new(Reason::NoQuorum, "no leader can be reached: a majority of the nodes must be up and unsealed")
}

/// Why an entry was not acknowledged, for the caller.
fn lost(error: &ProposeError, closing: bool) -> Refusal {
    if closing {
        return no_leader();
    }
    match error {
        ProposeError::NotLeader { .. } => no_leader(),
        ProposeError::NoQuorum | ProposeError::Unknown { .. } => {
            Refusal::new(Reason::NoQuorum, format!("{error}: try again with the same request id"))
        }
        ProposeError::NoRoom { .. } => Refusal::new(
            Reason::DiskFull,
            "the leader's disk is nearly full, so it takes no changes: make room on it, and they are taken again by \
             themselves; reads, cryptography and whatever takes a right away go on",
        ),
        ProposeError::TooLarge { .. } => Refusal::new(Reason::LimitExceeded, error.to_string()),
        ProposeError::Fatal(_) => {
            tracing::error!(%error, "this node's log has stopped");
            let text = "this node's log has stopped after a failed write: try again with the same request id";
            Refusal::new(Reason::NoQuorum, text)
        }
    }
}

/// The later of state time and this node's clock: what grants and TTLs are judged by outside of `apply`.
pub(crate) fn judging_time(state: &State) -> Time {
    state.time().max(clock::now())
}

#[cfg(test)]
mod tests {
    use kms::{KeyChange, UsageChange, UsageLimits, UsagePolicy};
    use types::{KeyName, NamespaceName};

    use super::*;

    /// A disk that is full for long must not let a waiting period run out under the hands of whoever wants to stop it.
    #[test]
    fn what_stops_a_destruction_does_not_wait_for_room() {
        let (namespace, name) = (NamespaceName::default_namespace(), KeyName::parse("orders").expect("a name"));
        let update = |change| Command::UpdateKey { namespace: namespace.clone(), name: name.clone(), change };
        let limits = UsageLimits { uses: Some(5_000), bytes: None };
        let ceiling = UsageChange::to(UsagePolicy { ceiling: limits, ..UsagePolicy::default() });
        let rotate_after = UsageChange::to(UsagePolicy { rotate_after: limits, ..UsagePolicy::default() });
        for vital in [
            Command::RestoreKey { namespace: namespace.clone(), name: name.clone(), version: None },
            Command::RestoreNamespace { name: namespace.clone() },
            update(KeyChange { deletion_protection: Some(true), ..KeyChange::default() }),
            update(KeyChange { min_version: Some(2), ..KeyChange::default() }),
            update(KeyChange { usage: ceiling, ..KeyChange::default() }),
            Command::DestroyKey { namespace: namespace.clone(), name: name.clone(), version: None, urgent: false },
        ] {
            assert!(!adds(&vital), "{vital:?}");
        }
        for waits in [
            update(KeyChange::of_rotation(None)),
            update(KeyChange { usage: rotate_after, ..KeyChange::default() }),
            Command::ActivateVersion { namespace: namespace.clone(), name: name.clone(), version: 2 },
        ] {
            assert!(adds(&waits), "{waits:?}");
        }
    }
}

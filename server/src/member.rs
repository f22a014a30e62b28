//! `MemberService`: what members ask of one another on the peer port, beside Raft.
//!
//! The peer port lets in members only; here each call is tied to the member whose key the connection proved.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use audit::{Detail, Event, LogName, Text};
use chancery_client::ledger::{LEDGER, LEDGER_NONE};
use proto::member::v1 as wire;
use proto::member::v1::member_service_server::MemberService;
use raft::{PeerInfo, Role};
use state::{Command, RequestKey};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};
use types::{Action, ClusterId, Millis, NodeId, Principal, Reason, Refusal, RootId, limits};

use crate::api;
use crate::clock;
use crate::core::{Core, no_leader, own_proposal, sealed_proposal};
use crate::fence::Granted;
use crate::introduced;
use crate::leaving;
use crate::ledger::LedgerStatus;
use crate::machine::whole;
use crate::node::{Node, Phase};
use crate::peer_unseal;
use crate::release::{self, Transfer};
use crate::request::authn::Proof;
use crate::request::mutation::NotCarriedOut;
use crate::request::record::outcome;
use crate::vouched;
use crate::wire::status::status;

/// A node admitted by token takes the root key within this time, or is admitted again.
const RELEASE_WITHIN: Millis = Millis::from_hours(1);

/// The service of one node.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) node: Arc<Node>,
}

/// What this node says of itself.
pub(crate) fn hello(node: &Node) -> wire::HelloResponse {
    match node.phase() {
        Phase::Open(core) => {
            let status = core.raft.status();
            let role = match status.role {
                Role::Leader => wire::NodeRole::Leader,
                Role::Follower => wire::NodeRole::Follower,
                Role::Learner => wire::NodeRole::Learner,
                Role::Candidate => wire::NodeRole::Candidate,
                Role::Stopped => wire::NodeRole::Unspecified,
            };
            wire::HelloResponse {
                node: core.node.0,
                cluster_id: core.cluster.0.to_vec(),
                sealed: false,
                applied_index: status.applied.unwrap_or(0),
                role: role.into(),
                leader: status.leader.map_or(0, |leader| leader.0),
                term: status.term,
                draining: node.is_draining(),
                ledger: Some(ledger(&core.ledger.status())),
            }
        }
        Phase::Sealed(membership) | Phase::Admitted(membership) => wire::HelloResponse {
            node: membership.node().0,
            cluster_id: membership.cluster().0.to_vec(),
            sealed: true,
            ..Default::default()
        },
        Phase::Empty | Phase::Removed(_) => wire::HelloResponse { sealed: true, ..Default::default() },
    }
}

fn ledger(status: &LedgerStatus) -> wire::LedgerStatus {
    let LedgerStatus { kept, index, behind } = status;
    wire::LedgerStatus {
        kept: *kept,
        index: *index,
        behind_since_ms: behind.as_ref().map_or(0, |behind| behind.since.0),
        reason: behind.as_ref().map(|behind| behind.why.clone()).unwrap_or_default(),
    }
}

impl Member {
    /// The open core and the member at the other end, which has the root key: its identity key alone, which lies in clear on
    /// its disk, gets nobody further.
    fn caller<T>(&self, request: &Request<T>) -> Result<(Arc<Core>, NodeId), Refusal> {
        let (core, member) = self.known(request)?;
        let names = raft::Names { cluster: core.cluster, from: member, to: core.node };
        if vouched::is_by_a_holder(request.metadata(), names, &core.keyring) {
            Ok((core, member))
        } else {
            Err(not_a_member())
        }
    }

    /// The open core and whose identity key the other end has.
    fn known<T>(&self, request: &Request<T>) -> Result<(Arc<Core>, NodeId), Refusal> {
        let core = self.node.core()?;
        self.node.check_not_removed(&core)?;
        let named = named(request, core.cluster, core.node)?;
        let peer = request.extensions().get::<PeerInfo>().ok_or_else(not_a_member)?;
        let holds = core.state().node(named).is_some_and(|node| node.info.spki == peer.spki);
        if holds { Ok((core, named)) } else { Err(not_a_member()) }
    }

    /// What this node says to whoever means it. One that belongs to no cluster can be meant by nobody in particular.
    fn greeted(&self, request: &Request<wire::HelloRequest>) -> Result<wire::HelloResponse, Refusal> {
        match self.node.phase() {
            Phase::Open(core) => named(request, core.cluster, core.node).map(drop)?,
            Phase::Sealed(membership) | Phase::Admitted(membership) => {
                named(request, membership.cluster(), membership.node()).map(drop)?;
            }
            Phase::Empty | Phase::Removed(_) => {}
        }
        Ok(hello(&self.node))
    }

    /// Hands the root key to a node that was admitted a moment ago; the release is recorded before the key leaves.
    async fn release(&self, request: &Request<wire::ReleaseRootRequest>) -> Result<wire::ReleaseRootResponse, Refusal> {
        let (core, member) = self.known(request)?;
        let state = core.fresh_state().await?;
        let admitted = state.node(member).map(|node| node.admitted).ok_or_else(not_a_member)?;
        let recent = state.time() < admitted.after(RELEASE_WITHIN);
        // A node that has reported has its root key: only its own seal may open it again.
        let has_reported = state.report(member).is_some();
        let mut event = Event::allowed(clock::now(), Principal::Node(member), Action::Unseal);
        event.resource = Text::clipped(&format!("nodes/{}", member.0));
        event.detail = Detail::new().text("released", "root key to a node that was just admitted");
        if !recent || has_reported {
            event.outcome = audit::Outcome::Deny(Reason::PermissionDenied);
            core.record(event).await?;
            let text = "the root key goes only to a node that was admitted within the last hour and has none yet";
            return Err(Refusal::new(Reason::PermissionDenied, text));
        }
        core.record(event).await?;
        let root = core.keyring.root(state.root_epoch())?;
        let (active, seal_quorum) = core
            .seals
            .look(|record| {
                let quorum = record.quorum().and_then(|quorum| serde_json::to_string(quorum).ok());
                (record.active_epoch(), quorum.unwrap_or_default())
            })
            .await;
        if active != root.epoch {
            // Its shares are still those of the root key before.
            let text = "this member is just taking the new root key into use: ask again in a moment";
            return Err(Refusal::new(Reason::NoQuorum, text));
        }
        let sealed = release::sealed(core.cluster, &root, &request.get_ref().recipient)?;
        Ok(wire::ReleaseRootResponse { sealed, epoch: root.epoch, seal_quorum, root_id: root.id.0.to_vec() })
    }

    /// Hands the root key that is on its way to another member; the release is recorded before the key leaves.
    async fn fetched(&self, request: &Request<wire::FetchRootRequest>) -> Result<wire::FetchRootResponse, Refusal> {
        let (core, member) = self.caller(request)?;
        let wire::FetchRootRequest { epoch, root_id, recipient, proof } = request.get_ref();
        let id = root_id.as_slice().try_into().map(RootId);
        let id = id.map_err(|_| Refusal::new(Reason::InvalidArgument, "`root_id` has 16 bytes"))?;
        let staged = core.state().staged_root().is_some_and(|staged| staged.epoch == *epoch && staged.id == Some(id));
        let active = core.keyring.root(core.state().root_epoch())?;
        let transfer = Transfer { cluster: core.cluster, to: member, epoch: *epoch, id, recipient };
        let mut event = Event::allowed(clock::now(), Principal::Node(member), Action::AdvanceRootKey);
        event.resource = Text::clipped(&format!("root-keys/{epoch}"));
        if !transfer.is_asked_by_a_holder(&active, proof) {
            event.outcome = audit::Outcome::Deny(Reason::PermissionDenied);
            core.record(event).await?;
            let text = "whoever asks for the next root key proves that it has the active one";
            return Err(Refusal::new(Reason::PermissionDenied, text));
        }
        let root = core.keyring.named(*epoch, id).filter(|_| staged);
        let root =
            root.ok_or_else(|| Refusal::new(Reason::NotFound, "this member has no such root key to hand out"))?;
        let sealed = release::sealed(core.cluster, &root, recipient)?;
        event.detail = Detail::new().text("step", "handed out").text("root_id", &id.to_hex());
        core.record(event).await?;
        Ok(wire::FetchRootResponse { sealed })
    }

    /// Hands the root keys to a voter that has restarted, which cannot prove that it had them.
    async fn opened(&self, request: &Request<wire::UnsealPeerRequest>) -> Result<wire::UnsealPeerResponse, Refusal> {
        let started = Instant::now();
        let (core, member) = self.known(request)?;
        let peer = request.extensions().get::<PeerInfo>().ok_or_else(not_a_member)?;
        let released = peer_unseal::release(&self.node, &core, member, peer, request.get_ref()).await;
        let outcome = released.as_ref().map_or_else(|refusal| outcome(refusal.reason).as_str(), |_| "allow");
        self.node.metrics.answered(Action::ReleaseRoot, outcome, started.elapsed());
        released
    }

    /// Grants a lease while this node leads and a quorum confirms that it does, or takes one back.
    async fn grant(&self, request: &Request<wire::RenewLeaseRequest>) -> Result<wire::RenewLeaseResponse, Refusal> {
        let (core, member) = self.caller(request)?;
        if !core.leads() {
            return Err(no_leader());
        }
        if request.get_ref().gives_back {
            core.lease_given_back(member, request.get_ref());
            return Ok(wire::RenewLeaseResponse::default());
        }
        let Granted { length, name } = core.grant_lease(member, request.get_ref()).await?;
        let lease_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        Ok(wire::RenewLeaseResponse { lease_ms, term: name.term, grant: name.number })
    }

    /// Answers when this node has applied an entry.
    async fn applied(
        &self,
        request: &Request<wire::AwaitAppliedRequest>,
    ) -> Result<wire::AwaitAppliedResponse, Refusal> {
        let (core, _) = self.caller(request)?;
        let wire::AwaitAppliedRequest { index, wait_ms } = *request.get_ref();
        let wait = Duration::from_millis(wait_ms).min(limits::CALL_TIMEOUT.to_std());
        // In time or not: what counts is what this node has applied when it answers.
        let _ = core.raft.await_applied(index, wait).await;
        Ok(wire::AwaitAppliedResponse { applied_index: core.raft.state().applied })
    }

    /// Runs a member's own command; each speaks for itself only.
    async fn take(&self, request: Request<wire::ProposeRequest>) -> Result<wire::ProposeResponse, Refusal> {
        let (core, member) = self.caller(&request)?;
        let wire::ProposeRequest { command, request } = request.into_inner();
        let unread = || Refusal::new(Reason::InvalidArgument, "the command cannot be read");
        let command: Command = whole(&command).ok_or_else(unread)?;
        let speaks_for = match &command {
            Command::ReportNode(report) => Some(report.node),
            Command::PublishAuthority { node, .. }
            | Command::ReportErasure { node, .. }
            | Command::ConfirmRoot { node, .. }
            | Command::LeaseUsage { node, .. }
            | Command::CancelApproval { node } => Some(*node),
            // Its own seal was opened; it is believed, for it has the root key.
            Command::RecoverOperator { opened, .. } => Some(opened.node),
            _ => None,
        };
        if speaks_for != Some(member) {
            return Err(Refusal::new(Reason::PermissionDenied, "a member proposes only what concerns itself"));
        }
        let proposal = match command {
            Command::RecoverOperator { .. } => {
                let request: RequestKey = whole(&request).ok_or_else(unread)?;
                sealed_proposal(command, request)
            }
            _ => own_proposal(member, command),
        };
        let applied = core.propose(&proposal).await.map_err(Refusal::from)?;
        let reply = postcard::to_stdvec(&applied.reply)
            .map_err(|_| Refusal::new(Reason::Internal, "the reply could not be encoded"))?;
        Ok(wire::ProposeResponse { reply, index: applied.index })
    }

    async fn forwarded(
        &self,
        request: Request<wire::ForwardRequest>,
    ) -> Result<Response<wire::ForwardResponse>, Status> {
        let (core, _) = self.caller(&request).map_err(|refusal| status(&refusal))?;
        let wire::ForwardRequest { action, request, caller_certificates, source } = request.into_inner();
        let action = Action::parse(&action).ok_or_else(|| {
            status(&Refusal::new(Reason::Unimplemented, "the member that was asked does not know this call"))
        })?;
        let proof = Proof::forwarded(caller_certificates, source.parse::<SocketAddr>().ok());
        match api::forwarded(&self.node, &core, action, &request, &proof).await {
            Ok((response, index)) => {
                let mut answer = Response::new(wire::ForwardResponse { response, index });
                if core.is_unledgered(index) {
                    answer.metadata_mut().insert(LEDGER, MetadataValue::from_static(LEDGER_NONE));
                }
                Ok(answer)
            }
            Err(NotCarriedOut::Answered(refusal)) => Err(status(&refusal)),
            // Without a reason of ours: the member that asked has no answer yet and looks for the leader.
            Err(NotCarriedOut::LedByAnother) => Err(Status::unavailable("this node does not lead")),
        }
    }

    /// Stops serving, because the leader is about to remove this node.
    async fn retired(&self, request: &Request<wire::RetireRequest>) -> Result<wire::RetireResponse, Refusal> {
        let (core, caller) = self.caller(request)?;
        if core.raft.leader() != Some(caller) {
            return Err(Refusal::new(Reason::PermissionDenied, "only the leader retires a member"));
        }
        leaving::retire(&self.node, &core).await.map(|audit_size| wire::RetireResponse { audit_size })
    }

    async fn leaves(&self, request: &Request<wire::FetchLeavesRequest>) -> Result<wire::FetchLeavesResponse, Refusal> {
        let (core, _) = self.caller(request)?;
        let wire::FetchLeavesRequest { start_index, count_max } = *request.get_ref();
        let count = usize::try_from(count_max).unwrap_or(usize::MAX).min(limits::PAGE_SIZE_MAX);
        let leaves = core.audit.leaves(LogName::Cluster, start_index, count).await;
        let mut leaves = leaves.map_err(|error| Refusal::new(Reason::Internal, error.to_string()))?;
        // Leaves are at most 64 KiB, a message a few MiB: what does not fit is asked for again.
        let mut room = limits::MESSAGE_BYTES_MAX / 2;
        let fits = leaves.iter().take_while(|leaf| {
            room = room.saturating_sub(leaf.len());
            room > 0
        });
        let fits = fits.count();
        leaves.truncate(fits);
        Ok(wire::FetchLeavesResponse { leaves })
    }
}

/// The member that a request says it comes from, when it is meant for this one.
fn named<T>(request: &Request<T>, cluster: ClusterId, own: NodeId) -> Result<NodeId, Refusal> {
    raft::check_names(request, cluster, own)
        .map_err(|status| Refusal::new(Reason::PermissionDenied, status.message().to_owned()))
}

fn not_a_member() -> Refusal {
    Refusal::new(Reason::PermissionDenied, "only members of the cluster may call this")
}

fn answer<T>(answer: Result<T, Refusal>) -> Result<Response<T>, Status> {
    answer.map(Response::new).map_err(|refusal| status(&refusal))
}

#[tonic::async_trait]
impl MemberService for Member {
    async fn hello(&self, request: Request<wire::HelloRequest>) -> Result<Response<wire::HelloResponse>, Status> {
        answer(self.greeted(&request))
    }

    async fn list_members(
        &self,
        request: Request<wire::ListMembersRequest>,
    ) -> Result<Response<wire::ListMembersResponse>, Status> {
        let caller = self.caller(&request).map_err(|refusal| status(&refusal));
        caller.map(|(core, member)| introduced::answer(&core, member))
    }

    async fn forward(&self, request: Request<wire::ForwardRequest>) -> Result<Response<wire::ForwardResponse>, Status> {
        self.forwarded(request).await
    }

    async fn release_root(
        &self,
        request: Request<wire::ReleaseRootRequest>,
    ) -> Result<Response<wire::ReleaseRootResponse>, Status> {
        answer(self.release(&request).await)
    }

    async fn fetch_root(
        &self,
        request: Request<wire::FetchRootRequest>,
    ) -> Result<Response<wire::FetchRootResponse>, Status> {
        answer(self.fetched(&request).await)
    }

    async fn unseal_peer(
        &self,
        request: Request<wire::UnsealPeerRequest>,
    ) -> Result<Response<wire::UnsealPeerResponse>, Status> {
        answer(self.opened(&request).await)
    }

    async fn renew_lease(
        &self,
        request: Request<wire::RenewLeaseRequest>,
    ) -> Result<Response<wire::RenewLeaseResponse>, Status> {
        answer(self.grant(&request).await)
    }

    async fn await_applied(
        &self,
        request: Request<wire::AwaitAppliedRequest>,
    ) -> Result<Response<wire::AwaitAppliedResponse>, Status> {
        answer(self.applied(&request).await)
    }

    async fn fetch_leaves(
        &self,
        request: Request<wire::FetchLeavesRequest>,
    ) -> Result<Response<wire::FetchLeavesResponse>, Status> {
        answer(self.leaves(&request).await)
    }

    async fn retire(&self, request: Request<wire::RetireRequest>) -> Result<Response<wire::RetireResponse>, Status> {
        answer(self.retired(&request).await)
    }

    async fn propose(&self, request: Request<wire::ProposeRequest>) -> Result<Response<wire::ProposeResponse>, Status> {
        answer(self.take(request).await)
    }
}

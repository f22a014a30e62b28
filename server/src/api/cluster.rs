//! `ClusterService`: members, join tokens, the trust document, who the caller is. `Init` is in `init.rs`.

use std::time::Duration;

use audit::Detail;
use chancery_client::Address;
use chancery_client::token::{JoinToken, TokenKind};
use futures::future::join_all;
use proto::cluster::v1 as wire;
use proto::cluster::v1::cluster_service_server::ClusterService;
use proto::member::v1 as member;
use state::command::{JoinKind, NodeInfo};
use state::rows::Node as Row;
use state::{Command, Reply, State};
use tonic::{Request, Response, Status};
use types::{Action, AgentName, NodeId, Principal, Reason, Refusal, TokenId, limits};

use super::Api;
use super::agents::{read_token, token_bearer};
use super::macros::request_fields;
use super::settings::{time_held, time_unconfirmed};
use crate::core::{Core, StateView};
use crate::node::Node;
use crate::request::authn::{Caller, Proof};
use crate::request::mutation::{self, Mutation};
use crate::request::query::{self, Consistency, Query};
use crate::request::relay;
use crate::request::target::Target;
use crate::trust;
use crate::wire::status::status;
use crate::wire::{cluster, name, time};

/// A member that does not say hello within this time is shown as unreachable.
const HELLO: Duration = Duration::from_millis(500);

#[tonic::async_trait]
impl ClusterService for Api {
    async fn init(&self, _request: Request<wire::InitRequest>) -> Result<Response<wire::InitResponse>, Status> {
        let text = "a cluster is formed on its first node's own socket: run `chancery init` there";
        Err(status(&Refusal::new(Reason::PermissionDenied, text)))
    }

    async fn get_status(
        &self,
        request: Request<wire::GetStatusRequest>,
    ) -> Result<Response<wire::ClusterStatus>, Status> {
        query::serve(&self.node, request).await
    }

    async fn create_join_token(
        &self,
        request: Request<wire::CreateJoinTokenRequest>,
    ) -> Result<Response<wire::CreateJoinTokenResponse>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn redeem_node_token(
        &self,
        request: Request<wire::RedeemNodeTokenRequest>,
    ) -> Result<Response<wire::RedeemNodeTokenResponse>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn set_lease(
        &self,
        request: Request<wire::SetLeaseRequest>,
    ) -> Result<Response<wire::SetLeaseResponse>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn reset_time(
        &self,
        request: Request<wire::ResetTimeRequest>,
    ) -> Result<Response<wire::ResetTimeResponse>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn confirm_time(
        &self,
        request: Request<wire::ConfirmTimeRequest>,
    ) -> Result<Response<wire::ConfirmTimeResponse>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn who_am_i(&self, request: Request<wire::WhoAmIRequest>) -> Result<Response<wire::WhoAmIResponse>, Status> {
        query::serve(&self.node, request).await
    }

    async fn transfer_leader(
        &self,
        request: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderResponse>, Status> {
        relay::serve(&self.node, request).await
    }

    async fn drain_node(
        &self,
        request: Request<wire::DrainNodeRequest>,
    ) -> Result<Response<wire::DrainNodeResponse>, Status> {
        relay::serve(&self.node, request).await
    }

    async fn remove_node(
        &self,
        request: Request<wire::RemoveNodeRequest>,
    ) -> Result<Response<wire::RemoveNodeResponse>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn promote_node(
        &self,
        request: Request<wire::PromoteNodeRequest>,
    ) -> Result<Response<wire::PromoteNodeResponse>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn upgrade(&self, request: Request<wire::UpgradeRequest>) -> Result<Response<wire::UpgradeResponse>, Status> {
        mutation::serve(&self.node, request).await
    }

    /// Public by design: it is signed, holds nothing but public keys and addresses, and is how trust begins.
    async fn get_trust_document(
        &self,
        _request: Request<wire::GetTrustDocumentRequest>,
    ) -> Result<Response<wire::TrustDocument>, Status> {
        let document = self.node.core().and_then(|core| trust::document(&core));
        document.map(Response::new).map_err(|refusal| status(&refusal))
    }
}

impl Mutation for wire::CreateJoinTokenRequest {
    const ACTION: Action = Action::CreateJoinToken;
    type Answer = wire::CreateJoinTokenResponse;
    request_fields!();

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    fn command(&self, desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        let id = token_id(desk);
        let secret = desk.keyring.token_secret(desk.state.root_epoch(), id)?;
        let ttl = self.ttl.as_ref().map(|ttl| time::millis("ttl", ttl)).transpose()?;
        let ttl = ttl.unwrap_or(limits::JOIN_TOKEN_TTL_DEFAULT);
        Ok(Command::CreateJoinToken {
            id,
            secret_hash: crypto::hash::sha256(secret.expose()),
            kind: join_kind(self)?,
            expires: desk.state.time().after(ttl),
        })
    }

    fn answer(&self, desk: &mutation::Desk<'_>, _reply: &Reply) -> Result<wire::CreateJoinTokenResponse, Refusal> {
        let id = token_id(desk);
        let row = desk.state.token(&id).ok_or_else(|| {
            Refusal::new(Reason::TokenRejected, "the join token of this request id was used or has expired")
        })?;
        let token = token(desk, id, row, join_kind(self)?)?;
        Ok(wire::CreateJoinTokenResponse { token, expire_time: time::timestamp(row.expires) })
    }
}

/// The same request makes the same token, so that a retry after a lost answer gets what the first would have.
fn token_id(desk: &mutation::Desk<'_>) -> TokenId {
    let of = format!("{} {}", desk.caller.principal, desk.request_id);
    let hash = crypto::hash::sha256(of.as_bytes());
    TokenId(hash.first_chunk::<16>().copied().unwrap_or_default())
}

fn join_kind(request: &wire::CreateJoinTokenRequest) -> Result<JoinKind, Refusal> {
    match wire::JoinTokenKind::try_from(request.kind) {
        Ok(wire::JoinTokenKind::Node) if request.replaces == 0 => Ok(JoinKind::Node),
        Ok(wire::JoinTokenKind::Node) => Ok(JoinKind::Replacement(NodeId(request.replaces))),
        Ok(_) if request.replaces != 0 => {
            Err(Refusal::new(Reason::InvalidArgument, "`replaces` is for the token of a node"))
        }
        Ok(wire::JoinTokenKind::Agent) => {
            AgentName::parse(&request.agent_id).map(JoinKind::Agent).map_err(name::refused)
        }
        Ok(wire::JoinTokenKind::Unspecified) | Err(_) => {
            Err(Refusal::new(Reason::InvalidArgument, "`kind` must be node or agent"))
        }
    }
}

fn token(
    desk: &mutation::Desk<'_>,
    id: TokenId,
    known: &state::rows::Token,
    kind: JoinKind,
) -> Result<String, Refusal> {
    let internal = |_| Refusal::new(Reason::Internal, "the join token could not be written");
    let row = desk.state.cluster().ok_or_else(|| Refusal::new(Reason::NotInitialized, "there is no cluster yet"))?;
    let secret = desk.keyring.known_token_secret(id, &known.secret_hash).ok_or_else(|| {
        let text = "the root key under which this token was made is gone, so it cannot be shown again: make another";
        Refusal::new(Reason::TokenRejected, text)
    })?;
    let token = JoinToken {
        cluster_id: row.id,
        kind: match kind {
            JoinKind::Node | JoinKind::Replacement(_) => TokenKind::Node,
            JoinKind::Agent(name) => TokenKind::Agent(name),
        },
        endpoints: desk.state.nodes().filter_map(|(_, node)| Address::parse(&node.info.api_address).ok()).collect(),
        cluster_key_hash: ca::spki_hash(&row.spki),
        id,
        secret,
        expires: known.expires,
    };
    token.encode().map(|text| text.to_string()).map_err(internal)
}

impl Mutation for wire::RedeemNodeTokenRequest {
    const ACTION: Action = Action::RedeemNodeToken;
    type Answer = wire::RedeemNodeTokenResponse;
    request_fields!();

    fn caller(&self, state: &StateView, proof: &Proof) -> Result<Caller, Refusal> {
        token_bearer(state, proof, &self.token)
    }

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    fn command(&self, desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        let token = read_token(&self.token)?;
        let spki = desk.caller.spki.ok_or_else(|| Refusal::new(Reason::CredentialRejected, "no key was proven"))?;
        let address = |field: &str, text: &str| {
            let parsed = Address::parse(text).map(|address| address.to_string());
            parsed.map_err(|error| Refusal::new(Reason::InvalidArgument, format!("`{field}`: {error}")))
        };
        Ok(Command::RedeemNodeToken {
            token: token.id,
            secret_hash: crypto::hash::sha256(token.secret.expose()),
            info: NodeInfo {
                spki,
                peer_address: address("peer_address", &self.peer_address)?,
                api_address: address("api_address", &self.api_address)?,
            },
            learner: self.learner,
        })
    }

    fn answer(&self, desk: &mutation::Desk<'_>, reply: &Reply) -> Result<wire::RedeemNodeTokenResponse, Refusal> {
        let Reply::Node(node) = reply else {
            return Err(Refusal::new(Reason::Internal, "a redeemed token admitted no node"));
        };
        let row =
            desk.state.cluster().ok_or_else(|| Refusal::new(Reason::NotInitialized, "there is no cluster yet"))?;
        let members = desk.state.nodes().map(|(id, node)| node_status(desk.state, id, node, None)).collect();
        Ok(wire::RedeemNodeTokenResponse { node: node.0, cluster_id: row.id.to_hex(), members })
    }
}

impl Query for wire::WhoAmIRequest {
    const ACTION: Action = Action::WhoAmI;
    const CONSISTENCY: Consistency = Consistency::Local;
    type Answer = wire::WhoAmIResponse;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::WhoAmIResponse, Detail), Refusal> {
        let principal = &desk.caller.principal;
        let expires = match principal {
            Principal::Operator(name) => desk.state.operator(name).map(|row| row.expires),
            Principal::Agent(name) => desk.state.agent(name).map(|row| row.expires),
            _ => None,
        };
        let bindings = desk.state.bindings_of(principal).map(cluster::binding).collect();
        let answer = wire::WhoAmIResponse {
            principal: principal.to_string(),
            bindings,
            expire_time: expires.and_then(time::timestamp),
        };
        Ok((answer, Detail::new()))
    }
}

impl Query for wire::GetStatusRequest {
    const ACTION: Action = Action::GetClusterStatus;
    /// Wanted most when there is no quorum.
    const CONSISTENCY: Consistency = Consistency::Local;
    type Answer = wire::ClusterStatus;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::ClusterStatus, Detail), Refusal> {
        let asked =
            desk.state.nodes().map(|(id, node)| async move { (id, node, hello(desk.node, desk.core, id).await) });
        let found = join_all(asked).await;
        let raft = desk.core.raft.status();
        let status = |(id, node, hello): &(NodeId, &Row, Option<member::HelloResponse>)| wire::NodeStatus {
            votes: raft.members.is_voter(*id),
            ..node_status(&desk.state, *id, node, hello.as_ref())
        };
        let mut nodes: Vec<_> = found.iter().map(status).collect();
        let healthy = nodes.iter().filter(|node| node.reachable && !node.sealed && node.votes).count();
        // Removed, and not yet out of Raft's membership.
        let leaving = raft.members.all.iter().filter(|(id, _)| desk.state.node(**id).is_none());
        nodes.extend(leaving.map(|(id, member)| wire::NodeStatus {
            node: id.0,
            peer_address: member.address.clone(),
            spki_sha256: member.spki.to_hex(),
            role: wire::NodeRole::Leaving.into(),
            votes: raft.members.is_voter(*id),
            ..Default::default()
        }));
        let majority = raft.members.voters.len() / 2 + 1;
        let row = desk.state.cluster();
        let settings = desk.state.settings();
        let answer = wire::ClusterStatus {
            cluster_id: desk.core.cluster.to_hex(),
            trust_domain: row.map(|row| row.trust_domain.to_string()).unwrap_or_default(),
            nodes,
            leader: raft.leader.map_or(0, |leader| leader.0),
            term: raft.term,
            answered_by: desk.core.node.0,
            failures_tolerated: u32::try_from(healthy.saturating_sub(majority)).unwrap_or(0),
            commit_index: raft.committed.unwrap_or(0),
            state_time: time::timestamp(desk.state.time()),
            state_version: desk.state.version(),
            state_version_supported: desk.state.version_supported().unwrap_or(0),
            lease: Some(time::duration(settings.lease)),
            lease_before: settings.lease_before.map(time::duration),
            time_held: time_held(&desk.state),
            time_unconfirmed: time_unconfirmed(&desk.state),
            recovered_operators: recovered(&desk.state),
            peer_unseal: desk.state.peer_unseal().is_some_and(|row| row.on),
        };
        Ok((answer, Detail::new()))
    }
}

/// The admins whom only a seal vouches for, and not more of them than anybody reads.
fn recovered(state: &State) -> Vec<wire::Operator> {
    let names = state.recovered_admins(state.time()).take(limits::RECOVERY_ROOM);
    names.filter_map(|name| state.operator(name).map(|row| cluster::operator(state, name, row))).collect()
}

/// What a member says of itself; `None` when it says nothing in time.
pub(crate) async fn hello(node: &Node, core: &Core, id: NodeId) -> Option<member::HelloResponse> {
    if id == core.node {
        return Some(crate::member::hello(node));
    }
    let mut client = core.member(id).ok()?;
    let mut request = Request::new(member::HelloRequest {});
    request.set_timeout(HELLO);
    let answer = tokio::time::timeout(HELLO, client.hello(request)).await.ok()?;
    answer.ok().map(Response::into_inner)
}

fn node_status(state: &State, id: NodeId, row: &Row, hello: Option<&member::HelloResponse>) -> wire::NodeStatus {
    let info = &row.info;
    let own = state.authorities().filter(|authority| authority.node == id);
    // The one that signs, else the newest.
    let authority = own.max_by_key(|authority| (authority.state == ca::AuthorityState::Active, authority.generated));
    let newest = state.index();
    wire::NodeStatus {
        node: id.0,
        api_address: info.api_address.clone(),
        peer_address: info.peer_address.clone(),
        // The two enums have the same numbers: `member.proto` copies them from `cluster.proto`.
        role: hello.map_or(0, |hello| hello.role),
        applied_index: hello.map_or(0, |hello| hello.applied_index),
        lag: hello.map_or(0, |hello| newest.saturating_sub(hello.applied_index)),
        reachable: hello.is_some(),
        sealed: hello.is_some_and(|hello| hello.sealed),
        authority_state: authority.map(|authority| authority.state.to_string()).unwrap_or_default(),
        authority_expire_time: authority.and_then(|authority| {
            let ends = if authority.state == ca::AuthorityState::Active {
                authority.signs_until()
            } else {
                authority.not_after
            };
            time::timestamp(ends)
        }),
        spki_sha256: info.spki.to_hex(),
        draining: hello.is_some_and(|hello| hello.draining),
        voter: row.votes,
        votes: false,
        replaces: row.replaces.map_or(0, |old| old.0),
        ledger: hello.and_then(|hello| hello.ledger.as_ref()).filter(|ledger| ledger.kept).map(|ledger| {
            let since = Some(ledger.behind_since_ms).filter(|since| *since > 0);
            wire::LedgerStatus {
                index: ledger.index,
                behind_since: since.and_then(|since| time::timestamp(types::Time(since))),
                reason: ledger.reason.clone(),
            }
        }),
    }
}

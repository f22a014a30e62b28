//! `AgentService`: agents admitted, followed, banned; each one's entries and the bundle pushed to it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use audit::Detail;
use chancery_client::token::JoinToken;
use proto::ca::v1 as wire;
use proto::ca::v1::agent_service_server::AgentService;
use state::{Command, Reply, State};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use types::{Action, AgentName, Principal, Reason, Refusal, limits};

use super::Api;
use super::macros::request_fields;
use crate::clock;
use crate::core::{Core, StateView, judging_time};
use crate::request::authn::{Caller, Proof, bearer};
use crate::request::mutation::{self, Mutation};
use crate::request::query::{self, Query};
use crate::request::target::Target;
use crate::wire::status::status;
use crate::wire::{ca, name, page};

/// Changes that come within this time are pushed together.
const GATHER: Duration = Duration::from_millis(20);

#[tonic::async_trait]
impl AgentService for Api {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<wire::WatchResponse, Status>> + Send>>;

    async fn redeem_token(
        &self,
        request: Request<wire::RedeemAgentTokenRequest>,
    ) -> Result<Response<wire::Agent>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn list_agents(
        &self,
        request: Request<wire::ListAgentsRequest>,
    ) -> Result<Response<wire::ListAgentsResponse>, Status> {
        query::serve(&self.node, request).await
    }

    async fn revoke_agent(&self, request: Request<wire::RevokeAgentRequest>) -> Result<Response<wire::Agent>, Status> {
        mutation::serve(&self.node, request).await
    }

    async fn watch(&self, request: Request<wire::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        query::serve(&self.node, request).await
    }

    async fn ack_bundle(
        &self,
        request: Request<wire::AckBundleRequest>,
    ) -> Result<Response<wire::AckBundleResponse>, Status> {
        mutation::serve(&self.node, request).await
    }
}

fn answer(state: &State, name: &AgentName) -> Result<wire::Agent, Refusal> {
    let row = state.agent(name).ok_or_else(|| Refusal::not_found("agent", name))?;
    Ok(ca::agent(state, name, row))
}

/// Reads a join token. Whatever is wrong with it is said in the words for an unknown one.
pub(super) fn read_token(text: &str) -> Result<JoinToken, Refusal> {
    JoinToken::parse(text).map_err(|_| token_rejected())
}

fn token_rejected() -> Refusal {
    Refusal::new(Reason::TokenRejected, "the join token is unknown, used or expired, ask an admin for a new one")
}

/// The bearer of a token that would open something. A stranger's invented token is turned away here, before it costs the
/// cluster an entry; a node or agent whose answer was lost comes again with a token that is spent, on its own key.
pub(super) fn token_bearer(state: &StateView, proof: &Proof, text: &str) -> Result<Caller, Refusal> {
    let caller = bearer(proof)?;
    let token = read_token(text)?;
    let hash = crypto::hash::sha256(token.secret.expose());
    let unspent = state.token(&token.id).is_some_and(|row| row.secret_hash == hash && state.time() < row.expires);
    let known = caller.spki.and_then(|spki| state.principal_by_spki(&spki, judging_time(state)).ok());
    let known = matches!(known, Some(Principal::Node(_) | Principal::Agent(_)));
    if unspent || known { Ok(caller) } else { Err(token_rejected()) }
}

/// The agent that calls.
fn calling_agent(caller: &Caller) -> Result<AgentName, Refusal> {
    match &caller.principal {
        Principal::Agent(name) => Ok(name.clone()),
        _ => Err(Refusal::new(Reason::PermissionDenied, "this call is for agents")),
    }
}

impl Mutation for wire::RedeemAgentTokenRequest {
    const ACTION: Action = Action::RedeemAgentToken;
    type Answer = wire::Agent;
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
        Ok(Command::RedeemAgentToken {
            token: token.id,
            secret_hash: crypto::hash::sha256(token.secret.expose()),
            spki,
            expires: desk.state.time().max(clock::now()).after(limits::ENROLMENT_MAX),
        })
    }

    fn answer(&self, desk: &mutation::Desk<'_>, reply: &Reply) -> Result<wire::Agent, Refusal> {
        match reply {
            Reply::Agent(name) => answer(desk.state, name),
            _ => Err(Refusal::new(Reason::Internal, "a redeemed token enrolled no agent")),
        }
    }
}

impl Mutation for wire::RevokeAgentRequest {
    const ACTION: Action = Action::RevokeAgent;
    type Answer = wire::Agent;
    request_fields!();

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        name::agent(&self.name).map(Target::Agent)
    }

    fn command(&self, _desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        Ok(Command::RevokeAgent { name: name::agent(&self.name)? })
    }

    fn answer(&self, desk: &mutation::Desk<'_>, _reply: &Reply) -> Result<wire::Agent, Refusal> {
        answer(desk.state, &name::agent(&self.name)?)
    }
}

impl Mutation for wire::AckBundleRequest {
    const ACTION: Action = Action::AckBundle;
    type Answer = wire::AckBundleResponse;
    request_fields!();

    fn target(&self, caller: &Caller) -> Result<Target, Refusal> {
        calling_agent(caller).map(Target::Agent)
    }

    fn command(&self, desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        Ok(Command::AckBundle { agent: calling_agent(desk.caller)?, sequence: self.sequence })
    }

    fn answer(&self, _desk: &mutation::Desk<'_>, _reply: &Reply) -> Result<wire::AckBundleResponse, Refusal> {
        Ok(wire::AckBundleResponse {})
    }
}

impl Query for wire::ListAgentsRequest {
    const ACTION: Action = Action::ListAgents;
    type Answer = wire::ListAgentsResponse;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::ListAgentsResponse, Detail), Refusal> {
        let after = page::after(&self.page_token, |text| AgentName::parse(text).ok())?;
        let found = desk.state.agents(after.as_ref(), page::size(self.page_size)?);
        let agents: Vec<_> = found.items.into_iter().map(|(name, row)| ca::agent(&desk.state, name, row)).collect();
        let detail = Detail::new().count("items", agents.len() as u64);
        Ok((wire::ListAgentsResponse { agents, next_page_token: page::token(found.next) }, detail))
    }
}

impl Query for wire::WatchRequest {
    const ACTION: Action = Action::WatchAgent;
    /// An agent that is cut off with its node goes on with what it knows.
    const CONSISTENCY: query::Consistency = query::Consistency::Local;
    type Answer = <Api as AgentService>::WatchStream;

    fn target(&self, _state: &StateView, caller: &Caller) -> Result<Target, Refusal> {
        calling_agent(caller).map(Target::Agent)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(Self::Answer, Detail), Refusal> {
        let agent = calling_agent(desk.caller)?;
        let (sender, receiver) = mpsc::channel(1);
        let draining = desk.node.draining();
        let watch = Watch { core: desk.node.core()?, draining, agent, caller: desk.caller.clone(), sender };
        desk.core.tasks.spawn(watch.run());
        Ok((Box::pin(ReceiverStream::new(receiver)), Detail::new()))
    }
}

/// One agent's stream.
struct Watch {
    core: Arc<Core>,
    /// Ends the stream in good order, so that the agent goes to another node before this one stops.
    draining: CancellationToken,
    agent: AgentName,
    caller: Caller,
    sender: mpsc::Sender<Result<wire::WatchResponse, Status>>,
}

/// What tells two states of an agent's stream apart: the bundle, and how many entries there are and the newest change.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    bundle: u64,
    entries: usize,
    newest: u64,
}

impl Watch {
    /// Sends the full state, and again whenever it has changed, until the agent goes or may not listen any more.
    async fn run(self) {
        let mut states = self.core.raft.watch_state();
        let mut sent = None;
        loop {
            states.mark_unchanged();
            let state = self.core.state();
            if let Err(why) = state.check_standing(&self.caller.principal, judging_time(&state)) {
                tracing::info!(agent = %self.agent, ?why, "an agent's stream was ended");
                let refusal = Refusal::new(Reason::CredentialRejected, "the credential was revoked or has expired");
                self.send(Err(status(&refusal))).await;
                return;
            }
            let seen = seen(&state, &self.agent);
            if sent != Some(seen) {
                if !self.send(response(&state, &self.agent)).await {
                    return;
                }
                sent = Some(seen);
            }
            let changed = async {
                let changed = states.changed().await;
                tokio::time::sleep(GATHER).await;
                changed
            };
            tokio::select! {
                () = self.core.stop.cancelled() => return,
                () = self.draining.cancelled() => return,
                () = self.sender.closed() => return,
                changed = changed => if changed.is_err() { return },
            }
        }
    }
}

impl Watch {
    /// False when the agent or the node is gone: an agent that does not read must not hold up a node that closes.
    async fn send(&self, message: Result<wire::WatchResponse, Status>) -> bool {
        tokio::select! {
            () = self.core.stop.cancelled() => false,
            sent = self.sender.send(message) => sent.is_ok(),
        }
    }
}

fn seen(state: &State, agent: &AgentName) -> Seen {
    let revisions = state.entries_of(agent).map(|(_, _, entry)| entry.revision().0);
    let (entries, newest) = revisions.fold((0, 0), |(count, newest), revision| (count + 1, newest.max(revision)));
    Seen { bundle: state.bundle_sequence(), entries, newest }
}

fn response(state: &State, agent: &AgentName) -> Result<wire::WatchResponse, Status> {
    let entries = state.entries_of(agent).map(|(ns, name, entry)| ca::entry(state, ns, name, entry)).collect();
    let bundle = super::authorities::bundle(state).map_err(|refusal| status(&refusal))?;
    Ok(wire::WatchResponse { entries, bundle: Some(bundle), revision: state.index() })
}

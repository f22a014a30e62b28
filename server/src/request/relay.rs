//! Queries that not every member can answer: issuance needs an authority that may sign, a hand-over of leadership needs
//! the leader. Any node takes them and passes them on over the peer port, with the caller's certificates; the member
//! that answers recognises the caller, decides and records for itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::member::v1::ForwardRequest;
use tonic::{Request, Response, Status};
use types::{NodeId, Reason, Refusal};

use super::authn::{Proof, authenticate};
use super::query::{self, Query};
use super::record::Entry;
use crate::core::Core;
use crate::node::Node;
use crate::wire::status::{refusal, status};

/// How long one member may take to answer before the next is asked.
const PATIENCE: Duration = Duration::from_secs(3);

/// A query that goes to a member which can answer it.
pub(crate) trait Relayed: Query<Answer: prost::Message + Default> + prost::Message + Default + Clone {
    /// Who can answer, as far as this node knows, best first. This node answers itself when it is among them, or when
    /// there is nobody.
    fn members(&self, core: &Core) -> Vec<NodeId>;
}

/// Takes a relayed query from the wire to its answer.
pub(crate) async fn serve<Q: Relayed>(node: &Arc<Node>, request: Request<Q>) -> Result<Response<Q::Answer>, Status> {
    let proof = Proof::of(&request);
    let answered = match node.serving(Q::ACTION) {
        Ok(core) => answer(node, &core, request.into_inner(), &proof).await,
        Err(refusal) => Err(refusal),
    };
    answered.map(Response::new).map_err(|refusal| status(&refusal))
}

async fn answer<Q: Relayed>(node: &Arc<Node>, core: &Core, query: Q, proof: &Proof) -> Result<Q::Answer, Refusal> {
    let members = query.members(core);
    if members.contains(&core.node) {
        return query::carry_out(node, core, query, proof).await;
    }
    let entry = Entry { node, action: Q::ACTION, started: Instant::now() };
    // A stranger's message does not travel.
    if authenticate(&core.state(), proof).is_ok() {
        for member in members {
            match ask(core, member, &query, proof).await {
                Ok(answer) => {
                    let answer = Ok(answer);
                    entry.count(&answer);
                    return answer;
                }
                Err(Some(refusal)) if !another_may_answer(refusal.reason) => {
                    let refused = Err(refusal);
                    entry.count(&refused);
                    return refused;
                }
                Err(why) => tracing::debug!(%member, ?why, action = Q::ACTION.as_str(), "a member did not answer"),
            }
        }
    }
    // Nobody else does: what this node says is refused and recorded here.
    query::carry_out(node, core, query, proof).await
}

/// Asks one member. `Err(None)`: it did not answer.
async fn ask<Q: Relayed>(core: &Core, member: NodeId, query: &Q, proof: &Proof) -> Result<Q::Answer, Option<Refusal>> {
    let mut client = core.member(member).map_err(Some)?;
    let mut request = Request::new(ForwardRequest {
        action: Q::ACTION.as_str().to_owned(),
        request: query.encode_to_vec(),
        caller_certificates: proof.certificates.iter().map(|certificate| certificate.to_vec()).collect(),
        source: proof.source.map(|source| source.to_string()).unwrap_or_default(),
    });
    request.set_timeout(PATIENCE);
    let answered = tokio::time::timeout(PATIENCE, client.forward(request)).await.map_err(|_| None)?;
    let answered = answered.map_err(|error| refusal(&error))?.into_inner();
    <Q::Answer as prost::Message>::decode(answered.response.as_slice()).map_err(|_| None)
}

/// Whether a refusal is about the member that gave it, not about the request.
const fn another_may_answer(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NoAuthority
            | Reason::LeaseExpired
            | Reason::Sealed
            | Reason::NotInitialized
            | Reason::NoQuorum
            | Reason::AuditUnavailable
            | Reason::Unimplemented
            | Reason::Draining
    )
}

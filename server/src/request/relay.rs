//! Queries that not every member can answer: issuance needs an authority that may sign, a hand-over of leadership needs
//! the leader. Any node takes them and passes them on over the peer port, with the caller's certificates; the member
//! that answers recognises the caller, decides and records for itself.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt as _};
use proto::member::v1::ForwardRequest;
use tonic::{Request, Response, Status};
use types::{NodeId, Reason, Refusal};

use super::authn::{Proof, authenticate};
use super::query::{self, Query};
use super::record::Entry;
use crate::core::Core;
use crate::node::Node;
use crate::wire::status::{refusal, status};

/// How long one member may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// One that says nothing for this long is not waited for alone: the next is asked too. A leader that stands still looks like
/// one to everybody for longer than callers wait.
const SILENCE: Duration = Duration::from_millis(300);

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
    if authenticate(&core.state(), proof).is_ok()
        && let Some(answer) = first_answer(members.into_iter().map(|member| ask(core, member, &query, proof))).await
    {
        entry.count(&answer);
        return answer;
    }
    // Nobody else does: what this node says is refused and recorded here.
    query::carry_out(node, core, query, proof).await
}

/// The first answer of members who are asked in order: each when the one before has failed, or has said nothing for a moment.
/// `None`: nobody could answer.
async fn first_answer<A>(
    mut members: impl Iterator<Item: Future<Output = Result<A, Option<Refusal>>>>,
) -> Option<Result<A, Refusal>> {
    let mut asked = FuturesUnordered::new();
    asked.push(members.next()?);
    loop {
        tokio::select! {
            Some(outcome) = asked.next() => match outcome {
                Ok(answer) => return Some(Ok(answer)),
                Err(Some(refusal)) if !another_may_answer(refusal.reason) => return Some(Err(refusal)),
                Err(why) => {
                    tracing::debug!(?why, "a member did not answer");
                    asked.extend(members.next());
                    if asked.is_empty() {
                        return None;
                    }
                }
            },
            () = tokio::time::sleep(SILENCE) => asked.extend(members.next()),
        }
    }
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::time::{Instant, timeout};

    use super::*;

    /// Members by what they say and after how long: what came of it, who was asked, and how long it took.
    async fn asked(of: &[(u64, Result<u32, Option<Reason>>)]) -> (Option<Result<u32, Reason>>, Vec<usize>, Duration) {
        let (order, started) = (Mutex::new(Vec::new()), Instant::now());
        let members = of.iter().enumerate().map(|(at, (after, says))| {
            let order = &order;
            async move {
                order.lock().expect("no panic").push(at);
                let _ = timeout(Duration::from_millis(*after), std::future::pending::<()>()).await;
                says.map_err(|reason| reason.map(|reason| Refusal::new(reason, "no")))
            }
        });
        let answer = first_answer(members).await.map(|answer| answer.map_err(|refusal| refusal.reason));
        (answer, order.into_inner().expect("no panic"), started.elapsed())
    }

    /// A leader that stood still was waited for until the caller had gone (`chaos run --only pause`).
    #[tokio::test(start_paused = true)]
    async fn a_member_that_stands_still_is_not_waited_for_alone() {
        let (answer, order, took) = asked(&[(3_000, Err(None)), (20, Ok(2)), (20, Ok(3))]).await;
        assert_eq!((answer, order), (Some(Ok(2)), vec![0, 1]));
        assert!(took < Duration::from_millis(400), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_answer_is_followed_at_once_and_a_refusal_of_the_request_is_final() {
        let away = Err(Some(Reason::NoAuthority));
        let (answer, order, took) = asked(&[(1, away), (1, Err(None)), (1, Ok(3))]).await;
        assert_eq!((answer, order), (Some(Ok(3)), vec![0, 1, 2]));
        assert!(took < Duration::from_millis(10), "{took:?}");
        let (answer, order, _) = asked(&[(1, Err(Some(Reason::PermissionDenied))), (1, Ok(2))]).await;
        assert_eq!((answer, order), (Some(Err(Reason::PermissionDenied)), vec![0]));
        assert_eq!(asked(&[(1, away), (400, Err(None))]).await.0, None);
        assert_eq!(asked(&[]).await.0, None);
    }
}

//! Requests that change nothing: reads of what the cluster agrees on, and uses of keys and authorities under the lease.

use std::sync::Arc;
use std::time::Instant;

use audit::Detail;
use tonic::{Request, Response, Status};
use types::action::ActionKind;
use types::{Action, Refusal};

use super::authn::{Caller, Proof, authenticate};
use super::decide::decide;
use super::freshness::{self, Wanted};
use super::record::Entry;
use super::target::Target;
use crate::core::{Core, StateView};
use crate::lease::Clocks;
use crate::node::Node;
use crate::wire::status::status;

/// What a query works with once it was allowed.
#[derive(Debug)]
pub(crate) struct Desk<'a> {
    pub(crate) node: &'a Arc<Node>,
    pub(crate) core: &'a Core,
    pub(crate) state: StateView,
    pub(crate) caller: &'a Caller,
    /// What was decided on.
    pub(crate) target: &'a Target,
}

/// How new the state must be that a query is answered from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Consistency {
    /// At least as new as everything acknowledged before the call: fails without a quorum.
    Linearizable,
    /// What this node has applied: works on a node that is alone.
    Local,
}

/// A request that changes nothing.
pub(crate) trait Query: Send + Sized {
    /// What policy decides on and the record names.
    const ACTION: Action;
    /// Reads ask the leader how new the state must be; uses rest on the lease instead.
    const CONSISTENCY: Consistency = match Self::ACTION.kind() {
        ActionKind::Use => Consistency::Local,
        ActionKind::Read | ActionKind::Mutate => Consistency::Linearizable,
    };
    /// Whether the node must hold its lease: for whatever uses keys or signs.
    const UNDER_LEASE: bool = matches!(Self::ACTION.kind(), ActionKind::Use);
    /// The response message.
    type Answer: Send;

    /// Whether it names something that this node has not applied yet, so that a newer state is worth waiting for.
    fn wants_newer(&self, _state: &StateView) -> bool {
        false
    }

    /// What it is about. Names that stand only in a ciphertext are looked up in `state`.
    fn target(&self, state: &StateView, caller: &Caller) -> Result<Target, Refusal>;

    /// Answers it, with what the record should say beside the usual.
    fn answer(self, desk: &Desk<'_>) -> impl Future<Output = Result<(Self::Answer, Detail), Refusal>> + Send;
}

/// Takes a query through every stage.
pub(crate) async fn serve<Q: Query>(node: &Arc<Node>, request: Request<Q>) -> Result<Response<Q::Answer>, Status> {
    let (proof, wanted) = (Proof::of(&request), Wanted::of(&request));
    let answered = match node.serving(Q::ACTION) {
        Ok(core) => answer_from(node, &core, request.into_inner(), &proof, wanted).await,
        Err(refusal) => Err(refusal),
    };
    answered.map_err(|refusal| status(&refusal))
}

/// Answers a query on this node, whether it arrived here or at another member.
pub(crate) async fn carry_out<Q: Query>(
    node: &Arc<Node>,
    core: &Core,
    query: Q,
    proof: &Proof,
) -> Result<Q::Answer, Refusal> {
    answer_from(node, core, query, proof, Ok(Wanted::default())).await.map(Response::into_inner)
}

/// Answers a query from a state as new as its caller wants.
async fn answer_from<Q: Query>(
    node: &Arc<Node>,
    core: &Core,
    query: Q,
    proof: &Proof,
    wanted: Result<Wanted, Refusal>,
) -> Result<Response<Q::Answer>, Refusal> {
    let entry = Entry { node, action: Q::ACTION, started: Instant::now() };
    let _call = node.calls.token();
    let authenticated = authenticated::<Q>(core, proof, &wanted).await;
    let stale = wanted.is_ok_and(|wanted| wanted.stale) && Q::CONSISTENCY == Consistency::Linearizable;
    let (caller, mut state, fresh) = authenticated.inspect_err(|refusal| {
        entry.note_stranger(proof.source, refusal);
        entry.count(&Err::<(), _>(refusal.clone()));
    })?;
    let mut target = query.target(&state, &caller);
    // Only for whoever may do this: the wait must not tell an outsider what exists, nor load the leader for it.
    if let Ok(allowed) = &target
        && decide(&state, &caller.principal, Q::ACTION, allowed).is_ok()
        && query.wants_newer(&state)
        && let Ok(newer) = core.fresh_state().await
    {
        state = newer;
        target = query.target(&state, &caller);
    }
    let from = state.clone();
    let answer = match &target {
        Ok(_) if fresh.is_err() => Err(fresh.err().unwrap_or_else(crate::core::no_leader)),
        Ok(target) => {
            let under_lease = Q::UNDER_LEASE || stale;
            decided(Desk { node, core, state, caller: &caller, target }, query, under_lease).await
        }
        Err(refusal) => Err(refusal.clone()),
    };
    let answer = entry.close(core, &caller, target.as_ref().ok(), None, answer).await?;
    let mut response = Response::new(answer);
    freshness::stamp(&mut response, &from, from.index());
    if stale {
        freshness::stamp_age(&mut response, core);
    }
    Ok(response)
}

/// Wire → Authenticated. Whoever presents nothing does not make us ask the leader. Without a quorum the caller is recognised
/// by what this node knows, so that the failure is recorded in its name.
async fn authenticated<Q: Query>(
    core: &Core,
    proof: &Proof,
    wanted: &Result<Wanted, Refusal>,
) -> Result<(Caller, StateView, Result<(), Refusal>), Refusal> {
    let fresh = match (wanted, Q::CONSISTENCY) {
        _ if proof.certificates.is_empty() => Ok(core.state()),
        (Err(refusal), _) => Err(refusal.clone()),
        (Ok(wanted), consistency) => match wanted.reached(core).await {
            Err(refusal) => Err(refusal),
            Ok(()) if consistency == Consistency::Linearizable && !wanted.stale => core.fresh_state().await,
            Ok(()) => Ok(core.state()),
        },
    };
    let state = fresh.as_ref().map_or_else(|_| core.state(), Clone::clone);
    Ok((authenticate(&state, proof)?, state, fresh.map(drop)))
}

/// Authenticated → Decided → Answered.
async fn decided<Q: Query>(desk: Desk<'_>, query: Q, under_lease: bool) -> Result<(Q::Answer, Detail), Refusal> {
    decide(&desk.state, &desk.caller.principal, Q::ACTION, desk.target)?;
    if !under_lease {
        return query.answer(&desk).await;
    }
    desk.core.lease.check(Clocks::now())?;
    let answer = query.answer(&desk).await?;
    // Checked again just before the answer leaves: it may have run out while we worked.
    desk.core.lease.check(Clocks::now())?;
    Ok(answer)
}

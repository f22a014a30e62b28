//! Requests that change something: one log entry each, carried out by the leader, harmless to repeat.
//!
//! `Wire` is the decoded message, [`Authenticated`] has a caller, [`Decided`] a basis that binds, [`Admitted`] is the
//! proposal with everything drawn, and what `apply` returns is the answer. When the basis has moved meanwhile, the
//! leader decides again, at most [`limits::DECISIONS_MAX`] times.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chancery_client::ledger::{LEDGER, LEDGER_NONE};
use prost::Message as _;
use proto::member::v1::ForwardRequest;
use state::{Command, Entry as LogEntry, Proposal, Reply, RequestKey, State};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};
use types::{Action, Reason, Refusal, RequestId, limits};

use super::authn::{Caller, Proof, authenticate};
use super::decide::decide;
use super::freshness;
use super::record::Entry;
use super::target::Target;
use crate::clock;
use crate::core::{Core, NotAcknowledged, StateView, no_leader};
use crate::fence::Judge;
use crate::keyring::Keyring;
use crate::node::Node;
use crate::wire::status::{refusal, status};

/// How long a request is held while nobody leads: an election takes less.
const LEADERLESS: Duration = Duration::from_secs(3);

/// What a mutation is planned with: nothing here changes while it is planned.
#[derive(Debug)]
pub(crate) struct Desk<'a> {
    pub(crate) state: &'a State,
    pub(crate) keyring: &'a Keyring,
    pub(crate) caller: &'a Caller,
    pub(crate) request_id: RequestId,
    /// What was found out before; nothing for most requests.
    pub(crate) findings: Findings,
}

/// What had to be asked of other members, or made at leisure, before a command could be written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    /// Where the audit log of a member ends that serves nobody any more.
    pub(crate) audit_closed: Option<u64>,
    /// Material that takes long to make.
    pub(crate) drawn: Option<Arc<kms::NewMaterial>>,
}

/// A request that changes something.
pub(crate) trait Mutation: prost::Message + Default + Clone + 'static {
    /// What policy decides on and the record names.
    const ACTION: Action;
    /// The response message.
    type Answer: prost::Message + Default;

    /// Who sends it: by default somebody enrolled.
    fn caller(&self, state: &StateView, proof: &Proof) -> Result<Caller, Refusal> {
        authenticate(state, proof)
    }

    /// Where the request id stands in the message.
    fn request_id(&mut self) -> &mut String;

    /// Whether everything is to be checked and nothing changed (AIP-163).
    fn validate_only(&self) -> bool {
        false
    }

    /// What it is about.
    fn target(&self, caller: &Caller) -> Result<Target, Refusal>;

    /// Asks other members what the command needs to know, or makes what takes long; once, after the decision and before the command.
    fn prepare(&self, _node: &Arc<Node>, _core: &Core) -> impl Future<Output = Result<Findings, NotCarriedOut>> + Send {
        async { Ok(Findings::default()) }
    }

    /// The command, with ids drawn and material wrapped. May be called again with a newer state.
    fn command(&self, desk: &Desk<'_>) -> Result<Command, Refusal>;

    /// The answer, from the state after the change.
    fn answer(&self, desk: &Desk<'_>, reply: &Reply) -> Result<Self::Answer, Refusal>;
}

/// A message with the caller that sent it.
struct Authenticated<M> {
    message: M,
    caller: Caller,
    request: RequestKey,
}

/// An allowed message, and the state that its permission rests on.
struct Decided<'a, M> {
    from: &'a Authenticated<M>,
    state: StateView,
}

/// Everything that `apply` needs.
struct Admitted(Proposal);

/// Takes a mutation from the wire through every stage.
pub(crate) async fn serve<M: Mutation>(node: &Arc<Node>, request: Request<M>) -> Result<Response<M::Answer>, Status> {
    let entry = Entry { node, action: M::ACTION, started: Instant::now() };
    let proof = Proof::of(&request);
    let answered = async {
        let core = node.serving(M::ACTION)?;
        let mut message = request.into_inner();
        fix_request_id(&mut message);
        // A stranger's message does not travel to the leader.
        let caller = recognise(&core, &message, &proof).await;
        let caller = caller.inspect_err(|refusal| entry.note_stranger(proof.source, refusal))?;
        find_leader(node, &core, &entry, message, caller, &proof).await
    };
    let answer: Result<Response<M::Answer>, Refusal> = answered.await;
    entry.count(&answer);
    answer.map_err(|refusal| status(&refusal))
}

/// Has a mutation carried out by whoever leads. While leadership moves it is tried again here, which its request id makes
/// harmless: a caller that had to come back by itself would wait longer than the hand-over takes.
async fn find_leader<M: Mutation>(
    node: &Arc<Node>,
    core: &Core,
    entry: &Entry<'_>,
    message: M,
    caller: Caller,
    proof: &Proof,
) -> Result<Response<M::Answer>, Refusal> {
    let by = Instant::now() + LEADERLESS;
    loop {
        let lost = if core.leads() {
            match carry_out(node, core, message.clone(), caller.clone()).await {
                Ok((answer, index)) => return Ok(written(core, answer, index, core.is_unledgered(index))),
                Err(NotCarriedOut::Answered(refusal)) => return Err(refusal),
                Err(NotCarriedOut::LedByAnother) => no_leader(),
            }
        } else {
            match forward(core, &message, proof).await {
                Ok((answer, index, unledgered)) => return Ok(written(core, answer, index, unledgered)),
                Err(Unforwarded::Answered(refusal)) => return Err(refusal),
                Err(Unforwarded::Lost(refusal)) => refusal,
            }
        };
        if Instant::now() >= by || core.check_alive().is_err() {
            return record_lost(entry, core, message, caller, lost).await.map(Response::new);
        }
        core.await_leader(by.saturating_duration_since(Instant::now())).await;
    }
}

/// An answer with the token by which any node can be asked for a state that holds the change; none when nothing was changed.
/// And with the word that no ledger knows of it, when it took something away.
fn written<A>(core: &Core, answer: A, index: u64, unledgered: bool) -> Response<A> {
    let mut response = Response::new(answer);
    if unledgered {
        response.metadata_mut().insert(LEDGER, MetadataValue::from_static(LEDGER_NONE));
    }
    if index > 0 {
        freshness::stamp(&mut response, &core.state(), index);
    }
    response
}

/// Who calls, as this leader knows. One that was just elected, or deposed, may not know what was acknowledged elsewhere: it
/// says no only from a state that a quorum has confirmed.
pub(crate) async fn recognise<M: Mutation>(core: &Core, message: &M, proof: &Proof) -> Result<Caller, Refusal> {
    match message.caller(&core.state(), proof) {
        Err(_) if proof.spki.is_some() => message.caller(&core.fresh_state().await?, proof),
        caller => caller,
    }
}

/// A request without an id gets one here, before it is forwarded: our own retries of it must be recognisable.
fn fix_request_id<M: Mutation>(message: &mut M) {
    let id = message.request_id();
    if id.is_empty() {
        *id = uuid::Uuid::now_v7().to_string();
    }
}

/// Hands a mutation to the leader, with the certificate whose key the caller proved, and waits until its change is visible here.
async fn forward<M: Mutation>(core: &Core, message: &M, proof: &Proof) -> Result<(M::Answer, u64, bool), Unforwarded> {
    let mut leader = core.leader().map_err(Unforwarded::Lost)?;
    let forwarded = ForwardRequest {
        action: M::ACTION.as_str().to_owned(),
        request: message.encode_to_vec(),
        caller_certificates: proof.certificates.iter().map(|certificate| certificate.to_vec()).collect(),
        source: proof.source.map(|source| source.to_string()).unwrap_or_default(),
    };
    let mut request = Request::new(forwarded);
    request.set_timeout(limits::CALL_TIMEOUT.to_std());
    let answer = leader.forward(request).await;
    let answer = answer.map_err(|error| match refusal(&error) {
        Some(refusal) => Unforwarded::Answered(refusal),
        None => Unforwarded::Lost(no_leader()),
    });
    let answer = answer?;
    let unledgered = answer.metadata().contains_key(LEDGER);
    let answer = answer.into_inner();
    // The caller may read its own change on this node at once; if we lag, its next read waits by itself.
    let _ = core.raft.await_applied(answer.index, limits::CALL_TIMEOUT.to_std()).await;
    M::Answer::decode(answer.response.as_slice())
        .map(|decoded| (decoded, answer.index, unledgered))
        .map_err(|_| Unforwarded::Lost(Refusal::new(Reason::Internal, "the leader's answer could not be read")))
}

/// Why there is no answer of the leader's.
enum Unforwarded {
    /// There is one, a refusal, and the leader has recorded it.
    Answered(Refusal),
    /// The leader could not be asked, or what it did is not known: only this node knows what the caller is told.
    Lost(Refusal),
}

/// Records that this node could not tell a caller what became of its request.
async fn record_lost<M: Mutation>(
    entry: &Entry<'_>,
    core: &Core,
    mut message: M,
    caller: Caller,
    refusal: Refusal,
) -> Result<M::Answer, Refusal> {
    let target = message.target(&caller);
    let request_id = parse_request::<M>(&mut message).ok().map(|request| request.id);
    entry.close(core, &caller, target.as_ref().ok(), request_id, Err(refusal)).await
}

/// Why a mutation was not carried out on this node.
pub(crate) enum NotCarriedOut {
    /// It was refused, and that is recorded.
    Answered(Refusal),
    /// This node leads no more. Nothing is recorded: the new leader is to be asked.
    LedByAnother,
}

/// Carries a mutation out on this node, which must lead. Also returns the entry's index, zero when nothing was proposed.
pub(crate) async fn carry_out<M: Mutation>(
    node: &Arc<Node>,
    core: &Core,
    mut message: M,
    caller: Caller,
) -> Result<(M::Answer, u64), NotCarriedOut> {
    let record = Entry { node, action: M::ACTION, started: Instant::now() };
    let parsed = parse_request::<M>(&mut message);
    let target = message.target(&caller);
    let request_id = parsed.as_ref().ok().map(|request| request.id);
    let planned = match (parsed, &target) {
        (Ok(request), Ok(target)) => {
            let request = Authenticated { message, caller: caller.clone(), request };
            repeat_while_stale(node, core, &request, target).await
        }
        (Err(refusal), _) => Outcome::Refused(refusal),
        (_, Err(refusal)) => Outcome::Refused(refusal.clone()),
    };
    let answered = match planned {
        Outcome::LedByAnother => return Err(NotCarriedOut::LedByAnother),
        Outcome::Recorded(answer, index) => answer.map(|answer| (answer, index)),
        // Refused before `apply`, so the record is made here; a valid dry run is an answer like any other.
        Outcome::Refused(refusal) => {
            let refused: Result<(M::Answer, _), _> = Err(refusal);
            record.close(core, &caller, target.as_ref().ok(), request_id, refused).await.map(|answer| (answer, 0))
        }
        Outcome::Repeated(answer, index) => {
            let answer = answer.map(|answer| (answer, audit::Detail::new().count("repeats_entry", index)));
            record.close(core, &caller, target.as_ref().ok(), request_id, answer).await.map(|answer| (answer, index))
        }
        Outcome::DryRun(answer) => {
            let detail = audit::Detail::new().count("validate_only", 1);
            let answer = Ok((answer, detail));
            record.close(core, &caller, target.as_ref().ok(), request_id, answer).await.map(|answer| (answer, 0))
        }
    };
    answered.map_err(NotCarriedOut::Answered)
}

/// What became of a mutation, by who has recorded it.
enum Outcome<A> {
    /// `apply` made the record with the change, or with its refusal.
    Recorded(Result<A, Refusal>, u64),
    /// Nothing was proposed, or what was is behind a fence: an answer that `apply` knows nothing of.
    Refused(Refusal),
    /// The same request was answered before: nothing was proposed, and the answer is the same.
    Repeated(Result<A, Refusal>, u64),
    /// Nothing was to be proposed.
    DryRun(A),
    /// This node leads no more: what was proposed, if anything, the new leader knows.
    LedByAnother,
}

impl<A> From<NotAcknowledged> for Outcome<A> {
    fn from(why: NotAcknowledged) -> Self {
        match why {
            NotAcknowledged::LedByAnother => Self::LedByAnother,
            NotAcknowledged::Refused(refusal) => Self::Refused(refusal),
        }
    }
}

/// Decides, admits and applies, again while the basis moves under it.
async fn repeat_while_stale<M: Mutation>(
    node: &Arc<Node>,
    core: &Core,
    request: &Authenticated<M>,
    target: &Target,
) -> Outcome<M::Answer> {
    if let Some((fence, repeated)) = request.repeated(core, target) {
        // Nobody is told earlier by asking again, whichever node leads by now.
        return match fence {
            Some(index) => core.ends(index, Judge::Confirmed).await.map_or_else(Outcome::from, |()| repeated),
            None => repeated,
        };
    }
    let (mut confirmed, mut left, mut findings) = (false, limits::DECISIONS_MAX, None);
    while left > 0 {
        let admitted = match (request.decide(core, target), findings.clone()) {
            (Ok(_), None) => match request.message.prepare(node, core).await {
                Ok(found) => {
                    findings = Some(found);
                    continue;
                }
                Err(NotCarriedOut::Answered(refusal)) => return Outcome::Refused(refusal),
                Err(NotCarriedOut::LedByAnother) => return Outcome::LedByAnother,
            },
            (Ok(decided), Some(findings)) => decided.admit(core, findings),
            (Err(refusal), _) => Err(refusal),
        };
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) if confirmed => return Outcome::Refused(refusal),
            // As in `recognise`: no is said only from a state that a quorum has confirmed.
            Err(_) => match core.fresh_state().await {
                Ok(_) => {
                    confirmed = true;
                    continue;
                }
                Err(no_quorum) => return Outcome::Refused(no_quorum),
            },
        };
        left -= 1;
        if request.message.validate_only() {
            return match admitted.rehearse(core, request) {
                Ok(answer) => Outcome::DryRun(answer),
                Err(refusal) => Outcome::Refused(refusal),
            };
        }
        let applied = match core.propose(&admitted.0).await {
            Ok(applied) => applied,
            Err(why) => return why.into(),
        };
        match applied.reply {
            Err(refusal) if refusal.reason == Reason::Stale => {}
            Err(refusal) => return Outcome::Recorded(Err(refusal), applied.index),
            Ok(reply) => {
                let state = core.state();
                let answer = request.message.answer(&request.desk(core, &state), &reply);
                if admitted.0.command.takes_away()
                    && let Err(unfenced) = core.ends(applied.index, Judge::Since(applied.term)).await
                {
                    return unfenced.into();
                }
                return Outcome::Recorded(answer, applied.index);
            }
        }
    }
    Outcome::Refused(Refusal::new(
        Reason::Stale,
        "what the decision rested on kept changing while the request was carried out: try again",
    ))
}

impl<M: Mutation> Authenticated<M> {
    /// The answer to a retry of a request that was answered before, as far as this node knows. Asked before anything is
    /// drawn or compared: what the first attempt changed must not make the second fail. Also returns where the fence stands
    /// that the answer waits for.
    fn repeated(&self, core: &Core, target: &Target) -> Option<(Option<u64>, Outcome<M::Answer>)> {
        if self.message.validate_only() {
            return None;
        }
        let Decided { state, .. } = self.decide(core, target).ok()?;
        let known = state.remembered(&self.caller.principal, self.request.id)?;
        let reply = (known.body == self.request.body).then(|| known.outcome.clone())?;
        let answer = reply.and_then(|reply| self.message.answer(&self.desk(core, &state), &reply));
        Some((known.fenced.then_some(known.index), Outcome::Repeated(answer, known.index)))
    }

    /// Asks policy, and keeps the state that its answer rests on.
    fn decide(&self, core: &Core, target: &Target) -> Result<Decided<'_, M>, Refusal> {
        let state = core.state();
        decide(&state, &self.caller.principal, M::ACTION, target)?;
        Ok(Decided { from: self, state })
    }

    fn desk<'a>(&'a self, core: &'a Core, state: &'a State) -> Desk<'a> {
        let findings = Findings::default();
        Desk { state, keyring: &core.keyring, caller: &self.caller, request_id: self.request.id, findings }
    }
}

impl<M: Mutation> Decided<'_, M> {
    /// Draws ids, wraps material, stamps the time.
    fn admit(self, core: &Core, findings: Findings) -> Result<Admitted, Refusal> {
        let desk = Desk { findings, ..self.from.desk(core, &self.state) };
        let command = self.from.message.command(&desk)?;
        // The revisions are those of the state that was decided on, not of a newer one.
        let basis = self.state.basis(&command, self.state.time().after(limits::DECISION_VALID));
        Ok(Admitted(Proposal {
            actor: self.from.caller.principal.clone(),
            at: clock::now(),
            request: Some(self.from.request),
            basis: Some(basis),
            command,
        }))
    }
}

impl Admitted {
    /// Applies the proposal to a copy of the state and answers from it: exactly what would have happened.
    fn rehearse<M: Mutation>(self, core: &Core, request: &Authenticated<M>) -> Result<M::Answer, Refusal> {
        let mut scratch = State::clone(&core.state());
        let outcome = scratch.apply(&LogEntry { index: scratch.index() + 1, proposal: self.0 });
        let reply = outcome.reply?;
        request.message.answer(&request.desk(core, &scratch), &reply)
    }
}

/// The request id, and a hash of the rest: the same id with another body is refused by `apply`.
fn parse_request<M: Mutation>(message: &mut M) -> Result<RequestKey, Refusal> {
    let given = std::mem::take(message.request_id());
    let id = RequestId::parse(&given).ok_or_else(|| {
        Refusal::new(Reason::InvalidArgument, format!("`{given}` is not a request id: use a UUID of version 7"))
    })?;
    let body = [M::ACTION.as_str().as_bytes(), &[0], &message.encode_to_vec()].concat();
    Ok(RequestKey { id, body: crypto::hash::sha256(&body) })
}

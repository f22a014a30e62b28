//! Retries: the same request id brings the same answer and no second change (AIP-155; `docs/spec/state.md` §4).

use types::limits::{REQUEST_ID_FUTURE_MAX, REQUEST_IDS_MAX};
use types::{Principal, Reason, Refusal, RequestId};

use crate::State;
use crate::command::{Proposal, Reply, RequestKey};
use crate::rows::Request;

/// What a proposal's request id says.
pub(crate) enum Recall {
    /// It was never seen, or there is none: carry it out.
    Fresh,
    /// It was answered before, by the entry at `index`.
    Answered { outcome: Result<Reply, Refusal>, index: u64 },
    /// It cannot be honoured. Not remembered: the id has, or had, another meaning.
    Refused(Refusal),
}

/// Looks a proposal's request up.
pub(crate) fn recall(state: &State, proposal: &Proposal) -> Recall {
    let Some(RequestKey { id, body }) = proposal.request else { return Recall::Fresh };
    if let Some(known) = state.request_table().get(&(id, proposal.actor.clone())) {
        if known.body == body {
            return Recall::Answered { outcome: known.outcome.clone(), index: known.index };
        }
        let message = format!("request id `{id}` was used for another request, use a new one");
        return Recall::Refused(Refusal::new(Reason::RequestIdReused, message));
    }
    let too_late = state.progress().horizon.is_some_and(|horizon| id <= horizon);
    // Before the first entry there is no state time to compare with.
    let too_early = state.is_formed() && id.time() > state.time().after(REQUEST_ID_FUTURE_MAX);
    if too_late || too_early {
        let message = format!("request id `{id}` is too old or from the future, check the clock and use a new one");
        return Recall::Refused(Refusal::new(Reason::RequestIdExpired, message));
    }
    Recall::Fresh
}

/// Remembers an answer. When the memory is full the oldest go and the horizon moves up, so that what was forgotten is
/// refused rather than carried out twice.
pub(crate) fn remember(state: &mut State, proposal: &Proposal, outcome: &Result<Reply, Refusal>, index: u64) {
    let Some(RequestKey { id, body }) = proposal.request else { return };
    if !is_final(outcome) {
        return;
    }
    state.put_request((id, proposal.actor.clone()), Request { body, outcome: outcome.clone(), index });
    while state.request_table().len() > REQUEST_IDS_MAX {
        let Some(oldest) = oldest(state) else { break };
        state.remove_request(&oldest);
        let horizon = &mut state.progress_mut().horizon;
        *horizon = (*horizon).max(Some(oldest.0));
    }
}

/// A stale decision is no answer: the leader decides again under the same id, and so may the caller.
pub(crate) fn is_final(outcome: &Result<Reply, Refusal>) -> bool {
    !matches!(outcome, Err(Refusal { reason: Reason::Stale, .. }))
}

fn oldest(state: &State) -> Option<(RequestId, Principal)> {
    state.request_table().first().map(|(key, _)| key.clone())
}

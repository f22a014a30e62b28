//! Retries: the same request id brings the same answer and no second change (AIP-155; `docs/spec/state.md` §4).

use types::limits::{REQUEST_ID_FUTURE_MAX, REQUEST_ID_PAST_MAX, REQUEST_IDS_MAX};
use types::{Reason, Refusal, RequestId};

use crate::State;
use crate::command::{Proposal, Reply};
use crate::request_key::RequestKey;
use crate::rows::Request;

/// Most answers, and most horizons, that one entry drops for their age.
const FORGOTTEN_PER_ENTRY: usize = 8;

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
    let at_or_below_horizon = state.request_horizon(&proposal.actor).is_some_and(|horizon| id <= horizon)
        // Says more than its age only after state time was set back.
        || state.progress().forgotten.is_some_and(|forgotten| id <= forgotten);
    // Before the first entry there is no state time to compare with.
    let too_early = state.is_formed() && id.time() > state.time().after(REQUEST_ID_FUTURE_MAX);
    if at_or_below_horizon || is_outdated(state, id) || too_early {
        let message = format!("request id `{id}` is too old or from the future, check the clock and use a new one");
        return Recall::Refused(Refusal::new(Reason::RequestIdExpired, message));
    }
    Recall::Fresh
}

/// Remembers an answer. What is forgotten for it is refused from then on rather than carried out twice: ids of a day ago
/// by their age; and in a full memory the lowest id of whoever holds the most, so that nobody's haste costs another's
/// retries.
pub(crate) fn remember(state: &mut State, proposal: &Proposal, outcome: &Result<Reply, Refusal>, index: u64) {
    let Some(RequestKey { id, body }) = proposal.request else { return };
    if !is_final(outcome) {
        return;
    }
    forget_outdated(state);
    let fenced = outcome.is_ok() && proposal.command.takes_away();
    state.put_request((id, proposal.actor.clone()), Request { body, outcome: outcome.clone(), index, fenced });
    while state.request_table().len() > REQUEST_IDS_MAX {
        let Some(lowest) = state.indexes().shares.lowest_of_the_largest() else { break };
        state.remove_request(&lowest);
        let (id, principal) = lowest;
        let horizon = state.request_horizon(&principal).map_or(id, |horizon| horizon.max(id));
        state.put_horizon(principal, horizon);
    }
}

/// A stale decision is no answer: the leader decides again under the same id, and so may the caller.
pub(crate) fn is_final(outcome: &Result<Reply, Refusal>) -> bool {
    !matches!(outcome, Err(Refusal { reason: Reason::Stale, .. }))
}

/// Whether its age alone refuses an id.
fn is_outdated(state: &State, id: RequestId) -> bool {
    state.is_formed() && id.time().after(REQUEST_ID_PAST_MAX) <= state.time()
}

/// Drops what age alone refuses: answers, and horizons that no longer say anything. A few at a time: an entry adds one of
/// each at most. None while time is held: it may have to be set back.
fn forget_outdated(state: &mut State) {
    if state.time_held().is_some() {
        return;
    }
    let mut forgotten = state.progress().forgotten;
    for _ in 0..FORGOTTEN_PER_ENTRY {
        let Some(oldest) = state.request_table().first().map(|(key, _)| key.clone()) else { break };
        if !is_outdated(state, oldest.0) {
            break;
        }
        state.remove_request(&oldest);
        forgotten = forgotten.max(Some(oldest.0));
    }
    for _ in 0..FORGOTTEN_PER_ENTRY {
        let Some((lowest, principal)) = state.indexes().horizons.get_min().cloned() else { break };
        if !is_outdated(state, lowest) {
            break;
        }
        state.remove_horizon(&principal);
        forgotten = forgotten.max(Some(lowest));
    }
    state.progress_mut().forgotten = forgotten;
}

#[cfg(test)]
#[path = "requests_test.rs"]
mod tests;

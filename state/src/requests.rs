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

#[cfg(test)]
mod tests {
    use types::{NodeId, Time};

    use super::*;
    use crate::command::Command;

    fn proposal(number: u32) -> Proposal {
        let [a, b, c, d] = number.to_be_bytes();
        let id = RequestId([0, 0, 0, 0, a, b, 0x70, c, 0x80, d, 0, 0, 0, 0, 0, 0]);
        Proposal {
            actor: Principal::Node(NodeId(1)),
            at: Time(0),
            request: Some(RequestKey { id, body: [1; 32] }),
            basis: None,
            command: Command::RevokeOperator { name: types::OperatorName::parse("bob").expect("a name") },
        }
    }

    #[test]
    fn what_is_forgotten_is_refused_and_never_carried_out_again() {
        let mut state = State::new();
        let full = u32::try_from(REQUEST_IDS_MAX).expect("fits");
        for number in 1..=full {
            remember(&mut state, &proposal(number), &Ok(Reply::Done), u64::from(number));
        }
        assert_eq!(state.request_horizon(), None);
        assert!(matches!(recall(&state, &proposal(1)), Recall::Answered { index: 1, .. }));
        remember(&mut state, &proposal(full + 1), &Ok(Reply::Done), 0);
        assert_eq!(state.request_table().len(), REQUEST_IDS_MAX);
        for number in [0, 1] {
            let Recall::Refused(refusal) = recall(&state, &proposal(number)) else { panic!("{number} is not refused") };
            assert_eq!(refusal.reason, Reason::RequestIdExpired);
        }
        assert!(matches!(recall(&state, &proposal(2)), Recall::Answered { index: 2, .. }));
        assert!(matches!(recall(&state, &proposal(full + 2)), Recall::Fresh));
    }
}

//! A full memory is taken back from whoever holds the most, and what is forgotten is never carried out again.

use types::{AgentName, NodeId, Principal, Time};

use super::*;
use crate::command::Command;

/// Ids of one millisecond, ordered by their number.
fn id(at: u64, number: u32) -> RequestId {
    let [_, _, time @ ..] = at.to_be_bytes();
    let [a, b, c, d] = number.to_be_bytes();
    let [t0, t1, t2, t3, t4, t5] = time;
    RequestId([t0, t1, t2, t3, t4, t5, 0x70, a, 0x80, b, c, d, 0, 0, 0, 0])
}

fn proposal(actor: &Principal, id: RequestId) -> Proposal {
    Proposal {
        actor: actor.clone(),
        at: Time(0),
        request: Some(RequestKey { id, body: [1; 32] }),
        basis: None,
        command: Command::RevokeOperator { name: types::OperatorName::parse("bob").expect("a name") },
    }
}

fn ask(state: &mut State, actor: &Principal, id: RequestId, index: u64) {
    remember(state, &proposal(actor, id), &Ok(Reply::Done), index);
}

fn is_expired(state: &State, actor: &Principal, id: RequestId) -> bool {
    matches!(recall(state, &proposal(actor, id)), Recall::Refused(refusal) if refusal.reason == Reason::RequestIdExpired)
}

fn full() -> u32 {
    u32::try_from(REQUEST_IDS_MAX).expect("fits")
}

#[test]
fn what_is_forgotten_is_refused_and_never_carried_out_again() {
    let (mut state, node) = (State::new(), Principal::Node(NodeId(1)));
    for number in 1..=full() {
        ask(&mut state, &node, id(7, number), u64::from(number));
    }
    assert_eq!(state.request_horizon(&node), None);
    assert!(matches!(recall(&state, &proposal(&node, id(7, 1))), Recall::Answered { index: 1, .. }));
    ask(&mut state, &node, id(7, full() + 1), 0);
    assert_eq!(state.request_table().len(), REQUEST_IDS_MAX);
    for number in [0, 1] {
        assert!(is_expired(&state, &node, id(7, number)), "{number}");
    }
    assert!(matches!(recall(&state, &proposal(&node, id(7, 2))), Recall::Answered { index: 2, .. }));
    assert!(matches!(recall(&state, &proposal(&node, id(7, full() + 2))), Recall::Fresh));
    state.check().expect("the shares follow from the requests");
}

#[test]
fn who_asks_too_much_forgets_its_own_requests_only() {
    let mut state = State::new();
    let hasty = Principal::Agent(AgentName::parse("hasty").expect("a name"));
    let slow = Principal::Node(NodeId(1));
    let kept = id(1_000, 1);
    ask(&mut state, &slow, kept, 9);
    // All of them from the near future, and more than fit.
    for number in 0..=full() {
        ask(&mut state, &hasty, id(300_000, number), 10);
    }
    assert_eq!(state.request_table().len(), REQUEST_IDS_MAX);
    assert!(matches!(recall(&state, &proposal(&slow, kept)), Recall::Answered { index: 9, .. }));
    assert!(matches!(recall(&state, &proposal(&slow, id(1_000, 2))), Recall::Fresh));
    assert_eq!(state.request_horizon(&slow), None);
    assert_eq!(state.request_horizon(&hasty), Some(id(300_000, 1)));
    assert!(is_expired(&state, &hasty, id(1_000, 3)));
    state.check().expect("the shares follow from the requests");
}

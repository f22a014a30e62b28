//! Linearizability of one key: is there an order of its calls, each at one moment between its beginning and its end, in
//! which a single copy of the key would have given these answers?
//!
//! The search is that of Wing and Gong with Lowe's cache (`todc-utils`). A write without an answer stays open until the
//! end of the history, and is always a legal step: put last, it is the same as one that never happened.

use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};
use todc_utils::specifications::Specification;

use crate::history::{Call, Operation, Outcome};

/// Calls in one history, at most: the search may take time exponential in its length.
pub const OPERATIONS_MAX: usize = 1_000;

/// Why a history is not accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// No order explains the answers.
    NotLinearizable,
    /// It is too long to be decided.
    TooLong(usize),
}

/// Judges the history of one key. Uses of the key are left out: they are answered under a lease, not by order.
///
/// # Errors
/// [`Fault`].
pub fn check(operations: &[Operation]) -> Result<(), Fault> {
    let relevant: Vec<&Operation> = operations.iter().filter(|operation| operation.is_linearizable()).collect();
    if relevant.len() > OPERATIONS_MAX {
        return Err(Fault::TooLong(relevant.len()));
    }
    if relevant.is_empty() || WGLChecker::<Key>::is_linearizable(History::from_actions(actions(&relevant))) {
        return Ok(());
    }
    Err(Fault::NotLinearizable)
}

/// Calls and responses in the order of time. Each operation is a process of its own, so that one without an answer does not
/// hold up its caller's next. At one instant calls come first: what touches is concurrent.
fn actions(operations: &[&Operation]) -> Vec<(usize, Action<Step>)> {
    let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(2 * operations.len());
    for (index, operation) in operations.iter().enumerate() {
        let open = operation.is_write() && operation.outcome == Outcome::Unknown;
        events.push((operation.began, false, index));
        events.push((if open { u64::MAX } else { operation.ended }, true, index));
    }
    events.sort_unstable();
    let step = |index: usize| operations.get(index).map(|operation| Step(operation.call, operation.outcome));
    let events = events.into_iter().filter_map(|(_, response, index)| Some((response, index, step(index)?)));
    events
        .map(|(response, index, step)| (index, if response { Action::Response(step) } else { Action::Call(step) }))
        .collect()
}

/// One copy of a key, in order.
struct Key;

/// A call with its answer.
#[derive(Clone, Copy, Debug)]
struct Step(Call, Outcome);

/// What a key is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct State {
    /// Zero: there is none.
    version: u32,
    enabled: bool,
}

impl Specification for Key {
    type State = State;
    type Operation = Step;

    fn init() -> State {
        State { version: 0, enabled: true }
    }

    fn apply(Step(call, outcome): &Step, state: &State) -> (bool, State) {
        let (there, usable) = (state.version > 0, state.version > 0 && state.enabled);
        let next = match call {
            Call::Create if !there => State { version: 1, enabled: true },
            Call::Rotate if usable => State { version: state.version + 1, ..*state },
            Call::SetEnabled(enabled) if there => State { enabled: *enabled, ..*state },
            _ => *state,
        };
        match (call, outcome) {
            (Call::Create, Outcome::Done { .. }) => (!there, next),
            (Call::Rotate, Outcome::Done { version, .. }) => (usable && next.version == *version, next),
            (Call::SetEnabled(_), Outcome::Done { .. }) => (there, next),
            (Call::Get | Call::Use, Outcome::Done { version, enabled }) => {
                (there && state.version == *version && state.enabled == *enabled, *state)
            }
            (_, Outcome::NotFound) => (!there, *state),
            (_, Outcome::Disabled) => (there && !state.enabled, *state),
            (_, Outcome::Taken) => (there, *state),
            (_, Outcome::Unknown) => (true, next),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(began: u64, ended: u64, call: Call, outcome: Outcome) -> Operation {
        Operation { process: 0, began, ended, call, outcome }
    }

    fn done(version: u32) -> Outcome {
        Outcome::Done { version, enabled: true }
    }

    /// Key created and rotated twice, by two callers that overlap.
    fn sound() -> Vec<Operation> {
        vec![
            at(0, 10, Call::Create, done(1)),
            at(20, 40, Call::Rotate, done(3)),
            at(25, 35, Call::Rotate, done(2)),
            at(30, 50, Call::Get, done(2)),
            at(60, 70, Call::Get, done(3)),
        ]
    }

    #[test]
    fn overlapping_rotations_may_come_in_either_order() {
        assert_eq!(check(&sound()), Ok(()));
        assert_eq!(check(&[]), Ok(()));
    }

    /// Each of these is what a cluster with that fault would have answered.
    #[test]
    fn broken_histories_are_found() {
        let broken: [(&str, Operation); 6] = [
            ("a stale read", at(80, 90, Call::Get, done(2))),
            ("a lost write", at(80, 90, Call::Rotate, done(3))),
            ("a version from nowhere", at(80, 90, Call::Get, done(4))),
            ("a key that is gone", at(80, 90, Call::Get, Outcome::NotFound)),
            ("a refusal without cause", at(80, 90, Call::Rotate, Outcome::Disabled)),
            ("a second creation", at(80, 90, Call::Create, done(1))),
        ];
        for (what, operation) in broken {
            let mut history = sound();
            history.push(operation);
            assert_eq!(check(&history), Err(Fault::NotLinearizable), "{what}");
        }
        let mut double = sound();
        double[1].outcome = done(2);
        assert_eq!(check(&double), Err(Fault::NotLinearizable), "one version given out twice");
    }

    #[test]
    fn a_write_without_an_answer_may_have_happened_or_not() {
        for seen in [1, 2] {
            let history = [
                at(0, 10, Call::Create, done(1)),
                at(20, 30, Call::Rotate, Outcome::Unknown),
                at(40, 50, Call::Get, done(seen)),
            ];
            assert_eq!(check(&history), Ok(()), "{seen}");
        }
        // It may happen late, but only once, and not before it was sent.
        let late = [
            at(0, 10, Call::Create, done(1)),
            at(20, 30, Call::Rotate, Outcome::Unknown),
            at(40, 50, Call::Get, done(1)),
            at(60, 70, Call::Get, done(2)),
        ];
        assert_eq!(check(&late), Ok(()));
        let mut back = late.to_vec();
        back.push(at(80, 90, Call::Get, done(1)));
        assert_eq!(check(&back), Err(Fault::NotLinearizable));
        let early = [late[0].clone(), at(12, 15, Call::Get, done(2)), late[1].clone()];
        assert_eq!(check(&early), Err(Fault::NotLinearizable));
    }

    #[test]
    fn a_disabled_key_does_not_rotate() {
        let mut history = vec![
            at(0, 10, Call::Create, done(1)),
            at(20, 30, Call::SetEnabled(false), done(0)),
            at(40, 50, Call::Rotate, Outcome::Disabled),
            at(60, 70, Call::Get, Outcome::Done { version: 1, enabled: false }),
        ];
        assert_eq!(check(&history), Ok(()));
        history.push(at(80, 90, Call::Rotate, done(2)));
        assert_eq!(check(&history), Err(Fault::NotLinearizable));
        history[4].began = 25;
        assert_eq!(check(&history), Err(Fault::NotLinearizable), "the read between them saw version 1");
    }

    #[test]
    fn a_history_that_cannot_be_decided_is_not_passed() {
        let long: Vec<_> = (0..1_001).map(|n| at(2 * n, 2 * n + 1, Call::Get, Outcome::NotFound)).collect();
        assert_eq!(check(&long), Err(Fault::TooLong(1_001)));
        assert_eq!(check(&long[..1_000]), Ok(()));
    }
}

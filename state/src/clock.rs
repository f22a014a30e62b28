//! State time: the only clock that judges a deadline. It is what most members' clocks have reached, and goes back only when
//! an admin resets it (`docs/spec/state.md` §5).

use types::limits::{TIME_AGREED_FOR, TIME_AGREES, TIME_STEP_MAX};
use types::{Millis, NodeId, Time};

use crate::State;
use crate::rows::TimeHeld;

/// State time once `node` has reported `clock`: the lower median of the members' last reports, if that is later; and whether
/// it is held.
///
/// The lower median of an even number leans to the slower half, so half of the members can hold time back but not push it
/// on. A member that has not reported yet does not count: it could only hold time at zero.
pub(crate) fn after_report(state: &State, node: NodeId, clock: Time) -> (Time, Option<TimeHeld>) {
    let others = state.report_table().iter().filter(|(id, _)| **id != node).map(|(_, report)| report.clock);
    let clocks: Vec<Time> = others.chain([clock]).collect();
    let before = state.time();
    let now = lower_median(clocks.clone()).max(before);
    (now, held(state, &clocks, before, now))
}

/// The lower one of the two in the middle.
pub(crate) fn lower_median(mut clocks: Vec<Time>) -> Time {
    clocks.sort_unstable();
    let middle = clocks.len().saturating_sub(1) / 2;
    clocks.get(middle).copied().unwrap_or_default()
}

/// A step too large to be believed holds time, until a majority of the members has agreed with it for long enough. Each report
/// counts for what it moved, up to a bound, so that no second step makes up for patience. A member alone has nobody to ask.
fn held(state: &State, clocks: &[Time], before: Time, now: Time) -> Option<TimeHeld> {
    let members = state.node_table().len();
    let step = now.since(before);
    if members <= 1 {
        return None;
    }
    let old = state.progress().held;
    if step > TIME_STEP_MAX {
        let from = old.map_or(before, |old| old.from);
        return Some(TimeHeld { from, to: now, agreed: Millis::ZERO });
    }
    let old = old?;
    let agreeing = clocks.iter().filter(|clock| now.since(**clock).max(clock.since(now)) <= TIME_AGREES).count();
    if agreeing * 2 <= members {
        return Some(TimeHeld { agreed: Millis::ZERO, ..old });
    }
    let agreed = Millis(old.agreed.0.saturating_add(step.min(TIME_AGREES).0));
    (agreed < TIME_AGREED_FOR).then_some(TimeHeld { agreed, ..old })
}

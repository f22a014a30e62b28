//! State time: the only clock that judges a deadline. It is what most members' clocks have reached, and never goes back
//! (`docs/spec/state.md` §5).

use types::{NodeId, Time};

use crate::State;

/// State time once `node` has reported `clock`: the lower median of the members' last reports, if that is later.
///
/// The lower median of an even number leans to the slower half, so half of the members can hold time back but not push it
/// on. A member that has not reported yet does not count: it could only hold time at zero.
pub(crate) fn after_report(state: &State, node: NodeId, clock: Time) -> Time {
    let others = state.report_table().iter().filter(|(id, _)| **id != node).map(|(_, report)| report.clock);
    let mut clocks: Vec<Time> = others.chain([clock]).collect();
    clocks.sort_unstable();
    let middle = clocks.len().saturating_sub(1) / 2;
    clocks.get(middle).copied().unwrap_or_default().max(state.time())
}

//! What an admin may change about the cluster as a whole: the length of leases, and state time that has run away.

use types::limits::{NODE_LEASE_MAX, NODE_LEASE_MIN, TIME_STEP_MAX};
use types::{Millis, Reason, Revision, Time};

use crate::clock;
use crate::command::Reply;
use crate::rows::{Settings, TimeHeld, TimeStep};
use crate::turn::{Handled, Turn, refuse};

/// Sets the length of the leases that are granted from now on. What was granted before runs on: a longer one is remembered
/// until the leader knows that nobody can hold it any more (docs/spec/lease.md §4).
pub(crate) fn set_lease(turn: &mut Turn<'_>, length: Millis) -> Handled {
    if length < NODE_LEASE_MIN || length > NODE_LEASE_MAX {
        return refuse(
            Reason::InvalidArgument,
            format!("a lease is between {} and {} seconds long", NODE_LEASE_MIN.0 / 1_000, NODE_LEASE_MAX.0 / 1_000),
        );
    }
    let old = turn.state.settings();
    let longest = old.lease_before.map_or(old.lease, |before| before.max(old.lease));
    let lease_before = Some(longest).filter(|longest| *longest > length);
    turn.state.put_settings(Settings { lease: length, lease_before, revision: turn.revision });
    turn.fact_count("lease_ms", length.0);
    turn.fact_count("lease_ms_before", old.lease.0);
    Ok(Reply::Done)
}

/// Forgets the longer lease. The leader proposes it when its lease table holds nothing longer; `revision` says which settings
/// it went by.
pub(crate) fn settle_lease(turn: &mut Turn<'_>, revision: Revision) -> Handled {
    let old = turn.state.settings();
    if old.revision != revision || old.lease_before.is_none() {
        return refuse(Reason::NotDue, "the lease was settled or set meanwhile");
    }
    turn.state.put_settings(Settings { lease_before: None, revision: turn.revision, ..old });
    turn.fact_text("settled", "no longer lease can be held any more");
    Ok(Reply::Done)
}

/// The clocks were right, as after a week in which nothing ran: what became due by it may be carried out.
pub(crate) fn confirm_time(turn: &mut Turn<'_>, seen: Time) -> Handled {
    let Some(TimeStep { from, to }) = turn.state.time_unconfirmed() else {
        return refuse(Reason::PreconditionFailed, "state time has made no step that nobody has confirmed");
    };
    if to != seen {
        let message = format!("state time has gone on to {to} at once, not to {seen}: look at `cluster status` again");
        return refuse(Reason::PreconditionFailed, message);
    }
    turn.state.progress_mut().unconfirmed = None;
    turn.bump_global();
    turn.fact_text("from", &from.to_rfc3339());
    turn.fact_text("to", &to.to_rfc3339());
    Ok(Reply::Done)
}

/// Sets state time back to the lower median of the members' clocks. Every decision made before is void, and what was forgotten
/// under the later time stays refused.
pub(crate) fn reset_time(turn: &mut Turn<'_>) -> Handled {
    let agreed = clock::lower_median(turn.state.reports().map(|(_, report)| report.clock).collect());
    if agreed >= turn.now {
        return refuse(
            Reason::PreconditionFailed,
            "state time is not ahead of the members' clocks: set those right first",
        );
    }
    // What is left of a step is as doubtful as the whole: some clocks were set right, and not yet enough of them.
    let left = turn.state.time_unconfirmed().filter(|step| agreed.since(step.from) > TIME_STEP_MAX);
    let left = left.map(|step| TimeStep { to: agreed, ..step });
    let progress = turn.state.progress_mut();
    (progress.time, progress.unconfirmed) = (agreed, left);
    progress.held = left.map(|TimeStep { from, to }| TimeHeld { from, to, agreed: Millis::ZERO });
    turn.bump_global();
    turn.fact_text("from", &turn.now.to_rfc3339());
    turn.fact_text("to", &agreed.to_rfc3339());
    Ok(Reply::Done)
}

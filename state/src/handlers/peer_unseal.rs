//! A root key that a member hands to another which has restarted (`docs/spec/seal.md`): whether the cluster does that at all,
//! whom an admin has let in, and the release itself, an entry before the key leaves.

use std::collections::BTreeMap;

use types::limits::{PEER_UNSEAL_APPROVAL, PEER_UNSEAL_PAUSE, PEER_UNSEAL_WITHIN};
use types::{Millis, NodeId, Principal, Reason, Refusal, Revision, Time};

use crate::State;
use crate::command::{Command, Release, Reply};
use crate::rows::{Approval, PeerUnseal};
use crate::turn::{Handled, Turn, refuse};

/// What concerns it, one command each.
pub(crate) fn handle(turn: &mut Turn<'_>, command: &Command) -> Handled {
    match command {
        Command::SetPeerUnseal { on } => switch(turn, *on),
        Command::ApproveUnseal { node } => approve(turn, *node),
        Command::CancelApproval { node } => cancel(turn, *node),
        Command::ReleaseRoot(wanted) => release(turn, wanted),
        _ => refuse(Reason::Internal, "nothing that opens a member"),
    }
}

/// Switches it on or off. Off, no approval is left over for when it is on again.
fn switch(turn: &mut Turn<'_>, on: bool) -> Handled {
    let before = current(turn);
    let approved = if on { before.approved } else { Default::default() };
    turn.fact_text("peer_unseal", if on { "on" } else { "off" });
    put(turn, PeerUnseal { on, approved, ..before });
    Ok(Reply::Done)
}

/// The next time that voter asks, within an hour, it gets the root key, however long it was away and from wherever it asks.
fn approve(turn: &mut Turn<'_>, node: NodeId) -> Handled {
    let mut row = current(turn);
    check_on(&row)?;
    check_voter(turn.state, node)?;
    if turn.state.time_held().is_some() {
        // Once it goes on, it may go on a day later: the hour would be over at once.
        let text = "state time is held, so nobody knows when an hour is over: approve it once time is believed again, \
                    `chancery cluster status`";
        return refuse(Reason::PreconditionFailed, text);
    }
    let (now, by) = (turn.now, turn.actor.clone());
    let until = now.after(PEER_UNSEAL_APPROVAL);
    row.approved.retain(|_, approval| approval.until > now);
    row.approved.insert(node, Approval { until, given: turn.reading, by });
    put(turn, row);
    turn.fact_text("until", &until.to_rfc3339());
    Ok(Reply::Done)
}

/// That voter waits for somebody again.
fn cancel(turn: &mut Turn<'_>, node: NodeId) -> Handled {
    match drop_where(turn, |other, _| other == node).pop() {
        Some(approval) => turn.fact_text("approved_by", &approval.by.to_string()),
        None => return refuse(Reason::NotFound, format!("{node} has no approval, or has used it")),
    }
    Ok(Reply::Done)
}

/// The leader is about to hand the root key out. What it has looked at itself, the connection, is in the command; the rest is
/// judged here, so that a release after `off`, or a second one on one approval, is refused whoever leads.
fn release(turn: &mut Turn<'_>, release: &Release) -> Handled {
    turn.fact_count("node", release.node.0);
    turn.fact_text("address", &release.address);
    turn.fact_count("released_by", release.by.0);
    let because = judge(turn.state, release, turn.reading)?;
    let mut row = current(turn);
    match because {
        Because::Approved(by) => {
            row.approved.remove(&release.node);
            turn.fact_text("because", "an admin approved it");
            turn.fact_text("approved_by", &by.to_string());
        }
        Because::JustLeft(away) => turn.fact_count("away_ms", away.0),
    }
    row.released.insert(release.node, turn.reading);
    put(turn, row);
    Ok(Reply::Done)
}

/// Why a root key may be handed out.
enum Because {
    /// That admin has let the voter in.
    Approved(Principal),
    /// It was there so long ago.
    JustLeft(Millis),
}

impl State {
    /// Whether that release would be refused at `clock`, the leader's: nobody writes an entry for each knock at the door.
    ///
    /// # Errors
    /// Why.
    pub fn check_release(&self, release: &Release, clock: Time) -> Result<(), Refusal> {
        judge(self, release, self.time().max(clock)).map(drop)
    }
}

fn judge(state: &State, release: &Release, reading: Time) -> Result<Because, Refusal> {
    let Release { node, by, address: _, at_home } = release;
    let row = state.peer_unseal().cloned().unwrap_or_default();
    check_on(&row)?;
    check_voter(state, *node)?;
    if node == by {
        return refuse(Reason::PermissionDenied, format!("{node} has the root key itself"));
    }
    let refused = |text: String| {
        let text = format!("{text}: an admin may let it in, `chancery seal approve {}`", node.0);
        refuse(Reason::PermissionDenied, text)
    };
    // A time that is not believed says nothing about how long anybody was away, nor about the hour of an approval.
    if state.time_held().is_some() {
        return refused(format!("state time is held, so it is not known how long {node} was away"));
    }
    if let Some(approval) = row.approved.get(node).filter(|approval| holds(state, approval, reading)) {
        return check_pause(&row, *node, reading).map(|()| Because::Approved(approval.by.clone()));
    }
    match away(state, *node, reading).filter(|away| *away < PEER_UNSEAL_WITHIN) {
        Some(away) if *at_home => check_pause(&row, *node, reading).map(|()| Because::JustLeft(away)),
        Some(_) => refused(format!("{node} does not ask from the address at which it is a member")),
        None => refused(format!("{node} was away for too long")),
    }
}

/// How long ago that voter reported, by whichever time says more: after a night in which nobody was up state time is that of the evening,
/// and a clock may have been set back. None when it never did, or will have done.
fn away(state: &State, node: NodeId, reading: Time) -> Option<Millis> {
    let report = state.report(node).filter(|report| report.at <= state.time() && report.seen <= reading)?;
    Some(state.time().since(report.at).max(reading.since(report.seen)))
}

/// Whether neither time says that its hour is over, and who gave it still counts.
fn holds(state: &State, approval: &Approval, reading: Time) -> bool {
    let Approval { until, given, by } = approval;
    *until > state.time() && reading.since(*given) < PEER_UNSEAL_APPROVAL && state.check_standing(by, reading).is_ok()
}

/// A voter that has just got it is opening, or somebody else has asked in its place.
/// By the later of both times, for state time may stand still until it is open; one that was set back says nothing about how long ago
/// that was.
fn check_pause(row: &PeerUnseal, node: NodeId, reading: Time) -> Result<(), Refusal> {
    let last = row.released.get(&node).filter(|last| **last <= reading).map(|last| reading.since(*last));
    if last.is_some_and(|last| last < PEER_UNSEAL_PAUSE) {
        let text = format!("{node} got the root key a moment ago: once in {} s", PEER_UNSEAL_PAUSE.0 / 1_000);
        return refuse(Reason::LimitExceeded, text);
    }
    Ok(())
}

/// What that operator has approved and nobody has used is taken back with its rights.
pub(crate) fn end_those_of(turn: &mut Turn<'_>, by: &Principal) {
    let dropped = drop_where(turn, |_, approval| approval.by == *by).len();
    if dropped > 0 {
        turn.fact_count("approvals_dropped", dropped as u64);
    }
}

/// That node is open, or a member no more: nobody needs to let it in.
pub(crate) fn end_that_for(turn: &mut Turn<'_>, node: NodeId) {
    drop_where(turn, |other, _| other == node);
}

/// That node is a member no more.
pub(crate) fn forget(turn: &mut Turn<'_>, node: NodeId) {
    end_that_for(turn, node);
    let mut row = current(turn);
    if row.released.remove(&node).is_some() {
        put(turn, row);
    }
}

fn drop_where(turn: &mut Turn<'_>, goes: impl Fn(NodeId, &Approval) -> bool) -> Vec<Approval> {
    let Some(row) = turn.state.peer_unseal() else { return Vec::new() };
    if !row.approved.iter().any(|(node, approval)| goes(*node, approval)) {
        return Vec::new();
    }
    let mut row = row.clone();
    let (gone, left) = row.approved.into_iter().partition(|(node, approval)| goes(*node, approval));
    let gone: BTreeMap<NodeId, Approval> = gone;
    row.approved = left;
    put(turn, row);
    gone.into_values().collect()
}

/// In the next life of the cluster it is off again: whoever restores says whom to trust.
pub(crate) fn end(turn: &mut Turn<'_>) {
    if current(turn).revision != Revision::NONE {
        put(turn, PeerUnseal::default());
    }
}

fn check_on(row: &PeerUnseal) -> Result<(), Refusal> {
    if row.on {
        return Ok(());
    }
    refuse(Reason::PreconditionFailed, "peer unseal is off: an admin may switch it on, `chancery seal peer-unseal on`")
}

fn check_voter(state: &State, node: NodeId) -> Result<(), Refusal> {
    match state.node(node) {
        None => Err(Refusal::not_found("node", &node)),
        Some(row) if !row.votes => {
            refuse(Reason::PermissionDenied, format!("{node} is a learner: only voters get the root key from a peer"))
        }
        Some(_) => Ok(()),
    }
}

fn current(turn: &Turn<'_>) -> PeerUnseal {
    turn.state.peer_unseal().cloned().unwrap_or_default()
}

fn put(turn: &mut Turn<'_>, row: PeerUnseal) {
    let revision = turn.revision;
    turn.state.put_peer_unseal(PeerUnseal { revision, ..row });
}

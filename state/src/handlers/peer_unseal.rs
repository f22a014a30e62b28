//! A root key that a member hands to another which has restarted (`docs/spec/seal.md`): whether the cluster does that at all,
//! whom an admin has let in, and the release itself, an entry before the key leaves.

use types::limits::{PEER_UNSEAL_APPROVAL, PEER_UNSEAL_WITHIN};
use types::{Millis, NodeId, Reason, Refusal, Revision};

use crate::State;
use crate::command::{Command, Release, Reply};
use crate::rows::PeerUnseal;
use crate::turn::{Handled, Turn, refuse};

/// What concerns it, one command each.
pub(crate) fn handle(turn: &mut Turn<'_>, command: &Command) -> Handled {
    match command {
        Command::SetPeerUnseal { on } => switch(turn, *on),
        Command::ApproveUnseal { node } => approve(turn, *node),
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
    let until = turn.now.after(PEER_UNSEAL_APPROVAL);
    let now = turn.now;
    row.approved.retain(|id, until| *until > now && turn.state.node(*id).is_some());
    row.approved.insert(node, until);
    put(turn, row);
    turn.fact_text("until", &until.to_rfc3339());
    Ok(Reply::Done)
}

/// The leader is about to hand the root key out. What it has looked at itself, the connection, is in the command; the rest is
/// judged here, so that a release after `off`, or a second one on one approval, is refused whoever leads.
fn release(turn: &mut Turn<'_>, release: &Release) -> Handled {
    turn.fact_text("address", &release.address);
    turn.fact_count("released_by", release.by.0);
    match judge(turn.state, release)? {
        Because::Approved => {
            let mut row = current(turn);
            row.approved.remove(&release.node);
            put(turn, row);
            turn.fact_text("because", "an admin approved it");
        }
        Because::JustLeft(away) => turn.fact_count("away_ms", away.0),
    }
    Ok(Reply::Done)
}

/// Why a root key may be handed out.
enum Because {
    /// An admin has let the voter in.
    Approved,
    /// It was there so long ago.
    JustLeft(Millis),
}

impl State {
    /// Whether that release would be refused now: nobody writes an entry for each knock at the door.
    ///
    /// # Errors
    /// Why.
    pub fn check_release(&self, release: &Release) -> Result<(), Refusal> {
        judge(self, release).map(drop)
    }
}

fn judge(state: &State, release: &Release) -> Result<Because, Refusal> {
    let Release { node, by, address: _, at_home } = release;
    let (now, row) = (state.time(), state.peer_unseal().cloned().unwrap_or_default());
    check_on(&row)?;
    check_voter(state, *node)?;
    let refused = |text: String| {
        let text = format!("{text}: an admin may let it in, `chancery seal approve {}`", node.0);
        refuse(Reason::PermissionDenied, text)
    };
    if node == by {
        return refuse(Reason::PermissionDenied, format!("{node} has the root key itself"));
    }
    if row.approved.get(node).is_some_and(|until| *until > now) {
        return Ok(Because::Approved);
    }
    // A time that is not believed says nothing about how long anybody was away.
    if state.time_held().is_some() {
        return refused(format!("state time is held, so it is not known how long {node} was away"));
    }
    let away = state.report(*node).filter(|report| report.at <= now).map(|report| now.since(report.at));
    match away.filter(|away| *away < PEER_UNSEAL_WITHIN) {
        Some(away) if *at_home => Ok(Because::JustLeft(away)),
        Some(_) => refused(format!("{node} does not ask from the address at which it is a member")),
        None => refused(format!("{node} was away for too long")),
    }
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

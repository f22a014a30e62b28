//! What becomes of members: removed for good, promoted, and taken to a later version of the state machine together
//! (`docs/spec/membership.md`). Admission and reports are in `nodes.rs`.

use types::limits::VOTERS_MAX;
use types::{NodeId, Principal, Reason, Refusal};

use super::authorities::{self, Ending};
use super::{checks, peer_unseal};
use crate::command::{Command, Reply};
use crate::outcome::Effect;
use crate::rows::{Departed, Node, Version};
use crate::turn::{Handled, Turn, hex, refuse};

/// Takes a member out of the cluster: its key recognises nobody again, its authority signs no more, its clock no longer
/// counts. Raft's membership follows. What is known of the end of its audit log stands in the record.
pub(crate) fn remove(turn: &mut Turn<'_>, command: &Command) -> Handled {
    let Command::RemoveNode { node, audit_closed, forced, compromised } = *command else {
        return refuse(Reason::Internal, "not a removal");
    };
    let Some(row) = turn.state.node_table().get(&node).cloned() else {
        return Err(Refusal::not_found("node", &node));
    };
    let voters = turn.state.voters();
    if voters.len() == 1 && voters.contains(&node) {
        let message = format!("{node} is the last voter: a cluster without one is lost, so it is not removed");
        return refuse(Reason::PreconditionFailed, message);
    }
    let by_itself = matches!(turn.actor, Principal::Node(_));
    if by_itself && !turn.state.nodes().any(|(_, other)| other.votes && other.replaces == Some(node)) {
        return refuse(Reason::PermissionDenied, format!("nobody was admitted in the place of {node}"));
    }
    let anchored = turn.state.report(node).cloned();
    let anchored_size = anchored.as_ref().map_or(0, |report| report.audit_size);
    let complete = audit_closed.is_some_and(|size| size <= anchored_size);
    if !complete && !forced {
        let message = format!(
            "it is not known how the audit log of {node} ends, only its first {anchored_size} records are anchored: \
             start it and try again, or remove it with --force"
        );
        return refuse(Reason::PreconditionFailed, message);
    }

    turn.state.put_spent(row.info.spki, Principal::Node(node));
    turn.state.remove_node(node);
    peer_unseal::forget(turn, node);
    // It may hold a lease until that has run out, whoever leads then.
    turn.state.put_departed(node, Departed { at: turn.now, revision: turn.revision });
    let ending = if compromised { Ending::Compromised } else { Ending::Lost };
    authorities::end(turn, |authority| authority.node == node, ending)?;
    forget_replaced(turn, node);
    turn.bump_global();
    turn.bump_trust();
    turn.effect(Effect::PrincipalChanged(Principal::Node(node)));
    turn.fact_text("spki_sha256", &row.info.spki.to_hex());
    turn.fact_count("audit_size", anchored_size);
    if let Some(report) = anchored {
        turn.fact_text("audit_root", &hex(&report.audit_root));
    }
    turn.fact_text("audit", if complete { "anchored to its end" } else { "unknown after audit_size" });
    turn.fact_count("forced", u64::from(forced));
    turn.fact_count("compromised", u64::from(compromised));
    Ok(Reply::Done)
}

/// A leader knows that a removed member can hold no lease any more: its successors need not count it.
pub(crate) fn settle_departure(turn: &mut Turn<'_>, node: NodeId) -> Handled {
    if !turn.state.departed_table().contains(&node) {
        return refuse(Reason::NotDue, format!("{node} is not known to have left, or was settled before"));
    }
    turn.state.remove_departed(node);
    turn.fact_text("settled", "it can hold no lease any more");
    Ok(Reply::Done)
}

/// Whoever was admitted in its place has taken it.
fn forget_replaced(turn: &mut Turn<'_>, node: NodeId) {
    let heirs: Vec<_> = turn.state.nodes().filter(|(_, other)| other.replaces == Some(node)).collect();
    let heirs: Vec<_> = heirs.into_iter().map(|(id, other)| (id, other.clone())).collect();
    for (id, heir) in heirs {
        turn.state.put_node(id, Node { replaces: None, ..heir });
    }
}

/// Makes a learner a voter, once it has caught up.
pub(crate) fn promote(turn: &mut Turn<'_>, node: NodeId) -> Handled {
    let Some(row) = turn.state.node_table().get(&node).cloned() else {
        return Err(Refusal::not_found("node", &node));
    };
    if row.votes {
        return refuse(Reason::PreconditionFailed, format!("{node} is a voter already"));
    }
    checks::room("voters", turn.state.voters().len(), VOTERS_MAX)?;
    turn.state.put_node(node, Node { votes: true, revision: turn.revision, ..row });
    turn.bump_global();
    turn.effect(Effect::NodeAdmitted(node));
    Ok(Reply::Done)
}

/// Moves every member to a later version at the same entry.
pub(crate) fn raise_version(turn: &mut Turn<'_>, version: u32) -> Handled {
    let current = turn.state.version();
    if version <= current {
        return refuse(Reason::PreconditionFailed, format!("the state machine is at version {current} already"));
    }
    let lacks = |id: &NodeId| turn.state.report(*id).is_none_or(|said| said.supports < version);
    let lacking: Vec<String> =
        turn.state.nodes().map(|(id, _)| id).filter(lacks).map(|node| node.to_string()).collect();
    if !lacking.is_empty() {
        let message =
            format!("version {version} is not known to {}: install a newer build there first", lacking.join(", "));
        return refuse(Reason::PreconditionFailed, message);
    }
    let row = Version { number: version, since: turn.now, revision: turn.revision };
    turn.state.put_version_number(row);
    turn.bump_global();
    turn.fact_count("version", u64::from(version));
    turn.fact_count("before", u64::from(current));
    Ok(Reply::Done)
}

//! Members: admitted by a token, numbered once, and their word on clock and audit log.

use types::limits::{NODES_MAX, TIME_STEP_MAX, VOTERS_MAX};
use types::{NodeId, Principal, Reason, Refusal, TokenId};

use super::{checks, peer_unseal, tokens};
use crate::clock;
use crate::command::{JoinKind, NodeInfo, NodeReport, Reply};
use crate::outcome::Effect;
use crate::rows::{Node, Report, TimeStep};
use crate::turn::{Handled, Turn, refuse};

/// Spends a token and admits a node under the next number.
///
/// A node that died before it could note its number asks again, with the key that was admitted and a token that is
/// spent: it is told the same number, as long as it has never reported. One that has reported had a log; without it, it has
/// forgotten its votes and must come back under a new key.
pub(crate) fn redeem(
    turn: &mut Turn<'_>,
    id: &TokenId,
    secret_hash: &[u8; 32],
    info: &NodeInfo,
    learner: bool,
) -> Handled {
    if let Some(node) = admitted_before(turn, info) {
        turn.fact_count("node", node.0);
        turn.fact_text("repeated", "the node was admitted before and has not reported yet");
        return Ok(Reply::Node(node));
    }
    let token = tokens::presented(turn, id, secret_hash)?;
    let replaces = match token.kind {
        JoinKind::Node => None,
        JoinKind::Replacement(_) if learner => {
            return refuse(
                Reason::InvalidArgument,
                "a node that takes another's place votes: start it without --learner",
            );
        }
        JoinKind::Replacement(old) => Some(old),
        JoinKind::Agent(_) => return tokens::rejected(),
    };
    let votes = !learner;
    if votes && replaces.is_none() {
        checks::room("voters", turn.state.voters().len(), VOTERS_MAX)?;
    }
    checks::address("peer", &info.peer_address)?;
    checks::address("API", &info.api_address)?;
    checks::room("nodes", turn.state.node_table().len(), NODES_MAX)?;
    let Some(number) = turn.state.progress().last_node.0.checked_add(1) else {
        return refuse(Reason::LimitExceeded, "all node numbers have been used");
    };
    let node = NodeId(number);
    checks::fresh_spki(turn.state, &info.spki, &Principal::Node(node))?;

    turn.state.remove_token(id);
    turn.state.progress_mut().last_node = node;
    let row = Node { info: info.clone(), votes, replaces, admitted: turn.now, revision: turn.revision };
    turn.state.put_node(node, row);
    turn.bump_global();
    turn.bump_trust();
    turn.effect(Effect::NodeAdmitted(node));
    turn.fact_count("node", node.0);
    turn.fact_text("role", if votes { "voter" } else { "learner" });
    if let Some(old) = replaces {
        turn.fact_text("replaces", &format!("nodes/{}", old.0));
    }
    turn.fact_text("spki_sha256", &info.spki.to_hex());
    turn.fact_text("made_by", &token.made_by.to_string());
    Ok(Reply::Node(node))
}

/// The member that this very node already is, while it has not run yet.
fn admitted_before(turn: &Turn<'_>, info: &NodeInfo) -> Option<NodeId> {
    let found = turn.state.nodes().find(|(_, row)| row.info == *info).map(|(node, _)| node)?;
    turn.state.report(found).is_none().then_some(found)
}

/// Anchors a node's audit head, takes its clock into state time, and follows its API address.
pub(crate) fn report(turn: &mut Turn<'_>, report: &NodeReport) -> Handled {
    let NodeReport { node, clock, audit_size, audit_root, api_address, supports } = report;
    let Some(row) = turn.state.node_table().get(node).cloned() else {
        return Err(Refusal::not_found("node", node));
    };
    checks::address("API", api_address)?;
    if let Some(anchored) = turn.state.report(*node) {
        check_audit(anchored, report)?;
    }
    let before = turn.state.time();
    let (at, held) = clock::after_report(turn.state, *node, *clock);
    let progress = turn.state.progress_mut();
    (progress.time, progress.held) = (at, held);
    if held.is_some() && at.since(before) > TIME_STEP_MAX {
        // A hold ends by itself: what cannot be undone waits for somebody's word.
        let from = progress.unconfirmed.map_or(before, |step| step.from);
        progress.unconfirmed = Some(TimeStep { from, to: at });
    }
    let anchored = Report {
        clock: *clock,
        at,
        // Two clocks would have to be ahead for an absence to look short.
        seen: at.max(turn.reading.min(*clock)),
        audit_size: *audit_size,
        audit_root: *audit_root,
        supports: *supports,
        revision: turn.revision,
    };
    turn.state.put_report(*node, anchored);
    // It is open: nobody has to let it in any more.
    peer_unseal::end_that_for(turn, *node);
    if row.info.api_address != *api_address {
        let info = NodeInfo { api_address: api_address.clone(), ..row.info.clone() };
        turn.state.put_node(*node, Node { info, revision: turn.revision, ..row });
        // Where a node is reached is in the trust document, but no decision rests on it.
        turn.bump_trust();
    }
    Ok(Reply::Done)
}

/// A log only grows: a shorter one, or another root at the same size, is not the log whose head was anchored.
fn check_audit(anchored: &Report, report: &NodeReport) -> Result<(), Refusal> {
    let shorter = report.audit_size < anchored.audit_size;
    let other = report.audit_size == anchored.audit_size && report.audit_root != anchored.audit_root;
    if shorter || other {
        return refuse(
            Reason::PreconditionFailed,
            format!(
                "the audit log of {} ends at {} and does not hold the anchored head of size {}, \
                 restore it or replace the node",
                report.node, report.audit_size, anchored.audit_size
            ),
        );
    }
    Ok(())
}

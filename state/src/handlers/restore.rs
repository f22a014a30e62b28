//! A cluster that comes back from a backup: a new life of it is opened, everything in it is quarantined unless a ledger
//! accounts for what came after the backup, and an admin releases one namespace after the other (`docs/spec/state.md` §8).

use types::limits::{NODE_NUMBER_STEP, WAITING_PERIOD_DEFAULT};
use types::{Millis, NamespaceName, NodeId, Principal, Reason, Refusal, RequestId, Revision, Time};

use super::authorities::{self, Ending};
use super::{checks, peer_unseal, root_keys};
use crate::command::{Command, Proposal, Reply};
use crate::outcome::Effect;
use crate::rows::{Cluster, NamespaceLife, Node, Quarantine, QuarantineReason};
use crate::turn::{Handled, Turn, hex, refuse};

/// The first entry after what a backup holds. It ends whatever belonged to the lost life: its members, their authorities,
/// join tokens, and every number that might be given out a second time.
pub(crate) fn open_generation(turn: &mut Turn<'_>, proposal: &Proposal) -> Handled {
    let Command::OpenGeneration { generation, backup, info, compromised, quarantine, accounted } = &proposal.command
    else {
        return refuse(Reason::Internal, "not the opening of a generation");
    };
    let Some(cluster) = turn.state.cluster().cloned() else {
        return refuse(Reason::NotInitialized, "the backup holds no cluster");
    };
    if *generation <= cluster.generation {
        let message = format!("the backup is of generation {}, so a restore opens a later one", cluster.generation);
        return refuse(Reason::PreconditionFailed, message);
    }
    checks::address("peer", &info.peer_address)?;
    checks::address("API", &info.api_address)?;
    // Further lives may have been opened from this backup before, and lost: each has numbers of its own.
    let lives = generation.get().saturating_sub(cluster.generation.get());
    let node = next_node(turn, lives)?;
    checks::fresh_spki(turn.state, &info.spki, &Principal::Node(node))?;

    // Nobody has reported a clock in this life yet, so the restorer's own reading goes on with state time.
    turn.now = turn.now.max(proposal.at);
    forget_time(turn);
    end_members(turn);
    let ending = if *compromised { Ending::Compromised } else { Ending::Lost };
    authorities::end(turn, |_| true, ending)?;
    let tokens: Vec<_> = turn.state.token_table().iter().map(|(id, _)| *id).collect();
    tokens.iter().for_each(|id| turn.state.remove_token(id));
    root_keys::end_staged(turn);
    peer_unseal::end(turn);
    // A ledger that was held against the backup has left it already, further back.
    turn.state.leave_life(cluster.generation, Revision(turn.revision.0.saturating_sub(1)));
    if quarantine.is_some() {
        turn.state.forget_withdrawals(turn.revision);
    }
    turn.state.put_cluster(Cluster { generation: *generation, ..cluster });
    turn.state.progress_mut().last_node = node;
    let row = Node { info: info.clone(), votes: true, replaces: None, admitted: turn.now, revision: turn.revision };
    turn.state.put_node(node, row);
    let keys = skip_versions(turn, lives);
    let waiting = wait_again(turn);
    let namespaces = quarantine.map_or(0, |reason| quarantine_all(turn, reason));
    turn.bump_global();
    turn.bump_bundle();
    turn.fact_count("generation", generation.get());
    turn.fact_text("backup_sha256", &hex(backup));
    turn.fact_count("node", node.0);
    turn.fact_count("compromised", u64::from(*compromised));
    turn.fact_count("keys", keys);
    turn.fact_count("destructions_put_off", waiting);
    turn.fact_count("namespaces_quarantined", namespaces);
    turn.fact_count("kept_back_by_ledger", *accounted);
    turn.fact_text(
        "quarantine",
        quarantine.map_or("none: a ledger accounts for what came after the backup", |reason| reason.as_str()),
    );
    Ok(Reply::Node(node))
}

/// What a namespace holds may be used again.
pub(crate) fn release(turn: &mut Turn<'_>, name: &NamespaceName) -> Handled {
    if !turn.state.namespace_table().contains(name) {
        return Err(Refusal::not_found("namespace", name));
    }
    let Some(Quarantine { reason, since, .. }) = turn.state.quarantine(name).cloned() else {
        return refuse(Reason::PreconditionFailed, format!("namespace `{name}` is not in restore quarantine"));
    };
    turn.state.remove_quarantine(name);
    turn.bump_namespace(name);
    turn.fact_text("quarantined_since", &since.to_rfc3339());
    turn.fact_text("because", reason.as_str());
    Ok(Reply::Done)
}

/// Numbers that the lost life may have given to nodes after the backup are skipped: their audit logs bear them.
fn next_node(turn: &Turn<'_>, lives: u64) -> Result<NodeId, Refusal> {
    let ahead = turn.state.progress().last_node.0.saturating_add(NODE_NUMBER_STEP / 2);
    let first = ahead.checked_next_multiple_of(NODE_NUMBER_STEP);
    let further = NODE_NUMBER_STEP.checked_mul(lives.saturating_sub(1));
    let number = first.zip(further).and_then(|(first, further)| first.checked_add(further));
    number.map(NodeId).ok_or_else(|| Refusal::new(Reason::LimitExceeded, "all node numbers have been used"))
}

/// A request that the lost life carried out after the backup is unknown here: it is refused rather than done again.
fn forget_time(turn: &mut Turn<'_>) {
    let now = turn.now;
    let progress = turn.state.progress_mut();
    (progress.time, progress.held, progress.unconfirmed) = (now, None, None);
    progress.forgotten = progress.forgotten.max(Some(last_request_at(now)));
}

/// The highest request id of that moment.
fn last_request_at(now: Time) -> RequestId {
    let mut id = [0xff; 16];
    let time = now.0.to_be_bytes();
    for (byte, time) in id.iter_mut().zip(time.iter().skip(2)) {
        *byte = *time;
    }
    RequestId(id)
}

/// No member of the lost life is one of this life. Where their audit logs were anchored stands in the record.
fn end_members(turn: &mut Turn<'_>) {
    let members: Vec<_> = turn.state.nodes().map(|(id, node)| (id, node.info.spki)).collect();
    let mut anchored = String::new();
    for (id, spki) in members {
        if let Some(report) = turn.state.report(id) {
            anchored.push_str(&format!("{id} {} {} ", report.audit_size, hex(&report.audit_root)));
        }
        turn.state.put_spent(spki, Principal::Node(id));
        turn.state.remove_node(id);
        turn.effect(Effect::PrincipalChanged(Principal::Node(id)));
    }
    turn.fact_text("audit_heads", anchored.trim_end());
}

/// Every key goes on past the versions that the lost life may have made.
fn skip_versions(turn: &mut Turn<'_>, lives: u64) -> u64 {
    let lives = u32::try_from(lives).unwrap_or(u32::MAX);
    let keys: Vec<_> = turn.state.key_table().iter().map(|(name, key)| (name.clone(), key.clone())).collect();
    let count = keys.len() as u64;
    for ((namespace, name), mut key) in keys {
        key.skip_lost_versions(lives, turn.revision);
        turn.state.put_key(namespace, name, key);
    }
    count
}

/// What was to be destroyed may have been restored after the backup, and nobody here knows: whatever waits begins to wait again.
fn wait_again(turn: &mut Turn<'_>) -> u64 {
    let (now, indexes) = (turn.now, turn.state.indexes());
    let (keys, versions, namespaces) =
        (indexes.key_ends.clone(), indexes.version_ends.clone(), indexes.namespace_ends.clone());
    let floor_of = |turn: &Turn<'_>, namespace: &NamespaceName| {
        turn.state.namespace(namespace).map_or(Millis::ZERO, |row| row.settings.waiting_period_floor)
    };
    for (_, id) in &keys {
        let found =
            turn.state.key_by_id(id).map(|(namespace, name, key)| (namespace.clone(), name.clone(), key.clone()));
        let Some((namespace, name, mut key)) = found else { continue };
        key.put_off(floor_of(turn, &namespace), now);
        turn.state.put_key(namespace, name, key);
    }
    for (_, id, number) in &versions {
        let found = turn.state.key_by_id(id).map(|(namespace, _, key)| (namespace.clone(), key.clone()));
        let row = turn.state.key_version(id, *number).cloned();
        let (Some((namespace, key)), Some(mut row)) = (found, row) else { continue };
        row.put_off(&key, floor_of(turn, &namespace), now);
        turn.state.put_version((*id, *number), row);
    }
    for (_, name) in &namespaces {
        let Some(mut row) = turn.state.namespace(name).cloned() else { continue };
        if let NamespaceLife::DestroyScheduled(scheduled) = &mut row.life {
            let again = now.after(WAITING_PERIOD_DEFAULT.max(row.settings.waiting_period_floor));
            scheduled.due = scheduled.due.max(again);
        }
        turn.state.put_namespace(name.clone(), row);
    }
    (keys.len() as u64).saturating_add(versions.len() as u64).saturating_add(namespaces.len() as u64)
}

fn quarantine_all(turn: &mut Turn<'_>, reason: QuarantineReason) -> u64 {
    let names: Vec<NamespaceName> = turn.state.namespaces().map(|(name, _)| name.clone()).collect();
    for name in &names {
        let row = Quarantine { reason, since: turn.now, revision: turn.revision };
        turn.state.put_quarantine(name.clone(), row);
        turn.bump_namespace(name);
    }
    names.len() as u64
}

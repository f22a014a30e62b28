//! The root key of the cluster: wanted, drawn, confirmed by every member, and only then the active one
//! (`docs/spec/seal.md`). What is kept here are numbers and names; the keys are on the members' own disks.

use std::collections::BTreeSet;

use types::{NamespaceName, NodeId, Reason, Refusal, RootId};

use super::checks;
use crate::ROOT_EPOCH_FIRST;
use crate::command::{Command, Reply};
use crate::rows::{Cluster, Namespace, RootKeys, StagedRoot};
use crate::turn::{Handled, Turn, refuse};

/// Longest public half of new shares: 32 verifiers in hexadecimal and what goes with them.
const QUORUM_BYTES_MAX: usize = 4_096;

/// The steps of a new root key, one command each.
pub(crate) fn handle(turn: &mut Turn<'_>, command: &Command) -> Handled {
    match command {
        Command::BeginRekey { quorum } => begin(turn, quorum.as_deref()),
        Command::CancelRekey => cancel(turn),
        Command::StageRoot { epoch, id } => stage(turn, *epoch, *id),
        Command::ConfirmRoot { node, epoch, id } => confirm(turn, *node, *epoch, *id),
        Command::ActivateRoot { epoch, id, keks_wrapped, cluster_key_wrapped } => {
            activate(turn, *epoch, *id, keks_wrapped, cluster_key_wrapped)
        }
        _ => refuse(Reason::Internal, "not a step of a root key"),
    }
}

/// A new root key is wanted.
fn begin(turn: &mut Turn<'_>, quorum: Option<&[u8]>) -> Handled {
    let row = current(turn);
    if let Some(staged) = &row.staged {
        let message = format!(
            "root key {} is on its way already{}: see `chancery seal status`, or give it up with \
             `chancery seal rekey --cancel`",
            staged.epoch,
            waiting(turn)
        );
        return refuse(Reason::PreconditionFailed, message);
    }
    if quorum.is_some_and(|quorum| quorum.is_empty() || quorum.len() > QUORUM_BYTES_MAX) {
        return refuse(Reason::InvalidArgument, "the public half of the shares is not one");
    }
    let Some(epoch) = row.epoch.checked_add(1) else {
        return refuse(Reason::LimitExceeded, "all root key numbers have been used");
    };
    let staged = StagedRoot {
        epoch,
        id: None,
        quorum: quorum.map(<[u8]>::to_vec),
        by: turn.actor.clone(),
        since: turn.now,
        confirmed: BTreeSet::new(),
    };
    put(turn, RootKeys { staged: Some(staged), ..row });
    turn.fact_count("epoch", epoch.into());
    turn.fact_count("new_shares", quorum.is_some().into());
    Ok(Reply::Done)
}

/// It is not wanted any more. Members take it off their disks; nothing was ever written under it.
fn cancel(turn: &mut Turn<'_>) -> Handled {
    let row = current(turn);
    let Some(staged) = &row.staged else {
        return refuse(Reason::PreconditionFailed, "no root key is on its way, so there is nothing to give up");
    };
    turn.fact_count("epoch", staged.epoch.into());
    put(turn, RootKeys { staged: None, ..row });
    Ok(Reply::Done)
}

/// A root key that was on its way in a life that has ended: its members had it, and who holds its new shares may have been
/// told since that they count for nothing.
pub(crate) fn end_staged(turn: &mut Turn<'_>) {
    let row = current(turn);
    if let Some(staged) = &row.staged {
        turn.fact_count("root_key_given_up", staged.epoch.into());
        put(turn, RootKeys { staged: None, ..row });
    }
}

/// The leader has drawn one, or another because the one before died with whoever drew it. Whoever confirmed that one has
/// not got this one.
fn stage(turn: &mut Turn<'_>, epoch: u32, id: RootId) -> Handled {
    let (row, staged) = on_its_way(turn, epoch)?;
    if turn.state.has_confirmed_root() {
        return refuse(Reason::PreconditionFailed, format!("a member has confirmed root key {epoch} already"));
    }
    let redrawn = staged.id.is_some();
    put(turn, RootKeys { staged: Some(StagedRoot { id: Some(id), confirmed: BTreeSet::new(), ..staged }), ..row });
    turn.fact_text("step", if redrawn { "drawn again" } else { "drawn" });
    turn.fact_text("root_id", &id.to_hex());
    Ok(Reply::Done)
}

/// A member has it on its disk.
fn confirm(turn: &mut Turn<'_>, node: NodeId, epoch: u32, id: RootId) -> Handled {
    let (row, mut staged) = named(turn, epoch, id)?;
    if turn.state.node(node).is_none() {
        return Err(Refusal::not_found("node", &node));
    }
    staged.confirmed.insert(node);
    put(turn, RootKeys { staged: Some(staged), ..row });
    turn.fact_text("step", "confirmed");
    turn.fact_text("root_id", &id.to_hex());
    Ok(Reply::Done)
}

/// It is the active one. Refused unless every member of this moment has it, and everything that a root key wraps was wrapped
/// under it: a key that was left out would be lost with the root key before.
fn activate(
    turn: &mut Turn<'_>,
    epoch: u32,
    id: RootId,
    keks: &[(NamespaceName, Vec<u8>)],
    cluster_key: &[u8],
) -> Handled {
    let (row, _) = named(turn, epoch, id)?;
    let missing = waiting(turn);
    if !missing.is_empty() {
        return refuse(
            Reason::PreconditionFailed,
            format!("root key {epoch} cannot become the active one yet{missing}"),
        );
    }
    checks::wrapped(cluster_key)?;
    let all = turn.state.namespace_keys().map(|(name, _)| name);
    if !all.eq(keks.iter().map(|(name, _)| name)) {
        return refuse(Reason::PreconditionFailed, "the namespaces have changed since their keys were wrapped");
    }
    keks.iter().try_for_each(|(_, wrapped)| checks::wrapped(wrapped))?;
    let Some(cluster) = turn.state.cluster().cloned() else {
        return refuse(Reason::NotInitialized, "there is no cluster yet");
    };

    for (name, kek_wrapped) in keks {
        if let Some(namespace) = turn.state.namespace(name).cloned() {
            turn.state.put_namespace(name.clone(), Namespace { kek_wrapped: kek_wrapped.clone(), ..namespace });
        }
    }
    turn.state.put_cluster(Cluster { key_wrapped: cluster_key.to_vec(), ..cluster });
    put(turn, RootKeys { epoch, id: Some(id), since: Some(turn.now), staged: None, ..row });
    // Whoever wrapped something for a namespace that is to be made wraps it again.
    turn.bump_global();
    turn.fact_text("step", "active");
    turn.fact_text("root_id", &id.to_hex());
    turn.fact_count("namespace_keys", keks.len() as u64);
    Ok(Reply::Done)
}

fn current(turn: &Turn<'_>) -> RootKeys {
    turn.state.root_keys().cloned().unwrap_or(RootKeys {
        epoch: ROOT_EPOCH_FIRST,
        id: None,
        since: None,
        staged: None,
        revision: turn.revision,
    })
}

fn put(turn: &mut Turn<'_>, row: RootKeys) {
    let revision = turn.revision;
    turn.state.put_root_keys(RootKeys { revision, ..row });
}

fn on_its_way(turn: &Turn<'_>, epoch: u32) -> Result<(RootKeys, StagedRoot), Refusal> {
    let row = current(turn);
    match row.staged.clone().filter(|staged| staged.epoch == epoch) {
        Some(staged) => Ok((row, staged)),
        None => refuse(Reason::PreconditionFailed, format!("root key {epoch} is not on its way")),
    }
}

fn named(turn: &Turn<'_>, epoch: u32, id: RootId) -> Result<(RootKeys, StagedRoot), Refusal> {
    let (row, staged) = on_its_way(turn, epoch)?;
    if staged.id != Some(id) {
        return refuse(Reason::PreconditionFailed, format!("another root key {epoch} is on its way by now"));
    }
    Ok((row, staged))
}

/// Which members it waits for, in words; empty when it waits for nobody.
fn waiting(turn: &Turn<'_>) -> String {
    let names: Vec<String> = turn.state.root_waits_for().map(|node| node.to_string()).collect();
    if names.is_empty() { String::new() } else { format!(" and waits for {}", names.join(", ")) }
}

//! The end of keys (`docs/spec/destroy.md`): the wrapped material leaves the state with one entry, the row stays as a tombstone,
//! and each node says when its disk holds nothing of before that entry.

use kms::VersionState;
use types::limits::{ERASURES_KEPT, VERSIONS_DESTROYED_MAX};
use types::{KeyName, NamespaceName, NodeId, Reason, Refusal, Revision};

use super::keys::{at, found, version_of};
use crate::command::Reply;
use crate::outcome::Effect;
use crate::rows::{Destruction, Erased, Withdrawn};
use crate::turn::{Handled, Turn, refuse};

pub(crate) fn destroy(
    turn: &mut Turn<'_>,
    namespace: &NamespaceName,
    name: &KeyName,
    version: Option<u32>,
    urgent: bool,
) -> Handled {
    let mut key = found(turn, namespace, name)?;
    let mut doomed = Vec::new();
    if let Some(number) = version {
        let row = version_of(turn, &key, number)?;
        key.check_destruction(number, &row)?;
        doomed.push((number, row));
    } else {
        if key.destroyed.is_some() {
            return key.usable().map(|()| Reply::Done);
        }
        let rows = turn.state.key_versions(&key.id, None, usize::MAX).items.into_iter();
        for (number, row) in rows.filter(|(_, row)| row.state != VersionState::Destroyed) {
            key.check_destruction(number, row)?;
            doomed.push((number, row.clone()));
        }
    }
    if doomed.len() > VERSIONS_DESTROYED_MAX {
        let message = format!(
            "`{name}` has {} versions and one change destroys {VERSIONS_DESTROYED_MAX}: destroy some with --version first",
            doomed.len()
        );
        return refuse(Reason::LimitExceeded, message);
    }

    let mut versions: Vec<u32> = doomed.iter().map(|(number, _)| *number).collect();
    versions.sort_unstable();
    for (number, mut row) in doomed {
        row.destroy(turn.revision);
        turn.state.put_version((key.id, number), row);
    }
    if version.is_none() {
        key.destroy(at(turn));
    }
    key.revision = turn.revision;
    let id = key.id;
    turn.state.put_key(namespace.clone(), name.clone(), key);
    let members = turn.state.nodes().map(|(node, _)| node).collect();
    turn.fact_count("versions", versions.len() as u64);
    if let [only] = versions.as_slice() {
        turn.fact_count("version", u64::from(*only));
    }
    turn.fact_count("urgent", u64::from(urgent));
    turn.effect(Effect::KeyDestroyed { key: id, versions: versions.clone() });
    let row = Destruction { key: id, versions, at: turn.now, urgent, members, root_epoch: turn.state.root_epoch() };
    turn.state.put_destruction(turn.revision, row);
    turn.withdraw(Withdrawn::Destroyed { key: id, whole: version.is_none() });
    Ok(Reply::Done)
}

/// A node's word on its own disk. Only the first one past an entry counts for its receipt, so reports only go up.
pub(crate) fn report_erasure(turn: &mut Turn<'_>, node: NodeId, upto: Revision) -> Handled {
    if turn.state.node(node).is_none() {
        return Err(Refusal::not_found("node", &node));
    }
    if upto > turn.revision || turn.state.erased_upto(node) >= Some(upto) {
        return refuse(Reason::NotDue, format!("{node} has said so before, or cannot know yet"));
    }
    turn.state.put_erasure(node, upto, Erased { at: turn.now });
    let kept: Vec<Revision> = turn.state.erasures_of(node).map(|(upto, _)| upto).collect();
    let surplus = kept.len().saturating_sub(ERASURES_KEPT);
    for oldest in kept.into_iter().take(surplus) {
        turn.state.remove_erasure(node, oldest);
    }
    turn.fact_count("upto", upto.0);
    Ok(Reply::Done)
}

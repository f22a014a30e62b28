//! The end of keys (`docs/spec/destroy.md`): asked for, waited for, taken back or carried out. The wrapped material leaves the state
//! with one entry, the row stays as a tombstone, and each node says when its disk holds nothing of before that entry.

use kms::{Key, KeyVersion, ScheduledDestruction, VersionState};
use types::limits::{ERASURES_KEPT, VERSIONS_DESTROYED_MAX};
use types::{KeyName, NamespaceName, NodeId, Reason, Refusal, Revision};

use super::checks;
use super::keys::{at, floors, found, version_of};
use crate::command::{Command, Reply};
use crate::outcome::Effect;
use crate::rows::{Destruction, Erased, Withdrawn};
use crate::turn::{Handled, Turn, refuse};

/// What is to go: a version of a key, or the key with all of its versions.
struct Doomed<'a> {
    namespace: &'a NamespaceName,
    name: &'a KeyName,
    key: Key,
    whole: bool,
    versions: Vec<(u32, KeyVersion)>,
}

impl<'a> Doomed<'a> {
    /// Checks that it may go.
    fn of(
        turn: &Turn<'_>,
        namespace: &'a NamespaceName,
        name: &'a KeyName,
        version: Option<u32>,
    ) -> Result<Self, Refusal> {
        let key = found(turn, namespace, name)?;
        let whole = version.is_none();
        let versions = match version {
            Some(number) => vec![(number, version_of(turn, &key, number)?)],
            None => turn.state.all_versions(&key.id).map(|(number, row)| (number, row.clone())).collect(),
        };
        let left = versions.into_iter().filter(|(_, row)| !whole || row.state != VersionState::Destroyed);
        let doomed = Self { namespace, name, key, whole, versions: left.collect() };
        if whole && doomed.key.is_protected() {
            return Err(kms::destruction::protected());
        }
        for (number, row) in &doomed.versions {
            doomed.key.check_destruction(*number, row)?;
        }
        if doomed.versions.len() > VERSIONS_DESTROYED_MAX {
            let message = format!(
                "`{name}` has {} versions and one change destroys {VERSIONS_DESTROYED_MAX}: destroy some with --version first",
                doomed.versions.len()
            );
            return refuse(Reason::LimitExceeded, message);
        }
        Ok(doomed)
    }

    /// Whether it is waiting already.
    fn scheduled(&self) -> Option<ScheduledDestruction> {
        match self.versions.as_slice() {
            [(_, row)] if !self.whole => row.scheduled(),
            _ => self.key.scheduled.filter(|_| self.whole),
        }
    }

    /// Has it wait.
    fn schedule(mut self, turn: &mut Turn<'_>, scheduled: ScheduledDestruction) {
        let at = at(turn);
        if self.whole {
            if self.key.enabled {
                turn.withdraw(Withdrawn::Disabled { key: self.key.id, version: None });
            }
            self.key.schedule_destruction(scheduled, at);
        }
        for (number, mut row) in self.versions.into_iter().filter(|_| !self.whole) {
            // Of a disabled key: that the version by itself is not to be used any more, nobody has told yet.
            if row.state == VersionState::Enabled {
                turn.withdraw(Withdrawn::Disabled { key: self.key.id, version: Some(number) });
            }
            row.schedule_destruction(scheduled, at);
            turn.state.put_version((self.key.id, number), row);
        }
        put(turn, self.namespace, self.name, self.key);
        turn.fact_text("destroy_due", &scheduled.due.to_rfc3339());
    }

    /// Ends it: the material leaves the state, and a receipt begins.
    fn end(mut self, turn: &mut Turn<'_>, urgent: bool) {
        let (at, id) = (at(turn), self.key.id);
        let mut versions: Vec<u32> = self.versions.iter().map(|(number, _)| *number).collect();
        versions.sort_unstable();
        for (number, mut row) in self.versions {
            row.destroy(at);
            turn.state.put_version((id, number), row);
        }
        if self.whole {
            self.key.destroy(at);
        }
        put(turn, self.namespace, self.name, self.key);
        turn.fact_count("versions", versions.len() as u64);
        if let [only] = versions.as_slice() {
            turn.fact_count("version", u64::from(*only));
        }
        turn.effect(Effect::KeyDestroyed { key: id, versions: versions.clone() });
        begin_receipt(turn, id, versions, urgent);
        turn.withdraw(Withdrawn::Destroyed { key: id, whole: self.whole });
    }
}

pub(crate) fn handle(turn: &mut Turn<'_>, command: &Command) -> Handled {
    match command {
        Command::DestroyKey { namespace, name, version, urgent } => destroy(turn, namespace, name, *version, *urgent),
        Command::RestoreKey { namespace, name, version } => restore(turn, namespace, name, *version),
        Command::CarryOutDestruction { namespace, name, version } => carry_out(turn, namespace, name, *version),
        _ => refuse(Reason::Internal, "this is no command about the end of a key"),
    }
}

/// Somebody asks for it: it waits, or goes at once where the key has no waiting period and its namespace no floor.
fn destroy(
    turn: &mut Turn<'_>,
    namespace: &NamespaceName,
    name: &KeyName,
    version: Option<u32>,
    urgent: bool,
) -> Handled {
    let doomed = Doomed::of(turn, namespace, name, version)?;
    if doomed.whole && doomed.key.destroyed.is_some() {
        return doomed.key.usable().map(|()| Reply::Done);
    }
    turn.fact_count("urgent", u64::from(urgent));
    if let Some(scheduled) = doomed.scheduled() {
        // The time stays; that it is urgent is heard later, too.
        if urgent && !scheduled.urgent {
            doomed.schedule(turn, ScheduledDestruction { urgent, ..scheduled });
        } else {
            turn.fact_text("destroy_due", &scheduled.due.to_rfc3339());
        }
        return Ok(Reply::Done);
    }
    // State time may be behind: whoever asks now waits from now on.
    let scheduled = doomed.key.schedules(floors(turn, namespace)?.waiting_period, urgent, turn.reading);
    if scheduled.is_due(turn.reading) {
        doomed.end(turn, urgent)
    } else {
        doomed.schedule(turn, scheduled)
    }
    Ok(Reply::Done)
}

/// The waiting period is over, as the leader has seen; a clock that ran ahead, a protection or a quarantine that came meanwhile hold it up.
fn carry_out(turn: &mut Turn<'_>, namespace: &NamespaceName, name: &KeyName, version: Option<u32>) -> Handled {
    checks::time_is_sure(turn.state)?;
    turn.state.check_released(namespace)?;
    let doomed = Doomed::of(turn, namespace, name, version)?;
    match doomed.scheduled().filter(|scheduled| scheduled.is_due(turn.now)) {
        Some(scheduled) => doomed.end(turn, scheduled.urgent),
        None => return refuse(Reason::NotDue, "the destruction is not due"),
    }
    turn.fact_text("cause", "SCHEDULE");
    Ok(Reply::Done)
}

/// It is not to go after all. What was waiting is disabled then.
fn restore(turn: &mut Turn<'_>, namespace: &NamespaceName, name: &KeyName, version: Option<u32>) -> Handled {
    let (mut key, at) = (found(turn, namespace, name)?, at(turn));
    turn.state.check_not_closed(namespace)?;
    match version {
        None => key.restore(at)?,
        Some(number) => {
            let mut row = version_of(turn, &key, number)?;
            row.restore(number, at)?;
            turn.state.put_version((key.id, number), row);
            key.revision = at.revision;
        }
    }
    put(turn, namespace, name, key);
    Ok(Reply::Done)
}

fn put(turn: &mut Turn<'_>, namespace: &NamespaceName, name: &KeyName, mut key: Key) {
    key.revision = turn.revision;
    turn.effect(Effect::KeyChanged(key.id));
    turn.state.put_key(namespace.clone(), name.clone(), key);
}

/// What this entry destroys may be on the disks of the members of now.
pub(super) fn begin_receipt(turn: &mut Turn<'_>, key: types::KeyId, versions: Vec<u32>, urgent: bool) {
    let members = turn.state.nodes().map(|(node, _)| node).collect();
    let row = Destruction { key, versions, at: turn.now, urgent, members, root_epoch: turn.state.root_epoch() };
    turn.state.put_destruction(turn.revision, row);
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

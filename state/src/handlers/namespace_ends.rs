//! The end of a namespace (`docs/spec/destroy.md` §4): closed at once, waited for, taken back or carried out. With its key-encryption key
//! everything under it is gone, however much it is: only what waits for an end of its own is looked at.

use kms::ScheduledDestruction;
use types::{KeyId, Millis, NamespaceName, Reason, Refusal};

use super::keys::at;
use super::{checks, destroy};
use crate::command::{Command, Reply};
use crate::outcome::Effect;
use crate::rows::{Namespace, NamespaceLife, Withdrawn};
use crate::turn::{Handled, Turn, refuse};

pub(crate) fn handle(turn: &mut Turn<'_>, command: &Command) -> Handled {
    match command {
        Command::DestroyNamespace { name, waiting_period, urgent } => destroy(turn, name, *waiting_period, *urgent),
        Command::RestoreNamespace { name } => restore(turn, name),
        Command::CarryOutNamespaceDestruction { name } => carry_out(turn, name),
        _ => refuse(Reason::Internal, "this is no command about the end of a namespace"),
    }
}

fn destroy(turn: &mut Turn<'_>, name: &NamespaceName, waiting_period: Option<Millis>, urgent: bool) -> Handled {
    let row = found(turn, name)?;
    let period = kms::destruction::waiting_period(waiting_period, row.settings.waiting_period_floor)?;
    check_protected(turn, name)?;
    turn.fact_count("urgent", u64::from(urgent));
    match row.life {
        NamespaceLife::Destroyed { .. } => return Err(gone(name)),
        NamespaceLife::DestroyScheduled(scheduled) => {
            turn.fact_text("destroy_due", &scheduled.due.to_rfc3339());
            // The time stays; that it is urgent is heard later, too.
            if urgent && !scheduled.urgent {
                let life = NamespaceLife::DestroyScheduled(ScheduledDestruction { urgent, ..scheduled });
                put(turn, name, Namespace { life, ..row });
            }
            return Ok(Reply::Done);
        }
        NamespaceLife::Open => {}
    }
    if period > Millis::ZERO {
        let scheduled = ScheduledDestruction { due: turn.reading.after(period), urgent };
        turn.fact_text("destroy_due", &scheduled.due.to_rfc3339());
        turn.withdraw(Withdrawn::Namespace { name: name.clone(), destroyed: false });
        put(turn, name, Namespace { life: NamespaceLife::DestroyScheduled(scheduled), ..row });
        return Ok(Reply::Done);
    }
    let keys = turn.state.indexes().keys_of(name);
    if keys.enabled > 0 {
        let message = format!(
            "{} of its keys are enabled: disable every key first and see whether anybody misses it, or have a waiting period",
            keys.enabled
        );
        return refuse(Reason::PreconditionFailed, message);
    }
    end(turn, name, row, urgent);
    Ok(Reply::Done)
}

/// The waiting period is over, as the leader has seen.
fn carry_out(turn: &mut Turn<'_>, name: &NamespaceName) -> Handled {
    checks::time_is_sure(turn.state)?;
    turn.state.check_released(name)?;
    let row = found(turn, name)?;
    check_protected(turn, name)?;
    match row.life {
        NamespaceLife::DestroyScheduled(scheduled) if scheduled.is_due(turn.now) => {
            end(turn, name, row, scheduled.urgent);
            turn.fact_text("cause", "SCHEDULE");
            Ok(Reply::Done)
        }
        _ => refuse(Reason::NotDue, "the destruction is not due"),
    }
}

/// It is not to go after all: whatever was used in it is used again.
fn restore(turn: &mut Turn<'_>, name: &NamespaceName) -> Handled {
    let row = found(turn, name)?;
    match row.life {
        NamespaceLife::DestroyScheduled(_) => {
            put(turn, name, Namespace { life: NamespaceLife::Open, ..row });
            Ok(Reply::Done)
        }
        NamespaceLife::Destroyed { .. } => Err(gone(name)),
        NamespaceLife::Open => {
            let message = format!("namespace `{name}` is not about to be destroyed: there is nothing to restore");
            refuse(Reason::PreconditionFailed, message)
        }
    }
}

/// The key leaves the state, and with it whatever it has wrapped is nothing any more.
fn end(turn: &mut Turn<'_>, name: &NamespaceName, row: Namespace, urgent: bool) {
    let (id, life) = (row.id, NamespaceLife::Destroyed { at: turn.now, by: turn.revision });
    let keys = turn.state.indexes().keys_of(name);
    settle(turn, name);
    put(turn, name, Namespace { life, kek_wrapped: Vec::new(), ..row });
    turn.fact_count("keys", keys.all);
    turn.effect(Effect::NamespaceDestroyed(name.clone()));
    destroy::begin_receipt(turn, id, Vec::new(), urgent);
    turn.withdraw(Withdrawn::Namespace { name: name.clone(), destroyed: true });
}

/// What waited for its end in it waits for nothing any more: nobody is to look at it at every tick.
fn settle(turn: &mut Turn<'_>, name: &NamespaceName) {
    let indexes = turn.state.indexes();
    let is_own = |id: &KeyId| turn.state.key_by_id(id).is_some_and(|(namespace, _, _)| namespace == name);
    let keys: Vec<KeyId> = indexes.key_ends.iter().map(|(_, id)| *id).filter(is_own).collect();
    let versions = indexes.version_ends.iter().filter(|(_, id, _)| is_own(id));
    let versions: Vec<_> = versions.map(|(_, id, number)| (*id, *number)).collect();
    let at = at(turn);
    for id in keys {
        let found = turn.state.key_by_id(&id).map(|(_, name, key)| (name.clone(), key.clone()));
        let Some((key_name, mut key)) = found else { continue };
        if key.restore(at).is_ok() {
            turn.state.put_key(name.clone(), key_name, key);
        }
    }
    for (id, number) in versions {
        let Some(mut row) = turn.state.key_version(&id, number).cloned() else { continue };
        if row.restore(number, at).is_ok() {
            turn.state.put_version((id, number), row);
        }
    }
}

fn put(turn: &mut Turn<'_>, name: &NamespaceName, row: Namespace) {
    turn.state.put_namespace(name.clone(), Namespace { revision: turn.revision, ..row });
    turn.effect(Effect::NamespaceChanged(name.clone()));
}

fn found(turn: &Turn<'_>, name: &NamespaceName) -> Result<Namespace, Refusal> {
    turn.state.namespace(name).cloned().ok_or_else(|| Refusal::not_found("namespace", name))
}

fn check_protected(turn: &Turn<'_>, name: &NamespaceName) -> Result<(), Refusal> {
    let keys = turn.state.indexes().keys_of(name);
    if keys.protected == 0 {
        return Ok(());
    }
    let message = format!(
        "{} of the keys of `{name}` are protected from deletion: take the protection back first, and ask whoever set it",
        keys.protected
    );
    refuse(Reason::PreconditionFailed, message)
}

fn gone(name: &NamespaceName) -> Refusal {
    Refusal::new(Reason::NamespaceClosed, format!("namespace `{name}` was destroyed, and its name stays taken"))
}

//! Aliases: other names of keys. Each stands for one key of its namespace, and one entry gives it to another.
//!
//! An alias is no right: who may use a key is decided about the key, by whatever name it is called.

use types::limits::{ALIASES_MAX, ALIASES_PER_NAMESPACE_MAX};
use types::{AliasName, KeyName, NamespaceName, Reason, Refusal};

use super::{checks, keys};
use crate::command::{Command, Reply};
use crate::rows::Alias;
use crate::turn::{Handled, Turn, refuse};

pub(crate) fn handle(turn: &mut Turn<'_>, command: &Command) -> Handled {
    match command {
        Command::CreateAlias { namespace, name, key } => create(turn, namespace, name, key),
        Command::UpdateAlias { namespace, name, key } => update(turn, namespace, name, key),
        Command::DeleteAlias { namespace, name } => delete(turn, namespace, name),
        _ => refuse(Reason::Internal, "this is no command about an alias"),
    }
}

fn create(turn: &mut Turn<'_>, namespace: &NamespaceName, name: &AliasName, key: &KeyName) -> Handled {
    if turn.state.namespace(namespace).is_none() {
        return Err(Refusal::not_found("namespace", namespace));
    }
    if turn.state.alias(namespace, name).is_some() {
        return refuse(Reason::AlreadyExists, format!("alias `{name}` exists already, move it or choose another name"));
    }
    checks::room("aliases", turn.state.alias_table().len(), ALIASES_MAX)?;
    if turn.state.indexes().alias_counts.get(namespace).is_some_and(|held| *held >= ALIASES_PER_NAMESPACE_MAX) {
        let message = format!("namespace `{namespace}` has {ALIASES_PER_NAMESPACE_MAX} aliases, delete some first");
        return refuse(Reason::LimitExceeded, message);
    }
    check_target(turn, namespace, key)?;
    let row = Alias { key: key.clone(), created: turn.now, revision: turn.revision };
    turn.state.put_alias(namespace.clone(), name.clone(), row);
    turn.fact_text("key", key.as_str());
    Ok(Reply::Done)
}

/// Before this entry it stands for the one key, after it for the other, and at no time for none.
fn update(turn: &mut Turn<'_>, namespace: &NamespaceName, name: &AliasName, key: &KeyName) -> Handled {
    let old = found(turn, namespace, name)?;
    check_target(turn, namespace, key)?;
    let row = Alias { key: key.clone(), created: old.created, revision: turn.revision };
    turn.state.put_alias(namespace.clone(), name.clone(), row);
    turn.fact_text("key", key.as_str());
    turn.fact_text("key_before", old.key.as_str());
    Ok(Reply::Done)
}

fn delete(turn: &mut Turn<'_>, namespace: &NamespaceName, name: &AliasName) -> Handled {
    let old = found(turn, namespace, name)?;
    turn.state.remove_alias(namespace, name);
    turn.fact_text("key_before", old.key.as_str());
    Ok(Reply::Done)
}

fn found(turn: &Turn<'_>, namespace: &NamespaceName, name: &AliasName) -> Result<Alias, Refusal> {
    turn.state.alias(namespace, name).cloned().ok_or_else(|| Refusal::not_found("alias", name))
}

/// What an alias may stand for: a key of its namespace that there still is.
fn check_target(turn: &Turn<'_>, namespace: &NamespaceName, key: &KeyName) -> Result<(), Refusal> {
    if keys::found(turn, namespace, key)?.destroyed.is_some() {
        return refuse(Reason::KeyDestroyed, format!("key `{key}` was destroyed, an alias cannot stand for it"));
    }
    Ok(())
}

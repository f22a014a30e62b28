//! Keys and their versions. The rules of a key's life are `kms`'; here they meet the tables, the namespace's floor and the
//! proposer's expectation.

use kms::key::At;
use kms::{
    Algorithm, Floors, Key, KeyChange, KeySettings, KeyVersion, Labels, RotationCause, UsageChange, WrappedMaterial,
};
use types::limits::KEYS_MAX;
use types::{KeyId, KeyName, Millis, NamespaceName, Reason, Refusal};

use super::checks;
use crate::command::{Command, Reply};
use crate::ledger::VERSIONS_TOLD;
use crate::outcome::Effect;
use crate::rows::Withdrawn;
use crate::turn::{Handled, Turn, refuse};

/// What a new key starts with.
struct NewKey<'a> {
    id: KeyId,
    algorithm: Algorithm,
    settings: &'a KeySettings,
    material: &'a WrappedMaterial,
}

/// What a new version starts with.
struct NewVersion<'a> {
    expect_last: u32,
    cause: RotationCause,
    material: &'a WrappedMaterial,
}

pub(crate) fn handle(turn: &mut Turn<'_>, command: &Command) -> Handled {
    use Command as C;
    match command {
        C::CreateKey { namespace, name, id, algorithm, settings, material } => {
            create(turn, namespace, name, NewKey { id: *id, algorithm: *algorithm, settings, material })
        }
        C::UpdateKey { namespace, name, change } => update(turn, namespace, name, change),
        C::AddKeyVersion { namespace, name, expect_last, cause, material } => {
            add_version(turn, namespace, name, NewVersion { expect_last: *expect_last, cause: *cause, material })
        }
        C::AddPreActiveVersion { namespace, name, expect_last, material } => {
            add_pre_active(turn, namespace, name, *expect_last, material)
        }
        C::ActivateVersion { namespace, name, version } => activate(turn, namespace, name, *version),
        C::SetKeyEnabled { namespace, name, version, enabled } => {
            set_enabled(turn, namespace, name, *version, *enabled)
        }
        _ => refuse(Reason::Internal, "this is no command about the life of a key"),
    }
}

fn create(turn: &mut Turn<'_>, namespace: &NamespaceName, name: &KeyName, new: NewKey<'_>) -> Handled {
    let NewKey { id, algorithm, settings, material } = new;
    let floors = floors(turn, namespace)?;
    turn.state.check_not_closed(namespace)?;
    if turn.state.key(namespace, name).is_some_and(|key| key.destroyed.is_some()) {
        let message = format!("key `{name}` was destroyed and its name stays taken, choose another name");
        return refuse(Reason::AlreadyExists, message);
    }
    if turn.state.key(namespace, name).is_some() {
        return refuse(Reason::AlreadyExists, format!("key `{name}` exists already, choose another name"));
    }
    if turn.state.key_by_id(&id).is_some() {
        return refuse(Reason::AlreadyExists, "the key id is taken, draw another");
    }
    checks::room("keys", turn.state.key_table().len(), KEYS_MAX)?;
    checks::quota(turn.state, namespace, checks::Quota::Keys)?;
    checks::material(algorithm, material)?;
    let (key, version) = Key::create(id, algorithm, settings.clone(), floors, material.clone(), at(turn))?;
    let number = key.primary;
    write(turn, namespace, name, key, Some((number, version)));
    turn.fact_count("version", u64::from(number));
    turn.fact_text("algorithm", algorithm.as_str());
    describe_period(turn, settings.rotation_period);
    describe_jitter(turn, Some(settings.rotation_jitter).filter(|jitter| *jitter != Millis::ZERO));
    describe_usage(turn, UsageChange::to(settings.usage));
    describe_waiting_period(turn, settings.waiting_period);
    describe_rest(
        turn,
        Some(&settings.labels).filter(|labels| !labels.is_empty()),
        settings.deletion_protection.then_some(true),
    );
    Ok(Reply::Version(number))
}

fn update(turn: &mut Turn<'_>, namespace: &NamespaceName, name: &KeyName, change: &KeyChange) -> Handled {
    let floors = floors(turn, namespace)?;
    let mut key = found(turn, namespace, name)?;
    turn.state.check_not_closed(namespace)?;
    let (primary, lowest) = (version_of(turn, &key, key.primary)?, key.min_version);
    let used = turn.state.usage(&key.id, key.primary).copied();
    let level = key.usage_level(used.as_ref());
    key.change(change.clone(), floors, &primary, turn.revision)?;
    if key.usage_level(used.as_ref()) != level {
        turn.fact_text("level", key.usage_level(used.as_ref()).as_str());
    }
    if key.min_version > lowest {
        turn.withdraw(Withdrawn::BelowMinimum { key: key.id, version: key.min_version });
    }
    if change.min_version.is_some() {
        turn.fact_count("min_version", u64::from(key.min_version));
        turn.fact_count("min_version_before", u64::from(lowest));
    }
    describe_waiting_period(turn, change.waiting_period);
    write(turn, namespace, name, key, None);
    describe_period(turn, change.rotation_period.flatten());
    if change.rotation_period == Some(None) {
        turn.fact_text("rotation", "none");
    }
    describe_jitter(turn, change.rotation_jitter);
    describe_usage(turn, change.usage);
    describe_rest(turn, change.labels.as_ref(), change.deletion_protection);
    Ok(Reply::Done)
}

/// One entry is one rotation (invariant 4): the version is made and becomes the primary together.
fn add_version(turn: &mut Turn<'_>, namespace: &NamespaceName, name: &KeyName, new: NewVersion<'_>) -> Handled {
    let NewVersion { expect_last, cause, material } = new;
    let mut key = found(turn, namespace, name)?;
    if cause == RotationCause::Created {
        return refuse(Reason::InvalidArgument, "a key's first version is made with the key");
    }
    if cause == RotationCause::Schedule && turn.state.time_held().is_some() {
        return refuse(Reason::NotDue, "state time has moved on too far at once: schedules wait until it is confirmed");
    }
    turn.state.check_open(namespace)?;
    checks::material(key.algorithm, material)?;
    let used = turn.state.usage(&key.id, key.primary).copied();
    let (number, version) = key.add_version(expect_last, cause, used.as_ref(), material.clone(), at(turn))?;
    write_new(turn, namespace, name, key, (number, version));
    turn.fact_text("cause", cause.as_str());
    Ok(Reply::Version(number))
}

/// A version that is known before it is used: its public half is handed out, and nothing else changes.
fn add_pre_active(
    turn: &mut Turn<'_>,
    namespace: &NamespaceName,
    name: &KeyName,
    expect_last: u32,
    material: &WrappedMaterial,
) -> Handled {
    let mut key = found(turn, namespace, name)?;
    turn.state.check_open(namespace)?;
    checks::material(key.algorithm, material)?;
    let (number, version) = key.add_pre_active(expect_last, material.clone(), at(turn))?;
    write_new(turn, namespace, name, key, (number, version));
    turn.fact_text("state", kms::VersionState::PreActive.as_str());
    Ok(Reply::Version(number))
}

fn activate(turn: &mut Turn<'_>, namespace: &NamespaceName, name: &KeyName, number: u32) -> Handled {
    let mut key = found(turn, namespace, name)?;
    turn.state.check_open(namespace)?;
    let (mut row, before) = (version_of(turn, &key, number)?, key.primary);
    key.activate(number, &mut row, at(turn))?;
    write(turn, namespace, name, key, Some((number, row)));
    turn.fact_count("primary_before", u64::from(before));
    Ok(Reply::Version(number))
}

fn write_new(
    turn: &mut Turn<'_>,
    namespace: &NamespaceName,
    name: &KeyName,
    key: Key,
    (number, version): (u32, KeyVersion),
) {
    if number.is_multiple_of(VERSIONS_TOLD) {
        turn.withdraw(Withdrawn::Version { key: key.id, last: number });
    }
    write(turn, namespace, name, key, Some((number, version)));
    turn.fact_count("version", u64::from(number));
}

fn set_enabled(
    turn: &mut Turn<'_>,
    namespace: &NamespaceName,
    name: &KeyName,
    version: Option<u32>,
    enabled: bool,
) -> Handled {
    let mut key = found(turn, namespace, name)?;
    if enabled {
        turn.state.check_not_closed(namespace)?;
    }
    let Some(number) = version else {
        if key.set_enabled(enabled, turn.revision)? {
            disabled(turn, &key, version, enabled);
            write(turn, namespace, name, key, None);
        }
        return Ok(Reply::Done);
    };
    let mut row = version_of(turn, &key, number)?;
    if row.set_enabled(enabled, turn.revision)? {
        // A version is part of its key: whoever decided about the key decides again.
        key.revision = turn.revision;
        disabled(turn, &key, version, enabled);
        write(turn, namespace, name, key, Some((number, row)));
    }
    Ok(Reply::Done)
}

fn disabled(turn: &mut Turn<'_>, key: &Key, version: Option<u32>, enabled: bool) {
    if !enabled {
        turn.withdraw(Withdrawn::Disabled { key: key.id, version });
    }
}

pub(super) fn at(turn: &Turn<'_>) -> At {
    At { now: turn.now, revision: turn.revision }
}

pub(super) fn floors(turn: &Turn<'_>, namespace: &NamespaceName) -> Result<Floors, Refusal> {
    let row = turn.state.namespace(namespace).ok_or_else(|| Refusal::not_found("namespace", namespace))?;
    Ok(row.settings.floors())
}

/// A key, whose namespace may be about to end, but has not ended.
pub(super) fn found(turn: &Turn<'_>, namespace: &NamespaceName, name: &KeyName) -> Result<Key, Refusal> {
    let key = turn.state.key(namespace, name).cloned().ok_or_else(|| Refusal::not_found("key", name))?;
    turn.state.check_not_destroyed(namespace)?;
    Ok(key)
}

pub(super) fn version_of(turn: &Turn<'_>, key: &Key, number: u32) -> Result<KeyVersion, Refusal> {
    let row = turn.state.key_version(&key.id, number).cloned();
    row.ok_or_else(|| Refusal::not_found("key version", &number))
}

fn write(turn: &mut Turn<'_>, namespace: &NamespaceName, name: &KeyName, key: Key, version: Option<(u32, KeyVersion)>) {
    let id = key.id;
    if let Some((number, row)) = version {
        turn.state.put_version((id, number), row);
    }
    turn.state.put_key(namespace.clone(), name.clone(), key);
    turn.effect(Effect::KeyChanged(id));
}

/// Labels are counted, not told: they are many, and the key has them.
fn describe_rest(turn: &mut Turn<'_>, labels: Option<&Labels>, deletion_protection: Option<bool>) {
    if let Some(labels) = labels {
        turn.fact_count("labels", labels.len() as u64);
    }
    if let Some(on) = deletion_protection {
        turn.fact_text("deletion_protection", if on { "on" } else { "off" });
    }
}

fn describe_waiting_period(turn: &mut Turn<'_>, period: Option<Millis>) {
    if let Some(period) = period {
        turn.fact_count("waiting_period_ms", period.0);
    }
}

fn describe_period(turn: &mut Turn<'_>, period: Option<Millis>) {
    if let Some(period) = period {
        turn.fact_count("rotation_period_ms", period.0);
    }
}

fn describe_jitter(turn: &mut Turn<'_>, jitter: Option<Millis>) {
    if let Some(jitter) = jitter {
        turn.fact_count("rotation_jitter_ms", jitter.0);
    }
}

/// The bounds that are set, or taken away.
fn describe_usage(turn: &mut Turn<'_>, change: UsageChange) {
    let UsageChange { rotate_after, ceiling } = change;
    for (name, bound) in [
        ("rotate_after_uses", rotate_after.uses),
        ("rotate_after_bytes", rotate_after.bytes),
        ("ceiling_uses", ceiling.uses),
        ("ceiling_bytes", ceiling.bytes),
    ] {
        match bound {
            Some(Some(bound)) => turn.fact_count(name, bound),
            Some(None) => turn.fact_text(name, "none"),
            None => {}
        }
    }
}

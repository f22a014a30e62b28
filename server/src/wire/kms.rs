//! Keys and their versions, to and from the wire.

use kms::{
    Algorithm, EncryptionContext, Key, KeyChange, KeySettings, KeyVersion, Labels, LimitsChange, Purpose,
    RotationCause, UsageLimits, UsagePolicy, VersionState,
};
use proto::kms::v1 as wire;
use state::rows::NamespaceLife;
use state::{Erasure, Receipt, State, rows};
use types::{AliasName, KeyName, Millis, NamespaceName, NodeId, Reason, Refusal, limits};

use super::cluster::etag;
use super::time::{duration, millis, timestamp};

/// `namespaces/{ns}/keys/{key}`.
#[must_use]
pub(crate) fn key_name(ns: &NamespaceName, name: &KeyName) -> String {
    format!("namespaces/{ns}/keys/{name}")
}

/// An alias.
#[must_use]
pub(crate) fn alias(state: &State, ns: &NamespaceName, name: &AliasName, row: &rows::Alias) -> wire::Alias {
    wire::Alias {
        name: format!("namespaces/{ns}/aliases/{name}"),
        key: key_name(ns, &row.key),
        create_time: timestamp(row.created),
        etag: etag(state, row.revision),
    }
}

/// A key.
#[must_use]
pub(crate) fn key(state: &State, ns: &NamespaceName, name: &KeyName, key: &Key) -> wire::Key {
    // What its namespace is, a key is too.
    let destroyed = match state.namespace(ns).map(|row| row.life) {
        Some(NamespaceLife::Destroyed { at, .. }) => Some(at),
        _ => key.destroyed,
    };
    wire::Key {
        name: key_name(ns, name),
        algorithm: wire_algorithm(key.algorithm).into(),
        create_time: timestamp(key.created),
        rotation_period: key.rotation.as_ref().map(|rotation| duration(rotation.period)),
        next_rotation_time: key.rotation.as_ref().and_then(|rotation| timestamp(rotation.next_due)),
        primary_version: key.primary,
        enabled: key.enabled && destroyed.is_none(),
        etag: etag(state, key.revision),
        key_id: key.id.to_hex(),
        destroy_time: destroyed.and_then(timestamp),
        receipts: Vec::new(),
        purpose: purpose(key.algorithm.purpose()).into(),
        labels: key.labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        deletion_protection: key.deletion_protection,
        waiting_period: Some(duration(key.waiting_period)),
        scheduled_destroy_time: key.scheduled.and_then(|scheduled| timestamp(scheduled.due)),
        min_version: key.min_version,
        scheduled_versions: Vec::new(),
        rotation_jitter: key
            .rotation
            .map(|rotation| duration(rotation.jitter))
            .filter(|jitter| *jitter != duration(Millis::ZERO)),
        rotate_after: limits_of(key.usage.rotate_after),
        ceiling: limits_of(key.usage.ceiling),
        usage: usage_of(state, key, key.primary),
        rotation_forecast: forecast(state, ns, key),
    }
}

/// When it rotates next by itself, as far as that can be told.
fn forecast(state: &State, ns: &NamespaceName, key: &Key) -> Option<wire::RotationForecast> {
    let forecast = state.rotation_forecast(ns, key)?;
    Some(wire::RotationForecast {
        time: forecast.time.and_then(timestamp),
        cause: cause(forecast.cause).into(),
        estimated: forecast.estimated,
        waits_for: forecast.waits_for.unwrap_or_default(),
    })
}

fn limits_of(limits: UsageLimits) -> Option<wire::UsageLimits> {
    let wire = wire::UsageLimits { uses: limits.uses.unwrap_or_default(), bytes: limits.bytes.unwrap_or_default() };
    (!limits.is_none()).then_some(wire)
}

fn usage_of(state: &State, key: &Key, version: u32) -> Option<wire::Usage> {
    let used = state.usage(&key.id, version).filter(|_| key.usage.is_counted())?;
    Some(wire::Usage { uses: used.granted.uses, bytes: used.granted.bytes, count_time: timestamp(used.since) })
}

const fn cause(cause: RotationCause) -> wire::RotationCause {
    match cause {
        RotationCause::Created => wire::RotationCause::Created,
        RotationCause::Operator => wire::RotationCause::Operator,
        RotationCause::Schedule => wire::RotationCause::Schedule,
        RotationCause::Count => wire::RotationCause::Count,
    }
}

/// A receipt of what was destroyed.
#[must_use]
pub(crate) fn receipt(receipt: &Receipt<'_>) -> wire::DestructionReceipt {
    let node = |(node, erasure): &(NodeId, Erasure)| {
        let (state, index, at) = match erasure {
            Erasure::Done { upto, at } => (wire::ErasureState::Erased, upto.0, timestamp(*at)),
            Erasure::Pending => (wire::ErasureState::Pending, 0, None),
            Erasure::Removed => (wire::ErasureState::Removed, 0, None),
        };
        wire::NodeErasure { node: node.0, state: state.into(), index, erase_time: at }
    };
    wire::DestructionReceipt {
        versions: receipt.destruction.versions.clone(),
        destroy_time: timestamp(receipt.destruction.at),
        index: receipt.revision.0,
        erase_due_time: timestamp(receipt.due),
        nodes: receipt.nodes.iter().map(node).collect(),
        erased: receipt.is_complete(),
        backups_before: timestamp(receipt.destruction.at),
        root_epoch: receipt.destruction.root_epoch,
    }
}

/// One version of a key.
#[must_use]
pub(crate) fn version(
    state: &State,
    ns: &NamespaceName,
    name: &KeyName,
    number: u32,
    version: &KeyVersion,
) -> wire::KeyVersion {
    wire::KeyVersion {
        name: version_name(ns, name, number),
        version: number,
        state: state_in(state, ns, version).into(),
        create_time: timestamp(version.created),
        cause: cause(version.cause).into(),
        activate_time: version.activated.and_then(timestamp),
        scheduled_destroy_time: version.scheduled().and_then(|scheduled| timestamp(scheduled.due)),
        usage: state.key(ns, name).and_then(|key| usage_of(state, key, number)),
    }
}

/// The public half of a version.
///
/// # Errors
/// `WrongPurpose` when its key has none.
pub(crate) fn public_key(
    state: wire::VersionState,
    name: String,
    algorithm: Algorithm,
    number: u32,
    version: &KeyVersion,
) -> Result<wire::PublicKey, Refusal> {
    let jwk = kms::public::to_jwk(algorithm, &version.public, &name).ok_or_else(|| {
        Refusal::new(
            Reason::WrongPurpose,
            format!("{algorithm} has no public key: whoever checks or decrypts asks the service"),
        )
    })?;
    Ok(wire::PublicKey {
        name,
        version: number,
        algorithm: wire_algorithm(algorithm).into(),
        state: state.into(),
        pem: kms::public::to_pem(&version.public),
        der: version.public.clone(),
        jwk,
    })
}

/// `namespaces/{ns}/keys/{key}/versions/{n}`.
#[must_use]
pub(crate) fn version_name(ns: &NamespaceName, name: &KeyName, number: u32) -> String {
    format!("{}/versions/{number}", key_name(ns, name))
}

/// What its namespace is, a version is too.
pub(crate) fn state_in(state: &State, ns: &NamespaceName, version: &KeyVersion) -> wire::VersionState {
    match state.check_not_destroyed(ns) {
        Ok(()) => version_state(version.state),
        Err(_) => wire::VersionState::Destroyed,
    }
}

const fn version_state(state: VersionState) -> wire::VersionState {
    match state {
        VersionState::Enabled => wire::VersionState::Enabled,
        VersionState::Disabled => wire::VersionState::Disabled,
        VersionState::Destroyed => wire::VersionState::Destroyed,
        VersionState::PreActive => wire::VersionState::PreActive,
        VersionState::DestroyScheduled(_) => wire::VersionState::DestroyScheduled,
    }
}

const fn purpose(purpose: Purpose) -> wire::Purpose {
    match purpose {
        Purpose::EncryptDecrypt => wire::Purpose::EncryptDecrypt,
        Purpose::Mac => wire::Purpose::Mac,
        Purpose::SignVerify => wire::Purpose::SignVerify,
        Purpose::AsymmetricDecrypt => wire::Purpose::AsymmetricDecrypt,
    }
}

/// The API's numbers begin with one that means nothing.
#[must_use]
pub(crate) fn wire_algorithm(algorithm: Algorithm) -> wire::Algorithm {
    let number = i32::from(algorithm.number()).saturating_add(1);
    wire::Algorithm::try_from(number).unwrap_or(wire::Algorithm::Unspecified)
}

/// The algorithm that is asked for; AES-256-GCM when none is.
///
/// # Errors
/// When this build does not know it.
pub(crate) fn parse_algorithm(wire: i32) -> Result<Algorithm, Refusal> {
    if wire == 0 {
        return Ok(Algorithm::Aes256Gcm);
    }
    let known =
        Algorithm::ALL.iter().copied().find(|algorithm| i32::from(algorithm.number()).saturating_add(1) == wire);
    known.ok_or_else(|| Refusal::new(Reason::InvalidArgument, format!("algorithm {wire} is not known here")))
}

/// The rotation period that is asked for; none: the key does not rotate by itself.
///
/// # Errors
/// When it is malformed; `kms` checks the bounds.
pub(crate) fn rotation_period(wire: Option<&prost_types::Duration>) -> Result<Option<Millis>, Refusal> {
    wire.map(|period| millis("rotation_period", period)).transpose()
}

fn rotation_jitter(wire: Option<&prost_types::Duration>) -> Result<Option<Millis>, Refusal> {
    wire.map(|jitter| millis("rotation_jitter", jitter)).transpose()
}

/// Bounds; zero is none.
fn usage_limits(wire: Option<&wire::UsageLimits>) -> UsageLimits {
    let wire::UsageLimits { uses, bytes } = wire.copied().unwrap_or_default();
    let bound = |bound: u64| (bound != 0).then_some(bound);
    UsageLimits { uses: bound(uses), bytes: bound(bytes) }
}

fn waiting_period(wire: Option<&prost_types::Duration>) -> Result<Option<Millis>, Refusal> {
    wire.map(|period| millis("waiting_period", period)).transpose()
}

/// What a new key is made with.
///
/// # Errors
/// When a field is malformed or out of its bounds.
pub(crate) fn settings(request: &wire::CreateKeyRequest) -> Result<KeySettings, Refusal> {
    Ok(KeySettings {
        rotation_period: rotation_period(request.rotation_period.as_ref())?,
        labels: Labels::new(&request.labels)?,
        deletion_protection: request.deletion_protection,
        waiting_period: waiting_period(request.waiting_period.as_ref())?,
        rotation_jitter: rotation_jitter(request.rotation_jitter.as_ref())?.unwrap_or_default(),
        usage: UsagePolicy {
            rotate_after: usage_limits(request.rotate_after.as_ref()),
            ceiling: usage_limits(request.ceiling.as_ref()),
        },
    })
}

/// What is to be changed about a key.
///
/// # Errors
/// When the mask names nothing, or something else; when a field is malformed or out of its bounds.
pub(crate) fn change(request: &wire::UpdateKeyRequest) -> Result<KeyChange, Refusal> {
    let mask = request.update_mask.as_ref().map(|mask| mask.paths.as_slice()).unwrap_or_default();
    let mut change = KeyChange::default();
    let (rotate_after, ceiling) = (usage_limits(request.rotate_after.as_ref()), usage_limits(request.ceiling.as_ref()));
    for path in mask {
        match path.as_str() {
            "rotation_jitter" => {
                change.rotation_jitter = Some(rotation_jitter(request.rotation_jitter.as_ref())?.unwrap_or_default());
            }
            "rotation_period" => change.rotation_period = Some(rotation_period(request.rotation_period.as_ref())?),
            path @ ("rotate_after" | "rotate_after.uses" | "rotate_after.bytes") => {
                change_limits(&mut change.usage.rotate_after, path, rotate_after);
            }
            path @ ("ceiling" | "ceiling.uses" | "ceiling.bytes") => {
                change_limits(&mut change.usage.ceiling, path, ceiling);
            }
            "labels" => change.labels = Some(Labels::new(&request.labels)?),
            "waiting_period" => {
                let period = waiting_period(request.waiting_period.as_ref())?;
                change.waiting_period = Some(period.unwrap_or(limits::WAITING_PERIOD_DEFAULT));
            }
            "min_version" => change.min_version = Some(request.min_version),
            "deletion_protection" => change.deletion_protection = Some(request.deletion_protection),
            other => {
                let text = format!("`update_mask` names `{other}`: name {CHANGEABLE}");
                return Err(Refusal::new(Reason::InvalidArgument, text));
            }
        }
    }
    if mask.is_empty() {
        let text = format!("`update_mask` is missing: name what is to be changed, of {CHANGEABLE}");
        return Err(Refusal::new(Reason::InvalidArgument, text));
    }
    Ok(change)
}

const CHANGEABLE: &str = "`rotation_period`, `rotation_jitter`, `rotate_after` or one of its `.uses` and `.bytes`, `ceiling` or one of its, \
                          `labels`, `deletion_protection`, `waiting_period` and `min_version`";

/// Takes the limit that a mask names, or both.
fn change_limits(change: &mut LimitsChange, path: &str, limits: UsageLimits) {
    if !path.ends_with(".bytes") {
        change.uses = Some(limits.uses);
    }
    if !path.ends_with(".uses") {
        change.bytes = Some(limits.bytes);
    }
}

/// An encryption context.
///
/// # Errors
/// When it passes a limit.
pub(crate) fn context(pairs: std::collections::HashMap<String, String>) -> Result<EncryptionContext, Refusal> {
    EncryptionContext::new(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_changes_what_it_names_and_nothing_else() {
        let limits = |uses, bytes| Some(wire::UsageLimits { uses, bytes });
        let change_of = |path: &str| {
            change(&wire::UpdateKeyRequest {
                update_mask: Some(prost_types::FieldMask { paths: vec![path.to_owned()] }),
                rotation_jitter: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
                rotate_after: limits(5_000, 0),
                ceiling: limits(0, 7),
                ..wire::UpdateKeyRequest::default()
            })
            .map_err(|refusal| refusal.reason)
        };
        let of = |change: LimitsChange| (change.uses, change.bytes);
        let usage =
            |path: &str| change_of(path).map(|change| (of(change.usage.rotate_after), of(change.usage.ceiling)));
        let none = (None, None);
        assert_eq!(usage("rotate_after"), Ok(((Some(Some(5_000)), Some(None)), none)));
        assert_eq!(usage("rotate_after.uses"), Ok(((Some(Some(5_000)), None), none)));
        assert_eq!(usage("rotate_after.bytes"), Ok(((None, Some(None)), none)));
        assert_eq!(usage("ceiling"), Ok((none, (Some(None), Some(Some(7))))));
        assert_eq!(usage("ceiling.uses"), Ok((none, (Some(None), None))));
        assert_eq!(usage("ceiling.bytes"), Ok((none, (None, Some(Some(7))))));
        let jitter = KeyChange { rotation_jitter: Some(Millis::from_secs(60)), ..KeyChange::default() };
        assert_eq!(change_of("rotation_jitter"), Ok(jitter));
        for wrong in ["ceiling.years", "usage", ""] {
            assert_eq!(change_of(wrong), Err(Reason::InvalidArgument), "{wrong}");
        }
    }

    #[test]
    fn every_algorithm_has_its_name_on_the_wire() {
        for algorithm in Algorithm::ALL {
            let wire = wire_algorithm(*algorithm);
            assert_eq!(wire.as_str_name(), format!("ALGORITHM_{algorithm}"));
            assert_eq!(parse_algorithm(wire.into()), Ok(*algorithm));
            let name = purpose(algorithm.purpose()).as_str_name();
            assert_eq!(name, format!("PURPOSE_{}", algorithm.purpose()));
        }
        assert_eq!(parse_algorithm(0), Ok(Algorithm::Aes256Gcm));
        assert!(parse_algorithm(Algorithm::ALL.len() as i32 + 1).is_err() && parse_algorithm(-1).is_err());
    }
}

//! Keys and their versions, to and from the wire.

use kms::{
    Algorithm, EncryptionContext, Key, KeyChange, KeySettings, KeyVersion, Labels, Purpose, RotationCause, VersionState,
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
    let cause = match version.cause {
        RotationCause::Created => wire::RotationCause::Created,
        RotationCause::Operator => wire::RotationCause::Operator,
        RotationCause::Schedule => wire::RotationCause::Schedule,
    };
    wire::KeyVersion {
        name: version_name(ns, name, number),
        version: number,
        state: state_in(state, ns, version).into(),
        create_time: timestamp(version.created),
        cause: cause.into(),
        activate_time: version.activated.and_then(timestamp),
        scheduled_destroy_time: version.scheduled().and_then(|scheduled| timestamp(scheduled.due)),
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
    })
}

/// What is to be changed about a key.
///
/// # Errors
/// When the mask names nothing, or something else; when a field is malformed or out of its bounds.
pub(crate) fn change(request: &wire::UpdateKeyRequest) -> Result<KeyChange, Refusal> {
    let mask = request.update_mask.as_ref().map(|mask| mask.paths.as_slice()).unwrap_or_default();
    let mut change = KeyChange::default();
    for path in mask {
        match path.as_str() {
            "rotation_period" => change.rotation_period = Some(rotation_period(request.rotation_period.as_ref())?),
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

const CHANGEABLE: &str = "`rotation_period`, `labels`, `deletion_protection`, `waiting_period` and `min_version`";

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

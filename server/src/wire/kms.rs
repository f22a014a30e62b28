//! Keys and their versions, to and from the wire.

use kms::{Algorithm, EncryptionContext, Key, KeyVersion, RotationCause, VersionState};
use proto::kms::v1 as wire;
use state::{Erasure, Receipt, State};
use types::{KeyName, Millis, NamespaceName, NodeId, Reason, Refusal};

use super::cluster::etag;
use super::time::{duration, millis, timestamp};

/// `namespaces/{ns}/keys/{key}`.
#[must_use]
pub(crate) fn key_name(ns: &NamespaceName, name: &KeyName) -> String {
    format!("namespaces/{ns}/keys/{name}")
}

/// A key.
#[must_use]
pub(crate) fn key(state: &State, ns: &NamespaceName, name: &KeyName, key: &Key) -> wire::Key {
    wire::Key {
        name: key_name(ns, name),
        algorithm: algorithm(key.algorithm).into(),
        create_time: timestamp(key.created),
        rotation_period: key.rotation.as_ref().map(|rotation| duration(rotation.period)),
        next_rotation_time: key.rotation.as_ref().and_then(|rotation| timestamp(rotation.next_due)),
        primary_version: key.primary,
        enabled: key.enabled,
        etag: etag(state, key.revision),
        key_id: key.id.to_hex(),
        destroy_time: key.destroyed.and_then(timestamp),
        receipts: Vec::new(),
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
pub(crate) fn version(ns: &NamespaceName, name: &KeyName, number: u32, version: &KeyVersion) -> wire::KeyVersion {
    let state = match version.state {
        VersionState::Enabled => wire::VersionState::Enabled,
        VersionState::Disabled => wire::VersionState::Disabled,
        VersionState::Destroyed => wire::VersionState::Destroyed,
    };
    let cause = match version.cause {
        RotationCause::Created => wire::RotationCause::Created,
        RotationCause::Operator => wire::RotationCause::Operator,
        RotationCause::Schedule => wire::RotationCause::Schedule,
    };
    wire::KeyVersion {
        name: format!("{}/versions/{number}", key_name(ns, name)),
        version: number,
        state: state.into(),
        create_time: timestamp(version.created),
        cause: cause.into(),
    }
}

const fn algorithm(algorithm: Algorithm) -> wire::Algorithm {
    match algorithm {
        Algorithm::Aes256Gcm => wire::Algorithm::Aes256Gcm,
    }
}

/// The algorithm that is asked for; AES-256-GCM when none is.
///
/// # Errors
/// When this build does not know it.
pub(crate) fn parse_algorithm(wire: i32) -> Result<Algorithm, Refusal> {
    match wire::Algorithm::try_from(wire) {
        Ok(wire::Algorithm::Unspecified | wire::Algorithm::Aes256Gcm) => Ok(Algorithm::Aes256Gcm),
        Err(_) => Err(Refusal::new(Reason::InvalidArgument, format!("algorithm {wire} is not known here"))),
    }
}

/// The rotation period that is asked for; none: the key does not rotate by itself.
///
/// # Errors
/// When it is malformed; `kms` checks the bounds.
pub(crate) fn rotation_period(wire: Option<&prost_types::Duration>) -> Result<Option<Millis>, Refusal> {
    wire.map(|period| millis("rotation_period", period)).transpose()
}

/// An encryption context.
///
/// # Errors
/// When it passes a limit.
pub(crate) fn context(pairs: std::collections::HashMap<String, String>) -> Result<EncryptionContext, Refusal> {
    EncryptionContext::new(pairs)
}

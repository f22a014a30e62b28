//! Opens a backup in memory and holds everything in it against everything else; nothing of it touches a disk.

use std::io;
use std::path::Path;

use audit::{Frontier, LogName};
use crypto::recipients::Identity;
use crypto::sign::P256Signer;
use kms::wrapping::UnderNamespace;
use state::State;
use types::{Refusal, SpkiHash};

use super::read::Contents;
use super::{BackupError, Inspected, RootKey, inspect, probe, restore};
use crate::keyring::Keyring;
use crate::root::Root;

/// What was found in a backup that can be relied on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    /// Its structure and manifest.
    pub inspected: Inspected,
    /// Keys in it.
    pub keys: u64,
    /// Versions of keys whose material opened.
    pub versions: u64,
    /// Namespaces whose probe decrypted.
    pub probes: u64,
    /// Records of the audit log, whose root is the state's.
    pub audit_leaves: u64,
}

/// A backup that was opened and holds together.
pub(super) struct Opened {
    pub(super) verified: Verified,
    pub(super) state: State,
    pub(super) roots: Vec<RootKey>,
}

/// Checks a backup from end to end; blocks. With `pinned`, it must be signed by that cluster's key.
///
/// # Errors
/// What does not hold.
pub fn verify(
    path: &Path,
    identities: &[Identity],
    pinned: Option<SpkiHash>,
    passed: &mut dyn FnMut(u64),
) -> Result<Verified, BackupError> {
    open(path, identities, pinned, passed).map(|opened| opened.verified)
}

/// As [`verify`]; what was opened is handed over.
pub(super) fn open(
    path: &Path,
    identities: &[Identity],
    pinned: Option<SpkiHash>,
    passed: &mut dyn FnMut(u64),
) -> Result<Opened, BackupError> {
    let inspected = inspect(path, passed)?;
    if let Some(pinned) = pinned {
        inspected.check_pinned(pinned)?;
    }
    let (found, known) = (inspected.manifest.state_version, state::VERSION_NEWEST);
    if found > known {
        return Err(BackupError::Newer { found, known });
    }
    let (mut frontier, most) = (Frontier::new(), inspected.manifest.audit_leaves);
    let contents = inspected.open(identities, &mut |leaf| {
        if frontier.size() >= most {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it holds more audit records than it says"));
        }
        frontier.push(leaf);
        Ok(())
    })?;
    let Contents { roots, probes, state } = contents;
    check_agreement(&inspected, &state, &roots)?;
    if frontier.head(LogName::Cluster) != state.cluster_audit_head() {
        return Err(damaged("its audit records do not give the head that the state holds"));
    }
    let keyring = keyring(&inspected, &roots)?;
    check_cluster_key(&inspected, &state, &keyring)?;
    let versions = check_material(&state, &keyring)?;
    let missing = state.namespace_keys().find(|(name, _)| !probes.iter().any(|probe| probe.namespace == **name));
    if let Some((name, _)) = missing {
        return Err(BackupError::Damaged(format!("it has no probe of namespace `{name}`")));
    }
    let scratch = restore::rehearse(&state)?;
    for probe in &probes {
        probe.check(&scratch, &keyring, inspected.manifest.index)?;
    }
    let verified = Verified {
        keys: inspected.manifest.keys,
        versions,
        probes: probes.len() as u64,
        audit_leaves: frontier.size(),
        inspected,
    };
    Ok(Opened { verified, state, roots })
}

/// The keys of the backup, in memory.
fn keyring(inspected: &Inspected, roots: &[RootKey]) -> Result<Keyring, BackupError> {
    let cluster = inspected.manifest.cluster().ok_or_else(|| damaged("its manifest names no cluster"))?;
    let [root] = roots else { return Err(damaged("it has more root keys than this build knows what to do with")) };
    let key = crypto::LockedSecret::new(root.key.expose());
    let key = key.map_err(|error| BackupError::Failed(error.to_string()))?;
    Ok(Keyring::new(cluster, [Root::of(root.epoch, key)]))
}

/// What the manifest says is what the state is.
fn check_agreement(inspected: &Inspected, state: &State, roots: &[RootKey]) -> Result<(), BackupError> {
    let manifest = &inspected.manifest;
    let row = state.cluster().ok_or_else(|| damaged("its state is of no cluster"))?;
    let epochs: Vec<u32> = roots.iter().map(|root| root.epoch).collect();
    let agreements = [
        ("cluster", manifest.cluster() == Some(row.id)),
        ("trust domain", manifest.trust_domain == row.trust_domain),
        ("generation", manifest.generation == row.generation.get()),
        ("cluster key", ca::spki_hash(&row.spki) == inspected.cluster_key_hash),
        ("index", manifest.index == state.index()),
        ("state time", manifest.state_time_ms == state.time().0),
        ("version", manifest.state_version == state.version()),
        ("root keys", manifest.root_epochs == epochs),
        ("active root key", epochs == [state.root_epoch()]),
        ("number of namespaces", manifest.namespaces == state.namespaces().count() as u64),
        ("number of keys", manifest.keys == state.key_count()),
        ("number of audit records", manifest.audit_leaves == state.cluster_audit_head().size),
    ];
    match agreements.iter().find(|(_, holds)| !holds) {
        Some((what, _)) => Err(BackupError::Damaged(format!("manifest and state disagree on the {what}"))),
        None => state.check().map_err(BackupError::Damaged),
    }
}

/// The cluster key in the state opens, and is the one that signed.
fn check_cluster_key(inspected: &Inspected, state: &State, keyring: &Keyring) -> Result<(), BackupError> {
    let row = state.cluster().ok_or_else(|| damaged("its state is of no cluster"))?;
    let pkcs8 = keyring.cluster_key(state.root_epoch(), &row.key_wrapped)?;
    let signer = P256Signer::from_pkcs8(pkcs8.expose()).map_err(|_| damaged("its cluster key cannot be read"))?;
    if ca::spki_hash(&signer.spki_der()) == inspected.cluster_key_hash {
        return Ok(());
    }
    Err(damaged("the cluster key in it is not the one that signed it"))
}

/// The material of every version opens, and a private key belongs to the public one beside it; says how many there are.
fn check_material(state: &State, keyring: &Keyring) -> Result<u64, Refusal> {
    let mut opened = 0;
    // What was under the key of a destroyed namespace opens no more.
    let kept = state.all_keys().filter(|((namespace, _), _)| state.check_not_destroyed(namespace).is_ok());
    for ((namespace, _), key) in kept {
        let kek = keyring.namespace_key(namespace, probe::wrapped_key(state, namespace)?)?;
        let held = state.all_versions(&key.id).filter(|(_, row)| row.state != kms::VersionState::Destroyed);
        for (version, row) in held {
            let place = UnderNamespace { namespace, key_id: key.id, version, algorithm: key.algorithm };
            let broken = |why: &dyn std::fmt::Display| {
                let text = format!("version {version} of a key in `{namespace}` does not open: {why}");
                Refusal::new(types::Reason::Internal, text)
            };
            let material = kms::wrapping::unwrap_material(kek.expose(), place, &row.wrapped);
            if !material.map_err(|fault| broken(&fault))?.has_public_half(&row.public) {
                return Err(broken(&"its two halves do not belong together"));
            }
            opened += 1;
        }
    }
    Ok(opened)
}

fn damaged(why: &str) -> BackupError {
    BackupError::Damaged(why.to_owned())
}

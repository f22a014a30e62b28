//! From a backup to the data folder of the first node of a new life of the cluster (docs/spec/backup.md §5).
//!
//! Everything is written beside the data folder and gets its name at the very end, so there is never half a cluster in it.
//! Nothing here uses a network: `chancery server` starts from what it leaves.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use audit::LogName;
use crypto::recipients::Identity;
use crypto::sign::P256Signer;
use crypto::{LockedSecret, SecretBytes};
use raft::{Member, Members};
use state::rows::QuarantineReason;
use state::{Command, Entry, NodeInfo, Outcome, Proposal, Reply, State};
use tokio::runtime::Handle;
use types::{ClusterId, Generation, NodeId, Principal, SpkiHash, Time, limits};

use super::ledgers::{self, Accounting};
use super::verify::{self, Opened};
use super::{BackupError, Verified};
use crate::audit_store::AuditStore;
use crate::clock;
use crate::config::{Config, Port, SealKind};
use crate::envelope::StorageEnvelope;
use crate::folder::Folder;
use crate::formation;
use crate::membership::{Membership, write_members};
use crate::root::Root;
use crate::run::IDENTITY_FILE;
use crate::seal::{self, NewSeal, Place};

/// What to restore, and into what.
#[derive(Debug)]
pub struct Order {
    /// The node that comes first: its data folder, its addresses, its seal.
    pub config: Config,
    /// The backup.
    pub backup: PathBuf,
    /// What opens it.
    pub identities: Vec<Identity>,
    /// Ledgers, which say what must not come back: all that are left.
    pub ledgers: Vec<PathBuf>,
    /// This machine's clock is right although it does not look so.
    pub trusts_clock: bool,
    /// The hash of the cluster key that must have signed it; none: anybody's.
    pub pinned: Option<SpkiHash>,
    /// What the old nodes knew may be in others' hands.
    pub compromised: bool,
    /// A later generation than this is opened, if one is known that the backup does not know.
    pub seen: Generation,
    /// How many shares the shamir seal gets, and how many open it.
    pub shares: Option<(u8, u8)>,
}

/// A data folder that a node can be started from.
#[derive(Debug)]
pub struct Restored {
    /// What was found in the backup.
    pub verified: Verified,
    /// The number of the node.
    pub node: NodeId,
    /// Which life of the cluster this is.
    pub generation: Generation,
    /// Namespaces in restore quarantine.
    pub quarantined: u64,
    /// What the ledgers said.
    pub accounting: Accounting,
    /// Somebody in it may administer; otherwise a seal has to make an admin.
    pub has_admin: bool,
    /// Shares of the new seal, where it has any: they exist nowhere else.
    pub shares: Vec<SecretBytes>,
}

/// The steps, for whoever shows them; and for tests, which stop after each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// So many bytes of the backup have been read.
    Reading(u64),
    /// It was opened and holds together.
    Opened,
    /// The node's key and seal are on the disk.
    Sealed,
    /// So are the records of the audit log.
    Audited,
    /// So is the state.
    Seeded,
    /// Everything is, under its temporary name.
    Written,
}

/// Told of each step; an error ends the restore there.
pub type Steps<'a> = &'a mut (dyn FnMut(Step) -> Result<(), BackupError> + Send);

/// Restores a backup; blocks, on a thread of a runtime.
///
/// # Errors
/// When the backup does not hold, the data folder is not empty, the settings do not do or the disk refuses. The data
/// folder is then as it was.
pub fn restore(order: &Order, steps: Steps<'_>) -> Result<Restored, BackupError> {
    let data = &order.config.data_dir;
    check_empty(data)?;
    let temporary = beside(data)?;
    let restored = restore_beside(order, &temporary, steps);
    if restored.is_err() {
        // What cannot be removed now is removed by the next attempt.
        let _ = fs::remove_dir_all(&temporary);
    }
    restored
}

/// As [`restore`], and leaves the temporary folder behind when it fails, as a crash does.
pub(super) fn restore_beside(order: &Order, temporary: &Path, steps: Steps<'_>) -> Result<Restored, BackupError> {
    let Order { config, backup, identities, pinned, .. } = order;
    let addresses = Addresses::of(config)?;
    let passphrase = passphrase(config, order.shares.is_some())?;
    let mut told = Ok(());
    let opened = verify::open(backup, identities, *pinned, &mut |bytes| {
        if told.is_ok() {
            told = steps(Step::Reading(bytes));
        }
    });
    told?;
    let Opened { verified, state, roots } = opened?;
    let (accounted, accounting) = ledgers::account(&state, &order.ledgers, verified.inspected.cluster_key_hash)?;
    let now = clock::now();
    if !order.trusts_clock {
        ledgers::check_clock(now, Time(verified.inspected.manifest.created_time_ms), accounted.state.time())?;
    }
    steps(Step::Opened)?;

    let signer = P256Signer::generate();
    let info = NodeInfo {
        spki: ca::spki_hash(&signer.spki_der()),
        peer_address: addresses.peer.clone(),
        api_address: addresses.api.clone(),
    };
    let (backup, compromised) = (verified.inspected.body_sha256, order.compromised);
    let seen = accounted.seen.max(order.seen);
    let (quarantine, applied) = (accounted.quarantine, accounted.applied);
    let opening = Opening { seen, backup, info, compromised, quarantine, accounted: applied, now };
    let life = open_generation(accounted.state, opening)?;
    let cluster = verified.inspected.manifest.cluster().ok_or_else(|| failed(&"the manifest names no cluster"))?;
    let [root] = roots.as_slice() else { return Err(failed(&"there is more than one root key in the backup")) };
    let key = LockedSecret::new(root.key.expose()).map_err(|error| failed(&error))?;
    let root = Root::of(root.epoch, key);
    let folder = fresh_folder(temporary)?;
    folder.write_private(IDENTITY_FILE, signer.to_pkcs8().expose()).map_err(|error| failed(&error))?;
    let shares = write_seal(order, &folder, &passphrase, cluster, &root)?;
    steps(Step::Sealed)?;
    write_audit(order, &verified, &folder, &life)?;
    steps(Step::Audited)?;
    write_state(&folder, cluster, &root, &life, &signer, &addresses)?;
    steps(Step::Seeded)?;
    let trust_domain = verified.inspected.manifest.trust_domain.clone();
    Membership::new(cluster, life.node, trust_domain).write(&folder).map_err(|error| failed(&error))?;
    sync_tree(folder.path())?;
    steps(Step::Written)?;
    publish(temporary, &config.data_dir)?;
    let quarantined = life.state.quarantines().count() as u64;
    let (generation, has_admin) = (life.state.generation(), life.state.has_admin(life.state.time()));
    Ok(Restored { verified, node: life.node, generation, quarantined, accounting, has_admin, shares })
}

/// The state in its new life.
struct Life {
    state: State,
    node: NodeId,
    /// The record of the restore, the next of the audit log.
    record: Option<Vec<u8>>,
}

/// How others reach the node.
struct Addresses {
    peer: String,
    api: String,
}

impl Addresses {
    fn of(config: &Config) -> Result<Self, BackupError> {
        Ok(Self { peer: advertised("peer", &config.peer)?, api: advertised("api", &config.api)? })
    }
}

/// The address in the settings; nothing is bound here, so it has to be said.
fn advertised(what: &str, port: &Port) -> Result<String, BackupError> {
    match &port.advertise {
        Some(address) => Ok(address.clone()),
        None if port.listen.ip().is_unspecified() || port.listen.port() == 0 => Err(BackupError::Settings(format!(
            "nobody reaches a node under {}: set `{what}.advertise` to the host and port that others use \
             (--{what}-advertise), as for `chancery server`",
            port.listen
        ))),
        None => Ok(port.listen.to_string()),
    }
}

/// What a restore would make of that state, in memory: for whoever wants to know whether it would succeed.
pub(super) fn rehearse(state: &State) -> Result<State, BackupError> {
    let spki = ca::spki_hash(&P256Signer::generate().spki_der());
    let nowhere = || "localhost:1".to_owned();
    let info = NodeInfo { spki, peer_address: nowhere(), api_address: nowhere() };
    let opening = Opening {
        seen: Generation::NONE,
        backup: [0; 32],
        info,
        compromised: false,
        quarantine: Some(QuarantineReason::NoLedger),
        accounted: 0,
        now: clock::now(),
    };
    open_generation(state.clone(), opening).map(|life| life.state)
}

/// What a generation is opened with.
struct Opening {
    seen: Generation,
    backup: [u8; 32],
    info: NodeInfo,
    compromised: bool,
    quarantine: Option<QuarantineReason>,
    accounted: u64,
    now: Time,
}

/// Applies the entry that opens the next generation.
fn open_generation(mut state: State, opening: Opening) -> Result<Life, BackupError> {
    let Opening { seen, backup, info, compromised, quarantine, accounted, now } = opening;
    let command = Command::OpenGeneration {
        generation: state.next_generation(seen)?,
        backup,
        info,
        compromised,
        quarantine,
        accounted,
    };
    let proposal = Proposal { actor: Principal::LocalAdmin, at: now, request: None, basis: None, command };
    let Outcome { reply, record, .. } = state.apply(&Entry { index: state.index().saturating_add(1), proposal });
    match reply.map_err(|refusal| failed(&refusal.message))? {
        Reply::Node(node) => Ok(Life { state, node, record: record.map(|leaf| leaf.bytes) }),
        _ => Err(failed(&"the state machine gave the node no number")),
    }
}

/// The passphrase that the settings name, for the seals that have one.
fn passphrase(config: &Config, has_shares: bool) -> Result<SecretBytes, BackupError> {
    let settings = |text: &str| BackupError::Settings(text.to_owned());
    match (config.seal, &config.passphrase_file, has_shares) {
        (SealKind::Shamir, _, false) => {
            Err(settings("the shamir seal needs a place for its shares: --seal-shares-dir"))
        }
        (SealKind::File | SealKind::Passphrase | SealKind::Pkcs11, _, true) => {
            Err(settings("only the shamir seal has shares: --seal shamir"))
        }
        (SealKind::Passphrase, None, _) => Err(settings("the passphrase seal needs --seal-passphrase-file")),
        (SealKind::Passphrase, Some(path), _) => {
            formation::read_passphrase(path).map_err(|refusal| BackupError::Settings(refusal.message))
        }
        _ => Ok(SecretBytes::from_vec(Vec::new())),
    }
}

fn write_seal(
    order: &Order,
    folder: &Folder,
    passphrase: &SecretBytes,
    cluster: ClusterId,
    root: &Root,
) -> Result<Vec<SecretBytes>, BackupError> {
    let (with, shares) = match (order.config.seal, order.shares) {
        (SealKind::Passphrase, _) => (NewSeal::Passphrase(passphrase.expose()), Vec::new()),
        (SealKind::Shamir, Some((shares, threshold))) => {
            let (quorum, shares) = seal::draw(cluster, threshold, shares).map_err(|error| failed(&error))?;
            (NewSeal::Quorum(quorum), shares)
        }
        (SealKind::Pkcs11, _) => (NewSeal::Pkcs11, Vec::new()),
        _ => (NewSeal::File, Vec::new()),
    };
    let place = Place { folder, cluster, token: order.config.token.as_ref() };
    seal::seal(place, with, root).map_err(|error| failed(&error))?;
    Ok(shares)
}

/// The records of the lost life, and that of the restore.
fn write_audit(order: &Order, verified: &Verified, folder: &Folder, life: &Life) -> Result<(), BackupError> {
    let store = AuditStore::open(&folder.join("audit"), life.node, &[], order.config.audit_reserve_bytes);
    let store = store.map_err(|error| failed(&error))?;
    let (mut batch, mut next) = (Vec::new(), 0_u64);
    let mut append = |batch: &mut Vec<Vec<u8>>| {
        let leaves = std::mem::take(batch);
        let count = leaves.len() as u64;
        let written = Handle::current().block_on(async { store.append_cluster(next, leaves).await?.recorded().await });
        next = next.saturating_add(count);
        written.map(drop).map_err(io::Error::other)
    };
    verified.inspected.leaves(&order.identities, &mut |leaf| {
        batch.push(leaf.to_vec());
        if batch.len() < limits::PAGE_SIZE_MAX { Ok(()) } else { append(&mut batch) }
    })?;
    batch.extend(life.record.clone());
    append(&mut batch).map_err(|error| failed(&error))?;
    let head = store.head(LogName::Cluster);
    store.close();
    if head.as_ref() == Some(&life.state.cluster_audit_head()) {
        return Ok(());
    }
    Err(failed(&"the audit log that was written does not end as the state does"))
}

/// The state as a first snapshot, and who is a member.
fn write_state(
    folder: &Folder,
    cluster: ClusterId,
    root: &Root,
    life: &Life,
    signer: &P256Signer,
    addresses: &Addresses,
) -> Result<(), BackupError> {
    let own = Member { address: addresses.peer.clone(), spki: ca::spki_hash(&signer.spki_der()) };
    let config = raft::Config::new(cluster, life.node, folder.path());
    let envelope = StorageEnvelope::new(&[], root, life.node).map_err(|error| failed(&error))?;
    raft::seed(&config, Arc::new(envelope), own.clone(), life.state.index(), |out| {
        state::write_snapshot(&life.state, out)
    })
    .map_err(|error| failed(&error))?;
    let mut members = Members::default();
    members.all.insert(life.node, own);
    members.voters.insert(life.node);
    write_members(folder, &members).map_err(|error| failed(&error))
}

fn check_empty(data: &Path) -> Result<(), BackupError> {
    match fs::read_dir(data) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(BackupError::io(data)(error)),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(BackupError::NotEmpty { path: data.to_owned() }),
        },
    }
}

/// `.{name}.restoring`, on the same file system as the data folder, so that it can be renamed.
pub(super) fn beside(data: &Path) -> Result<PathBuf, BackupError> {
    let name = data.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| BackupError::Settings(format!("`{}` is no name of a folder", data.display())))?;
    let parent = parent(data);
    fs::create_dir_all(parent).map_err(BackupError::io(parent))?;
    Ok(parent.join(format!(".{name}.restoring")))
}

/// The temporary folder, without what an earlier attempt has left. It is locked: two restores do not mix.
fn fresh_folder(temporary: &Path) -> Result<Folder, BackupError> {
    let folder = Folder::open(temporary).map_err(|error| failed(&error))?;
    let io = BackupError::io(temporary);
    for entry in fs::read_dir(temporary).map_err(&io)? {
        let path = entry.map_err(&io)?.path();
        if path.file_name().is_some_and(|name| name == "lock") {
            continue;
        }
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.map_err(&io)?;
    }
    Ok(folder)
}

/// The moment at which there is a cluster again.
fn publish(temporary: &Path, data: &Path) -> Result<(), BackupError> {
    fs::rename(temporary, data).map_err(|error| match error.kind() {
        io::ErrorKind::CrossesDevices | io::ErrorKind::ResourceBusy => BackupError::Settings(format!(
            "`{}` is a mount point, and a restored folder gets its name by renaming: name a folder inside it",
            data.display()
        )),
        io::ErrorKind::DirectoryNotEmpty => BackupError::NotEmpty { path: data.to_owned() },
        _ => BackupError::io(data)(error),
    })?;
    sync(parent(data))
}

/// Every folder and file below: all of it has to be on the disk before its name is.
fn sync_tree(folder: &Path) -> Result<(), BackupError> {
    for entry in fs::read_dir(folder).map_err(BackupError::io(folder))? {
        let path = entry.map_err(BackupError::io(folder))?.path();
        if path.is_dir() { sync_tree(&path) } else { sync(&path) }?;
    }
    sync(folder)
}

fn parent(data: &Path) -> &Path {
    data.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync(path: &Path) -> Result<(), BackupError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(BackupError::io(path))
}

fn failed(why: &dyn std::fmt::Display) -> BackupError {
    BackupError::Failed(why.to_string())
}

//! The cipher around everything Raft writes to disk: AES-256-GCM under a key that only this process uses, for as long as its
//! root key is the active one.
//!
//! `storage key = HKDF(root, "storage")`. Each process start, and each change of the root key, draws a 32-byte salt; the
//! writer key is `HKDF(storage key, salt)` with the node and the kind of file in its info, and the nonce is a counter.
//! Epoch, salt and counter stand beside each record. So no nonce repeats under a key even when a torn tail is cut and
//! written again, and there is no bound that random nonces would reach. Record:
//! `1 | epoch(u32 BE) | salt(32) | counter(u64 BE) | ciphertext | tag`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crypto::aead::Key;
use crypto::kdf::Prk;
use crypto::locked::LockError;
use crypto::{LockedSecret, kdf};
use raft::{Envelope, FileKind, Tampered};
use types::NodeId;

use crate::root::Root;

const FORMAT: u8 = 1;
const EPOCH_BYTES: usize = 4;
const SALT_BYTES: usize = 32;
const COUNTER_BYTES: usize = 8;
const HEADER_BYTES: usize = 1 + EPOCH_BYTES + SALT_BYTES + COUNTER_BYTES;
/// Reader keys kept: one per process start whose records are still on disk, at most.
const READERS_MAX: usize = 256;

/// Epoch, kind of file, and salt of the start that wrote it.
type Reader = (u32, u8, [u8; SALT_BYTES]);

/// The storage envelope of one node.
pub(crate) struct StorageEnvelope {
    node: NodeId,
    /// The storage key of each epoch that may still be read.
    storage: RwLock<BTreeMap<u32, LockedSecret>>,
    writer: RwLock<Arc<Writer>>,
    /// Keys of earlier starts and epochs, derived when first met.
    readers: RwLock<BTreeMap<Reader, Arc<Key>>>,
    /// Records that were opened and are of another epoch than the one that is written under.
    opened_of_older: AtomicU64,
}

/// What records are sealed with now.
struct Writer {
    epoch: u32,
    salt: [u8; SALT_BYTES],
    keys: [(FileKind, Key); 3],
    counter: AtomicU64,
}

/// There is no root key of that epoch here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no root key of epoch {0} on this node")]
pub(crate) struct NoSuchEpoch(pub(crate) u32);

impl StorageEnvelope {
    /// Reads what was sealed under any of these root keys, and writes under the last.
    ///
    /// # Errors
    /// When no memory can be locked for the storage keys.
    pub(crate) fn new(older: &[&Root], active: &Root, node: NodeId) -> Result<Self, LockError> {
        let last = storage_key(active)?;
        let writer = Writer::new(active.epoch, &last, node);
        let mut storage = older
            .iter()
            .map(|root| Ok((root.epoch, storage_key(root)?)))
            .collect::<Result<BTreeMap<_, _>, LockError>>()?;
        storage.insert(active.epoch, last);
        Ok(Self {
            node,
            storage: RwLock::new(storage),
            writer: RwLock::new(Arc::new(writer)),
            readers: RwLock::default(),
            opened_of_older: AtomicU64::new(0),
        })
    }

    /// Reads what is sealed under another root key as well.
    ///
    /// # Errors
    /// When no memory can be locked for its storage key.
    pub(crate) fn learn(&self, root: &Root) -> Result<(), LockError> {
        let key = storage_key(root)?;
        self.storage.write().unwrap_or_else(PoisonError::into_inner).insert(root.epoch, key);
        self.forget_readers(root.epoch);
        Ok(())
    }

    /// From now on records are sealed under that epoch. Those under way may still be sealed under the one before: whoever
    /// wants to know where the new ones begin looks at the end of the log after the call, and waits for another entry.
    ///
    /// # Errors
    /// [`NoSuchEpoch`].
    pub(crate) fn write_under(&self, epoch: u32) -> Result<(), NoSuchEpoch> {
        let storage = self.storage.read().unwrap_or_else(PoisonError::into_inner);
        let key = storage.get(&epoch).ok_or(NoSuchEpoch(epoch))?;
        let mut writer = self.writer.write().unwrap_or_else(PoisonError::into_inner);
        if writer.epoch != epoch {
            *writer = Arc::new(Writer::new(epoch, key, self.node));
        }
        Ok(())
    }

    /// Wipes the key of an epoch that nothing is left of.
    pub(crate) fn forget(&self, epoch: u32) {
        if self.writer.read().unwrap_or_else(PoisonError::into_inner).epoch != epoch {
            self.storage.write().unwrap_or_else(PoisonError::into_inner).remove(&epoch);
            self.forget_readers(epoch);
        }
    }

    /// How many records were opened that are not of the epoch which is written under: when everything on the disk can be
    /// read without it growing, older keys open nothing any more.
    pub(crate) fn opened_of_older(&self) -> u64 {
        self.opened_of_older.load(Ordering::Acquire)
    }

    fn forget_readers(&self, epoch: u32) {
        let mut readers = self.readers.write().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|(of, _, _), _| *of != epoch);
    }

    fn reader(&self, epoch: u32, kind: FileKind, salt: [u8; SALT_BYTES]) -> Result<Arc<Key>, Tampered> {
        let id = (epoch, kind_byte(kind), salt);
        if let Some(key) = self.readers.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(Arc::clone(key));
        }
        let storage = self.storage.read().unwrap_or_else(PoisonError::into_inner);
        let storage_key = storage.get(&epoch).ok_or(Tampered)?;
        let key = Arc::new(derive(&kdf::extract_sha512(&salt, storage_key.expose()), self.node, kind));
        let mut keys = self.readers.write().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= READERS_MAX {
            keys.pop_first();
        }
        keys.insert(id, Arc::clone(&key));
        Ok(key)
    }
}

impl Writer {
    fn new(epoch: u32, storage: &LockedSecret, node: NodeId) -> Self {
        let salt = crypto::entropy::array();
        let prk = kdf::extract_sha512(&salt, storage.expose());
        let keys = [FileKind::Log, FileKind::Snapshot, FileKind::Witness].map(|kind| (kind, derive(&prk, node, kind)));
        Self { epoch, salt, keys, counter: AtomicU64::new(0) }
    }
}

impl Envelope for StorageEnvelope {
    #[expect(clippy::expect_used, reason = "a record is far below AES-GCM's 64 GiB, its only bound here")]
    fn seal(&self, kind: FileKind, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let writer = Arc::clone(&self.writer.read().unwrap_or_else(PoisonError::into_inner));
        let counter = writer.counter.fetch_add(1, Ordering::Relaxed);
        let mut body = plain.to_vec();
        let key = writer.keys.iter().find(|(of, _)| *of == kind).map(|(_, key)| key);
        let key = key.expect("every kind has a writer");
        key.seal(nonce(counter), aad, &mut body).expect("a record is below the bound");
        let mut record = Vec::with_capacity(HEADER_BYTES + body.len());
        record.push(FORMAT);
        record.extend_from_slice(&writer.epoch.to_be_bytes());
        record.extend_from_slice(&writer.salt);
        record.extend_from_slice(&counter.to_be_bytes());
        record.append(&mut body);
        record
    }

    fn open(&self, kind: FileKind, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Tampered> {
        let (format, rest) = sealed.split_first().ok_or(Tampered)?;
        let (epoch, rest) = rest.split_first_chunk::<EPOCH_BYTES>().ok_or(Tampered)?;
        let (salt, rest) = rest.split_first_chunk::<SALT_BYTES>().ok_or(Tampered)?;
        let (counter, body) = rest.split_first_chunk::<COUNTER_BYTES>().ok_or(Tampered)?;
        if *format != FORMAT {
            return Err(Tampered);
        }
        let epoch = u32::from_be_bytes(*epoch);
        if epoch != self.writer.read().unwrap_or_else(PoisonError::into_inner).epoch {
            self.opened_of_older.fetch_add(1, Ordering::Release);
        }
        let mut plain = body.to_vec();
        let key = self.reader(epoch, kind, *salt)?;
        key.open(nonce(u64::from_be_bytes(*counter)), aad, &mut plain).map_err(|_| Tampered)?;
        Ok(plain)
    }
}

impl std::fmt::Debug for StorageEnvelope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StorageEnvelope(redacted)")
    }
}

fn storage_key(root: &Root) -> Result<LockedSecret, LockError> {
    LockedSecret::new(root.derive(&[b"storage"]).expose())
}

const fn kind_byte(kind: FileKind) -> u8 {
    match kind {
        FileKind::Log => 1,
        FileKind::Snapshot => 2,
        FileKind::Witness => 3,
    }
}

/// The key of one salt, node and kind of file.
fn derive(prk: &Prk, node: NodeId, kind: FileKind) -> Key {
    Key::new(prk.expand(&[b"chancery storage writer v1", &node.0.to_be_bytes(), &[kind_byte(kind)]]).expose())
}

/// The counter never repeats under a writer key: it only grows, and the next writer draws another salt.
fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    if let Some(tail) = nonce.last_chunk_mut::<8>() {
        *tail = counter.to_be_bytes();
    }
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(root: &Root, node: u64) -> StorageEnvelope {
        StorageEnvelope::new(&[], root, NodeId(node)).expect("locks")
    }

    #[test]
    fn records_of_both_epochs_open_until_the_older_is_forgotten() {
        let (old, new) = (Root::draw(1).expect("locks"), Root::draw(2).expect("locks"));
        let running = envelope(&old, 1);
        let before = running.seal(FileKind::Log, b"place", b"before");
        assert_eq!(running.write_under(2), Err(NoSuchEpoch(2)));
        running.learn(&new).expect("locks");
        let staged = running.seal(FileKind::Log, b"place", b"staged");
        running.write_under(2).expect("knows it");
        let after = running.seal(FileKind::Log, b"place", b"after");
        let restarted = StorageEnvelope::new(&[&old], &new, NodeId(1)).expect("locks");
        for node in [&running, &restarted] {
            assert_eq!(node.open(FileKind::Log, b"place", &before).as_deref(), Ok(b"before".as_slice()));
            assert_eq!(node.open(FileKind::Log, b"place", &after).as_deref(), Ok(b"after".as_slice()));
        }
        // What is written before the change opens without the new key, what is written after it without the old one.
        assert!(envelope(&old, 1).open(FileKind::Log, b"place", &staged).is_ok());
        assert!(envelope(&old, 1).open(FileKind::Log, b"place", &after).is_err());
        assert!(envelope(&new, 1).open(FileKind::Log, b"place", &after).is_ok());
        running.forget(2);
        running.forget(1);
        assert_eq!(running.open(FileKind::Log, b"place", &before), Err(Tampered));
        assert!(running.open(FileKind::Log, b"place", &after).is_ok(), "the key in use is kept");
    }

    #[test]
    fn the_next_start_opens_what_this_one_sealed_and_nobody_else_does() {
        let root = Root::draw(1).expect("locks");
        let first = envelope(&root, 1);
        let sealed = first.seal(FileKind::Log, b"place", b"payload");
        assert_eq!(envelope(&root, 1).open(FileKind::Log, b"place", &sealed).as_deref(), Ok(b"payload".as_slice()));
        assert_eq!(envelope(&root, 2).open(FileKind::Log, b"place", &sealed), Err(Tampered));
        assert_eq!(first.open(FileKind::Snapshot, b"place", &sealed), Err(Tampered));
        assert_eq!(first.open(FileKind::Log, b"other", &sealed), Err(Tampered));
        let other = Root::draw(1).expect("locks");
        assert_eq!(envelope(&other, 1).open(FileKind::Log, b"place", &sealed), Err(Tampered));
    }

    #[test]
    fn every_bit_of_a_record_matters() {
        let root = Root::draw(1).expect("locks");
        let envelope = envelope(&root, 1);
        let sealed = envelope.seal(FileKind::Log, b"place", b"payload");
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(envelope.open(FileKind::Log, b"place", &changed), Err(Tampered), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(envelope.open(FileKind::Log, b"place", &sealed[..length]), Err(Tampered));
        }
    }

    #[test]
    fn no_two_records_share_key_and_nonce() {
        let root = Root::draw(1).expect("locks");
        let (first, second) = (envelope(&root, 1), envelope(&root, 1));
        let salt = |of: &StorageEnvelope| of.writer.read().expect("no panic").salt;
        assert_ne!(salt(&first), salt(&second));
        let a = first.seal(FileKind::Log, b"", b"same");
        let b = first.seal(FileKind::Log, b"", b"same");
        assert_ne!(a[37..45], b[37..45]);
    }
}

//! The cipher around everything Raft writes to disk: AES-256-GCM under a key that only this process start uses.
//!
//! `storage key = HKDF(root, "storage")`. Each process start draws a 32-byte salt; the writer key is
//! `HKDF(storage key, salt)` with the node and the kind of file in its info, and the nonce is a counter. Salt and
//! counter stand beside each record. So no nonce repeats under a key even when a torn tail is cut and written again,
//! and there is no bound that random nonces would reach. Record: `1 | salt(32) | counter(u64 BE) | ciphertext | tag`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use crypto::aead::Key;
use crypto::kdf::Prk;
use crypto::{LockedSecret, kdf};
use raft::{Envelope, FileKind, Tampered};
use types::NodeId;

const FORMAT: u8 = 1;
const SALT_BYTES: usize = 32;
const HEADER_BYTES: usize = 1 + SALT_BYTES + 8;
/// Reader keys kept: one per process start whose records are still on disk, at most.
const READERS_MAX: usize = 256;

/// Kind of file and salt of the start that wrote it.
type Reader = (u8, [u8; SALT_BYTES]);

/// The storage envelope of one process start.
pub(crate) struct StorageEnvelope {
    node: NodeId,
    storage: LockedSecret,
    salt: [u8; SALT_BYTES],
    writers: [(FileKind, Key); 3],
    counter: AtomicU64,
    /// Keys of earlier starts, derived when first met.
    readers: RwLock<BTreeMap<Reader, Arc<Key>>>,
}

impl StorageEnvelope {
    /// The envelope of this start.
    ///
    /// # Errors
    /// When no memory can be locked for the storage key.
    pub(crate) fn new(root: &LockedSecret, node: NodeId) -> Result<Self, crypto::locked::LockError> {
        let storage = kdf::extract_sha512(b"chancery root v1", root.expose()).expand(&[b"storage"]);
        let storage = LockedSecret::new(storage.expose())?;
        let salt = crypto::entropy::array();
        let prk = kdf::extract_sha512(&salt, storage.expose());
        let writers =
            [FileKind::Log, FileKind::Snapshot, FileKind::Witness].map(|kind| (kind, derive(&prk, node, kind)));
        Ok(Self { node, storage, salt, writers, counter: AtomicU64::new(0), readers: RwLock::default() })
    }

    fn reader(&self, kind: FileKind, salt: [u8; SALT_BYTES]) -> Arc<Key> {
        let id = (kind_byte(kind), salt);
        if let Some(key) = self.readers.read().ok().and_then(|keys| keys.get(&id).cloned()) {
            return key;
        }
        let key = Arc::new(derive(&kdf::extract_sha512(&salt, self.storage.expose()), self.node, kind));
        if let Ok(mut keys) = self.readers.write() {
            if keys.len() >= READERS_MAX {
                keys.pop_first();
            }
            keys.insert(id, Arc::clone(&key));
        }
        key
    }
}

impl Envelope for StorageEnvelope {
    #[expect(clippy::expect_used, reason = "a record is far below AES-GCM's 64 GiB, its only bound here")]
    fn seal(&self, kind: FileKind, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        let mut body = plain.to_vec();
        let key = self.writers.iter().find(|(of, _)| *of == kind).map(|(_, key)| key);
        let key = key.expect("every kind has a writer");
        key.seal(nonce(counter), aad, &mut body).expect("a record is below the bound");
        let mut record = Vec::with_capacity(HEADER_BYTES + body.len());
        record.push(FORMAT);
        record.extend_from_slice(&self.salt);
        record.extend_from_slice(&counter.to_be_bytes());
        record.append(&mut body);
        record
    }

    fn open(&self, kind: FileKind, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Tampered> {
        let (format, rest) = sealed.split_first().ok_or(Tampered)?;
        let (salt, rest) = rest.split_first_chunk::<SALT_BYTES>().ok_or(Tampered)?;
        let (counter, body) = rest.split_first_chunk::<8>().ok_or(Tampered)?;
        if *format != FORMAT {
            return Err(Tampered);
        }
        let mut plain = body.to_vec();
        let key = self.reader(kind, *salt);
        key.open(nonce(u64::from_be_bytes(*counter)), aad, &mut plain).map_err(|_| Tampered)?;
        Ok(plain)
    }
}

impl std::fmt::Debug for StorageEnvelope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StorageEnvelope(redacted)")
    }
}

const fn kind_byte(kind: FileKind) -> u8 {
    match kind {
        FileKind::Log => 1,
        FileKind::Snapshot => 2,
        FileKind::Witness => 3,
    }
}

/// The key of one process start, node and kind of file.
fn derive(prk: &Prk, node: NodeId, kind: FileKind) -> Key {
    Key::new(prk.expand(&[b"chancery storage writer v1", &node.0.to_be_bytes(), &[kind_byte(kind)]]).expose())
}

/// The counter never repeats under a writer key: it only grows, and the next start draws another salt.
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

    fn envelope(root: &LockedSecret, node: u64) -> StorageEnvelope {
        StorageEnvelope::new(root, NodeId(node)).expect("locks")
    }

    #[test]
    fn the_next_start_opens_what_this_one_sealed_and_nobody_else_does() {
        let root = crypto::entropy::locked().expect("locks");
        let first = envelope(&root, 1);
        let sealed = first.seal(FileKind::Log, b"place", b"payload");
        assert_eq!(envelope(&root, 1).open(FileKind::Log, b"place", &sealed).as_deref(), Ok(b"payload".as_slice()));
        assert_eq!(envelope(&root, 2).open(FileKind::Log, b"place", &sealed), Err(Tampered));
        assert_eq!(first.open(FileKind::Snapshot, b"place", &sealed), Err(Tampered));
        assert_eq!(first.open(FileKind::Log, b"other", &sealed), Err(Tampered));
        let other = crypto::entropy::locked().expect("locks");
        assert_eq!(envelope(&other, 1).open(FileKind::Log, b"place", &sealed), Err(Tampered));
    }

    #[test]
    fn every_bit_of_a_record_matters() {
        let root = crypto::entropy::locked().expect("locks");
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
        let root = crypto::entropy::locked().expect("locks");
        let (first, second) = (envelope(&root, 1), envelope(&root, 1));
        assert_ne!(first.salt, second.salt);
        let a = first.seal(FileKind::Log, b"", b"same");
        let b = first.seal(FileKind::Log, b"", b"same");
        assert_ne!(a[33..41], b[33..41]);
    }
}

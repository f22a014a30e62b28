//! Hashes of executables, remembered by file identity. The kernel refuses writes to a running executable (ETXTBSY), and
//! nobody without privileges can set a change time back, so device, inode, size and both times name one content.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};

use types::limits::{EXECUTABLE_BYTES_MAX, EXECUTABLE_HASHES_MAX};

/// What tells one content of a file from another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Version {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Version {
    fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

/// The hashes of the executables seen last.
#[derive(Default, Debug)]
pub(crate) struct Hashes {
    known: Mutex<Known>,
}

#[derive(Default, Debug)]
struct Known {
    /// With the count at which it was last asked for.
    hashes: BTreeMap<Version, ([u8; 32], u64)>,
    asked: u64,
}

impl Hashes {
    /// SHA-256 of a whole file; `None` for one over the size limit. Blocks while it reads.
    ///
    /// # Errors
    /// When the file cannot be read or changes meanwhile.
    pub(crate) fn sha256(&self, mut file: File) -> io::Result<Option<[u8; 32]>> {
        let version = Version::of(&file.metadata()?);
        if version.size > EXECUTABLE_BYTES_MAX {
            tracing::warn!(bytes = version.size, "an executable is too large to be hashed");
            return Ok(None);
        }
        if let Some(hash) = self.lock().recall(version) {
            return Ok(Some(hash));
        }
        let hash = hash_of(&mut file)?;
        if Version::of(&file.metadata()?) != version {
            return Err(io::Error::other("the executable changed while it was hashed"));
        }
        self.lock().remember(version, hash);
        Ok(Some(hash))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        // Every state that a panic could leave is a valid one.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn recall(&mut self, version: Version) -> Option<[u8; 32]> {
        self.asked += 1;
        let (hash, asked) = self.hashes.get_mut(&version)?;
        *asked = self.asked;
        Some(*hash)
    }

    fn remember(&mut self, version: Version, hash: [u8; 32]) {
        if self.hashes.len() >= EXECUTABLE_HASHES_MAX {
            let oldest = self.hashes.iter().min_by_key(|(_, (_, asked))| *asked).map(|(version, _)| *version);
            oldest.and_then(|version| self.hashes.remove(&version));
        }
        self.hashes.insert(version, (hash, self.asked));
    }
}

fn hash_of(file: &mut File) -> io::Result<[u8; 32]> {
    let mut hash = crypto::hash::Sha256::new();
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hash.finish()),
            Ok(count) => hash.update(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_has_a_new_hash() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("program");
        let hashes = Hashes::default();
        for content in [&b"one"[..], b"three", b""] {
            std::fs::write(&path, content).expect("writes");
            for _again in 0..2 {
                let hash = hashes.sha256(File::open(&path).expect("opens")).expect("reads");
                assert_eq!(hash, Some(crypto::hash::sha256(content)));
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_keeps_what_is_used() {
        let version = |inode| Version { device: 0, inode, size: 0, modified: (0, 0), changed: (0, 0) };
        let mut known = Known::default();
        known.remember(version(0), [7; 32]);
        for inode in 1..=2 * EXECUTABLE_HASHES_MAX as u64 {
            assert_eq!(known.recall(version(0)), Some([7; 32]));
            known.remember(version(inode), [0; 32]);
        }
        assert_eq!(known.hashes.len(), EXECUTABLE_HASHES_MAX);
    }
}

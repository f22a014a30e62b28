//! The data folder: what lies where, that one process uses it at a time, and that a file is either old or new.
//!
//! It does not know what the files mean.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A node's folder, locked for this process.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Holds the advisory lock for as long as the node lives.
    _lock: File,
}

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Reading or writing failed.
    #[error("cannot {what} `{}`: {source}", path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process has it.
    #[error("the data folder `{}` is in use by another process", path.display())]
    InUse {
        /// Which folder.
        path: PathBuf,
    },
    /// A private file may be read by others.
    #[error("`{}` may be read by others (mode {mode:o}): run `chmod 600` on it", path.display())]
    LooseMode {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file does not say what it should.
    #[error("`{}` is damaged or of another version: {reason}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Folder {
    /// Makes the folder if it is not there, closes it to others, and locks it.
    ///
    /// # Errors
    /// When another process holds it or it cannot be made.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let failed = |what| move |source| FolderError::Io { what, path: path.to_owned(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make"))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(failed("lock"))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| FolderError::InUse { path: path.to_owned() })?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file or folder in it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads a private file; `None` when there is none.
    ///
    /// # Errors
    /// When it may be read by others, or not by us.
    pub fn read_private(&self, name: &str) -> Result<Option<Vec<u8>>, FolderError> {
        let path = self.join(name);
        let mode = match std::fs::metadata(&path) {
            Ok(metadata) => metadata.permissions().mode() & 0o777,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(FolderError::Io { what: "read", path, source }),
        };
        if mode & 0o077 != 0 {
            return Err(FolderError::LooseMode { path, mode });
        }
        std::fs::read(&path).map(Some).map_err(|source| FolderError::Io { what: "read", path, source })
    }

    /// Writes a private file so that after a crash it is the old one or the new one, whole: temporary file, fsync,
    /// rename, fsync of the folder.
    ///
    /// # Errors
    /// When any step fails; the old file is then still there.
    pub fn write_private(&self, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
        let path = self.join(name);
        replace(&path, bytes).map_err(|source| FolderError::Io { what: "write", path, source })
    }

    /// Reads a JSON document; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read or does not say what it should.
    pub fn read_json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, FolderError> {
        let Some(bytes) = self.read_private(name)? else { return Ok(None) };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| FolderError::Damaged { path: self.join(name), reason: error.to_string() })
    }

    /// Writes a JSON document as [`Folder::write_private`] does.
    ///
    /// # Errors
    /// When any step fails.
    pub fn write_json<T: serde::Serialize>(&self, name: &str, value: &T) -> Result<(), FolderError> {
        let bytes = serde_json::to_vec_pretty(value)
            .map_err(|error| FolderError::Damaged { path: self.join(name), reason: error.to_string() })?;
        self.write_private(name, &bytes)
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut temporary = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(std::fs::Permissions::from_mode(0o600))
        .tempfile_in(folder)?;
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_serves_one_process_at_a_time() {
        let temporary = tempfile::tempdir().expect("a folder");
        let first = Folder::open(temporary.path()).expect("opens");
        assert!(matches!(Folder::open(temporary.path()), Err(FolderError::InUse { .. })));
        drop(first);
        Folder::open(temporary.path()).expect("opens again");
    }

    #[test]
    fn private_files_are_closed_to_others_and_loose_ones_refused() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(temporary.path()).expect("opens");
        assert!(folder.read_private("key").expect("reads").is_none());
        folder.write_private("key", b"secret").expect("writes");
        assert_eq!(folder.read_private("key").expect("reads").as_deref(), Some(b"secret".as_slice()));
        std::fs::set_permissions(folder.join("key"), std::fs::Permissions::from_mode(0o640)).expect("chmod");
        assert!(matches!(folder.read_private("key"), Err(FolderError::LooseMode { mode: 0o640, .. })));
    }
}

//! The data folder: what lies where, that one process uses it at a time, and that a file is either old or new.
//!
//! It does not know what the files mean.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use chancery_client::private_file::{self, FileError, Lock};

/// A node's folder, locked for this process.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Holds the advisory lock for as long as the node lives.
    _lock: Lock,
}

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file in it cannot be read or written, or others could.
    #[error(transparent)]
    File(#[from] FileError),
    /// The lock cannot be taken for a reason other than another process.
    #[error("cannot lock the data folder `{}`: {source}", path.display())]
    Lock {
        /// Which folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It lies on a file system that is mounted read-only.
    #[error("the data folder `{}` is on a read-only file system: a node writes before it answers, so mount it read-write and start again; nothing was changed", path.display())]
    ReadOnly {
        /// Which folder.
        path: PathBuf,
    },
    /// Another process has it.
    #[error("the data folder `{}` is in use by another process", path.display())]
    InUse {
        /// Which folder.
        path: PathBuf,
    },
}

impl Folder {
    /// Makes the folder if it is not there, checks that it is closed to others, and locks it.
    ///
    /// # Errors
    /// When another process holds it, others may enter it, or it cannot be made.
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        private_file::create_folder(path)?;
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::ReadOnlyFilesystem => FolderError::ReadOnly { path: path.to_owned() },
            _ => FolderError::Lock { path: path.to_owned(), source },
        };
        match Lock::take(&path.join("lock")).map_err(failed)? {
            Some(lock) => Ok(Self { path: path.to_owned(), _lock: lock }),
            None => Err(FolderError::InUse { path: path.to_owned() }),
        }
    }

    /// The folder itself.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A file or folder in it.
    #[must_use]
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads a private file; `None` when there is none.
    ///
    /// # Errors
    /// When it may be read by others, or not by us.
    pub(crate) fn read_private(&self, name: &str) -> Result<Option<Vec<u8>>, FolderError> {
        match private_file::read(&self.join(name)) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a private file so that after a crash it is the old one or the new one, whole.
    ///
    /// # Errors
    /// When any step fails; the old file is then still there.
    pub(crate) fn write_private(&self, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
        Ok(private_file::write(&self.join(name), bytes)?)
    }

    /// Removes a file, and syncs the folder; one that is not there is not missed.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn remove(&self, name: &str) -> Result<(), FolderError> {
        let path = self.join(name);
        let failed = |source| FolderError::File(FileError::Io { path: path.clone(), source });
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(error)),
            Ok(()) => File::open(&self.path).and_then(|folder| folder.sync_all()).map_err(failed),
        }
    }

    /// Reads a JSON document; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read or does not say what it should.
    pub(crate) fn read_json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, FolderError> {
        let Some(bytes) = self.read_private(name)? else { return Ok(None) };
        let read = serde_json::from_slice(&bytes).map(Some);
        Ok(read.map_err(|error| FileError::damaged(&self.join(name), error))?)
    }

    /// Writes a JSON document as [`Folder::write_private`] does.
    ///
    /// # Errors
    /// When any step fails.
    pub(crate) fn write_json<T: serde::Serialize>(&self, name: &str, value: &T) -> Result<(), FolderError> {
        let bytes = serde_json::to_vec_pretty(value).map_err(|error| FileError::damaged(&self.join(name), error))?;
        self.write_private(name, &bytes)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    pub(crate) fn temporary() -> tempfile::TempDir {
        tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o700)).tempdir().expect("a folder")
    }

    #[test]
    fn a_folder_serves_one_process_at_a_time() {
        let temporary = temporary();
        let first = Folder::open(temporary.path()).expect("opens");
        assert!(matches!(Folder::open(temporary.path()), Err(FolderError::InUse { .. })));
        drop(first);
        Folder::open(temporary.path()).expect("opens again");
    }

    #[test]
    fn private_files_are_closed_to_others_and_loose_ones_refused() {
        let temporary = temporary();
        let folder = Folder::open(temporary.path()).expect("opens");
        assert!(folder.read_private("key").expect("reads").is_none());
        folder.write_private("key", b"secret").expect("writes");
        assert_eq!(folder.read_private("key").expect("reads").as_deref(), Some(b"secret".as_slice()));
        std::fs::set_permissions(folder.join("key"), std::fs::Permissions::from_mode(0o640)).expect("chmod");
        assert!(matches!(folder.read_private("key"), Err(FolderError::File(FileError::LooseMode { .. }))));
    }
}

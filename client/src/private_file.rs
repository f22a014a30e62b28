//! Files that hold secrets or decide whom we trust: written whole or not at all, and read only when nobody else can.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// No file of ours is larger; a larger one is damage.
const FILE_BYTES_MAX: u64 = 1_024 * 1_024;

/// A file or folder could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read or write it.
    #[error(
        "`{}` has mode {mode:04o}, so others could read or change it: run chmod {expected:04o} on it", path.display()
    )]
    LooseMode {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What they should be.
        expected: u32,
    },
    /// It belongs to somebody else.
    #[error("`{}` belongs to user {owner}, not to you", path.display())]
    OtherOwner {
        /// Which file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Something else than a regular file stands there, which must not be replaced by one.
    #[error("`{}` is not a regular file", path.display())]
    NotRegular {
        /// Which.
        path: PathBuf,
    },
    /// It is not what it should be.
    #[error("`{}` is damaged: {why}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// In what way.
        why: String,
    },
}

impl FileError {
    /// Whether the file or folder is simply not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// The file does not hold what it should.
    pub fn damaged(path: &Path, why: impl std::fmt::Display) -> Self {
        Self::Damaged { path: path.to_owned(), why: why.to_string() }
    }

    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// A lock that one process has at a time, let go when this is dropped.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Takes it, making its file if it is not there; `None` when somebody else has it.
    ///
    /// # Errors
    /// When the file cannot be opened or locked.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for Lock {
    /// Closing the file is not enough: a process that this one is just starting has a copy of it until it becomes what it
    /// is to be.
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::debug!(%error, "a lock ends when its file is closed");
        }
    }
}

/// Writes the file so that after a crash either the old or the new content is there: a temporary file of mode 0600 in
/// the same folder, fsync, rename, fsync of the folder.
///
/// # Errors
/// When the system refuses; nothing has changed then.
pub fn write(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let folder = folder_of(path);
    // tempfile creates with O_EXCL and 0600 and removes the file unless it is persisted.
    let mut temporary = tempfile::NamedTempFile::new_in(folder).map_err(FileError::io(path))?;
    temporary.write_all(content).map_err(FileError::io(path))?;
    temporary.as_file().sync_all().map_err(FileError::io(path))?;
    temporary.persist(path).map_err(|error| FileError::io(path)(error.error))?;
    sync_folder(folder)
}

/// Refuses the path of an output at which a fifo, a device, a folder or a link stands: it would be replaced by a file,
/// and whoever uses it would never see what was written.
///
/// # Errors
/// When something other than a regular file is there.
pub fn check_replaceable(path: &Path) -> Result<(), FileError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(FileError::NotRegular { path: path.to_owned() }),
        // What cannot be looked at is for the writing to fail on.
        _ => Ok(()),
    }
}

/// As [`write()`], but refuses to replace a file that is there.
///
/// # Errors
/// When a file is there already or the system refuses.
pub fn write_new(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let folder = folder_of(path);
    let mut temporary = tempfile::NamedTempFile::new_in(folder).map_err(FileError::io(path))?;
    temporary.write_all(content).map_err(FileError::io(path))?;
    temporary.as_file().sync_all().map_err(FileError::io(path))?;
    temporary.persist_noclobber(path).map_err(|error| FileError::io(path)(error.error))?;
    sync_folder(folder)
}

/// Reads a file that nobody but us may read or write (mode 0600 or stricter). The checks and the reading are on one
/// open file, so it cannot be exchanged in between.
///
/// # Errors
/// When it is missing, not a regular file, too large, somebody else's, or open to others.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let file = open_checked(path, 0o600)?;
    let mut content = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content).map_err(FileError::io(path))?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(FileError::damaged(path, "it is larger than 1 MiB"));
    }
    Ok(content)
}

/// Makes a folder of mode 0700, and its parents; one that is there is checked as [`check_folder`] does.
///
/// # Errors
/// When the system refuses, or the folder is open to others.
pub fn create_folder(path: &Path) -> Result<(), FileError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(FileError::io(path))?;
    check_folder(path)
}

/// Refuses a folder that is not ours or that others may read, enter or change.
///
/// # Errors
/// As described, or when it is missing or no folder.
pub fn check_folder(path: &Path) -> Result<(), FileError> {
    let metadata = fs::metadata(path).map_err(FileError::io(path))?;
    if !metadata.is_dir() {
        return Err(FileError::Io { path: path.to_owned(), source: io::ErrorKind::NotADirectory.into() });
    }
    check(path, &metadata, 0o700)
}

fn open_checked(path: &Path, expected: u32) -> Result<File, FileError> {
    // O_NONBLOCK: a fifo in the place of the file must not hang us before the check that refuses it.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(FileError::io(path))?;
    let metadata = file.metadata().map_err(FileError::io(path))?;
    if !metadata.is_file() {
        return Err(FileError::damaged(path, "it is not a regular file"));
    }
    check(path, &metadata, expected)?;
    Ok(file)
}

fn check(path: &Path, metadata: &fs::Metadata, expected: u32) -> Result<(), FileError> {
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FileError::LooseMode { path: path.to_owned(), mode, expected });
    }
    let owner = metadata.uid();
    if owner != rustix::process::geteuid().as_raw() {
        return Err(FileError::OtherOwner { path: path.to_owned(), owner });
    }
    Ok(())
}

fn sync_folder(folder: &Path) -> Result<(), FileError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(FileError::io(folder))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_private_and_reads_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        write(&path, b"one").expect("writes");
        write(&path, b"two").expect("replaces");
        assert_eq!(read(&path).expect("reads"), b"two");
        assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, 0o600);
        assert!(write_new(&path, b"three").is_err());
        assert_eq!(read(&path).expect("reads"), b"two");
        assert_eq!(fs::read_dir(folder.path()).expect("lists").count(), 1, "no temporary file stays");
    }

    #[test]
    fn only_regular_files_may_be_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        check_replaceable(&file).expect("nothing is there");
        write(&file, b"x").expect("writes");
        check_replaceable(&file).expect("a file is there");
        std::os::unix::fs::symlink(&file, &link).expect("links");
        for other in [link.as_path(), folder.path(), Path::new("/dev/null")] {
            assert!(matches!(check_replaceable(other), Err(FileError::NotRegular { .. })), "{}", other.display());
        }
    }

    #[test]
    fn looser_modes_and_other_kinds_of_file_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        write(&path, b"x").expect("writes");
        for mode in [0o640, 0o604, 0o620, 0o601, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
            assert!(matches!(read(&path), Err(FileError::LooseMode { .. })), "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("chmod");
        assert_eq!(read(&path).expect("stricter is fine"), b"x");

        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o750)).expect("chmod");
        assert!(matches!(check_folder(folder.path()), Err(FileError::LooseMode { .. })));
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("chmod");
        check_folder(folder.path()).expect("0700 is fine");
        assert!(read(folder.path()).is_err());
        assert!(read(&folder.path().join("missing")).expect_err("missing").is_missing());
    }
}

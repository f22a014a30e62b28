//! Files that are either the old or the new one after a crash: temporary file, fsync, rename, fsync of the folder.

use std::io::{self, Write};
use std::path::Path;

use crate::system::fs::{self, File};
use crate::system::sync_folder;

/// Replaces a small file; blocks until it is on the disk.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    publish(&temporary, path)
}

/// Gives a file that has been synced its name; blocks until the name is on the disk.
pub(crate) fn publish(temporary: &Path, path: &Path) -> io::Result<()> {
    fs::rename(temporary, path)?;
    sync_folder_of(path)
}

/// Syncs the folder that holds `path`: a new or removed name is on the disk only after that.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_folder(folder)
}

//! Files that are either the old or the new one after a crash: temporary file, fsync, rename, fsync of the folder; and
//! large ones that go without holding up anybody else's sync.

use std::io::{self, Write};
use std::path::Path;

use crate::system::fs::{self, File, OpenOptions};
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

/// So much of a file is given back in one step.
const RELEASE_BYTES: u64 = 2 << 20;

/// Removes a large file from its end. A file system gives back all blocks of a removed file in one transaction of its
/// journal, and every sync of the log that comes meanwhile waits for that to end: 70 ms for 90 MB on ext4.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let mut length = file.metadata()?.len();
    while length > RELEASE_BYTES {
        length -= RELEASE_BYTES;
        file.set_len(length)?;
    }
    drop(file);
    fs::remove_file(path)
}

/// Syncs the folder that holds `path`: a new or removed name is on the disk only after that.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_folder(folder)
}

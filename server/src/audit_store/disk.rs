//! The few file operations that durability rests on, behind a trait so that tests can make each of them fail.
//!
//! Reading goes to `std::fs` directly: a reader that fails harms nobody.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// Makes log files appear.
pub(super) trait Disk: Send + Sync + 'static {
    /// Makes an empty file, replacing what is there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn LogFile>>;
    /// Opens a file to append after its first `len` bytes; what follows them is cut.
    fn open(&self, path: &Path, len: u64) -> io::Result<Box<dyn LogFile>>;
    /// Gives a synced file its name and makes the name durable.
    fn publish(&self, from: &Path, to: &Path) -> io::Result<()>;
}

/// One file that is only appended to.
pub(super) trait LogFile: Send {
    /// Appends all of the bytes; on an error some of them may be there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything appended durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file back to its first `len` bytes.
    fn cut(&mut self, len: u64) -> io::Result<()>;
}

/// The file system.
pub(super) struct RealDisk;

struct RealFile(File);

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        Ok(Box::new(RealFile(File::create(path)?)))
    }

    fn open(&self, path: &Path, len: u64) -> io::Result<Box<dyn LogFile>> {
        let mut file = RealFile(OpenOptions::new().write(true).open(path)?);
        file.cut(len)?;
        // The cut is durable before anything is appended, or a crash could bring the old bytes back after the new.
        file.0.sync_all()?;
        Ok(Box::new(file))
    }

    fn publish(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)?;
        let dir = to.parent().unwrap_or(Path::new("."));
        File::open(dir)?.sync_all()
    }
}

impl LogFile for RealFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)?;
        self.0.seek(SeekFrom::Start(len)).map(drop)
    }
}

//! The search index: sled, under a guard. It holds nothing that the logs do not, and nobody's answer waits for it.
//!
//! sled 0.34 panics on damaged files and loses what was not flushed; docs/spec/audit.md §5 says why neither matters.
//! On any doubt (a panic, an error, a summary that does not verify) the folder is deleted and the index begins again,
//! empty; until it has caught up, searches read the logs themselves.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use audit::LogName;
use types::limits::AUDIT_INDEX_CACHE_BYTES;

use super::summary::{Summary, key_of};

/// The index of one node.
pub(super) struct Index {
    dir: PathBuf,
    held: Mutex<Held>,
}

struct Held {
    /// `None` when it cannot be opened: searches go on without it.
    db: Option<sled::Db>,
    /// Counts the beginnings: a new one has its own folder, for sled gives its file lock back late.
    generation: u64,
    /// Blocks of each log below this one have been compared with the log since the start, or made since then.
    checked: BTreeMap<LogName, u64>,
}

/// Why the index is not believed.
struct Doubt(String);

impl Index {
    /// The index under `dir`, not opened yet: until [`Index::start`] nothing is found in it.
    pub(super) fn new(dir: &Path) -> Self {
        let generation = generations(dir).into_iter().max().unwrap_or(0);
        Self { dir: dir.to_owned(), held: Mutex::new(Held { db: None, generation, checked: BTreeMap::new() }) }
    }

    /// Opens it, or begins one; takes as long as sled does, while searches go on without. Never fails: without an
    /// index searches are slow, not wrong.
    pub(super) fn start(&self) {
        let generation = self.lock().generation;
        let opened = open_guarded(&folder(&self.dir, generation));
        let mut held = self.lock();
        match opened {
            Ok(db) => {
                held.db = Some(db);
                self.delete_others(generation);
            }
            Err(doubt) => self.begin_again(&mut held, &doubt),
        }
    }

    /// The summary of a block, if there is one and it has been compared with the log.
    pub(super) fn get(&self, log: LogName, block: u64) -> Option<Summary> {
        if block < self.checked(log) { self.stored(log, block) } else { None }
    }

    /// The summary of a block as it is stored.
    pub(super) fn stored(&self, log: LogName, block: u64) -> Option<Summary> {
        let key = key_of(log, block);
        self.guarded(|db| match db.get(&key) {
            Ok(None) => Ok(None),
            Ok(Some(bytes)) => Summary::from_bytes(&key, &bytes)
                .map(Some)
                .ok_or_else(|| Doubt(format!("the summary of block {block} of {log} does not verify"))),
            Err(error) => Err(Doubt(error.to_string())),
        })
        .flatten()
    }

    /// Stores the summary of a block; whether it is stored now.
    pub(super) fn put(&self, log: LogName, block: u64, summary: &Summary) -> bool {
        let key = key_of(log, block);
        let bytes = summary.to_bytes(&key);
        self.guarded(|db| db.insert(&key, bytes).map(drop).map_err(|error| Doubt(error.to_string()))).is_some()
    }

    /// The first block of a log that searches do not ask for yet.
    pub(super) fn checked(&self, log: LogName) -> u64 {
        self.lock().checked.get(&log).copied().unwrap_or(0)
    }

    /// Lets searches ask for one block more, unless the index has begun again meanwhile.
    pub(super) fn believe(&self, log: LogName, block: u64) {
        let mut held = self.lock();
        let checked = held.checked.entry(log).or_default();
        if *checked == block {
            *checked = block.saturating_add(1);
        }
    }

    /// Deletes everything and begins again.
    pub(super) fn distrust(&self, why: &str) {
        let mut held = self.lock();
        self.begin_again(&mut held, &Doubt(why.to_owned()));
    }

    /// How often it has begun again.
    #[cfg(test)]
    pub(super) fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Puts bytes where a summary belongs.
    #[cfg(test)]
    pub(super) fn plant(&self, key: &[u8], bytes: &[u8]) {
        self.guarded(|db| db.insert(key, bytes).map(drop).map_err(|error| Doubt(error.to_string())));
    }

    fn guarded<T>(&self, work: impl FnOnce(&sled::Db) -> Result<T, Doubt>) -> Option<T> {
        let mut held = self.lock();
        let db = held.db.as_ref()?;
        // The database is dropped and its files deleted after a panic, so nobody sees what it left half done.
        match catch_unwind(AssertUnwindSafe(|| work(db))) {
            Ok(Ok(value)) => Some(value),
            Ok(Err(doubt)) => {
                self.begin_again(&mut held, &doubt);
                None
            }
            Err(_) => {
                self.begin_again(&mut held, &Doubt("sled panicked".to_owned()));
                None
            }
        }
    }

    fn begin_again(&self, held: &mut Held, doubt: &Doubt) {
        tracing::warn!(why = doubt.0, "the audit search index is rebuilt from the audit logs");
        if let Some(db) = held.db.take() {
            // Dropping flushes, and what is being dropped is not trusted.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
        }
        held.generation = held.generation.saturating_add(1);
        held.checked.clear();
        self.delete_others(held.generation);
        held.db = open_guarded(&folder(&self.dir, held.generation))
            .inspect_err(|doubt| {
                tracing::error!(why = doubt.0, "there is no audit search index; searches read the logs")
            })
            .ok();
    }

    fn delete_others(&self, kept: u64) {
        for generation in generations(&self.dir).into_iter().filter(|generation| *generation != kept) {
            let path = folder(&self.dir, generation);
            if let Err(error) = std::fs::remove_dir_all(&path) {
                tracing::warn!(path = %path.display(), %error, "an old audit search index could not be deleted");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(db) = self.db.take() {
            // Dropping flushes, and sled panics when the disk fails; a node that stops for that has better last words.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
        }
    }
}

fn folder(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("index-{generation}"))
}

fn generations(dir: &Path) -> Vec<u64> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("index-")?.parse().ok()).collect()
}

fn open_guarded(path: &Path) -> Result<sled::Db, Doubt> {
    let open = || {
        let config = sled::Config::new().path(path).cache_capacity(AUDIT_INDEX_CACHE_BYTES);
        config.open().map_err(|error| Doubt(error.to_string()))
    };
    catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| Err(Doubt("sled panicked on open".to_owned())))
}

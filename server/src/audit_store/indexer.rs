//! Fills the search index in the background, block by block, from the durable records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use audit::{LogName, Record};
use types::limits::AUDIT_INDEX_BLOCK;

use super::error::ReadError;
use super::index::Index;
use super::log::Log;
use super::summary::Summary;

/// How long it waits for word of a new record before it looks by itself.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The background thread's work.
pub(super) struct Indexer {
    pub(super) logs: Arc<BTreeMap<LogName, Log>>,
    pub(super) index: Arc<Index>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Indexer {
    /// Works until it is told to stop.
    pub(super) fn run(self, word: &Receiver<()>) {
        self.index.start();
        while !self.stop.load(Ordering::Relaxed) {
            for (name, log) in self.logs.iter() {
                if let Err(error) = self.catch_up(*name, log) {
                    // Those who read the log are told; without its records there is nothing to index.
                    tracing::error!(log = %name, %error, "the audit log cannot be read for its search index");
                }
            }
            if word.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    /// Checks what the index holds of a log and makes what it does not.
    fn catch_up(&self, name: LogName, log: &Log) -> Result<(), ReadError> {
        while !self.stop.load(Ordering::Relaxed) {
            // Asked anew each time: an index in doubt begins again at 0.
            let block = self.index.checked(name);
            if block >= log.head().size / AUDIT_INDEX_BLOCK {
                break;
            }
            let end = (block + 1) * AUDIT_INDEX_BLOCK;
            match self.index.stored(name, block) {
                Some(summary) if read(log, end - 1, end)?.last().is_some_and(|last| summary.ends_with(last)) => {
                    self.index.believe(name, block);
                }
                Some(_) => self.index.distrust(&format!("block {block} of {name} is not of this log")),
                None => {
                    let summary = Summary::of(&read(log, end - AUDIT_INDEX_BLOCK, end)?);
                    if !self.index.put(name, block, &summary) {
                        break;
                    }
                    self.index.believe(name, block);
                }
            }
        }
        Ok(())
    }
}

fn read(log: &Log, from: u64, until: u64) -> Result<Vec<Record>, ReadError> {
    let mut records = Vec::new();
    log.records(from, until, |record| {
        records.push(record);
        true
    })?;
    Ok(records)
}

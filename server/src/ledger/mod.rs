//! What a restore must not bring back, told to a file outside of the cluster before anybody is told that it is gone
//! (docs/spec/ledger.md §3).
//!
//! Every open node keeps its file up; the leader waits for it before it answers. The file may lie on another machine, so
//! nothing here waits for it longer than a call may take.

mod file;

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crypto::sign::P256Signer;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use types::{Reason, Refusal, Time};

use crate::clock;
use crate::core::Core;
use crate::metrics::Metrics;
pub(crate) use file::Mark;
use file::{LedgerFault, LedgerFile};

/// How often a node looks whether its ledger lacks something.
const TICK: Duration = Duration::from_secs(5);
/// How long one call waits for the file: clients come back and wait on.
const PATIENCE: Duration = Duration::from_secs(2);

/// The ledger of this node.
#[derive(Debug)]
pub(crate) struct LedgerDesk {
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    path: PathBuf,
    /// Goes with the thread that writes: one that hangs on a dead mount is the only one.
    file: Arc<tokio::sync::Mutex<LedgerFile>>,
    behind: Mutex<Option<Behind>>,
    /// The entry of the last line.
    index: AtomicU64,
    failures: Counter<u64, AtomicU64>,
    is_behind: Gauge<i64, AtomicI64>,
}

/// A ledger that could not be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Behind {
    /// Since when, by this node's clock.
    pub since: Time,
    /// Why, the last time.
    pub why: String,
}

/// What a node says of its ledger.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct LedgerStatus {
    /// Whether it keeps one.
    pub kept: bool,
    /// The entry of its last line; zero before this node has looked.
    pub index: u64,
    /// None while it can be written.
    pub behind: Option<Behind>,
}

impl LedgerDesk {
    /// The desk for a file; without one there is no ledger.
    pub(crate) fn new(path: Option<PathBuf>, metrics: &Metrics) -> Self {
        let kept = path.map(|path| Kept {
            file: Arc::new(tokio::sync::Mutex::new(LedgerFile::new(path.clone()))),
            path,
            behind: Mutex::default(),
            index: AtomicU64::new(0),
            failures: metrics.ledger_failures.clone(),
            is_behind: metrics.ledger_behind.clone(),
        });
        Self { kept }
    }

    /// Whether there is one.
    pub(crate) const fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// What `cluster status` says of it.
    pub(crate) fn status(&self) -> LedgerStatus {
        self.kept.as_ref().map_or_else(LedgerStatus::default, |kept| LedgerStatus {
            kept: true,
            index: kept.index.load(Ordering::Relaxed),
            behind: kept.behind.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        })
    }
}

impl Kept {
    fn note(&self, fault: &LedgerFault) {
        tracing::error!(%fault, "the ledger cannot be written: whatever takes a right away is not answered");
        self.failures.inc();
        self.is_behind.set(1);
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        let since = behind.as_ref().map_or_else(clock::now, |behind| behind.since);
        *behind = Some(Behind { since, why: fault.to_string() });
    }

    fn note_written(&self, index: u64) {
        self.index.store(index, Ordering::Relaxed);
        self.is_behind.set(0);
        let behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Behind { since, .. }) = behind {
            tracing::info!(since = %since.to_rfc3339(), "the ledger is written again");
        }
    }
}

impl Core {
    /// Has everything in the ledger that this node's state knows to be gone; at once when no ledger is kept.
    ///
    /// # Errors
    /// [`Reason::LedgerPending`]: the change holds, and the same request is answered once the ledger has it.
    pub(crate) async fn tell_ledger(&self, mark: Mark) -> Result<(), Refusal> {
        let Some(kept) = &self.ledger.kept else { return Ok(()) };
        match tokio::time::timeout(PATIENCE, self.write_ledger(kept, mark)).await {
            Ok(Ok(index)) => {
                kept.note_written(index);
                Ok(())
            }
            Ok(Err(fault)) => Err(pending(kept, &fault)),
            Err(_) => Err(pending(kept, &LedgerFault::Slow { path: kept.path.clone() })),
        }
    }

    async fn write_ledger(&self, kept: &Kept, mark: Mark) -> Result<u64, LedgerFault> {
        let mut file = Arc::clone(&kept.file).lock_owned().await;
        // Of now: whoever waited for the lock may find that it was told meanwhile.
        let state = self.state();
        let row = state.cluster().ok_or(LedgerFault::Key)?;
        let pkcs8 = self.keyring.cluster_key(state.root_epoch(), &row.key_wrapped).map_err(|_| LedgerFault::Key)?;
        let signer = P256Signer::from_pkcs8(pkcs8.expose()).map_err(|_| LedgerFault::Key)?;
        let written = tokio::task::spawn_blocking(move || file.append(&state, &signer, mark)).await;
        let end = written.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        Ok(end.last.1)
    }

    /// Whether the entry at `index` took something away that no ledger knows of, because this node keeps none.
    pub(crate) fn is_unledgered(&self, index: u64) -> bool {
        !self.ledger.is_kept() && self.state().withdrew(index)
    }

    /// Keeps the ledger up with what this node has applied, whoever leads, until the node closes.
    pub(crate) async fn keep_ledger(self: Arc<Self>) {
        if !self.ledger.is_kept() {
            return;
        }
        loop {
            if self.state().is_formed() {
                // What went wrong is noted there.
                let _ = self.tell_ledger(Mark::WhenOld).await;
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }
}

fn pending(kept: &Kept, fault: &LedgerFault) -> Refusal {
    kept.note(fault);
    let text = format!(
        "the change is committed and holds on every node, but the ledger does not have it yet: {fault}; the same request is \
         answered once it has"
    );
    Refusal::new(Reason::LedgerPending, text)
}

//! Backups by themselves: one in the folder whenever the newest there is old enough.
//!
//! What is due is asked of the folder, so a restart neither forgets a backup nor repeats one. A failure is tried again; it
//! never ends the task and never costs a backup that is there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use audit::{Detail, Event, Outcome, Text};
use tokio_util::sync::CancellationToken;
use types::{Action, Principal, Reason, Refusal, Time};

use super::making::Making;
use super::{hex, store};
use crate::clock;
use crate::core::Core;
use crate::node::Node;

/// How often it is asked what is due.
const TICK: Duration = Duration::from_secs(10);
/// How soon a backup that failed is tried again.
const AGAIN: Duration = Duration::from_secs(300);

/// The task of one open node.
pub(crate) struct Schedule {
    pub(crate) node: Arc<Node>,
    pub(crate) core: Arc<Core>,
    pub(crate) stop: CancellationToken,
}

/// A backup that was written.
struct Done {
    name: String,
    bytes: u64,
    body_sha256: [u8; 32],
    removed: usize,
}

impl Schedule {
    /// Runs until the node closes; at once over without a folder and an interval.
    pub(crate) async fn run(self) {
        let settings = &self.node.config.backup;
        let (Some(folder), Some(every)) = (settings.folder.clone(), settings.every) else { return };
        let (cluster, node) = (self.core.cluster.to_hex(), self.core.node.0);
        let asked = folder.clone();
        let found = tokio::task::spawn_blocking(move || store::newest(&asked, &cluster, node)).await;
        let mut newest = found.ok().flatten();
        loop {
            let mut pause = TICK;
            if is_due(newest, every) {
                match self.back_up(&folder).await {
                    Ok(()) => newest = Some(clock::now()),
                    Err(()) => pause = AGAIN,
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause.min(every)) => {}
            }
        }
    }

    /// Makes one and records how that went.
    async fn back_up(&self, folder: &std::path::Path) -> Result<(), ()> {
        let made = self.make(folder.to_owned()).await;
        let mut event = Event::allowed(clock::now(), Principal::Node(self.core.node), Action::CreateBackup);
        event.resource = Text::clipped(&format!("nodes/{}", self.core.node.0));
        let done = match made {
            Ok(Done { name, bytes, body_sha256, removed }) => {
                self.node.metrics.backups.inc();
                tracing::info!(name, bytes, removed, "a backup was written");
                event.detail = Detail::new()
                    .text("name", &name)
                    .count("bytes", bytes)
                    .text("body_sha256", &hex(&body_sha256))
                    .count("removed", removed as u64);
                Ok(())
            }
            Err(refusal) => {
                self.node.metrics.backups_failed.inc();
                tracing::error!(%refusal, folder = %folder.display(), "a backup was not written; the earlier ones stay");
                event.outcome = Outcome::Fail(refusal.reason);
                Err(())
            }
        };
        if let Err(refusal) = self.core.record(event).await {
            tracing::warn!(%refusal, "the record of a backup could not be written");
        }
        done
    }

    async fn make(&self, folder: PathBuf) -> Result<Done, Refusal> {
        let internal = |error: &dyn std::fmt::Display| Refusal::new(Reason::Internal, error.to_string());
        let making = Making::begin(&self.node, &self.core).await?;
        let keep = self.node.config.backup.keep;
        let done = tokio::task::spawn_blocking(move || {
            let mut written = None;
            let name = store::keep(&folder, making.manifest(), |mut out| {
                written = Some(making.write(&mut out)?);
                Ok(())
            });
            let name = name.map_err(|error| internal(&error))?;
            let removed = store::trim(&folder, making.manifest(), keep).map_err(|error| internal(&error))?;
            let written = written.ok_or_else(|| internal(&"nothing was written"))?;
            Ok(Done { name, bytes: written.bytes, body_sha256: written.body_sha256, removed })
        });
        done.await.map_err(|error| internal(&error))?
    }
}

/// A newest that lies ahead is of a clock that was wrong: then one is due as well.
fn is_due(newest: Option<Time>, every: Duration) -> bool {
    let (now, every) = (clock::now(), u64::try_from(every.as_millis()).unwrap_or(u64::MAX));
    newest.is_none_or(|newest| newest > now || now.since(newest).0 >= every)
}

//! From a folder to a member's parts: the log, the snapshots, the state of the newest good one.
//!
//! A member whose snapshots are all damaged takes one from another member. Its log is not repaired: one that has forgotten
//! is refused.

use std::sync::Arc;

use tokio::sync::watch;

use crate::apply::Applier;
use crate::config::Config;
use crate::envelope::{Envelope, Owner};
use crate::error::OpenError;
use crate::log::{self, LogStore};
use crate::machine::Machine;
use crate::member::Members;
use crate::peer::{self, Pool};
use crate::room::Gauge;
use crate::snapshot::{Cipher, Shelf, SnapshotFile};
use crate::system::blocking;
use crate::type_config::LogId;

/// What the disk held.
pub(crate) struct Disk<M: Machine> {
    pub(crate) log: LogStore,
    pub(crate) shelf: Shelf,
    pub(crate) gauge: Gauge,
    pub(crate) applier: Applier<M>,
}

/// Opens log and snapshots and loads the newest good one, a member's if none is good.
pub(crate) async fn open<M: Machine>(
    config: &Config,
    machine: M,
    envelope: Arc<dyn Envelope>,
    members: watch::Sender<Arc<Members>>,
    pool: &Pool,
    seed: &Members,
) -> Result<Disk<M>, OpenError> {
    let settings = config.clone();
    let (mut log, shelf, newest) = at_disk(move || open_files(&settings, envelope)).await?;
    let newest = match log.purged() {
        Some(purged) if reached(newest.as_ref()) < Some(purged) => {
            Some(repair(config, &mut log, &shelf, purged, pool, seed).await?)
        }
        _ => newest,
    };
    let (folder, loader) = (config.snapshot_folder(), shelf.clone());
    let applier = at_disk(move || {
        Applier::start(machine, loader, newest.as_ref(), members)
            .map_err(OpenError::io(format!("cannot load the newest snapshot in `{}`", folder.display())))
    })
    .await?;
    let (settings, folder) = (config.clone(), config.folder.display().to_string());
    let gauge = at_disk(move || {
        Gauge::open(&settings).map_err(OpenError::io(format!("cannot look at the disk that holds `{folder}`")))
    })
    .await?;
    Ok(Disk { log, shelf, gauge, applier })
}

fn open_files(
    config: &Config,
    envelope: Arc<dyn Envelope>,
) -> Result<(LogStore, Shelf, Option<SnapshotFile>), OpenError> {
    let folder = config.snapshot_folder();
    let log = log::open(config, Arc::clone(&envelope))?;
    let owner = Owner { cluster: config.cluster, node: config.node };
    let read = |what: &'static str| OpenError::io(format!("{what} `{}`", folder.display()));
    let shelf =
        Shelf::open(folder.clone(), Cipher { owner, envelope }).map_err(read("cannot open the snapshots in"))?;
    let newest = shelf.newest_good().map_err(read("cannot read the snapshots in"))?;
    Ok((log, shelf, newest))
}

/// Takes a snapshot from a member, one that reaches up to where the log begins.
async fn repair(
    config: &Config,
    log: &mut LogStore,
    shelf: &Shelf,
    purged: LogId,
    pool: &Pool,
    seed: &Members,
) -> Result<SnapshotFile, OpenError> {
    let failed = |why| OpenError::NoSnapshot { folder: config.snapshot_folder(), purged: purged.index, why };
    tracing::error!(purged = purged.index, "no snapshot of this node reads; asking the other members for one");
    let file = peer::fetch(pool, shelf, seed, purged, config.repair_patience).await.map_err(failed)?;
    if let Some(upto) = file.meta().last_log_id {
        log.drop_conflicting(upto).await.map_err(|error| failed(error.to_string()))?;
    }
    Ok(file)
}

fn reached(newest: Option<&SnapshotFile>) -> Option<LogId> {
    newest.and_then(|file| file.meta().last_log_id)
}

async fn at_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, OpenError> {
    blocking(move || Ok(work())).await.map_err(|error| OpenError::Fatal(error.to_string()))?
}

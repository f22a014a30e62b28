//! `chancery backup restore`: from a backup to a data folder that `chancery server` starts from.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use server::backup::restore::{Order, Restored, Step, restore};
use server::config::{Config, Settings};
use types::Generation;

use super::backup::{Opening, Origin, on_disk};
use super::init::{ShareArgs, keep_shares};
use super::server::NodeArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Show, note};
use crate::progress::Progress;
use crate::values::minute;

/// Arguments of `backup restore`.
#[derive(Args, Debug)]
pub(crate) struct RestoreArgs {
    /// The backup
    #[arg(long, value_name = "FILE")]
    backup: PathBuf,
    #[command(flatten)]
    opening: Opening,
    #[command(flatten)]
    origin: Origin,
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    shares: ShareArgs,
    /// What the old nodes knew may be in others' hands: their authorities are tainted instead of drained
    #[arg(long)]
    compromised: bool,
    /// The latest generation that there has been, if the cluster was restored before and this backup is older than that
    #[arg(long, value_name = "N", default_value_t = 0)]
    seen_generation: u64,
}

#[derive(Serialize)]
struct RestoredView {
    cluster_id: String,
    generation: u64,
    node: u64,
    data_dir: PathBuf,
    keys: u64,
    versions_unwrapped: u64,
    probes_decrypted: u64,
    namespaces_quarantined: u64,
    backup_created_time: String,
    backup_index: u64,
    #[serde(skip)]
    made: String,
    #[serde(skip)]
    shares_dir: Option<PathBuf>,
}

impl Show for RestoredView {
    fn text(&self) -> String {
        let Self { cluster_id, generation, node, data_dir, keys, namespaces_quarantined, made, .. } = self;
        let mut lines = vec![format!(
            "restored cluster {cluster_id} of {made} as generation {generation}: {keys} keys, node-{node} → {}",
            data_dir.display()
        )];
        if let Some(dir) = &self.shares_dir {
            let dir = dir.display();
            lines.push(format!("shares of the seal → {dir}: hand each to somebody else, then delete the folder"));
        }
        lines.push(format!(
            "next: chancery server --data-dir {} …; the other nodes join it with new tokens",
            data_dir.display()
        ));
        if *namespaces_quarantined > 0 {
            lines.push(format!(
                "{namespaces_quarantined} namespaces are in restore quarantine: look through what came back, then \
                 `chancery namespace release NAME` for each"
            ));
        }
        lines.join("\n")
    }
}

/// Restores. Ctrl-C leaves the data folder as it was.
pub(crate) async fn run(args: RestoreArgs, context: &Context) -> Result<(), Failure> {
    crate::private_memory::keep()?;
    let RestoreArgs { backup, opening, origin, node, shares, compromised, seen_generation } = args;
    let pinned = origin.pinned(context)?;
    let config = node.load(Settings::default())?;
    let identities = opening.required().await?;
    let seen = Generation::try_from(seen_generation)
        .map_err(|error| Failure::new(crate::exit::Exit::Invalid, error.to_string()))?;
    shares.make_folder()?;
    let counts = shares.seal_shares_dir.is_some().then_some((shares.seal_shares, shares.seal_threshold));
    let progress = Progress::new(std::fs::metadata(&backup).map(|metadata| metadata.len()).ok());
    let order = Order { config, backup, identities, pinned, compromised, seen, shares: counts };
    let (order, restored) = on_disk(move || {
        let restored = restore(&order, &mut |step| {
            if let Step::Reading(bytes) = step {
                progress.set(bytes);
            }
            Ok(())
        });
        restored.map(|restored| (order, restored)).map_err(Failure::from)
    })
    .await?;
    let Restored { verified, node, generation, quarantined, shares: drawn } = restored;
    keep_shares(shares.seal_shares_dir.as_deref(), drawn);
    if pinned.is_none() {
        note("note: whose backup it is was not compared (--other-cluster)");
    }
    let Config { data_dir, .. } = order.config;
    let manifest = &verified.inspected.manifest;
    let created = types::Time(manifest.created_time_ms);
    context.print(&RestoredView {
        cluster_id: manifest.cluster_id.clone(),
        generation: generation.get(),
        node: node.0,
        data_dir,
        keys: verified.keys,
        versions_unwrapped: verified.versions,
        probes_decrypted: verified.probes,
        namespaces_quarantined: quarantined,
        backup_created_time: created.to_rfc3339(),
        backup_index: manifest.index,
        made: minute(created),
        shares_dir: shares.seal_shares_dir,
    })
}

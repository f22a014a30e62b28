//! `chancery backup restore`: from a backup to a data folder that `chancery server` starts from.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use server::backup::Accounting;
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
    /// A ledger: what was destroyed or revoked after the backup stays so, and nothing is quarantined if it knows all of it; give
    /// every one that is left
    #[arg(long, value_name = "FILE")]
    ledger: Vec<PathBuf>,
    /// The clock of this machine is right although it is behind the backup, or far ahead of it
    #[arg(long)]
    clock_is_right: bool,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    quarantine_reason: Option<&'static str>,
    /// Things that the backup would have brought back.
    kept_back_by_ledger: u64,
    #[serde(skip)]
    ledgers: usize,
    backup_created_time: String,
    backup_index: u64,
    #[serde(skip)]
    made: String,
    has_admin: bool,
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
        if !self.has_admin {
            lines.push(
                "no admin is left in it: start it, then `chancery operator recover NAME --dir DATA_DIR`".to_owned(),
            );
        }
        if self.ledgers > 0 {
            let kept = self.kept_back_by_ledger;
            lines.push(format!(
                "{kept} things that were destroyed, revoked or withdrawn after the backup stay so, by the ledger; what was granted \
                 again since is to be granted once more"
            ));
        }
        if let Some(reason) = self.quarantine_reason.filter(|_| *namespaces_quarantined > 0) {
            lines.push(format!(
                "{namespaces_quarantined} namespaces are in restore quarantine: {reason}; look through what came back, then \
                 `chancery namespace release NAME` for each"
            ));
        }
        lines.join("\n")
    }
}

/// Restores. Ctrl-C leaves the data folder as it was.
pub(crate) async fn run(args: RestoreArgs, context: &Context) -> Result<(), Failure> {
    crate::private_memory::keep()?;
    let RestoreArgs {
        backup,
        ledger: ledgers,
        clock_is_right,
        opening,
        origin,
        node,
        shares,
        compromised,
        seen_generation,
    } = args;
    let pinned = origin.pinned(context)?;
    let config = node.load(Settings::default())?;
    let identities = opening.required().await?;
    let seen = Generation::try_from(seen_generation)
        .map_err(|error| Failure::new(crate::exit::Exit::Invalid, error.to_string()))?;
    shares.make_folder()?;
    let counts = shares.seal_shares_dir.is_some().then_some((shares.seal_shares, shares.seal_threshold));
    let progress = Progress::new(std::fs::metadata(&backup).map(|metadata| metadata.len()).ok());
    let trusts_clock = clock_is_right;
    let order = Order { config, backup, ledgers, trusts_clock, identities, pinned, compromised, seen, shares: counts };
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
    let Restored { verified, node, generation, quarantined, accounting, has_admin, shares: drawn } = restored;
    warn_of(&accounting);
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
        quarantine_reason: accounting.quarantine.map(|reason| reason.as_str()),
        kept_back_by_ledger: accounting.applied,
        ledgers: accounting.ledgers.len(),
        backup_created_time: created.to_rfc3339(),
        backup_index: manifest.index,
        made: minute(created),
        has_admin,
        shares_dir: shares.seal_shares_dir,
    })
}

/// What is to be known of ledgers that are not all that they could be.
fn warn_of(accounting: &Accounting) {
    for held in &accounting.ledgers {
        let path = held.path.display();
        if let Some(damage) = &held.damage {
            note(&format!("warning: `{path}`: {damage}; only what stands before that was carried out"));
        }
        if held.torn > 0 {
            note(&format!(
                "note: `{path}` ends in {} bytes of a write that was cut off: nobody was told of it",
                held.torn
            ));
        }
    }
}

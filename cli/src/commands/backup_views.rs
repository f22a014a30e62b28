//! What `chancery backup` prints.

use std::path::Path;

use chancery_client::proto::cluster::v1::{Backup, ListBackupsResponse};
use serde::Serialize;
use server::backup::{Inspected, Kept, Manifest, Verified};
use types::Time;

use super::backup::age;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Show, Table};
use crate::values::{from_wire_time, minute, size};
use crate::views::{fields, length, or_dash, seconds};

/// A backup that was made.
#[derive(Serialize)]
pub(crate) struct BackupView {
    file: String,
    size_bytes: u64,
    body_sha256: String,
    cluster_key_hash: String,
    #[serde(flatten)]
    manifest: Manifest,
}

impl BackupView {
    pub(crate) fn made(path: &Path, inspected: &Inspected) -> Self {
        Self {
            file: path.display().to_string(),
            size_bytes: inspected.bytes,
            body_sha256: hex(&inspected.body_sha256),
            cluster_key_hash: inspected.cluster_key_hash.to_hex(),
            manifest: inspected.manifest.clone(),
        }
    }
}

impl Show for BackupView {
    fn text(&self) -> String {
        let Self { file, size_bytes, manifest, .. } = self;
        let Manifest { index, node, namespaces, keys, recipients, .. } = manifest;
        format!(
            "{file}: {} at entry {index}, by node-{node}: {keys} keys in {namespaces} namespaces, sealed to {}",
            size(*size_bytes),
            recipients.join(", ")
        )
    }
}

/// What holds of a backup.
#[derive(Serialize)]
pub(crate) struct VerifiedView {
    complete: bool,
    signed_by_pinned_key: bool,
    content_verified: bool,
    size_bytes: u64,
    body_sha256: String,
    cluster_key_hash: String,
    versions_unwrapped: Option<u64>,
    probes_decrypted: Option<u64>,
    #[serde(flatten)]
    manifest: Manifest,
}

impl VerifiedView {
    pub(crate) fn structure(inspected: &Inspected, pinned: bool) -> Self {
        Self {
            complete: true,
            signed_by_pinned_key: pinned,
            content_verified: false,
            size_bytes: inspected.bytes,
            body_sha256: hex(&inspected.body_sha256),
            cluster_key_hash: inspected.cluster_key_hash.to_hex(),
            versions_unwrapped: None,
            probes_decrypted: None,
            manifest: inspected.manifest.clone(),
        }
    }

    pub(crate) fn content(verified: &Verified, pinned: bool) -> Self {
        Self {
            content_verified: true,
            versions_unwrapped: Some(verified.versions),
            probes_decrypted: Some(verified.probes),
            ..Self::structure(&verified.inspected, pinned)
        }
    }
}

impl Show for VerifiedView {
    fn text(&self) -> String {
        let Manifest { cluster_id, trust_domain, generation, index, created_time_ms, node, keys, audit_leaves, .. } =
            &self.manifest;
        let made = Time(*created_time_ms);
        let signer =
            if self.signed_by_pinned_key { "the pinned cluster key" } else { "its own cluster key, not compared" };
        let content = match (self.versions_unwrapped, self.probes_decrypted) {
            (Some(versions), Some(probes)) => format!(
                "opened: {keys} keys, {versions} versions unwrapped, {audit_leaves} audit records, {probes} namespaces' \
                 probes decrypted"
            ),
            _ => "not opened: --age-identity FILE checks it as well".to_owned(),
        };
        fields(&[
            ("cluster", format!("{cluster_id} ({trust_domain}), generation {generation}")),
            ("made", format!("{}, {}, by node-{node} at entry {index}", minute(made), age(made))),
            ("file", format!("{}, complete, signed by {signer}", size(self.size_bytes))),
            ("sealed to", self.manifest.recipients.join(", ")),
            ("content", content),
        ])
    }
}

/// Backups, by node or in a folder here.
#[derive(Serialize, Default)]
pub(crate) struct ListView {
    nodes: Vec<NodeView>,
    backups: Vec<ItemView>,
    #[serde(skip)]
    silent: Vec<String>,
}

#[derive(Serialize)]
struct NodeView {
    node: u64,
    folder: String,
    interval: Option<String>,
    keep: u32,
    recipients: Vec<String>,
    #[serde(skip)]
    every: String,
}

#[derive(Serialize)]
struct ItemView {
    name: String,
    /// Where it lies; none for a folder here.
    on_node: Option<u64>,
    size_bytes: u64,
    readable: bool,
    made_by: u64,
    create_time: Option<String>,
    generation: u64,
    index: u64,
    keys: u64,
    recipients: Vec<String>,
    #[serde(skip)]
    created: Option<Time>,
}

impl ListView {
    pub(crate) fn add_node(&mut self, answer: ListBackupsResponse) {
        let ListBackupsResponse { node, folder, interval, keep, recipients, backups } = answer;
        self.backups.extend(backups.into_iter().map(|backup| ItemView::on(node, backup)));
        let (interval, every) = (seconds(interval.as_ref()), length(interval.as_ref()));
        self.nodes.push(NodeView { node, folder, interval, keep, recipients, every });
    }

    /// A node that did not answer.
    pub(crate) fn add_silent(&mut self, address: &str, why: String) {
        self.silent.push(format!("{address}: {why}"));
    }

    /// A file of a folder here.
    pub(crate) fn add_file(&mut self, dir: &Path, kept: Kept) {
        let Kept { name, bytes, manifest } = kept;
        let name = dir.join(name).display().to_string();
        let created = manifest.as_ref().map(|manifest| Time(manifest.created_time_ms));
        let said = |part: fn(&Manifest) -> u64| manifest.as_ref().map_or(0, part);
        self.backups.push(ItemView {
            name,
            on_node: None,
            size_bytes: bytes,
            readable: manifest.is_some(),
            made_by: said(|manifest| manifest.node),
            create_time: created.map(Time::to_rfc3339),
            generation: said(|manifest| manifest.generation),
            index: said(|manifest| manifest.index),
            keys: said(|manifest| manifest.keys),
            recipients: manifest.map(|manifest| manifest.recipients).unwrap_or_default(),
            created,
        });
    }

    /// Whether every node has answered.
    pub(crate) fn complete(&self) -> Result<(), Failure> {
        match self.silent.as_slice() {
            [] => Ok(()),
            silent => {
                let text = format!("the list is not complete: {}", silent.join("; "));
                Err(Failure::new(Exit::Unavailable, text))
            }
        }
    }
}

impl ItemView {
    fn on(node: u64, backup: Backup) -> Self {
        let created = backup.create_time.as_ref().map(from_wire_time);
        Self {
            name: backup.name,
            on_node: Some(node),
            size_bytes: backup.size_bytes,
            readable: !backup.unreadable,
            made_by: backup.node,
            create_time: created.map(Time::to_rfc3339),
            generation: backup.generation,
            index: backup.index,
            keys: backup.keys,
            recipients: backup.recipients,
            created,
        }
    }
}

impl Show for ListView {
    fn text(&self) -> String {
        let mut table = Table::new(["ON", "NAME", "MADE", "SIZE", "GENERATION", "ENTRY", "KEYS"]);
        for item in &self.backups {
            let on = item.on_node.map_or_else(|| "here".to_owned(), |node| format!("node-{node}"));
            let made = item.created.map(minute).unwrap_or_default();
            let made = if item.readable { made } else { "not a backup".to_owned() };
            let numbers = [item.generation, item.index, item.keys].map(|number| number.to_string());
            let [generation, index, keys] = numbers;
            table.row([on, item.name.clone(), or_dash(&made), size(item.size_bytes), generation, index, keys]);
        }
        let node = |node: &NodeView| match node.folder.as_str() {
            "" => format!("node-{}: writes none by itself", node.node),
            folder if node.every.is_empty() => format!("node-{}: {folder}, not by schedule", node.node),
            folder => format!("node-{}: every {} to {folder}, keeps {}", node.node, node.every, node.keep),
        };
        let nodes: Vec<_> = self.nodes.iter().map(node).collect();
        [vec![table.text()], nodes].concat().join("\n")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

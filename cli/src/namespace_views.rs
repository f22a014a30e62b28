//! A namespace as it is printed.

use chancery_client::proto::cluster::v1 as cluster;
use serde::Serialize;

use crate::output::{Show, Table};
use crate::receipts::ReceiptView;
use crate::values::{from_wire_time, minute, short};
use crate::views::{Row, at, fields, length, or_dash, rfc3339, seconds};

/// `Namespace`.
#[derive(Serialize, Debug)]
pub(crate) struct NamespaceView {
    pub(crate) name: String,
    pub(crate) rotation_floor: Option<String>,
    pub(crate) dns_suffixes: Vec<String>,
    pub(crate) create_time: Option<String>,
    pub(crate) etag: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) restore_quarantine: Option<QuarantineView>,
    pub(crate) waiting_period_floor: Option<String>,
    pub(crate) keys: u64,
    pub(crate) entries: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_keys: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_entries: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scheduled_destroy_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) destroy_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) receipt: Option<ReceiptView>,
    #[serde(skip)]
    wire: cluster::Namespace,
}

/// `RestoreQuarantine`.
#[derive(Serialize, Debug)]
pub(crate) struct QuarantineView {
    since: Option<String>,
    reason: String,
}

impl From<cluster::Namespace> for NamespaceView {
    fn from(wire: cluster::Namespace) -> Self {
        Self {
            name: wire.name.clone(),
            rotation_floor: seconds(wire.rotation_floor.as_ref()),
            create_time: rfc3339(wire.create_time.as_ref()),
            dns_suffixes: wire.dns_suffixes.clone(),
            etag: wire.etag.clone(),
            restore_quarantine: wire.restore_quarantine.as_ref().map(|quarantine| QuarantineView {
                since: rfc3339(quarantine.since.as_ref()),
                reason: quarantine.reason.clone(),
            }),
            waiting_period_floor: seconds(wire.waiting_period_floor.as_ref()),
            keys: wire.keys,
            entries: wire.entries,
            max_keys: wire.max_keys,
            max_entries: wire.max_entries,
            scheduled_destroy_time: rfc3339(wire.scheduled_destroy_time.as_ref()),
            destroy_time: rfc3339(wire.destroy_time.as_ref()),
            receipt: wire.receipt.as_ref().map(ReceiptView::from),
            wire,
        }
    }
}

impl Row for NamespaceView {
    fn table() -> Table {
        Table::new(["NAMESPACE", "STATE", "KEYS", "ENTRIES", "ROTATION FLOOR", "DNS SUFFIXES", "CREATED"])
    }

    fn add(&self, table: &mut Table) {
        table.row([
            short(&self.name).to_owned(),
            self.state(),
            of_most(self.keys, self.max_keys),
            of_most(self.entries, self.max_entries),
            length(self.wire.rotation_floor.as_ref()),
            or_dash(&self.dns_suffixes.join(",")),
            at(self.wire.create_time.as_ref()),
        ]);
    }
}

impl Show for NamespaceView {
    fn text(&self) -> String {
        let quarantine = self.restore_quarantine.as_ref().map_or_else(|| "-".to_owned(), QuarantineView::text);
        let text = fields(&[
            ("name", self.name.clone()),
            ("state", self.state()),
            ("keys", of_most(self.keys, self.max_keys)),
            ("entries", of_most(self.entries, self.max_entries)),
            ("rotation floor", length(self.wire.rotation_floor.as_ref())),
            ("waiting period floor", length(self.wire.waiting_period_floor.as_ref())),
            ("dns suffixes", or_dash(&self.dns_suffixes.join(", "))),
            ("created", at(self.wire.create_time.as_ref())),
            ("restore quarantine", quarantine),
            ("etag", self.etag.clone()),
        ]);
        let receipt = self.receipt.as_ref().map(|receipt| format!("\n{}", receipt.text()));
        format!("{text}{}", receipt.unwrap_or_default())
    }
}

impl NamespaceView {
    fn state(&self) -> String {
        if self.destroy_time.is_some() {
            return "destroyed".to_owned();
        }
        match &self.wire.scheduled_destroy_time {
            Some(due) => format!("closed, to be destroyed {}", minute(from_wire_time(due))),
            None if self.restore_quarantine.is_some() => "restore quarantine".to_owned(),
            None => "in use".to_owned(),
        }
    }

    /// What is said of its end: when it will be, or that it was.
    pub(crate) fn end(&self) -> String {
        match &self.wire.scheduled_destroy_time {
            Some(due) => format!("closed; will be destroyed {}", minute(from_wire_time(due))),
            None => "destroyed".to_owned(),
        }
    }
}

fn of_most(held: u64, most: Option<u32>) -> String {
    most.map_or_else(|| held.to_string(), |most| format!("{held} of {most}"))
}

impl QuarantineView {
    fn text(&self) -> String {
        format!("since {}: {}", self.since.as_deref().unwrap_or("-"), self.reason)
    }
}

//! Resources as they are printed: the json names are stable, times are RFC 3339, lengths are seconds with an `s`.

use std::collections::BTreeMap;

use chancery_client::proto::ca::v1 as ca;
use chancery_client::proto::cluster::v1 as cluster;
use chancery_client::proto::kms::v1 as kms;
use prost_types::{Duration, Timestamp};
use serde::Serialize;

use crate::algorithms::{algorithm_name, purpose_words};
use crate::output::{Show, Table, printable};
use crate::receipts::ReceiptView;
use crate::values::{day, from_wire_duration, from_wire_time, minute, short};

/// A time in json.
pub(crate) fn rfc3339(time: Option<&Timestamp>) -> Option<String> {
    time.map(|time| from_wire_time(time).to_rfc3339())
}

/// A length in json: seconds with an `s`, as protobuf's own JSON has it.
pub(crate) fn seconds(length: Option<&Duration>) -> Option<String> {
    let millis = from_wire_duration(length?).0;
    let (whole, rest) = (millis / 1_000, millis % 1_000);
    Some(if rest == 0 { format!("{whole}s") } else { format!("{whole}.{rest:03}s") })
}

/// A time in a table, to the minute.
pub(crate) fn at(time: Option<&Timestamp>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| minute(from_wire_time(time)))
}

/// A length in a table.
pub(crate) fn length(length: Option<&Duration>) -> String {
    length.map_or_else(|| "-".to_owned(), |length| from_wire_duration(length).to_string())
}

/// A list of any resource that has rows.
#[derive(Serialize, Debug)]
#[serde(transparent)]
pub(crate) struct List<T>(pub Vec<T>);

/// A resource that is one row of a table.
pub(crate) trait Row {
    /// The table with its headings, empty.
    fn table() -> Table;
    /// Adds this one.
    fn add(&self, table: &mut Table);
}

impl<T: Row + Serialize> Show for List<T> {
    fn text(&self) -> String {
        let mut table = T::table();
        for item in &self.0 {
            item.add(&mut table);
        }
        table.text()
    }
}

/// `Key`.
#[derive(Serialize, Debug)]
pub(crate) struct KeyView {
    pub(crate) name: String,
    pub(crate) algorithm: String,
    pub(crate) purpose: String,
    pub(crate) create_time: Option<String>,
    pub(crate) rotation_period: Option<String>,
    pub(crate) next_rotation_time: Option<String>,
    pub(crate) primary_version: u32,
    pub(crate) enabled: bool,
    pub(crate) key_id: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) deletion_protection: bool,
    pub(crate) waiting_period: Option<String>,
    pub(crate) min_version: u32,
    pub(crate) etag: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scheduled_destroy_time: Option<String>,
    /// By number, when each is to be destroyed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) scheduled_versions: BTreeMap<u32, Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) destroy_time: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) receipts: Vec<ReceiptView>,
    #[serde(skip)]
    wire: kms::Key,
}

impl From<kms::Key> for KeyView {
    fn from(wire: kms::Key) -> Self {
        Self {
            name: wire.name.clone(),
            algorithm: algorithm_name(wire.algorithm()),
            purpose: wire.purpose().as_str_name().trim_start_matches("PURPOSE_").to_owned(),
            create_time: rfc3339(wire.create_time.as_ref()),
            rotation_period: seconds(wire.rotation_period.as_ref()),
            next_rotation_time: rfc3339(wire.next_rotation_time.as_ref()),
            primary_version: wire.primary_version,
            enabled: wire.enabled,
            key_id: wire.key_id.clone(),
            labels: wire.labels.clone().into_iter().collect(),
            deletion_protection: wire.deletion_protection,
            waiting_period: seconds(wire.waiting_period.as_ref()),
            min_version: wire.min_version,
            etag: wire.etag.clone(),
            scheduled_destroy_time: rfc3339(wire.scheduled_destroy_time.as_ref()),
            scheduled_versions: {
                let versions = wire.scheduled_versions.iter();
                versions.map(|row| (row.version, rfc3339(row.scheduled_destroy_time.as_ref()))).collect()
            },
            destroy_time: rfc3339(wire.destroy_time.as_ref()),
            receipts: wire.receipts.iter().map(ReceiptView::from).collect(),
            wire,
        }
    }
}

impl Row for KeyView {
    fn table() -> Table {
        Table::new(["KEY", "ALGORITHM", "VERSION", "STATE", "ROTATES", "NEXT ROTATION", "CREATED"])
    }

    fn add(&self, table: &mut Table) {
        table.row([
            short(&self.name).to_owned(),
            self.algorithm.replace('_', "-"),
            format!("v{}", self.primary_version),
            self.state(),
            length(self.wire.rotation_period.as_ref()),
            at(self.wire.next_rotation_time.as_ref()),
            at(self.wire.create_time.as_ref()),
        ]);
    }
}

impl Show for KeyView {
    fn text(&self) -> String {
        let text = fields(&[
            ("name", self.name.clone()),
            ("state", self.state()),
            ("algorithm", self.algorithm.replace('_', "-")),
            ("purpose", purpose_words(self.wire.purpose()).to_owned()),
            ("primary", format!("v{}", self.primary_version)),
            ("rotates", length(self.wire.rotation_period.as_ref())),
            ("next rotation", at(self.wire.next_rotation_time.as_ref())),
            ("created", at(self.wire.create_time.as_ref())),
            ("labels", self.labels()),
            ("protected from deletion", if self.deletion_protection { "yes" } else { "no" }.to_owned()),
            ("waiting period", length(self.wire.waiting_period.as_ref())),
            ("lowest version in use", format!("v{}", self.min_version)),
            ("versions to be destroyed", self.waiting()),
            ("key id", self.key_id.clone()),
            ("etag", self.etag.clone()),
        ]);
        std::iter::once(text.as_str()).chain(self.receipts.iter().map(ReceiptView::text)).collect::<Vec<_>>().join("\n")
    }
}

impl KeyView {
    fn labels(&self) -> String {
        let labels: Vec<_> = self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        if labels.is_empty() { "-".to_owned() } else { labels.join(", ") }
    }

    fn state(&self) -> String {
        match (&self.destroy_time, &self.wire.scheduled_destroy_time) {
            (Some(_), _) => "destroyed".to_owned(),
            (None, Some(due)) => format!("to be destroyed {}", minute(from_wire_time(due))),
            (None, None) => state(self.enabled),
        }
    }

    fn waiting(&self) -> String {
        let versions = self.wire.scheduled_versions.iter();
        let one = |row: &kms::KeyVersion| format!("v{} {}", row.version, at(row.scheduled_destroy_time.as_ref()));
        or_dash(&versions.map(one).collect::<Vec<_>>().join(", "))
    }

    /// What is said after `created` and `rotated`: when the key rotates next.
    pub(crate) fn next(&self) -> String {
        match &self.wire.next_rotation_time {
            Some(time) => format!("; next rotation {}", minute(from_wire_time(time))),
            None => String::new(),
        }
    }
}

/// `KeyVersion`.
#[derive(Serialize, Debug)]
pub(crate) struct VersionView {
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) state: &'static str,
    pub(crate) create_time: Option<String>,
    pub(crate) cause: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) activate_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scheduled_destroy_time: Option<String>,
    pub(crate) primary: bool,
    pub(crate) below_minimum: bool,
    #[serde(skip)]
    times: (Option<Timestamp>, Option<Timestamp>),
}

impl VersionView {
    pub(crate) fn of(wire: kms::KeyVersion, key: &kms::Key) -> Self {
        let state = match wire.state() {
            kms::VersionState::Enabled => "ENABLED",
            kms::VersionState::Disabled => "DISABLED",
            kms::VersionState::Destroyed => "DESTROYED",
            kms::VersionState::PreActive => "PRE_ACTIVE",
            kms::VersionState::DestroyScheduled => "DESTROY_SCHEDULED",
            kms::VersionState::Unspecified => "UNSPECIFIED",
        };
        let cause = match wire.cause() {
            kms::RotationCause::Created => "CREATED",
            kms::RotationCause::Operator => "OPERATOR",
            kms::RotationCause::Schedule => "SCHEDULE",
            kms::RotationCause::Unspecified => "UNSPECIFIED",
        };
        let create_time = rfc3339(wire.create_time.as_ref());
        Self {
            version: wire.version,
            state,
            create_time,
            cause,
            activate_time: rfc3339(wire.activate_time.as_ref()),
            scheduled_destroy_time: rfc3339(wire.scheduled_destroy_time.as_ref()),
            primary: wire.version == key.primary_version,
            below_minimum: wire.version < key.min_version,
            times: (wire.create_time, wire.scheduled_destroy_time),
            name: wire.name,
        }
    }
}

impl Row for VersionView {
    fn table() -> Table {
        Table::new(["VERSION", "STATE", "CREATED", "BY"])
    }

    fn add(&self, table: &mut Table) {
        table.row([
            format!("v{}", self.version),
            match &self.times.1 {
                Some(due) => format!("to be destroyed {}", minute(from_wire_time(due))),
                None if self.primary => format!("{}, primary", self.state.to_ascii_lowercase()),
                None if self.below_minimum => format!("{}, below minimum", self.state.to_ascii_lowercase()),
                None => self.state.to_ascii_lowercase().replace('_', "-"),
            },
            at(self.times.0.as_ref()),
            self.cause.to_ascii_lowercase(),
        ]);
    }
}

/// `Entry`.
#[derive(Serialize, Debug)]
pub(crate) struct EntryView {
    pub(crate) name: String,
    pub(crate) spiffe_id: String,
    pub(crate) parent_agent: String,
    pub(crate) selectors: Vec<String>,
    pub(crate) svid_ttl: Option<String>,
    pub(crate) dns_names: Vec<String>,
    pub(crate) hint: String,
    pub(crate) create_time: Option<String>,
    pub(crate) etag: String,
    #[serde(skip)]
    wire: (Option<Duration>, Option<Timestamp>),
}

impl From<ca::Entry> for EntryView {
    fn from(wire: ca::Entry) -> Self {
        Self {
            svid_ttl: seconds(wire.svid_ttl.as_ref()),
            create_time: rfc3339(wire.create_time.as_ref()),
            wire: (wire.svid_ttl, wire.create_time),
            name: wire.name,
            spiffe_id: wire.spiffe_id,
            parent_agent: wire.parent_agent,
            selectors: wire.selectors,
            dns_names: wire.dns_names,
            hint: wire.hint,
            etag: wire.etag,
        }
    }
}

impl Row for EntryView {
    fn table() -> Table {
        Table::new(["ENTRY", "SPIFFE ID", "AGENT", "TTL", "SELECTORS"])
    }

    fn add(&self, table: &mut Table) {
        table.row([
            short(&self.name).to_owned(),
            self.spiffe_id.clone(),
            short(&self.parent_agent).to_owned(),
            length(self.wire.0.as_ref()),
            self.selectors.join(" "),
        ]);
    }
}

impl Show for EntryView {
    fn text(&self) -> String {
        let (ttl, created) = &self.wire;
        fields(&[
            ("name", self.name.clone()),
            ("spiffe id", self.spiffe_id.clone()),
            ("agent", self.parent_agent.clone()),
            ("selectors", self.selectors.join(" ")),
            ("ttl", length(ttl.as_ref())),
            ("dns names", or_dash(&self.dns_names.join(", "))),
            ("hint", or_dash(&self.hint)),
            ("created", at(created.as_ref())),
            ("etag", self.etag.clone()),
        ])
    }
}

/// `Agent` and `Operator`: a key that is enrolled.
#[derive(Serialize, Debug)]
pub(crate) struct EnrolledView {
    pub(crate) name: String,
    pub spki_sha256: String,
    pub(crate) enrol_time: Option<String>,
    pub(crate) expire_time: Option<String>,
    pub(crate) revoked: bool,
    pub(crate) etag: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) acknowledged_sequence: Option<u64>,
    /// No admin vouches for it: a seal enrolled it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recovered: Option<RecoveryView>,
    #[serde(skip)]
    expires: Option<Timestamp>,
}

/// `Recovery`.
#[derive(Serialize, Debug)]
pub(crate) struct RecoveryView {
    recover_time: Option<String>,
    node: u64,
    slot: u32,
    opened_by: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    through: String,
}

impl From<cluster::Recovery> for RecoveryView {
    fn from(wire: cluster::Recovery) -> Self {
        let cluster::Recovery { recover_time, node, slot, opened_by, through } = wire;
        Self { recover_time: rfc3339(recover_time.as_ref()), node, slot, opened_by, through }
    }
}

impl RecoveryView {
    /// By what, and when.
    pub(crate) fn words(&self) -> String {
        let Self { recover_time, node, slot, opened_by, through } = self;
        let through = if through.is_empty() { String::new() } else { format!("{through}, who is one by ") };
        format!("{through}seal {slot} of node-{node} ({opened_by}) at {}", recover_time.as_deref().unwrap_or("-"))
    }
}

impl From<ca::Agent> for EnrolledView {
    fn from(wire: ca::Agent) -> Self {
        Self {
            enrol_time: rfc3339(wire.enrol_time.as_ref()),
            expire_time: rfc3339(wire.expire_time.as_ref()),
            expires: wire.expire_time,
            name: wire.name,
            spki_sha256: wire.spki_sha256,
            revoked: wire.revoked,
            etag: wire.etag,
            acknowledged_sequence: Some(wire.acknowledged_sequence),
            recovered: None,
        }
    }
}

impl From<cluster::Operator> for EnrolledView {
    fn from(wire: cluster::Operator) -> Self {
        Self {
            enrol_time: rfc3339(wire.enrol_time.as_ref()),
            expire_time: rfc3339(wire.expire_time.as_ref()),
            expires: wire.expire_time,
            name: wire.name,
            spki_sha256: wire.spki_sha256,
            revoked: wire.revoked,
            etag: wire.etag,
            acknowledged_sequence: None,
            recovered: wire.recovery.map(RecoveryView::from),
        }
    }
}

impl EnrolledView {
    /// The day on which the enrolment ends.
    pub(crate) fn until(&self) -> String {
        self.expires.as_ref().map_or_else(|| "-".to_owned(), |time| day(from_wire_time(time)))
    }
}

impl Row for EnrolledView {
    fn table() -> Table {
        Table::new(["NAME", "STATE", "ENROLLED UNTIL", "KEY SHA-256"])
    }

    fn add(&self, table: &mut Table) {
        let state = match (&self.recovered, self.revoked) {
            (_, true) => "revoked".to_owned(),
            (Some(recovery), false) => format!("enrolled by {}", recovery.words()),
            (None, false) => "enrolled".to_owned(),
        };
        table.row([short(&self.name).to_owned(), state, self.until(), self.spki_sha256.clone()]);
    }
}

impl Show for EnrolledView {
    fn text(&self) -> String {
        one_row(self)
    }
}

/// `Binding`.
#[derive(Serialize, Debug)]
pub(crate) struct BindingView {
    pub(crate) principal: String,
    pub(crate) role: String,
    pub(crate) scope: String,
}

impl From<cluster::Binding> for BindingView {
    fn from(wire: cluster::Binding) -> Self {
        let cluster::Binding { principal, role, scope } = wire;
        Self { principal, role, scope }
    }
}

impl Row for BindingView {
    fn table() -> Table {
        Table::new(["PRINCIPAL", "ROLE", "SCOPE"])
    }

    fn add(&self, table: &mut Table) {
        table.row([self.principal.clone(), self.role.clone(), self.scope.clone()]);
    }
}

impl Show for BindingView {
    fn text(&self) -> String {
        one_row(self)
    }
}

fn one_row<T: Row>(item: &T) -> String {
    let mut table = T::table();
    item.add(&mut table);
    table.text()
}

/// Lines of a name and a value, the values below one another.
pub(crate) fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = fields.iter().map(|(name, value)| format!("{name:<width$}  {}", printable(value)));
    lines.collect::<Vec<_>>().join("\n")
}

/// A dash for what is empty.
pub(crate) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

fn state(enabled: bool) -> String {
    if enabled { "enabled" } else { "disabled" }.to_owned()
}

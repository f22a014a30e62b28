//! Resources as they are printed: the json names are stable, times are RFC 3339, lengths are seconds with an `s`.

use chancery_client::proto::ca::v1 as ca;
use chancery_client::proto::cluster::v1 as cluster;
use prost_types::{Duration, Timestamp};
use serde::Serialize;

use crate::output::{Show, Table, printable};
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

pub(crate) fn state(enabled: bool) -> String {
    if enabled { "enabled" } else { "disabled" }.to_owned()
}

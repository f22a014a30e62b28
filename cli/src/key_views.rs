//! Keys and their versions as they are printed.

use std::collections::BTreeMap;

use chancery_client::proto::kms::v1 as kms;
#[cfg(test)]
use prost_types::Duration;
use prost_types::Timestamp;
use serde::Serialize;
use types::Time;

use crate::algorithms::{algorithm_name, purpose_words};
use crate::output::{Show, Table};
use crate::receipts::ReceiptView;
use crate::values::{from_wire_time, minute, short, size};
use crate::views::{Row, at, fields, length, or_dash, rfc3339, seconds, state};

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
    pub(crate) rotation_jitter: Option<String>,
    #[serde(skip_serializing_if = "LimitsView::is_none")]
    pub(crate) rotate_after: LimitsView,
    #[serde(skip_serializing_if = "LimitsView::is_none")]
    pub(crate) ceiling: LimitsView,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<UsageView>,
    #[serde(rename = "rotation_forecast", skip_serializing_if = "Option::is_none")]
    forecast: Option<ForecastView>,
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
            rotation_jitter: seconds(wire.rotation_jitter.as_ref()),
            rotate_after: wire.rotate_after.into(),
            ceiling: wire.ceiling.into(),
            usage: wire.usage.as_ref().map(UsageView::from),
            forecast: ForecastView::of(&wire),
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
            self.rotates(),
            self.forecast.as_ref().map_or_else(|| "-".to_owned(), ForecastView::time),
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
            ("rotates", self.rotates()),
            ("next rotation", self.next_rotation()),
            ("ceiling of a version", or_dash(&self.ceiling.words())),
            ("used of the primary, at most", self.used_at_most()),
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

    fn rotates(&self) -> String {
        let jitter = self.wire.rotation_jitter.as_ref().map(|jitter| format!(" less up to {}", length(Some(jitter))));
        let period =
            self.wire.rotation_period.as_ref().map(|period| length(Some(period)) + &jitter.unwrap_or_default());
        let count = Some(self.rotate_after.words()).filter(|words| !words.is_empty());
        let count = count.map(|words| format!("after {words}"));
        or_dash(&period.into_iter().chain(count).collect::<Vec<_>>().join(", or "))
    }

    fn next_rotation(&self) -> String {
        self.forecast.as_ref().map_or_else(|| "-".to_owned(), ForecastView::words)
    }

    /// At most: what a node was handed out and has not spent is in it.
    fn used_at_most(&self) -> String {
        let Some(usage) = &self.wire.usage else { return "-".to_owned() };
        let ceiling = self.wire.ceiling.unwrap_or_default();
        let after = self.wire.rotate_after.unwrap_or_default();
        let share = |used: u64, most: u64| match most {
            0 => String::new(),
            most => format!(" ({} % of the ceiling)", u128::from(used) * 100 / u128::from(most)),
        };
        let uses = (ceiling.uses != 0 || after.uses != 0)
            .then(|| format!("{} uses{}", usage.uses, share(usage.uses, ceiling.uses)));
        let bytes =
            (ceiling.bytes != 0 || after.bytes != 0).then(|| size(usage.bytes) + &share(usage.bytes, ceiling.bytes));
        let both = uses.into_iter().chain(bytes).collect::<Vec<_>>().join(", ");
        format!("{both}, counted since {}", at(usage.count_time.as_ref()))
    }

    /// What is said after `created` and `rotated`: when the key rotates next.
    pub(crate) fn next(&self) -> String {
        self.forecast.as_ref().map(|forecast| format!("; next rotation {}", forecast.words())).unwrap_or_default()
    }
}

/// Bounds on how much a version is used.
#[derive(Serialize, Debug, Default)]
pub(crate) struct LimitsView {
    #[serde(skip_serializing_if = "Option::is_none")]
    uses: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

impl From<Option<kms::UsageLimits>> for LimitsView {
    fn from(wire: Option<kms::UsageLimits>) -> Self {
        let kms::UsageLimits { uses, bytes } = wire.unwrap_or_default();
        let bound = |bound: u64| (bound != 0).then_some(bound);
        Self { uses: bound(uses), bytes: bound(bytes) }
    }
}

impl LimitsView {
    fn is_none(&self) -> bool {
        self.uses.is_none() && self.bytes.is_none()
    }

    fn words(&self) -> String {
        let uses = self.uses.map(|uses| format!("{uses} uses"));
        uses.into_iter().chain(self.bytes.map(size)).collect::<Vec<_>>().join(" or ")
    }
}

/// How much of a version was handed out to nodes: it was used for no more.
#[derive(Serialize, Debug)]
pub(crate) struct UsageView {
    /// None: not counted, for nothing bounds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    uses: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    count_time: Option<String>,
}

impl From<&kms::Usage> for UsageView {
    fn from(wire: &kms::Usage) -> Self {
        let counted = |amount: u64| (amount != 0).then_some(amount);
        Self { uses: counted(wire.uses), bytes: counted(wire.bytes), count_time: rfc3339(wire.count_time.as_ref()) }
    }
}

/// When one key rotates next by itself.
#[derive(Serialize, Debug)]
pub(crate) struct ForecastView {
    key: String,
    time: Option<String>,
    cause: &'static str,
    estimated: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    waits_for: String,
    #[serde(skip)]
    wire: kms::RotationForecast,
    /// What makes the next version due by use, in words.
    #[serde(skip)]
    after: String,
}

impl ForecastView {
    /// None for a key that does not rotate by itself.
    pub(crate) fn of(key: &kms::Key) -> Option<Self> {
        let wire = key.rotation_forecast.clone()?;
        Some(Self {
            key: key.name.clone(),
            time: rfc3339(wire.time.as_ref()),
            cause: cause_name(wire.cause()),
            estimated: wire.estimated,
            waits_for: wire.waits_for.clone(),
            after: LimitsView::from(key.rotate_after).words(),
            wire,
        })
    }

    /// When; never, when that hangs on a use whose pace is not known yet.
    pub(crate) fn when(&self) -> Time {
        self.wire.time.as_ref().map_or(Time::NEVER, from_wire_time)
    }

    fn time(&self) -> String {
        match (&self.wire.time, self.estimated) {
            (None, _) => format!("after {}", self.after),
            (time, true) => format!("about {}", at(time.as_ref())),
            (time, false) => at(time.as_ref()),
        }
    }

    /// When, and what is in the way.
    fn words(&self) -> String {
        match self.waits_for.as_str() {
            "" => self.time(),
            why => format!("{}, but {why}", self.time()),
        }
    }
}

impl Row for ForecastView {
    fn table() -> Table {
        Table::new(["KEY", "ROTATES", "BY", "WAITS FOR"])
    }

    fn add(&self, table: &mut Table) {
        let (cause, waits) = (self.cause.to_ascii_lowercase(), or_dash(&self.waits_for));
        table.row([short(&self.key).to_owned(), self.time(), cause, waits]);
    }
}

fn cause_name(cause: kms::RotationCause) -> &'static str {
    cause.as_str_name().trim_start_matches("ROTATION_CAUSE_")
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<UsageView>,
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
        let cause = cause_name(wire.cause());
        let create_time = rfc3339(wire.create_time.as_ref());
        Self {
            version: wire.version,
            state,
            create_time,
            cause,
            activate_time: rfc3339(wire.activate_time.as_ref()),
            scheduled_destroy_time: rfc3339(wire.scheduled_destroy_time.as_ref()),
            usage: wire.usage.as_ref().map(UsageView::from),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key(uses: u64, forecast: Option<kms::RotationForecast>) -> KeyView {
        KeyView::from(kms::Key {
            name: "namespaces/default/keys/orders".into(),
            primary_version: 1,
            enabled: true,
            rotation_period: Some(Duration { seconds: 90 * 86_400, nanos: 0 }),
            rotation_jitter: Some(Duration { seconds: 7 * 86_400, nanos: 0 }),
            rotate_after: Some(kms::UsageLimits { uses: 8_000, bytes: 1 << 30 }),
            ceiling: Some(kms::UsageLimits { uses: 10_000, bytes: 0 }),
            usage: Some(kms::Usage { uses, bytes: 1_024, count_time: None }),
            rotation_forecast: forecast,
            ..kms::Key::default()
        })
    }

    #[test]
    fn a_key_says_how_it_rotates_and_how_much_it_was_used() {
        let view = key(2_500, None);
        assert_eq!(view.rotates(), "90d less up to 7d, or after 8000 uses or 1 GiB");
        assert_eq!(view.used_at_most(), "2500 uses (25 % of the ceiling), 1 KiB, counted since -");
        assert_eq!((view.next_rotation(), view.next()), ("-".into(), String::new()));
    }

    #[test]
    fn a_forecast_says_the_same_everywhere() {
        let cause = kms::RotationCause::Count.into();
        let unknown = key(1, Some(kms::RotationForecast { cause, ..Default::default() }));
        assert_eq!(unknown.next_rotation(), "after 8000 uses or 1 GiB");
        assert_eq!(unknown.next(), "; next rotation after 8000 uses or 1 GiB");
        let time = Some(Timestamp { seconds: 1_795_305_600, nanos: 0 });
        let guess = kms::RotationForecast { time, cause, estimated: true, waits_for: "the key is disabled".into() };
        let guess = key(1, Some(guess));
        let when = minute(Time(1_795_305_600_000));
        assert_eq!(guess.next_rotation(), format!("about {when}, but the key is disabled"));
        let forecast = guess.forecast.expect("it rotates");
        assert_eq!((forecast.cause, forecast.when()), ("COUNT", Time(1_795_305_600_000)));
    }
}

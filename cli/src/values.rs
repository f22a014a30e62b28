//! What people type as values and read back: durations, resource names, times, sizes.

use std::fmt::Display;

use prost_types::{Duration, Timestamp};
use types::{AliasName, KeyName, Millis, NameError, NamespaceName, NodeId, Time};

/// Parses a duration such as `90d`, `1h`, `30s`, `1h30m` or `500ms`.
///
/// # Errors
/// When a unit is missing or unknown, or the sum does not fit.
pub(crate) fn duration(text: &str) -> Result<Millis, String> {
    let wrong = || format!("`{text}` is not a duration: use numbers with d, h, m, s or ms, for example 90d or 1h30m");
    let (mut rest, mut total) = (text, 0_u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let unit_len = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let unit_ms = match unit {
            "d" => 86_400_000,
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return Err(wrong()),
        };
        let part = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit_ms)).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = tail;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Millis(total)) }
}

/// Parses a member: `2`, `node-2` or `nodes/2`.
///
/// # Errors
/// When it is none of these.
pub(crate) fn node(text: &str) -> Result<NodeId, String> {
    let number = text.strip_prefix("node-").or_else(|| text.strip_prefix("nodes/")).unwrap_or(text);
    let number = number.parse().ok().filter(|number| *number != 0);
    number.map(NodeId).ok_or_else(|| format!("`{text}` is not a node: use its number, for example 2 or node-2"))
}

/// A duration as the wire has it.
pub(crate) fn to_wire_duration(length: Millis) -> Duration {
    let seconds = i64::try_from(length.0 / 1_000).unwrap_or(i64::MAX);
    let nanos = i32::try_from(length.0 % 1_000 * 1_000_000).unwrap_or(0);
    Duration { seconds, nanos }
}

/// A duration from the wire; negative ones count as none.
pub(crate) fn from_wire_duration(wire: &Duration) -> Millis {
    let seconds = u64::try_from(wire.seconds).unwrap_or(0);
    let millis = u64::try_from(wire.nanos).unwrap_or(0) / 1_000_000;
    Millis(seconds.saturating_mul(1_000).saturating_add(millis))
}

/// A time from the wire; before the epoch counts as the epoch.
pub(crate) fn from_wire_time(wire: &Timestamp) -> Time {
    let seconds = u64::try_from(wire.seconds).unwrap_or(0);
    let millis = u64::try_from(wire.nanos).unwrap_or(0) / 1_000_000;
    Time(seconds.saturating_mul(1_000).saturating_add(millis))
}

/// A time as the wire has it.
pub(crate) fn to_wire_time(time: Time) -> Timestamp {
    let seconds = i64::try_from(time.as_unix_seconds()).unwrap_or(i64::MAX);
    let nanos = i32::try_from(time.0 % 1_000 * 1_000_000).unwrap_or(0);
    Timestamp { seconds, nanos }
}

/// RFC 3339 to the minute, for people: `2027-02-20T14:52Z`.
pub(crate) fn minute(time: Time) -> String {
    let text = time.to_rfc3339();
    match text.get(..16) {
        Some(to_the_minute) if text.ends_with('Z') => format!("{to_the_minute}Z"),
        _ => text,
    }
}

/// The day, for people: `2027-11-22`.
pub(crate) fn day(time: Time) -> String {
    let text = time.to_rfc3339();
    text.get(..10).map_or_else(|| text.clone(), str::to_owned)
}

/// Parses RFC 3339, or a duration that lies that far in the past: `1h` is an hour ago.
///
/// # Errors
/// When it is neither.
pub(crate) fn time_or_ago(text: &str, now: Time) -> Result<Time, String> {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;
    if let Ok(ago) = duration(text) {
        return Ok(now.before(ago));
    }
    let parsed = OffsetDateTime::parse(text, &Rfc3339).ok();
    let millis = parsed.and_then(|time| u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok());
    millis.map(Time).ok_or_else(|| {
        format!(
            "`{text}` is not a time: use RFC 3339, for example 2026-11-22T14:00:00Z, or how long ago, for example 1h"
        )
    })
}

/// The clock of this machine.
pub(crate) fn now() -> Time {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// A name that was typed short or as a whole resource name, in a namespace: `invoices` and
/// `namespaces/default/keys/invoices` are the same.
///
/// # Errors
/// When the short name is none, or the whole name is of another kind.
pub(crate) fn in_namespace<N: Display>(
    text: &str,
    namespace: &NamespaceName,
    collection: &'static str,
    parse: impl Fn(&str) -> Result<N, NameError>,
) -> Result<String, String> {
    let Some(rest) = text.strip_prefix("namespaces/") else {
        let name = parse(text).map_err(|error| error.to_string())?;
        return Ok(format!("namespaces/{namespace}/{collection}/{name}"));
    };
    let wrong = || format!("`{text}` is not of the form namespaces/NAMESPACE/{collection}/NAME");
    let (ns, rest) = rest.split_once('/').ok_or_else(wrong)?;
    let name = rest.strip_prefix(collection).and_then(|rest| rest.strip_prefix('/')).ok_or_else(wrong)?;
    let ns = NamespaceName::parse(ns).map_err(|error| error.to_string())?;
    let name = parse(name).map_err(|error| error.to_string())?;
    Ok(format!("namespaces/{ns}/{collection}/{name}"))
}

/// What stands before the short name of an alias.
const ALIAS: &str = "alias/";

/// A key by its name, or by an alias: `alias/current` and `namespaces/default/aliases/current` are the same.
///
/// # Errors
/// As [`in_namespace`] has it.
pub(crate) fn key_or_alias(text: &str, namespace: &NamespaceName) -> Result<String, String> {
    if is_alias(text) { alias(text, namespace) } else { in_namespace(text, namespace, "keys", KeyName::parse) }
}

/// An alias: `current`, `alias/current` and `namespaces/default/aliases/current` are the same.
///
/// # Errors
/// As [`in_namespace`] has it.
pub(crate) fn alias(text: &str, namespace: &NamespaceName) -> Result<String, String> {
    let text = text.strip_prefix(ALIAS).unwrap_or(text);
    in_namespace(text, namespace, "aliases", AliasName::parse)
}

/// Whether an alias was typed where a key or an alias may stand.
pub(crate) fn is_alias(text: &str) -> bool {
    text.starts_with(ALIAS) || text.split('/').nth(2) == Some("aliases")
}

/// How a key is spoken of that was named by its name or by an alias.
pub(crate) fn called(full_name: &str) -> String {
    if is_alias(full_name) { format!("{ALIAS}{}", short(full_name)) } else { short(full_name).to_owned() }
}

/// A name that was typed short or with its collection, outside namespaces: `root` and `operators/root`.
///
/// # Errors
/// When the name is none.
pub(crate) fn in_cluster<N: Display>(
    text: &str,
    collection: &'static str,
    parse: impl Fn(&str) -> Result<N, NameError>,
) -> Result<String, String> {
    let short = text.strip_prefix(collection).and_then(|rest| rest.strip_prefix('/')).unwrap_or(text);
    parse(short).map(|name| format!("{collection}/{name}")).map_err(|error| error.to_string())
}

/// The last part of a resource name.
pub(crate) fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The namespace of a resource name.
pub(crate) fn namespace_of(name: &str) -> Option<NamespaceName> {
    let (ns, _) = name.strip_prefix("namespaces/")?.split_once('/')?;
    NamespaceName::parse(ns).ok()
}

/// A size for people: `11.2 KiB`.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string().replace(".00 ", " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let table = [
            ("90d", 90 * 86_400_000),
            ("1h", 3_600_000),
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("0s", 0),
        ];
        for (text, ms) in table {
            assert_eq!(duration(text), Ok(Millis(ms)), "{text}");
        }
        for wrong in ["", "90", "d", "1y", "-1h", "1.5h", "1 h", "18446744073709551615d", "h1"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(from_wire_duration(&to_wire_duration(Millis(1_500))), Millis(1_500));
        assert_eq!(from_wire_time(&to_wire_time(Time(1_500))), Time(1_500));
    }

    #[test]
    fn names_may_be_short_or_whole() {
        let ns = NamespaceName::default_namespace();
        let key = |text: &str| in_namespace(text, &ns, "keys", KeyName::parse);
        assert_eq!(key("invoices"), Ok("namespaces/default/keys/invoices".to_owned()));
        assert_eq!(key("namespaces/pay/keys/a"), Ok("namespaces/pay/keys/a".to_owned()));
        for wrong in ["", "Invoices", "keys/a", "namespaces/pay", "namespaces/pay/entries/a", "namespaces/pay/keys/a/b"]
        {
            assert!(key(wrong).is_err(), "{wrong}");
        }
        let operator = |text: &str| in_cluster(text, "operators", types::OperatorName::parse);
        assert_eq!(operator("root"), operator("operators/root"));
        assert!(operator("agents/root").is_err());
        assert_eq!(short("namespaces/pay/keys/a"), "a");
        assert_eq!(namespace_of("namespaces/pay/keys/a").map(|ns| ns.to_string()).as_deref(), Some("pay"));
    }

    #[test]
    fn a_key_is_typed_by_its_name_or_by_an_alias() {
        let ns = NamespaceName::default_namespace();
        let key = |text: &str| key_or_alias(text, &ns).ok();
        for text in ["alias/current", "namespaces/default/aliases/current"] {
            assert_eq!(key(text).as_deref(), Some("namespaces/default/aliases/current"), "{text}");
        }
        assert_eq!(key("namespaces/pay/aliases/a").as_deref(), Some("namespaces/pay/aliases/a"));
        assert_eq!(key("current").as_deref(), Some("namespaces/default/keys/current"));
        for wrong in
            ["alias/", "alias/A", "alias/a/b", "aliases/a", "namespaces/pay/aliases/", "namespaces/pay/entries/a"]
        {
            assert_eq!(key(wrong), None, "{wrong}");
        }
        for text in ["current", "alias/current"] {
            assert_eq!(alias(text, &ns).as_deref(), Ok("namespaces/default/aliases/current"), "{text}");
        }
        assert_eq!(called("namespaces/pay/aliases/a"), "alias/a");
        assert_eq!(called("namespaces/pay/keys/a"), "a");
    }

    #[test]
    fn times() {
        let now = Time(1_795_358_000_000);
        assert_eq!(minute(now), "2026-11-22T14:33Z");
        assert_eq!(day(now), "2026-11-22");
        assert_eq!(time_or_ago("1h", now), Ok(now.before(Millis::from_hours(1))));
        assert_eq!(time_or_ago("2026-11-22T14:33:20Z", now), Ok(now));
        assert_eq!(time_or_ago("2026-11-22T15:33:20+01:00", now), Ok(now));
        assert!(time_or_ago("yesterday", now).is_err());
    }

    #[test]
    fn sizes() {
        assert_eq!(size(11_469), "11.20 KiB");
        assert_eq!(size(512), "512 B");
        assert_eq!(size(1_024), "1 KiB");
    }
}

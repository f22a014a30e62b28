//! The one encoding of a record, docs/spec/audit.md §2: a JSON line that any reader can check.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;
use types::limits::AUDIT_LEAF_BYTES_MAX;
use types::{Action, Principal, Reason, RequestId, Time};

use crate::{Detail, Event, Fact, LogName, Outcome, Record, Text};

/// The version of the encoding, first in every leaf.
pub const VERSION: u8 = 1;

/// Why bytes are not a leaf.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LeafError {
    /// Longer than any leaf.
    #[error("an audit leaf is at most {AUDIT_LEAF_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// Not the JSON object of the specification, or one of another version.
    #[error("not an audit leaf of version {VERSION}: {0}")]
    Malformed(String),
    /// A field that does not hold what it should.
    #[error("the field `{0}` of an audit leaf is malformed")]
    Field(&'static str),
    /// It reads, but it is not how that record is written.
    #[error("an audit leaf is not in its one encoding")]
    NotCanonical,
}

impl Record {
    /// The leaf of this record. It always exists: every text is plain and every part has a bound.
    #[must_use]
    pub fn to_leaf(&self) -> Vec<u8> {
        let Self { log, index, event } = self;
        let Event { at, principal, action, resource, outcome, request_id, source, detail } = event;
        let mut leaf = String::with_capacity(384);
        // Writing to a String cannot fail; no text here needs an escape (`Text`, names, SPIFFE IDs).
        let _ = write!(leaf, r#"{{"v":{VERSION},"log":"{log}","index":{index},"at_ms":{}"#, at.0);
        let _ = write!(leaf, r#","principal":"{principal}","action":"{}""#, action.as_str());
        let _ = write!(leaf, r#","resource":"{resource}","outcome":"{}""#, outcome.as_str());
        if let Some(reason) = outcome.reason() {
            let _ = write!(leaf, r#","reason":"{}""#, reason.as_str());
        }
        if let Some(id) = request_id {
            let _ = write!(leaf, r#","request_id":"{id}""#);
        }
        if let Some(source) = source {
            let _ = write!(leaf, r#","source":"{source}""#);
        }
        leaf.push_str(r#","detail":{"#);
        for (i, (name, fact)) in detail.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let _ = match fact {
                Fact::Count(count) => write!(leaf, r#"{comma}"{name}":{{"count":{count}}}"#),
                Fact::Text(text) => write!(leaf, r#"{comma}"{name}":{{"text":"{text}"}}"#),
                Fact::Digest(hash) => write!(leaf, r#"{comma}"{name}":{{"sha256":"{}"}}"#, hex::encode(hash)),
                Fact::Hmac(mac) => write!(leaf, r#"{comma}"{name}":{{"hmac":"{}"}}"#, hex::encode(mac)),
            };
        }
        leaf.push_str("}}");
        leaf.into_bytes()
    }

    /// Reads a leaf.
    ///
    /// # Errors
    /// When the bytes are not a leaf in its one encoding.
    pub fn from_leaf(leaf: &[u8]) -> Result<Self, LeafError> {
        if leaf.len() > AUDIT_LEAF_BYTES_MAX {
            return Err(LeafError::TooLong(leaf.len()));
        }
        let wire: Wire = serde_json::from_slice(leaf).map_err(|e| LeafError::Malformed(e.to_string()))?;
        let record = wire.into_record()?;
        if record.to_leaf() == leaf { Ok(record) } else { Err(LeafError::NotCanonical) }
    }
}

/// The JSON object as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    v: u8,
    log: String,
    index: u64,
    at_ms: u64,
    principal: String,
    action: String,
    resource: String,
    outcome: String,
    reason: Option<String>,
    request_id: Option<String>,
    source: Option<String>,
    detail: BTreeMap<String, WireFact>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum WireFact {
    Count(u64),
    Text(String),
    Sha256(String),
    Hmac(String),
}

impl Wire {
    fn into_record(self) -> Result<Record, LeafError> {
        if self.v != VERSION {
            return Err(LeafError::Malformed(format!("version {}", self.v)));
        }
        let event = Event {
            at: Time(self.at_ms),
            principal: Principal::parse(&self.principal).ok_or(LeafError::Field("principal"))?,
            action: Action::parse(&self.action).ok_or(LeafError::Field("action"))?,
            resource: Text::parse(&self.resource).map_err(|_| LeafError::Field("resource"))?,
            outcome: outcome(&self.outcome, self.reason.as_deref())?,
            request_id: self.request_id.as_deref().map(request_id).transpose()?,
            source: self.source.map(|s| s.parse().map_err(|_| LeafError::Field("source"))).transpose()?,
            detail: detail(self.detail)?,
        };
        let log = LogName::parse(&self.log).ok_or(LeafError::Field("log"))?;
        Ok(event.into_record(log, self.index))
    }
}

fn outcome(text: &str, reason: Option<&str>) -> Result<Outcome, LeafError> {
    let reason = reason.map(|text| Reason::parse(text).ok_or(LeafError::Field("reason"))).transpose()?;
    match (text, reason) {
        ("allow", None) => Ok(Outcome::Allow),
        ("deny", Some(reason)) => Ok(Outcome::Deny(reason)),
        ("fail", Some(reason)) => Ok(Outcome::Fail(reason)),
        _ => Err(LeafError::Field("outcome")),
    }
}

fn request_id(text: &str) -> Result<RequestId, LeafError> {
    RequestId::parse(text).ok_or(LeafError::Field("request_id"))
}

fn detail(facts: BTreeMap<String, WireFact>) -> Result<Detail, LeafError> {
    let wrong = || LeafError::Field("detail");
    let text = |text: &str| Text::parse(text).map_err(|_| wrong());
    let bytes = |hex: &str| {
        let mut bytes = [0; 32];
        hex::decode_to_slice(hex, &mut bytes).map(|()| bytes).map_err(|_| wrong())
    };
    let mut read = BTreeMap::new();
    for (name, fact) in facts {
        let fact = match fact {
            WireFact::Count(count) => Fact::Count(count),
            WireFact::Text(value) => Fact::Text(text(&value)?),
            WireFact::Sha256(hex) => Fact::Digest(bytes(&hex)?),
            WireFact::Hmac(hex) => Fact::Hmac(bytes(&hex)?),
        };
        read.insert(text(&name)?, fact);
    }
    Detail::try_from(read).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of docs/spec/audit.md §2, byte for byte.
    const EXAMPLE: &str = concat!(
        r#"{"v":1,"log":"cluster","index":431,"at_ms":1795358000000,"principal":"operators/root","#,
        r#""action":"KeyService.RotateKey","resource":"namespaces/default/keys/invoices","outcome":"allow","#,
        r#""request_id":"01976e2f-2c00-7abc-8def-0123456789ab","detail":{"version":{"count":2}}}"#
    );

    #[test]
    fn the_example_of_the_specification_is_what_is_written() {
        let spec = include_str!("../../docs/spec/audit.md");
        assert!(spec.lines().any(|line| line == EXAMPLE));
        let record = Record::from_leaf(EXAMPLE.as_bytes()).expect("a leaf");
        assert_eq!(record.log, LogName::Cluster);
        assert_eq!(record.event.detail.get("version"), Some(&Fact::Count(2)));
        assert_eq!(record.to_leaf(), EXAMPLE.as_bytes());
    }

    #[test]
    fn nothing_but_the_one_encoding_is_read() {
        let change = |from: &str, to: &str| {
            let changed = EXAMPLE.replacen(from, to, 1);
            assert_ne!(changed, EXAMPLE, "{from}");
            Record::from_leaf(changed.as_bytes()).expect_err(to)
        };
        for (from, to) in [
            (r#""index":431"#, r#""index": 431"#),
            (r#""v":1,"log":"cluster""#, r#""log":"cluster","v":1"#),
            (r#"cluster""#, r#"cl\u0075ster""#),
            (r#""index":431,"#, r#""index":431,"source":null,"#),
            (r#"456789ab""#, r#"456789AB""#),
        ] {
            assert_eq!(change(from, to), LeafError::NotCanonical, "{to}");
        }
        for (from, to, field) in [
            ("operators/root", "users/root", "principal"),
            ("RotateKey", "Rotate", "action"),
            ("cluster", "node-01", "log"),
            ("allow", "deny", "outcome"),
            ("-7abc-", "-4abc-", "request_id"),
            ("namespaces", r"name\nspaces", "resource"),
        ] {
            assert_eq!(change(from, to), LeafError::Field(field), "{to}");
        }
        for (from, to) in [
            (r#""v":1"#, r#""v":2"#),
            (r#""index":431"#, r#""index":-1"#),
            (r#""index":431,"#, r#""index":431,"index":431,"#),
            (r#""index":431,"#, r#""index":431,"extra":1,"#),
            (r#","detail":{"version":{"count":2}}"#, ""),
            (r#"{"count":2}"#, r#"{"bytes":"c2VjcmV0"}"#),
        ] {
            assert!(matches!(change(from, to), LeafError::Malformed(_)), "{to}");
        }
        let long = vec![b' '; AUDIT_LEAF_BYTES_MAX + 1];
        assert_eq!(Record::from_leaf(&long), Err(LeafError::TooLong(AUDIT_LEAF_BYTES_MAX + 1)));
    }

    #[test]
    fn the_largest_record_fits_a_leaf() {
        let longest = "x".repeat(1 << 17);
        let mut detail = Detail::new();
        for i in 0..64 {
            detail = detail.text(Box::leak(format!("{i:02}{longest}").into_boxed_str()), &longest);
        }
        let id = types::SpiffeId::parse(&format!("spiffe://td/{}", "a".repeat(2_036))).expect("an id");
        let record = Event {
            resource: Text::clipped(&longest),
            detail,
            outcome: Outcome::Deny(Reason::RequestIdExpired),
            source: "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535".parse().ok(),
            ..Event::allowed(Time::NEVER, Principal::Workload(id), Action::Encrypt)
        }
        .into_record(LogName::Node(types::NodeId(u64::MAX)), u64::MAX);
        let leaf = record.to_leaf();
        assert!(leaf.len() <= AUDIT_LEAF_BYTES_MAX, "{}", leaf.len());
        assert_eq!(Record::from_leaf(&leaf), Ok(record));
    }

    fn outcomes() -> impl Strategy<Value = Outcome> {
        let reason = || prop::sample::select(Reason::ALL);
        prop_oneof![Just(Outcome::Allow), reason().prop_map(Outcome::Deny), reason().prop_map(Outcome::Fail)]
    }

    fn facts() -> impl Strategy<Value = Detail> {
        let fact = prop_oneof![
            any::<u64>().prop_map(Fact::Count),
            any::<String>().prop_map(|text| Fact::Text(Text::clipped(&text))),
            any::<[u8; 32]>().prop_map(Fact::Digest),
            any::<[u8; 32]>().prop_map(Fact::Hmac),
        ];
        let names = prop::sample::subsequence(vec!["a", "b_c", "version", "items", "omitted"], 0..=5);
        names
            .prop_flat_map(move |names| {
                let count = names.len();
                (Just(names), prop::collection::vec(fact.clone(), count))
            })
            .prop_map(|(names, facts)| names.into_iter().zip(facts).fold(Detail::new(), |d, (n, f)| d.with(n, f)))
    }

    fn logs() -> impl Strategy<Value = LogName> {
        prop_oneof![Just(LogName::Cluster), any::<u64>().prop_map(|n| LogName::Node(types::NodeId(n)))]
    }

    fn principals() -> impl Strategy<Value = Principal> {
        prop::sample::select(vec![
            "operators/root",
            "agents/dev",
            "nodes/3",
            "spiffe://td/ns/a",
            "local-admin",
            "join-token",
        ])
        .prop_map(|text| Principal::parse(text).expect("a principal"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn every_record_reads_back(
            log in logs(), (index, at) in any::<(u64, u64)>(), principal in principals(),
            action in prop::sample::select(Action::ALL), resource in any::<String>(), outcome in outcomes(),
            id in any::<Option<[u8; 16]>>(), source in any::<Option<std::net::SocketAddr>>(), detail in facts(),
        ) {
            let version_7 = |id: [u8; 16]| (u128::from_be_bytes(id) & !(0xf << 76) & !(3 << 62)) | 7 << 76 | 2 << 62;
            let request_id = id.map(|id| RequestId(version_7(id).to_be_bytes()));
            let resource = Text::clipped(&resource);
            let at = Time(at);
            let record = Event { at, principal, action, resource, outcome, request_id, source, detail }.into_record(log, index);
            let leaf = record.to_leaf();
            // The flow label of an IPv6 source has no text form; everything else comes back.
            let read = Record::from_leaf(&leaf).expect("reads back");
            prop_assert_eq!(read.to_leaf(), leaf);
            prop_assert_eq!(read.event.detail, record.event.detail);
            prop_assert_eq!(read.event.outcome, record.event.outcome);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Record::from_leaf(&bytes).is_err());
        }
    }
}

//! Audit records and heads, to the wire.

use audit::{Fact, Head, LogName, Record};
use proto::audit::v1 as wire;
use types::{Reason, Refusal};

use super::time::timestamp;

/// A record with the leaf it was hashed as.
#[must_use]
pub(crate) fn record(record: &Record, leaf: Vec<u8>) -> wire::Record {
    let event = &record.event;
    wire::Record {
        log: record.log.to_string(),
        index: record.index,
        leaf,
        time: timestamp(event.at),
        principal: event.principal.to_string(),
        action: event.action.as_str().to_owned(),
        resource: event.resource.as_str().to_owned(),
        outcome: event.outcome.as_str().to_owned(),
        reason: event.outcome.reason().map(|reason| reason.as_str().to_owned()).unwrap_or_default(),
        request_id: event.request_id.map(|id| id.to_string()).unwrap_or_default(),
        detail: event.detail.iter().map(|(name, fact)| (name.as_str().to_owned(), fact_text(fact))).collect(),
    }
}

fn fact_text(fact: &Fact) -> String {
    match fact {
        Fact::Count(count) => count.to_string(),
        Fact::Text(text) => text.as_str().to_owned(),
        Fact::Digest(digest) => format!("sha256:{}", hex::encode(digest)),
        Fact::Hmac(tag) => format!("hmac:{}", hex::encode(tag)),
    }
}

/// A log's head.
#[must_use]
pub(crate) fn head(head: &Head) -> wire::Head {
    wire::Head { log: head.log.to_string(), size: head.size, root: head.root.0.to_vec() }
}

/// The log of that name; the cluster's when none is named.
///
/// # Errors
/// When there can be no such log.
pub(crate) fn log(name: &str) -> Result<LogName, Refusal> {
    if name.is_empty() {
        return Ok(LogName::Cluster);
    }
    LogName::parse(name).ok_or_else(|| {
        Refusal::new(Reason::InvalidArgument, format!("`{name}` is not a log: use `cluster` or `node-{{n}}`"))
    })
}

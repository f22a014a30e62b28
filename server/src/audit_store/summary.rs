//! What the search index knows of a block of records: who, what, when and how they ended, and where each stands.

use std::collections::BTreeMap;

use audit::{LogName, Record, leaf_hash};
use serde::{Deserialize, Serialize};
use types::limits::AUDIT_INDEX_BLOCK;

use super::search::{Query, is_under};

/// Positions of records within a block, ascending.
type Positions = Vec<u16>;

/// The summary of [`AUDIT_INDEX_BLOCK`] consecutive records.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Summary {
    earliest_ms: u64,
    latest_ms: u64,
    principals: BTreeMap<String, Positions>,
    resources: BTreeMap<String, Positions>,
    outcomes: BTreeMap<String, Positions>,
    /// Hash of the block's last leaf, which ties the summary to this log and no other of the same name.
    last: [u8; 32],
}

impl Summary {
    /// Summarises the records of a block.
    pub(super) fn of(records: &[Record]) -> Self {
        let mut summary = Self { earliest_ms: u64::MAX, ..Self::default() };
        for (position, Record { event, .. }) in (0u16..).zip(records) {
            summary.earliest_ms = summary.earliest_ms.min(event.at.0);
            summary.latest_ms = summary.latest_ms.max(event.at.0);
            summary.principals.entry(event.principal.to_string()).or_default().push(position);
            summary.resources.entry(event.resource.to_string()).or_default().push(position);
            summary.outcomes.entry(event.outcome.as_str().to_owned()).or_default().push(position);
        }
        if let Some(last) = records.last() {
            summary.last = leaf_hash(&last.to_leaf()).0;
        }
        summary
    }

    /// Whether it was made of a block that ends with this record.
    pub(super) fn ends_with(&self, last: &Record) -> bool {
        self.last == leaf_hash(&last.to_leaf()).0
    }

    /// Where records stand that may match; never fewer than those that do.
    pub(super) fn candidates(&self, query: &Query) -> Vec<u16> {
        let Query { log: _, principal, resource_prefix, from, until, outcome } = query;
        if from.is_some_and(|from| self.latest_ms < from.0) || until.is_some_and(|until| self.earliest_ms >= until.0) {
            return Vec::new();
        }
        let mut candidates: Vec<u16> =
            (0u16..).take(usize::try_from(AUDIT_INDEX_BLOCK).unwrap_or(usize::MAX)).collect();
        let mut keep = |allowed: &[u16]| candidates.retain(|position| allowed.binary_search(position).is_ok());
        if let Some(principal) = principal {
            keep(self.principals.get(&principal.to_string()).map_or(&[], Vec::as_slice));
        }
        if let Some(outcome) = outcome {
            keep(self.outcomes.get(outcome.as_str()).map_or(&[], Vec::as_slice));
        }
        if let Some(prefix) = resource_prefix {
            let under = self.resources.range(prefix.clone()..).take_while(|(resource, _)| resource.starts_with(prefix));
            let under = under.filter(|(resource, _)| is_under(resource, prefix));
            let mut allowed: Vec<u16> = under.flat_map(|(_, positions)| positions.iter().copied()).collect();
            allowed.sort_unstable();
            keep(&allowed);
        }
        candidates
    }

    /// The stored form: a digest over its place and itself, then itself.
    pub(super) fn to_bytes(&self, key: &[u8]) -> Vec<u8> {
        // Maps of strings and numbers into a Vec: postcard has nothing to refuse.
        let body = postcard::to_stdvec(self).unwrap_or_default();
        [&digest(key, &body)[..], &body].concat()
    }

    /// Reads the stored form; `None` when it is not what was written at that place.
    pub(super) fn from_bytes(key: &[u8], bytes: &[u8]) -> Option<Self> {
        let (stored, body) = bytes.split_first_chunk::<32>()?;
        if digest(key, body) != *stored {
            return None;
        }
        postcard::from_bytes(body).ok()
    }
}

/// A stored form of that body, with the digest that belongs to it: a door for `fuzz/`.
#[cfg(fuzzing)]
pub(super) fn with_digest(key: &[u8], body: &[u8]) -> Vec<u8> {
    [&digest(key, body)[..], body].concat()
}

/// The place of a block's summary in the index.
pub(super) fn key_of(log: LogName, block: u64) -> Vec<u8> {
    [log.to_string().as_bytes(), b"\0", &block.to_be_bytes()].concat()
}

fn digest(key: &[u8], body: &[u8]) -> [u8; 32] {
    let mut hash = crypto::hash::Sha256::new();
    hash.update(b"chancery audit index v1");
    hash.update(key);
    hash.update(body);
    hash.finish()
}

//! Search: newest first over the logs that this node holds. The index only says where not to look; every result is
//! read from the log files and compared with the query.

use std::collections::BTreeMap;

use audit::{LogName, Outcome, Record};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use types::limits::{AUDIT_INDEX_BLOCK, AUDIT_SEARCH_BLOCKS_MAX, AUDIT_SEARCH_RECORDS_MAX, PAGE_SIZE_MAX};
use types::{Principal, Time};

use super::error::ReadError;
use super::index::Index;
use super::log::Log;

/// What to look for: every condition that is given holds of every result.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Query {
    /// Only this log; otherwise every log that the node holds.
    pub log: Option<LogName>,
    /// Exactly this caller.
    pub principal: Option<Principal>,
    /// Resource names that begin so; end it in `/` for what is below a resource.
    pub resource_prefix: Option<String>,
    /// Not before.
    pub from: Option<Time>,
    /// Before.
    pub until: Option<Time>,
    /// Records that ended so.
    pub outcome: Option<OutcomeKind>,
}

/// How a call ended, without the reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutcomeKind {
    /// Done.
    Allow,
    /// Refused.
    Deny,
    /// Did not succeed.
    Fail,
}

/// Some of the results.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// Newest first. There may be none and a token all the same: one call looks at a bounded number of records.
    pub records: Vec<Record>,
    /// Asks for what follows; `None` at the end.
    pub next: Option<String>,
}

impl OutcomeKind {
    /// `allow`, `deny` or `fail`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Fail => "fail",
        }
    }

    /// The outcome of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Allow, Self::Deny, Self::Fail].into_iter().find(|kind| kind.as_str() == text)
    }

    const fn is(self, outcome: Outcome) -> bool {
        matches!(
            (self, outcome),
            (Self::Allow, Outcome::Allow) | (Self::Deny, Outcome::Deny(_)) | (Self::Fail, Outcome::Fail(_))
        )
    }
}

impl Query {
    fn matches(&self, record: &Record) -> bool {
        let Self { log, principal, resource_prefix, from, until, outcome } = self;
        let event = &record.event;
        log.is_none_or(|log| log == record.log)
            && principal.as_ref().is_none_or(|principal| *principal == event.principal)
            && resource_prefix.as_ref().is_none_or(|prefix| is_under(event.resource.as_str(), prefix))
            && from.is_none_or(|from| event.at >= from)
            && until.is_none_or(|until| event.at < until)
            && outcome.is_none_or(|outcome| outcome.is(event.outcome))
    }

    /// Ties a token to its query.
    fn digest(&self) -> [u8; 8] {
        let Self { log, principal, resource_prefix, from, until, outcome } = self;
        let parts = (log, principal, resource_prefix, from, until, outcome.map(OutcomeKind::as_str));
        let digest = crypto::hash::sha256(&postcard::to_stdvec(&parts).unwrap_or_default());
        digest.first_chunk().copied().unwrap_or_default()
    }
}

/// Whether a resource is that one, or lies under it; a prefix that ends with a slash is not itself one.
pub(super) fn is_under(resource: &str, prefix: &str) -> bool {
    let rest = resource.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.is_empty() || prefix.ends_with('/'))
}

/// A page token: for each log, the number below which nothing has been looked at.
#[derive(Serialize, Deserialize)]
struct Token {
    version: u8,
    query: [u8; 8],
    below: BTreeMap<LogName, u64>,
}

/// One page of results.
pub(super) fn search<'a>(
    logs: impl Iterator<Item = (LogName, &'a Log)>,
    index: &Index,
    query: &Query,
    page_size: usize,
    token: Option<&str>,
) -> Result<Page, ReadError> {
    let token = token.map(|text| Token::read(text, query)).transpose()?;
    let mut budget = Budget { blocks: AUDIT_SEARCH_BLOCKS_MAX, records: AUDIT_SEARCH_RECORDS_MAX };
    let mut walks: Vec<Walk<'_>> = logs
        .filter(|(name, _)| query.log.is_none_or(|log| log == *name))
        .map(|(name, log)| {
            let size = log.head().size;
            let below = token.as_ref().map_or(Some(size), |token| token.below.get(&name).copied());
            Walk { name, log, index, query, below: below.unwrap_or(0).min(size), found: Vec::new() }
        })
        .collect();
    if let Some(log) = query.log.filter(|_| walks.is_empty()) {
        return Err(ReadError::UnknownLog(log));
    }
    let mut records = Vec::new();
    while records.len() < page_size.clamp(1, PAGE_SIZE_MAX) {
        for walk in &mut walks {
            walk.look(&mut budget)?;
        }
        // Without each log's newest match the order is not known: the page ends here and the token says where.
        if walks.iter().any(Walk::is_undecided) {
            break;
        }
        let newest = walks.iter_mut().max_by_key(|walk| walk.found.last().map(|record| (record.event.at, record.log)));
        let Some(record) = newest.and_then(|walk| walk.found.pop()) else { break };
        records.push(record);
    }
    let below: BTreeMap<LogName, u64> = walks.iter().map(|walk| (walk.name, walk.resume())).collect();
    let more = below.values().any(|below| *below > 0);
    Ok(Page { records, next: more.then(|| Token { version: 1, query: query.digest(), below }.write()) })
}

/// What one call may still look at.
struct Budget {
    blocks: u64,
    records: u64,
}

/// A walk through one log from its end to its beginning.
struct Walk<'a> {
    name: LogName,
    log: &'a Log,
    index: &'a Index,
    query: &'a Query,
    /// Records from here on have been looked at.
    below: u64,
    /// Matches not handed out yet, the newest last.
    found: Vec<Record>,
}

impl Walk<'_> {
    /// Goes on until there is a match, the beginning, or the end of the budget.
    fn look(&mut self, budget: &mut Budget) -> Result<(), ReadError> {
        while self.found.is_empty() && self.below > 0 && budget.blocks > 0 && budget.records > 0 {
            let block = (self.below - 1) / AUDIT_INDEX_BLOCK;
            let start = block * AUDIT_INDEX_BLOCK;
            budget.blocks -= 1;
            let candidates = self.index.get(self.name, block).map(|summary| summary.candidates(self.query));
            let (first, last) = match &candidates {
                None => (start, self.below - 1),
                Some(positions) => match (positions.first(), positions.last()) {
                    (Some(first), Some(last)) => {
                        (start + u64::from(*first), (start + u64::from(*last)).min(self.below - 1))
                    }
                    _ => {
                        self.below = start;
                        continue;
                    }
                },
            };
            if first <= last {
                budget.records = budget.records.saturating_sub(last + 1 - first);
                let found = &mut self.found;
                self.log.records(first, last + 1, |record| {
                    if self.query.matches(&record) {
                        found.push(record);
                    }
                    true
                })?;
            }
            self.below = start;
        }
        Ok(())
    }

    /// Whether it stopped for want of budget.
    fn is_undecided(&self) -> bool {
        self.found.is_empty() && self.below > 0
    }

    /// Where the next page goes on.
    fn resume(&self) -> u64 {
        self.found.last().map_or(self.below, |record| record.index + 1)
    }
}

impl Token {
    fn write(&self) -> String {
        URL_SAFE_NO_PAD.encode(postcard::to_stdvec(self).unwrap_or_default())
    }

    fn read(text: &str, query: &Query) -> Result<Self, ReadError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ReadError::PageToken)?;
        let token: Self = postcard::from_bytes(&bytes).map_err(|_| ReadError::PageToken)?;
        let ours = token.version == 1 && token.query == query.digest();
        ours.then_some(token).ok_or(ReadError::PageToken)
    }
}

/// Whether that is a token of that query: a door for `fuzz/`.
#[cfg(fuzzing)]
pub(super) fn is_token(text: &str, query: &Query) -> bool {
    Token::read(text, query).is_ok()
}

/// A token of that query: a door for `fuzz/`.
#[cfg(fuzzing)]
pub(super) fn some_token(query: &Query) -> String {
    Token { version: 1, query: query.digest(), below: [(LogName::Cluster, 7)].into() }.write()
}

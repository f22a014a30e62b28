//! What is recorded: an event, and its place in a log.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use types::{Action, NodeId, Principal, Reason, RequestId, Time};

use crate::{Detail, Text};

/// One of the logs of a cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum LogName {
    /// Changes of replicated state: leaves made in `apply`, the same on every node.
    Cluster,
    /// Every other answer of one node.
    Node(NodeId),
}

/// How a call ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// It was allowed and done.
    Allow,
    /// It was refused: the caller may not, or is not in a state to.
    Deny(Reason),
    /// It was allowed and did not succeed.
    Fail(Reason),
}

/// One answered call, before it has a place in a log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// State time in the cluster log, the node's clock in a node's log.
    pub at: Time,
    /// Who called.
    pub principal: Principal,
    /// What was asked for.
    pub action: Action,
    /// The resource's full name, so that a search by prefix finds a namespace's records; empty when there is none.
    pub resource: Text,
    /// How it ended.
    pub outcome: Outcome,
    /// The caller's id for the request: it joins the record to the answer and to the caller's own log.
    pub request_id: Option<RequestId>,
    /// Where the call came from, when it came over the network.
    pub source: Option<SocketAddr>,
    /// A few public facts.
    pub detail: Detail,
}

/// One record of a log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The log it stands in.
    pub log: LogName,
    /// Its number in that log, from 0 without gaps.
    pub index: u64,
    /// What happened.
    pub event: Event,
}

impl LogName {
    /// Reads the text form, `cluster` or `node-{n}`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "cluster" {
            return Some(Self::Cluster);
        }
        let log = Self::Node(NodeId(text.strip_prefix("node-")?.parse().ok()?));
        // One text form: `node-01` and `node-+1` are no logs.
        (log.to_string() == text).then_some(log)
    }
}

impl std::fmt::Display for LogName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cluster => f.write_str("cluster"),
            Self::Node(node) => write!(f, "{node}"),
        }
    }
}

impl Outcome {
    /// `allow`, `deny` or `fail`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny(_) => "deny",
            Self::Fail(_) => "fail",
        }
    }

    /// Why it was refused or failed.
    #[must_use]
    pub const fn reason(self) -> Option<Reason> {
        match self {
            Self::Allow => None,
            Self::Deny(reason) | Self::Fail(reason) => Some(reason),
        }
    }
}

impl Event {
    /// An allowed call with no more than the three things every record has.
    #[must_use]
    pub fn allowed(at: Time, principal: Principal, action: Action) -> Self {
        Self {
            at,
            principal,
            action,
            resource: Text::default(),
            outcome: Outcome::Allow,
            request_id: None,
            source: None,
            detail: Detail::default(),
        }
    }

    /// Gives it its place.
    #[must_use]
    pub fn into_record(self, log: LogName, index: u64) -> Record {
        Record { log, index, event: self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_have_one_name_each() {
        for text in ["cluster", "node-1", "node-18446744073709551615"] {
            assert_eq!(LogName::parse(text).map(|log| log.to_string()).as_deref(), Some(text));
        }
        for text in ["", "Cluster", "node-", "node-01", "node-+1", "node-x", "node-1 "] {
            assert_eq!(LogName::parse(text), None, "{text}");
        }
    }
}

//! Calls refused before anybody was recognised: counted by source and action, and recorded once a minute, so that whoever
//! knocks at the door leaves a trace but cannot fill the log.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use audit::{Detail, Event, Outcome, Text};
use types::{Action, NodeId, Principal, Reason, Time};

/// Sources told apart within a minute; what is more is counted without its source.
const SOURCES_MAX: usize = 1_024;

/// Which call, from where, and the member that it was made in the name of.
type Kind = (Action, Option<IpAddr>, Option<NodeId>);

/// The calls since they were last taken.
#[derive(Debug, Default)]
pub(crate) struct Strangers(Mutex<BTreeMap<Kind, u64>>);

impl Strangers {
    /// Counts a call that was refused for its credential.
    pub(crate) fn count(&self, action: Action, source: Option<SocketAddr>) {
        self.count_kind((action, source.map(|source| source.ip()), None));
    }

    /// Counts a call of whoever has that member's identity key, and proved no more. Whether it is the first of this minute.
    pub(crate) fn count_member(&self, action: Action, source: SocketAddr, member: NodeId) -> bool {
        self.count_kind((action, Some(source.ip()), Some(member))) == 1
    }

    fn count_kind(&self, mut key: Kind) -> u64 {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() >= SOURCES_MAX && !calls.contains_key(&key) {
            // There are a few members, and their numbers are known: a flood of others hides none of them.
            key = (key.0, None, key.2);
        }
        let count = calls.entry(key).or_default();
        *count = count.saturating_add(1);
        *count
    }

    /// One event for each source, action and member, and none are counted any more.
    pub(crate) fn take(&self, now: Time) -> Vec<Event> {
        let calls = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let event = |((action, source, member), count): (Kind, u64)| {
            let mut event = Event::allowed(now, Principal::Unauthenticated, action);
            event.outcome = Outcome::Deny(Reason::CredentialRejected);
            let from = source.map_or_else(|| "others".to_owned(), |source| source.to_string());
            event.detail = Detail::new().count("calls", count).text("from", &from);
            if let Some(NodeId(number)) = member {
                event.resource = Text::clipped(&format!("nodes/{number}"));
                event.detail = event.detail.count("node", number);
            }
            event
        };
        calls.into_iter().map(event).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u32) -> Option<SocketAddr> {
        Some((std::net::Ipv4Addr::from(last), 1).into())
    }

    #[test]
    fn calls_are_summed_by_source_and_action() {
        let strangers = Strangers::default();
        for _ in 0..3 {
            strangers.count(Action::Decrypt, from(1));
        }
        strangers.count(Action::Decrypt, from(2));
        strangers.count(Action::Encrypt, from(1));
        let events = strangers.take(Time(1));
        assert_eq!(events.len(), 3);
        assert!(events.iter().all(|event| event.principal == Principal::Unauthenticated));
        assert!(strangers.take(Time(1)).is_empty());
    }

    #[test]
    fn a_member_is_named_by_its_number() {
        let strangers = Strangers::default();
        let knock =
            |member| strangers.count_member(Action::ReleaseRoot, (std::net::Ipv4Addr::LOCALHOST, 1).into(), member);
        assert_eq!([NodeId(2), NodeId(3), NodeId(2)].map(knock), [true, true, false]);
        let events = strangers.take(Time(1));
        let said: Vec<_> =
            events.iter().map(|event| (event.resource.as_str(), format!("{:?}", event.detail))).collect();
        assert_eq!(said.iter().map(|(resource, _)| *resource).collect::<Vec<_>>(), ["nodes/2", "nodes/3"]);
        assert!(said.iter().all(|(_, detail)| detail.contains("node")));
    }

    #[test]
    fn a_flood_of_sources_stays_within_its_bound() {
        let strangers = Strangers::default();
        for source in 0..10_000 {
            strangers.count(Action::Decrypt, from(source));
        }
        strangers.count_member(Action::ReleaseRoot, (std::net::Ipv4Addr::LOCALHOST, 1).into(), NodeId(2));
        let events = strangers.take(Time(1));
        assert!(events.len() <= SOURCES_MAX + 2, "{}", events.len());
        assert!(
            events.iter().any(|event| event.resource.as_str() == "nodes/2"),
            "a member is named in it all the same"
        );
    }
}

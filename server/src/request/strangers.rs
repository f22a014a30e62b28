//! Calls refused before anybody was recognised: counted by source and action, and recorded once a minute, so that whoever
//! knocks at the door leaves a trace but cannot fill the log.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use audit::{Detail, Event, Outcome};
use types::{Action, Principal, Reason, Time};

/// Sources told apart within a minute; what is more is counted without its source.
const SOURCES_MAX: usize = 1_024;

/// The calls since they were last taken.
#[derive(Debug, Default)]
pub(crate) struct Strangers(Mutex<BTreeMap<(Action, Option<IpAddr>), u64>>);

impl Strangers {
    /// Counts a call that was refused for its credential.
    pub(crate) fn count(&self, action: Action, source: Option<SocketAddr>) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (action, source.map(|source| source.ip()));
        if calls.len() >= SOURCES_MAX && !calls.contains_key(&key) {
            key = (action, None);
        }
        let count = calls.entry(key).or_default();
        *count = count.saturating_add(1);
    }

    /// One event for each source and action, and none are counted any more.
    pub(crate) fn take(&self, now: Time) -> Vec<Event> {
        let calls = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let event = |((action, source), count): ((Action, Option<IpAddr>), u64)| {
            let mut event = Event::allowed(now, Principal::Unauthenticated, action);
            event.outcome = Outcome::Deny(Reason::CredentialRejected);
            let from = source.map_or_else(|| "others".to_owned(), |source| source.to_string());
            event.detail = Detail::new().count("calls", count).text("from", &from);
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
    fn a_flood_of_sources_stays_within_its_bound() {
        let strangers = Strangers::default();
        for source in 0..10_000 {
            strangers.count(Action::Decrypt, from(source));
        }
        let events = strangers.take(Time(1));
        assert!(events.len() <= SOURCES_MAX + 1, "{}", events.len());
    }
}

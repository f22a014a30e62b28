//! One entry's certificate over time: wanted, asked for, here, renewed at half-life, retried after a failure, forgotten
//! when nobody uses it. Pure: time and outcomes are handed in.

use std::sync::Arc;

use ca::Bundles;
use types::{Millis, Time};

use crate::svid::Svid;
use crate::upstream::{Content, UpstreamError};
use crate::view::Certificate;

/// The first and the longest pause after a failed issuance.
const RETRY_FIRST: Millis = Millis::from_secs(1);
const RETRY_MAX: Millis = Millis::from_secs(30);

#[derive(Debug)]
pub(crate) struct Slot {
    content: Content,
    svid: Option<Arc<Svid>>,
    error: Option<Arc<UpstreamError>>,
    /// Somebody asked since the last issuance began. A stream asks at every push, so while one is attached this holds.
    wanted: bool,
    in_flight: bool,
    failures: u32,
    /// When to ask the cluster, if somebody wants it then.
    due: Time,
}

impl Slot {
    pub(crate) fn new(content: &Content) -> Self {
        Self {
            content: content.clone(),
            svid: None,
            error: None,
            wanted: false,
            in_flight: false,
            failures: 0,
            due: Time::EPOCH,
        }
    }

    /// A process that matches asks for it.
    pub(crate) fn want(&mut self, now: Time) {
        self.wanted = true;
        if self.svid.as_ref().is_some_and(|svid| now >= svid.renew()) && self.failures == 0 {
            self.due = now;
        }
    }

    /// The cluster sent a new state in which the entry has this content.
    pub(crate) fn reconsider(&mut self, content: &Content, anchors: &Bundles, now: Time) {
        let changed = self.content != *content;
        let useless = self
            .svid
            .as_ref()
            .is_some_and(|svid| svid.content().spiffe_id != content.spiffe_id || svid.verify(anchors, now).is_err());
        if useless {
            self.svid = None;
            self.wanted = true; // a stream that has it waits for the next one
        }
        if changed {
            self.content = content.clone();
        }
        // The cluster answers again, or answers differently now: a failure of before says nothing any more.
        if changed || useless || self.error.is_some() {
            self.error = None;
            self.failures = 0;
            self.due = now;
        }
    }

    /// The answer to an issuance that was started for that content.
    pub(crate) fn settle(
        &mut self,
        content: &Content,
        result: Result<Svid, UpstreamError>,
        anchors: &Bundles,
        now: Time,
    ) {
        self.in_flight = false;
        if *content != self.content {
            self.due = now;
            self.wanted = true;
            return;
        }
        match result.and_then(|svid| svid.verify(anchors, now).map(|()| svid)) {
            Ok(svid) => {
                self.due = svid.renew();
                self.svid = Some(Arc::new(svid));
                self.error = None;
                self.failures = 0;
            }
            Err(error) => self.fail(error, now),
        }
    }

    /// An issuance ended without an answer.
    pub(crate) fn broke_off(&mut self, now: Time) {
        if self.in_flight {
            self.in_flight = false;
            self.fail(UpstreamError::Unavailable("the agent failed, its log has more".to_owned()), now);
        }
    }

    fn fail(&mut self, error: UpstreamError, now: Time) {
        let pause = RETRY_FIRST.0.saturating_mul(1 << self.failures.min(10)).min(RETRY_MAX.0);
        self.failures = self.failures.saturating_add(1);
        self.error = Some(Arc::new(error));
        self.due = now.after(Millis(pause));
        // Kept alive by the certificate that still stands, else by whoever asks again.
        self.wanted |= self.svid.is_some();
    }

    /// Lets time pass; false when nobody uses it any more and it can be forgotten.
    pub(crate) fn pass(&mut self, now: Time) -> bool {
        if self.svid.as_ref().is_some_and(|svid| now >= svid.expires()) {
            self.svid = None;
        }
        self.in_flight || self.wanted || self.svid.is_some() || now < self.due
    }

    /// Whether to ask the cluster now.
    pub(crate) fn is_due(&self, now: Time) -> bool {
        self.wanted && !self.in_flight && now >= self.due
    }

    /// Marks the issuance as begun and says what to ask for.
    pub(crate) fn start(&mut self) -> Content {
        self.in_flight = true;
        self.wanted = false;
        self.content.clone()
    }

    /// The next time at which the clock alone changes something.
    pub(crate) fn next_moment(&self) -> Option<Time> {
        let expiry = self.svid.as_ref().map(|svid| svid.expires());
        let due = (!self.in_flight && (self.wanted || self.svid.is_none())).then_some(self.due);
        expiry.into_iter().chain(due).min()
    }

    /// What streams see.
    pub(crate) fn shown(&self) -> Certificate {
        match (&self.svid, &self.error) {
            (Some(svid), _) => Certificate::Ready(Arc::clone(svid)),
            (None, Some(error)) => Certificate::Failed(Arc::clone(error)),
            (None, None) => Certificate::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use types::TrustDomain;

    use super::*;

    fn content(path: &str) -> Content {
        let id = TrustDomain::parse("td").expect("a name").workload(path).expect("an id");
        Content { spiffe_id: id, dns_names: Vec::new(), svid_ttl: Millis::from_hours(1) }
    }

    fn fails(slot: &mut Slot, now: Time) {
        let content = slot.start();
        slot.settle(&content, Err(UpstreamError::Unavailable("away".to_owned())), &Bundles::default(), now);
    }

    #[test]
    fn nothing_is_asked_for_that_nobody_wants() {
        let mut slot = Slot::new(&content("/ns/a/b"));
        assert!(!slot.is_due(Time(5)));
        slot.want(Time(5));
        assert!(slot.is_due(Time(5)));
        slot.start();
        slot.want(Time(5));
        assert!(!slot.is_due(Time(5)), "once, whoever else comes");
    }

    #[test]
    fn failures_wait_longer_each_time_and_are_forgotten_when_unwanted() {
        let mut slot = Slot::new(&content("/ns/a/b"));
        let mut now = Time(0);
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            slot.want(now);
            fails(&mut slot, now);
            slot.want(now);
            assert!(matches!(slot.shown(), Certificate::Failed(_)));
            assert!(!slot.is_due(now.after(Millis(seconds * 1_000 - 1))), "{seconds} s");
            now = now.after(Millis::from_secs(seconds));
            assert!(slot.is_due(now), "{seconds} s");
        }
        fails(&mut slot, now);
        assert!(slot.pass(now), "who comes now is told of the failure");
        assert!(!slot.pass(now.after(RETRY_MAX)), "nobody came");
    }

    #[test]
    fn an_answer_for_an_older_content_is_thrown_away_and_asked_again() {
        let mut slot = Slot::new(&content("/ns/a/b"));
        slot.want(Time(0));
        let old = slot.start();
        slot.reconsider(&content("/ns/a/c"), &Bundles::default(), Time(1));
        slot.settle(&old, Err(UpstreamError::Refused("no such entry".to_owned())), &Bundles::default(), Time(2));
        assert!(matches!(slot.shown(), Certificate::Pending));
        assert!(slot.is_due(Time(2)));
        assert_eq!(slot.start(), content("/ns/a/c"));
    }

    #[test]
    fn a_new_state_ends_the_pause_after_a_failure() {
        let mut slot = Slot::new(&content("/ns/a/b"));
        slot.want(Time(0));
        fails(&mut slot, Time(0));
        slot.want(Time(1));
        slot.reconsider(&content("/ns/a/b"), &Bundles::default(), Time(1));
        assert!(slot.is_due(Time(1)));
    }
}

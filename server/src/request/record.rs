//! The record of an answer, made of what every request has.

use std::net::SocketAddr;
use std::time::Instant;

use audit::{Detail, Event, Outcome, Text};
use types::{Action, Reason, Refusal, RequestId};

use super::authn::Caller;
use super::target::Target;
use crate::clock;
use crate::node::Node;

/// A request under way, as far as its record is concerned.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) node: &'a Node,
    pub(crate) action: Action,
    pub(crate) started: Instant,
}

impl Entry<'_> {
    /// Records the answer in this node's log and counts it. An answer that cannot be recorded is withheld.
    pub(crate) async fn close<T>(
        &self,
        core: &crate::core::Core,
        caller: &Caller,
        target: Option<&Target>,
        request_id: Option<RequestId>,
        answer: Result<(T, Detail), Refusal>,
    ) -> Result<T, Refusal> {
        let mut event = Event::allowed(clock::now(), caller.principal.clone(), self.action);
        event.resource = Text::clipped(&target.map(ToString::to_string).unwrap_or_default());
        event.request_id = request_id;
        event.source = caller.source;
        let answer = match answer {
            Ok((answer, detail)) => {
                event.detail = detail;
                Ok(answer)
            }
            Err(refusal) => {
                event.outcome = outcome(refusal.reason);
                Err(refusal)
            }
        };
        if let Some(alias) = target.and_then(Target::alias) {
            event.detail = event.detail.text("alias", alias.as_str());
        }
        let recorded = core.record(event).await;
        self.count(&answer);
        recorded.and(answer)
    }

    /// Whoever was not recognised is counted; its calls are recorded together, once a minute.
    pub(crate) fn note_stranger(&self, source: Option<SocketAddr>, refusal: &Refusal) {
        note_stranger(self.node, self.action, source, refusal);
    }

    /// Counts an answer whose record is made elsewhere: in `apply`, or nowhere for a caller who is nobody.
    pub(crate) fn count<T>(&self, answer: &Result<T, Refusal>) {
        let outcome = answer.as_ref().map_or_else(|refusal| outcome(refusal.reason).as_str(), |_| "allow");
        self.node.metrics.answered(self.action, outcome, self.started.elapsed());
    }
}

/// Counts a call that was refused before its caller was recognised: an unknown credential, or a token that opens nothing.
pub(crate) fn note_stranger(node: &Node, action: Action, source: Option<SocketAddr>, refusal: &Refusal) {
    if matches!(refusal.reason, Reason::CredentialRejected | Reason::TokenRejected) {
        node.strangers.count(action, source);
    }
}

/// Whether policy or status said no, or the request could not be carried out.
pub(crate) const fn outcome(reason: Reason) -> Outcome {
    match reason {
        Reason::NotFound
        | Reason::PermissionDenied
        | Reason::CredentialRejected
        | Reason::TokenRejected
        | Reason::OutsideNamespace => Outcome::Deny(reason),
        _ => Outcome::Fail(reason),
    }
}

//! How new a state a caller asks for, and what the answer says of the one it was made from (docs/spec/reads.md).

use std::time::Duration;

use chancery_client::freshness::{AGE_MS, CONSISTENCY, INDEX, STALE, TRUST};
use state::State;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Response};
use types::{Reason, Refusal, Revision};

use crate::core::Core;
use crate::lease::Clocks;

/// How long a call waits for a change that this node has not applied.
const PATIENCE: Duration = Duration::from_secs(2);
/// A token is generation · 2^40 + index.
const INDEX_MASK: u64 = (1 << 40) - 1;

/// What a caller wants of the state that it is answered from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Wanted {
    /// What this node has applied will do, under its lease.
    pub stale: bool,
    /// At least as new as that token.
    pub after: Option<u64>,
}

impl Wanted {
    /// What the metadata of a request asks for.
    ///
    /// # Errors
    /// [`Reason::InvalidArgument`] for a value that has no meaning: a caller that misspelt it must not get less than it
    /// asked for.
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Self, Refusal> {
        let text = |name: &'static str| request.metadata().get(name).map(|value| value.to_str().unwrap_or_default());
        let refused = |name: &str, value: &str, what: &str| {
            Refusal::new(Reason::InvalidArgument, format!("`{value}` in `{name}` is not {what}"))
        };
        let stale = match text(CONSISTENCY) {
            None => false,
            Some(STALE) => true,
            Some(other) => return Err(refused(CONSISTENCY, other, "a consistency: `stale`, or leave it out")),
        };
        let after = text(INDEX).map(|value| value.parse().map_err(|_| refused(INDEX, value, "an index token")));
        Ok(Self { stale, after: after.transpose()? })
    }

    /// Waits until this node has applied what the caller has seen.
    ///
    /// # Errors
    /// When it is of another life of the cluster, or does not arrive here in time.
    pub(crate) async fn reached(self, core: &Core) -> Result<(), Refusal> {
        let Some(token) = self.after else { return Ok(()) };
        let here = core.state().sequence_at(Revision(0));
        if token & !INDEX_MASK != here {
            let text =
                "the index token is of another generation: the cluster has been restored since, read again without it";
            return Err(Refusal::new(Reason::PreconditionFailed, text));
        }
        core.raft.await_applied(token & INDEX_MASK, PATIENCE).await.map_err(|_| {
            Refusal::new(Reason::NoQuorum, "this node has not applied yet what the index token names: try another node")
        })
    }
}

/// Says in an answer which state it was made from, and how new a trust document its caller should have.
pub(crate) fn stamp<T>(response: &mut Response<T>, state: &State, index: u64) {
    put(response.metadata_mut(), INDEX, state.sequence_at(Revision(index)));
    put(response.metadata_mut(), TRUST, state.trust_sequence());
}

/// Says in the answer to a stale read how old it may be: a lease begins with having caught up.
pub(crate) fn stamp_age<T>(response: &mut Response<T>, core: &Core) {
    if let Some(age) = core.lease.age(Clocks::now()) {
        put(response.metadata_mut(), AGE_MS, u64::try_from(age.as_millis()).unwrap_or(u64::MAX).saturating_add(1));
    }
}

fn put(metadata: &mut MetadataMap, name: &'static str, number: u64) {
    metadata.insert(name, MetadataValue::from(number));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(pairs: &[(&'static str, &'static str)]) -> Result<Wanted, Reason> {
        let mut request = Request::new(());
        for (name, value) in pairs {
            request.metadata_mut().insert(*name, MetadataValue::from_static(value));
        }
        Wanted::of(&request).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn what_a_caller_wants_is_said_exactly_or_refused() {
        assert_eq!(wanted(&[]), Ok(Wanted::default()));
        assert_eq!(wanted(&[(CONSISTENCY, "stale")]), Ok(Wanted { stale: true, after: None }));
        assert_eq!(wanted(&[(INDEX, "1099511627783")]), Ok(Wanted { stale: false, after: Some(1_099_511_627_783) }));
        for (name, value) in [(CONSISTENCY, "Stale"), (CONSISTENCY, ""), (INDEX, "-1"), (INDEX, ""), (INDEX, "1.5")] {
            assert_eq!(wanted(&[(name, value)]), Err(Reason::InvalidArgument), "{name}: {value}");
        }
    }
}

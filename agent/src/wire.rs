//! The cluster's messages, turned into what the agent works with. An entry that this agent cannot read, for example
//! with a selector of a later version, is left out with a warning: it must match nobody rather than too many.

use ca::{Bundle, Selector};
use proto::ca::v1::{self as wire, IssueX509SvidResponse, WatchResponse};
use types::limits::{AUTHORITY_LIFE, BUNDLE_REFRESH_HINT, SVID_TTL_DEFAULT};
use types::{Millis, SpiffeId, Time, TrustDomain};

use crate::upstream::{Content, Issued, Registration, Snapshot, UpstreamError};

/// A state as the watch sends it.
///
/// # Errors
/// When it has no readable bundle: nothing could be served under it.
pub(crate) fn snapshot(state: WatchResponse) -> Result<Snapshot, UpstreamError> {
    let bundle = bundle(state.bundle.ok_or_else(|| unusable("a state without a bundle"))?)?;
    let readable = |entry: wire::Entry| {
        let name = entry.name.clone();
        registration(entry)
            .inspect_err(|why| tracing::warn!(entry = %name, why, "leaving out an entry that cannot be read"))
            .ok()
    };
    Ok(Snapshot::new(state.entries.into_iter().filter_map(readable).collect(), bundle))
}

/// A certificate as the cluster sends it.
///
/// # Errors
/// When it does not say when it ends.
pub(crate) fn issued(answer: IssueX509SvidResponse) -> Result<Issued, UpstreamError> {
    let end = answer.expire_time.ok_or_else(|| unusable("a certificate without an end"))?;
    let expires = time(end.seconds, end.nanos).ok_or_else(|| unusable("a certificate that ended before 1970"))?;
    // No certificate outlives its authority, so a time past that is a mistake that would put renewal off for ever.
    let latest = crate::clock::now().after(AUTHORITY_LIFE);
    Ok(Issued { chain: answer.chain, expires: expires.min(latest) })
}

fn unusable(what: &str) -> UpstreamError {
    UpstreamError::Unusable(what.to_owned())
}

fn bundle(message: wire::Bundle) -> Result<Bundle, UpstreamError> {
    let trust_domain =
        TrustDomain::parse(&message.trust_domain).map_err(|why| unusable(&format!("a bundle of nobody: {why}")))?;
    let refresh_hint = message.refresh_hint.and_then(|hint| length(hint.seconds, hint.nanos));
    Ok(Bundle {
        trust_domain,
        sequence: message.sequence,
        refresh_hint: refresh_hint.unwrap_or(BUNDLE_REFRESH_HINT),
        roots: message.x509_authorities,
    })
}

fn registration(entry: wire::Entry) -> Result<Registration, String> {
    let spiffe_id = SpiffeId::parse(&entry.spiffe_id).map_err(|why| why.to_string())?;
    let selectors: Result<_, _> = entry.selectors.iter().map(|text| Selector::parse(text)).collect();
    let svid_ttl = entry.svid_ttl.and_then(|ttl| length(ttl.seconds, ttl.nanos)).unwrap_or(SVID_TTL_DEFAULT);
    Ok(Registration {
        name: entry.name.into(),
        selectors: selectors.map_err(|refusal| refusal.message)?,
        hint: entry.hint,
        created: entry.create_time.and_then(|at| time(at.seconds, at.nanos)).unwrap_or(Time::EPOCH),
        content: Content { spiffe_id, dns_names: entry.dns_names, svid_ttl },
    })
}

fn time(seconds: i64, nanos: i32) -> Option<Time> {
    length(seconds, nanos).map(|length| Time(length.0))
}

fn length(seconds: i64, nanos: i32) -> Option<Millis> {
    let (seconds, nanos) = (u64::try_from(seconds).ok()?, u64::try_from(nanos).ok()?);
    Some(Millis(seconds.saturating_mul(1_000).saturating_add(nanos / 1_000_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(selector: &str) -> wire::Entry {
        wire::Entry {
            name: format!("namespaces/default/entries/{}", selector.len()),
            spiffe_id: "spiffe://td/ns/default/x".to_owned(),
            selectors: vec!["unix:uid:1".to_owned(), selector.to_owned()],
            ..wire::Entry::default()
        }
    }

    #[test]
    fn an_entry_with_an_unknown_selector_matches_nobody() {
        let bundle = wire::Bundle { trust_domain: "td".to_owned(), sequence: 7, ..wire::Bundle::default() };
        let entries = vec![entry("unix:gid:1"), entry("k8s:pod:later")];
        let state = snapshot(WatchResponse { entries, bundle: Some(bundle), revision: 0 }).expect("a state");
        let names: Vec<_> = state.registrations().iter().map(|entry| &*entry.name).collect();
        assert_eq!(names, ["namespaces/default/entries/10"]);
        assert_eq!(state.bundle().sequence, 7);
    }

    #[test]
    fn a_state_without_a_bundle_is_no_state() {
        assert!(snapshot(WatchResponse::default()).is_err());
        let nobody = wire::Bundle { trust_domain: "UPPER/x".to_owned(), ..wire::Bundle::default() };
        assert!(snapshot(WatchResponse { bundle: Some(nobody), ..WatchResponse::default() }).is_err());
    }

    #[test]
    fn times_are_milliseconds() {
        assert_eq!(time(1, 500_000_000), Some(Time(1_500)));
        assert_eq!(time(-1, 0), None);
        assert_eq!(time(0, -1), None);
    }
}

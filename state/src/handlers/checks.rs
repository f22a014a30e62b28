//! Bounds and shapes that more than one handler asks for.

use kms::public::PUBLIC_BYTES_MAX;
use kms::{Algorithm, WrappedMaterial};
use types::limits::ENROLMENT_MAX;
use types::{Millis, NamespaceName, Principal, Reason, Refusal, SpkiHash, Time};

use crate::State;

/// State time runs up to one report behind the clock by which a deadline was computed, and clocks differ a little: a
/// deadline may lie this far past its bound.
pub(crate) const CLOCK_SLACK: Millis = Millis::from_secs(300);
/// Longest `host:port`: a DNS name, a colon and five digits.
const ADDRESS_BYTES_MAX: usize = types::limits::DNS_NAME_BYTES_MAX + 6;
/// Largest wrapped secret: a wrapped P-256 key in PKCS#8 has under 300 bytes.
const WRAPPED_BYTES_MAX: usize = 1_024;
/// Largest wrapped material of a version: what fits in locked memory.
const MATERIAL_BYTES_MAX: usize = crypto::LockedBytes::BYTES_MAX + crypto::wrap::OVERHEAD_BYTES;

/// A deadline that lies in the future, but not further than `length`.
pub(crate) fn deadline(what: &str, expires: Time, now: Time, length: Millis) -> Result<(), Refusal> {
    if expires <= now {
        let message = format!("{what} would end at {expires}, which is past, choose a later time");
        return Err(Refusal::new(Reason::InvalidArgument, message));
    }
    if expires > now.after(length).after(CLOCK_SLACK) {
        return Err(Refusal::new(
            Reason::LimitExceeded,
            format!("{what} lasts at most {length}, choose an earlier time"),
        ));
    }
    Ok(())
}

/// The end of an operator's or agent's enrolment.
pub(crate) fn enrolment(expires: Time, now: Time) -> Result<(), Refusal> {
    deadline("an enrolment", expires, now, ENROLMENT_MAX)
}

/// A key recognises one principal, and one that was revoked or replaced recognises nobody again.
pub(crate) fn fresh_spki(state: &State, spki: &SpkiHash, holder: &Principal) -> Result<(), Refusal> {
    if state.spent_table().contains(spki) {
        let message = format!("key `{spki}` was revoked or replaced and is not enrolled again, make a new key");
        return Err(Refusal::new(Reason::PreconditionFailed, message));
    }
    match state.indexes().spkis.get(spki) {
        Some(other) if other != holder => {
            Err(Refusal::new(Reason::AlreadyExists, format!("key `{spki}` is enrolled already, make a new key")))
        }
        _ => Ok(()),
    }
}

/// `host:port` that other members can be told.
pub(crate) fn address(what: &str, text: &str) -> Result<(), Refusal> {
    let good = text.len() <= ADDRESS_BYTES_MAX
        && text.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']'))
                && port.parse::<u16>().is_ok_and(|port| port != 0)
        });
    if good {
        return Ok(());
    }
    let shown: String = text.chars().take(80).collect();
    Err(Refusal::new(Reason::InvalidArgument, format!("`{shown}` is not a {what} address, use host:port")))
}

/// A version's material as its algorithm has it: a wrapped secret of a sane size, and a public half if there is to be one.
pub(crate) fn material(algorithm: Algorithm, material: &WrappedMaterial) -> Result<(), Refusal> {
    let WrappedMaterial { wrapped, public } = material;
    match wrapped.len() {
        0 => Err(Refusal::new(Reason::InvalidArgument, "the wrapped key is empty")),
        1..=MATERIAL_BYTES_MAX if algorithm.key_type().is_some() == public.is_empty() => {
            Err(Refusal::new(Reason::InvalidArgument, format!("a public key is missing, or not one for {algorithm}")))
        }
        1..=MATERIAL_BYTES_MAX if public.len() <= PUBLIC_BYTES_MAX => Ok(()),
        _ => Err(Refusal::new(
            Reason::LimitExceeded,
            format!("wrapped material has at most {MATERIAL_BYTES_MAX} bytes, a public key {PUBLIC_BYTES_MAX}"),
        )),
    }
}

/// Wrapped bytes of a sane size. What is in them only the node with the root key can tell.
pub(crate) fn wrapped(bytes: &[u8]) -> Result<(), Refusal> {
    match bytes.len() {
        0 => Err(Refusal::new(Reason::InvalidArgument, "the wrapped key is empty")),
        1..=WRAPPED_BYTES_MAX => Ok(()),
        _ => Err(Refusal::new(Reason::LimitExceeded, format!("a wrapped key has at most {WRAPPED_BYTES_MAX} bytes"))),
    }
}

/// One more of something that has a bound.
pub(crate) fn room(what: &str, held: usize, most: usize) -> Result<(), Refusal> {
    if held < most {
        return Ok(());
    }
    Err(Refusal::new(Reason::LimitExceeded, format!("the cluster holds {most} {what}, remove some first")))
}

/// What a namespace may have only so many of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quota {
    Keys,
    Entries,
}

/// Whether the namespace may have one more.
pub(crate) fn quota(state: &State, namespace: &NamespaceName, of: Quota) -> Result<(), Refusal> {
    let Some(row) = state.namespace(namespace) else { return Ok(()) };
    let indexes = state.indexes();
    let (what, most, held) = match of {
        Quota::Keys => ("keys", row.settings.keys_max, indexes.keys_of(namespace).all),
        Quota::Entries => {
            ("entries", row.settings.entries_max, indexes.entry_counts.get(namespace).copied().unwrap_or(0))
        }
    };
    match most {
        Some(most) if held >= u64::from(most) => {
            let message = format!(
                "namespace `{namespace}` may have {most} {what} and has {held}: a cluster admin raises that, `chancery namespace update \
                 {namespace} --max-{what}`"
            );
            Err(Refusal::new(Reason::LimitExceeded, message))
        }
        _ => Ok(()),
    }
}

/// Whether state time may be the ground for what cannot be undone.
pub(crate) fn time_is_sure(state: &State) -> Result<(), Refusal> {
    if state.time_held().is_none() && state.time_unconfirmed().is_none() {
        return Ok(());
    }
    let message = "state time has moved on too far at once: destructions wait until an admin has confirmed it";
    Err(Refusal::new(Reason::NotDue, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for good in ["127.0.0.1:7444", "[::1]:1", "node-1.example:65535", "a_b:7"] {
            assert!(address("peer", good).is_ok(), "{good}");
        }
        let long = format!("{}:1", "a".repeat(ADDRESS_BYTES_MAX));
        for bad in ["", ":", "a", "a:", ":1", "a:0", "a:65536", "a b:1", "a/b:1", "ä:1", "a:1\n", &long] {
            assert_eq!(address("peer", bad).expect_err(bad).reason, Reason::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn material_is_what_its_algorithm_has() {
        let check = |algorithm, wrapped: usize, public: usize| {
            let given = WrappedMaterial { wrapped: vec![1; wrapped], public: vec![2; public] };
            material(algorithm, &given).map_err(|refusal| refusal.reason)
        };
        let (secret, pair) = (Algorithm::HmacSha512, Algorithm::RsaPss4096Sha512);
        for (algorithm, wrapped, public) in [(secret, 1, 0), (secret, MATERIAL_BYTES_MAX, 0), (pair, 2_424, 550)] {
            assert_eq!(check(algorithm, wrapped, public), Ok(()), "{algorithm} {wrapped} {public}");
        }
        for (algorithm, wrapped, public, reason) in [
            (secret, 0, 0, Reason::InvalidArgument),
            (secret, 81, 1, Reason::InvalidArgument),
            (pair, 81, 0, Reason::InvalidArgument),
            (pair, 81, PUBLIC_BYTES_MAX + 1, Reason::LimitExceeded),
            (pair, MATERIAL_BYTES_MAX + 1, 91, Reason::LimitExceeded),
            (secret, MATERIAL_BYTES_MAX + 1, 0, Reason::LimitExceeded),
        ] {
            assert_eq!(check(algorithm, wrapped, public), Err(reason), "{algorithm} {wrapped} {public}");
        }
    }

    #[test]
    fn deadlines_lie_ahead_but_not_too_far() {
        let (now, length) = (Time(1_000_000), Millis(5_000));
        let check = |expires| deadline("it", Time(expires), now, length).map_err(|refusal| refusal.reason);
        assert_eq!(check(1_000_000), Err(Reason::InvalidArgument));
        assert_eq!(check(1_000_001), Ok(()));
        assert_eq!(check(1_005_000 + CLOCK_SLACK.0), Ok(()));
        assert_eq!(check(1_005_001 + CLOCK_SLACK.0), Err(Reason::LimitExceeded));
    }
}

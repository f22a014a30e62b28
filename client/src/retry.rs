//! When to ask again, and where: pure judgement, no clock and no socket.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use types::Reason;

use crate::error::{Error, reason_of};
use crate::tls::FailureKind;

const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// What one node's failure means for the call.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// This is the answer.
    Final(Error),
    /// The node cannot answer until somebody acts: it is sealed.
    Sealed,
    /// The node belongs to no cluster yet.
    NotInitialized(Error),
    /// Another node, or this one later, may answer. The refusal is kept in case none does.
    Elsewhere {
        why: String,
        refusal: Option<Error>,
        /// The node asked to be left alone this long.
        not_before: Option<Duration>,
        /// Nothing listens there at all.
        nobody_home: bool,
    },
    /// The node's key is not pinned: the trust document may have moved on.
    UntrustedKey,
}

/// Judges a status, with what the connector remembers of its last attempt.
pub(crate) fn judge(status: &Status, connection: Option<(FailureKind, String)>) -> Verdict {
    if let Some(reason) = reason_of(status) {
        return judge_refusal(reason, status);
    }
    // No reason of ours: the status was made up by the transport on the way.
    match (status.code(), connection) {
        (Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled, Some((kind, why))) => match kind {
            FailureKind::UntrustedKey => Verdict::UntrustedKey,
            FailureKind::Unreachable => elsewhere(why, None, true),
            FailureKind::Handshake => elsewhere(why, None, false),
        },
        (Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded | Code::Aborted, _) => {
            elsewhere(lost(status), None, false)
        }
        (Code::Internal, None) if std::error::Error::source(status).is_some() => elsewhere(lost(status), None, false),
        _ => Verdict::Final(Error::from_status(status)),
    }
}

/// An attempt that was cut off by its own deadline.
pub(crate) fn no_answer() -> Verdict {
    elsewhere("no answer in time".to_owned(), None, false)
}

/// How long to wait before round `round` (from 0): doubling from 50 ms to 1 s, between half and all of it by `jitter`,
/// so that clients that lost one leader do not come back in step.
pub(crate) fn backoff(round: u32, jitter: u8) -> Duration {
    let full = BACKOFF_FIRST.saturating_mul(1 << round.min(8)).min(BACKOFF_MAX);
    full / 2 + full.mul_f64(f64::from(jitter) / 512.0)
}

fn judge_refusal(reason: Reason, status: &Status) -> Verdict {
    let error = Error::from_status(status);
    match reason {
        Reason::Sealed => Verdict::Sealed,
        Reason::NotInitialized => Verdict::NotInitialized(error),
        Reason::LeaseExpired
        | Reason::NoQuorum
        | Reason::NoAuthority
        | Reason::AuditUnavailable
        | Reason::Draining
        | Reason::Removed
        | Reason::Stale
        | Reason::FencePending
        | Reason::LedgerPending
        | Reason::DiskFull => Verdict::Elsewhere {
            why: error.to_string(),
            refusal: Some(error),
            not_before: status.get_details_retry_info().and_then(|info| info.retry_delay),
            nobody_home: false,
        },
        _ => Verdict::Final(error),
    }
}

fn elsewhere(why: String, refusal: Option<Error>, nobody_home: bool) -> Verdict {
    Verdict::Elsewhere { why, refusal, not_before: None, nobody_home }
}

/// The innermost cause says more than tonic's "transport error".
fn lost(status: &Status) -> String {
    let mut cause: &dyn std::error::Error = status;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match cause.downcast_ref::<Status>() {
        Some(status) => format!("{}: {}", status.code(), status.message()),
        None => format!("connection lost: {cause}"),
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;
    use crate::error::ERROR_DOMAIN;

    fn refusal(code: Code, reason: Reason) -> Status {
        Status::with_error_details(code, "no", ErrorDetails::with_error_info(reason.as_str(), ERROR_DOMAIN, []))
    }

    fn name(verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::Final(_) => "final",
            Verdict::Sealed => "sealed",
            Verdict::NotInitialized(_) => "not initialized",
            Verdict::Elsewhere { nobody_home: true, .. } => "nobody home",
            Verdict::Elsewhere { .. } => "elsewhere",
            Verdict::UntrustedKey => "untrusted",
        }
    }

    #[test]
    fn a_refusal_is_final_unless_another_node_or_moment_could_answer() {
        for reason in Reason::ALL {
            let expected = match reason {
                Reason::Sealed => "sealed",
                Reason::NotInitialized => "not initialized",
                Reason::LeaseExpired
                | Reason::NoQuorum
                | Reason::NoAuthority
                | Reason::AuditUnavailable
                | Reason::Draining
                | Reason::Removed
                | Reason::Stale
                | Reason::FencePending
                | Reason::LedgerPending
                | Reason::DiskFull => "elsewhere",
                _ => "final",
            };
            // The code is of no consequence when there is a reason.
            assert_eq!(name(&judge(&refusal(Code::Unavailable, *reason), None)), expected, "{reason:?}");
        }
    }

    #[test]
    fn what_the_transport_makes_up_is_tried_elsewhere() {
        let refused = Some((FailureKind::Unreachable, "connection refused".to_owned()));
        let untrusted = Some((FailureKind::UntrustedKey, "its key".to_owned()));
        assert_eq!(name(&judge(&Status::unavailable("transport error"), refused)), "nobody home");
        assert_eq!(name(&judge(&Status::unavailable("transport error"), untrusted)), "untrusted");
        for status in [Status::unavailable(""), Status::unknown(""), Status::cancelled(""), Status::aborted("")] {
            assert_eq!(name(&judge(&status, None)), "elsewhere", "{status:?}");
        }
        assert_eq!(name(&judge(&Status::unimplemented(""), None)), "final");
        assert_eq!(name(&judge(&Status::internal("bug"), None)), "final");
    }

    #[test]
    fn backoff_doubles_to_a_second_and_never_drops_below_half() {
        assert_eq!(backoff(0, 0), Duration::from_millis(25));
        assert!(backoff(0, 255) < Duration::from_millis(50));
        assert_eq!(backoff(1, 0), Duration::from_millis(50));
        assert_eq!(backoff(30, 0), Duration::from_millis(500));
        assert!(backoff(u32::MAX, 255) < Duration::from_secs(1));
    }
}

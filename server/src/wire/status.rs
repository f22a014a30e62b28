//! Refusals as gRPC statuses: a code for machines that know gRPC, `google.rpc.ErrorInfo` for those that know us.

use std::time::Duration;

use chancery_client::ERROR_DOMAIN;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use types::{Reason, Refusal};

/// The status of a refusal; `RetryInfo` goes with those that may pass.
#[must_use]
pub(crate) fn status(refusal: &Refusal) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(refusal.reason.as_str(), ERROR_DOMAIN, std::collections::HashMap::new());
    if let Some(pause) = retry_after(refusal.reason) {
        details.set_retry_info(Some(pause));
    }
    Status::with_error_details(code(refusal.reason), refusal.message.clone(), details)
}

/// The refusal that a status carries, when one of us made it.
#[must_use]
pub(crate) fn refusal(status: &Status) -> Option<Refusal> {
    let info = status.get_details_error_info()?;
    (info.domain == ERROR_DOMAIN)
        .then(|| Reason::parse(&info.reason))?
        .map(|reason| Refusal::new(reason, status.message()))
}

/// The gRPC code of each reason.
#[must_use]
pub(crate) const fn code(reason: Reason) -> Code {
    match reason {
        Reason::NotFound => Code::NotFound,
        Reason::PermissionDenied => Code::PermissionDenied,
        Reason::AlreadyExists => Code::AlreadyExists,
        Reason::InvalidArgument
        | Reason::OutsideNamespace
        | Reason::InvalidCiphertext
        | Reason::InvalidSignature
        | Reason::RequestIdReused
        | Reason::RequestIdExpired => Code::InvalidArgument,
        Reason::Stale => Code::Aborted,
        Reason::PreconditionFailed
        | Reason::KeyDisabled
        | Reason::WrongPurpose
        | Reason::RestoreQuarantine
        | Reason::KeyDestroyed
        | Reason::VersionTooOld
        | Reason::NamespaceClosed
        | Reason::NotDue
        | Reason::AlreadyInitialized => Code::FailedPrecondition,
        Reason::LimitExceeded | Reason::UsageExhausted => Code::ResourceExhausted,
        Reason::TokenRejected | Reason::CredentialRejected => Code::Unauthenticated,
        Reason::UnsealFailed => Code::InvalidArgument,
        Reason::Sealed
        | Reason::LeaseExpired
        | Reason::NoQuorum
        | Reason::NoAuthority
        | Reason::NotInitialized
        | Reason::AuditUnavailable
        | Reason::Draining
        | Reason::Removed
        | Reason::DiskFull
        | Reason::LedgerPending => Code::Unavailable,
        Reason::FencePending => Code::DeadlineExceeded,
        Reason::Unimplemented => Code::Unimplemented,
        Reason::Internal => Code::Internal,
    }
}

/// How long to wait before the same request may succeed.
const fn retry_after(reason: Reason) -> Option<Duration> {
    match reason {
        // The next attempt waits by itself.
        Reason::Stale | Reason::FencePending => Some(Duration::from_millis(50)),
        // As long as a hand-over to another member takes, and a little more.
        Reason::DiskFull | Reason::LedgerPending => Some(Duration::from_secs(1)),
        Reason::NoQuorum | Reason::LeaseExpired | Reason::NoAuthority => Some(Duration::from_millis(500)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_survives_the_wire() {
        for reason in Reason::ALL {
            let said = Refusal::new(*reason, "the words");
            let status = status(&said);
            assert_eq!(refusal(&status), Some(said));
            assert_ne!(status.code(), Code::Ok);
            assert_ne!(status.code(), Code::Unknown);
        }
    }

    #[test]
    fn the_page_of_refusals_lists_each_with_its_code() {
        let page = include_str!("../../../docs/spec/errors.md");
        let listed: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(listed.len(), Reason::ALL.len(), "docs/spec/errors.md");
        for (line, reason) in listed.iter().zip(Reason::ALL) {
            let code = format!("{:?}", code(*reason)).to_lowercase();
            let mut cells = line.split('|').map(|cell| cell.trim().trim_matches('`'));
            let (name, said) = (cells.nth(1), cells.next().map(|said| said.replace('_', "").to_lowercase()));
            assert_eq!((name, said), (Some(reason.as_str()), Some(code)), "docs/spec/errors.md");
        }
    }

    #[test]
    fn somebody_elses_status_is_not_ours() {
        assert_eq!(refusal(&Status::unavailable("proxy")), None);
    }
}

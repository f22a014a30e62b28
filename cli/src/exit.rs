//! Exit codes: stable, documented in docs/operate/cli.md, one a class of answers that a script treats alike.

use types::Reason;

/// How the program ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(crate) enum Exit {
    /// It was done.
    Done = 0,
    /// Something failed that is none of the below: a file, a fault of the service.
    Failed = 1,
    /// The command line cannot be understood (clap uses the same code).
    Usage = 2,
    /// The thing is not there, or you may not see it.
    NotFound = 3,
    /// You may not do this, or you are not known.
    Denied = 4,
    /// The state of things does not allow it: it exists already, it has changed, it is disabled.
    Conflict = 5,
    /// A value is malformed or out of bounds.
    Invalid = 6,
    /// Data does not verify: a ciphertext, a signature, an audit log.
    Unverified = 7,
    /// No node could answer: unreachable, sealed, without quorum or lease. The only code worth a retry.
    Unavailable = 8,
    /// The cluster is not the one that this identity belongs to.
    Untrusted = 9,
    /// Nobody reads the output any more: what a shell reports for a program that a closed pipe ended.
    Unread = 141,
}

impl Exit {
    /// The code of a refusal.
    #[must_use]
    pub(crate) const fn of_reason(reason: Reason) -> Self {
        match reason {
            Reason::NotFound => Self::NotFound,
            Reason::PermissionDenied | Reason::TokenRejected | Reason::CredentialRejected | Reason::UnsealFailed => {
                Self::Denied
            }
            Reason::AlreadyExists
            | Reason::Stale
            | Reason::PreconditionFailed
            | Reason::RequestIdReused
            | Reason::RequestIdExpired
            | Reason::KeyDisabled
            | Reason::WrongPurpose
            | Reason::RestoreQuarantine
            | Reason::KeyDestroyed
            | Reason::VersionTooOld
            | Reason::NamespaceClosed
            | Reason::UsageExhausted
            | Reason::NotDue
            | Reason::AlreadyInitialized
            | Reason::NotInitialized => Self::Conflict,
            Reason::InvalidArgument | Reason::LimitExceeded | Reason::OutsideNamespace => Self::Invalid,
            Reason::InvalidCiphertext | Reason::InvalidSignature => Self::Unverified,
            Reason::Sealed
            | Reason::LeaseExpired
            | Reason::NoQuorum
            | Reason::NoAuthority
            | Reason::Draining
            | Reason::Removed
            | Reason::AuditUnavailable
            | Reason::FencePending
            | Reason::LedgerPending
            | Reason::DiskFull => Self::Unavailable,
            Reason::Unimplemented | Reason::Internal => Self::Failed,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn the_table_of_reasons_and_codes_is_as_documented() {
        let (mut table, page) = (String::new(), include_str!("../../docs/spec/errors.md"));
        for reason in Reason::ALL {
            let exit = Exit::of_reason(*reason) as u8;
            writeln!(table, "{exit} {}", reason.as_str()).expect("writes");
            let listed = page.lines().find(|line| line.starts_with(&format!("| `{}` |", reason.as_str())));
            assert!(
                listed.is_some_and(|line| line.contains(&format!("` | {exit} | "))),
                "docs/spec/errors.md: {reason:?}"
            );
        }
        expect_test::expect![[r#"
            3 NOT_FOUND
            4 PERMISSION_DENIED
            5 ALREADY_EXISTS
            6 INVALID_ARGUMENT
            5 STALE
            5 PRECONDITION_FAILED
            6 LIMIT_EXCEEDED
            5 REQUEST_ID_REUSED
            5 REQUEST_ID_EXPIRED
            5 KEY_DISABLED
            7 INVALID_CIPHERTEXT
            5 NOT_DUE
            6 OUTSIDE_NAMESPACE
            4 TOKEN_REJECTED
            4 CREDENTIAL_REJECTED
            8 SEALED
            8 LEASE_EXPIRED
            8 NO_QUORUM
            5 ALREADY_INITIALIZED
            5 NOT_INITIALIZED
            8 NO_AUTHORITY
            4 UNSEAL_FAILED
            8 AUDIT_UNAVAILABLE
            1 UNIMPLEMENTED
            1 INTERNAL
            8 DRAINING
            8 FENCE_PENDING
            8 REMOVED
            5 RESTORE_QUARANTINE
            8 DISK_FULL
            5 KEY_DESTROYED
            8 LEDGER_PENDING
            5 WRONG_PURPOSE
            7 INVALID_SIGNATURE
            5 VERSION_TOO_OLD
            5 NAMESPACE_CLOSED
            5 USAGE_EXHAUSTED
        "#]]
        .assert_eq(&table);
    }
}

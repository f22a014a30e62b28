//! Refusals: answers that say no. A refusal is not a fault; callers match on its reason.

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $text:literal;)*) => {
        /// Why a request was refused: the stable `reason` of `google.rpc.ErrorInfo`. New reasons go at the end.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[$doc])* $variant,)*
        }

        impl Reason {
            /// Every reason, in stored order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The text on the wire, UPPER_SNAKE_CASE.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The reason of that text.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.as_str() == text)
            }
        }
    };
}

reasons! {
    /// Not there, or not to be seen by this caller: the two look the same (invariant 10).
    NotFound = "NOT_FOUND";
    /// The caller is known and may see the thing, but may not do this.
    PermissionDenied = "PERMISSION_DENIED";
    /// The name is taken.
    AlreadyExists = "ALREADY_EXISTS";
    /// A field is malformed or out of its bounds.
    InvalidArgument = "INVALID_ARGUMENT";
    /// What the decision rested on has moved; decided again by the leader, else `Aborted`.
    Stale = "STALE";
    /// The caller's expectation (etag, `expect`) does not hold.
    PreconditionFailed = "PRECONDITION_FAILED";
    /// A bound of `limits.rs` would be passed.
    LimitExceeded = "LIMIT_EXCEEDED";
    /// The request id was used with another body.
    RequestIdReused = "REQUEST_ID_REUSED";
    /// The request id is older than what is remembered, or from the future.
    RequestIdExpired = "REQUEST_ID_EXPIRED";
    /// The key or version is disabled.
    KeyDisabled = "KEY_DISABLED";
    /// Ciphertext, context or AAD does not verify, or is not canonical.
    InvalidCiphertext = "INVALID_CIPHERTEXT";
    /// The rotation is not due: another entry has done it.
    NotDue = "NOT_DUE";
    /// The namespace does not own this path or DNS name.
    OutsideNamespace = "OUTSIDE_NAMESPACE";
    /// The token is unknown, used or expired.
    TokenRejected = "TOKEN_REJECTED";
    /// The credential is unknown, revoked or expired.
    CredentialRejected = "CREDENTIAL_REJECTED";
    /// The node is sealed.
    Sealed = "SEALED";
    /// The node's lease has run out: it may not serve or sign.
    LeaseExpired = "LEASE_EXPIRED";
    /// No leader, or no quorum.
    NoQuorum = "NO_QUORUM";
    /// The cluster has been formed already, or the data folder belongs to another.
    AlreadyInitialized = "ALREADY_INITIALIZED";
    /// The cluster has not been formed yet.
    NotInitialized = "NOT_INITIALIZED";
    /// No active authority can sign now.
    NoAuthority = "NO_AUTHORITY";
    /// The seal refused: wrong passphrase or damaged seal file.
    UnsealFailed = "UNSEAL_FAILED";
    /// The audit log cannot take a record, so no answer may leave.
    AuditUnavailable = "AUDIT_UNAVAILABLE";
    /// The call exists but this build does not offer it.
    Unimplemented = "UNIMPLEMENTED";
    /// A fault of ours; the log has more.
    Internal = "INTERNAL";
    /// The node is about to stop and takes no new calls: another one answers.
    Draining = "DRAINING";
    /// The change is committed, but a node may still serve the state before it: the same request waits for its end.
    FencePending = "FENCE_PENDING";
    /// The node was removed from the cluster and never serves again.
    Removed = "REMOVED";
    /// The namespace came out of a backup, and nobody has said yet that what it holds may be used.
    RestoreQuarantine = "RESTORE_QUARANTINE";
    /// The leader's disk is nearly full: no change is taken, reads and cryptography go on.
    DiskFull = "DISK_FULL";
    /// The key or version was destroyed: nobody can use it any more.
    KeyDestroyed = "KEY_DESTROYED";
    /// The change is committed and fenced, but the ledger does not have it yet: the same request waits for that.
    LedgerPending = "LEDGER_PENDING";
    /// The key's algorithm does something else than what is asked for.
    WrongPurpose = "WRONG_PURPOSE";
    /// A signature or MAC is not one of this message by this version of the key.
    InvalidSignature = "INVALID_SIGNATURE";
    /// The version is below the lowest of its key that may be used.
    VersionTooOld = "VERSION_TOO_OLD";
    /// The namespace was destroyed or is about to be: nothing in it is used.
    NamespaceClosed = "NAMESPACE_CLOSED";
    /// The version was used for as much as its key's ceiling allows.
    UsageExhausted = "USAGE_EXHAUSTED";
}

/// A refusal with a message for the caller. The message never holds key material and never says more than the caller
/// may know.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// What callers match on.
    pub reason: Reason,
    /// Lower case, no full stop, user input in backticks.
    pub message: String,
}

impl Refusal {
    /// A refusal with that reason and message.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// "Not there" and "not allowed to see it" in the same words.
    #[must_use]
    pub fn not_found(kind: &str, name: &impl std::fmt::Display) -> Self {
        Self::new(Reason::NotFound, format!("{kind} `{name}` was not found, or you may not see it"))
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.reason.as_str())
    }
}

impl std::error::Error for Refusal {}

//! What a call can end in when it does not end well: a refusal by the service, or no answer at all.

use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use types::{Reason, Refusal};

use crate::Address;
use crate::trust::TrustError;

/// The `domain` of every `google.rpc.ErrorInfo` of ours.
pub const ERROR_DOMAIN: &str = "chancery";

/// Why there is no answer. [`Error::Refused`] is the service's word; the others are about reaching it.
#[derive(Debug)]
pub enum Error {
    /// A node answered no. Retrying the same call does not help; the retries that can help have been made.
    Refused {
        /// What to match on, and the node's words.
        refusal: Refusal,
        /// The gRPC status code it came with.
        code: Code,
    },
    /// Every node answered that it is sealed.
    AllSealed {
        /// How many were asked.
        nodes: usize,
    },
    /// No node gave an answer in time.
    Unreachable {
        /// What happened at each node last.
        tried: Vec<Tried>,
    },
    /// The cluster could not be recognised.
    Trust(TrustError),
    /// The client could not be set up; the message says what to change.
    Setup(String),
}

/// What happened at one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tried {
    /// Which.
    pub address: Address,
    /// In words.
    pub why: String,
}

impl Error {
    /// The reason, when a node gave one.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal.reason),
            Self::AllSealed { .. } => Some(Reason::Sealed),
            Self::Unreachable { .. } | Self::Trust(_) | Self::Setup(_) => None,
        }
    }

    /// The refusal in a status, whoever sent it; a status without one of our reasons is given the nearest.
    #[must_use]
    pub fn from_status(status: &Status) -> Self {
        let reason = reason_of(status).unwrap_or_else(|| nearest(status.code()));
        Self::Refused { refusal: Refusal::new(reason, status.message()), code: status.code() }
    }
}

/// The reason that a node of ours put into the status; `None` for what transports and proxies make up.
pub(crate) fn reason_of(status: &Status) -> Option<Reason> {
    let info = status.get_details_error_info()?;
    if info.domain == ERROR_DOMAIN { Reason::parse(&info.reason) } else { None }
}

fn nearest(code: Code) -> Reason {
    match code {
        Code::NotFound => Reason::NotFound,
        Code::PermissionDenied => Reason::PermissionDenied,
        Code::AlreadyExists => Reason::AlreadyExists,
        Code::InvalidArgument | Code::OutOfRange => Reason::InvalidArgument,
        Code::Aborted => Reason::Stale,
        Code::FailedPrecondition => Reason::PreconditionFailed,
        Code::ResourceExhausted => Reason::LimitExceeded,
        Code::Unauthenticated => Reason::CredentialRejected,
        Code::Unavailable => Reason::NoQuorum,
        Code::Unimplemented => Reason::Unimplemented,
        Code::Ok | Code::Cancelled | Code::Unknown | Code::DeadlineExceeded | Code::Internal | Code::DataLoss => {
            Reason::Internal
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused { refusal, .. } => write!(f, "{refusal}"),
            Self::AllSealed { nodes: 1 } => f.write_str("the node is sealed (SEALED); retrying will not help"),
            Self::AllSealed { nodes } => {
                write!(f, "all {nodes} nodes are sealed (SEALED); retrying will not help")
            }
            Self::Unreachable { tried } => {
                f.write_str("no node answered")?;
                for (n, Tried { address, why }) in tried.iter().enumerate() {
                    write!(f, "{} {address}: {why}", if n == 0 { ":" } else { ";" })?;
                }
                Ok(())
            }
            Self::Trust(error) => write!(f, "{error}"),
            Self::Setup(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Trust(error) => Some(error),
            _ => None,
        }
    }
}

impl From<TrustError> for Error {
    fn from(error: TrustError) -> Self {
        Self::Trust(error)
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn status(code: Code, reason: &str, domain: &str) -> Status {
        let details = ErrorDetails::with_error_info(reason, domain, []);
        Status::with_error_details(code, "key `x` was not found", details)
    }

    #[test]
    fn the_reason_comes_from_the_details_before_the_code() {
        let error = Error::from_status(&status(Code::Unavailable, "LEASE_EXPIRED", ERROR_DOMAIN));
        assert_eq!(error.reason(), Some(Reason::LeaseExpired));
        assert_eq!(error.to_string(), "key `x` was not found (LEASE_EXPIRED)");
        assert_eq!(reason_of(&status(Code::Unavailable, "SEALED", "elsewhere")), None);
        let foreign = Error::from_status(&Status::permission_denied("no"));
        assert_eq!(foreign.reason(), Some(Reason::PermissionDenied));
    }

    #[test]
    fn sealed_clusters_are_counted() {
        assert_eq!(
            Error::AllSealed { nodes: 3 }.to_string(),
            "all 3 nodes are sealed (SEALED); retrying will not help"
        );
        assert_eq!(Error::AllSealed { nodes: 1 }.to_string(), "the node is sealed (SEALED); retrying will not help");
    }

    #[test]
    fn each_node_that_was_tried_is_named() {
        let tried = |port, why: &str| Tried {
            address: Address::parse(&format!("127.0.0.1:{port}")).expect("an address"),
            why: why.to_owned(),
        };
        let error = Error::Unreachable { tried: vec![tried(1, "a"), tried(2, "b")] };
        assert_eq!(error.to_string(), "no node answered: 127.0.0.1:1: a; 127.0.0.1:2: b");
    }
}

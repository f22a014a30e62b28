//! The refusals of this crate, in one place, so that no message says more than it may.

use types::limits::UNARY_PLAINTEXT_BYTES_MAX;
use types::{Reason, Refusal};

/// Whatever is wrong with a ciphertext, its context or its AAD: one answer, so that nobody can probe which check failed.
pub(crate) fn unverified() -> Refusal {
    Refusal::new(Reason::InvalidCiphertext, "ciphertext or context does not verify")
}

pub(crate) fn too_long(what: &str, bytes_max: usize) -> Refusal {
    Refusal::new(Reason::LimitExceeded, format!("{what} is longer than {bytes_max} bytes"))
}

pub(crate) fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Reason::InvalidArgument, message)
}

/// Whether one call may carry that message.
///
/// # Errors
/// `LimitExceeded` past 64 KiB.
pub fn check_message(message: &[u8]) -> Result<(), Refusal> {
    if message.len() <= UNARY_PLAINTEXT_BYTES_MAX {
        return Ok(());
    }
    Err(too_long("the message", UNARY_PLAINTEXT_BYTES_MAX))
}

/// Material that was wrapped and unwrapped well and is no key all the same: never the caller's fault.
pub(crate) fn unreadable() -> Refusal {
    Refusal::new(Reason::Internal, "the stored key cannot be used")
}

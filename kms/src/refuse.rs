//! The refusals of this crate, in one place, so that no message says more than it may.

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

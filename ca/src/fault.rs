//! What goes wrong through no fault of the caller. A refusal (`types::Refusal`) is an answer; these are not.

use crate::lint::LintFailure;

/// A certificate could not be made or read. None of these is caused by what a caller sent.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The encoder refused what we asked for.
    #[error("the certificate could not be encoded: {0}")]
    Encode(String),
    /// Bytes that should be one DER certificate are not.
    #[error("not a DER certificate: {0}")]
    Parse(String),
    /// The key handed in does not belong to the authority's certificate.
    #[error("the authority's key does not match its certificate")]
    KeyMismatch,
    /// What was issued broke a rule of our own lint, so it was thrown away.
    #[error("an issued certificate failed the lint and was thrown away: {0}")]
    Lint(#[from] LintFailure),
    /// A bundle document could not be written or read.
    #[error("not a SPIFFE bundle document: {0}")]
    Bundle(String),
}

impl From<rcgen::Error> for Fault {
    fn from(error: rcgen::Error) -> Self {
        Self::Encode(error.to_string())
    }
}

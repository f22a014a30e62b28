//! The two ways in which a primitive says no. Neither says which byte or which check was at fault: an attacker who can
//! tell them apart has an oracle.

/// A tag, signature, wrapping or encoding did not verify.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the data does not verify under this key and context")]
pub struct Unverified;

/// More bytes than one AES-GCM call may take (2^36 − 31, NIST SP 800-38D §5.2.1.1) or one HKDF call may give.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the data is too long for one call, split it into segments")]
pub struct TooLong;

//! HMAC (RFC 2104) with SHA-256, SHA-384 and SHA-512.
//!
//! The message is given in parts that are simply joined: a caller whose parts have no fixed length puts their lengths in.

use aws_lc_rs::hmac;

use crate::Unverified;
use crate::hash::HashFunction;

/// HMAC-SHA-256 over the joined parts.
#[must_use]
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(tag(hmac::HMAC_SHA256, key, parts).as_ref());
    out
}

/// HMAC-SHA-512 over the joined parts. `HKDF-Extract-SHA-512(salt, ikm)` is `hmac_sha512(salt, [ikm])`.
#[must_use]
pub fn hmac_sha512(key: &[u8], parts: &[&[u8]]) -> [u8; 64] {
    let mut out = [0; 64];
    out.copy_from_slice(tag(hmac::HMAC_SHA512, key, parts).as_ref());
    out
}

/// Checks a whole HMAC-SHA-256 tag in constant time; a shortened tag never verifies.
///
/// # Errors
/// When the tag is not the tag of these parts under this key.
pub fn verify(key: &[u8], parts: &[&[u8]], tag: &[u8]) -> Result<(), Unverified> {
    HashFunction::Sha256.verify(key, parts, tag)
}

impl HashFunction {
    /// HMAC over the joined parts.
    #[must_use]
    pub fn tag(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        tag(self.algorithm(), key, parts).as_ref().to_vec()
    }

    /// Checks a whole tag in constant time; a shortened tag never verifies.
    ///
    /// # Errors
    /// When the tag is not the tag of these parts under this key.
    pub fn verify(self, key: &[u8], parts: &[&[u8]], given: &[u8]) -> Result<(), Unverified> {
        let ours = tag(self.algorithm(), key, parts);
        crate::constant_time::eq(ours.as_ref(), given).then_some(()).ok_or(Unverified)
    }

    const fn algorithm(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

fn tag(algorithm: hmac::Algorithm, key: &[u8], parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, key));
    for part in parts {
        context.update(part);
    }
    context.sign()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_verifies_whole_and_unchanged_only() {
        let tag = hmac_sha256(b"key", &[b"a", b"b"]);
        assert_eq!(verify(b"key", &[b"ab"], &tag), Ok(()));
        assert_eq!(verify(b"key", &[b"ab"], &tag[..31]), Err(Unverified));
        assert_eq!(verify(b"key", &[b"ac"], &tag), Err(Unverified));
        assert_eq!(verify(b"other", &[b"ab"], &tag), Err(Unverified));
    }
}

//! HKDF (RFC 5869) with SHA-512: many keys from one secret.
//!
//! For secrets of full entropy only; a passphrase goes through [`crate::password`] first.
//!
//! AWS-LC's, because it wipes what it has put on the stack and the heap on the way: the root key and all that is below it
//! pass through here, and what is left behind in ordinary memory could be swapped or dumped.

use aws_lc_rs::hkdf;

use crate::{Secret, TooLong};

/// The pseudorandom key of HKDF-Extract: keys are expanded from it, it is never used as one.
pub struct Prk(hkdf::Prk);

/// HKDF-Extract. The salts in use are 32 random bytes, so that each message, wrapping and process start has a key of its
/// own: 2^-64 is the chance that any two of 2^96 meet.
#[must_use]
pub fn extract_sha512(salt: &[u8], ikm: &[u8]) -> Prk {
    Prk(hkdf::Salt::new(hkdf::HKDF_SHA512, salt).extract(ikm))
}

impl Prk {
    /// HKDF-Expand to 32 bytes over the joined parts of `info`. Two purposes under one `Prk` must differ in `info`; the
    /// parts need fixed lengths or length prefixes, or two different lists would join to the same bytes.
    #[must_use]
    #[expect(clippy::expect_used, reason = "HKDF-SHA-512 gives up to 16,320 bytes and 32 are asked for")]
    pub fn expand(&self, info: &[&[u8]]) -> Secret<32> {
        let mut key = Secret::zeroed();
        self.expand_into(info, key.expose_mut()).expect("32 bytes is within the bound");
        key
    }

    /// HKDF-Expand into the whole buffer.
    ///
    /// # Errors
    /// When the buffer is longer than 255 digests (16,320 bytes).
    pub fn expand_into(&self, info: &[&[u8]], out: &mut [u8]) -> Result<(), TooLong> {
        self.0.expand(info, Length(out.len())).and_then(|okm| okm.fill(out)).map_err(|_| TooLong)
    }
}

impl std::fmt::Debug for Prk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prk(redacted)")
    }
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extract_is_hmac_and_info_separates() {
        let prk = extract_sha512(&[7; 32], b"secret");
        let by_hand = crate::mac::hmac_sha512(&crate::mac::hmac_sha512(&[7; 32], &[b"secret"]), &[b"info", &[1]]);
        assert_eq!(prk.expand(&[b"in", b"fo"]).expose(), &by_hand[..32]);
        assert_ne!(prk.expand(&[b"info"]).expose(), prk.expand(&[b"inf0"]).expose());
    }

    #[test]
    fn past_255_digests_is_refused() {
        let prk = extract_sha512(&[7; 32], b"secret");
        assert_eq!(prk.expand_into(&[], &mut vec![0; 16_320]), Ok(()));
        assert_eq!(prk.expand_into(&[], &mut vec![0; 16_321]), Err(TooLong));
    }
}

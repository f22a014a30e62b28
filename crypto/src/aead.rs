//! AES-256-GCM (NIST SP 800-38D) and ChaCha20-Poly1305 (RFC 8439) with a nonce that the caller answers for.
//!
//! Both have keys of 32 bytes, nonces of 12 and tags of 16, and the same weakness: they lose everything when one key meets
//! one nonce twice, and they do not commit to their key. So no caller here draws
//! random nonces under a long-lived key: either the key is derived for one message and the nonce is zero, or the key is
//! derived for one writer and the nonce is that writer's counter. Formats that face an attacker who may choose keys add
//! a commitment of their own (`kms`).
//!
//! AWS-LC's, because it wipes an expanded key, whose first bytes are the key itself, when it lets it go.

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use crate::{TooLong, Unverified};

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;
/// Bytes that sealing adds. Never shortened: a short tag weakens GCM more than its length says (SP 800-38D appendix C).
pub const TAG_BYTES: usize = 16;

/// The nonce of a key that seals exactly one message.
pub const SINGLE_USE_NONCE: [u8; NONCE_BYTES] = [0; NONCE_BYTES];

/// What a key is expanded for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cipher {
    /// AES-256-GCM.
    Aes256Gcm,
    /// ChaCha20-Poly1305: as fast where the processor has no AES instructions, and constant in time there.
    ChaCha20Poly1305,
}

/// An expanded key, for callers that seal many segments or records under different nonces.
pub struct Key(LessSafeKey);

impl Key {
    /// Expands an AES-256-GCM key once, so that each segment costs no key schedule.
    #[must_use]
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self::of(Cipher::Aes256Gcm, key)
    }

    /// Expands a key of that cipher.
    #[must_use]
    #[expect(clippy::expect_used, reason = "32 bytes is the key length of both and the only check there is")]
    pub fn of(cipher: Cipher, key: &[u8; KEY_BYTES]) -> Self {
        let algorithm = match cipher {
            Cipher::Aes256Gcm => &AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        Self(LessSafeKey::new(UnboundKey::new(algorithm, key).expect("32 bytes is a key")))
    }

    /// Replaces the plaintext in `buffer` by ciphertext ‖ tag. The nonce must be new under this key.
    ///
    /// # Errors
    /// When the plaintext is longer than the cipher allows.
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], buffer: &mut Vec<u8>) -> Result<(), TooLong> {
        self.0.seal_in_place_append_tag(unique(nonce), Aad::from(aad), buffer).map_err(|_| TooLong)
    }

    /// Appends ciphertext ‖ tag of `plaintext` to `out`. The nonce must be new under this key.
    ///
    /// # Errors
    /// When the plaintext is longer than the cipher allows; `out` is then as it was.
    pub fn seal_into(
        &self,
        nonce: [u8; NONCE_BYTES],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), TooLong> {
        let start = out.len();
        // The whole room first: a vector that grows under the plaintext would leave it behind in freed memory.
        out.reserve(plaintext.len().saturating_add(TAG_BYTES));
        out.extend_from_slice(plaintext);
        let body = out.get_mut(start..).unwrap_or_default();
        match self.0.seal_in_place_separate_tag(unique(nonce), Aad::from(aad), body) {
            Ok(tag) => {
                out.extend_from_slice(tag.as_ref());
                Ok(())
            }
            Err(_) => {
                zeroize::Zeroize::zeroize(body);
                out.truncate(start);
                Err(TooLong)
            }
        }
    }

    /// Replaces ciphertext ‖ tag in `buffer` by the plaintext.
    ///
    /// # Errors
    /// When it does not verify; `buffer` is then empty, no unverified byte is handed out.
    pub fn open(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], buffer: &mut Vec<u8>) -> Result<(), Unverified> {
        match self.0.open_in_place(unique(nonce), Aad::from(aad), buffer) {
            Ok(plaintext) => {
                let len = plaintext.len();
                buffer.truncate(len);
                Ok(())
            }
            Err(_) => {
                zeroize::Zeroize::zeroize(buffer);
                Err(Unverified)
            }
        }
    }

    /// Appends the plaintext of ciphertext ‖ tag to `out`.
    ///
    /// # Errors
    /// When it does not verify; `out` is then as it was.
    pub fn open_into(
        &self,
        nonce: [u8; NONCE_BYTES],
        aad: &[u8],
        sealed: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Unverified> {
        let start = out.len();
        out.extend_from_slice(sealed);
        let body = out.get_mut(start..).unwrap_or_default();
        let opened = self.0.open_in_place(unique(nonce), Aad::from(aad), body).map(|plaintext| plaintext.len());
        match opened {
            Ok(len) => {
                out.truncate(start.saturating_add(len));
                Ok(())
            }
            Err(_) => {
                zeroize::Zeroize::zeroize(body);
                out.truncate(start);
                Err(Unverified)
            }
        }
    }
}

/// [`Key::seal`] under a key that is used this once.
///
/// # Errors
/// When the plaintext is longer than the cipher allows.
pub fn seal_in_place(
    key: &[u8; KEY_BYTES],
    nonce: [u8; NONCE_BYTES],
    aad: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<(), TooLong> {
    Key::new(key).seal(nonce, aad, buffer)
}

/// [`Key::open`] under a key that is used this once.
///
/// # Errors
/// When it does not verify; `buffer` is then empty.
pub fn open_in_place(
    key: &[u8; KEY_BYTES],
    nonce: [u8; NONCE_BYTES],
    aad: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<(), Unverified> {
    Key::new(key).open(nonce, aad, buffer)
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("aead::Key(redacted)")
    }
}

fn unique(nonce: [u8; NONCE_BYTES]) -> Nonce {
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_place_and_appending_agree() {
        let key = Key::new(&[3; 32]);
        let mut in_place = b"plaintext".to_vec();
        key.seal([1; 12], b"aad", &mut in_place).expect("seals");
        let mut appended = b"head".to_vec();
        key.seal_into([1; 12], b"aad", b"plaintext", &mut appended).expect("seals");
        assert_eq!(appended, [b"head", in_place.as_slice()].concat());

        let mut opened = b"head".to_vec();
        key.open_into([1; 12], b"aad", &in_place, &mut opened).expect("opens");
        assert_eq!(opened, b"headplaintext");
        open_in_place(&[3; 32], [1; 12], b"aad", &mut in_place).expect("opens");
        assert_eq!(in_place, b"plaintext");
    }

    #[test]
    fn what_does_not_verify_hands_out_nothing() {
        let key = Key::new(&[3; 32]);
        let mut sealed = b"plaintext".to_vec();
        key.seal([1; 12], b"aad", &mut sealed).expect("seals");
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            let mut out = b"head".to_vec();
            assert_eq!(key.open_into([1; 12], b"aad", &bad, &mut out), Err(Unverified));
            assert_eq!(out, b"head");
            assert_eq!(key.open([1; 12], b"aad", &mut bad), Err(Unverified));
            assert!(bad.is_empty());
        }
        for (nonce, aad, len) in [([2; 12], &b"aad"[..], 25), ([1; 12], b"add", 25), ([1; 12], b"aad", 15)] {
            assert_eq!(key.open(nonce, aad, &mut sealed[..len].to_vec()), Err(Unverified));
        }
    }
}

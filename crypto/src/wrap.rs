//! Wrapping one secret under another: `format(1) | salt(32) | ciphertext ‖ tag`. Specified in `docs/spec/wrapping.md`.
//!
//! The caller's AAD says what the secret is and where it belongs, so that a wrapped secret moved to another place does
//! not open. It is bound, not stored.

use crate::{SecretBytes, TooLong, Unverified, aead, kdf};

/// The first byte of every wrapped secret; a new format takes the next number.
pub const FORMAT: u8 = 1;
/// Bytes of a salt.
pub const SALT_BYTES: usize = 32;
/// Bytes that wrapping adds to a secret.
pub const OVERHEAD_BYTES: usize = 1 + SALT_BYTES + aead::TAG_BYTES;

const INFO: &[u8] = b"chancery wrap v1";

/// Wraps `secret` under `kek`. The salt is 32 fresh random bytes, drawn by the caller.
///
/// # Errors
/// When the secret is longer than AES-GCM allows.
pub fn wrap(kek: &[u8; 32], salt: [u8; SALT_BYTES], aad: &[u8], secret: &[u8]) -> Result<Vec<u8>, TooLong> {
    let mut out = Vec::with_capacity(secret.len().saturating_add(OVERHEAD_BYTES));
    out.push(FORMAT);
    out.extend_from_slice(&salt);
    key(kek, &salt).seal_into(aead::SINGLE_USE_NONCE, aad, secret, &mut out)?;
    Ok(out)
}

/// Opens what [`wrap`] made with the same key and AAD.
///
/// # Errors
/// When it does not verify, has another format or is too short; the three look the same.
pub fn unwrap(kek: &[u8; 32], aad: &[u8], wrapped: &[u8]) -> Result<SecretBytes, Unverified> {
    let (&FORMAT, rest) = wrapped.split_first().ok_or(Unverified)? else {
        return Err(Unverified);
    };
    let (salt, sealed) = rest.split_first_chunk::<SALT_BYTES>().ok_or(Unverified)?;
    // The whole room first, so that the plaintext never moves and is wiped where it was opened.
    let mut secret = Vec::with_capacity(sealed.len());
    key(kek, salt).open_into(aead::SINGLE_USE_NONCE, aad, sealed, &mut secret)?;
    Ok(SecretBytes::from_vec(secret))
}

/// The key that wraps this one secret. A fresh salt gives a fresh key, so the zero nonce meets it once, however many
/// secrets one `kek` wraps (no 2^32 bound as with random nonces). A missing key commitment is harmless: nobody but the
/// cluster chooses a `kek`, so no one can make a wrapping that opens under two.
fn key(kek: &[u8; 32], salt: &[u8; SALT_BYTES]) -> aead::Key {
    aead::Key::new(kdf::extract_sha512(salt, kek).expand(&[INFO]).expose())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_where_it_belongs() {
        let wrapped = wrap(&[1; 32], [2; 32], b"place", b"secret").expect("wraps");
        assert_eq!(wrapped.len(), b"secret".len() + OVERHEAD_BYTES);
        assert_eq!(unwrap(&[1; 32], b"place", &wrapped).expect("opens").expose(), b"secret");
        assert!(unwrap(&[3; 32], b"place", &wrapped).is_err());
        assert!(unwrap(&[1; 32], b"elsewhere", &wrapped).is_err());
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_refused() {
        let wrapped = wrap(&[1; 32], [2; 32], b"place", b"secret").expect("wraps");
        for at in 0..wrapped.len() {
            let mut bad = wrapped.clone();
            bad[at] ^= 0x80;
            assert!(unwrap(&[1; 32], b"place", &bad).is_err(), "byte {at}");
            assert!(unwrap(&[1; 32], b"place", &wrapped[..at]).is_err(), "cut at {at}");
        }
        assert!(unwrap(&[1; 32], b"place", &[&wrapped[..], b"x"].concat()).is_err());
    }
}

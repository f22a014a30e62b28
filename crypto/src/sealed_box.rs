//! A secret for the holder of an X25519 key, from anybody: `ephemeral public key(32) | wrapped secret`. Specified in
//! `docs/spec/wrapping.md`.
//!
//! It says nothing about who sealed it. The AAD says what the secret is and where it belongs, as with [`crate::wrap`].

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};

use crate::{Secret, SecretBytes, Unverified, entropy, kdf, wrap};

/// Bytes of a public key.
pub const PUBLIC_BYTES: usize = 32;

const INFO: &[u8] = b"chancery sealed box v1";

/// The public key of a private one. Any 32 bytes are a private key (RFC 7748 §5).
///
/// # Errors
/// When the library refuses the key, which it does not for 32 bytes.
pub fn public_of(private: &Secret<32>) -> Result<[u8; PUBLIC_BYTES], Unverified> {
    let key = PrivateKey::from_private_key(&X25519, private.expose()).map_err(|_| Unverified)?;
    public(&key)
}

/// Seals a secret for the holder of `recipient`'s private key.
///
/// # Errors
/// When `recipient` is no public key: a point of small order, which would make the shared secret known.
pub fn seal(recipient: &[u8; PUBLIC_BYTES], aad: &[u8], secret: &[u8]) -> Result<Vec<u8>, Unverified> {
    let ephemeral = PrivateKey::generate(&X25519).map_err(|_| Unverified)?;
    let sender = public(&ephemeral)?;
    let kek = agreed(&ephemeral, recipient, &sender, recipient)?;
    // A key of its own per box, so the salt need not be more than fresh.
    let wrapped = wrap::wrap(kek.expose(), entropy::array(), aad, secret).map_err(|_| Unverified)?;
    Ok([sender.as_slice(), &wrapped].concat())
}

/// Opens what [`seal`] made for this private key under the same AAD.
///
/// # Errors
/// When it does not verify; a wrong key and a changed box look the same.
pub fn open(private: &Secret<32>, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, Unverified> {
    let (sender, wrapped) = sealed.split_first_chunk::<PUBLIC_BYTES>().ok_or(Unverified)?;
    let key = PrivateKey::from_private_key(&X25519, private.expose()).map_err(|_| Unverified)?;
    let kek = agreed(&key, sender, sender, &public(&key)?)?;
    wrap::unwrap(kek.expose(), aad, wrapped)
}

fn public(key: &PrivateKey) -> Result<[u8; PUBLIC_BYTES], Unverified> {
    let public = key.compute_public_key().map_err(|_| Unverified)?;
    public.as_ref().try_into().map_err(|_| Unverified)
}

/// Both public keys are in the salt: a box is bound to the two of them, as in HPKE (RFC 9180 §4.1).
fn agreed(
    mine: &PrivateKey,
    theirs: &[u8; 32],
    sender: &[u8; 32],
    recipient: &[u8; 32],
) -> Result<Secret<32>, Unverified> {
    let theirs = UnparsedPublicKey::new(&X25519, theirs);
    agreement::agree(mine, theirs, Unverified, |shared| {
        let salt = [sender.as_slice(), recipient].concat();
        Ok(kdf::extract_sha512(&salt, shared).expand(&[INFO]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_recipient_opens_it_and_only_where_it_belongs() {
        let (private, other) = (entropy::secret::<32>(), entropy::secret::<32>());
        let public = public_of(&private).expect("a key");
        let sealed = seal(&public, b"place", b"secret").expect("seals");
        assert_eq!(open(&private, b"place", &sealed).expect("opens").expose(), b"secret");
        assert!(open(&other, b"place", &sealed).is_err());
        assert!(open(&private, b"elsewhere", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&private, b"place", &changed).is_err(), "byte {at}");
            assert!(open(&private, b"place", &sealed[..at]).is_err(), "cut at {at}");
        }
        assert_ne!(sealed, seal(&public, b"place", b"secret").expect("seals"), "each box has a key of its own");
    }

    #[test]
    fn a_point_of_small_order_is_no_recipient() {
        assert!(seal(&[0; 32], b"", b"secret").is_err());
        assert!(open(&entropy::secret::<32>(), b"", &[0; 96]).is_err());
    }

    /// Bob's keys of RFC 7748 §6.1.
    #[test]
    fn public_keys_are_those_of_the_standard() {
        let private = hex::decode("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb").expect("hex");
        let private = Secret::from_slice(&private).expect("32 bytes");
        let public = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";
        assert_eq!(hex::encode(public_of(&private).expect("a key")), public);
    }
}

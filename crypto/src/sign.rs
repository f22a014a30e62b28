//! ECDSA P-256 with SHA-256 (FIPS 186-5): the keys of nodes, operators, agents, authorities and SVIDs.
//!
//! P-256 because every peer of ours (Envoy, browsers, Go, OpenSSL) takes it as a leaf key; Ed25519 leaves are refused by
//! some. Signatures are ASN.1 DER.

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};

use crate::{SecretBytes, Unverified, entropy};

/// Bytes of an uncompressed point: `04 | x | y`.
pub const POINT_BYTES: usize = 65;

/// DER of a SubjectPublicKeyInfo up to the point (RFC 5480 §2: id-ecPublicKey, prime256v1, 66-byte bit string).
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A private key that signs.
pub struct P256Signer {
    pair: EcdsaKeyPair,
    pkcs8: SecretBytes,
}

impl P256Signer {
    /// Draws a new key.
    ///
    /// # Panics
    /// When the kernel has no random bytes to give, as [`entropy::fill`].
    #[must_use]
    #[expect(clippy::expect_used, reason = "fails only without random bytes, and what ring made ring reads")]
    pub fn generate() -> Self {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &entropy::system())
            .expect("the kernel gives random bytes");
        Self::from_pkcs8(document.as_ref()).expect("a key that was just made")
    }

    /// Reads a PKCS#8 v1 document (RFC 5208) that holds the public key too, as OpenSSL, rcgen and ring write it.
    ///
    /// # Errors
    /// When it is no such document, another curve, or its two halves do not belong together.
    pub fn from_pkcs8(document: &[u8]) -> Result<Self, Unverified> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document, &entropy::system())
            .map_err(|_| Unverified)?;
        Ok(Self { pair, pkcs8: SecretBytes::from_vec(document.to_vec()) })
    }

    /// The private key as PKCS#8, to be sealed or written to a 0600 file.
    #[must_use]
    pub fn to_pkcs8(&self) -> SecretBytes {
        SecretBytes::from_vec(self.pkcs8.expose().to_vec())
    }

    /// Signs the message; DER, at most 72 bytes. The nonce is random and mixed with key and message, so that a weak
    /// random source alone does not give the key away.
    ///
    /// # Panics
    /// When the kernel has no random bytes to give, as [`entropy::fill`].
    #[must_use]
    #[expect(clippy::expect_used, reason = "fails only without random bytes")]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(&entropy::system(), message).expect("the kernel gives random bytes").as_ref().to_vec()
    }

    /// The public key as an uncompressed point, 65 bytes.
    #[must_use]
    pub fn public_point(&self) -> Vec<u8> {
        self.pair.public_key().as_ref().to_vec()
    }

    /// The public key as DER SubjectPublicKeyInfo, 91 bytes.
    #[must_use]
    pub fn spki_der(&self) -> Vec<u8> {
        [&SPKI_PREFIX, self.pair.public_key().as_ref()].concat()
    }
}

impl std::fmt::Debug for P256Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("P256Signer(redacted)")
    }
}

/// Checks a DER signature by the key in a DER SubjectPublicKeyInfo. ECDSA signatures are malleable: never use one as an
/// identifier.
///
/// # Errors
/// When the key is no uncompressed P-256 point in exactly the form we write, or the signature is not by it.
pub fn verify_p256_spki(spki_der: &[u8], message: &[u8], signature: &[u8]) -> Result<(), Unverified> {
    let point = point_of_spki(spki_der).ok_or(Unverified)?;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature).map_err(|_| Unverified)
}

/// The point in a DER SubjectPublicKeyInfo of a P-256 key; `None` for every other encoding. Whether it lies on the curve
/// is checked by whatever uses it.
#[must_use]
pub fn point_of_spki(spki_der: &[u8]) -> Option<&[u8; POINT_BYTES]> {
    let point: &[u8; POINT_BYTES] = spki_der.strip_prefix(&SPKI_PREFIX)?.try_into().ok()?;
    (point.first() == Some(&4)).then_some(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_what_its_own_spki_verifies() {
        let signer = P256Signer::generate();
        let signature = signer.sign(b"message");
        let spki = signer.spki_der();
        assert_eq!(spki.len(), 91);
        assert_eq!(point_of_spki(&spki).map(|point| point.to_vec()), Some(signer.public_point()));
        assert_eq!(verify_p256_spki(&spki, b"message", &signature), Ok(()));
        assert_eq!(verify_p256_spki(&spki, b"massage", &signature), Err(Unverified));
        assert_eq!(verify_p256_spki(&P256Signer::generate().spki_der(), b"message", &signature), Err(Unverified));
    }

    #[test]
    fn survives_its_own_encoding() {
        let signer = P256Signer::generate();
        let again = P256Signer::from_pkcs8(signer.to_pkcs8().expose()).expect("reads");
        assert_eq!(again.spki_der(), signer.spki_der());
        assert_eq!(format!("{again:?}"), "P256Signer(redacted)");
        assert!(P256Signer::from_pkcs8(b"not a key").is_err());
    }

    #[test]
    fn other_encodings_of_a_key_are_refused() {
        let signer = P256Signer::generate();
        let (spki, signature) = (signer.spki_der(), signer.sign(b"m"));
        for at in 0..spki.len() {
            let mut bad = spki.clone();
            bad[at] ^= 1;
            assert!(verify_p256_spki(&bad, b"m", &signature).is_err(), "byte {at}");
        }
        assert!(verify_p256_spki(&[&spki[..], &[0]].concat(), b"m", &signature).is_err());
    }
}

//! RSA (RFC 8017): PSS and PKCS#1 v1.5 signatures, OAEP encryption with SHA-256. AWS-LC blinds each private operation and checks its
//! result with the public key, so that neither its duration nor a fault gives the key away.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{
    KeyPair, KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey, PublicKey,
};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, VerificationAlgorithm,
};

use super::{HashFunction, NewPair, Signed, imported};
use crate::{SecretBytes, TooLong, Unverified};

/// Draws a pair of that size.
pub(super) fn generate(size: KeySize) -> Result<NewPair, Unverified> {
    let pair = KeyPair::generate(size).map_err(|_| Unverified)?;
    let private: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| Unverified)?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| Unverified)?;
    Ok(NewPair { private: SecretBytes::from_vec(private.as_ref().to_vec()), public: public.as_ref().to_vec() })
}

/// The public half, if the key is of that size.
pub(super) fn public_of(size: KeySize, private: &[u8]) -> Result<Vec<u8>, Unverified> {
    let pair = KeyPair::from_pkcs8(private).map_err(|_| Unverified)?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| Unverified)?;
    (pair.public_modulus_len() == size.len()).then(|| public.as_ref().to_vec()).ok_or(Unverified)
}

/// Signs; the encoding and the hash are one scheme's.
pub(super) fn sign(
    (encoding, hash): (&'static dyn RsaEncoding, HashFunction),
    private: &[u8],
    signed: Signed<'_>,
) -> Result<Vec<u8>, Unverified> {
    let pair = KeyPair::from_pkcs8(private).map_err(|_| Unverified)?;
    let mut signature = vec![0; pair.public_modulus_len()];
    match signed {
        // AWS-LC draws its own random bytes.
        Signed::Message(message) => pair.sign(encoding, &SystemRandom::new(), message, &mut signature),
        Signed::Digest(digest) => pair.sign_digest(encoding, &imported(hash, digest)?, &mut signature),
    }
    .map_err(|_| Unverified)?;
    Ok(signature)
}

/// How PSS signs and verifies with a hash.
pub(super) const fn pss(hash: HashFunction) -> (&'static dyn RsaEncoding, &'static dyn VerificationAlgorithm) {
    match hash {
        HashFunction::Sha256 => (&RSA_PSS_SHA256, &RSA_PSS_2048_8192_SHA256),
        HashFunction::Sha384 => (&RSA_PSS_SHA384, &RSA_PSS_2048_8192_SHA384),
        HashFunction::Sha512 => (&RSA_PSS_SHA512, &RSA_PSS_2048_8192_SHA512),
    }
}

/// How PKCS#1 v1.5 does.
pub(super) const fn pkcs1(hash: HashFunction) -> (&'static dyn RsaEncoding, &'static dyn VerificationAlgorithm) {
    match hash {
        HashFunction::Sha256 => (&RSA_PKCS1_SHA256, &RSA_PKCS1_2048_8192_SHA256),
        HashFunction::Sha384 => (&RSA_PKCS1_SHA384, &RSA_PKCS1_2048_8192_SHA384),
        HashFunction::Sha512 => (&RSA_PKCS1_SHA512, &RSA_PKCS1_2048_8192_SHA512),
    }
}

/// Encrypts to the key in a DER SubjectPublicKeyInfo: RSAES-OAEP with SHA-256 and MGF1-SHA-256 (RFC 8017 §7.1).
///
/// # Errors
/// When it is no RSA key of at least 2,048 bits, or the plaintext is longer than the modulus less 66 bytes.
pub fn oaep_encrypt(public: &[u8], label: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, TooLong> {
    let key =
        PublicEncryptingKey::from_der(public).and_then(|key| OaepPublicEncryptingKey::new(key).map_err(Into::into));
    let key = key.map_err(|_| TooLong)?;
    let mut out = vec![0; key.ciphertext_size()];
    let sealed = key.encrypt(&OAEP_SHA256_MGF1SHA256, plaintext, &mut out, given(label)).map_err(|_| TooLong)?;
    Ok(sealed.to_vec())
}

/// Opens what [`oaep_encrypt`] made, with a private key in PKCS#8 and the same label.
///
/// # Errors
/// When it does not open; why not is told to nobody (Manger 2001).
pub fn oaep_decrypt(private: &[u8], label: &[u8], ciphertext: &[u8]) -> Result<SecretBytes, Unverified> {
    let key = PrivateDecryptingKey::from_pkcs8(private).map_err(|_| Unverified)?;
    let key = OaepPrivateDecryptingKey::new(key).map_err(|_| Unverified)?;
    let mut out = SecretBytes::from_vec(vec![0; key.min_output_size()]);
    let len =
        key.decrypt(&OAEP_SHA256_MGF1SHA256, ciphertext, out.expose_mut(), given(label)).map(|opened| opened.len());
    out.truncate(len.map_err(|_| Unverified)?);
    Ok(out)
}

/// Modulus and exponent of the RSA key in a DER SubjectPublicKeyInfo, big-endian without leading zeros; `None` when it is none.
#[must_use]
pub fn rsa_numbers(public: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let key = PublicKey::from_der(public).ok()?;
    let trimmed = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    Some((
        trimmed(key.modulus().big_endian_without_leading_zero()),
        trimmed(key.exponent().big_endian_without_leading_zero()),
    ))
}

fn given(label: &[u8]) -> Option<&[u8]> {
    Some(label).filter(|label| !label.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encrypted_to_a_key_opens_with_it_and_its_label_only() {
        let (pair, other) = (generate(KeySize::Rsa2048).expect("draws"), generate(KeySize::Rsa2048).expect("draws"));
        let sealed = oaep_encrypt(&pair.public, b"label", b"secret").expect("encrypts");
        assert_eq!(sealed.len(), 256);
        assert_eq!(oaep_decrypt(pair.private.expose(), b"label", &sealed).expect("opens").expose(), b"secret");
        assert!(oaep_decrypt(pair.private.expose(), b"", &sealed).is_err());
        assert!(oaep_decrypt(other.private.expose(), b"label", &sealed).is_err());
        assert!(oaep_decrypt(pair.private.expose(), b"label", &sealed[1..]).is_err());
        assert!(oaep_encrypt(&pair.public, b"", &[0; 190]).is_ok());
        assert!(oaep_encrypt(&pair.public, b"", &[0; 191]).is_err(), "66 bytes less than the modulus");
        assert!(oaep_encrypt(b"no key", b"", b"").is_err());
    }

    #[test]
    fn sizes_are_those_asked_for() {
        for (kind, bytes) in [(KeySize::Rsa2048, 256), (KeySize::Rsa3072, 384)] {
            let (n, e) = rsa_numbers(&generate(kind).expect("draws").public).expect("an RSA key");
            assert_eq!((n.len(), e.as_slice(), n[0] >> 7), (bytes, &[1, 0, 1][..], 1));
        }
        assert!(rsa_numbers(&super::super::ed25519::generate().expect("draws").public).is_none());
    }
}

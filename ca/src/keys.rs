//! The seam between our keys and the certificate encoder: `rcgen` is built without a crypto backend, so every signature
//! it asks for is made by `crypto`. Also the two ways a key is named: the SPKI hash and the key identifier.

use crypto::sign::P256Signer;
use rcgen::{PublicKeyData, SignatureAlgorithm, SigningKey};
use types::{SpkiHash, Time};
use x509_parser::prelude::FromDer;

use crate::Fault;

/// SHA-256 of a DER SubjectPublicKeyInfo: how nodes, operators and agents are recognised.
#[must_use]
pub fn spki_hash(spki_der: &[u8]) -> SpkiHash {
    SpkiHash(crypto::hash::sha256(spki_der))
}

/// The SPKI hash of the key inside a certificate. The certificate itself is not judged: no signature, date or name is
/// looked at, so this is only for peers that are recognised by an enrolled key.
///
/// # Errors
/// [`Fault::Parse`] when the bytes are not exactly one DER certificate.
pub fn spki_hash_of_cert(certificate_der: &[u8]) -> Result<SpkiHash, Fault> {
    let (rest, certificate) = x509_parser::certificate::X509Certificate::from_der(certificate_der)
        .map_err(|error| Fault::Parse(error.to_string()))?;
    if !rest.is_empty() {
        return Err(Fault::Parse("bytes follow the certificate".to_owned()));
    }
    Ok(spki_hash(certificate.tbs_certificate.subject_pki.raw))
}

/// Splits DER certificates that stand one after another, as the Workload API carries them, and says when each ends. Nothing
/// is verified.
///
/// # Errors
/// [`Fault::Parse`] when the bytes are anything but whole certificates.
pub fn split_certificates(mut concatenated: &[u8]) -> Result<Vec<(Vec<u8>, Time)>, Fault> {
    let mut certificates = Vec::new();
    while !concatenated.is_empty() {
        let (rest, certificate) = x509_parser::certificate::X509Certificate::from_der(concatenated)
            .map_err(|error| Fault::Parse(error.to_string()))?;
        let end = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        let (der, _) = concatenated.split_at(concatenated.len() - rest.len());
        certificates.push((der.to_vec(), Time(end.saturating_mul(1_000))));
        concatenated = rest;
    }
    Ok(certificates)
}

/// The key identifier of RFC 7093 §2 method 1: the first 160 bits of SHA-256 over the public key's bit string.
pub(crate) fn key_identifier(public_point: &[u8]) -> Vec<u8> {
    crypto::hash::sha256(public_point).into_iter().take(20).collect()
}

/// A signing key as the encoder, rcgen, wants to see it.
pub struct Signing<'a> {
    signer: &'a P256Signer,
    point: Vec<u8>,
}

impl<'a> Signing<'a> {
    /// Lends the key; it stays where it is.
    #[must_use]
    pub fn new(signer: &'a P256Signer) -> Self {
        Self { signer, point: signer.public_point() }
    }

    /// Its subject key identifier, 20 bytes.
    #[must_use]
    pub fn key_identifier(&self) -> Vec<u8> {
        key_identifier(&self.point)
    }
}

impl PublicKeyData for Signing<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Signing<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.signer.sign(message))
    }
}

#[cfg(test)]
mod tests {
    use types::Time;

    use super::*;

    #[test]
    fn the_hash_of_a_certificate_is_the_hash_of_its_key() {
        let signer = P256Signer::generate();
        let der = crate::self_signed(&signer, "alice", Time(0), Time::NEVER).expect("a certificate");
        assert_eq!(spki_hash_of_cert(&der).expect("parses"), spki_hash(&signer.spki_der()));
    }

    #[test]
    fn anything_but_exactly_one_certificate_is_refused() {
        let mut der =
            crate::self_signed(&P256Signer::generate(), "alice", Time(0), Time::NEVER).expect("a certificate");
        assert!(spki_hash_of_cert(&der[..der.len() - 1]).is_err());
        assert!(spki_hash_of_cert(b"").is_err());
        der.push(0);
        assert!(spki_hash_of_cert(&der).is_err());
    }
}

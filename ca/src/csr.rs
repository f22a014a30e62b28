//! Certificate signing requests. From one that arrives only the public key is taken, after its own signature has proven
//! that the sender holds the private half; whatever else it asks for is not even read. Names come from the entry.

use crypto::sign::P256Signer;
use rcgen::{CertificateParams, DistinguishedName, PublicKeyData, SignatureAlgorithm};
use types::limits::CSR_BYTES_MAX;
use types::{Reason, Refusal};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::Fault;
use crate::keys::Signing;
use crate::parsed::{ECDSA_SHA256, ECDSA_SHA384, KeyKind, is_wrapped, key_kind};

/// A public key that somebody has proven to hold: P-256 or P-384.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestedKey {
    curve: Curve,
    point: Vec<u8>,
    spki: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Curve {
    P256,
    P384,
}

impl RequestedKey {
    /// Takes the key out of a request (PKCS#10, DER), whose signature must be by that same key.
    ///
    /// # Errors
    /// `InvalidArgument` when it is not exactly one request, the key is of another kind, or the signature does not hold.
    pub fn from_csr(der: &[u8]) -> Result<Self, Refusal> {
        if der.len() > CSR_BYTES_MAX {
            return Err(refused(&format!("it is longer than {CSR_BYTES_MAX} bytes")));
        }
        let (rest, request) =
            X509CertificationRequest::from_der(der).map_err(|_| refused("it is not PKCS#10 in DER encoding"))?;
        if !rest.is_empty() {
            return Err(refused("bytes follow the request"));
        }
        let info = &request.certification_request_info;
        let key = Self {
            curve: match key_kind(&info.subject_pki) {
                KeyKind::P256 => Curve::P256,
                KeyKind::P384 => Curve::P384,
                KeyKind::Other => return Err(refused("its key must be P-256 or P-384, with a named curve")),
            },
            point: info.subject_pki.subject_public_key.data.to_vec(),
            spki: info.subject_pki.raw.to_vec(),
        };
        let algorithm = match key.curve {
            Curve::P256 => ECDSA_SHA256,
            Curve::P384 => ECDSA_SHA384,
        };
        let signature = &request.signature_value.data;
        if !is_wrapped(der, info.raw, algorithm, signature) {
            return Err(refused("sign it with ECDSA and the hash of its curve: SHA-256 for P-256, SHA-384 for P-384"));
        }
        if !key.has_signed(info.raw, signature) {
            return Err(refused("its signature is not by its own key"));
        }
        Ok(key)
    }

    /// The key as DER SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    pub(crate) fn key_identifier(&self) -> Vec<u8> {
        crate::keys::key_identifier(&self.point)
    }

    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match self.curve {
            Curve::P256 => crypto::sign::verify_p256_spki(&self.spki, message, signature).is_ok(),
            Curve::P384 => {
                webpki::aws_lc_rs::ECDSA_P384_SHA384.verify_signature(&self.point, message, signature).is_ok()
            }
        }
    }
}

impl PublicKeyData for RequestedKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self.curve {
            Curve::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Curve::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        }
    }
}

/// A request (PKCS#10, DER) for that key, with an empty subject and no attributes: the server takes nothing else anyway.
///
/// # Errors
/// [`Fault::Encode`] when the encoder fails.
pub fn certificate_request(signer: &P256Signer) -> Result<Vec<u8>, Fault> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(&Signing::new(signer))?.der().to_vec())
}

fn refused(why: &str) -> Refusal {
    Refusal::new(Reason::InvalidArgument, format!("the certificate request was refused: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_our_own_request_is_taken() {
        let signer = P256Signer::generate();
        let key = RequestedKey::from_csr(&certificate_request(&signer).expect("encodes")).expect("a good request");
        assert_eq!(key.spki_der(), signer.spki_der());
    }

    #[test]
    fn only_the_key_is_taken() {
        let signer = P256Signer::generate();
        let mut params = CertificateParams::new(["evil.example".to_owned()]).expect("parameters");
        params.distinguished_name.push(rcgen::DnType::CommonName, "root");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let greedy = params.serialize_request(&Signing::new(&signer)).expect("encodes");
        let modest = certificate_request(&signer).expect("encodes");
        assert_eq!(RequestedKey::from_csr(greedy.der()), RequestedKey::from_csr(&modest));
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let signer = P256Signer::generate();
        let good = certificate_request(&signer).expect("encodes");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(RequestedKey::from_csr(&bad).is_err(), "byte {at}");
        }
    }

    #[test]
    fn anything_but_exactly_one_request_is_refused() {
        let mut der = certificate_request(&P256Signer::generate()).expect("encodes");
        assert!(RequestedKey::from_csr(b"").is_err());
        assert!(RequestedKey::from_csr(&der[..der.len() - 1]).is_err());
        der.push(0);
        assert!(RequestedKey::from_csr(&der).is_err());
        assert!(RequestedKey::from_csr(&[0x30; CSR_BYTES_MAX + 1]).expect_err("too long").message.contains("4096"));
    }

    /// `openssl req -new -newkey {…} -nodes -subj / -outform DER | base64`: keys that no leaf of ours may have, and P-384.
    #[test]
    fn p90_leaf_keys_are_p256_or_p384() {
        let read = |text: &str| {
            use base64::Engine as _;
            let der = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
            RequestedKey::from_csr(&der)
        };
        let p384 = read(include_str!("testdata/p384.csr.b64").trim()).expect("P-384 is welcome");
        assert_eq!(p384.curve, Curve::P384);
        for other in [include_str!("testdata/ed25519.csr.b64"), include_str!("testdata/rsa2048.csr.b64")] {
            let refusal = read(other.trim()).expect_err("another kind of key");
            assert!(refusal.message.contains("P-256 or P-384"), "{refusal}");
        }
    }
}

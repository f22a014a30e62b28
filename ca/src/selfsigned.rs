//! Self-signed certificates for nodes, operators and agents. They are recognised by the hash of their key alone; the
//! certificate is only the shape TLS wants a public key in, so its name and dates bind nobody.

use crypto::sign::P256Signer;
use rcgen::DnType;
use types::Time;

use crate::keys::Signing;
use crate::{Fault, profile};

/// A self-signed certificate (DER) over that key: subject `CN={common_name}`, both TLS usages, no subject alternative name.
///
/// The serial number is derived from key and dates, so no randomness is needed; nothing is ever looked up by it.
///
/// # Errors
/// [`Fault::Encode`] when the encoder refuses the name.
pub fn self_signed(
    signer: &P256Signer,
    common_name: &str,
    not_before: Time,
    not_after: Time,
) -> Result<Vec<u8>, Fault> {
    let key = Signing::new(signer);
    let mut named = signer.spki_der();
    named.extend_from_slice(&not_before.0.to_be_bytes());
    named.extend_from_slice(&not_after.0.to_be_bytes());
    let serial = crate::Serial::from_random(crypto::hash::sha256(&named));
    let mut params = profile::leaf(serial.as_bytes(), not_before, not_after, key.key_identifier());
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params.self_signed(&key)?.der().to_vec())
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::*;

    use super::*;

    #[test]
    fn it_is_a_leaf_signed_by_its_own_key() {
        let signer = P256Signer::generate();
        let der = self_signed(&signer, "operators/alice", Time(60_000), Time(120_000)).expect("a certificate");
        let (rest, cert) = X509Certificate::from_der(&der).expect("parses");
        assert!(rest.is_empty());
        assert_eq!(cert.subject().to_string(), "CN=operators/alice");
        assert_eq!(cert.issuer().to_string(), cert.subject().to_string());
        assert_eq!((cert.validity().not_before.timestamp(), cert.validity().not_after.timestamp()), (60, 120));
        assert!(!cert.is_ca());
        assert_eq!(cert.tbs_certificate.subject_pki.raw, signer.spki_der());
        let signature = &cert.signature_value.data;
        crypto::sign::verify_p256_spki(&signer.spki_der(), cert.tbs_certificate.as_ref(), signature).expect("verifies");
        assert!(cert.tbs_certificate.serial.bits() >= 64);
    }

    #[test]
    fn rustls_takes_it() {
        let signer = P256Signer::generate();
        let der = self_signed(&signer, "node", Time(0), Time::NEVER).expect("a certificate").into();
        webpki::EndEntityCert::try_from(&der).expect("webpki parses it");
    }
}

//! ECDSA (FIPS 186-5) over P-256 and P-384, each with the hash of its own strength. AWS-LC mixes key, message and random bytes into the
//! nonce, so that a weak random source alone does not give the key away.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, VerificationAlgorithm,
};

use super::{HashFunction, NewPair, Signed, imported};
use crate::{SecretBytes, Unverified};

/// A curve with its hash.
pub(super) struct Curve {
    signing: &'static EcdsaSigningAlgorithm,
    pub(super) verification: &'static dyn VerificationAlgorithm,
    hash: HashFunction,
}

pub(super) static P256: Curve = Curve {
    signing: &ECDSA_P256_SHA256_ASN1_SIGNING,
    verification: &ECDSA_P256_SHA256_ASN1,
    hash: HashFunction::Sha256,
};

pub(super) static P384: Curve = Curve {
    signing: &ECDSA_P384_SHA384_ASN1_SIGNING,
    verification: &ECDSA_P384_SHA384_ASN1,
    hash: HashFunction::Sha384,
};

impl Curve {
    pub(super) fn generate(&self) -> Result<NewPair, Unverified> {
        let pair = EcdsaKeyPair::generate(self.signing).map_err(|_| Unverified)?;
        let private = pair.to_pkcs8v1().map_err(|_| Unverified)?;
        let public = pair.public_key().as_der().map_err(|_| Unverified)?;
        Ok(NewPair { private: SecretBytes::from_vec(private.as_ref().to_vec()), public: public.as_ref().to_vec() })
    }

    pub(super) fn public_of(&self, private: &[u8]) -> Result<Vec<u8>, Unverified> {
        let pair = EcdsaKeyPair::from_pkcs8(self.signing, private).map_err(|_| Unverified)?;
        Ok(pair.public_key().as_der().map_err(|_| Unverified)?.as_ref().to_vec())
    }

    pub(super) fn sign(&self, private: &[u8], signed: Signed<'_>) -> Result<Vec<u8>, Unverified> {
        let pair = EcdsaKeyPair::from_pkcs8(self.signing, private).map_err(|_| Unverified)?;
        let signature = match signed {
            // AWS-LC draws its own random bytes.
            Signed::Message(message) => pair.sign(&SystemRandom::new(), message),
            Signed::Digest(digest) => pair.sign_digest(&imported(self.hash, digest)?),
        };
        Ok(signature.map_err(|_| Unverified)?.as_ref().to_vec())
    }
}

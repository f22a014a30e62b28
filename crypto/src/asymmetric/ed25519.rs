//! Ed25519 (RFC 8032), PureEdDSA: deterministic, so it needs no random bytes to sign.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, VerificationAlgorithm};

use super::{NewPair, Signed};
use crate::{SecretBytes, Unverified};

pub(super) const VERIFICATION: &dyn VerificationAlgorithm = &ED25519;

pub(super) fn generate() -> Result<NewPair, Unverified> {
    let pair = Ed25519KeyPair::generate().map_err(|_| Unverified)?;
    let private = pair.to_pkcs8v1().map_err(|_| Unverified)?;
    let public = pair.public_key().as_der().map_err(|_| Unverified)?;
    Ok(NewPair { private: SecretBytes::from_vec(private.as_ref().to_vec()), public: public.as_ref().to_vec() })
}

pub(super) fn public_of(private: &[u8]) -> Result<Vec<u8>, Unverified> {
    let pair = Ed25519KeyPair::from_pkcs8(private).map_err(|_| Unverified)?;
    Ok(pair.public_key().as_der().map_err(|_| Unverified)?.as_ref().to_vec())
}

pub(super) fn sign(private: &[u8], signed: Signed<'_>) -> Result<Vec<u8>, Unverified> {
    let Signed::Message(message) = signed else { return Err(Unverified) };
    let pair = Ed25519KeyPair::from_pkcs8(private).map_err(|_| Unverified)?;
    Ok(pair.try_sign(message).map_err(|_| Unverified)?.as_ref().to_vec())
}

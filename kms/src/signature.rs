//! Signatures, and what is encrypted to a public key.

use crypto::SecretBytes;
use crypto::asymmetric::{self, Signed};
use types::limits::UNARY_PLAINTEXT_BYTES_MAX;
use types::{Reason, Refusal};

use crate::{Algorithm, KeyMaterial, Primitive, refuse};

/// What is signed: a message of at most 64 KiB, or the digest of a message of any length.
#[derive(Clone, Copy, Debug)]
pub enum ToSign<'a> {
    /// The message.
    Message(&'a [u8]),
    /// Its digest under the algorithm's hash.
    Digest(&'a [u8]),
}

/// Signs.
///
/// # Errors
/// `LimitExceeded` for a longer message, `InvalidArgument` for a digest that the algorithm does not take, `WrongPurpose` for material of
/// another algorithm, `Internal` when the stored key cannot be read.
pub fn sign(material: &KeyMaterial, what: ToSign<'_>) -> Result<Vec<u8>, Refusal> {
    let scheme = material.algorithm().signature_scheme()?;
    let signed = checked(material.algorithm(), what)?;
    scheme.sign(material.expose(), signed).map_err(|_| refuse::unreadable())
}

/// Checks a signature with the public half of a version, a DER SubjectPublicKeyInfo.
///
/// # Errors
/// `InvalidSignature` when it is another's; else as [`sign`].
pub fn verify(algorithm: Algorithm, public: &[u8], what: ToSign<'_>, signature: &[u8]) -> Result<(), Refusal> {
    let scheme = algorithm.signature_scheme()?;
    let verified = scheme.verify(public, checked(algorithm, what)?, signature);
    verified.map_err(|_| {
        Refusal::new(Reason::InvalidSignature, "the signature is not one of this message by this version of the key")
    })
}

/// Opens what was encrypted to the public half of a version: RSAES-OAEP with SHA-256, MGF1-SHA-256 and an empty label, as clients
/// do it by default.
///
/// # Errors
/// `InvalidCiphertext` when it does not open, `WrongPurpose` for material of another algorithm.
pub fn asymmetric_decrypt(material: &KeyMaterial, ciphertext: &[u8]) -> Result<SecretBytes, Refusal> {
    let Primitive::Oaep(_) = material.algorithm().primitive() else {
        return Err(material.algorithm().not_for("decrypt what was encrypted to a public key"));
    };
    asymmetric::oaep_decrypt(material.expose(), &[], ciphertext).map_err(|_| refuse::unverified())
}

/// Whether that can be signed by an algorithm.
///
/// # Errors
/// As [`sign`], but for the key's.
pub fn check_to_sign(algorithm: Algorithm, what: ToSign<'_>) -> Result<(), Refusal> {
    checked(algorithm, what).map(drop)
}

fn checked<'a>(algorithm: Algorithm, what: ToSign<'a>) -> Result<Signed<'a>, Refusal> {
    let hash = algorithm.signature_scheme()?.hash();
    match (what, hash) {
        (ToSign::Message(message), _) if message.len() > UNARY_PLAINTEXT_BYTES_MAX => Err(Refusal::new(
            Reason::LimitExceeded,
            match hash {
                Some(_) => format!("the message is longer than {UNARY_PLAINTEXT_BYTES_MAX} bytes: sign its digest"),
                None => format!(
                    "the message is longer than {UNARY_PLAINTEXT_BYTES_MAX} bytes, and {algorithm} signs no digest"
                ),
            },
        )),
        (ToSign::Message(message), _) => Ok(Signed::Message(message)),
        (ToSign::Digest(digest), Some(hash)) if digest.len() == hash.bytes() => Ok(Signed::Digest(digest)),
        (ToSign::Digest(digest), Some(hash)) => Err(refuse::invalid(format!(
            "a digest for {algorithm} has {} bytes, this one has {}",
            hash.bytes(),
            digest.len()
        ))),
        (ToSign::Digest(_), None) => Err(refuse::invalid(format!("{algorithm} signs messages only, no digests"))),
    }
}

#[cfg(test)]
mod tests {
    use crypto::asymmetric::MessageHasher;
    use crypto::{LockedBytes, wrap};
    use types::{KeyId, NamespaceName};

    use super::*;
    use crate::public::PUBLIC_BYTES_MAX;
    use crate::wrapping::{UnderNamespace, unwrap_material, wrap_material};
    use crate::{NewMaterial, Purpose};

    /// Drawn, wrapped and unwrapped, as a node does it.
    fn made(algorithm: Algorithm) -> (KeyMaterial, Vec<u8>) {
        let namespace = NamespaceName::default_namespace();
        let place = UnderNamespace { namespace: &namespace, key_id: KeyId([7; 16]), version: 1, algorithm };
        let NewMaterial { secret, public } = NewMaterial::draw(algorithm).expect("draws");
        let wrapped = wrap_material(&[1; 32], place, [2; 32], secret.expose());
        assert!(wrapped.len() <= LockedBytes::BYTES_MAX + wrap::OVERHEAD_BYTES, "{algorithm}: {}", wrapped.len());
        assert!(public.len() <= PUBLIC_BYTES_MAX, "{algorithm}: {}", public.len());
        let material = unwrap_material(&[1; 32], place, &wrapped).expect("opens");
        assert!(material.has_public_half(&public), "{algorithm}");
        (material, public)
    }

    #[test]
    fn every_algorithm_does_what_it_is_for_and_nothing_else() {
        let message = b"a message".as_slice();
        let is_wrong = |refusal: Refusal| refusal.reason == Reason::WrongPurpose;
        for algorithm in Algorithm::ALL.iter().copied() {
            let (material, public) = made(algorithm);
            let purpose = algorithm.purpose();
            if purpose == Purpose::SignVerify {
                let signature = sign(&material, ToSign::Message(message)).expect("signs");
                assert_eq!(verify(algorithm, &public, ToSign::Message(message), &signature), Ok(()), "{algorithm}");
                let refusal = verify(algorithm, &public, ToSign::Message(b"another"), &signature).expect_err("another");
                assert_eq!(refusal.reason, Reason::InvalidSignature, "{algorithm}");
                if let Some(hash) = algorithm.signature_scheme().expect("signs").hash() {
                    let mut hasher = MessageHasher::new(hash);
                    hasher.update(message);
                    let digest = hasher.finish();
                    let signature = sign(&material, ToSign::Digest(&digest)).expect("signs");
                    assert_eq!(verify(algorithm, &public, ToSign::Message(message), &signature), Ok(()), "{algorithm}");
                }
            } else {
                assert!(sign(&material, ToSign::Message(message)).is_err_and(is_wrong), "{algorithm}");
                let refused = verify(algorithm, &public, ToSign::Message(message), message);
                assert!(refused.is_err_and(is_wrong), "{algorithm}");
            }
            if purpose == Purpose::AsymmetricDecrypt {
                let sealed = asymmetric::oaep_encrypt(&public, &[], message).expect("encrypts");
                assert_eq!(asymmetric_decrypt(&material, &sealed).expect("opens").expose(), message, "{algorithm}");
            } else {
                assert!(asymmetric_decrypt(&material, message).is_err_and(is_wrong), "{algorithm}");
            }
            let mac = crate::generate_mac(&material, message);
            assert_eq!(mac.is_ok(), purpose == Purpose::Mac, "{algorithm}");
            let namespace = NamespaceName::default_namespace();
            let context = crate::EncryptionContext::EMPTY;
            let binding = crate::Binding::new(&namespace, &context, &[]).expect("a binding");
            let sealed = crate::encrypt(&material, &binding, [3; 32], message);
            assert_eq!(sealed.is_ok(), purpose == Purpose::EncryptDecrypt, "{algorithm}");
        }
    }
}

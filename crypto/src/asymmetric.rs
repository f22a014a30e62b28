//! Key pairs of applications: signatures, and decryption with RSA-OAEP.
//!
//! A private key is a PKCS#8 document (RFC 5208) in memory that its holder answers for, and is read anew for each use: AWS-LC's copy of it
//! lives for that one call and is wiped with it, so that between calls a key is in locked memory only (measured: ADR 0009).
//!
//! AWS-LC's and not ring's, because ring makes no RSA keys, has no OAEP, signs no digest and wipes nothing (ADR 0009).

mod ecdsa;
mod ed25519;
mod rsa;

use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{UnparsedPublicKey, VerificationAlgorithm};

use crate::hash::HashFunction;
use crate::{SecretBytes, Unverified};

/// What kind of key a pair is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyType {
    /// Edwards curve 25519 (RFC 8032).
    Ed25519,
    /// NIST P-256 (FIPS 186-5).
    P256,
    /// NIST P-384.
    P384,
    /// RSA with a modulus of 2,048 bits and the exponent 65,537.
    Rsa2048,
    /// The same with 3,072 bits.
    Rsa3072,
    /// The same with 4,096 bits.
    Rsa4096,
}

/// How a message becomes a signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignatureScheme {
    /// PureEdDSA: 64 bytes, `R ‖ S`. It reads the message twice and takes no digest.
    Ed25519,
    /// ECDSA over P-256 and SHA-256; ASN.1 DER (RFC 3279 §2.2.3).
    EcdsaP256,
    /// ECDSA over P-384 and SHA-384; ASN.1 DER.
    EcdsaP384,
    /// RSASSA-PSS (RFC 8017 §8.1), MGF1 with the same hash, a salt as long as the hash.
    RsaPss(HashFunction),
    /// RSASSA-PKCS1-v1_5 (RFC 8017 §8.2).
    RsaPkcs1(HashFunction),
}

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub enum Signed<'a> {
    /// The message itself.
    Message(&'a [u8]),
    /// Its digest under the scheme's hash, by whoever has the message.
    Digest(&'a [u8]),
}

/// A new pair.
pub struct NewPair {
    /// PKCS#8.
    pub private: SecretBytes,
    /// DER SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
    pub public: Vec<u8>,
}

impl KeyType {
    /// Draws a pair. RSA takes its time: a second and more for 4,096 bits.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn generate(self) -> Result<NewPair, Unverified> {
        match self {
            Self::Ed25519 => ed25519::generate(),
            Self::P256 => ecdsa::P256.generate(),
            Self::P384 => ecdsa::P384.generate(),
            Self::Rsa2048 => rsa::generate(KeySize::Rsa2048),
            Self::Rsa3072 => rsa::generate(KeySize::Rsa3072),
            Self::Rsa4096 => rsa::generate(KeySize::Rsa4096),
        }
    }

    /// The public half of a private key in PKCS#8, as DER SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// When the document is no key of this type, or its halves do not belong together.
    pub fn public_of(self, private: &[u8]) -> Result<Vec<u8>, Unverified> {
        match self {
            Self::Ed25519 => ed25519::public_of(private),
            Self::P256 => ecdsa::P256.public_of(private),
            Self::P384 => ecdsa::P384.public_of(private),
            Self::Rsa2048 => rsa::public_of(KeySize::Rsa2048, private),
            Self::Rsa3072 => rsa::public_of(KeySize::Rsa3072, private),
            Self::Rsa4096 => rsa::public_of(KeySize::Rsa4096, private),
        }
    }
}

/// Hashes a message in parts, for whoever signs its digest.
pub struct MessageHasher(aws_lc_rs::digest::Context);

impl MessageHasher {
    /// Nothing hashed yet.
    #[must_use]
    pub fn new(hash: HashFunction) -> Self {
        Self(aws_lc_rs::digest::Context::new(digest_algorithm(hash)))
    }

    /// Hashes the bytes after those before them.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything hashed.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0.finish().as_ref().to_vec()
    }
}

impl SignatureScheme {
    /// The hash of a digest that it signs; none: it takes messages only.
    #[must_use]
    pub const fn hash(self) -> Option<HashFunction> {
        match self {
            Self::Ed25519 => None,
            Self::EcdsaP256 => Some(HashFunction::Sha256),
            Self::EcdsaP384 => Some(HashFunction::Sha384),
            Self::RsaPss(hash) | Self::RsaPkcs1(hash) => Some(hash),
        }
    }

    /// Signs with a private key in PKCS#8. Elliptic-curve and PSS signatures differ each time.
    ///
    /// # Errors
    /// When the document is no such key, or the digest has another length than the scheme's hash.
    pub fn sign(self, private: &[u8], signed: Signed<'_>) -> Result<Vec<u8>, Unverified> {
        match self {
            Self::Ed25519 => ed25519::sign(private, signed),
            Self::EcdsaP256 => ecdsa::P256.sign(private, signed),
            Self::EcdsaP384 => ecdsa::P384.sign(private, signed),
            Self::RsaPss(hash) => rsa::sign((rsa::pss(hash).0, hash), private, signed),
            Self::RsaPkcs1(hash) => rsa::sign((rsa::pkcs1(hash).0, hash), private, signed),
        }
    }

    /// Checks a signature by the key in a DER SubjectPublicKeyInfo. ECDSA signatures are malleable: never use one as an identifier.
    ///
    /// # Errors
    /// When the key is of another kind or weaker than 2,048 bits, or the signature is not by it.
    pub fn verify(self, public: &[u8], signed: Signed<'_>, signature: &[u8]) -> Result<(), Unverified> {
        let key = UnparsedPublicKey::new(self.verification(), public);
        match (signed, self.hash()) {
            (Signed::Message(message), _) => key.verify(message, signature),
            (Signed::Digest(digest), Some(hash)) => key.verify_digest(&imported(hash, digest)?, signature),
            (Signed::Digest(_), None) => return Err(Unverified),
        }
        .map_err(|_| Unverified)
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Ed25519 => ed25519::VERIFICATION,
            Self::EcdsaP256 => ecdsa::P256.verification,
            Self::EcdsaP384 => ecdsa::P384.verification,
            Self::RsaPss(hash) => rsa::pss(hash).1,
            Self::RsaPkcs1(hash) => rsa::pkcs1(hash).1,
        }
    }
}

pub use rsa::{oaep_decrypt, oaep_encrypt, rsa_numbers};

fn imported(hash: HashFunction, digest: &[u8]) -> Result<aws_lc_rs::digest::Digest, Unverified> {
    aws_lc_rs::digest::Digest::import_less_safe(digest, digest_algorithm(hash)).map_err(|_| Unverified)
}

const fn digest_algorithm(hash: HashFunction) -> &'static aws_lc_rs::digest::Algorithm {
    match hash {
        HashFunction::Sha256 => &aws_lc_rs::digest::SHA256,
        HashFunction::Sha384 => &aws_lc_rs::digest::SHA384,
        HashFunction::Sha512 => &aws_lc_rs::digest::SHA512,
    }
}

impl std::fmt::Debug for MessageHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MessageHasher")
    }
}

impl std::fmt::Debug for NewPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewPair(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMES: [(KeyType, SignatureScheme); 5] = [
        (KeyType::Ed25519, SignatureScheme::Ed25519),
        (KeyType::P256, SignatureScheme::EcdsaP256),
        (KeyType::P384, SignatureScheme::EcdsaP384),
        (KeyType::Rsa2048, SignatureScheme::RsaPss(HashFunction::Sha256)),
        (KeyType::Rsa2048, SignatureScheme::RsaPkcs1(HashFunction::Sha512)),
    ];

    #[test]
    fn each_scheme_verifies_what_it_signed_and_nothing_else() {
        for (kind, scheme) in SCHEMES {
            let (pair, other) = (kind.generate().expect("draws"), kind.generate().expect("draws"));
            let signature = scheme.sign(pair.private.expose(), Signed::Message(b"message")).expect("signs");
            let verify = |public: &[u8], message: &[u8], signature: &[u8]| {
                scheme.verify(public, Signed::Message(message), signature)
            };
            assert_eq!(verify(&pair.public, b"message", &signature), Ok(()), "{scheme:?}");
            assert!(verify(&pair.public, b"massage", &signature).is_err(), "{scheme:?}");
            assert!(verify(&other.public, b"message", &signature).is_err(), "{scheme:?}");
            assert!(verify(&pair.public, b"message", &signature[1..]).is_err(), "{scheme:?}");
            assert!(verify(&pair.public[1..], b"message", &signature).is_err(), "{scheme:?}");
            assert!(scheme.sign(&pair.public, Signed::Message(b"m")).is_err(), "{scheme:?}");
            assert_eq!(format!("{pair:?}"), "NewPair(redacted)");
        }
    }

    #[test]
    fn a_private_key_knows_its_public_half_and_its_type() {
        let kinds = [KeyType::Ed25519, KeyType::P256, KeyType::P384, KeyType::Rsa2048, KeyType::Rsa3072];
        for kind in kinds {
            let pair = kind.generate().expect("draws");
            assert_eq!(kind.public_of(pair.private.expose()).as_ref(), Ok(&pair.public), "{kind:?}");
            for other in kinds.into_iter().filter(|other| *other != kind) {
                assert!(other.public_of(pair.private.expose()).is_err(), "{kind:?} as {other:?}");
            }
            assert!(kind.public_of(&pair.private.expose()[1..]).is_err());
        }
    }

    #[test]
    fn a_digest_is_signed_as_its_message_is() {
        for (kind, scheme) in SCHEMES {
            let pair = kind.generate().expect("draws");
            let digest = scheme.hash().map_or_else(
                || vec![0; 64],
                |hash| {
                    let mut hasher = MessageHasher::new(hash);
                    hasher.update(b"mess");
                    hasher.update(b"age");
                    hasher.finish()
                },
            );
            let signed = scheme.sign(pair.private.expose(), Signed::Digest(&digest));
            if scheme.hash().is_none() {
                assert!(signed.is_err(), "{scheme:?} takes no digest");
                assert!(scheme.verify(&pair.public, Signed::Digest(&digest), &[0; 64]).is_err());
                continue;
            }
            let signature = signed.expect("signs");
            assert_eq!(scheme.verify(&pair.public, Signed::Message(b"message"), &signature), Ok(()), "{scheme:?}");
            assert_eq!(scheme.verify(&pair.public, Signed::Digest(&digest), &signature), Ok(()), "{scheme:?}");
            let short = Signed::Digest(&digest[1..]);
            assert!(scheme.sign(pair.private.expose(), short).is_err(), "{scheme:?}");
            assert!(scheme.verify(&pair.public, short, &signature).is_err(), "{scheme:?}");
        }
    }

    #[test]
    fn a_key_of_another_kind_neither_signs_nor_verifies() {
        let pairs: Vec<_> = SCHEMES[..4].iter().map(|(kind, _)| kind.generate().expect("draws")).collect();
        for (at, (_, scheme)) in SCHEMES[..4].iter().enumerate() {
            let signature = scheme.sign(pairs[at].private.expose(), Signed::Message(b"m")).expect("signs");
            for (_, pair) in pairs.iter().enumerate().filter(|(other, _)| *other != at) {
                assert!(scheme.sign(pair.private.expose(), Signed::Message(b"m")).is_err(), "{scheme:?}");
                assert!(scheme.verify(&pair.public, Signed::Message(b"m"), &signature).is_err(), "{scheme:?}");
            }
        }
    }
}

//! What a key can do, as a table: a new algorithm of a primitive that is there is one row here, one value in the API and one line in
//! docs/spec/keys.md. A new primitive is a file in `crypto` beside it, and the compiler asks for each arm that it needs.

use crypto::asymmetric::{KeyType, SignatureScheme};
use crypto::hash::HashFunction;
use serde::{Deserialize, Serialize};
use types::{Reason, Refusal};

use crate::Suite;

macro_rules! algorithms {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $number:literal, $primitive:expr;)*) => {
        /// The algorithm of a key, fixed when the key is made. New algorithms go at the end: the order is stored.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub enum Algorithm {
            $($(#[$doc])* $variant,)*
        }

        impl Algorithm {
            /// Every algorithm, in stored order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in the API and on the command line.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Its stored number, bound into the wrapping of its material (`docs/spec/wrapping.md`).
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $(Self::$variant => $number,)* }
            }

            /// What it is made of.
            #[must_use]
            pub const fn primitive(self) -> Primitive {
                match self { $(Self::$variant => $primitive,)* }
            }

            /// The algorithm of that name.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|algorithm| algorithm.as_str() == text)
            }
        }
    };
}

/// The primitive of an algorithm, which says what its keys are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Primitive {
    /// Ciphertext v1 of that suite.
    Encrypt(Suite),
    /// HMAC.
    Mac(HashFunction),
    /// Signatures by keys of that type.
    Sign(KeyType, SignatureScheme),
    /// RSA-OAEP with SHA-256: everybody encrypts to the public key, the private one decrypts.
    Oaep(KeyType),
}

/// What a key may be used for: follows from its algorithm, so it is fixed when the key is made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Purpose {
    /// Encrypt, Decrypt, GenerateDataKey, ReEncrypt.
    EncryptDecrypt,
    /// GenerateMac, VerifyMac.
    Mac,
    /// Sign, Verify.
    SignVerify,
    /// AsymmetricDecrypt.
    AsymmetricDecrypt,
}

algorithms! {
    /// Encrypts and decrypts: AES-256-GCM under a key derived for each message (ciphertext v1, suite 1).
    Aes256Gcm = "AES_256_GCM", 0, Primitive::Encrypt(Suite::Aes256Gcm);
    /// The same with ChaCha20-Poly1305 (suite 2).
    ChaCha20Poly1305 = "CHACHA20_POLY1305", 1, Primitive::Encrypt(Suite::ChaCha20Poly1305);
    /// HMAC-SHA-256 under a key of 32 bytes.
    HmacSha256 = "HMAC_SHA_256", 2, Primitive::Mac(HashFunction::Sha256);
    /// HMAC-SHA-384 under a key of 48 bytes.
    HmacSha384 = "HMAC_SHA_384", 3, Primitive::Mac(HashFunction::Sha384);
    /// HMAC-SHA-512 under a key of 64 bytes.
    HmacSha512 = "HMAC_SHA_512", 4, Primitive::Mac(HashFunction::Sha512);
    /// Ed25519 signatures of messages.
    Ed25519 = "ED25519", 5, Primitive::Sign(KeyType::Ed25519, SignatureScheme::Ed25519);
    /// ECDSA over P-256 with SHA-256.
    EcdsaP256Sha256 = "ECDSA_P256_SHA_256", 6, Primitive::Sign(KeyType::P256, SignatureScheme::EcdsaP256);
    /// ECDSA over P-384 with SHA-384.
    EcdsaP384Sha384 = "ECDSA_P384_SHA_384", 7, Primitive::Sign(KeyType::P384, SignatureScheme::EcdsaP384);
    /// RSASSA-PSS, 2,048 bits, SHA-256.
    RsaPss2048Sha256 = "RSA_PSS_2048_SHA_256", 8, Primitive::Sign(KeyType::Rsa2048, SignatureScheme::RsaPss(HashFunction::Sha256));
    /// RSASSA-PSS, 3,072 bits, SHA-256.
    RsaPss3072Sha256 = "RSA_PSS_3072_SHA_256", 9, Primitive::Sign(KeyType::Rsa3072, SignatureScheme::RsaPss(HashFunction::Sha256));
    /// RSASSA-PSS, 4,096 bits, SHA-512.
    RsaPss4096Sha512 = "RSA_PSS_4096_SHA_512", 10, Primitive::Sign(KeyType::Rsa4096, SignatureScheme::RsaPss(HashFunction::Sha512));
    /// RSASSA-PKCS1-v1_5, 2,048 bits, SHA-256.
    RsaPkcs12048Sha256 = "RSA_PKCS1_2048_SHA_256", 11, Primitive::Sign(KeyType::Rsa2048, SignatureScheme::RsaPkcs1(HashFunction::Sha256));
    /// RSASSA-PKCS1-v1_5, 3,072 bits, SHA-256.
    RsaPkcs13072Sha256 = "RSA_PKCS1_3072_SHA_256", 12, Primitive::Sign(KeyType::Rsa3072, SignatureScheme::RsaPkcs1(HashFunction::Sha256));
    /// RSASSA-PKCS1-v1_5, 4,096 bits, SHA-512.
    RsaPkcs14096Sha512 = "RSA_PKCS1_4096_SHA_512", 13, Primitive::Sign(KeyType::Rsa4096, SignatureScheme::RsaPkcs1(HashFunction::Sha512));
    /// RSAES-OAEP, 2,048 bits, SHA-256.
    RsaOaep2048Sha256 = "RSA_OAEP_2048_SHA_256", 14, Primitive::Oaep(KeyType::Rsa2048);
    /// RSAES-OAEP, 3,072 bits, SHA-256.
    RsaOaep3072Sha256 = "RSA_OAEP_3072_SHA_256", 15, Primitive::Oaep(KeyType::Rsa3072);
    /// RSAES-OAEP, 4,096 bits, SHA-256.
    RsaOaep4096Sha256 = "RSA_OAEP_4096_SHA_256", 16, Primitive::Oaep(KeyType::Rsa4096);
}

impl Algorithm {
    /// What its keys may be used for.
    #[must_use]
    pub const fn purpose(self) -> Purpose {
        match self.primitive() {
            Primitive::Encrypt(_) => Purpose::EncryptDecrypt,
            Primitive::Mac(_) => Purpose::Mac,
            Primitive::Sign(..) => Purpose::SignVerify,
            Primitive::Oaep(_) => Purpose::AsymmetricDecrypt,
        }
    }

    /// Bytes of a version's material; none for key pairs, whose private half is a PKCS#8 document of its own length.
    #[must_use]
    pub const fn secret_bytes(self) -> Option<usize> {
        match self.primitive() {
            Primitive::Encrypt(_) => Some(32),
            Primitive::Mac(hash) => Some(hash.bytes()),
            Primitive::Sign(..) | Primitive::Oaep(_) => None,
        }
    }

    /// The type of its key pairs; none for secrets without a public half.
    #[must_use]
    pub const fn key_type(self) -> Option<KeyType> {
        match self.primitive() {
            Primitive::Encrypt(_) | Primitive::Mac(_) => None,
            Primitive::Sign(kind, _) | Primitive::Oaep(kind) => Some(kind),
        }
    }

    /// Whether making a version takes long enough to be done aside: RSA does.
    #[must_use]
    pub const fn is_slow_to_make(self) -> bool {
        matches!(self.key_type(), Some(KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096))
    }

    /// The suite of its ciphertexts.
    ///
    /// # Errors
    /// `WrongPurpose` when it makes none.
    pub fn suite(self) -> Result<Suite, Refusal> {
        match self.primitive() {
            Primitive::Encrypt(suite) => Ok(suite),
            _ => Err(self.not_for("encrypt")),
        }
    }

    /// The hash of its tags.
    ///
    /// # Errors
    /// `WrongPurpose` when it makes none.
    pub fn mac_hash(self) -> Result<HashFunction, Refusal> {
        match self.primitive() {
            Primitive::Mac(hash) => Ok(hash),
            _ => Err(self.not_for("make or verify a MAC")),
        }
    }

    /// The scheme of its signatures.
    ///
    /// # Errors
    /// `WrongPurpose` when it makes none.
    pub fn signature_scheme(self) -> Result<SignatureScheme, Refusal> {
        match self.primitive() {
            Primitive::Sign(_, scheme) => Ok(scheme),
            _ => Err(self.not_for("sign or verify")),
        }
    }

    pub(crate) fn not_for(self, verb: &str) -> Refusal {
        let message =
            format!("the key is for {} ({self}), it does not {verb}: use a key of another algorithm", self.purpose());
        Refusal::new(Reason::WrongPurpose, message)
    }
}

impl Purpose {
    /// Its name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EncryptDecrypt => "ENCRYPT_DECRYPT",
            Self::Mac => "MAC",
            Self::SignVerify => "SIGN_VERIFY",
            Self::AsymmetricDecrypt => "ASYMMETRIC_DECRYPT",
        }
    }
}

impl std::fmt::Display for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Display for Purpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_algorithms_lists_each() {
        let page = include_str!("../../docs/spec/keys.md");
        let listed =
            page.lines().filter(|line| line.split('|').nth(1).is_some_and(|cell| cell.trim().parse::<u8>().is_ok()));
        let listed: Vec<_> = listed.collect();
        assert_eq!(listed.len(), Algorithm::ALL.len(), "docs/spec/keys.md");
        for (line, algorithm) in listed.iter().zip(Algorithm::ALL) {
            let material = algorithm.secret_bytes().map_or("PKCS#8".to_owned(), |bytes| format!("{bytes} bytes"));
            let expected =
                format!("| {} | `{algorithm}` | `{}` | {material} |", algorithm.number(), algorithm.purpose());
            assert!(line.starts_with(&expected), "docs/spec/keys.md: {line}, not {expected}");
        }
    }

    #[test]
    fn names_and_numbers_are_stable() {
        let table: Vec<_> = Algorithm::ALL.iter().map(|a| format!("{} {a} {}", a.number(), a.purpose())).collect();
        let expected = "0 AES_256_GCM ENCRYPT_DECRYPT
1 CHACHA20_POLY1305 ENCRYPT_DECRYPT
2 HMAC_SHA_256 MAC
3 HMAC_SHA_384 MAC
4 HMAC_SHA_512 MAC
5 ED25519 SIGN_VERIFY
6 ECDSA_P256_SHA_256 SIGN_VERIFY
7 ECDSA_P384_SHA_384 SIGN_VERIFY
8 RSA_PSS_2048_SHA_256 SIGN_VERIFY
9 RSA_PSS_3072_SHA_256 SIGN_VERIFY
10 RSA_PSS_4096_SHA_512 SIGN_VERIFY
11 RSA_PKCS1_2048_SHA_256 SIGN_VERIFY
12 RSA_PKCS1_3072_SHA_256 SIGN_VERIFY
13 RSA_PKCS1_4096_SHA_512 SIGN_VERIFY
14 RSA_OAEP_2048_SHA_256 ASYMMETRIC_DECRYPT
15 RSA_OAEP_3072_SHA_256 ASYMMETRIC_DECRYPT
16 RSA_OAEP_4096_SHA_256 ASYMMETRIC_DECRYPT";
        assert_eq!(table.join("\n"), expected);
        for (at, algorithm) in Algorithm::ALL.iter().enumerate() {
            assert_eq!(usize::from(algorithm.number()), at);
            assert_eq!(Algorithm::parse(algorithm.as_str()), Some(*algorithm));
            assert_eq!(postcard::to_stdvec(algorithm).expect("encodes"), [algorithm.number()]);
            assert_ne!(algorithm.secret_bytes().is_some(), algorithm.key_type().is_some());
        }
        assert_eq!(Algorithm::parse("aes"), None);
    }
}

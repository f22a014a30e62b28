//! The only direct user of cryptographic primitives; the other crates get verbs.
//!
//! It owns: secrets that wipe themselves, locked memory, the one source of random bytes, hashing, HMAC, HKDF, AES-256-GCM and
//! ChaCha20-Poly1305, key wrapping, sealed boxes (X25519), files to offline recipients (age), secret sharing, the cluster's own ECDSA
//! P-256 keys (`sign`), applications' key pairs (`asymmetric`), argon2id and the TLS provider. Each choice has a comment that says why
//! it is safe there.
//!
//! It does not know what a key is for: formats, lifetimes and policy live in `kms`, `ca` and `server`. It performs no I/O
//! and reads no clock. What AWS-LC expands and leaves on the way (ciphers, HKDF, HMAC, X25519, key pairs) is wiped by it; an ECDSA key
//! inside `ring` lives for the length of the value that holds it and is not wiped, while the bytes that it comes from are.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod aead;
pub mod asymmetric;
pub mod constant_time;
pub mod entropy;
pub mod hash;
pub mod kdf;
pub mod locked;
pub mod mac;
pub mod password;
pub mod recipients;
pub mod sealed_box;
pub mod secret;
pub mod shamir;
pub mod sign;
pub mod tls;
pub mod wrap;

mod error;

pub use error::{TooLong, Unverified};
pub use locked::{LockedBytes, LockedSecret};
pub use secret::{Secret, SecretBytes};

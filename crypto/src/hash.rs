//! SHA-256 and SHA-512 (FIPS 180-4), whole and in parts.
//!
//! Both are open to length extension; every keyed use goes through [`crate::mac`] or [`crate::kdf`], never through a hash
//! of key ‖ message.

use ring::digest;

/// A hash by its name, for MACs and signatures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HashFunction {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl HashFunction {
    /// Bytes of its output: of a digest, of a tag, and of a MAC key that is as strong as the hash (NIST SP 800-107 §5.3.4).
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// SHA-256 of the bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(bytes);
    hasher.finish()
}

/// SHA-512 of the bytes.
#[must_use]
pub fn sha512(bytes: &[u8]) -> [u8; 64] {
    let mut hasher = Sha512::new();
    hasher.update(bytes);
    hasher.finish()
}

macro_rules! hasher {
    ($(#[$doc:meta])* $name:ident, $algorithm:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(digest::Context);

        impl $name {
            /// Nothing hashed yet.
            #[must_use]
            pub fn new() -> Self {
                Self(digest::Context::new(&digest::$algorithm))
            }

            /// Hashes the bytes after those before them.
            pub fn update(&mut self, bytes: &[u8]) {
                self.0.update(bytes);
            }

            /// The digest of everything hashed.
            #[must_use]
            pub fn finish(self) -> [u8; $len] {
                let mut out = [0; $len];
                out.copy_from_slice(self.0.finish().as_ref());
                out
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}

hasher! {
    /// SHA-256 in parts.
    Sha256, SHA256, 32
}
hasher! {
    /// SHA-512 in parts.
    Sha512, SHA512, 64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-4 examples.
    #[test]
    fn published_digests() {
        assert_eq!(hex::encode(sha256(b"abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(
            hex::encode(sha512(b"abc")),
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        );
    }

    #[test]
    fn parts_are_the_whole() {
        let mut parts = Sha512::new();
        parts.update(b"a");
        parts.update(b"");
        parts.update(b"bc");
        assert_eq!(parts.finish(), sha512(b"abc"));
    }
}

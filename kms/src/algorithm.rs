//! What a key can do, as a table: a new algorithm is one row here and the file with its verbs.

use serde::{Deserialize, Serialize};

macro_rules! algorithms {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $number:literal, $material_bytes:literal;)*) => {
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

            /// Bytes of secret material that one version has.
            #[must_use]
            pub const fn material_bytes(self) -> usize {
                match self { $(Self::$variant => $material_bytes,)* }
            }

            /// The algorithm of that name.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|algorithm| algorithm.as_str() == text)
            }
        }
    };
}

algorithms! {
    /// Encrypts and decrypts: AES-256-GCM under a key derived for each message (ciphertext v1, suite 1).
    Aes256Gcm = "AES_256_GCM", 0, 32;
}

impl std::fmt::Display for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_stable() {
        let table: Vec<_> = Algorithm::ALL.iter().map(|a| (a.number(), a.as_str(), a.material_bytes())).collect();
        assert_eq!(table, [(0, "AES_256_GCM", 32)]);
        for (at, algorithm) in Algorithm::ALL.iter().enumerate() {
            assert_eq!(usize::from(algorithm.number()), at);
            assert_eq!(Algorithm::parse(algorithm.as_str()), Some(*algorithm));
            assert_eq!(postcard::to_stdvec(algorithm).expect("encodes"), [algorithm.number()]);
        }
        assert_eq!(Algorithm::parse("aes"), None);
    }
}

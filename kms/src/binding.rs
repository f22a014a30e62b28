//! What a ciphertext is bound to besides its header: namespace, context and AAD, hashed to D (`docs/spec/ciphertext.md`).

use crypto::hash::Sha512;
use types::{NamespaceName, Refusal, limits::AAD_BYTES_MAX};

use crate::{EncryptionContext, refuse};

/// Namespace, encryption context and additional data, within their limits.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    namespace: &'a NamespaceName,
    context: &'a EncryptionContext,
    aad: &'a [u8],
}

impl<'a> Binding<'a> {
    /// Checks the length of the AAD; absent is empty.
    ///
    /// # Errors
    /// `LimitExceeded` for AAD over 16 KiB.
    pub fn new(namespace: &'a NamespaceName, context: &'a EncryptionContext, aad: &'a [u8]) -> Result<Self, Refusal> {
        if aad.len() > AAD_BYTES_MAX {
            return Err(refuse::too_long("the additional authenticated data", AAD_BYTES_MAX));
        }
        Ok(Self { namespace, context, aad })
    }

    /// D of a unary ciphertext or a stream.
    pub(crate) fn digest(&self) -> [u8; 64] {
        self.hash().finish()
    }

    /// D of an envelope file: the wrapped data key is part of what its segments are bound to.
    pub(crate) fn digest_with(&self, wrapped_data_key: &[u8]) -> [u8; 64] {
        let mut hash = self.hash();
        put(&mut hash, wrapped_data_key);
        hash.finish()
    }

    /// Every part carries its length, so that no two bindings have the same bytes.
    fn hash(&self) -> Sha512 {
        let Self { namespace, context, aad } = self;
        let mut hash = Sha512::new();
        put(&mut hash, namespace.as_str().as_bytes());
        let context_len: usize = context.iter().map(|(key, value)| 8 + key.len() + value.len()).sum();
        hash.update(&len_u32(context_len));
        for (key, value) in context.iter() {
            put(&mut hash, key.as_bytes());
            put(&mut hash, value.as_bytes());
        }
        put(&mut hash, aad);
        hash
    }
}

fn put(hash: &mut Sha512, bytes: &[u8]) {
    hash.update(&len_u32(bytes.len()));
    hash.update(bytes);
}

/// Every length here is bounded far below 2^32 by `limits.rs`.
fn len_u32(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(ns: &str, pairs: &[(String, String)], aad: &[u8]) -> [u8; 64] {
        let context = EncryptionContext::new(pairs.iter().cloned()).expect("a context");
        Binding::new(&NamespaceName::parse(ns).expect("a name"), &context, aad).expect("a binding").digest()
    }

    #[test]
    fn aad_is_bounded() {
        let (ns, context) = (NamespaceName::default_namespace(), EncryptionContext::EMPTY);
        assert!(Binding::new(&ns, &context, &vec![0; AAD_BYTES_MAX]).is_ok());
        assert!(Binding::new(&ns, &context, &vec![0; AAD_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn parts_do_not_run_into_one_another() {
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        let digests = [
            digest("ab", &[], b""),
            digest("a", &[], b"b"),
            digest("ab", &[pair("a", "")], b""),
            digest("ab", &[pair("a", "b")], b""),
            digest("ab", &[pair("ab", "")], b""),
            digest("ab", &[pair("a", ""), pair("b", "")], b""),
            digest("ab", &[], b"\0\0\0\0"),
            digest("ab", &[], b"a"),
        ];
        for (at, one) in digests.iter().enumerate() {
            assert!(!digests[at + 1..].contains(one), "{at}");
        }
    }

    proptest! {
        #[test]
        fn the_order_in_which_pairs_are_given_does_not_matter(
            map in prop::collection::btree_map("[a-zé]{1,4}", ".{0,4}", 0..6), aad: Vec<u8>,
        ) {
            let pairs: Vec<_> = map.into_iter().collect();
            let reversed: Vec<_> = pairs.iter().rev().cloned().collect();
            prop_assert_eq!(digest("ns", &pairs, &aad), digest("ns", &reversed, &aad));
        }
    }
}

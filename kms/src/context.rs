//! The encryption context: pairs that are not secret, not stored in the ciphertext, and without which it does not open.

use std::collections::{BTreeMap, btree_map::Entry};

use types::{
    Refusal,
    limits::{CONTEXT_PAIRS_MAX, CONTEXT_TEXT_BYTES_MAX},
};

use crate::refuse;

/// Checked pairs, sorted by the bytes of their keys, no key twice. Nothing is normalised.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EncryptionContext(BTreeMap<String, String>);

impl EncryptionContext {
    /// No pairs; the same as leaving the context out.
    pub const EMPTY: Self = Self(BTreeMap::new());

    /// Checks and sorts the pairs.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty key or a key given twice, `LimitExceeded` for too many pairs or too long a text.
    pub fn new<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Result<Self, Refusal> {
        let mut checked = BTreeMap::new();
        for (key, value) in pairs {
            let (key, value) = (key.into(), value.into());
            if key.is_empty() {
                return Err(refuse::invalid("an encryption context key is empty"));
            }
            for text in [&key, &value] {
                if text.len() > CONTEXT_TEXT_BYTES_MAX {
                    return Err(refuse::too_long("an encryption context key or value", CONTEXT_TEXT_BYTES_MAX));
                }
            }
            match checked.entry(key) {
                Entry::Vacant(place) => place.insert(value),
                Entry::Occupied(taken) => {
                    let message = format!("the encryption context key `{}` is given twice", taken.key());
                    return Err(refuse::invalid(message));
                }
            };
            if checked.len() > CONTEXT_PAIRS_MAX {
                let message = format!("an encryption context has at most {CONTEXT_PAIRS_MAX} pairs");
                return Err(Refusal::new(types::Reason::LimitExceeded, message));
            }
        }
        Ok(Self(checked))
    }

    /// The pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there are no pairs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use types::Reason;

    use super::*;

    #[track_caller]
    fn check(pairs: &[(&str, &str)], expected: Result<&[(&str, &str)], Reason>) {
        let context = EncryptionContext::new(pairs.iter().copied());
        let got = context.as_ref().map(|c| c.iter().collect::<Vec<_>>()).map_err(|refusal| refusal.reason);
        assert_eq!(got.as_deref().map_err(|reason| *reason), expected);
    }

    #[test]
    fn pairs_are_sorted_by_bytes_and_never_repeated() {
        check(&[], Ok(&[]));
        check(&[("b", "1"), ("a", ""), ("B", "2"), ("ä", "3")], Ok(&[("B", "2"), ("a", ""), ("b", "1"), ("ä", "3")]));
        check(&[("a", "1"), ("a", "1")], Err(Reason::InvalidArgument));
        check(&[("", "1")], Err(Reason::InvalidArgument));
        // Composed and decomposed are two keys: nothing is normalised.
        check(&[("\u{e9}", "1"), ("e\u{301}", "2")], Ok(&[("e\u{301}", "2"), ("\u{e9}", "1")]));
    }

    #[test]
    fn pairs_are_bounded() {
        let long = "x".repeat(CONTEXT_TEXT_BYTES_MAX);
        let longer = "x".repeat(CONTEXT_TEXT_BYTES_MAX + 1);
        check(&[(&long, &long)], Ok(&[(&long, &long)]));
        check(&[(&longer, "")], Err(Reason::LimitExceeded));
        check(&[("a", &longer)], Err(Reason::LimitExceeded));
        let many = |n: usize| EncryptionContext::new((0..n).map(|i| (format!("{i}"), "")));
        assert!(many(CONTEXT_PAIRS_MAX).is_ok());
        assert_eq!(many(CONTEXT_PAIRS_MAX + 1).expect_err("too many").reason, Reason::LimitExceeded);
    }
}

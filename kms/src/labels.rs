//! Labels of a key: for people and for filters. Nothing is decided by them, and they are not secret.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use types::limits::{LABEL_BYTES_MAX, LABELS_MAX};
use types::{Reason, Refusal};

use crate::refuse;

/// Pairs, sorted by their keys. Made by [`Labels::new`] they are within their bounds; what was stored or proposed is asked with
/// [`Labels::check`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// Checks the pairs.
    ///
    /// # Errors
    /// As [`Labels::check`].
    pub fn new<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Result<Self, Refusal> {
        let labels = Self(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect());
        labels.check()?;
        Ok(labels)
    }

    /// Whether the labels are within their bounds.
    ///
    /// # Errors
    /// `LimitExceeded` for more than 64; `InvalidArgument` for a key that is no name (lowercase letters, digits, `-` and `_`, a letter
    /// first, at most 63) or a value of other characters.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.0.len() > LABELS_MAX {
            return Err(Refusal::new(Reason::LimitExceeded, format!("a key has at most {LABELS_MAX} labels")));
        }
        let plain = |text: &str| {
            let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
            text.len() <= LABEL_BYTES_MAX && text.bytes().all(good)
        };
        for (key, value) in &self.0 {
            if !plain(key) || !key.starts_with(|first: char| first.is_ascii_lowercase()) || !plain(value) {
                let shown: String = format!("{key}={value}").chars().take(80).collect();
                return Err(refuse::invalid(format!(
                    "`{shown}` is not a label: use at most {LABEL_BYTES_MAX} lowercase letters, digits, `-` and `_` on each side, and a \
                     letter first"
                )));
            }
        }
        Ok(())
    }

    /// The pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_names_with_plain_values() {
        let reason = |key: &str, value: &str| Labels::new([(key, value)]).map(drop).map_err(|refusal| refusal.reason);
        let long = "a".repeat(LABEL_BYTES_MAX);
        for (key, value) in [("team", "payments"), ("t", ""), ("cost_centre-7", "42"), (&long, &long)] {
            assert_eq!(reason(key, value), Ok(()), "{key}={value}");
        }
        let longer = "a".repeat(LABEL_BYTES_MAX + 1);
        for (key, value) in [
            ("", "x"),
            ("7", "x"),
            ("-a", "x"),
            ("Team", "x"),
            ("a b", "x"),
            ("a", "X"),
            ("é", "x"),
            (&longer, "x"),
            ("a", &longer),
        ] {
            assert_eq!(reason(key, value), Err(Reason::InvalidArgument), "{key}={value}");
        }
        let many = (0..=LABELS_MAX).map(|n| (format!("k{n}"), "v"));
        assert_eq!(Labels::new(many.clone().take(LABELS_MAX)).map(|labels| labels.len()), Ok(LABELS_MAX));
        assert_eq!(Labels::new(many).expect_err("one more").reason, Reason::LimitExceeded);
    }
}

//! Text that may stand in a record: printable ASCII that needs no escape, of bounded length.

use serde::{Deserialize, Serialize};
use types::limits::AUDIT_TEXT_BYTES_MAX;

/// At most [`AUDIT_TEXT_BYTES_MAX`] bytes of printable ASCII without `"` and `\`.
///
/// Never put a secret, a token, a plaintext or a ciphertext in one: those enter a record as a digest or not at all.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Text(std::sync::Arc<str>);

/// The text holds a character that a record cannot, or is too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a record's text is at most {AUDIT_TEXT_BYTES_MAX} bytes of printable ASCII without quotes and backslashes")]
pub struct TextError;

impl Text {
    /// Takes text exactly as it is.
    ///
    /// # Errors
    /// When it is too long or holds another character.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        (text.len() <= AUDIT_TEXT_BYTES_MAX && text.bytes().all(is_plain)).then(|| Self(text.into())).ok_or(TextError)
    }

    /// Takes any text: other characters become `?`, and what is too long is cut and ends in `~`.
    ///
    /// It cannot fail, so that no caller escapes the log by the strangeness of what it asked for.
    #[must_use]
    pub fn clipped(text: &str) -> Self {
        if let Ok(text) = Self::parse(text) {
            return text;
        }
        let plain = |c: char| u8::try_from(c).ok().filter(|b| is_plain(*b)).map_or('?', char::from);
        let mut clipped: String = text.chars().map(plain).take(AUDIT_TEXT_BYTES_MAX + 1).collect();
        if clipped.len() > AUDIT_TEXT_BYTES_MAX {
            clipped.truncate(AUDIT_TEXT_BYTES_MAX - 1);
            clipped.push('~');
        }
        Self(clipped.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')
}

impl TryFrom<String> for Text {
    type Error = TextError;
    fn try_from(text: String) -> Result<Self, TextError> {
        Self::parse(&text)
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.as_str().to_owned()
    }
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays_and_the_rest_is_made_plain() {
        for (given, kept) in [
            ("namespaces/default/keys/a", "namespaces/default/keys/a"),
            ("", ""),
            ("a\"b\\c", "a?b?c"),
            ("line\nfeed\u{7f}\0", "line?feed??"),
            ("schlüssel 鍵", "schl?ssel ?"),
        ] {
            assert_eq!(Text::clipped(given).as_str(), kept);
            assert_eq!(Text::parse(given).is_ok(), given == kept, "{given}");
        }
    }

    #[test]
    fn long_text_is_cut_and_says_so() {
        let fits = "x".repeat(AUDIT_TEXT_BYTES_MAX);
        assert_eq!(Text::clipped(&fits).as_str(), fits);
        for long in ["y".repeat(AUDIT_TEXT_BYTES_MAX + 1), "鍵".repeat(9_000)] {
            let cut = Text::clipped(&long);
            assert_eq!(cut.as_str().len(), AUDIT_TEXT_BYTES_MAX);
            assert!(cut.as_str().ends_with('~'));
            assert_eq!(Text::parse(&long), Err(TextError));
        }
    }
}

//! DNS names a certificate may carry: lowercase host names, no wildcard, nothing that could be read as an address.

use serde::{Deserialize, Serialize};
use types::limits::DNS_NAME_BYTES_MAX;
use types::{Reason, Refusal};

/// A host name in its canonical spelling: lowercase letters, digits and hyphens in labels of at most 63 (RFC 1035 §2.3.1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DnsName(String);

impl DnsName {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// `InvalidArgument` when it is not a host name in lowercase.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if is_host_name(text) {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.chars().take(80).collect();
        Err(Refusal::new(
            Reason::InvalidArgument,
            format!("`{shown}` is not a DNS name: use lowercase labels of letters, digits and hyphens, no wildcard"),
        ))
    }

    /// The name as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name is `suffix` itself or lies below it: `api.pay.example` is under `pay.example`, `repay.example`
    /// is not.
    #[must_use]
    pub fn is_under(&self, suffix: &Self) -> bool {
        self.0.strip_suffix(suffix.as_str()).is_some_and(|head| head.is_empty() || head.ends_with('.'))
    }
}

fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A last label of digits alone would make the whole readable as an IPv4 address.
    let numeric = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    text.len() <= DNS_NAME_BYTES_MAX && text.split('.').all(label) && !text.rsplit('.').next().is_some_and(numeric)
}

impl std::fmt::Display for DnsName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Debug for DnsName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for DnsName {
    type Err = Refusal;
    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::parse(text)
    }
}

impl TryFrom<String> for DnsName {
    type Error = Refusal;
    fn try_from(text: String) -> Result<Self, Refusal> {
        Self::parse(&text)
    }
}

impl From<DnsName> for String {
    fn from(name: DnsName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lowercase_host_names() {
        for good in ["a", "localhost", "db.internal", "x-1.y", "1a.b", &format!("{}.a", "b".repeat(63))] {
            assert!(DnsName::parse(good).is_ok(), "{good}");
        }
        let long = vec!["a".repeat(50); 6].join(".");
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "A.b",
            "*.a",
            "a_b",
            "-a",
            "a-",
            "10.0.0.1",
            "1",
            "ä.b",
            "a b",
            "[::1]",
            "a:1",
            &"a".repeat(64),
            &long,
        ] {
            assert!(DnsName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_suffix_ends_at_a_label() {
        let name = |text: &str| DnsName::parse(text).expect("a name");
        assert!(name("pay.example").is_under(&name("pay.example")));
        assert!(name("a.b.pay.example").is_under(&name("pay.example")));
        assert!(!name("repay.example").is_under(&name("pay.example")));
        assert!(!name("example").is_under(&name("pay.example")));
    }
}

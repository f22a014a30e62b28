//! Resource ids (AIP-122): what a person types and what a resource name is built from.

use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::limits;

/// Why a name was refused; the text says what would be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameError {
    /// What kind of name it should have been, for example `key`.
    pub kind: &'static str,
    /// The text as it was given, cut to a printable length.
    pub given: String,
}

impl std::fmt::Display for NameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, given } = self;
        write!(
            f,
            "`{given}` is not a {kind} name: use 1 to {} lowercase letters, digits and hyphens, \
             starting with a letter and not ending with a hyphen",
            limits::NAME_BYTES_MAX
        )
    }
}

impl std::error::Error for NameError {}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=limits::NAME_BYTES_MAX).contains(&bytes.len())
        && bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.last() != Some(&b'-')
}

/// Reads a text through a parser; the text says what it should be.
struct Parsed<N>(fn(&str) -> Result<N, NameError>, &'static str);

impl<N> Visitor<'_> for Parsed<N> {
    type Value = N;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.1)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<N, E> {
        (self.0)(text).map_err(E::custom)
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Checks and takes a name.
            ///
            /// # Errors
            /// When the text is not a name; the error says what is.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                if is_name(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(NameError { kind: $kind, given: text.chars().take(80).collect() })
                }
            }

            /// The name as it is written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }

        // By hand, because a name is in every row that is stored or hashed: neither way makes a `String` in between.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Parsed(Self::parse, concat!("a ", $kind, " name")))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// `namespaces/{ns}`: a tenant, with its own key-encryption key and SPIFFE path.
    NamespaceName, "namespace"
}
name! {
    /// `namespaces/{ns}/keys/{key}`.
    KeyName, "key"
}
name! {
    /// `namespaces/{ns}/entries/{entry}`.
    EntryName, "entry"
}
name! {
    /// `operators/{name}`.
    OperatorName, "operator"
}
name! {
    /// `agents/{id}`.
    AgentName, "agent"
}
name! {
    /// `namespaces/{ns}/aliases/{alias}`: another name of a key, which can be given to another key.
    AliasName, "alias"
}

impl NamespaceName {
    /// The namespace that exists from formation on and that commands use when none is named.
    #[must_use]
    pub fn default_namespace() -> Self {
        Self("default".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_lowercase_and_hyphenated() {
        for good in ["a", "orders", "node-1", "x2", &"a".repeat(63)] {
            assert!(KeyName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a/b", "ä", "1a", "a b", "a\n", &"a".repeat(64)] {
            assert!(KeyName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_stored_name_is_checked_when_it_is_read() {
        let bytes = postcard::to_stdvec("../etc").expect("encodes");
        assert!(postcard::from_bytes::<KeyName>(&bytes).is_err());
    }
}

//! Identifiers that are numbers or bytes: drawn before they are proposed, compared everywhere.

use serde::{Deserialize, Serialize};

/// A Raft member's number, `nodes/{n}`: assigned by the leader, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "node-{}", self.0)
    }
}

/// A UUIDv7 chosen by the caller of a mutation (AIP-155): the same id makes a retry harmless.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub [u8; 16]);

/// Bytes that are no UUIDv7: an audit record that named them could not be read again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotARequestId;

impl RequestId {
    /// Parses the text form; refuses every UUID that is not version 7.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::try_from(uuid::Uuid::try_parse(text).ok()?.into_bytes()).ok()
    }

    /// The milliseconds since the Unix epoch in its first 48 bits (RFC 9562 §5.7).
    #[must_use]
    pub fn time(self) -> crate::Time {
        let [a, b, c, d, e, f, ..] = self.0;
        crate::Time(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }
}

impl TryFrom<[u8; 16]> for RequestId {
    type Error = NotARequestId;
    fn try_from(bytes: [u8; 16]) -> Result<Self, NotARequestId> {
        if uuid::Uuid::from_bytes(bytes).get_version_num() == 7 { Ok(Self(bytes)) } else { Err(NotARequestId) }
    }
}

impl std::fmt::Display for NotARequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a request id is a UUID of version 7")
    }
}

impl std::fmt::Debug for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&uuid::Uuid::from_bytes(self.0), f)
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&uuid::Uuid::from_bytes(self.0), f)
    }
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Lowercase hexadecimal, the only text form.
            #[must_use]
            pub fn to_hex(self) -> String {
                self.0.iter().map(|b| format!("{b:02x}")).collect()
            }

            /// Parses the text form; `None` when it is not exactly lowercase hexadecimal of the right length.
            #[must_use]
            pub fn from_hex(text: &str) -> Option<Self> {
                let digit = |c: u8| match c {
                    b'0'..=b'9' => Some(c - b'0'),
                    b'a'..=b'f' => Some(c - b'a' + 10),
                    _ => None,
                };
                let mut bytes = [0u8; $len];
                let pairs = text.as_bytes().chunks_exact(2);
                if !pairs.remainder().is_empty() || pairs.len() != $len {
                    return None;
                }
                for (byte, pair) in bytes.iter_mut().zip(pairs) {
                    let &[high, low] = pair else { return None };
                    *byte = digit(high)? << 4 | digit(low)?;
                }
                Some(Self(bytes))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.to_hex())
            }
        }
    };
}

byte_id! {
    /// The cluster's name for itself, drawn once by `init`; on every peer connection and in every data folder.
    ClusterId, 16
}
byte_id! {
    /// What a ciphertext names its key by: random, never reused, says nothing about the key's name.
    KeyId, 16
}
byte_id! {
    /// The public half of a one-time join token: what the record is found by.
    TokenId, 16
}
byte_id! {
    /// Tells one root key of the cluster from another: derived from the key, says nothing about it.
    RootId, 16
}
byte_id! {
    /// SHA-256 of a DER SubjectPublicKeyInfo: how nodes, operators and agents are recognised.
    SpkiHash, 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_exact() {
        let id = KeyId([0xab; 16]);
        assert_eq!(KeyId::from_hex(&id.to_hex()), Some(id));
        for wrong in ["", "ab", &"AB".repeat(16), &"ab".repeat(17), &"g0".repeat(16), &"abc".repeat(11)] {
            assert_eq!(KeyId::from_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn request_ids_are_version_7_and_carry_their_time() {
        let id = RequestId::parse("01976e2f-2c00-7abc-8def-0123456789ab").expect("a version 7 id");
        assert_eq!(id.time(), crate::Time(0x0197_6e2f_2c00));
        assert_eq!(RequestId::parse("550e8400-e29b-41d4-a716-446655440000"), None);
        assert_eq!(RequestId::parse("nonsense"), None);
        assert_eq!((RequestId::try_from(id.0), RequestId::try_from([9; 16])), (Ok(id), Err(NotARequestId)));
    }
}

//! Bytes that stand in `seal.json` as lowercase hexadecimal.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Exactly `N` bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&::hex::encode(self.0))
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; N];
        ::hex::decode_to_slice(&text, &mut bytes)
            .map_err(|_| D::Error::custom(format_args!("{N} bytes in hexadecimal were expected")))?;
        Ok(Self(bytes))
    }
}

//! What makes a retry recognisable: the caller's request id and what was asked under it. How answers are remembered is in `requests.rs`.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use types::RequestId;

/// What makes a retry recognisable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequestKey {
    /// UUIDv7 of the caller's choice; whatever else stood in an audit record could not be read again.
    #[serde(deserialize_with = "version_7")]
    pub id: RequestId,
    /// SHA-256 of the method and the canonical request without its id.
    pub body: [u8; 32],
}

fn version_7<'de, D: Deserializer<'de>>(from: D) -> Result<RequestId, D::Error> {
    let RequestId(bytes) = RequestId::deserialize(from)?;
    RequestId::try_from(bytes).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_in_an_entry_is_one() {
        let read = |id: [u8; 16]| {
            let key = RequestKey { id: RequestId(id), body: [8; 32] };
            let bytes = postcard::to_stdvec(&key).expect("encodes");
            assert_eq!(bytes, [&id[..], &[8; 32]].concat());
            postcard::from_bytes::<RequestKey>(&bytes).ok()
        };
        let id = RequestId::parse("01976e2f-2c00-7abc-8def-0123456789ab").expect("a version 7 id");
        assert_eq!(read(id.0), Some(RequestKey { id, body: [8; 32] }));
        assert_eq!(read([9; 16]), None, "an audit record that names it could not be read");
    }
}

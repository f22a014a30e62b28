//! The pkcs11 seal: the private key lies in `seal.json`, wrapped by a key that never leaves a token (docs/spec/seal.md).

use crypto::{Secret, sealed_box};
use serde::{Deserialize, Serialize};
use types::ClusterId;

use super::SealError;
use super::hex::Hex;
use super::slot::{Offer, Place, Seal};
use super::token;

/// What `seal.json` says of it. Which module is loaded is not said here: whoever changes the file must not choose what
/// code the node runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pkcs11Seal {
    recipient: Hex<32>,
    nonce: Hex<{ token::NONCE_BYTES }>,
    /// The private key and GCM's tag, hexadecimal.
    wrapped: String,
}

impl Pkcs11Seal {
    /// Draws a key and has the token wrap it.
    pub(super) fn draw(place: Place<'_>) -> Result<Self, SealError> {
        let config = place.token.ok_or(SealError::NoToken)?;
        let key = crypto::entropy::secret::<32>();
        let recipient = sealed_box::public_of(&key).map_err(|_| SealError::DoesNotOpen)?;
        let (nonce, wrapped) = token::wrap(config, &aad(place.cluster, &recipient), key.expose())?;
        Ok(Self { recipient: Hex(recipient), nonce: Hex(nonce), wrapped: ::hex::encode(wrapped) })
    }
}

impl Seal for Pkcs11Seal {
    fn kind(&self) -> &'static str {
        "pkcs11"
    }

    fn recipient(&self) -> [u8; 32] {
        self.recipient.0
    }

    /// Opened by whoever brings nothing: what it takes is the token, and its PIN lies in a file of the node.
    fn private_key(&self, place: Place<'_>, offer: Offer<'_>) -> Result<Option<Secret<32>>, SealError> {
        if !matches!(offer, Offer::Nothing) {
            return Ok(None);
        }
        let config = place.token.ok_or(SealError::NoToken)?;
        let wrapped = ::hex::decode(&self.wrapped).map_err(|_| SealError::DoesNotOpen)?;
        let key = token::unwrap(config, &aad(place.cluster, &self.recipient.0), self.nonce.0, &wrapped)?;
        Secret::from_slice(key.expose()).map(Some).ok_or(SealError::DoesNotOpen)
    }
}

/// Binds what is wrapped to its cluster and its seal.
fn aad(cluster: ClusterId, recipient: &[u8; 32]) -> Vec<u8> {
    [b"chancery pkcs11 seal v1".as_slice(), &cluster.0, recipient].concat()
}

//! The file seal: the private key lies in the data folder, so whoever has the disk has the keys. For development only.

use crypto::{Secret, sealed_box};
use serde::{Deserialize, Serialize};

use super::SealError;
use super::hex::Hex;
use super::slot::{Offer, Place, Seal};
use crate::folder::Folder;

const KEY_FILE: &str = "seal.key";

/// What `seal.json` says of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileSeal {
    recipient: Hex<32>,
}

impl FileSeal {
    /// Draws a key and keeps it in a private file.
    pub(super) fn draw(folder: &Folder) -> Result<Self, SealError> {
        let key = crypto::entropy::secret::<32>();
        let recipient = sealed_box::public_of(&key).map_err(|_| SealError::DoesNotOpen)?;
        folder.write_private(KEY_FILE, key.expose())?;
        Ok(Self { recipient: Hex(recipient) })
    }

    /// Removes the key, once no slot is opened with it.
    pub(super) fn forget(folder: &Folder) -> Result<(), SealError> {
        Ok(folder.remove(KEY_FILE)?)
    }
}

impl Seal for FileSeal {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn recipient(&self) -> [u8; 32] {
        self.recipient.0
    }

    /// Opened by whoever brings nothing: a passphrase that was typed is meant for another seal.
    fn private_key(&self, place: Place<'_>, offer: Offer<'_>) -> Result<Option<Secret<32>>, SealError> {
        if !matches!(offer, Offer::Nothing) {
            return Ok(None);
        }
        let bytes = place.folder.read_private(KEY_FILE)?.map(crypto::SecretBytes::from_vec);
        let bytes = bytes.ok_or(SealError::DoesNotOpen)?;
        Secret::from_slice(bytes.expose()).map(Some).ok_or(SealError::DoesNotOpen)
    }
}

//! The file seal: the wrapping key lies in the data folder, so whoever has the disk has the keys. For development only.

use crypto::Secret;

use super::SealError;
use super::record::Parameters;
use crate::folder::Folder;

const KEY_FILE: &str = "seal.key";

/// Draws a wrapping key and keeps it in a private file.
pub(super) fn draw(folder: &Folder) -> Result<(Parameters, Secret<32>), SealError> {
    let key = crypto::entropy::secret::<32>();
    folder.write_private(KEY_FILE, key.expose())?;
    Ok((Parameters::File, key))
}

/// Reads it back.
pub(super) fn read(folder: &Folder) -> Result<Secret<32>, SealError> {
    let bytes = folder.read_private(KEY_FILE)?.map(crypto::SecretBytes::from_vec).ok_or(SealError::DoesNotOpen)?;
    Secret::from_slice(bytes.expose()).ok_or(SealError::DoesNotOpen)
}

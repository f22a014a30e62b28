//! Into files: all of it or nothing. The output appears under its name only when the last byte is written, verified and
//! on disk; until then it is a temporary file of mode 0600 in the same folder, removed on any failure.

use std::path::Path;

use tempfile::NamedTempFile;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncWriteExt};

use crate::private_file;

use super::{BUFFER_BYTES, Bound, EnvelopeError, KeyUse, Opened, Sealed, open, seal};

/// Encrypts `input` into a new file, as [`seal`]. A regular file of that name is replaced in the last step;
/// anything else is refused.
///
/// # Errors
/// As [`seal`]; no file is left behind, and one that was there is unchanged.
pub async fn seal_to_file<K: KeyUse>(
    keys: &K,
    bound: &Bound,
    input: impl AsyncRead + Unpin,
    output: &Path,
    progress: impl FnMut(u64),
) -> Result<Sealed, EnvelopeError> {
    let (temporary, mut file) = begin(output)?;
    let sealed = seal(keys, bound, input, &mut file, progress).await?;
    end(temporary, file, output).await?;
    Ok(sealed)
}

/// Decrypts `input` into a new file of mode 0600, as [`open`]. A regular file of that name is replaced in the last
/// step; anything else is refused.
///
/// # Errors
/// As [`open`]; no file is left behind, and one that was there is unchanged.
pub async fn open_to_file<K: KeyUse>(
    keys: &K,
    bound: &Bound,
    input: impl AsyncRead + Unpin,
    output: &Path,
    progress: impl FnMut(u64),
) -> Result<Opened, EnvelopeError> {
    let (temporary, mut file) = begin(output)?;
    let opened = open(keys, bound, input, &mut file, progress).await?;
    end(temporary, file, output).await?;
    Ok(opened)
}

fn begin(output: &Path) -> Result<(NamedTempFile, File), EnvelopeError> {
    let name = format!("`{}` could not be written", output.display());
    private_file::check_replaceable(output)
        .map_err(|error| EnvelopeError::io(name.clone())(std::io::Error::other(error)))?;
    let temporary = NamedTempFile::new_in(folder_of(output)).map_err(EnvelopeError::io(name.clone()))?;
    let mut file = File::from_std(temporary.as_file().try_clone().map_err(EnvelopeError::io(name))?);
    file.set_max_buf_size(2 * BUFFER_BYTES);
    Ok((temporary, file))
}

async fn end(temporary: NamedTempFile, mut file: File, output: &Path) -> Result<(), EnvelopeError> {
    let failed = || EnvelopeError::io(format!("`{}` could not be written", output.display()));
    file.flush().await.map_err(failed())?;
    file.sync_all().await.map_err(failed())?;
    temporary.persist(output).map_err(|error| failed()(error.error))?;
    // The name is on disk too only when the folder is.
    std::fs::File::open(folder_of(output)).and_then(|folder| folder.sync_all()).map_err(failed())
}

fn folder_of(output: &Path) -> &Path {
    match output.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

//! Plaintext to ciphertext.

use kms::envelope::{ENVELOPE_HEADER_BYTES, encrypt_file};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use types::limits::UNARY_PLAINTEXT_BYTES_MAX;
use zeroize::Zeroizing;

use super::{BUFFER_BYTES, Bound, EnvelopeError, KeyUse};

/// What was encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// The key version it is under.
    pub version: u32,
    /// Bytes of plaintext.
    pub bytes: u64,
}

/// Encrypts everything that `input` has. Data that ends within 64 KiB becomes a unary ciphertext, other data an envelope
/// file. `progress` is told the number of plaintext bytes after each step.
///
/// # Errors
/// When the service refuses, or reading or writing fails; what was written until then is worthless to anyone.
pub async fn seal<K: KeyUse>(
    keys: &K,
    bound: &Bound,
    mut input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    mut progress: impl FnMut(u64),
) -> Result<Sealed, EnvelopeError> {
    let mut buffer = Zeroizing::new(vec![0; BUFFER_BYTES]);
    let filled = fill(&mut input, &mut buffer, UNARY_PLAINTEXT_BYTES_MAX + 1).await?;
    let start = buffer.get(..filled).unwrap_or_default();
    if filled <= UNARY_PLAINTEXT_BYTES_MAX {
        let (ciphertext, version) = keys.encrypt(start, bound).await?;
        output.write_all(&ciphertext).await.map_err(writing())?;
        output.flush().await.map_err(writing())?;
        progress(filled as u64);
        return Ok(Sealed { version, bytes: filled as u64 });
    }

    let data_key = keys.data_key(bound).await?;
    let mut sealed = Vec::with_capacity(ENVELOPE_HEADER_BYTES + BUFFER_BYTES + BUFFER_BYTES / 64);
    let salt = crypto::entropy::array();
    let mut stream = encrypt_file(&data_key.plaintext, &data_key.wrapped, &bound.binding()?, salt, &mut sealed)?;
    let (mut bytes, mut got) = (0_u64, filled);
    while got > 0 {
        stream.update(buffer.get(..got).unwrap_or_default(), &mut sealed)?;
        output.write_all(&sealed).await.map_err(writing())?;
        sealed.clear();
        bytes += got as u64;
        progress(bytes);
        got = input.read(&mut buffer).await.map_err(reading())?;
    }
    stream.finish(&mut sealed)?;
    output.write_all(&sealed).await.map_err(writing())?;
    output.flush().await.map_err(writing())?;
    Ok(Sealed { version: data_key.version, bytes })
}

/// Reads until `want` bytes are there or the input ends; how many there are.
pub(super) async fn fill(
    input: &mut (impl AsyncRead + Unpin),
    buffer: &mut [u8],
    want: usize,
) -> Result<usize, EnvelopeError> {
    let mut filled = 0;
    while filled < want {
        let Some(room) = buffer.get_mut(filled..want) else { break };
        match input.read(room).await.map_err(reading())? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

pub(super) fn reading() -> impl FnOnce(std::io::Error) -> EnvelopeError {
    EnvelopeError::io("the input could not be read")
}

pub(super) fn writing() -> impl FnOnce(std::io::Error) -> EnvelopeError {
    EnvelopeError::io("the output could not be written")
}

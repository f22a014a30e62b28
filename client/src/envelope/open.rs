//! Ciphertext to plaintext.

use std::io::SeekFrom;

use crypto::Secret;
use kms::envelope::{DATA_KEY_BYTES, ENVELOPE_HEADER_BYTES, EnvelopeHeader};
use kms::{Ciphertext, HEADER_BYTES, Kind};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeek, AsyncSeekExt, AsyncWrite, AsyncWriteExt};
use types::limits::UNARY_PLAINTEXT_BYTES_MAX;
use types::{Reason, Refusal};
use zeroize::Zeroizing;

use super::seal::{fill, reading, writing};
use super::{BUFFER_BYTES, Bound, EnvelopeError, KeyUse, unverified};

/// Largest unary ciphertext: header, plaintext and tag.
const UNARY_BYTES_MAX: usize = HEADER_BYTES + UNARY_PLAINTEXT_BYTES_MAX + 16;

/// What was decrypted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// `namespaces/{ns}/keys/{key}`
    pub key: String,
    /// The key version it was under.
    pub version: u32,
    /// Bytes of plaintext.
    pub bytes: u64,
}

/// Decrypts everything that `input` has, unary ciphertext or envelope file. **What is written is genuine only once this
/// has returned `Ok`**: give it an output that nobody reads before, or use [`super::open_to_file`] or
/// [`open_verified_first`].
///
/// # Errors
/// When the data does not verify, the service refuses, or reading or writing fails.
pub async fn open<K: KeyUse>(
    keys: &K,
    bound: &Bound,
    mut input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    mut progress: impl FnMut(u64),
) -> Result<Opened, EnvelopeError> {
    let mut start = vec![0; UNARY_BYTES_MAX + 1];
    let filled = fill(&mut input, &mut start, UNARY_BYTES_MAX + 1).await?;
    start.truncate(filled);
    let opened = match Ciphertext::parse(&start)?.header.kind {
        Kind::Unary if filled <= UNARY_BYTES_MAX => {
            let unwrapped = keys.decrypt(&start, bound).await?;
            output.write_all(unwrapped.plaintext.expose()).await.map_err(writing())?;
            let bytes = unwrapped.plaintext.len() as u64;
            progress(bytes);
            Opened { key: unwrapped.key, version: unwrapped.version, bytes }
        }
        Kind::Unary => return Err(unverified()), // longer than one can be
        Kind::EnvelopeFile => open_envelope(keys, bound, &start, &mut input, &mut output, &mut progress).await?,
        Kind::Stream => {
            let message = "this ciphertext was streamed by a service under its own key, not by a client";
            return Err(Refusal::new(Reason::Unimplemented, message).into());
        }
    };
    output.flush().await.map_err(writing())?;
    Ok(opened)
}

/// As [`open`], but reads the input twice: nothing is written before all of it has verified once. The second pass verifies
/// again, so that an input that changes in between yields an error, never plaintext that is not genuine.
///
/// # Errors
/// As [`open`].
pub async fn open_verified_first<K: KeyUse>(
    keys: &K,
    bound: &Bound,
    mut input: impl AsyncRead + AsyncSeek + Unpin,
    output: impl AsyncWrite + Unpin,
    progress: impl FnMut(u64),
) -> Result<Opened, EnvelopeError> {
    let start = input.stream_position().await.map_err(reading())?;
    open(keys, bound, &mut input, tokio::io::sink(), |_| {}).await?;
    input.seek(SeekFrom::Start(start)).await.map_err(reading())?;
    open(keys, bound, input, output, progress).await
}

async fn open_envelope<K: KeyUse>(
    keys: &K,
    bound: &Bound,
    start: &[u8],
    input: &mut (impl AsyncRead + Unpin),
    output: &mut (impl AsyncWrite + Unpin),
    progress: &mut impl FnMut(u64),
) -> Result<Opened, EnvelopeError> {
    let (header, segments) = start.split_first_chunk::<ENVELOPE_HEADER_BYTES>().ok_or_else(unverified)?;
    let header = EnvelopeHeader::parse(header)?;
    let unwrapped = keys.decrypt(header.wrapped_data_key(), bound).await?;
    let data_key = Secret::<DATA_KEY_BYTES>::from_slice(unwrapped.plaintext.expose()).ok_or_else(unverified)?;
    let mut stream = header.decryptor(&data_key, &bound.binding()?)?;

    let mut buffer = vec![0; BUFFER_BYTES];
    // Room for every byte that one update or the end can give, so that plaintext is never left behind by growing.
    let mut plaintext = Zeroizing::new(Vec::with_capacity(2 * BUFFER_BYTES));
    stream.update(segments, &mut plaintext)?;
    let mut bytes = 0_u64;
    loop {
        output.write_all(&plaintext).await.map_err(writing())?;
        bytes += plaintext.len() as u64;
        progress(bytes);
        plaintext.clear();
        let got = input.read(&mut buffer).await.map_err(reading())?;
        if got == 0 {
            break;
        }
        stream.update(buffer.get(..got).unwrap_or_default(), &mut plaintext)?;
    }
    stream.finish(&mut plaintext)?;
    output.write_all(&plaintext).await.map_err(writing())?;
    bytes += plaintext.len() as u64;
    progress(bytes);
    Ok(Opened { key: unwrapped.key, version: unwrapped.version, bytes })
}

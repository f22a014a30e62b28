//! Signing messages of any length: what is longer than one call takes is hashed here, and its digest is signed there. Both give the
//! same signature, so whoever verifies need not know.

use crypto::asymmetric::MessageHasher;
use crypto::hash::HashFunction;
use proto::kms::v1::{Algorithm, GetKeyRequest, SignRequest, SignResponse, VerifyRequest, VerifyResponse};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use types::limits::UNARY_PLAINTEXT_BYTES_MAX;
use types::{Reason, Refusal};

use crate::{Client, Error};

/// Bytes read at once.
const BUFFER_BYTES: usize = 256 * 1_024;

/// Why nothing was signed or verified.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The service refused, or could not be asked.
    #[error(transparent)]
    Service(#[from] Error),
    /// The message cannot be read.
    #[error("the message could not be read: {0}")]
    Read(#[from] std::io::Error),
    /// It is too long for an algorithm that takes no digest.
    #[error("{0}")]
    Refused(Refusal),
}

/// A message, or the digest of one in its place.
struct Input {
    /// The key whose hash made the digest: an alias may be moved meanwhile.
    name: String,
    message: Vec<u8>,
    digest: Option<Vec<u8>>,
}

/// Signs what the reader gives. `key` is `namespaces/{ns}/keys/{key}` or an alias, `namespaces/{ns}/aliases/{alias}`; version zero
/// is the primary one. The answer names the key.
///
/// # Errors
/// As [`SigningError`] lists.
pub async fn sign(
    client: &Client,
    key: &str,
    version: u32,
    message: impl AsyncRead + Unpin,
) -> Result<SignResponse, SigningError> {
    let Input { name, message, digest } = input(client, key, message).await?;
    Ok(client.crypto().sign(SignRequest { name, version, message, digest }).await?)
}

/// Checks a signature of what the reader gives.
///
/// # Errors
/// `INVALID_SIGNATURE` when it is not one by that version; else as [`SigningError`] lists.
pub async fn verify(
    client: &Client,
    key: &str,
    version: u32,
    message: impl AsyncRead + Unpin,
    signature: Vec<u8>,
) -> Result<VerifyResponse, SigningError> {
    let Input { name, message, digest } = input(client, key, message).await?;
    let request = VerifyRequest { name, version, message, digest, signature };
    Ok(client.crypto().verify(request).await?)
}

/// The hash that an algorithm signs; none for one that signs messages only, or nothing.
#[must_use]
pub fn hash_of(algorithm: Algorithm) -> Option<HashFunction> {
    known(algorithm)?.signature_scheme().ok()?.hash()
}

/// As `kms` has it; none when this build does not know it.
fn known(algorithm: Algorithm) -> Option<kms::Algorithm> {
    kms::Algorithm::parse(algorithm.as_str_name().strip_prefix("ALGORITHM_")?)
}

async fn input(client: &Client, key: &str, mut message: impl AsyncRead + Unpin) -> Result<Input, SigningError> {
    let mut first = Vec::new();
    let most = UNARY_PLAINTEXT_BYTES_MAX as u64;
    (&mut message).take(most + 1).read_to_end(&mut first).await?;
    if first.len() <= UNARY_PLAINTEXT_BYTES_MAX {
        return Ok(Input { name: key.to_owned(), message: first, digest: None });
    }
    let found = client.keys().get(GetKeyRequest { name: key.to_owned() }).await?;
    let algorithm = found.algorithm();
    if let Some(algorithm) = known(algorithm) {
        algorithm.signature_scheme().map_err(SigningError::Refused)?;
    }
    let hash = hash_of(algorithm).ok_or_else(|| {
        let name = algorithm.as_str_name().trim_start_matches("ALGORITHM_");
        let text = format!(
            "the message is longer than {UNARY_PLAINTEXT_BYTES_MAX} bytes, and {name} signs no digest: sign a digest of it as \
             the message, and say so to whoever verifies"
        );
        SigningError::Refused(Refusal::new(Reason::LimitExceeded, text))
    })?;
    let mut hasher = MessageHasher::new(hash);
    hasher.update(&first);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = message.read(&mut buffer).await?;
        match buffer.get(..read) {
            Some(bytes) if !bytes.is_empty() => hasher.update(bytes),
            _ => return Ok(Input { name: found.name, message: Vec::new(), digest: Some(hasher.finish()) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_in_the_names() {
        for number in 1.. {
            let Ok(algorithm) = Algorithm::try_from(number) else { break };
            let name = algorithm.as_str_name();
            let expected = match name {
                _ if !name.contains("ECDSA") && !name.contains("PSS") && !name.contains("PKCS1") => None,
                _ if name.ends_with("SHA_256") => Some(HashFunction::Sha256),
                _ if name.ends_with("SHA_384") => Some(HashFunction::Sha384),
                _ => Some(HashFunction::Sha512),
            };
            assert_eq!(hash_of(algorithm), expected, "{name}");
        }
    }
}

//! Files under a data key: the service wraps 32 bytes once, the client encrypts as much as it likes.

use crypto::{Secret, aead};
use types::Refusal;

use crate::{
    Binding, Ciphertext, StreamDecryptor, StreamEncryptor, derive,
    header::{HEADER_BYTES, Header, Identity, Kind, SALT_BYTES},
    refuse,
};

/// Bytes of a data key for files.
pub const DATA_KEY_BYTES: usize = 32;
/// Bytes of a wrapped data key: a unary ciphertext of 32 bytes.
pub const WRAPPED_BYTES: usize = HEADER_BYTES + DATA_KEY_BYTES + aead::TAG_BYTES;
/// Bytes before the first segment of an envelope file.
pub const ENVELOPE_HEADER_BYTES: usize = HEADER_BYTES + 4 + WRAPPED_BYTES;

/// `WRAPPED_BYTES` as its length prefix has it.
const WRAPPED_PREFIX: [u8; 4] = 138_u32.to_be_bytes();
const _: () = assert!(WRAPPED_BYTES == 138);

/// What precedes the segments of an envelope file.
#[derive(Clone, Debug)]
pub struct EnvelopeHeader {
    header: Header,
    wrapped_data_key: Vec<u8>,
}

impl EnvelopeHeader {
    /// Reads the first [`ENVELOPE_HEADER_BYTES`] of an envelope file, no more and no fewer.
    ///
    /// # Errors
    /// `InvalidCiphertext` when they are not the start of one in its only encoding, or the wrapped data key names another
    /// suite, key or version than the file.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let Ciphertext { header, body } = Ciphertext::parse(bytes)?;
        let wrapped = body.strip_prefix(&WRAPPED_PREFIX).ok_or_else(refuse::unverified)?;
        if header.kind != Kind::EnvelopeFile {
            return Err(refuse::unverified());
        }
        check_wrapped(wrapped, &header)?;
        Ok(Self { header, wrapped_data_key: wrapped.to_vec() })
    }

    /// Key and version that wrapped the data key.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// What the service's Decrypt turns into the data key, given the file's context and AAD.
    #[must_use]
    pub fn wrapped_data_key(&self) -> &[u8] {
        &self.wrapped_data_key
    }

    /// Begins to open the segments with the data key.
    ///
    /// # Errors
    /// `InvalidCiphertext` for another data key or another binding.
    pub fn decryptor(
        &self,
        data_key: &Secret<DATA_KEY_BYTES>,
        binding: &Binding<'_>,
    ) -> Result<StreamDecryptor, Refusal> {
        let d = binding.digest_with(&self.wrapped_data_key);
        Ok(StreamDecryptor::with_key(derive::resume(data_key.expose(), &self.header, &d)?))
    }
}

/// Begins an envelope file and appends everything before its first segment to `out`. `wrapped_data_key` is what the
/// service returned with the data key, made with the same namespace, context and AAD; the salt is 32 fresh random bytes.
///
/// # Errors
/// `InvalidCiphertext` when `wrapped_data_key` is not a wrapped 32-byte data key.
pub fn encrypt_file(
    data_key: &Secret<DATA_KEY_BYTES>,
    wrapped_data_key: &[u8],
    binding: &Binding<'_>,
    salt: [u8; SALT_BYTES],
    out: &mut Vec<u8>,
) -> Result<StreamEncryptor, Refusal> {
    let wrapping = Ciphertext::parse(wrapped_data_key)?.header;
    check_wrapped(wrapped_data_key, &wrapping)?;
    let d = binding.digest_with(wrapped_data_key);
    // The segments are made with the suite of their key.
    let identity = Identity { kind: Kind::EnvelopeFile, ..wrapping.identity() };
    let (header, key) = derive::begin(data_key.expose(), identity, salt, &d);
    header.write(out);
    out.extend_from_slice(&WRAPPED_PREFIX);
    out.extend_from_slice(wrapped_data_key);
    Ok(StreamEncryptor::with_key(key))
}

/// A wrapped data key is a unary ciphertext of 32 bytes by the suite, key and version that `outer` names.
fn check_wrapped(wrapped: &[u8], outer: &Header) -> Result<(), Refusal> {
    let inner = Ciphertext::parse(wrapped)?.header;
    let same_key = Identity { kind: outer.kind, ..inner.identity() } == outer.identity();
    let good = inner.kind == Kind::Unary && same_key && wrapped.len() == WRAPPED_BYTES;
    good.then_some(()).ok_or_else(refuse::unverified)
}

//! Data of any size in constant memory: bytes in, bytes out, no reader or writer in between.
//!
//! Feed pieces of any length; they are cut into segments of 64 KiB here. What a decryptor hands out is genuine up to there,
//! but the whole is only once [`StreamDecryptor::finish`] has returned: until then, write to a place that nobody reads.

use crypto::{SecretBytes, aead};
use types::{Refusal, limits::SEGMENT_BYTES};

use crate::{
    Binding, Header, KeyMaterial, derive,
    header::{Kind, SALT_BYTES},
    refuse,
    segment::{Counter, Place, SEALED_BYTES},
};

/// Encrypts a stream. Dropped without [`StreamEncryptor::finish`], it leaves a stream that no one will open.
pub struct StreamEncryptor {
    key: aead::Key,
    counter: Counter,
    /// At most one segment, held back until it is known whether another follows.
    pending: SecretBytes,
}

/// Decrypts a stream.
pub struct StreamDecryptor {
    /// `None` once a segment did not verify: nothing after it is handed out.
    key: Option<aead::Key>,
    counter: Counter,
    /// At most one sealed segment, held back until it is known whether another follows.
    pending: Vec<u8>,
}

impl StreamEncryptor {
    /// Begins a stream under key-version material and appends its header to `out`. The salt is 32 fresh random bytes.
    ///
    /// # Errors
    /// `WrongPurpose` for material that does not encrypt.
    pub fn new(
        material: &KeyMaterial,
        binding: &Binding<'_>,
        salt: [u8; SALT_BYTES],
        out: &mut Vec<u8>,
    ) -> Result<Self, Refusal> {
        let (identity, secret) = material.for_messages(Kind::Stream)?;
        let (header, key) = derive::begin(secret, identity, salt, &binding.digest());
        header.write(out);
        Ok(Self::with_key(key))
    }

    pub(crate) fn with_key(key: aead::Key) -> Self {
        Self { key, counter: Counter::default(), pending: SecretBytes::with_capacity(SEGMENT_BYTES) }
    }

    /// Takes the next bytes and appends the segments that they complete to `out`.
    ///
    /// # Errors
    /// `LimitExceeded` past 2^32 − 1 segments (256 TiB).
    pub fn update(&mut self, mut plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        while !plaintext.is_empty() {
            if self.pending.len() == SEGMENT_BYTES {
                let Self { key, counter, pending } = self;
                seal(key, counter, Place::Inner, pending.expose(), out)?;
                pending.wipe();
            }
            let room = SEGMENT_BYTES.saturating_sub(self.pending.len());
            let (now, later) = plaintext.split_at(room.min(plaintext.len()));
            if self.pending.is_empty() && now.len() == SEGMENT_BYTES && !later.is_empty() {
                seal(&self.key, &mut self.counter, Place::Inner, now, out)?;
            } else {
                self.pending.extend_from_slice(now);
            }
            plaintext = later;
        }
        Ok(())
    }

    /// Appends the last segment to `out`.
    ///
    /// # Errors
    /// `LimitExceeded` past 2^32 − 1 segments (256 TiB).
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        seal(&self.key, &mut self.counter, Place::Last, self.pending.expose(), out)
    }
}

impl StreamDecryptor {
    /// Begins to open a stream with the material that its header names.
    ///
    /// # Errors
    /// `InvalidCiphertext` for another kind, other material or another binding.
    pub fn new(material: &KeyMaterial, binding: &Binding<'_>, header: &Header) -> Result<Self, Refusal> {
        let secret = material.opens(Kind::Stream, header)?;
        Ok(Self::with_key(derive::resume(secret, header, &binding.digest())?))
    }

    pub(crate) fn with_key(key: aead::Key) -> Self {
        Self { key: Some(key), counter: Counter::default(), pending: Vec::with_capacity(SEALED_BYTES) }
    }

    /// Takes the next bytes after the header and appends the plaintext of the segments that they complete to `out`.
    ///
    /// # Errors
    /// `InvalidCiphertext` when a segment does not verify; from then on always, and nothing more is handed out.
    pub fn update(&mut self, mut ciphertext: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        while !ciphertext.is_empty() {
            if self.pending.len() == SEALED_BYTES {
                self.open(Place::Inner, out)?;
                self.pending.clear();
            }
            let room = SEALED_BYTES.saturating_sub(self.pending.len());
            let (now, later) = ciphertext.split_at(room.min(ciphertext.len()));
            self.pending.extend_from_slice(now);
            ciphertext = later;
        }
        Ok(())
    }

    /// Opens the last segment and appends its plaintext to `out`: now the whole stream is genuine.
    ///
    /// # Errors
    /// `InvalidCiphertext` when it does not verify, is missing, or is empty after others.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        if !self.counter.is_first() && self.pending.len() <= aead::TAG_BYTES {
            return Err(refuse::unverified());
        }
        self.open(Place::Last, out)
    }

    fn open(&mut self, place: Place, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let key = self.key.take().ok_or_else(refuse::unverified)?;
        let nonce = self.counter.next(place).map_err(|_| refuse::unverified())?;
        key.open_into(nonce, &[], &self.pending, out).map_err(|_| refuse::unverified())?;
        self.key = Some(key);
        Ok(())
    }
}

fn seal(
    key: &aead::Key,
    counter: &mut Counter,
    place: Place,
    segment: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let nonce = counter.next(place)?;
    key.seal_into(nonce, &[], segment, out).map_err(|_| refuse::too_long("a segment", SEGMENT_BYTES))
}

impl std::fmt::Debug for StreamEncryptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StreamEncryptor({:?})", self.counter)
    }
}

impl std::fmt::Debug for StreamDecryptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StreamDecryptor({:?})", self.counter)
    }
}

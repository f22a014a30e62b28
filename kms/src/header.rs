//! The first 90 bytes of every ciphertext: which key, which version, which kind. Strict: one encoding for each value.

use crypto::aead::Cipher;
use types::{KeyId, Refusal};

use crate::refuse;

/// Bytes before the body.
pub const HEADER_BYTES: usize = 90;
/// Bytes of a salt.
pub const SALT_BYTES: usize = 32;
/// Bytes of a commitment.
pub const COMMITMENT_BYTES: usize = 32;
/// Bytes from the magic to the version, which enter the key derivation as they stand.
pub(crate) const IDENTITY_BYTES: usize = 26;

const MAGIC: [u8; 4] = *b"CHCY";

/// What a ciphertext is made with. Each has HKDF-SHA-512 and a commitment of 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Suite {
    /// 1: AES-256-GCM.
    Aes256Gcm,
    /// 2: ChaCha20-Poly1305.
    ChaCha20Poly1305,
}

/// What the body holds and which key opens it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// One message under key-version material.
    Unary,
    /// Segments under key-version material.
    Stream,
    /// A wrapped data key and segments under that data key.
    EnvelopeFile,
}

/// A parsed header. Nothing in it is authenticated until the body has opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// What it is made with.
    pub suite: Suite,
    /// What the body holds.
    pub kind: Kind,
    /// The key that made it.
    pub key_id: KeyId,
    /// The version of that key, at least 1.
    pub version: u32,
    pub(crate) salt: [u8; SALT_BYTES],
    pub(crate) commitment: [u8; COMMITMENT_BYTES],
}

/// What a ciphertext is, before anything of it is computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    pub(crate) suite: Suite,
    pub(crate) kind: Kind,
    pub(crate) key_id: KeyId,
    pub(crate) version: u32,
}

/// A header and the body after it.
#[derive(Clone, Debug)]
pub struct Ciphertext<'a> {
    /// The parsed header.
    pub header: Header,
    /// Everything after it.
    pub body: &'a [u8],
}

impl<'a> Ciphertext<'a> {
    /// Reads the header; the body is not looked at.
    ///
    /// # Errors
    /// `InvalidCiphertext` when it is not a header of v1 in its only encoding.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let (header, body) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or_else(refuse::unverified)?;
        Ok(Self { header: Header::parse(header)?, body })
    }
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// `InvalidCiphertext` when it is not a header of v1 in its only encoding.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Refusal> {
        Self::read(bytes).ok_or_else(refuse::unverified)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (&magic, rest) = bytes.split_first_chunk::<4>()?;
        let (&[suite, flags], rest) = rest.split_first_chunk::<2>()?;
        let (&key_id, rest) = rest.split_first_chunk::<16>()?;
        let (&version, rest) = rest.split_first_chunk::<4>()?;
        let (&salt, rest) = rest.split_first_chunk::<SALT_BYTES>()?;
        let commitment: [u8; COMMITMENT_BYTES] = rest.try_into().ok()?;
        let version = u32::from_be_bytes(version);
        let (suite, kind) = (Suite::of_number(suite)?, Kind::of_flags(flags)?);
        let good = magic == MAGIC && version >= 1;
        good.then_some(Self { suite, kind, key_id: KeyId(key_id), version, salt, commitment })
    }

    pub(crate) const fn identity(&self) -> Identity {
        Identity { suite: self.suite, kind: self.kind, key_id: self.key_id, version: self.version }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.identity().bytes());
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&self.commitment);
    }
}

impl Identity {
    /// The first 26 bytes of the encoding.
    pub(crate) fn bytes(self) -> [u8; IDENTITY_BYTES] {
        let Self { suite, kind, key_id, version } = self;
        let mut out = [0; IDENTITY_BYTES];
        let fields =
            MAGIC.into_iter().chain([suite.number(), kind.flags()]).chain(key_id.0).chain(version.to_be_bytes());
        for (place, byte) in out.iter_mut().zip(fields) {
            *place = byte;
        }
        out
    }
}

impl Suite {
    const ALL: [Self; 2] = [Self::Aes256Gcm, Self::ChaCha20Poly1305];

    const fn number(self) -> u8 {
        match self {
            Self::Aes256Gcm => 1,
            Self::ChaCha20Poly1305 => 2,
        }
    }

    fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.number() == number)
    }

    pub(crate) const fn cipher(self) -> Cipher {
        match self {
            Self::Aes256Gcm => Cipher::Aes256Gcm,
            Self::ChaCha20Poly1305 => Cipher::ChaCha20Poly1305,
        }
    }
}

impl Kind {
    const fn flags(self) -> u8 {
        match self {
            Self::Unary => 0b00,
            Self::Stream => 0b01,
            Self::EnvelopeFile => 0b11,
        }
    }

    fn of_flags(flags: u8) -> Option<Self> {
        [Self::Unary, Self::Stream, Self::EnvelopeFile].into_iter().find(|kind| kind.flags() == flags)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(kind: Kind) -> Header {
        let suite = Suite::Aes256Gcm;
        Header { suite, kind, key_id: KeyId([7; 16]), version: 0x0102_0304, salt: [8; 32], commitment: [9; 32] }
    }

    fn written(kind: Kind) -> Vec<u8> {
        let mut out = Vec::new();
        header(kind).write(&mut out);
        out
    }

    #[test]
    fn layout() {
        let bytes = written(Kind::EnvelopeFile);
        assert_eq!(bytes.len(), HEADER_BYTES);
        assert_eq!(&bytes[..6], b"CHCY\x01\x03");
        assert_eq!(&bytes[6..22], &[7; 16]);
        assert_eq!(&bytes[22..26], &[1, 2, 3, 4]);
        assert_eq!((&bytes[26..58], &bytes[58..]), (&[8; 32][..], &[9; 32][..]));
        let mut other = Vec::new();
        Header { suite: Suite::ChaCha20Poly1305, ..header(Kind::Unary) }.write(&mut other);
        assert_eq!(&other[..6], b"CHCY\x02\x00");
    }

    #[test]
    fn only_the_canonical_encoding_is_read() {
        for kind in [Kind::Unary, Kind::Stream, Kind::EnvelopeFile] {
            let good = written(kind);
            assert_eq!(Ciphertext::parse(&good).expect("parses").header, header(kind));
            for cut in 0..HEADER_BYTES {
                assert!(Ciphertext::parse(&good[..cut]).is_err());
            }
            for (at, byte) in [(0, b'c'), (3, 0), (4, 0), (4, 3), (5, 2), (5, 4), (5, 0x80), (5, 0xff)] {
                let mut bad = good.clone();
                bad[at] = byte;
                assert!(Ciphertext::parse(&bad).is_err(), "byte {at} = {byte}");
            }
            let mut bad = good.clone();
            bad[22..26].copy_from_slice(&[0; 4]);
            assert!(Ciphertext::parse(&bad).is_err(), "version 0");
        }
    }

    proptest! {
        #[test]
        fn whatever_parses_is_written_back_the_same(mut bytes in prop::collection::vec(any::<u8>(), 0..200), near: bool) {
            if near {
                bytes.splice(0..bytes.len().min(6), *b"CHCY\x01\x01");
            }
            if let Ok(Ciphertext { header, body }) = Ciphertext::parse(&bytes) {
                let mut again = Vec::new();
                header.write(&mut again);
                again.extend_from_slice(body);
                prop_assert_eq!(again, bytes);
            }
        }
    }
}

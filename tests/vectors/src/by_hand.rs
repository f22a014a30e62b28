//! `docs/spec/ciphertext.md`, step by step, from HMAC, SHA-512 and the ciphers. Makes anything, canonical or not.

use crypto::{aead, hash, mac};

/// Bytes of plaintext in a full segment.
pub const SEGMENT: usize = 65_536;

/// The 58 bytes before the commitment, each field as it is to appear.
#[derive(Clone, Debug)]
pub struct Head {
    /// The first four bytes.
    pub magic: [u8; 4],
    /// The suite byte.
    pub suite: u8,
    /// The flags byte.
    pub flags: u8,
    /// The key id.
    pub key_id: [u8; 16],
    /// The version.
    pub version: u32,
    /// The salt.
    pub salt: [u8; 32],
}

/// Every value on the way from material to key.
#[derive(Clone, Debug)]
pub struct Values {
    /// HKDF-Extract.
    pub prk: [u8; 64],
    /// "enc" ‖ header[0..26] ‖ D.
    pub info_enc: Vec<u8>,
    /// "commit" ‖ header[0..26] ‖ D.
    pub info_commit: Vec<u8>,
    /// The key of the message.
    pub key: [u8; 32],
    /// The commitment in the header.
    pub commitment: [u8; 32],
}

impl Head {
    /// A canonical head of suite 1.
    #[must_use]
    pub fn new(flags: u8, key_id: [u8; 16], version: u32, salt: [u8; 32]) -> Self {
        Self { magic: *b"CHCY", suite: 1, flags, key_id, version, salt }
    }

    /// The same of another suite.
    #[must_use]
    pub fn of_suite(self, suite: u8) -> Self {
        Self { suite, ..self }
    }

    fn identity(&self) -> Vec<u8> {
        [&self.magic[..], &[self.suite, self.flags], &self.key_id, &self.version.to_be_bytes()].concat()
    }

    /// Steps from material and D to key and commitment.
    #[must_use]
    pub fn derive(&self, material: &[u8], d: &[u8; 64]) -> Values {
        let prk = mac::hmac_sha512(&self.salt, &[material]);
        let info_enc = [b"enc", &self.identity()[..], d].concat();
        let info_commit = [b"commit", &self.identity()[..], d].concat();
        Values { prk, key: expand(&prk, &info_enc), commitment: expand(&prk, &info_commit), info_enc, info_commit }
    }

    /// Head, commitment and body.
    #[must_use]
    pub fn with_body(&self, commitment: &[u8; 32], body: &[u8]) -> Vec<u8> {
        [&self.identity()[..], &self.salt, commitment, body].concat()
    }
}

/// The length as u32, then the bytes.
#[must_use]
pub fn lp(bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).expect("short");
    [&len.to_be_bytes(), bytes].concat()
}

/// D; the pairs in the order given, sorted or not.
#[must_use]
pub fn digest(namespace: &str, pairs: &[(String, String)], aad: &[u8], wrapped: Option<&[u8]>) -> [u8; 64] {
    let context: Vec<u8> = pairs.iter().flat_map(|(k, v)| [lp(k.as_bytes()), lp(v.as_bytes())].concat()).collect();
    let mut bound = [lp(namespace.as_bytes()), lp(&context), lp(aad)].concat();
    bound.extend(wrapped.map(lp).unwrap_or_default());
    hash::sha512(&bound)
}

/// A unary body.
#[must_use]
pub fn seal_unary(suite: u8, key: &[u8; 32], plaintext: &[u8]) -> Vec<u8> {
    seal(suite, key, [0; 12], plaintext)
}

/// Segments exactly as given: the last of the list is the last of the stream.
#[must_use]
pub fn seal_segments(suite: u8, key: &[u8; 32], segments: &[&[u8]]) -> Vec<u8> {
    let sealed = segments.iter().enumerate().map(|(i, segment)| {
        let mut nonce = [0; 12];
        nonce[7..11].copy_from_slice(&u32::try_from(i).expect("few").to_be_bytes());
        nonce[11] = u8::from(i + 1 == segments.len());
        seal(suite, key, nonce, segment)
    });
    sealed.collect::<Vec<_>>().concat()
}

/// The segments of a plaintext, one for an empty one.
#[must_use]
pub fn segments(plaintext: &[u8]) -> Vec<&[u8]> {
    if plaintext.is_empty() { vec![&[]] } else { plaintext.chunks(SEGMENT).collect() }
}

fn seal(suite: u8, key: &[u8; 32], nonce: [u8; 12], plaintext: &[u8]) -> Vec<u8> {
    let mut buffer = plaintext.to_vec();
    let cipher = if suite == 2 { aead::Cipher::ChaCha20Poly1305 } else { aead::Cipher::Aes256Gcm };
    aead::Key::of(cipher, key).seal(nonce, &[], &mut buffer).expect("short");
    buffer
}

/// HKDF-Expand to 32 bytes: the first half of T(1).
fn expand(prk: &[u8; 64], info: &[u8]) -> [u8; 32] {
    let t1 = mac::hmac_sha512(prk, &[info, &[1]]);
    *t1.first_chunk().expect("64 bytes")
}

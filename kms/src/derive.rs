//! From material, salt, header and D to the key and the commitment of one message.

use crypto::{Secret, aead, kdf};
use types::Refusal;

use crate::{
    header::{COMMITMENT_BYTES, Header, Identity, SALT_BYTES},
    refuse,
};

/// The key and the commitment of one message.
struct MessageKeys {
    key: Secret<32>,
    commitment: [u8; COMMITMENT_BYTES],
}

/// The header of a new message and the key that seals its body.
pub(crate) fn begin(
    material: &[u8; 32],
    identity: Identity,
    salt: [u8; SALT_BYTES],
    d: &[u8; 64],
) -> (Header, aead::Key) {
    let MessageKeys { key, commitment } = derive(material, identity, &salt, d);
    let Identity { suite, kind, key_id, version } = identity;
    (Header { suite, kind, key_id, version, salt, commitment }, aead::Key::of(suite.cipher(), key.expose()))
}

/// The key that opens the body, if the header's commitment is to this material and this binding.
///
/// The commitment is compared first, in constant time: the ciphers alone would let whoever holds two keys make one body that
/// opens under both.
pub(crate) fn resume(material: &[u8; 32], header: &Header, d: &[u8; 64]) -> Result<aead::Key, Refusal> {
    let ours = derive(material, header.identity(), &header.salt, d);
    if !crypto::constant_time::eq(&ours.commitment, &header.commitment) {
        return Err(refuse::unverified());
    }
    Ok(aead::Key::of(header.suite.cipher(), ours.key.expose()))
}

/// The two labels differ in their first letter and all that follows has a fixed length: the two infos never meet, so the
/// published commitment says nothing about the key (HKDF-Expand is a PRF).
fn derive(material: &[u8; 32], identity: Identity, salt: &[u8; SALT_BYTES], d: &[u8; 64]) -> MessageKeys {
    let identity = identity.bytes();
    let prk = kdf::extract_sha512(salt, material);
    let key = prk.expand(&[b"enc", &identity, d]);
    let commitment = *prk.expand(&[b"commit", &identity, d]).expose();
    MessageKeys { key, commitment }
}

//! One message in, one ciphertext out.

use crypto::{SecretBytes, aead};
use types::{Refusal, limits::UNARY_PLAINTEXT_BYTES_MAX};

use crate::{
    Binding, Ciphertext, KeyMaterial, derive,
    header::{HEADER_BYTES, Kind, SALT_BYTES},
    refuse,
};

/// Encrypts a message of at most 64 KiB. The salt is 32 fresh random bytes.
///
/// # Errors
/// `LimitExceeded` for a longer message: stream it, or encrypt it under a data key. `WrongPurpose` for material that does not encrypt.
pub fn encrypt(
    material: &KeyMaterial,
    binding: &Binding<'_>,
    salt: [u8; SALT_BYTES],
    plaintext: &[u8],
) -> Result<Vec<u8>, Refusal> {
    if plaintext.len() > UNARY_PLAINTEXT_BYTES_MAX {
        return Err(refuse::too_long("the plaintext", UNARY_PLAINTEXT_BYTES_MAX));
    }
    let (identity, secret) = material.for_messages(Kind::Unary)?;
    let (header, key) = derive::begin(secret, identity, salt, &binding.digest());
    let mut out = Vec::with_capacity(plaintext.len().saturating_add(HEADER_BYTES + aead::TAG_BYTES));
    header.write(&mut out);
    // The key is this message's own (its salt is fresh), so the fixed nonce meets it once. The AAD is empty because
    // everything that would be in it is in the key.
    key.seal_into(aead::SINGLE_USE_NONCE, &[], plaintext, &mut out)
        .map_err(|_| refuse::too_long("the plaintext", UNARY_PLAINTEXT_BYTES_MAX))?;
    Ok(out)
}

/// Decrypts a unary ciphertext with the material that its header names.
///
/// # Errors
/// `InvalidCiphertext` for another kind, other material, another binding, or any changed byte; all look the same.
pub fn decrypt(
    material: &KeyMaterial,
    binding: &Binding<'_>,
    ciphertext: &Ciphertext<'_>,
) -> Result<SecretBytes, Refusal> {
    let Ciphertext { header, body } = ciphertext;
    if body.len() > UNARY_PLAINTEXT_BYTES_MAX + aead::TAG_BYTES {
        return Err(refuse::unverified());
    }
    let key = derive::resume(material.opens(Kind::Unary, header)?, header, &binding.digest())?;
    // The whole room first, so that the plaintext never moves and is wiped where it was opened.
    let mut plaintext = Vec::with_capacity(body.len());
    key.open_into(aead::SINGLE_USE_NONCE, &[], body, &mut plaintext).map_err(|_| refuse::unverified())?;
    Ok(SecretBytes::from_vec(plaintext))
}

/// Decrypts under `from` and encrypts under `to`, without showing the plaintext.
///
/// # Errors
/// As [`decrypt`] and [`encrypt`].
pub fn re_encrypt(
    from: (&KeyMaterial, &Binding<'_>),
    ciphertext: &Ciphertext<'_>,
    to: (&KeyMaterial, &Binding<'_>),
    salt: [u8; SALT_BYTES],
) -> Result<Vec<u8>, Refusal> {
    let plaintext = decrypt(from.0, from.1, ciphertext)?;
    encrypt(to.0, to.1, salt, plaintext.expose())
}

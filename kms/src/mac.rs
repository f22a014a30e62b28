//! Message authentication codes: HMAC (RFC 2104) over the message as it is.

use types::{Reason, Refusal};

use crate::{KeyMaterial, refuse};

/// The tag of a message of at most 64 KiB: as long as the hash.
///
/// # Errors
/// `LimitExceeded` for a longer message, `WrongPurpose` for material of another algorithm.
pub fn generate_mac(material: &KeyMaterial, message: &[u8]) -> Result<Vec<u8>, Refusal> {
    refuse::check_message(message)?;
    Ok(material.algorithm().mac_hash()?.tag(material.expose(), &[message]))
}

/// Checks the tag of a message, all of it, in constant time.
///
/// # Errors
/// `InvalidSignature` when it is another's; else as [`generate_mac`].
pub fn verify_mac(material: &KeyMaterial, message: &[u8], tag: &[u8]) -> Result<(), Refusal> {
    refuse::check_message(message)?;
    let verified = material.algorithm().mac_hash()?.verify(material.expose(), &[message], tag);
    verified.map_err(|_| Refusal::new(Reason::InvalidSignature, "the MAC is not that of this message by this version"))
}

#[cfg(test)]
mod tests {
    use types::limits::UNARY_PLAINTEXT_BYTES_MAX;

    use super::*;
    use crate::Algorithm;

    fn material(algorithm: Algorithm) -> KeyMaterial {
        let secret = vec![0x0b; algorithm.secret_bytes().expect("a secret")];
        KeyMaterial::new(types::KeyId([1; 16]), 1, algorithm, &secret).expect("locks")
    }

    #[test]
    fn a_tag_is_of_one_message_key_and_hash() {
        for (algorithm, bytes) in
            [(Algorithm::HmacSha256, 32), (Algorithm::HmacSha384, 48), (Algorithm::HmacSha512, 64)]
        {
            let key = material(algorithm);
            let tag = generate_mac(&key, b"message").expect("makes");
            assert_eq!(tag.len(), bytes);
            assert_eq!(verify_mac(&key, b"message", &tag), Ok(()));
            for (message, tag) in [(&b"massage"[..], &tag[..]), (b"message", &tag[..bytes - 1]), (b"message", &[])] {
                let refusal = verify_mac(&key, message, tag).expect_err("another's");
                assert_eq!(refusal.reason, Reason::InvalidSignature);
            }
        }
        let aes = material(Algorithm::Aes256Gcm);
        assert_eq!(generate_mac(&aes, b"m").expect_err("AES").reason, Reason::WrongPurpose);
        let long = vec![0; UNARY_PLAINTEXT_BYTES_MAX + 1];
        let refusal = generate_mac(&material(Algorithm::HmacSha256), &long).expect_err("too long");
        assert_eq!(refusal.reason, Reason::LimitExceeded);
    }
}

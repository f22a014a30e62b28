//! The passphrase seal: the wrapping key comes from a passphrase through argon2id and is kept nowhere.

use crypto::Secret;
use crypto::password::{self, Params};

use super::SealError;
use super::record::{Argon2id, Parameters};

/// NIST SP 800-63B §3.1.1.2 asks for at least 8 characters online; a stolen disk is guessed at offline.
pub(super) const CHARACTERS_MIN: usize = 12;

/// Derives a wrapping key under a fresh salt.
pub(super) fn draw(passphrase: &[u8]) -> Result<(Parameters, Secret<32>), SealError> {
    check(passphrase)?;
    let cost = Params::RECOMMENDED;
    let argon2id = Argon2id {
        salt: hex::encode(crypto::entropy::array::<16>()),
        memory_kib: cost.memory_kib(),
        iterations: cost.iterations(),
        lanes: cost.lanes(),
    };
    let key = derive(passphrase, &argon2id)?;
    Ok((Parameters::Passphrase { argon2id }, key))
}

/// Refuses a passphrase that would protect nothing.
pub(super) fn check(passphrase: &[u8]) -> Result<(), SealError> {
    if passphrase.is_empty() {
        return Err(SealError::PassphraseMissing);
    }
    if String::from_utf8_lossy(passphrase).chars().count() < CHARACTERS_MIN {
        return Err(SealError::PassphraseTooShort);
    }
    Ok(())
}

/// Derives it again.
pub(super) fn derive(passphrase: &[u8], argon2id: &Argon2id) -> Result<Secret<32>, SealError> {
    if passphrase.is_empty() {
        return Err(SealError::PassphraseMissing);
    }
    let Argon2id { salt, memory_kib, iterations, lanes } = argon2id;
    let mut salt_bytes = [0; password::SALT_BYTES];
    hex::decode_to_slice(salt, &mut salt_bytes).map_err(|_| SealError::DoesNotOpen)?;
    // The bounds of `Params` keep a tampered file from asking for all memory, or for none.
    let cost = Params::new(*memory_kib, *iterations, *lanes).map_err(|_| SealError::DoesNotOpen)?;
    Ok(password::derive(passphrase, &salt_bytes, cost))
}

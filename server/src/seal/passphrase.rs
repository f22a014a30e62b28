//! The passphrase seal: the private key comes from a passphrase through argon2id and is kept nowhere.

use crypto::password::{self, Params};
use crypto::{Secret, sealed_box};
use serde::{Deserialize, Serialize};

use super::SealError;
use super::hex::Hex;
use super::slot::{Offer, Place, Seal};

/// NIST SP 800-63B §3.1.1.2 asks for at least 8 characters online; a stolen disk is guessed at offline.
pub(super) const CHARACTERS_MIN: usize = 12;

/// What `seal.json` says of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PassphraseSeal {
    recipient: Hex<32>,
    argon2id: Argon2id,
}

/// argon2id's salt and cost (RFC 9106).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Argon2id {
    salt: Hex<16>,
    /// Memory in KiB.
    memory_kib: u32,
    /// Passes.
    iterations: u32,
    /// Parallel lanes.
    lanes: u32,
}

impl PassphraseSeal {
    /// Derives a key under a fresh salt.
    pub(super) fn draw(passphrase: &[u8]) -> Result<Self, SealError> {
        check(passphrase)?;
        let cost = Params::RECOMMENDED;
        let argon2id = Argon2id {
            salt: Hex(crypto::entropy::array::<{ password::SALT_BYTES }>()),
            memory_kib: cost.memory_kib(),
            iterations: cost.iterations(),
            lanes: cost.lanes(),
        };
        let key = argon2id.derive(passphrase)?;
        let recipient = sealed_box::public_of(&key).map_err(|_| SealError::DoesNotOpen)?;
        Ok(Self { recipient: Hex(recipient), argon2id })
    }
}

impl Seal for PassphraseSeal {
    fn kind(&self) -> &'static str {
        "passphrase"
    }

    fn recipient(&self) -> [u8; 32] {
        self.recipient.0
    }

    fn private_key(&self, _place: Place<'_>, offer: Offer<'_>) -> Result<Option<Secret<32>>, SealError> {
        match offer {
            Offer::Passphrase(words) => self.argon2id.derive(words).map(Some),
            Offer::Nothing | Offer::Private(_) => Ok(None),
        }
    }
}

impl Argon2id {
    fn derive(&self, passphrase: &[u8]) -> Result<Secret<32>, SealError> {
        let Self { salt, memory_kib, iterations, lanes } = self;
        // The bounds of `Params` keep a tampered file from asking for all memory, or for none.
        let cost = Params::new(*memory_kib, *iterations, *lanes).map_err(|_| SealError::DoesNotOpen)?;
        Ok(password::derive(passphrase, &salt.0, cost))
    }
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

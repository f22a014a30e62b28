//! One seal of a node: a key pair whose private half comes about in a way of its own.
//!
//! Root keys are sealed for the public half, so a new root key needs nobody who could open the seal.

use crypto::Secret;
use serde::{Deserialize, Serialize};
use types::ClusterId;

use super::SealError;
use super::file::FileSeal;
use super::passphrase::PassphraseSeal;
use super::pkcs11::Pkcs11Seal;
use super::shamir::Quorum;
use crate::config::TokenConfig;
use crate::folder::Folder;

/// A kind of seal.
pub(super) trait Seal {
    /// Its name as it is printed.
    fn kind(&self) -> &'static str;

    /// The public half.
    fn recipient(&self) -> [u8; 32];

    /// The private half, from what was brought; none when that is for another kind of seal. Whether it is the right one
    /// shows when a box is opened with it.
    ///
    /// # Errors
    /// When the seal cannot be asked.
    fn private_key(&self, place: Place<'_>, offer: Offer<'_>) -> Result<Option<Secret<32>>, SealError>;
}

/// Where a seal is.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The node's data folder.
    pub(crate) folder: &'a Folder,
    /// Its cluster.
    pub(crate) cluster: ClusterId,
    /// The token that its settings name.
    pub(crate) token: Option<&'a TokenConfig>,
}

/// What opens a seal.
#[derive(Clone, Copy)]
pub(crate) enum Offer<'a> {
    /// Nothing, for a seal that asks for nothing.
    Nothing,
    /// A passphrase.
    Passphrase(&'a [u8]),
    /// The key that enough shares gave.
    Private(&'a Secret<32>),
}

/// A seal as `seal.json` holds it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(crate) enum Parameters {
    /// Read from a file in the data folder.
    File(FileSeal),
    /// Derived from a passphrase.
    Passphrase(PassphraseSeal),
    /// Opened by a token.
    Pkcs11(Pkcs11Seal),
    /// Put together from shares.
    Shamir {
        /// Which shares, and how many.
        quorum: Quorum,
    },
}

impl Parameters {
    fn seal(&self) -> &dyn Seal {
        match self {
            Self::File(seal) => seal,
            Self::Passphrase(seal) => seal,
            Self::Pkcs11(seal) => seal,
            Self::Shamir { quorum } => quorum,
        }
    }
}

impl Seal for Parameters {
    fn kind(&self) -> &'static str {
        self.seal().kind()
    }

    fn recipient(&self) -> [u8; 32] {
        self.seal().recipient()
    }

    fn private_key(&self, place: Place<'_>, offer: Offer<'_>) -> Result<Option<Secret<32>>, SealError> {
        self.seal().private_key(place, offer)
    }
}

//! `seal.json`: the wrapped root key and what is needed to derive its wrapping key. Nothing in clear.

use crypto::{LockedSecret, Secret};
use serde::{Deserialize, Serialize};
use types::ClusterId;

use super::SealError;

/// The newest layout of `seal.json`.
const VERSION: u32 = 1;

/// The content of `seal.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SealRecord {
    version: u32,
    /// Whose root key it is.
    #[serde(with = "hex_id")]
    pub cluster: ClusterId,
    /// How the wrapping key comes about.
    pub parameters: Parameters,
    /// The root key of each epoch, oldest first.
    roots: Vec<WrappedRoot>,
}

/// How a wrapping key comes about.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(crate) enum Parameters {
    /// Read from a file in the data folder.
    File,
    /// Derived from a passphrase.
    Passphrase {
        /// Salt and cost.
        argon2id: Argon2id,
    },
}

/// argon2id's salt and cost (RFC 9106).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Argon2id {
    /// 16 bytes, hexadecimal.
    pub salt: String,
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes.
    pub iterations: u32,
    /// Parallel lanes.
    pub lanes: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct WrappedRoot {
    epoch: u32,
    /// `crypto::wrap` format, hexadecimal.
    wrapped: String,
}

/// The wrapping key is not the one that wrapped, or the record was changed.
#[derive(Debug)]
pub(crate) struct WrongSeal;

impl SealRecord {
    /// Wraps the root key of epoch 1.
    pub(super) fn wrap(cluster: ClusterId, parameters: Parameters, key: &Secret<32>, root: &LockedSecret) -> Self {
        let epoch = 1;
        // The salt is random, so the key under the wrapping is used for this one message.
        let wrapped = crypto::wrap::wrap(key.expose(), crypto::entropy::array(), &aad(cluster, epoch), root.expose());
        let roots = wrapped.map(|wrapped| WrappedRoot { epoch, wrapped: hex::encode(wrapped) }).into_iter().collect();
        Self { version: VERSION, cluster, parameters, roots }
    }

    /// Opens the newest root key.
    pub(super) fn unwrap(&self, key: &Secret<32>) -> Result<LockedSecret, SealError> {
        let root = self.roots.last().filter(|_| self.version == VERSION).ok_or(WrongSeal)?;
        let wrapped = hex::decode(&root.wrapped).map_err(|_| WrongSeal)?;
        let opened = crypto::wrap::unwrap(key.expose(), &aad(self.cluster, root.epoch), &wrapped);
        let opened = opened.map_err(|_| WrongSeal)?;
        let bytes: &[u8; 32] = opened.expose().try_into().map_err(|_| WrongSeal)?;
        Ok(LockedSecret::new(bytes)?)
    }

    /// The seal's name as it is printed.
    #[must_use]
    pub(crate) const fn kind(&self) -> &'static str {
        match self.parameters {
            Parameters::File => "file",
            Parameters::Passphrase { .. } => "passphrase",
        }
    }
}

/// Binds the wrapped key to its cluster and epoch, so that no record can be moved to another.
fn aad(cluster: ClusterId, epoch: u32) -> Vec<u8> {
    [b"chancery seal v1".as_slice(), &cluster.0, &epoch.to_be_bytes()].concat()
}

mod hex_id {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
    use types::ClusterId;

    pub(super) fn serialize<S: Serializer>(id: &ClusterId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&id.to_hex())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ClusterId, D::Error> {
        let text = String::deserialize(deserializer)?;
        ClusterId::from_hex(&text).ok_or_else(|| D::Error::custom("not a cluster id"))
    }
}

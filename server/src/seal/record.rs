//! `seal.json`: the wrapped root key and what is needed to derive its wrapping key. Nothing in clear.

use crypto::{LockedSecret, Secret};
use serde::{Deserialize, Serialize};
use types::ClusterId;

use super::SealError;
use super::shamir::Quorum;

/// The newest layout of `seal.json`.
const VERSION: u32 = 1;
/// The epoch of the first root key.
const FIRST_EPOCH: u32 = 1;

/// The content of `seal.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SealRecord {
    version: u32,
    /// Whose root key it is.
    #[serde(with = "hex_id")]
    pub cluster: ClusterId,
    /// The seals there are, any of which opens the node.
    slots: Vec<Slot>,
}

/// One seal and what it has wrapped.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slot {
    parameters: Parameters,
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
    /// Put together from shares.
    Shamir {
        /// Which shares, and how many.
        quorum: Quorum,
    },
}

/// What opens a slot.
#[derive(Debug)]
pub(super) enum SlotKey<'a> {
    /// The key that wraps.
    Wrapping(Secret<32>),
    /// The private half of the key that it is sealed for.
    Private(&'a Secret<32>),
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

impl WrappedRoot {
    /// None when the key is not the one that wrapped, or the record was changed.
    fn open(&self, cluster: ClusterId, key: &SlotKey<'_>) -> Option<Secret<32>> {
        let (wrapped, aad) = (hex::decode(&self.wrapped).ok()?, aad(cluster, self.epoch));
        let opened = match key {
            SlotKey::Wrapping(key) => crypto::wrap::unwrap(key.expose(), &aad, &wrapped),
            SlotKey::Private(key) => crypto::sealed_box::open(key, &aad, &wrapped),
        };
        Secret::from_slice(opened.ok()?.expose())
    }
}

impl SealRecord {
    /// Seals the root key of epoch 1 under a wrapping key.
    pub(super) fn wrap(cluster: ClusterId, parameters: Parameters, key: &Secret<32>, root: &LockedSecret) -> Self {
        // The salt is random, so the key under the wrapping is used for this one message.
        let wrapped =
            crypto::wrap::wrap(key.expose(), crypto::entropy::array(), &aad(cluster, FIRST_EPOCH), root.expose());
        Self::of(cluster, parameters, wrapped.ok())
    }

    /// Seals the root key of epoch 1 for whoever holds enough shares.
    pub(super) fn for_quorum(cluster: ClusterId, quorum: Quorum, root: &LockedSecret) -> Self {
        let wrapped = quorum.wrap(&aad(cluster, FIRST_EPOCH), root.expose());
        Self::of(cluster, Parameters::Shamir { quorum }, wrapped)
    }

    fn of(cluster: ClusterId, parameters: Parameters, wrapped: Option<Vec<u8>>) -> Self {
        let root = |wrapped| WrappedRoot { epoch: FIRST_EPOCH, wrapped: hex::encode(wrapped) };
        let slot = Slot { parameters, roots: wrapped.map(root).into_iter().collect() };
        Self { version: VERSION, cluster, slots: vec![slot] }
    }

    /// The seals, in the order in which they were made.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &Parameters> {
        self.slots.iter().map(|slot| &slot.parameters)
    }

    /// The shares that open the node, if it has such a seal.
    pub(crate) fn quorum(&self) -> Option<&Quorum> {
        self.parameters().find_map(|parameters| match parameters {
            Parameters::Shamir { quorum } if quorum.is_sound() => Some(quorum),
            _ => None,
        })
    }

    /// Opens the newest root key by the first seal that gives way. `key_of` says what there is to try on a seal.
    pub(super) fn open<'a>(
        &self,
        mut key_of: impl FnMut(&Parameters) -> Result<Option<SlotKey<'a>>, SealError>,
    ) -> Result<LockedSecret, SealError> {
        if self.version != VERSION {
            return Err(SealError::DoesNotOpen);
        }
        for slot in &self.slots {
            let Some(key) = key_of(&slot.parameters)? else { continue };
            if let Some(root) = slot.roots.last().and_then(|root| root.open(self.cluster, &key)) {
                return Ok(LockedSecret::new(root.expose())?);
            }
        }
        Err(SealError::DoesNotOpen)
    }

    /// The first seal's name as it is printed.
    #[must_use]
    pub(crate) fn kind(&self) -> &'static str {
        match self.parameters().next() {
            Some(Parameters::Passphrase { .. }) => "passphrase",
            Some(Parameters::Shamir { .. }) => "shamir",
            Some(Parameters::File) | None => "file",
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

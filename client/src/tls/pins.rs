//! A set of keys that may change while connections and listeners that judge by it stand.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use types::SpkiHash;

/// The SPKI hashes that are accepted now. Clones share one set; connections made after a change see the change.
#[derive(Clone, Debug, Default)]
pub struct PinSet(Arc<RwLock<BTreeSet<SpkiHash>>>);

impl PinSet {
    /// A set with these keys.
    pub fn new(keys: impl IntoIterator<Item = SpkiHash>) -> Self {
        Self(Arc::new(RwLock::new(keys.into_iter().collect())))
    }

    /// Accepts exactly these keys from now on.
    pub fn replace(&self, keys: impl IntoIterator<Item = SpkiHash>) {
        let keys = keys.into_iter().collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Whether the key is accepted now.
    #[must_use]
    pub fn contains(&self, key: &SpkiHash) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    /// The keys accepted now.
    #[must_use]
    pub fn snapshot(&self) -> BTreeSet<SpkiHash> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl FromIterator<SpkiHash> for PinSet {
    fn from_iter<I: IntoIterator<Item = SpkiHash>>(keys: I) -> Self {
        Self::new(keys)
    }
}

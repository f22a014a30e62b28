//! Key-version material in clear, in locked memory, kept from its first use on; wiped at the entry that destroys it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use kms::KeyMaterial;
use types::KeyId;

/// Unwrapped versions kept; past it the one with the smallest id goes and is unwrapped again when it is used.
const MATERIAL_MAX: usize = 16_384;

/// The material that this node holds in clear. Shared by the keyring, which fills it, and the state machine, which knows what was
/// destroyed.
#[derive(Default)]
pub(crate) struct Unwrapped(RwLock<Held>);

#[derive(Default)]
struct Held {
    known: BTreeMap<(KeyId, u32), Arc<KeyMaterial>>,
    /// A call that began before may come with what it has unwrapped from an older state.
    destroyed: BTreeSet<(KeyId, u32)>,
}

impl Unwrapped {
    /// A version's material, if it was unwrapped before.
    pub(crate) fn get(&self, version: (KeyId, u32)) -> Option<Arc<KeyMaterial>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).known.get(&version).cloned()
    }

    /// Keeps it for the next use; false when it was destroyed meanwhile and is not to be used at all.
    #[must_use]
    pub(crate) fn keep(&self, version: (KeyId, u32), material: &Arc<KeyMaterial>) -> bool {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if held.destroyed.contains(&version) {
            return false;
        }
        if held.known.len() >= MATERIAL_MAX {
            held.known.pop_first();
        }
        held.known.insert(version, Arc::clone(material));
        true
    }

    /// Wipes destroyed versions: those that a call is using right now, when it has ended.
    pub(crate) fn wipe(&self, key: KeyId, versions: &[u32]) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for version in versions {
            held.known.remove(&(key, *version));
            held.destroyed.insert((key, *version));
        }
    }
}

impl std::fmt::Debug for Unwrapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unwrapped(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_destroyed_is_gone_and_does_not_come_back() {
        let (key, unwrapped) = (KeyId([7; 16]), Unwrapped::default());
        let material =
            |version| Arc::new(KeyMaterial::new(key, version, kms::Algorithm::Aes256Gcm, &[9; 32]).expect("locks"));
        let (one, two) = (material(1), material(2));
        assert!(unwrapped.keep((key, 1), &one) && unwrapped.keep((key, 2), &two));
        unwrapped.wipe(key, &[1]);
        assert!(unwrapped.get((key, 1)).is_none() && unwrapped.get((key, 2)).is_some());
        assert_eq!(Arc::strong_count(&one), 1, "nobody else holds it: it is wiped with the last one");
        // A call that was slow.
        assert!(!unwrapped.keep((key, 1), &one));
        assert!(unwrapped.get((key, 1)).is_none());
    }
}

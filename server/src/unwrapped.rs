//! Key-version material in clear, in locked memory, kept from its first use on; wiped at the entry that destroys it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use kms::KeyMaterial;
use types::KeyId;

/// Locked memory for unwrapped versions, 16,384 of 32 bytes; past it the one with the smallest id goes and is unwrapped again when
/// it is used.
const LOCKED_BYTES_MAX: usize = 512 * 1_024;

/// The material that this node holds in clear. Shared by the keyring, which fills it, and the state machine, which knows what was
/// destroyed.
#[derive(Default)]
pub(crate) struct Unwrapped(RwLock<Held>);

#[derive(Default)]
struct Held {
    known: BTreeMap<(KeyId, u32), Arc<KeyMaterial>>,
    /// What they take.
    locked_bytes: usize,
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
        held.locked_bytes = held.locked_bytes.saturating_add(material.locked_bytes());
        if let Some(before) = held.known.insert(version, Arc::clone(material)) {
            held.locked_bytes = held.locked_bytes.saturating_sub(before.locked_bytes());
        }
        while held.locked_bytes > LOCKED_BYTES_MAX
            && let Some((_, smallest)) = held.known.pop_first()
        {
            held.locked_bytes = held.locked_bytes.saturating_sub(smallest.locked_bytes());
        }
        true
    }

    /// Wipes destroyed versions: those that a call is using right now, when it has ended.
    pub(crate) fn wipe(&self, key: KeyId, versions: &[u32]) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for version in versions {
            if let Some(wiped) = held.known.remove(&(key, *version)) {
                held.locked_bytes = held.locked_bytes.saturating_sub(wiped.locked_bytes());
            }
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
    fn long_material_is_bounded_by_the_memory_that_it_takes() {
        let (key, unwrapped) = (KeyId([7; 16]), Unwrapped::default());
        let long = |version| {
            let algorithm = kms::Algorithm::RsaPss4096Sha512;
            Arc::new(KeyMaterial::new(key, version, algorithm, &[9; 2_400]).expect("locks"))
        };
        let most = u32::try_from(LOCKED_BYTES_MAX / 4_096).expect("few");
        for version in 1..=most + 5 {
            assert!(unwrapped.keep((key, version), &long(version)));
            assert!(unwrapped.keep((key, version), &long(version)), "twice, as by two calls at once");
        }
        let kept = (1..=most + 5).filter(|version| unwrapped.get((key, *version)).is_some()).count();
        assert_eq!(kept, most as usize);
        unwrapped.wipe(key, &(1..=most + 5).collect::<Vec<_>>());
        assert_eq!(unwrapped.0.read().expect("holds").locked_bytes, 0);
    }

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

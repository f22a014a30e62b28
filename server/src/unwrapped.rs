//! Key-version material in clear, in locked memory, kept from its first use on; wiped at the entry that destroys it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use crypto::LockedSecret;
use kms::KeyMaterial;
use types::{KeyId, NamespaceName};

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
    /// Namespaces' keys.
    namespaces: BTreeMap<NamespaceName, Arc<LockedSecret>>,
    /// A call that began before may come with what it has unwrapped from an older state.
    destroyed: BTreeSet<(KeyId, u32)>,
    destroyed_namespaces: BTreeSet<NamespaceName>,
}

impl Unwrapped {
    /// A version's material, if it was unwrapped before.
    pub(crate) fn get(&self, version: (KeyId, u32)) -> Option<Arc<KeyMaterial>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).known.get(&version).cloned()
    }

    /// Keeps it for the next use; false when it was destroyed meanwhile and is not to be used at all.
    #[must_use]
    pub(crate) fn keep(&self, namespace: &NamespaceName, version: (KeyId, u32), material: &Arc<KeyMaterial>) -> bool {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if held.destroyed.contains(&version) || held.destroyed_namespaces.contains(namespace) {
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

    /// A namespace's key, if it was unwrapped before.
    pub(crate) fn namespace_key(&self, name: &NamespaceName) -> Option<Arc<LockedSecret>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).namespaces.get(name).cloned()
    }

    /// Keeps it for the next use; false when it was destroyed meanwhile and is not to be used at all.
    #[must_use]
    pub(crate) fn keep_namespace_key(&self, name: &NamespaceName, kek: &Arc<LockedSecret>) -> bool {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let lives = !held.destroyed_namespaces.contains(name);
        if lives {
            held.namespaces.insert(name.clone(), Arc::clone(kek));
        }
        lives
    }

    /// Wipes the keys of destroyed namespaces, and every version that `is_of` one of them.
    pub(crate) fn wipe_namespaces(&self, names: &BTreeSet<NamespaceName>, is_of: impl Fn(&KeyId) -> bool) {
        if names.is_empty() {
            return;
        }
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        held.namespaces.retain(|name, _| !names.contains(name));
        held.destroyed_namespaces.extend(names.iter().cloned());
        let gone: Vec<_> = held.known.keys().filter(|(key, _)| is_of(key)).copied().collect();
        for version in gone {
            let wiped = held.known.remove(&version).map_or(0, |material| material.locked_bytes());
            held.locked_bytes = held.locked_bytes.saturating_sub(wiped);
        }
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

    fn ns() -> NamespaceName {
        NamespaceName::default_namespace()
    }

    #[test]
    fn long_material_is_bounded_by_the_memory_that_it_takes() {
        let (key, unwrapped) = (KeyId([7; 16]), Unwrapped::default());
        let long = |version| {
            let algorithm = kms::Algorithm::RsaPss4096Sha512;
            Arc::new(KeyMaterial::new(key, version, algorithm, &[9; 2_400]).expect("locks"))
        };
        let most = u32::try_from(LOCKED_BYTES_MAX / 4_096).expect("few");
        for version in 1..=most + 5 {
            assert!(unwrapped.keep(&ns(), (key, version), &long(version)));
            assert!(unwrapped.keep(&ns(), (key, version), &long(version)), "twice, as by two calls at once");
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
        assert!(unwrapped.keep(&ns(), (key, 1), &one) && unwrapped.keep(&ns(), (key, 2), &two));
        unwrapped.wipe(key, &[1]);
        assert!(unwrapped.get((key, 1)).is_none() && unwrapped.get((key, 2)).is_some());
        assert_eq!(Arc::strong_count(&one), 1, "nobody else holds it: it is wiped with the last one");
        // A call that was slow.
        assert!(!unwrapped.keep(&ns(), (key, 1), &one));
        assert!(unwrapped.get((key, 1)).is_none());
    }

    #[test]
    fn what_was_in_a_destroyed_namespace_is_gone_and_does_not_come_back() {
        let (mine, other, unwrapped) = (KeyId([7; 16]), KeyId([8; 16]), Unwrapped::default());
        let material = |key| Arc::new(KeyMaterial::new(key, 1, kms::Algorithm::Aes256Gcm, &[9; 32]).expect("locks"));
        let pay = NamespaceName::parse("pay").expect("a name");
        let (lost, kept) = (material(mine), material(other));
        assert!(unwrapped.keep(&pay, (mine, 1), &lost) && unwrapped.keep(&ns(), (other, 1), &kept));
        let kek = Arc::new(LockedSecret::new(&[3; 32]).expect("locks"));
        assert!(unwrapped.keep_namespace_key(&pay, &kek) && unwrapped.keep_namespace_key(&ns(), &kek));
        unwrapped.wipe_namespaces(&BTreeSet::from([pay.clone()]), |key| *key == mine);
        assert!(unwrapped.get((mine, 1)).is_none() && unwrapped.get((other, 1)).is_some());
        assert!(unwrapped.namespace_key(&pay).is_none() && unwrapped.namespace_key(&ns()).is_some());
        assert_eq!(Arc::strong_count(&lost), 1, "nobody else holds it: it is wiped with the last one");
        // Calls that were slow.
        assert!(!unwrapped.keep(&pay, (mine, 1), &lost) && !unwrapped.keep_namespace_key(&pay, &kek));
    }
}

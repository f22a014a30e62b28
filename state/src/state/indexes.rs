//! What is derived from the tables: other ways to a row. Never stored and never hashed: a snapshot's reader writes rows
//! through the same functions as `apply`, which build these again.

use imbl::{OrdMap, OrdSet};
use kms::{ScheduledDestruction, UsageLevel, VersionUsage};
use types::{
    AgentName, EntryName, KeyId, KeyName, Millis, NamespaceName, Principal, RequestId, SpkiHash, Time, TokenId,
};

use super::shares::Shares;
use crate::rows::NamespaceLife;

/// All of them.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Indexes {
    /// Who holds a key: operators, agents and nodes, whatever their status.
    pub(crate) spkis: OrdMap<SpkiHash, Principal>,
    /// What a ciphertext names its key by.
    pub(crate) key_ids: OrdMap<KeyId, (NamespaceName, KeyName)>,
    /// The enabled keys that rotate by themselves, of each namespace the next one first: nobody walks those of one that is closed.
    pub(crate) rotations: OrdMap<NamespaceName, OrdSet<(Time, KeyName)>>,
    /// The keys of each namespace whose primary version was used so much that the next one is due.
    pub(crate) used_up: OrdMap<NamespaceName, OrdSet<KeyName>>,
    /// The keys whose primary version has come near its ceiling, and how near.
    pub(crate) usage_levels: OrdMap<KeyId, UsageLevel>,
    /// Keys that are to be destroyed as a whole, the next one first.
    pub(crate) key_ends: OrdSet<(Time, KeyId)>,
    /// Versions of keys that are to be destroyed, the next one first.
    pub(crate) version_ends: OrdSet<(Time, KeyId, u32)>,
    /// The same, by key.
    pub(crate) ending_versions: OrdSet<(KeyId, u32)>,
    /// Namespaces that are to be destroyed, the next one first.
    pub(crate) namespace_ends: OrdSet<(Time, NamespaceName)>,
    /// How many keys each namespace has.
    pub(crate) key_counts: OrdMap<NamespaceName, KeyCount>,
    /// How many entries each namespace has.
    pub(crate) entry_counts: OrdMap<NamespaceName, u64>,
    /// How many aliases each namespace has.
    pub(crate) alias_counts: OrdMap<NamespaceName, u64>,
    /// Join tokens, the first to expire first.
    pub(crate) token_expiries: OrdSet<(Time, TokenId)>,
    /// The entries of each agent.
    pub(crate) entries_by_parent: OrdSet<(AgentName, NamespaceName, EntryName)>,
    /// How many entries have each SVID TTL.
    pub(crate) svid_ttls: OrdMap<Millis, u64>,
    /// The remembered requests by principal.
    pub(crate) shares: Shares,
    /// The horizons, the lowest first.
    pub(crate) horizons: OrdSet<(RequestId, Principal)>,
}

/// The keys of a namespace that were not destroyed.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct KeyCount {
    pub(crate) all: u64,
    /// Those among them that are protected from deletion.
    pub(crate) protected: u64,
    /// Those that are enabled.
    pub(crate) enabled: u64,
}

impl Indexes {
    /// A key's row takes the place of another.
    pub(crate) fn swap_key(&mut self, place: (&NamespaceName, &KeyName), old: Option<&kms::Key>, new: &kms::Key) {
        let (namespace, name) = place;
        self.key_ids.insert(new.id, (namespace.clone(), name.clone()));
        let (was_due, is_due) = (old.and_then(kms::Key::next_due), new.next_due());
        if was_due != is_due {
            edit(&mut self.rotations, namespace, |own| {
                was_due.map(|due| own.remove(&(due, name.clone())));
                is_due.map(|due| own.insert((due, name.clone())));
            });
        }
        if let Some((scheduled, id)) = old.and_then(|old| old.scheduled.map(|scheduled| (scheduled, old.id))) {
            self.key_ends.remove(&(scheduled.due, id));
        }
        if let Some(scheduled) = new.scheduled {
            self.key_ends.insert((scheduled.due, new.id));
        }
        let mut count = self.keys_of(namespace);
        let counts = |key: &kms::Key| KeyCount {
            all: u64::from(key.destroyed.is_none()),
            protected: u64::from(key.is_protected()),
            enabled: u64::from(key.enabled),
        };
        let (was, is) = (old.map(counts).unwrap_or_default(), counts(new));
        count.all = count.all.saturating_add(is.all).saturating_sub(was.all);
        count.protected = count.protected.saturating_add(is.protected).saturating_sub(was.protected);
        count.enabled = count.enabled.saturating_add(is.enabled).saturating_sub(was.enabled);
        self.key_counts.insert(namespace.clone(), count);
    }

    /// What was handed out of a key's primary version has changed, or what is said about it.
    pub(crate) fn set_usage(
        &mut self,
        (namespace, name): (&NamespaceName, &KeyName),
        key: &kms::Key,
        used: Option<&VersionUsage>,
    ) {
        let was_due = self.used_up.get(namespace).is_some_and(|own| own.contains(name));
        let is_due = key.is_used_up(used);
        if was_due != is_due {
            edit(&mut self.used_up, namespace, |own| {
                if is_due {
                    own.insert(name.clone())
                } else {
                    own.remove(name)
                };
            });
        }
        match key.usage_level(used) {
            UsageLevel::Low => self.usage_levels.remove(&key.id),
            level => self.usage_levels.insert(key.id, level),
        };
    }

    /// How many keys a namespace has.
    pub(crate) fn keys_of(&self, namespace: &NamespaceName) -> KeyCount {
        self.key_counts.get(namespace).copied().unwrap_or_default()
    }

    /// A version's row takes the place of another.
    pub(crate) fn swap_version(
        &mut self,
        (key, number): (KeyId, u32),
        old: Option<ScheduledDestruction>,
        new: Option<ScheduledDestruction>,
    ) {
        if let Some(old) = old {
            self.version_ends.remove(&(old.due, key, number));
            self.ending_versions.remove(&(key, number));
        }
        if let Some(new) = new {
            self.version_ends.insert((new.due, key, number));
            self.ending_versions.insert((key, number));
        }
    }

    /// A namespace's row takes the place of another.
    pub(crate) fn swap_namespace(&mut self, name: &NamespaceName, old: Option<NamespaceLife>, new: NamespaceLife) {
        if let Some(NamespaceLife::DestroyScheduled(scheduled)) = old {
            self.namespace_ends.remove(&(scheduled.due, name.clone()));
        }
        if let NamespaceLife::DestroyScheduled(scheduled) = new {
            self.namespace_ends.insert((scheduled.due, name.clone()));
        }
    }

    pub(crate) fn swap_spki(&mut self, old: Option<SpkiHash>, new: SpkiHash, holder: Principal) {
        if let Some(old) = old.filter(|old| *old != new) {
            self.spkis.remove(&old);
        }
        self.spkis.insert(new, holder);
    }

    pub(crate) fn add_entry(&mut self, namespace: &NamespaceName, name: &EntryName, entry: &ca::Entry) {
        self.entries_by_parent.insert((entry.parent().clone(), namespace.clone(), name.clone()));
        count_in(&mut self.entry_counts, namespace);
        count_in(&mut self.svid_ttls, &entry.spec().svid_ttl);
    }

    pub(crate) fn remove_entry(&mut self, namespace: &NamespaceName, name: &EntryName, entry: &ca::Entry) {
        self.entries_by_parent.remove(&(entry.parent().clone(), namespace.clone(), name.clone()));
        count_out(&mut self.entry_counts, namespace);
        count_out(&mut self.svid_ttls, &entry.spec().svid_ttl);
    }
}

/// Changes the set of one namespace; of an empty one nothing is kept.
fn edit<T: Ord + Clone>(
    sets: &mut OrdMap<NamespaceName, OrdSet<T>>,
    namespace: &NamespaceName,
    change: impl FnOnce(&mut OrdSet<T>),
) {
    let mut own = sets.get(namespace).cloned().unwrap_or_default();
    change(&mut own);
    if own.is_empty() {
        sets.remove(namespace);
    } else {
        sets.insert(namespace.clone(), own);
    }
}

/// One more of that kind.
pub(super) fn count_in<K: Ord + Clone>(counts: &mut OrdMap<K, u64>, of: &K) {
    let count = counts.get(of).copied().unwrap_or_default();
    counts.insert(of.clone(), count.saturating_add(1));
}

/// One less; of what there is none any more nothing is kept.
pub(super) fn count_out<K: Ord + Clone>(counts: &mut OrdMap<K, u64>, of: &K) {
    match counts.get(of).copied() {
        Some(count @ 2..) => drop(counts.insert(of.clone(), count - 1)),
        _ => drop(counts.remove(of)),
    }
}

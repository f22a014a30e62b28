//! What is derived from the tables: other ways to a row. Never stored and never hashed: a snapshot's reader writes rows
//! through the same functions as `apply`, which build these again.

use imbl::{OrdMap, OrdSet};
use types::{
    AgentName, EntryName, KeyId, KeyName, Millis, NamespaceName, Principal, RequestId, SpkiHash, Time, TokenId,
};

use super::shares::Shares;

/// All of them.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Indexes {
    /// Who holds a key: operators, agents and nodes, whatever their status.
    pub(crate) spkis: OrdMap<SpkiHash, Principal>,
    /// What a ciphertext names its key by.
    pub(crate) key_ids: OrdMap<KeyId, (NamespaceName, KeyName)>,
    /// The enabled keys that rotate by themselves, the next one first.
    pub(crate) rotations: OrdSet<(Time, NamespaceName, KeyName)>,
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

impl Indexes {
    pub(crate) fn swap_spki(&mut self, old: Option<SpkiHash>, new: SpkiHash, holder: Principal) {
        if let Some(old) = old.filter(|old| *old != new) {
            self.spkis.remove(&old);
        }
        self.spkis.insert(new, holder);
    }

    pub(crate) fn add_entry(&mut self, namespace: &NamespaceName, name: &EntryName, entry: &ca::Entry) {
        self.entries_by_parent.insert((entry.parent().clone(), namespace.clone(), name.clone()));
        let ttl = entry.spec().svid_ttl;
        let count = self.svid_ttls.get(&ttl).copied().unwrap_or_default();
        self.svid_ttls.insert(ttl, count.saturating_add(1));
    }

    pub(crate) fn remove_entry(&mut self, namespace: &NamespaceName, name: &EntryName, entry: &ca::Entry) {
        self.entries_by_parent.remove(&(entry.parent().clone(), namespace.clone(), name.clone()));
        let ttl = entry.spec().svid_ttl;
        match self.svid_ttls.get(&ttl).copied() {
            Some(count @ 2..) => drop(self.svid_ttls.insert(ttl, count - 1)),
            _ => drop(self.svid_ttls.remove(&ttl)),
        }
    }
}

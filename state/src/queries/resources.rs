//! Keys, their versions and aliases, and registrations.

use std::ops::Bound;

use types::{AgentName, AliasName, EntryName, KeyId, KeyName, NamespaceName};

use super::page::{Page, page};
use crate::State;
use crate::rows::Alias;

impl State {
    /// A key by its name.
    #[must_use]
    pub fn key(&self, namespace: &NamespaceName, name: &KeyName) -> Option<&kms::Key> {
        self.key_table().get(&(namespace.clone(), name.clone()))
    }

    /// A key by what ciphertexts name it by, with its namespace and name.
    #[must_use]
    pub fn key_by_id(&self, id: &KeyId) -> Option<(&NamespaceName, &KeyName, &kms::Key)> {
        let (namespace, name) = self.indexes().key_ids.get(id)?;
        Some((namespace, name, self.key(namespace, name)?))
    }

    /// The keys of a namespace by name, those after `after`.
    #[must_use]
    pub fn keys(
        &self,
        namespace: &NamespaceName,
        after: Option<&KeyName>,
        size: usize,
    ) -> Page<(&KeyName, &kms::Key), KeyName> {
        let rows = match after {
            Some(after) => {
                self.key_table().range((Bound::Excluded((namespace.clone(), after.clone())), Bound::Unbounded))
            }
            None => self.key_table().range((lowest(namespace, KeyName::parse), Bound::Unbounded)),
        };
        let own = rows.map(|((ns, name), key)| (ns, name, key)).take_while(|(ns, _, _)| *ns == namespace);
        page(own.map(|(_, name, key)| (name, key)), size, |(name, _)| (*name).clone())
    }

    /// How many keys there are.
    #[must_use]
    pub fn key_count(&self) -> u64 {
        self.key_table().len() as u64
    }

    /// Every key of every namespace, by namespace and name.
    pub fn all_keys(&self) -> impl Iterator<Item = (&(NamespaceName, KeyName), &kms::Key)> {
        self.key_table().iter()
    }

    /// Every version of a key, oldest first.
    pub fn all_versions(&self, id: &KeyId) -> impl DoubleEndedIterator<Item = (u32, &kms::KeyVersion)> {
        self.version_table().range((*id, 0)..=(*id, u32::MAX)).map(|((_, number), row)| (*number, row))
    }

    /// The versions of a key that are to be destroyed by themselves, newest first. However many others there are, nobody walks them.
    pub fn ending_versions(&self, id: &KeyId) -> impl Iterator<Item = (u32, &kms::KeyVersion)> {
        let ending = self.indexes().ending_versions.range((*id, 0)..=(*id, u32::MAX)).rev();
        ending.filter_map(|(id, number)| self.key_version(id, *number).map(|row| (*number, row)))
    }

    /// One version of a key. As fast with a million versions as with one.
    #[must_use]
    pub fn key_version(&self, id: &KeyId, version: u32) -> Option<&kms::KeyVersion> {
        self.version_table().get(&(*id, version))
    }

    /// The versions of a key, newest first, those below `below`.
    #[must_use]
    pub fn key_versions(&self, id: &KeyId, below: Option<u32>, size: usize) -> Page<(u32, &kms::KeyVersion), u32> {
        let last = below.map_or(Bound::Included((*id, u32::MAX)), |below| Bound::Excluded((*id, below)));
        let rows = self.version_table().range((Bound::Included((*id, 0)), last)).rev();
        page(rows.map(|((_, number), row)| (*number, row)), size, |(number, _)| *number)
    }

    /// An alias by its name.
    #[must_use]
    pub fn alias(&self, namespace: &NamespaceName, name: &AliasName) -> Option<&Alias> {
        self.alias_table().get(&(namespace.clone(), name.clone()))
    }

    /// The aliases of a namespace by name, those after `after`.
    #[must_use]
    pub fn aliases(
        &self,
        namespace: &NamespaceName,
        after: Option<&AliasName>,
        size: usize,
    ) -> Page<(&AliasName, &Alias), AliasName> {
        let rows = match after {
            Some(after) => {
                self.alias_table().range((Bound::Excluded((namespace.clone(), after.clone())), Bound::Unbounded))
            }
            None => self.alias_table().range((lowest(namespace, AliasName::parse), Bound::Unbounded)),
        };
        let own = rows.map(|((ns, name), alias)| (ns, name, alias)).take_while(|(ns, _, _)| *ns == namespace);
        page(own.map(|(_, name, alias)| (name, alias)), size, |(name, _)| (*name).clone())
    }

    /// A registration by its name.
    #[must_use]
    pub fn entry(&self, namespace: &NamespaceName, name: &EntryName) -> Option<&ca::Entry> {
        self.entry_table().get(&(namespace.clone(), name.clone()))
    }

    /// The registrations of a namespace by name, those after `after`.
    #[must_use]
    pub fn entries(
        &self,
        namespace: &NamespaceName,
        after: Option<&EntryName>,
        size: usize,
    ) -> Page<(&EntryName, &ca::Entry), EntryName> {
        let rows = match after {
            Some(after) => {
                self.entry_table().range((Bound::Excluded((namespace.clone(), after.clone())), Bound::Unbounded))
            }
            None => self.entry_table().range((lowest(namespace, EntryName::parse), Bound::Unbounded)),
        };
        let own = rows.map(|((ns, name), entry)| (ns, name, entry)).take_while(|(ns, _, _)| *ns == namespace);
        page(own.map(|(_, name, entry)| (name, entry)), size, |(name, _)| (*name).clone())
    }

    /// The registrations that an agent delivers, by namespace and name.
    pub fn entries_of(&self, agent: &AgentName) -> impl Iterator<Item = (&NamespaceName, &EntryName, &ca::Entry)> {
        let first = NamespaceName::parse("a").ok().zip(EntryName::parse("a").ok());
        let first = first.map_or(Bound::Unbounded, |(ns, name)| Bound::Included((agent.clone(), ns, name)));
        let agent = agent.clone();
        let own = self.indexes().entries_by_parent.range((first, Bound::Unbounded));
        own.take_while(move |(parent, _, _)| *parent == agent)
            .filter_map(|(_, ns, name)| self.entry(ns, name).map(|entry| (ns, name, entry)))
    }
}

/// The lowest key that a row of the namespace can have: `a` is the first of all names.
fn lowest<N, E>(namespace: &NamespaceName, parse: impl Fn(&str) -> Result<N, E>) -> Bound<(NamespaceName, N)> {
    parse("a").map_or(Bound::Unbounded, |first| Bound::Included((namespace.clone(), first)))
}

//! A table of replicated state: a persistent ordered map whose every write also moves the table's hash.
//!
//! A clone is O(1) and shares rows (`docs/adr/0006`): a snapshot is written from one while `apply` goes on. There is no
//! way to a row that passes by the hash: rows are replaced whole.

use std::ops::RangeBounds;
use std::sync::Arc;

use imbl::OrdMap;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::sum::RowSum;

/// Rows of one kind, by key.
#[derive(Clone)]
pub(crate) struct Table<K, V> {
    /// Which table: part of every row's hash and of its snapshot frame.
    id: TableId,
    rows: OrdMap<K, Arc<V>>,
    sum: RowSum,
}

/// The tables, by the number that stands in snapshots. Numbers are given once and never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(crate) enum TableId {
    Cluster = 1,
    Progress = 2,
    Namespaces = 3,
    Operators = 4,
    Bindings = 5,
    Agents = 6,
    Nodes = 7,
    Reports = 8,
    Tokens = 9,
    Spent = 10,
    Keys = 11,
    Versions = 12,
    Entries = 13,
    Authorities = 14,
    Requests = 15,
    Horizons = 16,
    Version = 17,
    Settings = 18,
    Quarantines = 19,
    Destructions = 20,
    Erasures = 21,
    Departed = 22,
    RootKeys = 23,
    Withdrawals = 24,
    Lives = 25,
    Recoveries = 26,
    PeerUnseal = 27,
    Aliases = 28,
    Usages = 29,
}

impl TableId {
    /// The table of that number.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        use TableId as T;
        [
            T::Cluster,
            T::Progress,
            T::Namespaces,
            T::Operators,
            T::Bindings,
            T::Agents,
            T::Nodes,
            T::Reports,
            T::Tokens,
            T::Spent,
            T::Keys,
            T::Versions,
            T::Entries,
            T::Authorities,
            T::Requests,
            T::Horizons,
            T::Version,
            T::Settings,
            T::Quarantines,
            T::Destructions,
            T::Erasures,
            T::Departed,
            T::RootKeys,
            T::Withdrawals,
            T::Lives,
            T::Recoveries,
            T::PeerUnseal,
            T::Aliases,
            T::Usages,
        ]
        .into_iter()
        .find(|id| *id as u8 == byte)
    }
}

impl<K, V> Table<K, V>
where
    K: Ord + Clone + Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    pub(crate) fn new(id: TableId) -> Self {
        Self { id, rows: OrdMap::new(), sum: RowSum::default() }
    }

    pub(crate) const fn id(&self) -> TableId {
        self.id
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key).map(AsRef::as_ref)
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.rows.contains_key(key)
    }

    /// Writes a row, over the one that was there; returns that one.
    pub(crate) fn put(&mut self, key: K, row: V) -> Option<Arc<V>> {
        self.sum.add(self.id as u8, &key, &row);
        let old = self.rows.insert(key.clone(), Arc::new(row));
        if let Some(old) = &old {
            self.sum.subtract(self.id as u8, &key, old.as_ref());
        }
        old
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<Arc<V>> {
        let old = self.rows.remove(key)?;
        self.sum.subtract(self.id as u8, key, old.as_ref());
        Some(old)
    }

    pub(crate) fn first(&self) -> Option<(&K, &V)> {
        self.rows.get_min().map(|(key, row)| (key, row.as_ref()))
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + Clone {
        self.rows.iter().map(|(key, row)| (key, row.as_ref()))
    }

    pub(crate) fn range(&self, range: impl RangeBounds<K>) -> impl DoubleEndedIterator<Item = (&K, &V)> + Clone {
        self.rows.range(range).map(|(key, row)| (key, row.as_ref()))
    }

    /// The hash over all rows, as the writes have kept it.
    pub(crate) const fn sum(&self) -> &RowSum {
        &self.sum
    }

    /// The same hash from the rows alone.
    pub(crate) fn recomputed(&self) -> RowSum {
        let mut sum = RowSum::default();
        for (key, row) in self.iter() {
            sum.add(self.id as u8, key, row);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_kept_hash_is_the_recomputed_one(writes in proptest::collection::vec((0u8..20, any::<Option<u32>>()), 0..60)) {
            let mut table = Table::<u8, u32>::new(TableId::Keys);
            let before = table.clone();
            for (key, row) in writes {
                match row {
                    Some(row) => drop(table.put(key, row)),
                    None => drop(table.remove(&key)),
                }
                prop_assert_eq!(*table.sum(), table.recomputed());
            }
            prop_assert_eq!(before.len(), 0);
            prop_assert_eq!(*before.sum(), RowSum::default());
        }
    }

    #[test]
    fn table_numbers_lead_back() {
        for byte in 1..=29 {
            assert_eq!(TableId::from_byte(byte).map(|id| id as u8), Some(byte));
        }
        assert_eq!(TableId::from_byte(0), None);
        assert_eq!(TableId::from_byte(30), None);
    }
}

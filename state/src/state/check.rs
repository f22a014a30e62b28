//! What must hold of every state, checked from the rows alone. Too slow for every entry; the simulation, and whoever
//! suspects a state, ask for it.

use super::{Indexes, State, write_rows};
use crate::sum::RowSum;
use crate::table::TableId;

impl State {
    /// Recomputes the hash and every index from the rows.
    ///
    /// # Errors
    /// What differs, in words for the log.
    pub fn check(&self) -> Result<(), String> {
        let recomputed = [
            (TableId::Cluster, self.cluster.recomputed()),
            (TableId::Namespaces, self.namespaces.recomputed()),
            (TableId::Operators, self.operators.recomputed()),
            (TableId::Bindings, self.bindings.recomputed()),
            (TableId::Agents, self.agents.recomputed()),
            (TableId::Nodes, self.nodes.recomputed()),
            (TableId::Reports, self.reports.recomputed()),
            (TableId::Tokens, self.tokens.recomputed()),
            (TableId::Spent, self.spent.recomputed()),
            (TableId::Keys, self.keys.recomputed()),
            (TableId::Versions, self.versions.recomputed()),
            (TableId::Entries, self.entries.recomputed()),
            (TableId::Authorities, self.authorities.recomputed()),
            (TableId::Requests, self.requests.recomputed()),
            (TableId::Horizons, self.horizons.recomputed()),
            (TableId::Version, self.version.recomputed()),
            (TableId::Settings, self.settings.recomputed()),
            (TableId::Quarantines, self.quarantines.recomputed()),
            (TableId::Destructions, self.destructions.recomputed()),
            (TableId::Erasures, self.erasures.recomputed()),
            (TableId::Departed, self.departed.recomputed()),
            (TableId::RootKeys, self.root_keys.recomputed()),
            (TableId::Withdrawals, self.withdrawals.recomputed()),
            (TableId::Lives, self.lives.recomputed()),
            (TableId::Recoveries, self.recoveries.recomputed()),
            (TableId::PeerUnseal, self.peer_unseal.recomputed()),
            (TableId::Aliases, self.aliases.recomputed()),
            (TableId::Usages, self.usages.recomputed()),
        ];
        for (kept, fresh) in self.sums().into_iter().zip(recomputed) {
            if kept != fresh {
                return Err(format!("the hash of table {:?} is {:?}, its rows give {:?}", kept.0, kept.1, fresh.1));
            }
        }
        if self.with_progress(recomputed) != self.with_progress(self.sums()) {
            return Err("the hash over all tables does not follow from theirs".to_owned());
        }
        self.check_indexes()
    }

    /// Builds the state again row by row, as a snapshot's reader does, and compares.
    fn check_indexes(&self) -> Result<(), String> {
        let mut again = Self::new();
        write_rows(self, &mut |row: &[u8]| again.read_row(row)).map_err(|error| error.to_string())?;
        let Indexes {
            spkis,
            key_ids,
            rotations,
            used_up,
            usage_levels,
            key_ends,
            version_ends,
            ending_versions,
            namespace_ends,
            key_counts,
            entry_counts,
            alias_counts,
            token_expiries,
            entries_by_parent,
            svid_ttls,
            shares,
            horizons,
        } = &self.indexes;
        let fresh = &again.indexes;
        let differing = [
            ("spkis", *spkis == fresh.spkis),
            ("key_ids", *key_ids == fresh.key_ids),
            ("rotations", *rotations == fresh.rotations),
            ("used_up", *used_up == fresh.used_up),
            ("usage_levels", *usage_levels == fresh.usage_levels),
            ("key_ends", *key_ends == fresh.key_ends),
            ("version_ends", *version_ends == fresh.version_ends),
            ("ending_versions", *ending_versions == fresh.ending_versions),
            ("namespace_ends", *namespace_ends == fresh.namespace_ends),
            ("key_counts", *key_counts == fresh.key_counts),
            ("entry_counts", *entry_counts == fresh.entry_counts),
            ("alias_counts", *alias_counts == fresh.alias_counts),
            ("token_expiries", *token_expiries == fresh.token_expiries),
            ("entries_by_parent", *entries_by_parent == fresh.entries_by_parent),
            ("svid_ttls", *svid_ttls == fresh.svid_ttls),
            ("shares", *shares == fresh.shares),
            ("horizons", *horizons == fresh.horizons),
        ];
        match differing.iter().find(|(_, same)| !same) {
            Some((name, _)) => Err(format!("the index {name} does not follow from its table")),
            None if again.hash() != self.hash() => Err("rows that were written and read have another hash".to_owned()),
            None => Ok(()),
        }
    }

    /// The hash from the rows alone: what an index of the kept sums must give.
    #[must_use]
    pub fn recomputed_hash(&self) -> [u8; 32] {
        let mut sum = RowSum::default();
        let counted: Result<(), std::convert::Infallible> = write_rows(self, &mut |row: &[u8]| {
            sum.merge(&RowSum::of_encoded(row));
            Ok(())
        });
        debug_assert!(counted.is_ok());
        sum.to_bytes()
    }
}

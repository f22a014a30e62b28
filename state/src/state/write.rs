//! The only writers of tables: each keeps the indexes in step. `apply`'s handlers and the snapshot's reader both come
//! through here.

use serde::Serialize;
use serde::de::DeserializeOwned;
use types::{
    AgentName, AliasName, Binding, EntryName, KeyName, NamespaceName, NodeId, OperatorName, Principal, RequestId,
    Revision, SpkiHash, TokenId,
};

use super::State;
use super::indexes::{count_in, count_out};
use crate::rows::{
    Agent, Alias, Cluster, Departed, Destruction, Erased, Granted, Lives, Namespace, Node, Operator, PeerUnseal,
    Progress, Quarantine, Recovery, Report, Request, RootKeys, Settings, Token, Version, VersionKey, Withdrawal,
};
use crate::sum::encode_row;
use crate::table::{Table, TableId};

impl State {
    pub(crate) const fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    pub(crate) fn put_cluster(&mut self, row: Cluster) {
        self.cluster.put((), row);
    }

    pub(crate) fn put_namespace(&mut self, name: NamespaceName, row: Namespace) {
        let life = row.life;
        let old = self.namespaces.put(name.clone(), row);
        self.indexes.swap_namespace(&name, old.map(|old| old.life), life);
    }

    pub(crate) fn put_operator(&mut self, name: OperatorName, row: Operator) {
        let spki = row.spki;
        let old = self.operators.put(name.clone(), row);
        self.indexes.swap_spki(old.map(|old| old.spki), spki, Principal::Operator(name));
    }

    pub(crate) fn put_binding(&mut self, binding: Binding, row: Granted) {
        self.bindings.put(binding, row);
    }

    pub(crate) fn remove_binding(&mut self, binding: &Binding) -> bool {
        self.bindings.remove(binding).is_some()
    }

    pub(crate) fn put_agent(&mut self, name: AgentName, row: Agent) {
        let spki = row.spki;
        let old = self.agents.put(name.clone(), row);
        self.indexes.swap_spki(old.map(|old| old.spki), spki, Principal::Agent(name));
    }

    pub(crate) fn put_node(&mut self, id: NodeId, row: Node) {
        let spki = row.info.spki;
        let old = self.nodes.put(id, row);
        self.indexes.swap_spki(old.map(|old| old.info.spki), spki, Principal::Node(id));
    }

    pub(crate) fn remove_node(&mut self, id: NodeId) {
        self.reports.remove(&id);
        if let Some(old) = self.nodes.remove(&id) {
            self.indexes.spkis.remove(&old.info.spki);
        }
    }

    pub(crate) fn put_version_number(&mut self, row: Version) {
        self.version.put((), row);
    }

    pub(crate) fn put_root_keys(&mut self, row: RootKeys) {
        self.root_keys.put((), row);
    }

    pub(crate) fn put_report(&mut self, id: NodeId, row: Report) {
        self.reports.put(id, row);
    }

    pub(crate) fn put_token(&mut self, id: TokenId, row: Token) {
        self.remove_token(&id);
        self.indexes.token_expiries.insert((row.expires, id));
        self.tokens.put(id, row);
    }

    pub(crate) fn remove_token(&mut self, id: &TokenId) {
        if let Some(old) = self.tokens.remove(id) {
            self.indexes.token_expiries.remove(&(old.expires, *id));
        }
    }

    /// A key's hash that never recognises anybody again.
    pub(crate) fn put_spent(&mut self, spki: SpkiHash, holder: Principal) {
        self.spent.put(spki, holder);
    }

    pub(crate) fn put_key(&mut self, namespace: NamespaceName, name: KeyName, row: kms::Key) {
        let place = (namespace, name);
        let old = self.keys.get(&place);
        let counted = row.usage.is_counted() || old.is_some_and(|old| old.usage.is_counted());
        self.indexes.swap_key((&place.0, &place.1), old, &row);
        if counted {
            self.indexes.set_usage((&place.0, &place.1), &row, self.usages.get(&(row.id, row.primary)));
        }
        self.keys.put(place, row);
    }

    /// What was handed out of a version; its key is there, or comes later ([`State::take_keys`]).
    pub(crate) fn put_usage(&mut self, version: VersionKey, row: kms::VersionUsage) {
        self.usages.put(version, row);
        self.index_usage(version);
    }

    fn index_usage(&mut self, (id, number): VersionKey) {
        let place = self.indexes.key_ids.get(&id).cloned();
        let key = place.as_ref().and_then(|place| self.keys.get(place)).filter(|key| key.primary == number);
        if let Some(((namespace, name), key)) = place.as_ref().zip(key) {
            self.indexes.set_usage((namespace, name), key, self.usages.get(&(id, number)));
        }
    }

    /// Takes the keys of a state that holds nothing else, in place of its own.
    pub(crate) fn take_keys(&mut self, other: Self) {
        self.keys = other.keys;
        self.indexes.key_ids = other.indexes.key_ids;
        self.indexes.rotations = other.indexes.rotations;
        self.indexes.key_ends = other.indexes.key_ends;
        self.indexes.key_counts = other.indexes.key_counts;
        self.indexes.used_up = other.indexes.used_up;
        self.indexes.usage_levels = other.indexes.usage_levels;
        let counted: Vec<VersionKey> = self.usages.iter().map(|(version, _)| *version).collect();
        counted.into_iter().for_each(|version| self.index_usage(version));
    }

    pub(crate) fn put_version(&mut self, key: VersionKey, row: kms::KeyVersion) {
        let scheduled = row.scheduled();
        let old = self.versions.put(key, row);
        self.indexes.swap_version(key, old.and_then(|old| old.scheduled()), scheduled);
    }

    pub(crate) fn put_entry(&mut self, namespace: NamespaceName, name: EntryName, row: ca::Entry) {
        self.remove_entry(&namespace, &name);
        self.indexes.add_entry(&namespace, &name, &row);
        self.entries.put((namespace, name), row);
    }

    pub(crate) fn remove_entry(&mut self, namespace: &NamespaceName, name: &EntryName) {
        if let Some(old) = self.entries.remove(&(namespace.clone(), name.clone())) {
            self.indexes.remove_entry(namespace, name, &old);
        }
    }

    pub(crate) fn put_authority(&mut self, row: ca::Authority) {
        self.authorities.put(row.key, row);
    }

    pub(crate) fn remove_authority(&mut self, key: &SpkiHash) {
        self.authorities.remove(key);
    }

    pub(crate) fn put_request(&mut self, key: (RequestId, Principal), row: Request) {
        self.indexes.shares.add(&key.1, key.0);
        self.requests.put(key, row);
    }

    pub(crate) fn remove_request(&mut self, key: &(RequestId, Principal)) {
        if self.requests.remove(key).is_some() {
            self.indexes.shares.remove(&key.1, key.0);
        }
    }

    pub(crate) fn put_settings(&mut self, row: Settings) {
        self.settings.put((), row);
    }

    pub(crate) fn put_quarantine(&mut self, namespace: NamespaceName, row: Quarantine) {
        self.quarantines.put(namespace, row);
    }

    pub(crate) fn remove_quarantine(&mut self, namespace: &NamespaceName) -> bool {
        self.quarantines.remove(namespace).is_some()
    }

    pub(crate) fn put_destruction(&mut self, by: Revision, row: Destruction) {
        self.destructions.put(by, row);
    }

    pub(crate) fn put_erasure(&mut self, node: NodeId, upto: Revision, row: Erased) {
        self.erasures.put((node, upto), row);
    }

    pub(crate) fn remove_erasure(&mut self, node: NodeId, upto: Revision) {
        self.erasures.remove(&(node, upto));
    }

    pub(crate) fn put_departed(&mut self, node: NodeId, row: Departed) {
        self.departed.put(node, row);
    }

    pub(crate) fn remove_departed(&mut self, node: NodeId) {
        self.departed.remove(&node);
    }

    pub(crate) fn put_withdrawal(&mut self, key: (Revision, u32), row: Withdrawal) {
        self.withdrawals.put(key, row);
    }

    pub(crate) fn remove_withdrawal(&mut self, key: &(Revision, u32)) {
        self.withdrawals.remove(key);
    }

    pub(crate) fn put_recovery(&mut self, name: OperatorName, row: Recovery) {
        self.recoveries.put(name, row);
    }

    pub(crate) fn remove_recovery(&mut self, name: &OperatorName) {
        self.recoveries.remove(name);
    }

    pub(crate) fn put_peer_unseal(&mut self, row: PeerUnseal) {
        self.peer_unseal.put((), row);
    }

    pub(crate) fn put_alias(&mut self, namespace: NamespaceName, name: AliasName, row: Alias) {
        if self.aliases.put((namespace.clone(), name), row).is_none() {
            count_in(&mut self.indexes.alias_counts, &namespace);
        }
    }

    pub(crate) fn remove_alias(&mut self, namespace: &NamespaceName, name: &AliasName) {
        if self.aliases.remove(&(namespace.clone(), name.clone())).is_some() {
            count_out(&mut self.indexes.alias_counts, namespace);
        }
    }

    pub(crate) fn put_lives(&mut self, row: Lives) {
        self.lives.put((), row);
    }

    pub(crate) fn put_horizon(&mut self, principal: Principal, id: RequestId) {
        self.remove_horizon(&principal);
        self.indexes.horizons.insert((id, principal.clone()));
        self.horizons.put(principal, id);
    }

    pub(crate) fn remove_horizon(&mut self, principal: &Principal) {
        if let Some(old) = self.horizons.remove(principal) {
            self.indexes.horizons.remove(&(*old, principal.clone()));
        }
    }
}

/// Why a stored row was not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RowError {
    /// A newer build wrote it.
    #[error("a row of table {0}, which this build does not know")]
    UnknownTable(u8),
    /// The bytes are not a row of their table.
    #[error("a row of table {0} does not decode")]
    Malformed(u8),
    /// A row without even a table number.
    #[error("an empty row")]
    Empty,
}

impl State {
    /// Takes one row as [`write_rows`] gave it.
    pub(crate) fn read_row(&mut self, bytes: &[u8]) -> Result<(), RowError> {
        let (&table, bytes) = bytes.split_first().ok_or(RowError::Empty)?;
        let id = TableId::from_byte(table).ok_or(RowError::UnknownTable(table))?;
        match id {
            TableId::Cluster => row(table, bytes).map(|((), row)| self.put_cluster(row)),
            TableId::Progress => row(table, bytes).map(|((), row)| self.progress = row),
            TableId::Namespaces => row(table, bytes).map(|(key, row)| self.put_namespace(key, row)),
            TableId::Operators => row(table, bytes).map(|(key, row)| self.put_operator(key, row)),
            TableId::Bindings => row(table, bytes).map(|(key, row)| self.put_binding(key, row)),
            TableId::Agents => row(table, bytes).map(|(key, row)| self.put_agent(key, row)),
            TableId::Nodes => row(table, bytes).map(|(key, row)| self.put_node(key, row)),
            TableId::Reports => row(table, bytes).map(|(key, row)| self.put_report(key, row)),
            TableId::Tokens => row(table, bytes).map(|(key, row)| self.put_token(key, row)),
            TableId::Spent => row(table, bytes).map(|(key, row)| self.put_spent(key, row)),
            TableId::Keys => row(table, bytes).map(|((namespace, name), row)| self.put_key(namespace, name, row)),
            TableId::Versions => row(table, bytes).map(|(key, row)| self.put_version(key, row)),
            TableId::Entries => row(table, bytes).map(|((namespace, name), row)| self.put_entry(namespace, name, row)),
            TableId::Authorities => row(table, bytes).map(|(_key, row): (SpkiHash, _)| self.put_authority(row)),
            TableId::Requests => row(table, bytes).map(|(key, row)| self.put_request(key, row)),
            TableId::Horizons => row(table, bytes).map(|(principal, id)| self.put_horizon(principal, id)),
            TableId::Version => row(table, bytes).map(|((), row)| self.put_version_number(row)),
            TableId::Settings => row(table, bytes).map(|((), row)| self.put_settings(row)),
            TableId::Quarantines => row(table, bytes).map(|(namespace, row)| self.put_quarantine(namespace, row)),
            TableId::Destructions => row(table, bytes).map(|(by, row)| self.put_destruction(by, row)),
            TableId::Erasures => row(table, bytes).map(|((node, upto), row)| self.put_erasure(node, upto, row)),
            TableId::Departed => row(table, bytes).map(|(node, row)| self.put_departed(node, row)),
            TableId::RootKeys => row(table, bytes).map(|((), row)| self.put_root_keys(row)),
            TableId::Withdrawals => row(table, bytes).map(|(key, row)| self.put_withdrawal(key, row)),
            TableId::Lives => row(table, bytes).map(|((), row)| self.put_lives(row)),
            TableId::Recoveries => row(table, bytes).map(|(name, row)| self.put_recovery(name, row)),
            TableId::PeerUnseal => row(table, bytes).map(|((), row)| self.put_peer_unseal(row)),
            TableId::Aliases => row(table, bytes).map(|((namespace, name), row)| self.put_alias(namespace, name, row)),
            TableId::Usages => row(table, bytes).map(|(version, row)| self.put_usage(version, row)),
        }
    }
}

/// Both halves of a row, and nothing after them.
fn row<K: DeserializeOwned, V: DeserializeOwned>(table: u8, bytes: &[u8]) -> Result<(K, V), RowError> {
    let whole = postcard::take_from_bytes::<K>(bytes).and_then(|(key, rest)| {
        let (row, rest) = postcard::take_from_bytes::<V>(rest)?;
        Ok((key, row, rest))
    });
    match whole {
        Ok((key, row, [])) => Ok((key, row)),
        _ => Err(RowError::Malformed(table)),
    }
}

/// Hands over every row, table by table in the order of their numbers, keys ascending.
///
/// # Errors
/// The first error of `take`.
pub(crate) fn write_rows<E>(state: &State, take: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let State {
        cluster,
        progress,
        namespaces,
        operators,
        bindings,
        agents,
        nodes,
        reports,
        tokens,
        spent,
        keys,
        versions,
        entries,
        authorities,
        requests,
        horizons,
        version,
        settings,
        quarantines,
        destructions,
        erasures,
        departed,
        root_keys,
        withdrawals,
        lives,
        recoveries,
        peer_unseal,
        aliases,
        usages,
        indexes: _,
    } = state;
    write_table(cluster, take)?;
    take(&encode_row(TableId::Progress as u8, &(), progress))?;
    write_table(namespaces, take)?;
    write_table(operators, take)?;
    write_table(bindings, take)?;
    write_table(agents, take)?;
    write_table(nodes, take)?;
    write_table(reports, take)?;
    write_table(tokens, take)?;
    write_table(spent, take)?;
    write_table(keys, take)?;
    write_table(versions, take)?;
    write_table(entries, take)?;
    write_table(authorities, take)?;
    write_table(requests, take)?;
    write_table(horizons, take)?;
    write_table(version, take)?;
    write_table(settings, take)?;
    write_table(quarantines, take)?;
    write_table(destructions, take)?;
    write_table(erasures, take)?;
    write_table(departed, take)?;
    write_table(root_keys, take)?;
    write_table(withdrawals, take)?;
    write_table(lives, take)?;
    write_table(recoveries, take)?;
    write_table(peer_unseal, take)?;
    write_table(aliases, take)?;
    write_table(usages, take)
}

fn write_table<K, V, E>(table: &Table<K, V>, take: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E>
where
    K: Ord + Clone + Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    table.iter().try_for_each(|(key, row)| take(&encode_row(table.id() as u8, key, row)))
}

//! The replicated state: tables, what is derived from them, and how far it has come.
//!
//! Only this module and `state/write.rs` reach the tables for writing, so no index can drift from its table. A clone is
//! O(1). What may be asked is in `queries.rs`, what changes it in `apply.rs`.

mod check;
mod indexes;
mod shares;
mod write;

use types::{
    AgentName, AliasName, Binding, EntryName, KeyName, NamespaceName, NodeId, OperatorName, Principal, RequestId,
    Revision, SpkiHash, TokenId,
};

use crate::rows::{
    Agent, Alias, Cluster, Departed, Destruction, Erased, Granted, Lives, Namespace, Node, Operator, PeerUnseal,
    Progress, Quarantine, Recovery, Report, Request, RootKeys, Settings, Token, Version, VersionKey, Withdrawal,
};
use crate::sum::RowSum;
use crate::table::{Table, TableId};
pub(crate) use indexes::Indexes;
pub(crate) use write::{RowError, write_rows};

/// Everything the cluster agrees on.
#[derive(Clone)]
pub struct State {
    cluster: Table<(), Cluster>,
    progress: Progress,
    namespaces: Table<NamespaceName, Namespace>,
    operators: Table<OperatorName, Operator>,
    bindings: Table<Binding, Granted>,
    agents: Table<AgentName, Agent>,
    nodes: Table<NodeId, Node>,
    reports: Table<NodeId, Report>,
    tokens: Table<TokenId, Token>,
    /// Keys that were revoked or replaced: they never recognise anybody again (invariant 9).
    spent: Table<SpkiHash, Principal>,
    keys: Table<(NamespaceName, KeyName), kms::Key>,
    versions: Table<VersionKey, kms::KeyVersion>,
    entries: Table<(NamespaceName, EntryName), ca::Entry>,
    authorities: Table<SpkiHash, ca::Authority>,
    /// Ordered by request id, whose first bits are its time: the oldest come first whoever sent them.
    requests: Table<(RequestId, Principal), Request>,
    /// A principal's request ids at or below its horizon are refused unless they are remembered.
    horizons: Table<Principal, RequestId>,
    /// Empty in version 1.
    version: Table<(), Version>,
    settings: Table<(), Settings>,
    quarantines: Table<NamespaceName, Quarantine>,
    /// By the entry that destroyed.
    destructions: Table<Revision, Destruction>,
    /// By node, then by the entry before which its disk holds nothing.
    erasures: Table<(NodeId, Revision), Erased>,
    departed: Table<NodeId, Departed>,
    /// Empty while the first root key has no successor.
    root_keys: Table<(), RootKeys>,
    /// By the entry that took away, and which of its.
    withdrawals: Table<(Revision, u32), Withdrawal>,
    /// Empty until the first restore.
    lives: Table<(), Lives>,
    /// Of operators that a seal has enrolled.
    recoveries: Table<OperatorName, Recovery>,
    /// Empty until it is switched on for the first time.
    peer_unseal: Table<(), PeerUnseal>,
    aliases: Table<(NamespaceName, AliasName), Alias>,
    /// Of versions of keys whose use is counted.
    usages: Table<VersionKey, kms::VersionUsage>,
    indexes: Indexes,
}

impl State {
    /// The state before the first entry.
    #[must_use]
    pub fn new() -> Self {
        Self {
            cluster: Table::new(TableId::Cluster),
            progress: Progress::default(),
            namespaces: Table::new(TableId::Namespaces),
            operators: Table::new(TableId::Operators),
            bindings: Table::new(TableId::Bindings),
            agents: Table::new(TableId::Agents),
            nodes: Table::new(TableId::Nodes),
            reports: Table::new(TableId::Reports),
            tokens: Table::new(TableId::Tokens),
            spent: Table::new(TableId::Spent),
            keys: Table::new(TableId::Keys),
            versions: Table::new(TableId::Versions),
            entries: Table::new(TableId::Entries),
            authorities: Table::new(TableId::Authorities),
            requests: Table::new(TableId::Requests),
            horizons: Table::new(TableId::Horizons),
            version: Table::new(TableId::Version),
            settings: Table::new(TableId::Settings),
            quarantines: Table::new(TableId::Quarantines),
            destructions: Table::new(TableId::Destructions),
            erasures: Table::new(TableId::Erasures),
            departed: Table::new(TableId::Departed),
            root_keys: Table::new(TableId::RootKeys),
            withdrawals: Table::new(TableId::Withdrawals),
            lives: Table::new(TableId::Lives),
            recoveries: Table::new(TableId::Recoveries),
            peer_unseal: Table::new(TableId::PeerUnseal),
            aliases: Table::new(TableId::Aliases),
            usages: Table::new(TableId::Usages),
            indexes: Indexes::default(),
        }
    }

    /// The hash of everything: equal on every node at every index, kept up to date row by row.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.with_progress(self.sums()).to_bytes()
    }

    /// The hash of everything but the last index, the memory of requests and the audit log's edge: what a refused entry
    /// leaves as it was.
    #[must_use]
    pub fn substance_hash(&self) -> [u8; 32] {
        let mut sum = RowSum::default();
        for other in self.sums().into_iter().filter(|(id, _)| !matches!(id, TableId::Requests | TableId::Horizons)) {
            sum.merge(&other.1);
        }
        let Progress {
            index: _,
            time,
            global,
            bundle,
            trust,
            last_node,
            audit: _,
            lowered_ttl,
            held,
            unconfirmed,
            forgotten: _,
        } = &self.progress;
        sum.add(
            TableId::Progress as u8,
            &(),
            &(time, global, bundle, trust, last_node, lowered_ttl, held, unconfirmed),
        );
        sum.to_bytes()
    }

    pub(crate) const fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(crate) const fn indexes(&self) -> &Indexes {
        &self.indexes
    }

    /// The sums that the tables keep, one a table.
    fn sums(&self) -> [(TableId, RowSum); 28] {
        [
            (self.cluster.id(), *self.cluster.sum()),
            (self.namespaces.id(), *self.namespaces.sum()),
            (self.operators.id(), *self.operators.sum()),
            (self.bindings.id(), *self.bindings.sum()),
            (self.agents.id(), *self.agents.sum()),
            (self.nodes.id(), *self.nodes.sum()),
            (self.reports.id(), *self.reports.sum()),
            (self.tokens.id(), *self.tokens.sum()),
            (self.spent.id(), *self.spent.sum()),
            (self.keys.id(), *self.keys.sum()),
            (self.versions.id(), *self.versions.sum()),
            (self.entries.id(), *self.entries.sum()),
            (self.authorities.id(), *self.authorities.sum()),
            (self.requests.id(), *self.requests.sum()),
            (self.horizons.id(), *self.horizons.sum()),
            (self.version.id(), *self.version.sum()),
            (self.settings.id(), *self.settings.sum()),
            (self.quarantines.id(), *self.quarantines.sum()),
            (self.destructions.id(), *self.destructions.sum()),
            (self.erasures.id(), *self.erasures.sum()),
            (self.departed.id(), *self.departed.sum()),
            (self.root_keys.id(), *self.root_keys.sum()),
            (self.withdrawals.id(), *self.withdrawals.sum()),
            (self.lives.id(), *self.lives.sum()),
            (self.recoveries.id(), *self.recoveries.sum()),
            (self.peer_unseal.id(), *self.peer_unseal.sum()),
            (self.aliases.id(), *self.aliases.sum()),
            (self.usages.id(), *self.usages.sum()),
        ]
    }

    /// The progress row changes with every entry, so it is counted in when somebody asks, not on every write.
    fn with_progress(&self, sums: [(TableId, RowSum); 28]) -> RowSum {
        let mut total = RowSum::default();
        for (_, sum) in sums {
            total.merge(&sum);
        }
        total.add(TableId::Progress as u8, &(), &self.progress);
        total
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Progress { index, time, .. } = &self.progress;
        let hash = self.with_progress(self.sums());
        write!(f, "State {{ index: {index}, time: {time:?}, keys: {}, hash: {hash:?} }}", self.keys.len())
    }
}

/// The tables for reading, inside this crate; what others may ask is in `queries.rs`.
macro_rules! tables {
    ($($reader:ident = $field:ident: $key:ty => $row:ty;)*) => {
        impl State {
            $(pub(crate) const fn $reader(&self) -> &Table<$key, $row> {
                &self.$field
            })*
        }
    };
}

tables! {
    cluster_table = cluster: () => Cluster;
    namespace_table = namespaces: NamespaceName => Namespace;
    operator_table = operators: OperatorName => Operator;
    binding_table = bindings: Binding => Granted;
    agent_table = agents: AgentName => Agent;
    node_table = nodes: NodeId => Node;
    report_table = reports: NodeId => Report;
    token_table = tokens: TokenId => Token;
    spent_table = spent: SpkiHash => Principal;
    key_table = keys: (NamespaceName, KeyName) => kms::Key;
    version_table = versions: VersionKey => kms::KeyVersion;
    entry_table = entries: (NamespaceName, EntryName) => ca::Entry;
    authority_table = authorities: SpkiHash => ca::Authority;
    request_table = requests: (RequestId, Principal) => Request;
    horizon_table = horizons: Principal => RequestId;
    version_row = version: () => Version;
    settings_table = settings: () => Settings;
    quarantine_table = quarantines: NamespaceName => Quarantine;
    destruction_table = destructions: Revision => Destruction;
    erasure_table = erasures: (NodeId, Revision) => Erased;
    departed_table = departed: NodeId => Departed;
    root_keys_row = root_keys: () => RootKeys;
    withdrawal_table = withdrawals: (Revision, u32) => Withdrawal;
    lives_table = lives: () => Lives;
    recovery_table = recoveries: OperatorName => Recovery;
    peer_unseal_row = peer_unseal: () => PeerUnseal;
    alias_table = aliases: (NamespaceName, AliasName) => Alias;
    usage_table = usages: VersionKey => kms::VersionUsage;
}

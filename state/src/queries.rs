//! What may be asked of the state: plain reads, with nothing decided about who asks.
//!
//! - here: the cluster, its revisions and sequences, namespaces, members, audit heads;
//! - [`principals`]: who holds a key, and which roles;
//! - [`resources`]: keys, versions and entries, one by one and page by page;
//! - [`due`]: what ought to happen by now. It is asked at every election and tick, so a lost hint loses nothing.

pub mod due;
pub mod erasure;
pub mod page;
pub mod principals;
pub mod resources;

use std::collections::{BTreeMap, BTreeSet};

use audit::{Frontier, Head, LogName};
use types::{
    Generation, KeyId, Millis, NamespaceName, NodeId, Principal, Reason, Refusal, RequestId, Revision, Sequence,
    SpkiHash, Time, TokenId, TrustDomain,
};

use crate::rows::{
    Cluster, Namespace, NamespaceLife, Node, PeerUnseal, Quarantine, Report, Request, RootKeys, Settings, StagedRoot,
    TimeHeld, TimeStep, Token,
};
use crate::{ROOT_EPOCH_FIRST, State, VERSION_FIRST};

impl State {
    /// Whether `init` has been applied.
    #[must_use]
    pub fn is_formed(&self) -> bool {
        self.cluster().is_some()
    }

    /// What `init` fixed.
    #[must_use]
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster_table().get(&())
    }

    /// The trust domain, once there is one.
    #[must_use]
    pub fn trust_domain(&self) -> Option<&TrustDomain> {
        self.cluster().map(|cluster| &cluster.trust_domain)
    }

    /// Log index of the last entry applied; zero before the first.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.progress().index
    }

    /// State time: what every deadline is judged by.
    #[must_use]
    pub fn time(&self) -> Time {
        self.progress().time
    }

    /// Whether state time has moved on too far at once to be believed yet: what cannot be undone waits.
    #[must_use]
    pub fn time_held(&self) -> Option<TimeHeld> {
        self.progress().held
    }

    /// How far state time has moved on at once without an admin's word: destructions wait for that.
    #[must_use]
    pub fn time_unconfirmed(&self) -> Option<TimeStep> {
        self.progress().unconfirmed
    }

    /// What an admin may change about the cluster as a whole.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings_table().get(&()).cloned().unwrap_or_default()
    }

    /// The longest lease that any node may hold, whoever granted it.
    #[must_use]
    pub fn longest_lease(&self) -> Millis {
        let settings = self.settings();
        settings.lease_before.map_or(settings.lease, |before| before.max(settings.lease))
    }

    /// Whether members open one another; none until somebody has said so for the first time, and it is off then.
    #[must_use]
    pub fn peer_unseal(&self) -> Option<&PeerUnseal> {
        self.peer_unseal_row().get(&())
    }

    /// The revision of principals, nodes and cluster-wide roles.
    #[must_use]
    pub fn global_revision(&self) -> Revision {
        self.progress().global
    }

    /// The revision of a namespace's settings and roles; `NONE` when there is no such namespace.
    #[must_use]
    pub fn namespace_revision(&self, name: &NamespaceName) -> Revision {
        self.namespace(name).map_or(Revision::NONE, |row| row.revision)
    }

    /// The highest request id of a principal that made room for another: its unknown ones up to it are refused.
    #[must_use]
    pub fn request_horizon(&self, principal: &Principal) -> Option<RequestId> {
        self.horizon_table().get(principal).copied()
    }

    /// The remembered answer to a request, so that a retry need not go through the log.
    #[must_use]
    pub fn remembered(&self, principal: &Principal, id: RequestId) -> Option<&Request> {
        self.request_table().get(&(id, principal.clone()))
    }

    /// A namespace.
    #[must_use]
    pub fn namespace(&self, name: &NamespaceName) -> Option<&Namespace> {
        self.namespace_table().get(name)
    }

    /// All namespaces by name.
    pub fn namespaces(&self) -> impl Iterator<Item = (&NamespaceName, &Namespace)> {
        self.namespace_table().iter()
    }

    /// How many keys, those that were destroyed not counted, and how many registrations a namespace has.
    #[must_use]
    pub fn counts(&self, name: &NamespaceName) -> (u64, u64) {
        let indexes = self.indexes();
        (indexes.keys_of(name).all, indexes.entry_counts.get(name).copied().unwrap_or(0))
    }

    /// How much of a version's use was handed out; none while nobody counts.
    #[must_use]
    pub fn usage(&self, key: &KeyId, version: u32) -> Option<&kms::VersionUsage> {
        self.usage_table().get(&(*key, version))
    }

    /// How many keys have come near the ceiling of their primary version, and how near.
    #[must_use]
    pub fn usage_levels(&self) -> BTreeMap<kms::UsageLevel, u64> {
        let mut counts = BTreeMap::new();
        for (_, level) in &self.indexes().usage_levels {
            let count: &mut u64 = counts.entry(*level).or_default();
            *count = count.saturating_add(1);
        }
        counts
    }

    /// The namespaces that have a key-encryption key: those that were not destroyed.
    pub fn namespace_keys(&self) -> impl Iterator<Item = (&NamespaceName, &Namespace)> {
        self.namespaces().filter(|(_, row)| !matches!(row.life, NamespaceLife::Destroyed { .. }))
    }

    /// A member.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.node_table().get(&id)
    }

    /// All members by number.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.node_table().iter().map(|(id, node)| (*id, node))
    }

    /// A member's last report.
    #[must_use]
    pub fn report(&self, id: NodeId) -> Option<&Report> {
        self.report_table().get(&id)
    }

    /// The last reports by member.
    pub fn reports(&self) -> impl Iterator<Item = (NodeId, &Report)> {
        self.report_table().iter().map(|(id, report)| (*id, report))
    }

    /// All X.509 authorities that are on record.
    pub fn authorities(&self) -> impl Iterator<Item = &ca::Authority> {
        self.authority_table().iter().map(|(_, authority)| authority)
    }

    /// One authority, by the hash of its key.
    #[must_use]
    pub fn authority(&self, key: &SpkiHash) -> Option<&ca::Authority> {
        self.authority_table().get(key)
    }

    /// The trust bundle; none before the cluster is formed.
    #[must_use]
    pub fn bundle(&self) -> Option<ca::Bundle> {
        let trust_domain = self.trust_domain()?.clone();
        Some(ca::Bundle::of_authorities(trust_domain, self.bundle_sequence(), self.authorities()))
    }

    /// The sequence of the trust bundle: it grows with every change, across leaders and restores.
    #[must_use]
    pub fn bundle_sequence(&self) -> u64 {
        self.sequence_at(self.progress().bundle)
    }

    /// The sequence of what the trust document says: nodes, where they are, and roots.
    #[must_use]
    pub fn trust_sequence(&self) -> u64 {
        self.sequence_at(self.progress().trust)
    }

    /// The sequence of whatever changed last at `revision`, in this generation.
    #[must_use]
    pub fn sequence_at(&self, revision: Revision) -> u64 {
        Sequence::of(self.generation(), revision).get()
    }

    /// Which life of the cluster this is.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.cluster().map_or(Generation::NONE, |cluster| cluster.generation)
    }

    /// The life of the cluster that a restore of this state opens: later than its own and than `seen`, the latest one that the
    /// restorer knows of.
    ///
    /// # Errors
    /// `LimitExceeded` after 8,190 restores.
    pub fn next_generation(&self, seen: Generation) -> Result<Generation, Refusal> {
        let next = self.generation().max(seen).next();
        next.map_err(|error| Refusal::new(Reason::LimitExceeded, error.to_string()))
    }

    /// Why a namespace is not to be used, when it came out of a backup and nobody has released it.
    #[must_use]
    pub fn quarantine(&self, name: &NamespaceName) -> Option<&Quarantine> {
        self.quarantine_table().get(name)
    }

    /// The namespaces in restore quarantine.
    pub fn quarantines(&self) -> impl Iterator<Item = (&NamespaceName, &Quarantine)> {
        self.quarantine_table().iter()
    }

    /// Whether the keys and registrations of a namespace may be used. Asked before every use and every issuance.
    ///
    /// # Errors
    /// As [`State::check_not_closed`] and [`State::check_released`].
    pub fn check_open(&self, name: &NamespaceName) -> Result<(), Refusal> {
        self.check_not_closed(name)?;
        self.check_released(name)
    }

    /// Whether a namespace is there to be used.
    ///
    /// # Errors
    /// `NamespaceClosed` when it was destroyed or is about to be.
    pub fn check_not_closed(&self, name: &NamespaceName) -> Result<(), Refusal> {
        match self.namespace(name).map(|row| row.life) {
            Some(NamespaceLife::DestroyScheduled(scheduled)) => {
                let message = format!(
                    "namespace `{name}` is to be destroyed at {}: an admin takes that back with `chancery namespace restore \
                     {name}`",
                    scheduled.due
                );
                Err(Refusal::new(Reason::NamespaceClosed, message))
            }
            Some(NamespaceLife::Destroyed { at, .. }) => Err(was_destroyed(name, at)),
            Some(NamespaceLife::Open) | None => Ok(()),
        }
    }

    /// Whether a namespace still is.
    ///
    /// # Errors
    /// `NamespaceClosed` when it was destroyed.
    pub fn check_not_destroyed(&self, name: &NamespaceName) -> Result<(), Refusal> {
        match self.namespace(name).map(|row| row.life) {
            Some(NamespaceLife::Destroyed { at, .. }) => Err(was_destroyed(name, at)),
            Some(NamespaceLife::Open | NamespaceLife::DestroyScheduled(_)) | None => Ok(()),
        }
    }

    /// Whether a namespace is not in restore quarantine.
    ///
    /// # Errors
    /// `RestoreQuarantine`, saying since when, why, and how it ends.
    pub fn check_released(&self, name: &NamespaceName) -> Result<(), Refusal> {
        let Some(Quarantine { reason, since, .. }) = self.quarantine(name) else { return Ok(()) };
        let message = format!(
            "namespace `{name}` is in restore quarantine since {since}: {}; an admin releases it with \
             `chancery namespace release {name}`",
            reason.as_str()
        );
        Err(Refusal::new(Reason::RestoreQuarantine, message))
    }

    /// The right edge of the cluster's audit log.
    #[must_use]
    pub fn audit_frontier(&self) -> &Frontier {
        &self.progress().audit
    }

    /// The head of the cluster's audit log.
    #[must_use]
    pub fn cluster_audit_head(&self) -> Head {
        self.audit_frontier().head(LogName::Cluster)
    }

    /// The head of the cluster's log, and the last anchored head of each node's own.
    #[must_use]
    pub fn audit_heads(&self) -> Vec<Head> {
        let nodes = self.reports().map(|(id, report)| Head {
            log: LogName::Node(id),
            size: report.audit_size,
            root: audit::Hash(report.audit_root),
        });
        std::iter::once(self.cluster_audit_head()).chain(nodes).collect()
    }

    /// A join token that nobody has spent, by the public half of it.
    #[must_use]
    pub fn token(&self, id: &TokenId) -> Option<&Token> {
        self.token_table().get(id)
    }

    /// The members that are to vote: each is to hold an authority of its own.
    #[must_use]
    pub fn voters(&self) -> BTreeSet<NodeId> {
        self.nodes().filter(|(_, node)| node.votes).map(|(id, _)| id).collect()
    }

    /// Whether a key belonged to somebody who was revoked or removed: it never recognises anybody again.
    #[must_use]
    pub fn is_spent(&self, spki: &SpkiHash) -> bool {
        self.spent_table().contains(spki)
    }

    /// The version of the state machine that all members run.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version_row().get(&()).map_or(VERSION_FIRST, |row| row.number)
    }

    /// The epoch of the root key under which everything in this state is wrapped.
    #[must_use]
    pub fn root_epoch(&self) -> u32 {
        self.root_keys().map_or(ROOT_EPOCH_FIRST, |row| row.epoch)
    }

    /// The root keys, once there was a second one or one is wanted.
    #[must_use]
    pub fn root_keys(&self) -> Option<&RootKeys> {
        self.root_keys_row().get(&())
    }

    /// The root key that is on its way.
    #[must_use]
    pub fn staged_root(&self) -> Option<&StagedRoot> {
        self.root_keys().and_then(|row| row.staged.as_ref())
    }

    /// The members that have not confirmed the root key which is on its way: what it waits for.
    pub fn root_waits_for(&self) -> impl Iterator<Item = NodeId> {
        let staged = self.staged_root();
        let nodes = self.nodes().map(|(id, _)| id);
        nodes.filter(move |id| staged.is_some_and(|staged| !staged.confirmed.contains(id)))
    }

    /// Whether a member has the root key that is on its way on its disk. One that was removed counts for nothing.
    #[must_use]
    pub fn has_confirmed_root(&self) -> bool {
        self.staged_root().is_some_and(|staged| staged.confirmed.iter().any(|node| self.node(*node).is_some()))
    }

    /// The newest version that every member's build knows; none while a member has not said.
    #[must_use]
    pub fn version_supported(&self) -> Option<u32> {
        let said: Option<Vec<u32>> = self.nodes().map(|(id, _)| self.report(id).map(|said| said.supports)).collect();
        said?.into_iter().min()
    }
}

fn was_destroyed(name: &NamespaceName, at: Time) -> Refusal {
    let message = format!("namespace `{name}` was destroyed at {at}, and with it everything in it");
    Refusal::new(Reason::NamespaceClosed, message)
}

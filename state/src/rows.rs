//! What the rows of replicated state hold. Encodings are specified in `docs/spec/state.md`: fields are appended with a
//! new table number or not at all, because postcard does not name them.
//!
//! Keys, key versions, entries and authorities are the records of `kms` and `ca`; the rest is here.

use std::collections::{BTreeMap, BTreeSet};

use kms::{Floors, ScheduledDestruction};
use serde::{Deserialize, Serialize};
use types::{
    AgentName, Binding, ClusterId, EntryName, Generation, KeyId, KeyName, Millis, NamespaceName, NodeId, OperatorName,
    Principal, Refusal, RequestId, Revision, RootId, SpkiHash, Time, TrustDomain,
};

use crate::command::{JoinKind, NodeInfo, OpenedSeal, Reply};

/// What `init` fixed for good.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cluster {
    /// The cluster's name for itself.
    pub id: ClusterId,
    /// SPIFFE IDs are made in it.
    pub trust_domain: TrustDomain,
    /// DER SubjectPublicKeyInfo of the cluster key.
    pub spki: Vec<u8>,
    /// The cluster key, wrapped under the root key.
    pub key_wrapped: Vec<u8>,
    /// Grows with each restore; the high part of every sequence.
    pub generation: Generation,
    /// When it was formed.
    pub formed: Time,
}

/// How far the state machine has come: one row that most entries change.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Log index of the last entry applied.
    pub index: u64,
    /// State time: every deadline is judged by it.
    pub time: Time,
    /// Bumped by operators, agents, nodes, roles and bindings of cluster scope.
    pub global: Revision,
    /// The last change of the bundle.
    pub bundle: Revision,
    /// The last change of what the trust document says: nodes or bundle.
    pub trust: Revision,
    /// The last node number that was assigned; numbers are never reused.
    pub last_node: NodeId,
    /// The right edge of the cluster's audit log.
    pub audit: audit::Frontier,
    /// A larger SVID TTL than any entry's that unexpired SVIDs may still have, and until when.
    pub lowered_ttl: Option<(Millis, Time)>,
    /// State time has moved on too far at once to be believed yet.
    pub held: Option<TimeHeld>,
    /// It has since it was last confirmed by an admin: what cannot be undone waits for that.
    pub unconfirmed: Option<TimeStep>,
    /// The highest request id whose answer was forgotten for its age: should state time ever be set back, an unknown id up to
    /// it may be one that was carried out.
    pub forgotten: Option<RequestId>,
}

/// State time that is not believed yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TimeHeld {
    /// State time before the first step that was too large.
    pub from: Time,
    /// State time after the last one.
    pub to: Time,
    /// For how long a majority has agreed since.
    pub agreed: Millis,
}

/// How far state time has moved on in steps that were too large.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TimeStep {
    /// Before the first.
    pub from: Time,
    /// After the last.
    pub to: Time,
}

/// What an admin may change about the cluster as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// Length of a node's lease to serve and sign.
    pub lease: Millis,
    /// A longer one that nodes may still hold since it was made shorter.
    pub lease_before: Option<Millis>,
    /// The entry that last changed it.
    pub revision: Revision,
}

impl Default for Settings {
    fn default() -> Self {
        Self { lease: types::limits::NODE_LEASE_DEFAULT, lease_before: None, revision: Revision::NONE }
    }
}

/// A namespace that came out of a backup and is not to be used until an admin releases it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Quarantine {
    /// Why.
    pub reason: QuarantineReason,
    /// Since when, in state time.
    pub since: Time,
    /// The entry that began it.
    pub revision: Revision,
}

/// Why what a restore brought back is not to be used as it is. New reasons go at the end: the order is stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum QuarantineReason {
    /// There was no ledger: what was destroyed or revoked after the backup is not known.
    NoLedger,
    /// The ledger ends before the backup does.
    LedgerBehind,
    /// The ledger is damaged.
    LedgerUnsound,
    /// The ledger lacks something of the time after the backup, and says so itself.
    LedgerGap,
}

impl QuarantineReason {
    /// In words, for whoever has to decide.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoLedger => {
                "it was restored without a ledger, so what was destroyed or revoked after the backup is not known"
            }
            Self::LedgerBehind => "it was restored with a ledger that is older than the backup",
            Self::LedgerUnsound => "it was restored with a ledger that is damaged",
            Self::LedgerGap => "it was restored with a ledger that does not know all that happened after the backup",
        }
    }
}

/// What one entry destroyed, and who held it then: the beginning of its receipt. Never removed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Destruction {
    /// The key, or the namespace.
    pub key: KeyId,
    /// The key's versions that were destroyed; none of a namespace, whose own key was.
    pub versions: Vec<u32>,
    /// When, in state time.
    pub at: Time,
    /// To be erased at once, not within [`types::limits::ERASED_WITHIN`].
    pub urgent: bool,
    /// The members that had the material, wrapped, on their disks.
    pub members: Vec<NodeId>,
    /// The active root key of then: the newest under which an old copy of the material may be wrapped.
    pub root_epoch: u32,
}

/// What one entry took away, for the ledger.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Withdrawal {
    /// When, in state time.
    pub at: Time,
    /// What.
    pub what: Withdrawn,
}

/// What a restore of an older backup must not bring back. New kinds go at the end: the order is stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Withdrawn {
    /// Versions of a key were destroyed: those in the row of [`Destruction`] of the same entry.
    Destroyed {
        /// Which key.
        key: KeyId,
        /// The key as a whole.
        whole: bool,
    },
    /// A key was disabled, or one version of it.
    Disabled {
        /// Which key.
        key: KeyId,
        /// None: the key as a whole.
        version: Option<u32>,
    },
    /// No right, but a number that must not be given out again.
    Version {
        /// Which key.
        key: KeyId,
        /// Its highest version.
        last: u32,
    },
    /// An operator's key is spent.
    Operator(OperatorName, SpkiHash),
    /// An operator's enrolment ends earlier.
    OperatorLimited(OperatorName, SpkiHash, Time),
    /// An agent is banned, and its key spent.
    Agent(AgentName, SpkiHash),
    /// An agent's key is spent: it has another.
    AgentReplaced(AgentName, SpkiHash),
    /// A role was taken back.
    Role(Binding),
    /// A registration does not hold any more as it was.
    Entry(NamespaceName, EntryName),
    /// A namespace has a DNS suffix less.
    Suffix(NamespaceName, String),
    /// Versions of a key below that one are not used any more.
    BelowMinimum {
        /// Which key.
        key: KeyId,
        /// The lowest version that may be used.
        version: u32,
    },
    /// A namespace was destroyed, or is about to be.
    Namespace {
        /// Which.
        name: NamespaceName,
        /// Its key is gone.
        destroyed: bool,
    },
}

/// The earlier lives of the cluster that this one came out of, and what it does not know.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Lives {
    /// Each with the last entry that the backup held of it, ascending.
    pub ended: Vec<(Generation, Revision)>,
    /// Of what was taken away up to this entry, something is not among the [`Withdrawal`]s.
    pub forgotten: Revision,
}

/// A node's word that its disk holds nothing of before an entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Erased {
    /// When it said so, in state time.
    pub at: Time,
}

/// A member that was removed and may still hold a lease: every leader counts it until one of them knows that it cannot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Departed {
    /// When it was removed.
    pub at: Time,
    /// The entry that removed it.
    pub revision: Revision,
}

/// The settings of a namespace that may change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NamespaceSettings {
    /// No rotation period may be shorter.
    pub rotation_floor: Millis,
    /// DNS suffixes its entries may use.
    pub dns_suffixes: Vec<String>,
    /// No key of it is destroyed sooner after somebody asked for that.
    pub waiting_period_floor: Millis,
    /// Most keys, destroyed ones not counted; none: as many as the cluster holds.
    pub keys_max: Option<u32>,
    /// Most entries; none: as many as the cluster holds.
    pub entries_max: Option<u32>,
}

impl Default for NamespaceSettings {
    fn default() -> Self {
        Self {
            rotation_floor: types::limits::ROTATION_FLOOR_DEFAULT,
            dns_suffixes: Vec::new(),
            waiting_period_floor: types::limits::WAITING_PERIOD_FLOOR_DEFAULT,
            keys_max: None,
            entries_max: None,
        }
    }
}

impl NamespaceSettings {
    /// What no key of the namespace may go below.
    #[must_use]
    pub const fn floors(&self) -> Floors {
        Floors { rotation: self.rotation_floor, waiting_period: self.waiting_period_floor }
    }
}

/// A tenant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Namespace {
    /// Its identity in ciphertexts.
    pub id: KeyId,
    /// What may be changed about it.
    pub settings: NamespaceSettings,
    /// Its key-encryption key, wrapped under the root key; empty once it was destroyed.
    pub kek_wrapped: Vec<u8>,
    /// When it was made.
    pub created: Time,
    /// Whether it is used.
    pub life: NamespaceLife,
    /// Bumped by its settings and by bindings of its scope.
    pub revision: Revision,
}

impl Namespace {
    /// A new one.
    pub(crate) fn open(
        id: KeyId,
        settings: NamespaceSettings,
        kek_wrapped: Vec<u8>,
        created: Time,
        revision: Revision,
    ) -> Self {
        Self { id, settings, kek_wrapped, created, life: NamespaceLife::Open, revision }
    }
}

/// How far a namespace has come. New stages go at the end: the order is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum NamespaceLife {
    /// It is used.
    #[default]
    Open,
    /// Nothing in it is used, and it is destroyed when the waiting period is over.
    DestroyScheduled(ScheduledDestruction),
    /// Its key is gone, and with it everything that was under it. Its name stays taken.
    Destroyed {
        /// When, in state time.
        at: Time,
        /// By which entry.
        by: Revision,
    },
}

/// A person or automation that administers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Operator {
    /// How it is recognised.
    pub spki: SpkiHash,
    /// When this key was enrolled.
    pub enrolled: Time,
    /// The enrolment ends at this state time.
    pub expires: Time,
    /// When it was revoked.
    pub revoked: Option<Time>,
    /// The entry that last changed it.
    pub revision: Revision,
}

/// A workload agent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Agent {
    /// How it is recognised.
    pub spki: SpkiHash,
    /// When this key was enrolled.
    pub enrolled: Time,
    /// The enrolment ends at this state time.
    pub expires: Time,
    /// When it was banned. A banned name stays banned.
    pub revoked: Option<Time>,
    /// The bundle sequence that it has pushed to every attached stream.
    pub acknowledged: u64,
    /// The entry that last changed its status; acknowledgements do not count.
    pub revision: Revision,
}

/// A member of the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Node {
    /// Where it is reached and how it is recognised.
    pub info: NodeInfo,
    /// Whether it is to vote. Raft's membership follows: a voter votes once it has caught up.
    pub votes: bool,
    /// The member that is removed once this one votes.
    pub replaces: Option<NodeId>,
    /// When it was admitted.
    pub admitted: Time,
    /// The entry that last changed it.
    pub revision: Revision,
}

/// The version of the state machine, once it was raised.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Version {
    /// The version.
    pub number: u32,
    /// Since when.
    pub since: Time,
    /// The entry that raised it.
    pub revision: Revision,
}

/// Which root key wraps what is wrapped, and which is to come. There is no row while the first one has no successor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RootKeys {
    /// The active one: everything in state that a root key wraps is wrapped under it.
    pub epoch: u32,
    /// Its name; none for the first, which was never staged.
    pub id: Option<RootId>,
    /// Since when it is the active one; none for the first.
    pub since: Option<Time>,
    /// The one that is on its way.
    pub staged: Option<StagedRoot>,
    /// The entry that last changed it.
    pub revision: Revision,
}

/// A root key that members are taking in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StagedRoot {
    /// Which.
    pub epoch: u32,
    /// Its name, once it was drawn.
    pub id: Option<RootId>,
    /// The public half of new shares, when it comes with some.
    pub quorum: Option<Vec<u8>>,
    /// Who wants it.
    pub by: Principal,
    /// Since when.
    pub since: Time,
    /// The members that have it on their disks.
    pub confirmed: BTreeSet<NodeId>,
}

/// A node's last word on its clock and its own audit log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Its clock when it reported.
    pub clock: Time,
    /// State time after the report.
    pub at: Time,
    /// The leader's clock or the node's own, whichever was behind, or state time where that was later.
    pub seen: Time,
    /// Leaves in its own audit log, anchored by this row.
    pub audit_size: u64,
    /// RFC 6962 root over them.
    pub audit_root: [u8; 32],
    /// The newest state-machine version that its build knows.
    pub supports: u32,
    /// The entry that brought it.
    pub revision: Revision,
}

/// A join token that nobody has spent. A spent or expired one leaves no row, so the three look the same.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Token {
    /// SHA-256 of the secret half.
    pub secret_hash: [u8; 32],
    /// Whom it admits.
    pub kind: JoinKind,
    /// It opens nothing at or after this state time.
    pub expires: Time,
    /// Who made it.
    pub made_by: Principal,
}

/// An operator that is an admin because of a seal, and of nobody who was an admin without one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recovery {
    /// When, in state time.
    pub at: Time,
    /// Which seal.
    pub opened: OpenedSeal,
    /// The recovered admin that enrolled it or made it an admin; none: the seal itself did.
    pub through: Option<OperatorName>,
    /// By which entry.
    pub revision: Revision,
}

/// Whether members open one another, and whom an admin has let in.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PeerUnseal {
    /// Off at first.
    pub on: bool,
    /// Voters that get the root key when they ask, once.
    pub approved: BTreeMap<NodeId, Approval>,
    /// When each got it last: the leader's clock, or state time where that was later.
    pub released: BTreeMap<NodeId, Time>,
    /// By which entry.
    pub revision: Revision,
}

/// An admin's word for one voter. It is judged by state time and by a clock, and lasts for as long as neither says that its hour is
/// over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Approval {
    /// It ends at this state time.
    pub until: Time,
    /// The leader's clock when it was given, or state time where that was later.
    pub given: Time,
    /// Who gave it: it ends with them.
    pub by: Principal,
}

/// A role that was granted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Granted {
    /// When.
    pub at: Time,
    /// By which entry.
    pub revision: Revision,
}

/// Another name of a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Alias {
    /// The key that it stands for, of the same namespace.
    pub key: KeyName,
    /// When it was made, in state time.
    pub created: Time,
    /// The entry that last changed it.
    pub revision: Revision,
}

/// What one version of a key is stored under: the key's own identity, not its name, so that a listing of keys never walks
/// versions.
pub(crate) type VersionKey = (KeyId, u32);

/// A request that was carried out or refused, so that a retry is recognised and answered alike.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// SHA-256 of the method and the canonical request without its id.
    pub body: [u8; 32],
    /// What was answered; never a secret.
    pub outcome: Result<Reply, Refusal>,
    /// The entry that answered it.
    pub index: u64,
    /// It took a right away: the answer is given only when no node can serve the state before it.
    pub fenced: bool,
}

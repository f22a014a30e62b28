//! What may be proposed: every change to the cluster, as data. Nothing here is secret: material is drawn and wrapped
//! before it is proposed (invariant 1), and tokens are hashed.
//!
//! Stored for ever in logs: variants are appended, never reordered or changed (see `docs/adr`).

use serde::{Deserialize, Serialize};
use types::{
    AgentName, AliasName, Basis, Binding, ClusterId, EntryName, Generation, KeyId, KeyName, Millis, NamespaceName,
    NodeId, OperatorName, Principal, Revision, RootId, SpkiHash, Time, TokenId, TrustDomain,
};

use crate::request_key::RequestKey;
use crate::rows::{NamespaceSettings, QuarantineReason};

/// One entry of the replicated log, as `apply` sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Its log index: the revision of everything it changes.
    pub index: u64,
    /// What was proposed.
    pub proposal: Proposal,
}

/// What a leader puts into the log: everything that `apply` needs, drawn and decided beforehand.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proposal {
    /// Who asked.
    pub actor: Principal,
    /// The leader's clock. Deadlines are judged by state time; what must end also while that stands still, by this too.
    pub at: Time,
    /// The caller's request id and a hash of its body; none for what nodes do by themselves.
    pub request: Option<RequestKey>,
    /// What the decision rested on; none for what nodes do by themselves.
    pub basis: Option<Basis>,
    /// The change.
    pub command: Command,
}

/// Where a member is reached and how it is recognised.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeInfo {
    /// SHA-256 of its identity key.
    pub spki: SpkiHash,
    /// host:port of its peer port.
    pub peer_address: String,
    /// host:port of its API.
    pub api_address: String,
}

/// What a registration says; `ca` checks it against its namespace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EntryBody {
    /// Under `/ns/{ns}/`.
    pub path: String,
    /// The agent that delivers.
    pub parent: AgentName,
    /// Text of each selector; all must hold.
    pub selectors: Vec<String>,
    /// Life of each SVID.
    pub svid_ttl: Millis,
    /// DNS names in the SVID.
    pub dns_names: Vec<String>,
    /// Tells a workload its identities apart; may be empty.
    pub hint: String,
}

/// Whom a join token admits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum JoinKind {
    /// A member of the cluster.
    Node,
    /// The agent of that name.
    Agent(AgentName),
    /// A member that takes the place of another: once it votes, that one is removed.
    Replacement(NodeId),
}

/// Where an authority is to go next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum AuthorityStep {
    /// It may sign.
    Activate,
    /// It signs no more and stays in the bundle.
    Drain,
    /// It leaves the bundle.
    Retire,
}

/// A node's word on its own log and clock.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeReport {
    /// Whose.
    pub node: NodeId,
    /// Its clock when it proposed.
    pub clock: Time,
    /// Leaves in its own audit log, all fsynced.
    pub audit_size: u64,
    /// RFC 6962 root over them.
    pub audit_root: [u8; 32],
    /// Its API address, which may change over a restart.
    pub api_address: String,
    /// The newest state-machine version that its build knows.
    pub supports: u32,
}

/// A change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Forms the cluster: the first entry of every log.
    Init {
        /// Drawn by the first node.
        cluster: ClusterId,
        /// SPIFFE IDs are made in it.
        trust_domain: TrustDomain,
        /// DER SubjectPublicKeyInfo of the cluster key.
        cluster_spki: Vec<u8>,
        /// The cluster key, wrapped under the root key.
        cluster_key_wrapped: Vec<u8>,
        /// The first voter.
        node: NodeId,
        /// Where and who it is.
        info: NodeInfo,
        /// The first operator, who gets the admin role.
        operator: OperatorName,
        /// How it is recognised.
        operator_spki: SpkiHash,
        /// When its enrolment ends.
        operator_expires: Time,
        /// The `default` namespace's key-encryption key, wrapped under the root key.
        namespace_kek_wrapped: Vec<u8>,
        /// The `default` namespace's identity in ciphertexts.
        namespace_id: KeyId,
    },
    /// Creates a namespace.
    CreateNamespace {
        /// Its name.
        name: NamespaceName,
        /// Its identity in ciphertexts: random, never reused.
        id: KeyId,
        /// Its settings.
        settings: NamespaceSettings,
        /// Its key-encryption key, wrapped under the root key.
        kek_wrapped: Vec<u8>,
    },
    /// Replaces a namespace's settings.
    UpdateNamespace {
        /// Which.
        name: NamespaceName,
        /// All of them.
        settings: NamespaceSettings,
    },
    /// Enrols an operator's key, or a revoked operator's new one.
    EnrolOperator {
        /// Its name.
        name: OperatorName,
        /// How it is recognised.
        spki: SpkiHash,
        /// When the enrolment ends.
        expires: Time,
    },
    /// Revokes an operator. The last admin cannot be revoked.
    RevokeOperator {
        /// Which.
        name: OperatorName,
    },
    /// Grants a role.
    GrantRole(Binding),
    /// Takes a role away. The last admin keeps it.
    RevokeRole(Binding),
    /// Remembers a join token by its hash.
    CreateJoinToken {
        /// How the record is found.
        id: TokenId,
        /// SHA-256 of the secret half.
        secret_hash: [u8; 32],
        /// Whom it admits.
        kind: JoinKind,
        /// It opens nothing at or after this state time.
        expires: Time,
    },
    /// Spends a token and admits a node. `apply` assigns the next node number.
    RedeemNodeToken {
        /// Which token.
        token: TokenId,
        /// SHA-256 of the secret that was presented.
        secret_hash: [u8; 32],
        /// The new member.
        info: NodeInfo,
        /// It asks for no vote: it stays a learner until it is promoted.
        learner: bool,
    },
    /// Spends a token and enrols an agent.
    RedeemAgentToken {
        /// Which token.
        token: TokenId,
        /// SHA-256 of the secret that was presented.
        secret_hash: [u8; 32],
        /// How the agent is recognised.
        spki: SpkiHash,
        /// When the enrolment ends.
        expires: Time,
    },
    /// Bans an agent.
    RevokeAgent {
        /// Which.
        name: AgentName,
    },
    /// An agent has pushed a bundle to every attached stream.
    AckBundle {
        /// Which.
        agent: AgentName,
        /// The bundle's sequence.
        sequence: u64,
    },
    /// Creates a key with version 1.
    CreateKey {
        /// Where.
        namespace: NamespaceName,
        /// Its name.
        name: KeyName,
        /// By which ciphertexts name it.
        id: KeyId,
        /// What it is.
        algorithm: kms::Algorithm,
        /// What may be changed about it later.
        settings: kms::KeySettings,
        /// Version 1's, its secret wrapped under the namespace's key.
        material: kms::WrappedMaterial,
    },
    /// Changes what may be changed about a key.
    UpdateKey {
        /// Where.
        namespace: NamespaceName,
        /// Which.
        name: KeyName,
        /// What of it.
        change: kms::KeyChange,
    },
    /// Adds a version and makes it primary: a rotation is one entry (invariant 4).
    AddKeyVersion {
        /// Where.
        namespace: NamespaceName,
        /// Which.
        name: KeyName,
        /// The last version as the proposer saw it; the new one is one more. Makes repeats harmless.
        expect_last: u32,
        /// Why.
        cause: kms::RotationCause,
        /// The new version's, its secret wrapped under the namespace's key.
        material: kms::WrappedMaterial,
    },
    /// Enables or disables a key, or one version of it.
    SetKeyEnabled {
        /// Where.
        namespace: NamespaceName,
        /// Which.
        name: KeyName,
        /// None: the key as a whole.
        version: Option<u32>,
        /// Whether it may be used.
        enabled: bool,
    },
    /// Registers a workload.
    CreateEntry {
        /// Where.
        namespace: NamespaceName,
        /// Its name.
        name: EntryName,
        /// What it says.
        body: EntryBody,
    },
    /// Replaces a registration.
    UpdateEntry {
        /// Where.
        namespace: NamespaceName,
        /// Which.
        name: EntryName,
        /// What it says now.
        body: EntryBody,
    },
    /// Removes a registration.
    DeleteEntry {
        /// Where.
        namespace: NamespaceName,
        /// Which.
        name: EntryName,
    },
    /// A voter publishes the certificate of its next authority.
    PublishAuthority {
        /// Whose.
        node: NodeId,
        /// The self-signed certificate, DER.
        certificate: Vec<u8>,
        /// When the voter made it.
        generated: Time,
        /// The certificate's NotAfter.
        not_after: Time,
    },
    /// Moves an authority on. `apply` checks that the step is allowed and due.
    AdvanceAuthority {
        /// SHA-256 of its public key.
        authority: SpkiHash,
        /// Where to.
        step: AuthorityStep,
    },
    /// A node's audit head and clock; moves state time.
    ReportNode(NodeReport),
    /// Takes a member out of the cluster for good.
    RemoveNode {
        /// Which.
        node: NodeId,
        /// Leaves in its own audit log when it had stopped serving, as it said itself; none when it could not be asked.
        audit_closed: Option<u64>,
        /// Although it is not known how its audit log ends, or fewer voters than a majority are up afterwards.
        forced: bool,
        /// Somebody else may have had its keys: its authority is tainted.
        compromised: bool,
    },
    /// Makes a learner a voter.
    PromoteNode {
        /// Which.
        node: NodeId,
    },
    /// Moves the state machine to a later version, which every member's build must know.
    RaiseVersion {
        /// The version.
        version: u32,
    },
    /// Sets the length of the nodes' leases.
    SetLease {
        /// From each node's next renewal on.
        length: Millis,
    },
    /// Nobody can hold a lease of the longer kind any more that was in force before.
    SettleLease {
        /// The settings that the leader went by.
        revision: Revision,
    },
    /// Sets state time back to what most members' clocks say.
    ResetTime,
    /// Opens a new life of the cluster from a backup: the first entry after what the backup holds, applied by whoever restores
    /// it, before any node of this life runs.
    OpenGeneration {
        /// Later than any that is known of.
        generation: Generation,
        /// SHA-256 of the backup, for the record.
        backup: [u8; 32],
        /// The only member to begin with.
        info: NodeInfo,
        /// What the members of the lost life knew may be in others' hands: their authorities are tainted.
        compromised: bool,
        /// Why all namespaces are quarantined; none when a ledger accounts for what came after the backup.
        quarantine: Option<QuarantineReason>,
        /// How much the backup would have brought back that ledgers told of.
        accounted: u64,
    },
    /// Releases a namespace from restore quarantine.
    ReleaseNamespace {
        /// Which.
        name: NamespaceName,
    },
    /// Has a version of a key destroyed, or the key with all of its versions: once the key's waiting period is over, or with this entry
    /// where it has none. What waits is not used.
    DestroyKey {
        /// Where.
        namespace: NamespaceName,
        /// Which.
        name: KeyName,
        /// None: the key as a whole.
        version: Option<u32>,
        /// Nodes erase it at once, not within a day.
        urgent: bool,
    },
    /// A node's disk holds nothing of before an entry: neither its log nor its snapshots.
    ReportErasure {
        /// Whose.
        node: NodeId,
        /// That entry, which is not on the disk either.
        upto: Revision,
    },
    /// A removed member can hold no lease any more.
    SettleDeparture {
        /// Which.
        node: NodeId,
    },
    /// A new root key is wanted (docs/spec/seal.md).
    BeginRekey {
        /// The public half of new shares, for the members that are sealed with shares; opaque here.
        quorum: Option<Vec<u8>>,
    },
    /// It is not wanted any more.
    CancelRekey,
    /// The leader has drawn it, or another in its place that nobody has confirmed.
    StageRoot {
        /// Which.
        epoch: u32,
        /// Its name.
        id: RootId,
    },
    /// A member has it on its disk.
    ConfirmRoot {
        /// Who.
        node: NodeId,
        /// Which.
        epoch: u32,
        /// Its name.
        id: RootId,
    },
    /// Every member has it: it is the active one, and all that a root key wraps is wrapped under it.
    ActivateRoot {
        /// Which.
        epoch: u32,
        /// Its name.
        id: RootId,
        /// Every namespace's key-encryption key.
        keks_wrapped: Vec<(NamespaceName, Vec<u8>)>,
        /// The cluster key.
        cluster_key_wrapped: Vec<u8>,
    },
    /// Enrols an operator as an admin on proof of a node's seal: for when no admin is left (docs/spec/seal.md).
    RecoverOperator {
        /// Its name, which nobody has had.
        name: OperatorName,
        /// How it is recognised.
        spki: SpkiHash,
        /// When the enrolment ends.
        expires: Time,
        /// Whose seal was opened.
        opened: OpenedSeal,
        /// The root key that it gave: the active one of that moment, or the proof is of what was replaced since.
        root_epoch: u32,
    },
    /// Switches on or off that members open one another (docs/spec/seal.md).
    SetPeerUnseal {
        /// Off at first.
        on: bool,
    },
    /// Lets a voter have the root key from another member, once.
    ApproveUnseal {
        /// Which.
        node: NodeId,
    },
    /// The leader hands the root key to a voter: the record comes first.
    ReleaseRoot(Release),
    /// Takes an admin's word for a voter back; a node that is sealed by hand does it for itself.
    CancelApproval {
        /// Which.
        node: NodeId,
    },
    /// Gives a key another name.
    CreateAlias {
        /// Of both.
        namespace: NamespaceName,
        /// The other name.
        name: AliasName,
        /// What it stands for.
        key: KeyName,
    },
    /// Gives such a name to another key: one entry, so nobody ever sees it stand for none or for both.
    UpdateAlias {
        /// Of both.
        namespace: NamespaceName,
        /// Which.
        name: AliasName,
        /// What it stands for from now on.
        key: KeyName,
    },
    /// Takes such a name away.
    DeleteAlias {
        /// Its namespace.
        namespace: NamespaceName,
        /// Which.
        name: AliasName,
    },
    /// Adds a version that is not used until it is activated.
    AddPreActiveVersion {
        /// Where.
        namespace: NamespaceName,
        /// Which.
        name: KeyName,
        /// As in [`Command::AddKeyVersion`].
        expect_last: u32,
        /// The new version's, its secret wrapped under the namespace's key.
        material: kms::WrappedMaterial,
    },
    /// Makes a pre-active version the primary one.
    ActivateVersion {
        /// Where.
        namespace: NamespaceName,
        /// Which.
        name: KeyName,
        /// Its number.
        version: u32,
    },
    /// Takes back that a key, or one version of it, is to be destroyed.
    RestoreKey {
        /// Where.
        namespace: NamespaceName,
        /// Which.
        name: KeyName,
        /// None: the key as a whole.
        version: Option<u32>,
    },
    /// A waiting period is over: the wrapped material leaves the state with this entry.
    CarryOutDestruction {
        /// Where.
        namespace: NamespaceName,
        /// Which.
        name: KeyName,
        /// None: the key as a whole.
        version: Option<u32>,
    },
    /// Closes a namespace and has its key-encryption key destroyed, and with it everything under it.
    DestroyNamespace {
        /// Which.
        name: NamespaceName,
        /// From this entry to the destruction; none: 30 days, or the namespace's floor where that is longer.
        waiting_period: Option<Millis>,
        /// Nodes erase it at once, not within a day.
        urgent: bool,
    },
    /// Takes that back.
    RestoreNamespace {
        /// Which.
        name: NamespaceName,
    },
    /// A namespace's waiting period is over: its wrapped key leaves the state with this entry.
    CarryOutNamespaceDestruction {
        /// Which.
        name: NamespaceName,
    },
    /// A step of state time was no mistake: destructions that it has made due are carried out.
    ConfirmTime {
        /// State time after it, as whoever confirms it has seen.
        to: Time,
    },
    /// Hands out a block of a version's use to a node, which spends it alone and forgets what is left when it stops.
    LeaseUsage {
        /// To whom.
        node: NodeId,
        /// Where.
        namespace: NamespaceName,
        /// Which key.
        name: KeyName,
        /// Its version.
        version: u32,
        /// At least so much.
        least: kms::Usage,
    },
}

/// A root key on its way to a member that has restarted, as the leader that hands it out saw it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Release {
    /// To whom.
    pub node: NodeId,
    /// The leader.
    pub by: NodeId,
    /// From where it asked.
    pub address: String,
    /// That is where it is registered, and a sealed node of that number answers there.
    pub at_home: bool,
}

/// The seal of a node that was opened as a proof, and what opened it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenedSeal {
    /// Whose.
    pub node: NodeId,
    /// Its number on that node.
    pub slot: u32,
    /// Its kind, and the numbers of the shares that met; nothing secret.
    pub by: String,
}

/// What an accepted command did: enough to answer the caller, and a retry of it, from applied state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Done; read the resource for more.
    Done,
    /// This key version was made.
    Version(u32),
    /// This node was admitted.
    Node(NodeId),
    /// This agent was enrolled.
    Agent(AgentName),
    /// So much of a version's use was handed out.
    Usage {
        /// What nothing bounds is the largest number.
        block: kms::Usage,
        /// Under the limits that the key has since that entry.
        limits: Revision,
    },
}

//! Every verb of the API, once: what policy decides on and what an audit record names.

use serde::{Deserialize, Serialize};

macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $service:literal . $method:literal, $kind:ident;)*) => {
        /// One rpc of the API. New actions go at the end: the order is stored.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub enum Action {
            $($(#[$doc])* $variant,)*
        }

        impl Action {
            /// Every action, in stored order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// `Service.Method`, as audit records and the authorization matrix print it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => concat!($service, ".", $method),)* }
            }

            /// What the action does to the cluster.
            #[must_use]
            pub const fn kind(self) -> ActionKind {
                match self { $(Self::$variant => ActionKind::$kind,)* }
            }

            /// The action of that name.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|action| action.as_str() == text)
            }
        }
    };
}

/// What an action does to the cluster, which decides how it is recorded and where it may run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ActionKind {
    /// Reads state; any node answers.
    Read,
    /// Uses key material or an authority on the node that answers, under its lease; no log entry.
    Use,
    /// Changes state through one Raft entry.
    Mutate,
}

actions! {
    /// Create a key and its first version.
    CreateKey = "KeyService"."CreateKey", Mutate;
    /// List the keys of a namespace.
    ListKeys = "KeyService"."ListKeys", Read;
    /// Describe one key.
    GetKey = "KeyService"."GetKey", Read;
    /// List the versions of a key.
    ListKeyVersions = "KeyService"."ListKeyVersions", Read;
    /// Change a key's settings: its rotation period.
    UpdateKey = "KeyService"."UpdateKey", Mutate;
    /// Add a version and make it primary, by hand or by schedule.
    RotateKey = "KeyService"."RotateKey", Mutate;
    /// Let a key, or one version, be used again.
    EnableKey = "KeyService"."EnableKey", Mutate;
    /// Stop a key, or one version, from being used.
    DisableKey = "KeyService"."DisableKey", Mutate;
    /// Encrypt under a key's primary version.
    Encrypt = "CryptoService"."Encrypt", Use;
    /// Decrypt a ciphertext.
    Decrypt = "CryptoService"."Decrypt", Use;
    /// Draw a data key and return it in clear and wrapped.
    GenerateDataKey = "CryptoService"."GenerateDataKey", Use;
    /// Re-encrypt a ciphertext under the primary version without showing the plaintext.
    ReEncrypt = "CryptoService"."ReEncrypt", Use;
    /// Register a workload.
    CreateEntry = "EntryService"."CreateEntry", Mutate;
    /// Change a registration.
    UpdateEntry = "EntryService"."UpdateEntry", Mutate;
    /// Remove a registration.
    DeleteEntry = "EntryService"."DeleteEntry", Mutate;
    /// Read one registration.
    GetEntry = "EntryService"."GetEntry", Read;
    /// List registrations.
    ListEntries = "EntryService"."ListEntries", Read;
    /// Enrol an agent with a one-time join token.
    RedeemAgentToken = "AgentService"."RedeemToken", Mutate;
    /// List agents.
    ListAgents = "AgentService"."ListAgents", Read;
    /// Ban an agent.
    RevokeAgent = "AgentService"."RevokeAgent", Mutate;
    /// An agent's stream of its entries and bundle.
    WatchAgent = "AgentService"."Watch", Read;
    /// An agent says that it has pushed a bundle to every attached stream.
    AckBundle = "AgentService"."AckBundle", Mutate;
    /// Issue an X.509-SVID for an entry of the calling agent.
    IssueSvid = "SvidService"."IssueX509Svid", Use;
    /// Read the trust bundle.
    GetBundle = "BundleService"."GetBundle", Read;
    /// List the voters' authorities.
    ListAuthorities = "AuthorityService"."ListAuthorities", Read;
    /// A node moves its own authority, or the leader another's, through its life.
    AdvanceAuthority = "AuthorityService"."Advance", Mutate;
    /// Form the cluster.
    Init = "ClusterService"."Init", Mutate;
    /// Read the members and what each is doing.
    GetClusterStatus = "ClusterService"."GetStatus", Read;
    /// Make a one-time join token for a node or an agent.
    CreateJoinToken = "ClusterService"."CreateJoinToken", Mutate;
    /// Admit a node with a one-time join token.
    RedeemNodeToken = "ClusterService"."RedeemNodeToken", Mutate;
    /// Say who is calling.
    WhoAmI = "ClusterService"."WhoAmI", Read;
    /// A node's audit head and clock.
    ReportNode = "ClusterService"."ReportNode", Mutate;
    /// Create a namespace.
    CreateNamespace = "NamespaceService"."CreateNamespace", Mutate;
    /// Change a namespace's settings.
    UpdateNamespace = "NamespaceService"."UpdateNamespace", Mutate;
    /// Read one namespace.
    GetNamespace = "NamespaceService"."GetNamespace", Read;
    /// List namespaces.
    ListNamespaces = "NamespaceService"."ListNamespaces", Read;
    /// Enrol an operator's key.
    EnrolOperator = "OperatorService"."EnrolOperator", Mutate;
    /// Revoke an operator.
    RevokeOperator = "OperatorService"."RevokeOperator", Mutate;
    /// List operators.
    ListOperators = "OperatorService"."ListOperators", Read;
    /// Grant a role.
    GrantRole = "OperatorService"."GrantRole", Mutate;
    /// Take a role away.
    RevokeRole = "OperatorService"."RevokeRole", Mutate;
    /// List the bindings.
    ListBindings = "OperatorService"."ListBindings", Read;
    /// Unseal the answering node.
    Unseal = "SealService"."Unseal", Use;
    /// Seal the answering node: keys leave its memory, it leaves Raft.
    Seal = "SealService"."Seal", Use;
    /// Read whether the node is sealed.
    GetSealStatus = "SealService"."GetStatus", Read;
    /// Read records of an audit log.
    ListRecords = "AuditService"."ListRecords", Read;
    /// Follow an audit log.
    TailRecords = "AuditService"."Tail", Read;
    /// Search the audit logs by principal, resource, time and outcome.
    SearchRecords = "AuditService"."Search", Read;
    /// Read the head and proofs of an audit log.
    GetHead = "AuditService"."GetHeads", Read;
    /// Hand leadership to another voter.
    TransferLeader = "ClusterService"."TransferLeader", Use;
    /// Send a node's callers elsewhere, as before a restart, or take it back.
    DrainNode = "ClusterService"."DrainNode", Use;
    /// Take a member out of the cluster for good.
    RemoveNode = "ClusterService"."RemoveNode", Mutate;
    /// Make a learner a voter.
    PromoteNode = "ClusterService"."PromoteNode", Mutate;
    /// Raise the version of the state machine.
    UpgradeCluster = "ClusterService"."Upgrade", Mutate;
    /// Set the length of the nodes' leases.
    SetLease = "ClusterService"."SetLease", Mutate;
    /// Set state time back to what most members' clocks say.
    ResetTime = "ClusterService"."ResetTime", Mutate;
    /// Release a namespace from restore quarantine.
    ReleaseNamespace = "NamespaceService"."ReleaseNamespace", Mutate;
    /// Open a new life of the cluster from a backup.
    OpenGeneration = "BackupService"."OpenGeneration", Mutate;
    /// Stream a backup of the cluster, sealed to the recipients of the node that answers.
    CreateBackup = "BackupService"."CreateBackup", Use;
    /// List the backups in the folder of the node that answers.
    ListBackups = "BackupService"."ListBackups", Read;
    /// Destroy a disabled version of a key, or a key of which none is enabled.
    DestroyKey = "KeyService"."DestroyKey", Mutate;
    /// A node says that nothing of before an entry is on its disk any more.
    ReportErasure = "ClusterService"."ReportErasure", Mutate;
    /// A leader says that a removed node can hold no lease any more.
    SettleDeparture = "ClusterService"."SettleDeparture", Mutate;
    /// Replace the root key.
    Rekey = "SealService"."Rekey", Mutate;
    /// Give up a root key that is on its way.
    CancelRekey = "SealService"."CancelRekey", Mutate;
    /// Read which root key is active, and what one on its way waits for.
    GetRootKey = "SealService"."GetRootKey", Read;
    /// A root key is drawn, handed out, confirmed or made the active one by the members themselves.
    AdvanceRootKey = "SealService"."AdvanceRootKey", Mutate;
    /// Add a seal to the answering node.
    AddSeal = "SealService"."AddSeal", Use;
    /// Take a seal from the answering node.
    DropSeal = "SealService"."DropSeal", Use;
    /// Enrol an operator on proof of a seal, when no admin is left.
    RecoverOperator = "SealService"."RecoverOperator", Mutate;
    /// Switch on or off that members open one another.
    SetPeerUnseal = "SealService"."SetPeerUnseal", Mutate;
    /// Let a voter have the root key from another member once.
    ApproveUnseal = "SealService"."ApproveUnseal", Mutate;
    /// A member hands the root key to a voter that has restarted.
    ReleaseRoot = "SealService"."ReleaseRoot", Mutate;
    /// Take back what `ApproveUnseal` has allowed.
    CancelApproval = "SealService"."CancelApproval", Mutate;
    /// Read the public half of a version.
    GetPublicKey = "KeyService"."GetPublicKey", Read;
    /// Sign a message or its digest with a version of a key, the primary one unless another is named.
    Sign = "CryptoService"."Sign", Use;
    /// Check a signature by a version.
    Verify = "CryptoService"."Verify", Use;
    /// Make a message authentication code with a version of a key, the primary one unless another is named.
    GenerateMac = "CryptoService"."GenerateMac", Use;
    /// Check a message authentication code by a version.
    VerifyMac = "CryptoService"."VerifyMac", Use;
    /// Decrypt what was encrypted to the public half of a version.
    AsymmetricDecrypt = "CryptoService"."AsymmetricDecrypt", Use;
    /// Give a key another name.
    CreateAlias = "KeyService"."CreateAlias", Mutate;
    /// Give such a name to another key.
    UpdateAlias = "KeyService"."UpdateAlias", Mutate;
    /// Take such a name away.
    DeleteAlias = "KeyService"."DeleteAlias", Mutate;
    /// Read which key an alias stands for.
    GetAlias = "KeyService"."GetAlias", Read;
    /// List the aliases of a namespace.
    ListAliases = "KeyService"."ListAliases", Read;
    /// Make a pre-active version the primary one.
    ActivateKeyVersion = "KeyService"."ActivateKeyVersion", Mutate;
    /// Take back that a key, or one version, is about to be destroyed.
    RestoreKey = "KeyService"."RestoreKey", Mutate;
    /// Close a namespace and have its key-encryption key destroyed, and with it everything under it.
    DestroyNamespace = "NamespaceService"."DestroyNamespace", Mutate;
    /// Take back that a namespace is about to be destroyed.
    RestoreNamespace = "NamespaceService"."RestoreNamespace", Mutate;
    /// Confirm a step of state time: destructions that it has made due are carried out.
    ConfirmTime = "ClusterService"."ConfirmTime", Mutate;
    /// A node has a block of a version's use handed out to it.
    LeaseUsage = "ClusterService"."LeaseUsage", Mutate;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_actions() {
        for action in Action::ALL {
            assert_eq!(Action::parse(action.as_str()), Some(*action));
        }
        assert_eq!(Action::parse("KeyService.Explode"), None);
    }
}

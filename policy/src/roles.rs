//! What each role may do, as a table. `policy/tests/authz-matrix.txt` shows what follows from it.

use types::{Action, Role};

/// What an admin may do: everything that a person or automation ever does.
const ADMIN: &[Action] = &[
    Action::CreateKey,
    Action::ListKeys,
    Action::GetKey,
    Action::ListKeyVersions,
    Action::UpdateKey,
    Action::RotateKey,
    Action::EnableKey,
    Action::DisableKey,
    Action::DestroyKey,
    Action::ActivateKeyVersion,
    Action::RestoreKey,
    Action::Encrypt,
    Action::Decrypt,
    Action::GenerateDataKey,
    Action::ReEncrypt,
    Action::GetPublicKey,
    Action::Sign,
    Action::Verify,
    Action::GenerateMac,
    Action::VerifyMac,
    Action::AsymmetricDecrypt,
    Action::CreateAlias,
    Action::UpdateAlias,
    Action::DeleteAlias,
    Action::GetAlias,
    Action::ListAliases,
    Action::CreateEntry,
    Action::UpdateEntry,
    Action::DeleteEntry,
    Action::GetEntry,
    Action::ListEntries,
    Action::ListAgents,
    Action::RevokeAgent,
    Action::ListAuthorities,
    Action::GetClusterStatus,
    Action::CreateJoinToken,
    Action::SetLease,
    Action::ResetTime,
    Action::ConfirmTime,
    Action::TransferLeader,
    Action::DrainNode,
    Action::RemoveNode,
    Action::PromoteNode,
    Action::UpgradeCluster,
    Action::CreateBackup,
    Action::ListBackups,
    Action::CreateNamespace,
    Action::UpdateNamespace,
    Action::ReleaseNamespace,
    Action::DestroyNamespace,
    Action::RestoreNamespace,
    Action::GetNamespace,
    Action::ListNamespaces,
    Action::EnrolOperator,
    Action::RevokeOperator,
    Action::ListOperators,
    Action::GrantRole,
    Action::RevokeRole,
    Action::ListBindings,
    Action::Unseal,
    Action::Seal,
    Action::GetSealStatus,
    Action::Rekey,
    Action::CancelRekey,
    Action::GetRootKey,
    Action::SetPeerUnseal,
    Action::ApproveUnseal,
    Action::CancelApproval,
    Action::AddSeal,
    Action::DropSeal,
    Action::ListRecords,
    Action::TailRecords,
    Action::SearchRecords,
    Action::GetHead,
];

/// What an auditor may do: read everything, change and use nothing.
const AUDITOR: &[Action] = &[
    Action::ListKeys,
    Action::GetKey,
    Action::ListKeyVersions,
    Action::GetPublicKey,
    Action::GetAlias,
    Action::ListAliases,
    Action::GetEntry,
    Action::ListEntries,
    Action::ListAgents,
    Action::ListAuthorities,
    Action::GetClusterStatus,
    Action::GetNamespace,
    Action::ListNamespaces,
    Action::ListOperators,
    Action::ListBindings,
    Action::GetSealStatus,
    Action::GetRootKey,
    Action::ListRecords,
    Action::TailRecords,
    Action::SearchRecords,
    Action::GetHead,
];

/// The actions of a role, where its binding holds.
#[must_use]
pub const fn actions(role: Role) -> &'static [Action] {
    use Action as A;
    match role {
        Role::Admin => ADMIN,
        Role::KeyAdmin => &[
            A::CreateKey,
            A::ListKeys,
            A::GetKey,
            A::ListKeyVersions,
            A::UpdateKey,
            A::RotateKey,
            A::EnableKey,
            A::DisableKey,
            A::ActivateKeyVersion,
            A::GetPublicKey,
            A::CreateAlias,
            A::UpdateAlias,
            A::DeleteAlias,
            A::GetAlias,
            A::ListAliases,
            A::GetNamespace,
        ],
        Role::KeyUser => &[
            A::ListKeys,
            A::GetKey,
            A::Encrypt,
            A::Decrypt,
            A::GenerateDataKey,
            A::ReEncrypt,
            A::GetPublicKey,
            A::Sign,
            A::Verify,
            A::GenerateMac,
            A::VerifyMac,
            A::AsymmetricDecrypt,
            A::GetAlias,
            A::ListAliases,
            A::GetNamespace,
        ],
        Role::KeyEncrypter => &[A::GetKey, A::GetAlias, A::Encrypt, A::GenerateDataKey],
        Role::EntryAdmin => &[
            A::CreateEntry,
            A::UpdateEntry,
            A::DeleteEntry,
            A::GetEntry,
            A::ListEntries,
            A::ListAgents,
            A::GetNamespace,
        ],
        Role::Auditor => AUDITOR,
        Role::KeySigner => &[A::GetKey, A::GetPublicKey, A::GetAlias, A::Sign, A::GenerateMac],
        Role::KeyVerifier => &[A::GetKey, A::GetPublicKey, A::GetAlias, A::Verify, A::VerifyMac],
    }
}

/// What anybody with a credential in good standing may do.
pub const EVERYBODY: &[Action] = &[Action::GetBundle, Action::WhoAmI];

/// What a node does by itself. Which node it may speak for is decided beside this.
pub const NODE: &[Action] = &[
    Action::RotateKey,
    Action::DestroyKey,
    Action::DestroyNamespace,
    Action::AdvanceAuthority,
    Action::ReportNode,
    Action::RemoveNode,
    Action::ReportErasure,
    Action::LeaseUsage,
    Action::SettleDeparture,
    Action::AdvanceRootKey,
    Action::ReleaseRoot,
    Action::CancelApproval,
];

/// What an agent does for its own entries.
pub const AGENT: &[Action] = &[Action::WatchAgent, Action::AckBundle, Action::IssueSvid];

/// What the bearer of a join token does, once.
pub const JOIN_TOKEN: &[Action] = &[Action::RedeemAgentToken, Action::RedeemNodeToken];

/// What whoever may open the admin socket of a node without a cluster does.
pub const LOCAL_ADMIN: &[Action] = &[Action::Init];

/// What whoever has opened a node's seal does.
pub const SEAL: &[Action] = &[Action::RecoverOperator];

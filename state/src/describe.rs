//! A command in the words of an audit record: which call, on what, with which outcome.

use audit::Outcome;
use types::{Action, Reason, Refusal};

use crate::command::{Command, JoinKind, Release, Reply};

/// The call that proposes the command.
pub(crate) const fn action(command: &Command) -> Action {
    use Command as C;
    match command {
        C::Init { .. } => Action::Init,
        C::CreateNamespace { .. } => Action::CreateNamespace,
        C::UpdateNamespace { .. } => Action::UpdateNamespace,
        C::EnrolOperator { .. } => Action::EnrolOperator,
        C::RevokeOperator { .. } => Action::RevokeOperator,
        C::GrantRole(_) => Action::GrantRole,
        C::RevokeRole(_) => Action::RevokeRole,
        C::CreateJoinToken { .. } => Action::CreateJoinToken,
        C::RedeemNodeToken { .. } => Action::RedeemNodeToken,
        C::RedeemAgentToken { .. } => Action::RedeemAgentToken,
        C::RevokeAgent { .. } => Action::RevokeAgent,
        C::AckBundle { .. } => Action::AckBundle,
        C::CreateKey { .. } => Action::CreateKey,
        C::UpdateKey { .. } => Action::UpdateKey,
        C::AddKeyVersion { .. } => Action::RotateKey,
        C::SetKeyEnabled { enabled: true, .. } => Action::EnableKey,
        C::SetKeyEnabled { enabled: false, .. } => Action::DisableKey,
        C::CreateEntry { .. } => Action::CreateEntry,
        C::UpdateEntry { .. } => Action::UpdateEntry,
        C::DeleteEntry { .. } => Action::DeleteEntry,
        C::PublishAuthority { .. } | C::AdvanceAuthority { .. } => Action::AdvanceAuthority,
        C::ReportNode(_) => Action::ReportNode,
        C::RemoveNode { .. } => Action::RemoveNode,
        C::SettleDeparture { .. } => Action::SettleDeparture,
        C::PromoteNode { .. } => Action::PromoteNode,
        C::RaiseVersion { .. } => Action::UpgradeCluster,
        C::SetLease { .. } | C::SettleLease { .. } => Action::SetLease,
        C::ResetTime => Action::ResetTime,
        C::OpenGeneration { .. } => Action::OpenGeneration,
        C::ReleaseNamespace { .. } => Action::ReleaseNamespace,
        C::DestroyKey { .. } => Action::DestroyKey,
        C::ReportErasure { .. } => Action::ReportErasure,
        C::BeginRekey { .. } => Action::Rekey,
        C::CancelRekey => Action::CancelRekey,
        C::StageRoot { .. } | C::ConfirmRoot { .. } | C::ActivateRoot { .. } => Action::AdvanceRootKey,
        C::RecoverOperator { .. } => Action::RecoverOperator,
        C::SetPeerUnseal { .. } => Action::SetPeerUnseal,
        C::ApproveUnseal { .. } => Action::ApproveUnseal,
        C::ReleaseRoot(_) => Action::ReleaseRoot,
        C::CancelApproval { .. } => Action::CancelApproval,
        C::CreateAlias { .. } => Action::CreateAlias,
        C::UpdateAlias { .. } => Action::UpdateAlias,
        C::DeleteAlias { .. } => Action::DeleteAlias,
        C::AddPreActiveVersion { .. } => Action::RotateKey,
        C::ActivateVersion { .. } => Action::ActivateKeyVersion,
        C::RestoreKey { .. } => Action::RestoreKey,
        C::CarryOutDestruction { .. } => Action::DestroyKey,
        C::DestroyNamespace { .. } | C::CarryOutNamespaceDestruction { .. } => Action::DestroyNamespace,
        C::RestoreNamespace { .. } => Action::RestoreNamespace,
        C::ConfirmTime { .. } => Action::ConfirmTime,
        C::LeaseUsage { .. } => Action::LeaseUsage,
    }
}

/// The full name of what it is about; empty when it has none.
pub(crate) fn resource(command: &Command) -> String {
    use Command as C;
    match command {
        C::Init { cluster, .. } => format!("clusters/{cluster}"),
        C::CreateNamespace { name, .. }
        | C::UpdateNamespace { name, .. }
        | C::DestroyNamespace { name, .. }
        | C::RestoreNamespace { name }
        | C::CarryOutNamespaceDestruction { name }
        | C::ReleaseNamespace { name } => format!("namespaces/{name}"),
        C::EnrolOperator { name, .. } | C::RevokeOperator { name } | C::RecoverOperator { name, .. } => {
            format!("operators/{name}")
        }
        C::GrantRole(binding) | C::RevokeRole(binding) => binding.scope.to_string(),
        C::CreateJoinToken { id, .. } => format!("tokens/{id}"),
        C::RedeemNodeToken { token, .. } | C::RedeemAgentToken { token, .. } => format!("tokens/{token}"),
        C::RevokeAgent { name } | C::AckBundle { agent: name, .. } => format!("agents/{name}"),
        C::CreateKey { namespace, name, .. }
        | C::UpdateKey { namespace, name, .. }
        | C::AddPreActiveVersion { namespace, name, .. }
        | C::AddKeyVersion { namespace, name, .. } => format!("namespaces/{namespace}/keys/{name}"),
        C::SetKeyEnabled { namespace, name, version: None, .. }
        | C::RestoreKey { namespace, name, version: None }
        | C::CarryOutDestruction { namespace, name, version: None }
        | C::DestroyKey { namespace, name, version: None, .. } => format!("namespaces/{namespace}/keys/{name}"),
        C::SetKeyEnabled { namespace, name, version: Some(version), .. }
        | C::RestoreKey { namespace, name, version: Some(version) }
        | C::CarryOutDestruction { namespace, name, version: Some(version) }
        | C::ActivateVersion { namespace, name, version }
        | C::LeaseUsage { namespace, name, version, .. }
        | C::DestroyKey { namespace, name, version: Some(version), .. } => {
            format!("namespaces/{namespace}/keys/{name}/versions/{version}")
        }
        C::CreateEntry { namespace, name, .. }
        | C::UpdateEntry { namespace, name, .. }
        | C::DeleteEntry { namespace, name } => format!("namespaces/{namespace}/entries/{name}"),
        C::PublishAuthority { node, .. }
        | C::RemoveNode { node, .. }
        | C::SettleDeparture { node }
        | C::ReportErasure { node, .. }
        | C::ApproveUnseal { node, .. }
        | C::CancelApproval { node }
        | C::ReleaseRoot(Release { node, .. })
        | C::PromoteNode { node } => {
            format!("nodes/{}", node.0)
        }
        C::RaiseVersion { .. } | C::BeginRekey { .. } | C::CancelRekey | C::SetPeerUnseal { .. } => {
            "cluster".to_owned()
        }
        C::StageRoot { epoch, .. } | C::ConfirmRoot { epoch, .. } | C::ActivateRoot { epoch, .. } => {
            format!("root-keys/{epoch}")
        }
        C::AdvanceAuthority { authority, .. } => format!("authorities/{authority}"),
        C::ReportNode(report) => format!("nodes/{}", report.node.0),
        C::SetLease { .. }
        | C::SettleLease { .. }
        | C::ResetTime
        | C::ConfirmTime { .. }
        | C::OpenGeneration { .. } => "cluster".to_owned(),
        C::CreateAlias { namespace, name, .. }
        | C::UpdateAlias { namespace, name, .. }
        | C::DeleteAlias { namespace, name } => format!("namespaces/{namespace}/aliases/{name}"),
    }
}

/// Denied: the caller may not, or proved nothing. Failed: it might have, but this did not succeed.
pub(crate) const fn outcome(reply: &Result<Reply, Refusal>) -> Outcome {
    match reply {
        Ok(_) => Outcome::Allow,
        Err(Refusal { reason, .. }) => match reason {
            Reason::PermissionDenied
            | Reason::TokenRejected
            | Reason::CredentialRejected
            | Reason::OutsideNamespace => Outcome::Deny(*reason),
            _ => Outcome::Fail(*reason),
        },
    }
}

/// Whom a token admits, in words.
pub(crate) fn join_kind(kind: &JoinKind) -> String {
    match kind {
        JoinKind::Node => "node".to_owned(),
        JoinKind::Agent(name) => format!("agents/{name}"),
        JoinKind::Replacement(old) => format!("node in place of nodes/{}", old.0),
    }
}

//! A decision binds only while what it read still stands (invariant 5): the revisions it was made at are compared with
//! those of now. A revocation at index n so binds everything after n, on every node.

use types::{Basis, NamespaceName, Reason, Refusal, Revision, Time};

use crate::State;
use crate::command::{Command, Proposal};

impl State {
    /// The revisions a decision about `command` rests on now. Read it before the decision, from the same state.
    #[must_use]
    pub fn basis(&self, command: &Command, valid_until: Time) -> Basis {
        Basis {
            global: self.progress().global,
            namespace: namespace_of(command).map_or(Revision::NONE, |name| self.namespace_revision(name)),
            resource: self.resource_revision(command),
            valid_until,
        }
    }

    /// The revision of what the command changes; `NONE` when it does not exist.
    #[must_use]
    pub fn resource_revision(&self, command: &Command) -> Revision {
        use Command as C;
        let found = match command {
            C::CreateNamespace { name, .. }
            | C::UpdateNamespace { name, .. }
            | C::DestroyNamespace { name, .. }
            | C::RestoreNamespace { name }
            | C::ReleaseNamespace { name } => self.namespace(name).map(|row| row.revision),
            C::EnrolOperator { name, .. } | C::RevokeOperator { name } => self.operator(name).map(|row| row.revision),
            C::GrantRole(binding) | C::RevokeRole(binding) => {
                self.binding_table().get(binding).map(|granted| granted.revision)
            }
            C::RevokeAgent { name } | C::AckBundle { agent: name, .. } => self.agent(name).map(|row| row.revision),
            C::CreateKey { namespace, name, .. }
            | C::UpdateKey { namespace, name, .. }
            | C::AddKeyVersion { namespace, name, .. }
            | C::DestroyKey { namespace, name, .. }
            | C::RestoreKey { namespace, name, .. }
            | C::AddPreActiveVersion { namespace, name, .. }
            | C::ActivateVersion { namespace, name, .. }
            | C::SetKeyEnabled { namespace, name, .. } => self.key(namespace, name).map(|key| key.revision),
            C::CreateEntry { namespace, name, .. }
            | C::UpdateEntry { namespace, name, .. }
            | C::DeleteEntry { namespace, name } => self.entry(namespace, name).map(ca::Entry::revision),
            C::CreateAlias { namespace, name, .. }
            | C::UpdateAlias { namespace, name, .. }
            | C::DeleteAlias { namespace, name } => self.alias(namespace, name).map(|row| row.revision),
            C::RemoveNode { node, .. } | C::PromoteNode { node } => self.node(*node).map(|row| row.revision),
            C::RaiseVersion { .. } => self.version_row().get(&()).map(|row| row.revision),
            C::SetLease { .. } => Some(self.settings().revision),
            C::BeginRekey { .. } | C::CancelRekey => self.root_keys().map(|row| row.revision),
            C::SetPeerUnseal { .. } | C::ApproveUnseal { .. } | C::CancelApproval { .. } => {
                self.peer_unseal().map(|row| row.revision)
            }
            C::Init { .. }
            | C::SettleLease { .. }
            | C::ResetTime
            | C::ConfirmTime { .. }
            | C::CarryOutDestruction { .. }
            | C::CarryOutNamespaceDestruction { .. }
            | C::OpenGeneration { .. }
            | C::ReportErasure { .. }
            | C::SettleDeparture { .. }
            | C::CreateJoinToken { .. }
            | C::RedeemNodeToken { .. }
            | C::RedeemAgentToken { .. }
            | C::PublishAuthority { .. }
            | C::AdvanceAuthority { .. }
            | C::ReportNode(_)
            | C::LeaseUsage { .. }
            | C::StageRoot { .. }
            | C::ConfirmRoot { .. }
            | C::ActivateRoot { .. }
            | C::RecoverOperator { .. }
            | C::ReleaseRoot(_) => None,
        };
        found.unwrap_or(Revision::NONE)
    }
}

/// Refuses a proposal whose decision no longer binds.
pub(crate) fn check(state: &State, proposal: &Proposal) -> Result<(), Refusal> {
    let Some(basis) = proposal.basis else { return Ok(()) };
    if state.time() >= basis.valid_until {
        return stale("the decision is too old");
    }
    let Basis { global, namespace, resource, valid_until: _ } = state.basis(&proposal.command, basis.valid_until);
    if global != basis.global {
        return stale("principals, nodes or cluster-wide roles have changed");
    }
    if namespace != basis.namespace {
        return stale("the namespace's settings or roles have changed");
    }
    if resource != basis.resource {
        return stale("the resource has changed");
    }
    Ok(())
}

/// The namespace that a command is about.
pub(crate) const fn namespace_of(command: &Command) -> Option<&NamespaceName> {
    use Command as C;
    match command {
        C::UpdateNamespace { name: namespace, .. }
        | C::ReleaseNamespace { name: namespace }
        | C::DestroyNamespace { name: namespace, .. }
        | C::RestoreNamespace { name: namespace }
        | C::CreateKey { namespace, .. }
        | C::UpdateKey { namespace, .. }
        | C::AddKeyVersion { namespace, .. }
        | C::SetKeyEnabled { namespace, .. }
        | C::DestroyKey { namespace, .. }
        | C::RestoreKey { namespace, .. }
        | C::AddPreActiveVersion { namespace, .. }
        | C::ActivateVersion { namespace, .. }
        | C::CreateEntry { namespace, .. }
        | C::UpdateEntry { namespace, .. }
        | C::DeleteEntry { namespace, .. }
        | C::CreateAlias { namespace, .. }
        | C::UpdateAlias { namespace, .. }
        | C::DeleteAlias { namespace, .. } => Some(namespace),
        C::GrantRole(binding) | C::RevokeRole(binding) => match &binding.scope {
            types::Scope::Namespace(namespace) => Some(namespace),
            types::Scope::Cluster => None,
        },
        C::Init { .. }
        | C::CreateNamespace { .. }
        | C::EnrolOperator { .. }
        | C::RevokeOperator { .. }
        | C::CreateJoinToken { .. }
        | C::RedeemNodeToken { .. }
        | C::RedeemAgentToken { .. }
        | C::RevokeAgent { .. }
        | C::AckBundle { .. }
        | C::PublishAuthority { .. }
        | C::AdvanceAuthority { .. }
        | C::ReportNode(_)
        | C::LeaseUsage { .. }
        | C::SetLease { .. }
        | C::SettleLease { .. }
        | C::ResetTime
        | C::ConfirmTime { .. }
        | C::CarryOutDestruction { .. }
        | C::CarryOutNamespaceDestruction { .. }
        | C::OpenGeneration { .. }
        | C::ReportErasure { .. }
        | C::SettleDeparture { .. }
        | C::RemoveNode { .. }
        | C::PromoteNode { .. }
        | C::RaiseVersion { .. }
        | C::BeginRekey { .. }
        | C::CancelRekey
        | C::StageRoot { .. }
        | C::ConfirmRoot { .. }
        | C::ActivateRoot { .. }
        | C::RecoverOperator { .. }
        | C::SetPeerUnseal { .. }
        | C::ApproveUnseal { .. }
        | C::CancelApproval { .. }
        | C::ReleaseRoot(_) => None,
    }
}

fn stale(what: &str) -> Result<(), Refusal> {
    Err(Refusal::new(Reason::Stale, format!("{what} since this was decided, try again")))
}

//! Which changes take a right away. They are acknowledged only when no node can serve the state before them: the leader
//! puts up a fence (docs/spec/lease.md §2). A new command cannot be added without saying what it is.

use crate::command::{AuthorityStep, Command};

impl Command {
    /// Whether somebody may do less after it than before, so that a node which has not applied it would serve too much.
    #[must_use]
    pub const fn takes_away(&self) -> bool {
        match self {
            // A key or a version stops being usable.
            Self::SetKeyEnabled { enabled: false, .. }
            // Its material is gone.
            | Self::DestroyKey { .. }
            // A node stops serving and signing: at once when it applies this, and when it is cut off with the end of its lease.
            | Self::RemoveNode { .. }
            // A principal stops being recognised.
            | Self::RevokeOperator { .. }
            | Self::RevokeAgent { .. }
            // An enrolment may be prolonged with an earlier end.
            | Self::EnrolOperator { .. }
            | Self::RevokeRole(_)
            // An identity is no longer issued, or to others, or with other names.
            | Self::DeleteEntry { .. }
            | Self::UpdateEntry { .. }
            // A name stands for another key, or for none: whoever is told so must not find the old one in use.
            | Self::UpdateAlias { .. }
            | Self::DeleteAlias { .. }
            // A DNS suffix may be taken back.
            | Self::UpdateNamespace { .. } => true,

            // These only add.
            Self::Init { .. }
            | Self::CreateNamespace { .. }
            | Self::GrantRole(_)
            // No operator that there is changes with it.
            | Self::RecoverOperator { .. }
            // A release is an entry too: whatever is switched off before it refuses it.
            | Self::SetPeerUnseal { .. }
            | Self::ApproveUnseal { .. }
            | Self::CancelApproval { .. }
            | Self::ReleaseRoot(_)
            | Self::CreateJoinToken { .. }
            | Self::CreateKey { .. }
            | Self::CreateAlias { .. }
            | Self::SetKeyEnabled { enabled: true, .. }
            | Self::CreateEntry { .. }
            // The versions before stay usable.
            | Self::AddKeyVersion { .. }
            // When a key rotates next is nobody's right.
            | Self::UpdateKey { .. }
            | Self::PromoteNode { .. }
            | Self::RaiseVersion { .. }
            // Which key wraps is nobody's right.
            | Self::BeginRekey { .. }
            | Self::CancelRekey
            | Self::StageRoot { .. }
            | Self::ConfirmRoot { .. }
            | Self::ActivateRoot { .. }
            // Fences reckon with the longer lease, and with every clock.
            | Self::SetLease { .. }
            | Self::SettleLease { .. }
            | Self::ResetTime
            | Self::ReleaseNamespace { .. }
            | Self::SettleDeparture { .. }
            // No node of the new life runs yet.
            | Self::OpenGeneration { .. }
            // A node's or agent's own word.
            | Self::RedeemNodeToken { .. }
            | Self::AckBundle { .. }
            | Self::PublishAuthority { .. }
            | Self::ReportNode(_)
            | Self::ReportErasure { .. }
            // An agent's new key replaces its old one. The agent waits for an identity, and who wants an end bans it.
            | Self::RedeemAgentToken { .. } => false,
            Self::AdvanceAuthority { step, .. } => step.takes_away(),
        }
    }
}

impl AuthorityStep {
    /// Nobody is answered: whoever leads does it, and each node judges its own authority by its own clock as well.
    const fn takes_away(self) -> bool {
        match self {
            Self::Activate | Self::Drain | Self::Retire => false,
        }
    }
}

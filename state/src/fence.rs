//! Which changes take a right away. They are acknowledged only when no node can serve the state before them: the leader
//! puts up a fence (docs/spec/lease.md §2). A new command cannot be added without saying what it is.

use crate::command::{AuthorityStep, Command};

impl Command {
    /// Whether somebody may do less after it than before, so that a node which has not applied it would serve too much.
    #[must_use]
    pub const fn takes_away(&self) -> bool {
        match self {
            Self::SetKeyEnabled { enabled: false, .. } // A key or a version stops being usable.
            | Self::DestroyKey { .. } // For good, now or later.
            | Self::DestroyNamespace { .. } // All that is in it.
            // A node stops serving and signing: at once when it applies this, and when it is cut off with the end of its lease.
            | Self::RemoveNode { .. }
            | Self::RevokeOperator { .. } // A principal stops being recognised.
            | Self::RevokeAgent { .. }
            | Self::EnrolOperator { .. } // An enrolment may be prolonged with an earlier end.
            | Self::RevokeRole(_)
            | Self::DeleteEntry { .. } // An identity is no longer issued, or to others, or with other names.
            | Self::UpdateEntry { .. }
            // A name stands for another key, or for none: whoever is told so must not find the old one in use.
            | Self::UpdateAlias { .. }
            | Self::DeleteAlias { .. }
            | Self::UpdateNamespace { .. } => true, // A DNS suffix may be taken back.

            Self::Init { .. } // These only add.
            | Self::CreateNamespace { .. }
            | Self::GrantRole(_)
            | Self::RecoverOperator { .. } // No operator that there is changes with it.
            | Self::SetPeerUnseal { .. } // A release is an entry too: whatever is switched off before it refuses it.
            | Self::ApproveUnseal { .. }
            | Self::CancelApproval { .. }
            | Self::ReleaseRoot(_)
            | Self::CreateJoinToken { .. }
            | Self::CreateKey { .. }
            | Self::CreateAlias { .. }
            | Self::SetKeyEnabled { enabled: true, .. }
            | Self::CreateEntry { .. }
            | Self::AddKeyVersion { .. } // The versions before stay usable.
            | Self::AddPreActiveVersion { .. }
            | Self::ActivateVersion { .. }
            | Self::CarryOutDestruction { .. } // It was taken away when it was asked for.
            | Self::CarryOutNamespaceDestruction { .. }
            | Self::RestoreKey { .. }
            | Self::RestoreNamespace { .. }
            | Self::PromoteNode { .. }
            | Self::RaiseVersion { .. }
            | Self::BeginRekey { .. } // Which key wraps is nobody's right.
            | Self::CancelRekey
            | Self::StageRoot { .. }
            | Self::ConfirmRoot { .. }
            | Self::ActivateRoot { .. }
            | Self::SetLease { .. } // Fences reckon with the longer lease, and with every clock.
            | Self::SettleLease { .. }
            | Self::ResetTime
            | Self::ConfirmTime { .. }
            | Self::ReleaseNamespace { .. }
            | Self::SettleDeparture { .. }
            | Self::OpenGeneration { .. } // No node of the new life runs yet.
            | Self::RedeemNodeToken { .. } // A node's or agent's own word.
            | Self::AckBundle { .. }
            | Self::PublishAuthority { .. }
            | Self::ReportNode(_)
            | Self::ReportErasure { .. }
            | Self::LeaseUsage { .. } // Nobody else had it.
            // An agent's new key replaces its old one. The agent waits for an identity, and who wants an end bans it.
            | Self::RedeemAgentToken { .. } => false,
            Self::UpdateKey { change, .. } => change.takes_away(),
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

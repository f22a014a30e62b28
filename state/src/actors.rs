//! Whose commands are whose, whatever policy says: a node speaks for itself, an agent acknowledges for itself, a token's
//! bearer redeems, and everybody else brings the decision that allowed it. A second lock behind `policy`, in the log.

use types::{Principal, Reason, Refusal};

use crate::command::{Command, Proposal};

/// Refuses a command that its actor can never propose.
pub(crate) fn check(proposal: &Proposal) -> Result<(), Refusal> {
    let Proposal { actor, basis, command, .. } = proposal;
    let may = match command {
        Command::Init { .. } | Command::OpenGeneration { .. } => *actor == Principal::LocalAdmin,
        Command::RedeemNodeToken { .. } | Command::RedeemAgentToken { .. } => *actor == Principal::JoinToken,
        Command::ReleaseRoot(release) => *actor == Principal::Node(release.by),
        // Sealed by hand, a node drops what would open it again.
        Command::CancelApproval { node } if matches!(actor, Principal::Node(_)) => *actor == Principal::Node(*node),
        // A request id, for the proof is brought again with each retry and must enrol nobody else.
        Command::RecoverOperator { .. } => *actor == Principal::Seal && proposal.request.is_some(),
        Command::ReportNode(report) => *actor == Principal::Node(report.node),
        Command::PublishAuthority { node, .. }
        | Command::ReportErasure { node, .. }
        | Command::ConfirmRoot { node, .. } => *actor == Principal::Node(*node),
        // The leader asks state what is due, and `apply` checks that it is.
        Command::StageRoot { .. } | Command::ActivateRoot { .. } => matches!(actor, Principal::Node(_)),
        Command::AdvanceAuthority { .. }
        | Command::SettleLease { .. }
        | Command::SettleDeparture { .. }
        | Command::CarryOutDestruction { .. }
        | Command::CarryOutNamespaceDestruction { .. } => matches!(actor, Principal::Node(_)),
        // The leader removes whom a replacement was admitted for; `nodes::remove` checks that there is one.
        Command::RemoveNode { .. } if matches!(actor, Principal::Node(_)) => true,
        Command::AckBundle { agent, .. } => *actor == Principal::Agent(agent.clone()),
        Command::LeaseUsage { node, .. } => *actor == Principal::Node(*node),
        Command::AddKeyVersion { cause: kms::RotationCause::Schedule | kms::RotationCause::Count, .. } => {
            matches!(actor, Principal::Node(_))
        }
        _ => matches!(actor, Principal::Operator(_) | Principal::Workload(_)) && basis.is_some(),
    };
    if may {
        return Ok(());
    }
    Err(Refusal::new(Reason::PermissionDenied, format!("`{actor}` may not propose this change")))
}

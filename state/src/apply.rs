//! The state machine, top to bottom: read this page first.
//!
//! [`State::apply`] is deterministic: time, actor, request id, ids and wrapped bytes are in the entry, deadlines are judged
//! by state time. An entry passes five steps: is it a retry → does its decision still bind → its handler → its audit
//! record → the log's frontier. A refused entry changes nothing but the memory of its request and the audit log.
//! Nothing here decides who may do what: `policy` did, before the entry was proposed, and what it read is compared here.

use audit::{Detail, Event, LogName};
use types::{Reason, Refusal};

use crate::command::{Command, Entry, Proposal, Reply};
use crate::handlers::{
    agents, aliases, authorities, destroy, entries, formation, keys, members, namespace_ends, namespaces, nodes,
    operators, peer_unseal, restore, roles, root_keys, settings, tokens, usage,
};
use crate::outcome::{AuditLeaf, Effect, Outcome};
use crate::requests::{self, Recall};
use crate::turn::{Handled, Turn};
use crate::{State, actors, describe, revisions};

/// An entry's answer on its way to the record.
struct Answer {
    reply: Result<Reply, Refusal>,
    effects: Vec<Effect>,
    detail: Detail,
}

impl State {
    /// Applies one entry of the log. Entries come in ascending order of their index, each once.
    pub fn apply(&mut self, entry: &Entry) -> Outcome {
        let Entry { index, proposal } = entry;
        if *index <= self.index() {
            // The log hands out each index once; a second time is a fault of the caller that must not become a second change.
            let message = format!("entry {index} has been applied already, the state is at {}", self.index());
            return Outcome { reply: Err(Refusal::new(Reason::Internal, message)), record: None, effects: Vec::new() };
        }
        self.progress_mut().index = *index;
        let answer = match requests::recall(self, proposal) {
            Recall::Fresh => {
                let answer = self.carry_out(*index, proposal);
                requests::remember(self, proposal, &answer.reply, *index);
                answer
            }
            Recall::Answered { outcome, index } => {
                Answer { reply: outcome, effects: Vec::new(), detail: Detail::new().count("repeats_entry", index) }
            }
            Recall::Refused(refusal) => Answer::refused(refusal),
        };
        let record = self.record(proposal, &answer);
        Outcome { reply: answer.reply, record, effects: answer.effects }
    }

    /// Everything that is not a retry.
    fn carry_out(&mut self, index: u64, proposal: &Proposal) -> Answer {
        let admitted = self
            .check_formed(&proposal.command)
            .and_then(|()| actors::check(proposal))
            .and_then(|()| revisions::check(self, proposal));
        if let Err(refusal) = admitted {
            return Answer::refused(refusal);
        }
        let mut turn = Turn {
            now: self.time(),
            reading: self.time().max(proposal.at),
            state: self,
            actor: &proposal.actor,
            revision: types::Revision(index),
            effects: Vec::new(),
            detail: Detail::new(),
        };
        let reply = dispatch(&mut turn, proposal);
        let Turn { effects, detail, .. } = turn;
        Answer { effects: if reply.is_ok() { effects } else { Vec::new() }, reply, detail }
    }

    /// The first entry forms the cluster, and only the first.
    fn check_formed(&self, command: &Command) -> Result<(), Refusal> {
        match (self.is_formed(), matches!(command, Command::Init { .. })) {
            (false, true) | (true, false) => Ok(()),
            (true, true) => Err(Refusal::new(Reason::AlreadyInitialized, "the cluster has been formed already")),
            (false, false) => {
                Err(Refusal::new(Reason::NotInitialized, "the cluster has not been formed yet, run `chancery init`"))
            }
        }
    }

    /// Appends the answer's record to the cluster log (PROTOCOLS: audit). A node's report is an anchor, not an answer; a
    /// stale decision is made again; without a cluster there is no log.
    fn record(&mut self, proposal: &Proposal, answer: &Answer) -> Option<AuditLeaf> {
        let anchors = matches!(proposal.command, Command::ReportNode(_)) && answer.reply.is_ok();
        if anchors || !requests::is_final(&answer.reply) || !self.is_formed() {
            return None;
        }
        let mut event = Event::allowed(self.time(), proposal.actor.clone(), describe::action(&proposal.command));
        event.resource = audit::Text::clipped(&describe::resource(&proposal.command));
        event.outcome = describe::outcome(&answer.reply);
        event.request_id = proposal.request.map(|request| request.id);
        event.detail = answer.detail.clone();
        let frontier = &mut self.progress_mut().audit;
        let record = event.into_record(LogName::Cluster, frontier.size());
        let bytes = record.to_leaf();
        Some(AuditLeaf { index: frontier.push(&bytes), bytes })
    }
}

impl Answer {
    fn refused(refusal: Refusal) -> Self {
        Self { reply: Err(refusal), effects: Vec::new(), detail: Detail::new() }
    }
}

/// Hands each command to its handler.
fn dispatch(turn: &mut Turn<'_>, proposal: &Proposal) -> Handled {
    use Command as C;
    match &proposal.command {
        C::Init { .. } => formation::init(turn, proposal),
        C::CreateNamespace { name, id, settings, kek_wrapped } => {
            namespaces::create(turn, name, *id, settings, kek_wrapped)
        }
        C::UpdateNamespace { name, settings } => namespaces::update(turn, name, settings),
        C::EnrolOperator { name, spki, expires } => operators::enrol(turn, name, *spki, *expires),
        C::RevokeOperator { name } => operators::revoke(turn, name),
        C::RecoverOperator { .. } => operators::recover(turn, &proposal.command),
        C::GrantRole(binding) => roles::grant(turn, binding),
        C::RevokeRole(binding) => roles::revoke(turn, binding),
        C::CreateJoinToken { id, secret_hash, kind, expires } => {
            tokens::create(turn, *id, *secret_hash, kind, *expires)
        }
        C::RedeemNodeToken { token, secret_hash, info, learner } => {
            nodes::redeem(turn, token, secret_hash, info, *learner)
        }
        C::RedeemAgentToken { token, secret_hash, spki, expires } => {
            agents::redeem(turn, token, secret_hash, *spki, *expires)
        }
        C::RevokeAgent { name } => agents::revoke(turn, name),
        C::AckBundle { agent, sequence } => agents::acknowledge(turn, agent, *sequence),
        C::CreateKey { .. }
        | C::UpdateKey { .. }
        | C::AddKeyVersion { .. }
        | C::AddPreActiveVersion { .. }
        | C::ActivateVersion { .. }
        | C::SetKeyEnabled { .. } => keys::handle(turn, &proposal.command),
        C::DestroyKey { .. } | C::RestoreKey { .. } | C::CarryOutDestruction { .. } => {
            destroy::handle(turn, &proposal.command)
        }
        C::DestroyNamespace { .. } | C::RestoreNamespace { .. } | C::CarryOutNamespaceDestruction { .. } => {
            namespace_ends::handle(turn, &proposal.command)
        }
        C::CreateEntry { namespace, name, body } => entries::create(turn, namespace, name, body),
        C::UpdateEntry { namespace, name, body } => entries::update(turn, namespace, name, body),
        C::DeleteEntry { namespace, name } => entries::delete(turn, namespace, name),
        C::PublishAuthority { node, certificate, generated, not_after } => {
            authorities::publish(turn, *node, certificate, *generated, *not_after)
        }
        C::AdvanceAuthority { authority, step } => authorities::advance(turn, authority, *step),
        C::ReportNode(report) => nodes::report(turn, report),
        C::RemoveNode { .. } => members::remove(turn, &proposal.command),
        C::PromoteNode { node } => members::promote(turn, *node),
        C::RaiseVersion { version } => members::raise_version(turn, *version),
        C::SetLease { length } => settings::set_lease(turn, *length),
        C::SettleLease { revision } => settings::settle_lease(turn, *revision),
        C::ResetTime => settings::reset_time(turn),
        C::ConfirmTime { to } => settings::confirm_time(turn, *to),
        C::OpenGeneration { .. } => restore::open_generation(turn, proposal),
        C::ReleaseNamespace { name } => restore::release(turn, name),
        C::LeaseUsage { .. } => usage::lease(turn, &proposal.command),
        C::ReportErasure { node, upto } => destroy::report_erasure(turn, *node, *upto),
        C::SettleDeparture { node } => members::settle_departure(turn, *node),
        C::SetPeerUnseal { .. } | C::ApproveUnseal { .. } | C::CancelApproval { .. } | C::ReleaseRoot(_) => {
            peer_unseal::handle(turn, &proposal.command)
        }
        C::BeginRekey { .. }
        | C::CancelRekey
        | C::StageRoot { .. }
        | C::ConfirmRoot { .. }
        | C::ActivateRoot { .. } => root_keys::handle(turn, &proposal.command),
        C::CreateAlias { .. } | C::UpdateAlias { .. } | C::DeleteAlias { .. } => {
            aliases::handle(turn, &proposal.command)
        }
    }
}

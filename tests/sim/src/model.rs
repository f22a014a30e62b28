//! What must be true, kept apart from the state's own tables: a few plain maps that follow the accepted commands and
//! judge every entry by them.

use std::collections::{BTreeMap, BTreeSet};

use kms::RotationCause;
use state::{Command, Effect, Entry, JoinKind, NodeInfo, Outcome, Reply, State};
use types::limits::REQUEST_ID_PAST_MAX;
use types::{
    Binding, Millis, NamespaceName, NodeId, OperatorName, Principal, Reason, Refusal, RequestId, Role, Scope, SpkiHash,
    Time, TokenId,
};

use crate::aliases::AliasModel;
use crate::keys::{KeysModel, Moment};
use crate::root_keys::RootModel;
use crate::trusted::TrustModel;
use crate::usage::UsageModel;
use crate::world::Tally;

/// A judgement: what is wrong, in words.
type Judged = Result<(), String>;

/// The body of a request, and what was answered.
type Answered = ([u8; 32], Result<Reply, Refusal>);

/// The model.
#[derive(Debug, Default)]
pub struct Model {
    formed: bool,
    global: u64,
    namespaces: BTreeMap<NamespaceName, u64>,
    keys: KeysModel,
    answered: BTreeMap<(Principal, RequestId), Answered>,
    tokens: BTreeMap<TokenId, ([u8; 32], JoinKind, Time)>,
    bindings: BTreeSet<Binding>,
    /// Keys of people and agents that were revoked or replaced.
    gone: BTreeSet<SpkiHash>,
    operators: BTreeMap<Principal, SpkiHash>,
    last_node: u64,
    leaves: u64,
    root_keys: RootModel,
    trust: TrustModel,
    aliases: AliasModel,
    usage: UsageModel,
    /// State time after the last step of more than an hour, while there was more than one member to ask.
    stepped: Option<Time>,
    /// Nobody has confirmed it.
    unconfirmed: bool,
    /// The last enrolment of an admin has ended by itself.
    lapsed: bool,
    /// The farthest that state time ever was.
    farthest: Time,
}

impl Model {
    /// Before the first entry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges one entry by the states around it, then follows it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn judge(&mut self, before: &State, entry: &Entry, outcome: &Outcome, after: &State) -> Judged {
        self.farthest = self.farthest.max(before.time());
        let repeats = self.judge_request(entry, outcome)?;
        let unchanged = before.substance_hash() == after.substance_hash();
        if outcome.reply.is_err() || repeats {
            ensure!(unchanged, "a refused or repeated entry changed the state");
            ensure!(outcome.effects.is_empty(), "a refused or repeated entry has effects");
        }
        self.judge_progress(before, entry, outcome, after)?;
        self.judge_record(before, entry, outcome, after)?;
        if outcome.reply.is_ok() && !repeats {
            self.judge_decision(before, entry)?;
            self.follow(before, entry, outcome, after)?;
        }
        if outcome.reply.is_ok() && !entry.proposal.command.takes_away() {
            judge_rights(before, after, &entry.proposal.command)?;
        }
        self.judge_standing(after, matches!(entry.proposal.command, Command::ReportNode(_)))
    }

    /// Judges a whole state: nothing that was ever made is lost or changed.
    ///
    /// # Errors
    /// What is.
    pub fn check_whole(&self, state: &State) -> Judged {
        self.keys.check_whole(state)?;
        self.usage.check(state)?;
        self.aliases.check(state)
    }

    /// Adds an entry to the tally.
    pub(crate) fn count(&self, entry: &Entry, outcome: &Outcome, tally: &mut Tally) {
        tally.entries += 1;
        match &outcome.reply {
            Ok(_) => tally.accepted += 1,
            Err(refusal) if refusal.reason == Reason::Stale => tally.stale += 1,
            Err(refusal) if refusal.reason == Reason::UsageExhausted => tally.exhausted += 1,
            Err(_) => {}
        }
        let repeats =
            outcome.record.as_ref().is_some_and(|leaf| String::from_utf8_lossy(&leaf.bytes).contains("repeats"));
        tally.repeated += u64::from(repeats);
        let by_schedule =
            matches!(entry.proposal.command, Command::AddKeyVersion { cause: RotationCause::Schedule, .. });
        let rekeyed = matches!(entry.proposal.command, Command::ActivateRoot { .. });
        tally.rekeyed += u64::from(rekeyed && outcome.reply.is_ok());
        tally.scheduled += u64::from(by_schedule && outcome.reply.is_ok());
        let part = match entry.proposal.command {
            Command::ActivateVersion { .. } => &mut tally.activated,
            Command::AddKeyVersion { cause: RotationCause::Count, .. } => &mut tally.counted,
            Command::CarryOutDestruction { .. } | Command::CarryOutNamespaceDestruction { .. } => &mut tally.ended,
            Command::RestoreKey { .. } | Command::RestoreNamespace { .. } => &mut tally.given_back,
            _ => return,
        };
        *part += u64::from(outcome.reply.is_ok());
    }

    /// The same id: the same answer to the same body, none to another. Says whether this entry was such a repeat.
    fn judge_request(&mut self, entry: &Entry, outcome: &Outcome) -> Result<bool, String> {
        let Some(request) = entry.proposal.request else { return Ok(false) };
        let key = (entry.proposal.actor.clone(), request.id);
        if let Some((body, reply)) = self.answered.get(&key) {
            let reason = outcome.reply.as_ref().err().map(|refusal| refusal.reason);
            // A day behind the farthest that state time ever was, it may have been forgotten: refused, never done again.
            if reason == Some(Reason::RequestIdExpired) {
                let outdated = request.id.time().after(REQUEST_ID_PAST_MAX) <= self.farthest;
                ensure!(outdated, "an answer was forgotten too early");
                return Ok(true);
            }
            if *body == request.body {
                ensure!(*reply == outcome.reply, "a retry was answered differently: first {reply:?}");
            } else {
                ensure!(reason == Some(Reason::RequestIdReused), "a request id was used twice");
            }
            return Ok(true);
        }
        let reason = outcome.reply.as_ref().err().map(|refusal| refusal.reason);
        // A stale decision and an id from the future are no answers that bind.
        if !matches!(reason, Some(Reason::Stale | Reason::RequestIdExpired)) {
            self.answered.insert(key, (request.body, outcome.reply.clone()));
        }
        Ok(false)
    }

    fn judge_progress(&mut self, before: &State, entry: &Entry, outcome: &Outcome, after: &State) -> Judged {
        let reset = entry.proposal.command == Command::ResetTime && outcome.reply.is_ok();
        ensure!(after.time() >= before.time() || reset, "state time went back");
        let alone = after.nodes().count() == 1;
        if alone && !reset {
            self.stepped = None;
        } else if self.formed && after.time().since(before.time()) > Millis::from_hours(1) {
            (self.stepped, self.unconfirmed) = (Some(after.time()), true);
        }
        ensure!(after.index() > before.index(), "the index did not go on");
        ensure!(after.global_revision() >= before.global_revision(), "the global revision went back");
        ensure!(after.bundle_sequence() >= before.bundle_sequence(), "the bundle's sequence went back");
        ensure!(after.trust_sequence() >= before.trust_sequence(), "the trust document's sequence went back");
        let roots = |state: &State| state.bundle().map(|bundle| bundle.roots);
        if roots(before) != roots(after) {
            ensure!(after.bundle_sequence() > before.bundle_sequence(), "other roots under the same sequence");
            ensure!(outcome.effects.contains(&Effect::BundleChanged), "other roots and nobody is told");
        }
        Ok(())
    }

    fn judge_record(&mut self, before: &State, entry: &Entry, outcome: &Outcome, after: &State) -> Judged {
        let size = before.audit_frontier().size();
        ensure!(size == self.leaves, "the log's edge is at {size}, {} leaves were made", self.leaves);
        if let Some(leaf) = &outcome.record {
            self.leaves += 1;
            ensure!(leaf.index == size, "leaf {} is not the next one, {size}", leaf.index);
            let record = audit::Record::from_leaf(&leaf.bytes).map_err(|error| error.to_string())?;
            ensure!(record.event.principal == entry.proposal.actor, "the record names somebody else");
            ensure!(record.event.outcome.reason() == outcome.reply.as_ref().err().map(|r| r.reason), "another outcome");
            let mut frontier = before.audit_frontier().clone();
            frontier.push(&leaf.bytes);
            ensure!(frontier == *after.audit_frontier(), "the log's edge is not that of its leaves");
        } else {
            let silent = match &outcome.reply {
                Ok(_) => matches!(entry.proposal.command, Command::ReportNode(_)),
                Err(refusal) => matches!(refusal.reason, Reason::Stale | Reason::NotInitialized),
            };
            ensure!(silent, "an answer without a record");
        }
        ensure!(after.audit_frontier().size() == self.leaves, "the log's edge moved by itself");
        Ok(())
    }

    /// An accepted command was decided on what still stood (invariant 5).
    fn judge_decision(&self, before: &State, entry: &Entry) -> Judged {
        let Some(basis) = entry.proposal.basis else {
            let node =
                matches!(entry.proposal.actor, Principal::Node(_) | Principal::JoinToken | Principal::LocalAdmin);
            // A seal enrols operators and does nothing else.
            let by_seal = entry.proposal.actor == Principal::Seal
                && matches!(entry.proposal.command, Command::RecoverOperator { .. });
            return if node || by_seal { Ok(()) } else { Err("a change without a decision".to_owned()) };
        };
        ensure!(before.time() < basis.valid_until, "a decision bound after its time");
        ensure!(
            basis.global.0 == self.global,
            "decided at {}, but principals changed at {}",
            basis.global.0,
            self.global
        );
        if let Some(namespace) = namespace_of(&entry.proposal.command) {
            let revision = self.namespaces.get(namespace).copied().unwrap_or(0);
            ensure!(basis.namespace.0 == revision, "the namespace had changed at {revision}");
        }
        Ok(())
    }

    /// Follows an accepted command.
    fn follow(&mut self, before: &State, entry: &Entry, outcome: &Outcome, after: &State) -> Judged {
        let (index, now) = (entry.index, before.time());
        self.trust.follow(before, &entry.proposal, after)?;
        self.aliases.follow(&entry.proposal.command, after)?;
        let (stepped, unconfirmed) = (self.stepped, self.unconfirmed);
        let reading = now.max(entry.proposal.at);
        self.keys.follow(&entry.proposal.command, Moment { outcome, now, reading, after, stepped, unconfirmed })?;
        self.usage.follow(&entry.proposal.command, outcome, before, after)?;
        match &entry.proposal.command {
            Command::Init { node, operator, operator_spki, .. } => {
                ensure!(!self.formed, "formed twice");
                (self.formed, self.global, self.last_node) = (true, index, node.0);
                self.root_keys.form();
                self.namespaces.insert(NamespaceName::default_namespace(), index);
                let principal = Principal::Operator(operator.clone());
                self.operators.insert(principal.clone(), *operator_spki);
                self.bindings.insert(Binding { principal, role: Role::Admin, scope: Scope::Cluster });
            }
            Command::CreateNamespace { name, .. }
            | Command::UpdateNamespace { name, .. }
            | Command::DestroyNamespace { name, .. }
            | Command::RestoreNamespace { name }
            | Command::CarryOutNamespaceDestruction { name } => {
                // Asked for twice, a destruction changes nothing.
                self.namespaces.insert(name.clone(), after.namespace(name).map_or(0, |row| row.revision.0));
            }
            Command::GrantRole(binding) => {
                ensure!(self.bindings.insert(binding.clone()), "a role was granted twice");
                self.bound(binding, index);
            }
            Command::RevokeRole(binding) => {
                ensure!(self.bindings.remove(binding), "a role was taken that nobody had");
                self.bound(binding, index);
            }
            Command::EnrolOperator { .. } | Command::RevokeOperator { .. } | Command::RevokeAgent { .. } => {
                self.follow_standing(&entry.proposal.command, index);
            }
            Command::RecoverOperator { name, spki, .. } => self.follow_recovery(name, *spki, index, after)?,
            Command::RedeemNodeToken { info, .. } if before.nodes().any(|(_, node)| node.info == *info) => {
                judge_asked_again(before, info, outcome, after)?;
            }
            Command::CreateJoinToken { .. } | Command::RedeemNodeToken { .. } | Command::RedeemAgentToken { .. } => {
                self.follow_joining(&entry.proposal.command, outcome, index, now)?;
            }
            Command::CreateEntry { namespace, name, .. } | Command::UpdateEntry { namespace, name, .. } => {
                let entry = after.entry(namespace, name).ok_or("an entry that was made is not there")?;
                ensure!(entry.spiffe_id().is_owned_by(namespace), "an entry outside its namespace");
                let delivered = after.entries_of(entry.parent()).any(|(ns, entry, _)| ns == namespace && entry == name);
                ensure!(delivered, "an entry that its agent does not get");
            }
            Command::RemoveNode { .. } | Command::PromoteNode { .. } | Command::RaiseVersion { .. } => {
                self.follow_members(&entry.proposal.command, before, index, after)?;
            }
            command @ (Command::BeginRekey { .. }
            | Command::CancelRekey
            | Command::StageRoot { .. }
            | Command::ConfirmRoot { .. }
            | Command::ActivateRoot { .. }) => self.follow_root_keys(command, before, index)?,
            command @ (Command::ResetTime | Command::ConfirmTime { .. }) => {
                self.global = index;
                self.follow_time(command, before, after)?;
            }
            Command::ReportNode(report) => {
                let shrunk = before.report(report.node).is_some_and(|held| held.audit_size > report.audit_size);
                ensure!(!shrunk, "a node's audit log went back");
            }
            _ => {}
        }
        Ok(())
    }

    /// Under a time that was wrong, decisions were too: each is made again.
    fn follow_time(&mut self, command: &Command, before: &State, after: &State) -> Judged {
        if let Command::ConfirmTime { to } = command {
            let seen = before.time_unconfirmed().is_some_and(|step| step.to == *to);
            ensure!(std::mem::take(&mut self.unconfirmed) && seen, "a step was confirmed that nobody had seen");
            return Ok(());
        }
        ensure!(after.time() < before.time(), "time was reset and did not go back");
        // What is left of a step is as doubtful as the whole.
        let from = before.time_unconfirmed().map(|step| step.from);
        let doubtful = from.is_some_and(|from| after.time().since(from) > Millis::from_hours(1));
        ensure!(after.time_held().is_some() == doubtful, "an hour and more of a step is left and believed");
        (self.stepped, self.unconfirmed) = (doubtful.then(|| after.time()), doubtful);
        Ok(())
    }

    fn follow_root_keys(&mut self, command: &Command, before: &State, index: u64) -> Judged {
        if matches!(command, Command::ActivateRoot { .. }) {
            self.global = index;
        }
        self.root_keys.follow(command, before)
    }

    /// Whoever was removed is gone with its key, its report and its right to sign; somebody always votes.
    fn follow_members(&mut self, command: &Command, before: &State, index: u64, after: &State) -> Judged {
        self.global = index;
        match command {
            Command::RemoveNode { node, audit_closed, forced, compromised } => {
                let row = before.node(*node).ok_or("a node was removed that was not there")?;
                self.gone.insert(row.info.spki);
                ensure!(after.node(*node).is_none() && after.report(*node).is_none(), "a removed node is still there");
                ensure!(!after.voters().is_empty(), "the last voter was removed");
                let signs = |authority: &&ca::Authority| {
                    authority.node == *node && matches!(authority.state, ca::AuthorityState::Active)
                };
                ensure!(after.authorities().find(signs).is_none(), "an authority of a removed node signs");
                let trusted = |authority: &&ca::Authority| {
                    authority.node == *node && matches!(authority.state, ca::AuthorityState::Draining)
                };
                ensure!(
                    !compromised || after.authorities().find(trusted).is_none(),
                    "a compromised authority is not tainted"
                );
                ensure!(
                    after.departed().any(|(departed, _)| departed == *node),
                    "nobody counts the lease of a removed node"
                );
                let anchored = before.report(*node).map_or(0, |report| report.audit_size);
                let known = audit_closed.is_some_and(|size| size <= anchored);
                ensure!(known || *forced, "a node went without the end of its audit log, and nobody forced it");
            }
            Command::PromoteNode { node } => {
                ensure!(after.voters().contains(node), "a promoted node does not vote");
            }
            Command::RaiseVersion { version } => {
                ensure!(*version > before.version(), "the version went back");
                let all = before.nodes().all(|(id, _)| before.report(id).is_some_and(|said| said.supports >= *version));
                ensure!(all, "a version that not every member knows");
            }
            _ => {}
        }
        Ok(())
    }

    fn bound(&mut self, binding: &Binding, index: u64) {
        match &binding.scope {
            Scope::Cluster => self.global = index,
            Scope::Namespace(name) => drop(self.namespaces.insert(name.clone(), index)),
        }
    }

    /// An admin by a seal: nobody that there was is changed.
    fn follow_recovery(&mut self, name: &OperatorName, spki: SpkiHash, index: u64, after: &State) -> Judged {
        let principal = Principal::Operator(name.clone());
        // The only one that may be there already is the one that was recovered with that key.
        let held = self.operators.insert(principal.clone(), spki);
        ensure!(held.is_none_or(|held| held == spki), "a seal has changed an operator that there was");
        ensure!(!self.gone.contains(&spki), "a seal has brought a key back that was spent");
        ensure!(after.recovery(name).is_some(), "a recovery that nobody sees");
        let binding = Binding { principal, role: Role::Admin, scope: Scope::Cluster };
        if held.is_none() {
            ensure!(self.bindings.insert(binding.clone()), "an operator that is new had a role");
            self.bound(&binding, index);
            self.global = index;
        }
        Ok(())
    }

    fn follow_standing(&mut self, command: &Command, index: u64) {
        self.global = index;
        let principal = match command {
            Command::EnrolOperator { name, spki, .. } => {
                let principal = Principal::Operator(name.clone());
                let old = self.operators.insert(principal, *spki);
                self.gone.extend(old.filter(|old| old != spki));
                return;
            }
            Command::RevokeOperator { name } => Principal::Operator(name.clone()),
            Command::RevokeAgent { name } => Principal::Agent(name.clone()),
            _ => return,
        };
        self.gone.extend(self.operators.get(&principal));
        let lost: Vec<Binding> = self.bindings.iter().filter(|held| held.principal == principal).cloned().collect();
        for binding in lost {
            self.bindings.remove(&binding);
            self.bound(&binding, index);
        }
        self.global = index;
    }

    fn follow_joining(&mut self, command: &Command, outcome: &Outcome, index: u64, now: Time) -> Judged {
        let (token, secret) = match command {
            Command::CreateJoinToken { id, secret_hash, kind, expires } => {
                ensure!(*expires > now, "a token that had expired when it was made");
                self.tokens.insert(*id, (*secret_hash, kind.clone(), *expires));
                return Ok(());
            }
            Command::RedeemNodeToken { token, secret_hash, .. }
            | Command::RedeemAgentToken { token, secret_hash, .. } => (token, secret_hash),
            _ => return Ok(()),
        };
        self.global = index;
        let Some((right, kind, expires)) = self.tokens.remove(token) else {
            return Err("a token that was spent or never made opened something".to_owned());
        };
        ensure!(right == *secret, "a wrong secret opened something");
        ensure!(now < expires, "an expired token opened something");
        match (command, kind, &outcome.reply) {
            (
                Command::RedeemNodeToken { .. },
                JoinKind::Node | JoinKind::Replacement(_),
                Ok(Reply::Node(NodeId(number))),
            ) => {
                ensure!(*number > self.last_node, "node number {number} was used before");
                self.last_node = *number;
            }
            (Command::RedeemAgentToken { spki, .. }, JoinKind::Agent(name), Ok(Reply::Agent(enrolled))) => {
                ensure!(name == *enrolled, "another agent was enrolled than the token named");
                let old = self.operators.insert(Principal::Agent(name), *spki);
                self.gone.extend(old.filter(|old| old != spki));
            }
            (_, kind, reply) => return Err(format!("a token for {kind:?} gave {reply:?}")),
        }
        Ok(())
    }

    /// Revoked stays revoked (invariant 9), and somebody can always administer.
    fn judge_standing(&mut self, after: &State, only_time: bool) -> Judged {
        for spki in &self.gone {
            let found = after.principal_by_spki(spki, Time::EPOCH);
            ensure!(found.is_err(), "key {spki} was revoked or replaced and is {found:?}");
        }
        let admins = self.bindings.iter().filter(|held| held.role == Role::Admin);
        let active = admins.filter(|held| after.check_standing(&held.principal, after.time()).is_ok()).count();
        // Time alone may end the last enrolment: nobody has taken it.
        let lapsed = active == 0 && self.formed;
        ensure!(!lapsed || self.lapsed || only_time, "nobody can administer the cluster any more");
        self.lapsed = lapsed;
        self.root_keys.check(after)
    }
}

/// A node that died before it could note its number asks again: it is told the same number, and nothing changes.
fn judge_asked_again(before: &State, info: &NodeInfo, outcome: &Outcome, after: &State) -> Judged {
    let admitted = before.nodes().find(|(_, node)| node.info == *info).map(|(number, _)| number);
    let told = admitted.filter(|number| before.report(*number).is_none()).map(Reply::Node);
    ensure!(outcome.reply.as_ref().ok() == told.as_ref(), "a member that has reported was admitted again");
    ensure!(before.substance_hash() == after.substance_hash(), "a node that asks again changed the state");
    Ok(())
}

/// What needs no fence takes nothing away: whoever could do something before can do it after.
fn judge_rights(before: &State, after: &State, command: &Command) -> Judged {
    if matches!(command, Command::ReportNode(_)) {
        return Ok(());
    }
    let now = before.time();
    for (name, _) in before.operators(None, usize::MAX).items {
        let principal = Principal::Operator(name.clone());
        let lost = before.check_standing(&principal, now).is_ok() && after.check_standing(&principal, now).is_err();
        ensure!(!lost, "operator {name} was recognised, and no fence waits for its end");
    }
    for (name, agent) in before.agents(None, usize::MAX).items {
        // An agent that comes with a new key replaces its old one: that is said in docs/spec/lease.md.
        let still = after.agent(name).is_some_and(|row| row.revoked.is_none());
        ensure!(agent.revoked.is_some() || still, "agent {name} was banned without a fence");
    }
    for (binding, _) in before.bindings(None, usize::MAX).items {
        let held = after.bindings_of(&binding.principal).any(|other| other == binding);
        ensure!(held, "{binding:?} was taken without a fence");
    }
    for (namespace, row) in before.namespaces() {
        let kept = after.namespace(namespace).is_some_and(|other| other.settings == row.settings);
        ensure!(kept, "the settings of {namespace} changed without a fence");
        for (name, entry) in before.entries(namespace, None, usize::MAX).items {
            ensure!(after.entry(namespace, name) == Some(entry), "entry {name} changed without a fence");
        }
        for (name, alias) in before.aliases(namespace, None, usize::MAX).items {
            ensure!(after.alias(namespace, name) == Some(alias), "alias {name} was moved without a fence");
        }
        for (name, key) in before.keys(namespace, None, usize::MAX).items {
            let usable = |state: &State, number| {
                let row = state.key_version(&key.id, number);
                let usable = |key: &kms::Key| row.is_some_and(|row| key.version_usable(number, row).is_ok());
                state.check_not_closed(namespace).is_ok() && state.key(namespace, name).is_some_and(usable)
            };
            let lost = (1..=key.last_version).find(|number| usable(before, *number) && !usable(after, *number));
            ensure!(lost.is_none(), "version {lost:?} of {name} was disabled without a fence");
        }
    }
    Ok(())
}

fn namespace_of(command: &Command) -> Option<&NamespaceName> {
    match command {
        Command::UpdateNamespace { name, .. }
        | Command::DestroyNamespace { name, .. }
        | Command::RestoreNamespace { name } => Some(name),
        Command::CreateKey { namespace, .. }
        | Command::DestroyKey { namespace, .. }
        | Command::RestoreKey { namespace, .. }
        | Command::AddPreActiveVersion { namespace, .. }
        | Command::ActivateVersion { namespace, .. }
        | Command::UpdateKey { namespace, .. }
        | Command::AddKeyVersion { namespace, .. }
        | Command::SetKeyEnabled { namespace, .. }
        | Command::CreateEntry { namespace, .. }
        | Command::UpdateEntry { namespace, .. }
        | Command::DeleteEntry { namespace, .. }
        | Command::CreateAlias { namespace, .. }
        | Command::UpdateAlias { namespace, .. }
        | Command::DeleteAlias { namespace, .. } => Some(namespace),
        Command::GrantRole(Binding { scope: Scope::Namespace(name), .. })
        | Command::RevokeRole(Binding { scope: Scope::Namespace(name), .. }) => Some(name),
        _ => None,
    }
}

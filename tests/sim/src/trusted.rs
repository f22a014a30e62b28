//! Whom somebody has let in, and who is an admin because of a seal: followed apart from the state's own rows.

use std::collections::{BTreeMap, BTreeSet};

use state::{Command, Proposal, Release, State};
use types::{Binding, Millis, NodeId, OperatorName, Principal, Role, Time};

type Judged = Result<(), String>;

const HOUR: Millis = Millis::from_hours(1);
const PAUSE: Millis = Millis::from_secs(10);

/// One approval, as it was given.
#[derive(Clone, Debug)]
struct Given {
    at: Time,
    clock: Time,
    by: Principal,
}

/// When a member was there: state time, and the earlier of the leader's clock and its own.
#[derive(Clone, Copy, Debug)]
struct Reported {
    at: Time,
    clock: Time,
}

/// What may still open a member, and whose admin role goes back to a seal.
#[derive(Debug, Default)]
pub(crate) struct TrustModel {
    approved: BTreeMap<NodeId, Given>,
    released: BTreeMap<NodeId, Time>,
    reported: BTreeMap<NodeId, Reported>,
    marked: BTreeSet<OperatorName>,
}

impl TrustModel {
    /// Follows an accepted command.
    pub(crate) fn follow(&mut self, before: &State, proposal: &Proposal, after: &State) -> Judged {
        let (actor, now) = (&proposal.actor, before.time());
        match &proposal.command {
            Command::SetPeerUnseal { on: false } => self.approved.clear(),
            Command::ApproveUnseal { node } => {
                ensure!(before.time_held().is_none(), "approved under a time that is not believed");
                let given = Given { at: now, clock: now.max(proposal.at), by: actor.clone() };
                self.approved.insert(*node, given);
            }
            Command::CancelApproval { node } => {
                ensure!(self.approved.remove(node).is_some(), "an approval was taken back that was not there");
            }
            Command::ReleaseRoot(release) => self.judge_release(before, release, proposal.at)?,
            Command::RemoveNode { node, .. } => {
                self.approved.remove(node);
                self.released.remove(node);
                self.reported.remove(node);
            }
            Command::ReportNode(report) => {
                self.approved.remove(&report.node);
                let at = after.time();
                let clock = at.max(report.clock.min(now.max(proposal.at)));
                self.reported.insert(report.node, Reported { at, clock });
            }
            Command::RevokeRole(Binding { principal, role: Role::Admin, .. }) => self.lost(principal),
            Command::RevokeOperator { name } => {
                self.lost(&Principal::Operator(name.clone()));
                self.marked.remove(name);
            }
            Command::EnrolOperator { name, spki, .. } => self.follow_enrolment(before, actor, name, *spki),
            Command::GrantRole(Binding { principal: Principal::Operator(name), role: Role::Admin, .. }) => {
                if self.is_marked(actor) {
                    self.marked.insert(name.clone());
                }
            }
            Command::RecoverOperator { name, root_epoch, .. } => {
                ensure!(*root_epoch == before.root_epoch(), "a seal of another root key has made an admin");
                self.marked.insert(name.clone());
            }
            _ => return Ok(()),
        }
        self.compare(after)
    }

    fn follow_enrolment(&mut self, before: &State, actor: &Principal, name: &OperatorName, spki: types::SpkiHash) {
        let principal = Principal::Operator(name.clone());
        let same = before.operator(name).is_some_and(|row| row.spki == spki);
        let stood = same && before.check_standing(&principal, before.time()).is_ok();
        if !stood {
            self.lost(&principal);
        }
        if !self.is_marked(actor) {
            self.marked.remove(name);
        } else if !stood && before.bindings_of(&principal).any(|held| held.role == Role::Admin) {
            self.marked.insert(name.clone());
        }
    }

    /// The root key goes to a voter that was just there and asks from its place, or that an admin has let in, once.
    fn judge_release(&mut self, before: &State, release: &Release, clock: Time) -> Judged {
        let now = before.time();
        ensure!(before.peer_unseal().is_some_and(|row| row.on), "a root key was released although that is off");
        ensure!(before.node(release.node).is_some_and(|node| node.votes), "a root key was released to no voter");
        ensure!(before.time_held().is_none(), "a root key was released under a time that is not believed");
        let reading = now.max(clock);
        let last = self.released.insert(release.node, reading);
        ensure!(
            last.is_none_or(|last| last > reading || reading.since(last) >= PAUSE),
            "a root key was released twice at once"
        );
        let holds = |given: &Given| {
            let in_time = now < given.at.after(HOUR) && reading < given.clock.after(HOUR);
            in_time && before.check_standing(&given.by, reading).is_ok()
        };
        if self.approved.get(&release.node).is_some_and(holds) {
            self.approved.remove(&release.node);
            return Ok(());
        }
        let recent = self.reported.get(&release.node).is_some_and(|said| {
            let began = said.at <= now && said.clock <= reading;
            began && now < said.at.after(HOUR) && reading < said.clock.after(HOUR)
        });
        ensure!(release.at_home && recent, "a root key was released to whoever asked");
        Ok(())
    }

    fn lost(&mut self, by: &Principal) {
        self.approved.retain(|_, given| given.by != *by);
    }

    fn is_marked(&self, actor: &Principal) -> bool {
        matches!(actor, Principal::Operator(name) if self.marked.contains(name))
    }

    /// The state may have forgotten an approval whose hour is over, and nothing else.
    fn compare(&self, after: &State) -> Judged {
        let row = after.peer_unseal();
        let held = |node: &NodeId| row.is_some_and(|row| row.approved.contains_key(node));
        let more = row.and_then(|row| row.approved.keys().find(|node| !self.approved.contains_key(node)));
        ensure!(more.is_none(), "{more:?} is still let in by whoever cannot let anybody in");
        let fewer = self.approved.iter().find(|(node, given)| after.time() < given.at.after(HOUR) && !held(node));
        ensure!(fewer.is_none(), "{fewer:?} was forgotten");
        for (name, _) in after.operators(None, usize::MAX).items {
            let marked = after.recovery(name).is_some();
            ensure!(marked == self.marked.contains(name), "{name} is marked: {marked}");
        }
        Ok(())
    }
}

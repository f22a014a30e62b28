//! A node's front desk: what the server does between a request and the log, in small. A decision is made on the applied
//! state, its revisions are stamped, a stale one is made again; reads wait for the read index.

use std::time::Duration;

use kms::{Algorithm, RotationCause, WrappedMaterial};
use raft::simulation::chance;
use raft::{ChangeError, ProposeError, RaftHandle};
use state::{Command, JoinKind, NodeInfo, Proposal, RequestKey, State};
use types::{
    ClusterId, KeyId, KeyName, Millis, NamespaceName, NodeId, OperatorName, Principal, Reason, Refusal, RequestId,
    SpkiHash, Time, TrustDomain, limits,
};

use crate::bugs::Plant;
use crate::facts::digest;
use crate::fences::Fences;
use crate::machine::{SimMachine, decode_reply};
use crate::wire::{Answer, Ask, Change, MemberChange, Seen};

/// How long a proposal or a read may take.
const CALL: Duration = Duration::from_secs(2);
const MEMBERS: Duration = Duration::from_secs(4);

/// One node's desk.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) node: NodeId,
    pub(crate) member: raft::Member,
    pub(crate) raft: RaftHandle<SimMachine>,
    pub(crate) clock: crate::clocks::Clock,
    pub(crate) fences: Fences,
    pub(crate) plant: Option<Plant>,
}

pub(crate) fn root() -> OperatorName {
    name("root", OperatorName::parse)
}

/// A name that is known to be one.
pub(crate) fn name<T, E: std::fmt::Display>(text: &str, parse: impl Fn(&str) -> Result<T, E>) -> T {
    parse(text).unwrap_or_else(|error| unreachable!("`{text}` is a name: {error}"))
}

impl Desk {
    pub(crate) async fn answer(&self, question: Ask) -> Answer {
        match question {
            Ask::Form => self.form().await,
            Ask::Change { request, change } => self.change(request, &change).await,
            Ask::Own { actor, command } => self.propose(self.own(actor, *command)).await.0,
            Ask::Serve { operator } => self.serve(&operator).await,
            Ask::Renew(renewal) => self.fences.grant(&renewal).await,
            Ask::Applied(index) => {
                let _ = self.raft.await_applied(index, Duration::from_millis(400)).await;
                Answer::HasApplied(self.raft.state().applied)
            }
            Ask::Read { key, operator } => self.read(&key, &operator).await,
            Ask::Members(change) => self.members(change).await,
        }
    }

    async fn form(&self) -> Answer {
        if self.raft.initialize(self.member.clone(), CALL).await.is_err() {
            return Answer::Unknown;
        }
        let at = self.clock.now();
        let command = Command::Init {
            cluster: ClusterId([0xc1; 16]),
            trust_domain: name("sim.test", TrustDomain::parse),
            cluster_spki: vec![1; 91],
            cluster_key_wrapped: sim::wrapped_under(1, [2; 44]),
            node: self.node,
            info: info(self.node),
            operator: root(),
            operator_spki: SpkiHash([0x22; 32]),
            operator_expires: at.after(limits::ENROLMENT_MAX),
            namespace_kek_wrapped: sim::wrapped_under(1, [3; 44]),
            namespace_id: KeyId([4; 16]),
        };
        self.propose(Proposal { actor: Principal::LocalAdmin, at, request: None, basis: None, command }).await.0
    }

    /// Answers from what this node has applied, under its lease, which is looked at again before the answer leaves.
    async fn serve(&self, operator: &OperatorName) -> Answer {
        if !self.fences.may_serve() {
            return Answer::Unknown;
        }
        let revoked = self.raft.state().state.operator(operator).is_some_and(|row| row.revoked.is_some());
        tokio::time::sleep(chance::within(Duration::from_millis(3))).await;
        if self.fences.may_serve() { Answer::Served { revoked } } else { Answer::Unknown }
    }

    fn own(&self, actor: Principal, command: Command) -> Proposal {
        Proposal { actor, at: self.clock.now(), request: None, basis: None, command }
    }

    async fn change(&self, id: RequestId, change: &Change) -> Answer {
        let actor = Principal::Operator(root());
        let body = crypto::hash::sha256(&postcard::to_stdvec(change).unwrap_or_default());
        let known = self.raft.state().state.remembered(&actor, id).filter(|known| known.body == body).cloned();
        if let Some(known) = known.filter(|_| self.plant != Some(Plant::DedupeOff)) {
            if known.fenced && !self.fences.fence(known.index, None).await {
                return Answer::Unknown;
            }
            return Answer::Applied(known.outcome);
        }
        for _ in 0..limits::DECISIONS_MAX {
            let view = self.raft.state();
            let command = command(&view.state, id, change, self.clock.now());
            let basis = view.state.basis(&command, view.state.time().after(limits::DECISION_VALID));
            if chance::per_mille(300) {
                // Deciding and wrapping take a while, in which things change.
                tokio::time::sleep(chance::within(Duration::from_millis(40))).await;
            }
            let request = Some(RequestKey { id, body });
            let at = self.clock.now();
            let proposal = Proposal { actor: actor.clone(), at, request, basis: Some(basis), command };
            let takes_away = proposal.command.takes_away();
            match self.propose(proposal).await {
                (Answer::Applied(Err(refusal)), _) if refusal.reason == Reason::Stale => {}
                (Answer::Applied(Ok(reply)), Some((index, term))) if takes_away => {
                    let fenced = self.fences.fence(index, Some(term)).await;
                    return if fenced { Answer::Applied(Ok(reply)) } else { Answer::Unknown };
                }
                (answer, _) => return answer,
            }
        }
        Answer::Applied(Err(Refusal::new(Reason::Stale, "what the decision rested on kept changing")))
    }

    /// Proposes; where the entry stands goes with the answer.
    async fn propose(&self, proposal: Proposal) -> (Answer, Option<(u64, u64)>) {
        let Ok(payload) = postcard::to_stdvec(&proposal) else { return (Answer::Unknown, None) };
        let proposing = self.raft.propose(payload, CALL);
        if self.plant == Some(Plant::CommitWithoutQuorum) {
            return (self.answer_early(proposing, &proposal).await, None);
        }
        told(proposing.await)
    }

    /// The planted bug: when the entry has been in this log for a moment, it is as good as committed, is it not?
    async fn answer_early(
        &self,
        proposing: impl Future<Output = Result<raft::Proposed, ProposeError>>,
        proposal: &Proposal,
    ) -> Answer {
        let mut rehearsed = self.raft.state().state.clone();
        let index = self.raft.status().last_log.unwrap_or(0) + 1;
        match tokio::time::timeout(Duration::from_millis(30), proposing).await {
            Ok(done) => told(done).0,
            Err(_) => {
                let outcome = rehearsed.apply(&state::Entry { index, proposal: proposal.clone() });
                Answer::Applied(outcome.reply)
            }
        }
    }

    async fn read(&self, key: &KeyName, operator: &OperatorName) -> Answer {
        if self.plant != Some(Plant::StaleReads) && self.raft.read_index(CALL).await.is_err() {
            return Answer::Unknown;
        }
        let view = self.raft.state();
        let namespace = NamespaceName::default_namespace();
        let Some(found) = view.state.key(&namespace, key) else {
            return Answer::Seen(Seen { version: 0, made_by: None, revoked: false });
        };
        let newest = view.state.key_version(&found.id, found.last_version);
        let made_by = newest.and_then(|row| maker(&row.wrapped));
        let revoked = view.state.operator(operator).is_some_and(|row| row.revoked.is_some());
        Answer::Seen(Seen { version: found.last_version, made_by, revoked })
    }

    async fn members(&self, change: MemberChange) -> Answer {
        let done = match change {
            MemberChange::Learn(node, member) => self.raft.add_learner(node, member, MEMBERS).await,
            MemberChange::Promote(node) => self.raft.promote(node, MEMBERS).await,
            MemberChange::Remove(node) => self.raft.remove(node, MEMBERS).await,
            MemberChange::Transfer(node) => self.raft.transfer_leader(node, MEMBERS).await,
        };
        match done {
            Ok(()) => Answer::Done,
            Err(ChangeError::NotLeader { leader }) => Answer::NotLeader(leader),
            Err(_) => Answer::Unknown,
        }
    }
}

fn told(done: Result<raft::Proposed, ProposeError>) -> (Answer, Option<(u64, u64)>) {
    match done {
        Ok(proposed) => (Answer::Applied(decode_reply(&proposed.reply)), Some((proposed.index, proposed.term))),
        Err(ProposeError::NotLeader { leader }) => (Answer::NotLeader(leader), None),
        Err(_) => (Answer::Unknown, None),
    }
}

/// The command for a change, decided on `state`. What a version wraps begins with the request that made it.
fn command(state: &State, id: RequestId, change: &Change, now: Time) -> Command {
    let namespace = NamespaceName::default_namespace();
    let mut wrapped = id.0.to_vec();
    wrapped.extend_from_slice(&chance::bits().to_be_bytes());
    let material = WrappedMaterial::secret(wrapped);
    match change {
        Change::CreateKey { key } => {
            let mut key_id = [0; 16];
            key_id[..8].copy_from_slice(&digest(key.to_string().as_bytes()).to_be_bytes());
            Command::CreateKey {
                namespace,
                name: key.clone(),
                id: KeyId(key_id),
                algorithm: Algorithm::Aes256Gcm,
                settings: kms::KeySettings::rotating(None),
                material,
            }
        }
        Change::Rotate { key } => {
            let expect_last = state.key(&namespace, key).map_or(0, |found| found.last_version);
            Command::AddKeyVersion {
                namespace,
                name: key.clone(),
                expect_last,
                cause: RotationCause::Operator,
                material,
            }
        }
        Change::Enrol { operator } => Command::EnrolOperator {
            name: operator.clone(),
            spki: spki(&operator.to_string()),
            expires: state.time().max(now).after(Millis::from_hours(24)),
        },
        Change::Revoke { operator } => Command::RevokeOperator { name: operator.clone() },
        Change::Invite { token } => Command::CreateJoinToken {
            id: *token,
            secret_hash: [7; 32],
            kind: JoinKind::Node,
            expires: state.time().after(Millis::from_hours(1)),
        },
    }
}

/// The request that made a version.
pub(crate) fn maker(wrapped: &[u8]) -> Option<RequestId> {
    wrapped.first_chunk::<16>().map(|id| RequestId(*id))
}

/// A node as the state knows it; its key there is not the one of its peer port, which is drawn anew in each run.
pub(crate) fn info(node: NodeId) -> NodeInfo {
    NodeInfo {
        spki: spki(&format!("node {}", node.0)),
        peer_address: format!("node-{}:7444", node.0),
        api_address: format!("node-{}:7443", node.0),
    }
}

fn spki(of: &str) -> SpkiHash {
    SpkiHash(crypto::hash::sha256(of.as_bytes()))
}

//! Members that come, rise and go: what state allows, what it forgets and what it never forgets.
#![expect(clippy::expect_used, reason = "a test: what cannot be built should stop it")]

use crate::common::{Cluster, FORMED, proposal};
use state::{Command, JoinKind, NodeInfo, NodeReport, Reply, Unrecognised};
use types::limits::VOTERS_MAX;
use types::{Millis, NodeId, Principal, Reason, Refusal, SpkiHash, TokenId};

fn why<T>(result: Result<T, Refusal>) -> Option<Reason> {
    result.err().map(|refusal| refusal.reason)
}

fn key(number: u8) -> SpkiHash {
    SpkiHash([0xa0 | number; 32])
}

fn token(cluster: &mut Cluster, number: u8, kind: JoinKind) -> Result<Reply, Refusal> {
    let expires = FORMED.after(Millis::from_hours(1));
    cluster.ask(Command::CreateJoinToken { id: TokenId([number; 16]), secret_hash: [number; 32], kind, expires })
}

fn redeem(cluster: &mut Cluster, number: u8, learner: bool) -> Result<Reply, Refusal> {
    let info = NodeInfo { spki: key(number), peer_address: "a:1".to_owned(), api_address: "a:2".to_owned() };
    let command = Command::RedeemNodeToken { token: TokenId([number; 16]), secret_hash: [number; 32], info, learner };
    cluster.propose(proposal(Principal::JoinToken, command)).reply
}

fn join(cluster: &mut Cluster, number: u8, learner: bool) -> NodeId {
    token(cluster, number, JoinKind::Node).expect("a token");
    match redeem(cluster, number, learner) {
        Ok(Reply::Node(node)) => node,
        other => unreachable!("{other:?}"),
    }
}

fn report(cluster: &mut Cluster, node: NodeId, audit_size: u64, supports: u32) {
    let (clock, audit_root, api_address) = (FORMED, [0; 32], "a:2".to_owned());
    let report = NodeReport { node, clock, audit_size, audit_root, api_address, supports };
    cluster.propose(proposal(Principal::Node(node), Command::ReportNode(report))).reply.expect("a report");
}

fn remove(cluster: &mut Cluster, node: NodeId, audit_closed: Option<u64>, forced: bool) -> Result<Reply, Refusal> {
    cluster.ask(Command::RemoveNode { node, audit_closed, forced, compromised: false })
}

#[test]
fn a_removed_node_is_gone_and_its_key_and_number_never_come_back() {
    let mut cluster = Cluster::formed();
    let two = join(&mut cluster, 2, false);
    report(&mut cluster, two, 7, 1);
    let (before, trust) = (cluster.state.global_revision(), cluster.state.trust_sequence());
    assert_eq!(remove(&mut cluster, two, Some(7), false), Ok(Reply::Done));
    assert!(cluster.state.node(two).is_none() && cluster.state.report(two).is_none());
    assert!(cluster.state.global_revision() > before && cluster.state.trust_sequence() > trust);
    assert_eq!(cluster.state.principal_by_spki(&key(2), FORMED), Err(Unrecognised::Revoked));
    assert!(cluster.state.is_spent(&key(2)));
    cluster.state.check().expect("whole");

    // The same key is refused with a new token; another key gets another number.
    token(&mut cluster, 2, JoinKind::Node).expect("a token");
    assert_eq!(why(redeem(&mut cluster, 2, false)), Some(Reason::PreconditionFailed));
    assert_eq!(join(&mut cluster, 3, false), NodeId(3));
    assert_eq!(why(remove(&mut cluster, two, Some(7), false)), Some(Reason::NotFound));
    let late = NodeReport {
        node: two,
        clock: FORMED,
        audit_size: 8,
        audit_root: [1; 32],
        api_address: "a:2".to_owned(),
        supports: 1,
    };
    let late = cluster.propose(proposal(Principal::Node(two), Command::ReportNode(late)));
    assert_eq!(why(late.reply), Some(Reason::NotFound));
}

#[test]
fn the_end_of_the_audit_log_must_be_anchored_or_the_loss_be_forced() {
    let mut cluster = Cluster::formed();
    let two = join(&mut cluster, 2, false);
    report(&mut cluster, two, 7, 1);
    for audit_closed in [None, Some(8)] {
        let refused = remove(&mut cluster, two, audit_closed, false).expect_err("not anchored");
        assert_eq!(refused.reason, Reason::PreconditionFailed);
        assert!(refused.message.contains("only its first 7 records are anchored"), "{}", refused.message);
    }
    let command = Command::RemoveNode { node: two, audit_closed: None, forced: true, compromised: false };
    let basis = Some(cluster.state.basis(&command, types::Time::NEVER));
    let outcome = cluster.propose(state::Proposal { basis, ..proposal(crate::common::root(), command) });
    assert_eq!(outcome.reply, Ok(Reply::Done));
    let leaf = String::from_utf8_lossy(&outcome.record.expect("a record").bytes).into_owned();
    assert!(leaf.contains("unknown after audit_size"), "{leaf}");
}

#[test]
fn the_last_voter_stays() {
    let mut cluster = Cluster::formed();
    report(&mut cluster, NodeId(1), 0, 1);
    join(&mut cluster, 2, true);
    let refused = remove(&mut cluster, NodeId(1), Some(0), true).expect_err("the last voter");
    assert_eq!(refused.reason, Reason::PreconditionFailed);
    assert!(refused.message.contains("last voter"), "{}", refused.message);
}

#[test]
fn a_learner_has_no_authority_and_becomes_a_voter_once() {
    let mut cluster = Cluster::formed();
    let two = join(&mut cluster, 2, true);
    assert_eq!(cluster.state.voters().into_iter().collect::<Vec<_>>(), [NodeId(1)]);
    assert!(!cluster.state.authorities_wanted(FORMED).contains(&two));
    assert_eq!(cluster.ask(Command::PromoteNode { node: two }), Ok(Reply::Done));
    assert!(cluster.state.voters().contains(&two) && cluster.state.authorities_wanted(FORMED).contains(&two));
    assert_eq!(why(cluster.ask(Command::PromoteNode { node: two })), Some(Reason::PreconditionFailed));
    assert_eq!(why(cluster.ask(Command::PromoteNode { node: NodeId(9) })), Some(Reason::NotFound));
}

#[test]
fn voters_have_a_bound() {
    let mut cluster = Cluster::formed();
    for number in 2..=u8::try_from(VOTERS_MAX).expect("small") {
        join(&mut cluster, number, false);
    }
    let next = u8::try_from(VOTERS_MAX + 1).expect("small");
    token(&mut cluster, next, JoinKind::Node).expect("a token");
    assert_eq!(why(redeem(&mut cluster, next, false)), Some(Reason::LimitExceeded));
    let Ok(Reply::Node(learner)) = redeem(&mut cluster, next, true) else { unreachable!("a learner is welcome") };
    assert_eq!(why(cluster.ask(Command::PromoteNode { node: learner })), Some(Reason::LimitExceeded));
}

#[test]
fn a_node_removes_only_whom_another_replaces() {
    let mut cluster = Cluster::formed();
    let two = join(&mut cluster, 2, false);
    let by_itself = |node| {
        let command = Command::RemoveNode { node, audit_closed: None, forced: true, compromised: false };
        proposal(Principal::Node(NodeId(1)), command)
    };
    assert_eq!(why(cluster.propose(by_itself(two)).reply), Some(Reason::PermissionDenied));
    assert_eq!(why(token(&mut cluster, 3, JoinKind::Replacement(NodeId(9)))), Some(Reason::NotFound));
    token(&mut cluster, 3, JoinKind::Replacement(two)).expect("a token");
    assert_eq!(why(redeem(&mut cluster, 3, true)), Some(Reason::InvalidArgument), "it is to vote");
    let Ok(Reply::Node(three)) = redeem(&mut cluster, 3, false) else { unreachable!("admitted") };
    assert_eq!(cluster.state.node(three).and_then(|row| row.replaces), Some(two));
    assert_eq!(cluster.propose(by_itself(two)).reply, Ok(Reply::Done));
    assert_eq!(cluster.state.node(three).map(|row| row.replaces), Some(None));
    cluster.state.check().expect("whole");
}

#[test]
fn the_version_rises_only_when_every_member_knows_it() {
    let mut cluster = Cluster::formed();
    let two = join(&mut cluster, 2, false);
    let raise = |version| Command::RaiseVersion { version };
    assert_eq!((cluster.state.version(), cluster.state.version_supported()), (1, None));
    report(&mut cluster, NodeId(1), 0, 3);
    let refused = cluster.ask(raise(2)).expect_err("node-2 has said nothing");
    assert!(refused.message.contains("node-2") && !refused.message.contains("node-1"), "{}", refused.message);
    report(&mut cluster, two, 0, 2);
    assert_eq!(cluster.state.version_supported(), Some(2));
    assert_eq!(why(cluster.ask(raise(3))), Some(Reason::PreconditionFailed));
    assert_eq!(cluster.ask(raise(2)), Ok(Reply::Done));
    assert_eq!(cluster.state.version(), 2);
    assert_eq!(why(cluster.ask(raise(2))), Some(Reason::PreconditionFailed), "it never goes back");
    cluster.state.check().expect("whole");
}

#[test]
fn a_removed_member_is_counted_until_a_leader_settles_it() {
    let mut cluster = Cluster::formed();
    let two = join(&mut cluster, 2, false);
    report(&mut cluster, two, 0, 1);
    assert!(remove(&mut cluster, two, None, true).is_ok());
    assert_eq!(cluster.state.departed().map(|(node, _)| node).collect::<Vec<_>>(), [two]);
    let settle = || proposal(Principal::Node(NodeId(1)), Command::SettleDeparture { node: two });
    assert_eq!(why(cluster.ask(Command::SettleDeparture { node: two })), Some(Reason::PermissionDenied));
    assert_eq!(cluster.propose(settle()).reply, Ok(Reply::Done));
    assert_eq!(cluster.state.departed().count(), 0);
    assert_eq!(why(cluster.propose(settle()).reply), Some(Reason::NotDue));
    cluster.state.check().expect("whole");
}

//! A root key that a member hands to another: to a voter that was just there, or that an admin has let in, and only while that
//! is on.
#![expect(clippy::expect_used, reason = "a test: what cannot be built should stop it")]

use state::{Command, JoinKind, NodeInfo, NodeReport, Outcome, Release, Reply};
use types::limits::PEER_UNSEAL_WITHIN;
use types::{Millis, NodeId, Principal, Reason, SpkiHash, Time, TokenId};

use crate::common::{Cluster, FORMED, proposal};

const LEADER: NodeId = NodeId(1);

/// Nodes 2 and 3 vote, node 4 does not; all have reported.
fn cluster() -> Cluster {
    let mut cluster = Cluster::formed();
    for number in 2..=4 {
        let (id, secret_hash) = (TokenId([number; 16]), [number; 32]);
        let expires = FORMED.after(Millis::from_hours(1));
        cluster.ask(Command::CreateJoinToken { id, secret_hash, kind: JoinKind::Node, expires }).expect("made");
        let info = NodeInfo {
            spki: SpkiHash([100 + number; 32]),
            peer_address: format!("10.0.0.{number}:7444"),
            api_address: format!("10.0.0.{number}:7443"),
        };
        let redeem = Command::RedeemNodeToken { token: id, secret_hash, info, learner: number == 4 };
        cluster.propose(proposal(Principal::JoinToken, redeem)).reply.expect("admitted");
    }
    report(&mut cluster, &[1, 2, 3, 4], FORMED.after(Millis::from_secs(1)));
    cluster
}

fn report(cluster: &mut Cluster, nodes: &[u64], clock: Time) {
    for node in nodes.iter().map(|node| NodeId(*node)) {
        let report =
            NodeReport { node, clock, audit_size: 0, audit_root: empty(), api_address: "a:1".to_owned(), supports: 1 };
        cluster.propose(proposal(Principal::Node(node), Command::ReportNode(report))).reply.expect("taken");
    }
}

fn empty() -> [u8; 32] {
    crypto::hash::sha256(b"")
}

/// The others go on, a little at a time, so that state time is believed.
fn pass(cluster: &mut Cluster, by: Millis) {
    let until = cluster.state.time().after(by);
    while cluster.state.time() < until {
        let next = cluster.state.time().after(Millis::from_secs(600)).min(until);
        report(cluster, &[1, 3, 4], next);
    }
}

fn switch(cluster: &mut Cluster, on: bool) {
    cluster.ask(Command::SetPeerUnseal { on }).expect("switched");
}

fn release(cluster: &mut Cluster, node: u64, at_home: bool) -> Outcome {
    let release = Release { node: NodeId(node), by: LEADER, address: "10.0.0.2".to_owned(), at_home };
    let expected = cluster.state.check_release(&release).map(|()| Reply::Done);
    let outcome = cluster.propose(proposal(Principal::Node(LEADER), Command::ReleaseRoot(release)));
    assert_eq!(outcome.reply, expected, "what is said beforehand is what happens");
    outcome
}

fn why(outcome: &Outcome) -> Option<Reason> {
    outcome.reply.as_ref().err().map(|refusal| refusal.reason)
}

#[test]
fn it_is_off_until_it_is_switched_on_and_again_after() {
    let mut cluster = cluster();
    assert_eq!(why(&release(&mut cluster, 2, true)), Some(Reason::PreconditionFailed));
    switch(&mut cluster, true);
    let released = release(&mut cluster, 2, true);
    assert_eq!(released.reply, Ok(Reply::Done));
    let record = String::from_utf8_lossy(&released.record.expect("a record").bytes).into_owned();
    for part in ["10.0.0.2", "nodes/2", "released_by", "ReleaseRoot"] {
        assert!(record.contains(part), "{part} is not in {record}");
    }
    cluster.ask(Command::ApproveUnseal { node: NodeId(2) }).expect("approved");
    switch(&mut cluster, false);
    assert_eq!(why(&release(&mut cluster, 2, true)), Some(Reason::PreconditionFailed));
    switch(&mut cluster, true);
    assert_eq!(why(&release(&mut cluster, 2, false)), Some(Reason::PermissionDenied), "the approval went with it");
    assert_eq!(cluster.state.check(), Ok(()));
}

#[test]
fn only_a_voter_that_is_another_gets_it() {
    let mut cluster = cluster();
    switch(&mut cluster, true);
    assert_eq!(why(&release(&mut cluster, 4, true)), Some(Reason::PermissionDenied), "a learner");
    assert_eq!(why(&release(&mut cluster, 1, true)), Some(Reason::PermissionDenied), "the leader itself");
    assert_eq!(why(&release(&mut cluster, 9, true)), Some(Reason::NotFound));
    let of_another = Release { node: NodeId(2), by: NodeId(3), address: "10.0.0.2".to_owned(), at_home: true };
    let forged = cluster.propose(proposal(Principal::Node(LEADER), Command::ReleaseRoot(of_another)));
    assert_eq!(why(&forged), Some(Reason::PermissionDenied), "each speaks for itself");
}

#[test]
fn one_that_was_away_for_an_hour_or_asks_from_elsewhere_is_let_in_by_an_admin_once() {
    let mut cluster = cluster();
    switch(&mut cluster, true);
    assert_eq!(why(&release(&mut cluster, 2, false)), Some(Reason::PermissionDenied), "from elsewhere");
    pass(&mut cluster, Millis(PEER_UNSEAL_WITHIN.0 - 1));
    assert_eq!(release(&mut cluster, 2, true).reply, Ok(Reply::Done), "a moment before the hour is over");
    pass(&mut cluster, Millis(1));
    assert_eq!(why(&release(&mut cluster, 2, true)), Some(Reason::PermissionDenied), "and at the hour");
    cluster.ask(Command::ApproveUnseal { node: NodeId(2) }).expect("approved");
    assert_eq!(release(&mut cluster, 2, false).reply, Ok(Reply::Done));
    assert_eq!(why(&release(&mut cluster, 2, true)), Some(Reason::PermissionDenied), "good once");
    cluster.ask(Command::ApproveUnseal { node: NodeId(2) }).expect("approved");
    pass(&mut cluster, Millis::from_hours(1));
    assert_eq!(why(&release(&mut cluster, 2, true)), Some(Reason::PermissionDenied), "and for an hour");
}

#[test]
fn a_time_that_is_not_believed_lets_nobody_in() {
    let mut cluster = cluster();
    switch(&mut cluster, true);
    let later = FORMED.after(Millis::from_hours(48));
    report(&mut cluster, &[1, 2, 3, 4], later);
    assert!(cluster.state.time_held().is_some());
    assert_eq!(why(&release(&mut cluster, 2, true)), Some(Reason::PermissionDenied));
}

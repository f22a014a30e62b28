//! A root key that a member hands to another: to a voter that was just there, or that an admin has let in, and only while that
//! is on.
#![expect(clippy::expect_used, reason = "a test: what cannot be built should stop it")]

use state::{Command, JoinKind, NodeInfo, NodeReport, Outcome, Proposal, Release, Reply};
use types::limits::{PEER_UNSEAL_APPROVAL, PEER_UNSEAL_PAUSE, PEER_UNSEAL_WITHIN};
use types::{Binding, Millis, NodeId, OperatorName, Principal, Reason, Role, Scope, SpkiHash, Time, TokenId};

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
        let report = NodeReport { node, ..said(clock) };
        cluster.propose(proposal(Principal::Node(node), Command::ReportNode(report))).reply.expect("taken");
    }
}

fn said(clock: Time) -> NodeReport {
    let api_address = "a:1".to_owned();
    NodeReport { node: LEADER, clock, audit_size: 0, audit_root: empty(), api_address, supports: 1 }
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

/// As the leader does whose clock is right.
fn release(cluster: &mut Cluster, node: u64, at_home: bool) -> Outcome {
    let clock = cluster.state.time();
    release_at(cluster, node, at_home, clock)
}

fn release_at(cluster: &mut Cluster, node: u64, at_home: bool, clock: Time) -> Outcome {
    let release = Release { node: NodeId(node), by: LEADER, address: "10.0.0.2".to_owned(), at_home };
    let expected = cluster.state.check_release(&release, clock).map(|()| Reply::Done);
    let release = proposal(Principal::Node(LEADER), Command::ReleaseRoot(release));
    let outcome = cluster.propose(Proposal { at: clock, ..release });
    assert_eq!(outcome.reply, expected, "what is said beforehand is what happens");
    outcome
}

/// By the first operator, with a clock that is right.
fn approve(cluster: &mut Cluster) {
    cluster.ask(Command::ApproveUnseal { node: NodeId(2) }).expect("approved");
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
    for part in ["10.0.0.2", "nodes/2", "\"node\"", "released_by", "ReleaseRoot"] {
        assert!(record.contains(part), "{part} is not in {record}");
    }
    approve(&mut cluster);
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
    pass(&mut cluster, PEER_UNSEAL_PAUSE);
    approve(&mut cluster);
    assert_eq!(release(&mut cluster, 2, false).reply, Ok(Reply::Done));
    pass(&mut cluster, PEER_UNSEAL_PAUSE);
    assert_eq!(why(&release(&mut cluster, 2, true)), Some(Reason::PermissionDenied), "good once");
    approve(&mut cluster);
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
    let refused = cluster.ask(Command::ApproveUnseal { node: NodeId(2) }).expect_err("no hour begins");
    assert_eq!(refused.reason, Reason::PreconditionFailed);
    assert_eq!(why(&release(&mut cluster, 2, true)), Some(Reason::PermissionDenied));
}

#[test]
fn the_leaders_clock_ends_an_hour_that_state_time_does_not() {
    let mut cluster = cluster();
    switch(&mut cluster, true);
    // Half of the members are away: nothing reports, and state time is that of the evening.
    let evening = cluster.state.time();
    let over = evening.after(PEER_UNSEAL_WITHIN);
    assert_eq!(why(&release_at(&mut cluster, 2, true, over)), Some(Reason::PermissionDenied), "was away by the clock");
    // Who reports in the meantime was there, whatever state time says.
    let mut reports = |own: Time, leader: Time| {
        let report = NodeReport { node: NodeId(2), ..said(own) };
        let reported = proposal(Principal::Node(NodeId(2)), Command::ReportNode(report));
        cluster.propose(Proposal { at: leader, ..reported }).reply.expect("taken");
    };
    reports(over, over);
    assert!(cluster.state.time() == evening, "it stands still");
    let later = over.after(Millis(PEER_UNSEAL_WITHIN.0 - 1));
    assert_eq!(release_at(&mut cluster, 2, true, later).reply, Ok(Reply::Done), "was there by the clock");
    assert_eq!(
        why(&release_at(&mut cluster, 2, true, evening)),
        Some(Reason::PermissionDenied),
        "a clock that was set back"
    );
    approve(&mut cluster);
    let over = evening.after(PEER_UNSEAL_APPROVAL);
    assert_eq!(why(&release_at(&mut cluster, 2, false, over)), Some(Reason::PermissionDenied), "approved by the clock");
    let just = Time(over.0 - 1);
    assert_eq!(release_at(&mut cluster, 2, false, just).reply, Ok(Reply::Done));
    // A clock that is behind does not make state time's hour longer.
    approve(&mut cluster);
    pass(&mut cluster, PEER_UNSEAL_APPROVAL);
    assert_eq!(why(&release_at(&mut cluster, 2, false, evening)), Some(Reason::PermissionDenied));
}

#[test]
fn nobody_gets_it_twice_within_a_moment() {
    let mut cluster = cluster();
    switch(&mut cluster, true);
    assert_eq!(release(&mut cluster, 2, true).reply, Ok(Reply::Done));
    assert_eq!(why(&release(&mut cluster, 2, true)), Some(Reason::LimitExceeded));
    assert_eq!(release(&mut cluster, 3, true).reply, Ok(Reply::Done), "each for itself");
    pass(&mut cluster, Millis(PEER_UNSEAL_PAUSE.0 - 1));
    assert_eq!(why(&release(&mut cluster, 2, true)), Some(Reason::LimitExceeded));
    pass(&mut cluster, Millis(1));
    assert_eq!(release(&mut cluster, 2, true).reply, Ok(Reply::Done));
    // State time may stand still until it is open.
    let later = cluster.state.time().after(PEER_UNSEAL_PAUSE);
    assert_eq!(why(&release_at(&mut cluster, 2, true, Time(later.0 - 1))), Some(Reason::LimitExceeded));
    assert_eq!(release_at(&mut cluster, 2, true, later).reply, Ok(Reply::Done));
}

fn helper() -> OperatorName {
    OperatorName::parse("helper").expect("a name")
}

/// Another admin has approved node 2.
fn approved_by_helper() -> Cluster {
    let mut cluster = cluster();
    switch(&mut cluster, true);
    let expires = FORMED.after(Millis::from_days(30));
    cluster.ask(Command::EnrolOperator { name: helper(), spki: SpkiHash([55; 32]), expires }).expect("enrolled");
    cluster.ask(Command::GrantRole(admin())).expect("granted");
    let approve = Command::ApproveUnseal { node: NodeId(2) };
    let basis = Some(cluster.state.basis(&approve, Time::NEVER));
    let approved = cluster.propose(Proposal { basis, ..proposal(Principal::Operator(helper()), approve) });
    assert_eq!(approved.reply, Ok(Reply::Done));
    cluster
}

fn admin() -> Binding {
    Binding { principal: Principal::Operator(helper()), role: Role::Admin, scope: Scope::Cluster }
}

#[test]
fn an_approval_ends_with_whoever_gave_it() {
    let mut cluster = approved_by_helper();
    let released = release(&mut cluster, 2, false);
    assert_eq!(released.reply, Ok(Reply::Done), "it holds as long as they do");
    assert!(String::from_utf8_lossy(&released.record.expect("a record").bytes).contains("operators/helper"));

    for lose in [
        Command::RevokeOperator { name: helper() },
        Command::RevokeRole(admin()),
        Command::EnrolOperator { name: helper(), spki: SpkiHash([55; 32]), expires: FORMED.after(Millis(2_000)) },
    ] {
        let mut cluster = approved_by_helper();
        cluster.ask(lose.clone()).expect("is carried out");
        pass(&mut cluster, Millis(5_000));
        assert_eq!(why(&release(&mut cluster, 2, false)), Some(Reason::PermissionDenied), "{lose:?}");
        // An admin again, with the same key: nobody has given it again.
        let expires = FORMED.after(Millis::from_days(30));
        let spki = if matches!(lose, Command::RevokeOperator { .. }) { SpkiHash([56; 32]) } else { SpkiHash([55; 32]) };
        cluster.ask(Command::EnrolOperator { name: helper(), spki, expires }).expect("enrolled");
        let _ = cluster.ask(Command::GrantRole(admin()));
        assert_eq!(why(&release(&mut cluster, 2, false)), Some(Reason::PermissionDenied), "{lose:?}");
    }
}

#[test]
fn an_approval_is_taken_back_and_goes_when_its_node_opens_or_is_removed() {
    let mut cluster = cluster();
    switch(&mut cluster, true);
    let cancel = Command::CancelApproval { node: NodeId(2) };
    let nothing = cluster.ask(cancel.clone()).expect_err("there is none");
    assert_eq!(nothing.reason, Reason::NotFound);
    approve(&mut cluster);
    cluster.ask(cancel.clone()).expect("taken back");
    assert_eq!(why(&release(&mut cluster, 2, false)), Some(Reason::PermissionDenied));
    // The node itself, when it is sealed by hand, and no other.
    approve(&mut cluster);
    let by = |cluster: &mut Cluster, node| cluster.propose(proposal(Principal::Node(NodeId(node)), cancel.clone()));
    assert_eq!(why(&by(&mut cluster, 3)), Some(Reason::PermissionDenied));
    assert_eq!(by(&mut cluster, 2).reply, Ok(Reply::Done));
    assert_eq!(why(&release(&mut cluster, 2, false)), Some(Reason::PermissionDenied));

    approve(&mut cluster);
    let now = cluster.state.time();
    report(&mut cluster, &[2], now);
    assert!(cluster.state.peer_unseal().expect("a row").approved.is_empty(), "a node that reports is open");

    assert_eq!(release(&mut cluster, 2, true).reply, Ok(Reply::Done));
    approve(&mut cluster);
    cluster
        .ask(Command::RemoveNode { node: NodeId(2), audit_closed: Some(0), forced: true, compromised: false })
        .expect("removed");
    let row = cluster.state.peer_unseal().expect("a row");
    assert!(row.approved.is_empty() && row.released.is_empty());
    assert_eq!(cluster.state.check(), Ok(()));
}

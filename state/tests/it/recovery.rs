//! An admin when none is left: enrolled by a seal, beside whatever operators there were.
#![expect(clippy::expect_used, reason = "a test: what cannot be built should stop it")]

use state::{Command, Effect, NodeReport, OpenedSeal, Outcome, Proposal, Reply, RequestKey, rows};
use types::{Binding, Millis, NodeId, OperatorName, Principal, Reason, Refusal, Role, Scope, SpkiHash, Time};

use crate::common::{Cluster, FORMED, proposal, request_id, root};

const KEY: SpkiHash = SpkiHash([77; 32]);

fn name(text: &str) -> OperatorName {
    OperatorName::parse(text).expect("a name")
}

fn recover(operator: &str, spki: SpkiHash) -> Command {
    let opened = OpenedSeal { node: NodeId(1), slot: 2, by: "shamir, shares 1, 3".to_owned() };
    let expires = FORMED.after(Millis::from_days(30));
    Command::RecoverOperator { name: name(operator), spki, expires, opened, root_epoch: 1 }
}

fn by_seal(cluster: &mut Cluster, number: u16, command: Command) -> Outcome {
    let request = Some(RequestKey { id: request_id(FORMED, number), body: [1; 32] });
    cluster.propose(Proposal { request, ..proposal(Principal::Seal, command) })
}

fn why(outcome: Outcome) -> Option<Reason> {
    outcome.reply.err().map(|refusal| refusal.reason)
}

#[test]
fn a_seal_enrols_an_admin_once_and_changes_nobody() {
    let mut cluster = Cluster::formed();
    let before: Vec<rows::Operator> =
        cluster.state.operators(None, 10).items.into_iter().map(|(_, row)| row.clone()).collect();
    let made = by_seal(&mut cluster, 1, recover("rescue", KEY));
    assert_eq!(made.reply, Ok(Reply::Done));
    assert!(made.effects.iter().any(|effect| matches!(effect, Effect::OperatorRecovered { .. })));
    assert_eq!(cluster.state.principal_by_spki(&KEY, FORMED), Ok(Principal::Operator(name("rescue"))));
    let held: Vec<Role> =
        cluster.state.bindings_of(&Principal::Operator(name("rescue"))).map(|held| held.role).collect();
    assert_eq!(held, [Role::Admin]);
    assert_eq!(cluster.state.recovered_admins(FORMED).collect::<Vec<_>>(), [&name("rescue")]);
    // The same request, and another one with the same key, enrol nobody else.
    let hash = cluster.state.substance_hash();
    assert_eq!(by_seal(&mut cluster, 1, recover("rescue", KEY)).reply, Ok(Reply::Done));
    assert_eq!(by_seal(&mut cluster, 2, recover("rescue", KEY)).reply, Ok(Reply::Done));
    assert_eq!(cluster.state.substance_hash(), hash);
    let after: Vec<rows::Operator> =
        cluster.state.operators(None, 10).items.into_iter().map(|(_, row)| row.clone()).collect();
    assert_eq!((after.len(), after.last()), (2, before.last()), "`root` comes after `rescue`, as it was");
    assert_eq!(cluster.state.check(), Ok(()));
}

#[test]
fn nobody_but_a_seal_recovers_and_a_seal_does_nothing_else() {
    let mut cluster = Cluster::formed();
    for actor in [Principal::LocalAdmin, Principal::Node(NodeId(1)), root(), Principal::Unauthenticated] {
        let request = Some(RequestKey { id: request_id(FORMED, 1), body: [1; 32] });
        let tried = cluster.propose(Proposal { request, ..proposal(actor, recover("rescue", KEY)) });
        assert_eq!(why(tried), Some(Reason::PermissionDenied));
    }
    let without_a_request = cluster.propose(proposal(Principal::Seal, recover("rescue", KEY)));
    assert_eq!(why(without_a_request), Some(Reason::PermissionDenied));
    let revoke = Command::RevokeOperator { name: name("root") };
    let basis = Some(cluster.state.basis(&revoke, Time::NEVER));
    let tried = cluster.propose(Proposal { basis, ..proposal(Principal::Seal, revoke) });
    assert_eq!(why(tried), Some(Reason::PermissionDenied));
    assert_eq!(cluster.state.operators(None, 10).items.len(), 1);
}

#[test]
fn no_name_and_no_key_that_there_was_is_given_to_another() {
    let mut cluster = Cluster::formed();
    assert_eq!(why(by_seal(&mut cluster, 1, recover("root", KEY))), Some(Reason::AlreadyExists));
    assert_eq!(
        why(by_seal(&mut cluster, 2, recover("rescue", SpkiHash([5; 32])))),
        Some(Reason::AlreadyExists),
        "root's key"
    );
    by_seal(&mut cluster, 3, recover("rescue", KEY)).reply.expect("enrols");
    let revoke = Command::RevokeOperator { name: name("rescue") };
    cluster.ask(revoke).expect("another admin looks at it and revokes it");
    assert_eq!(cluster.state.recovered_admins(FORMED).count(), 0);
    assert_eq!(why(by_seal(&mut cluster, 4, recover("rescue", KEY))), Some(Reason::AlreadyExists));
    assert_eq!(why(by_seal(&mut cluster, 5, recover("again", KEY))), Some(Reason::PreconditionFailed), "a spent key");
}

fn ask_as(cluster: &mut Cluster, who: &str, command: Command) -> Result<Reply, Refusal> {
    let basis = Some(cluster.state.basis(&command, Time::NEVER));
    cluster.propose(Proposal { basis, ..proposal(Principal::Operator(name(who)), command) }).reply
}

fn enrol(operator: &str, key: u8) -> Command {
    Command::EnrolOperator {
        name: name(operator),
        spki: SpkiHash([key; 32]),
        expires: FORMED.after(Millis::from_days(9)),
    }
}

fn admin(operator: &str) -> Binding {
    Binding { principal: Principal::Operator(name(operator)), role: Role::Admin, scope: Scope::Cluster }
}

#[test]
fn whom_a_recovered_admin_makes_an_admin_vouches_for_nobody_either() {
    let mut cluster = Cluster::formed();
    by_seal(&mut cluster, 1, recover("rescue", KEY)).reply.expect("enrols");
    // One that was enrolled before, one that it enrols itself, and one whose time was over.
    cluster.ask(enrol("clerk", 80)).expect("enrols");
    let short =
        Command::EnrolOperator { name: name("gone"), spki: SpkiHash([82; 32]), expires: FORMED.after(Millis(1)) };
    cluster.ask(short).expect("enrols");
    cluster.ask(Command::GrantRole(admin("gone"))).expect("grants");
    ask_as(&mut cluster, "rescue", enrol("friend", 81)).expect("enrols");
    assert_eq!(cluster.state.recovery(&name("friend")), None, "no admin yet");
    for other in ["clerk", "friend"] {
        ask_as(&mut cluster, "rescue", Command::GrantRole(admin(other))).expect("grants");
    }
    let next = FORMED.after(Millis(1_000));
    let report = NodeReport {
        node: NodeId(1),
        clock: next,
        audit_size: 0,
        audit_root: crypto::hash::sha256(b""),
        api_address: "a:1".to_owned(),
        supports: 1,
    };
    cluster.propose(proposal(Principal::Node(NodeId(1)), Command::ReportNode(report))).reply.expect("reports");
    ask_as(&mut cluster, "rescue", enrol("gone", 83)).expect("enrols");
    for marked in ["clerk", "friend", "gone"] {
        let row = cluster.state.recovery(&name(marked)).unwrap_or_else(|| panic!("{marked} is marked"));
        assert_eq!((row.through.clone(), row.opened.slot), (Some(name("rescue")), 2), "{marked}");
        let again =
            Command::EnrolOperator { name: name("rescue"), spki: KEY, expires: FORMED.after(Millis::from_days(8)) };
        ask_as(&mut cluster, marked, again).expect("prolongs");
        assert!(cluster.state.recovery(&name("rescue")).is_some(), "{marked} vouches for nobody");
    }
    // Nor is whoever was there before made one of them.
    ask_as(&mut cluster, "rescue", enrol("root", 5)).expect("prolongs");
    assert_eq!(cluster.state.recovery(&name("root")), None);
    cluster.ask(enrol("friend", 81)).expect("is vouched for");
    assert_eq!(cluster.state.recovery(&name("friend")), None);
    assert_eq!(cluster.state.check(), Ok(()));
}

#[test]
fn what_opened_another_root_key_makes_no_admin() {
    let mut cluster = Cluster::formed();
    for epoch in [0, 2] {
        let Command::RecoverOperator { name, spki, expires, opened, .. } = recover("rescue", KEY) else { return };
        let other = Command::RecoverOperator { name, spki, expires, opened, root_epoch: epoch };
        let number = u16::try_from(epoch).expect("small");
        assert_eq!(why(by_seal(&mut cluster, number, other)), Some(Reason::PreconditionFailed));
    }
    assert_eq!(cluster.state.operators(None, 10).items.len(), 1);
    by_seal(&mut cluster, 5, recover("rescue", KEY)).reply.expect("the active one does");
}

#[test]
fn it_is_said_until_an_admin_vouches_for_it() {
    let mut cluster = Cluster::formed();
    by_seal(&mut cluster, 1, recover("rescue", KEY)).reply.expect("enrols");
    let expires = FORMED.after(Millis::from_days(60));
    let enrol = Command::EnrolOperator { name: name("rescue"), spki: KEY, expires };
    assert!(cluster.state.recovery(&name("rescue")).is_some());
    // Not by its own word.
    ask_as(&mut cluster, "rescue", enrol.clone()).expect("prolongs");
    assert!(cluster.state.recovery(&name("rescue")).is_some());
    cluster.ask(enrol).expect("prolongs");
    assert_eq!(cluster.state.recovery(&name("rescue")), None);
    let held = cluster.state.bindings_of(&Principal::Operator(name("rescue"))).count();
    assert_eq!(held, 1, "and it stays what it is");
}

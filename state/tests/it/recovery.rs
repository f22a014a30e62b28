//! An admin when none is left: enrolled by a seal, beside whatever operators there were.
#![expect(clippy::expect_used, reason = "a test: what cannot be built should stop it")]

use state::{Command, Effect, OpenedSeal, Outcome, Proposal, Reply, RequestKey, rows};
use types::{Millis, NodeId, OperatorName, Principal, Reason, Role, SpkiHash, Time};

use crate::common::{Cluster, FORMED, proposal, request_id, root};

const KEY: SpkiHash = SpkiHash([77; 32]);

fn name(text: &str) -> OperatorName {
    OperatorName::parse(text).expect("a name")
}

fn recover(operator: &str, spki: SpkiHash) -> Command {
    let opened = OpenedSeal { node: NodeId(1), slot: 2, by: "shamir, shares 1, 3".to_owned() };
    let expires = FORMED.after(Millis::from_days(30));
    Command::RecoverOperator { name: name(operator), spki, expires, opened }
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

#[test]
fn it_is_said_until_an_admin_vouches_for_it() {
    let mut cluster = Cluster::formed();
    by_seal(&mut cluster, 1, recover("rescue", KEY)).reply.expect("enrols");
    let expires = FORMED.after(Millis::from_days(60));
    let enrol = Command::EnrolOperator { name: name("rescue"), spki: KEY, expires };
    assert!(cluster.state.recovery(&name("rescue")).is_some());
    cluster.ask(enrol).expect("prolongs");
    assert_eq!(cluster.state.recovery(&name("rescue")), None);
    let held = cluster.state.bindings_of(&Principal::Operator(name("rescue"))).count();
    assert_eq!(held, 1, "and it stays what it is");
}

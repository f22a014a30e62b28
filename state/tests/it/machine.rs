//! The rules of the state machine, one by one. What follows from their mixture is `tests/sim`'s.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test: what cannot be built should stop it")]

use crate::common::{Cluster, FORMED, init, proposal, request_id, root};
use kms::{Algorithm, RotationCause};
use state::{
    Command, Entry, EntryBody, JoinKind, NamespaceSettings, NodeInfo, NodeReport, Proposal, Reply, RequestKey, State,
    Unrecognised,
};
use types::{
    AgentName, Binding, EntryName, KeyId, KeyName, Millis, NamespaceName, NodeId, OperatorName, Principal, Reason,
    Refusal, Role, Scope, SpkiHash, Time, TokenId,
};

fn why<T>(answer: Result<T, Refusal>) -> Option<Reason> {
    answer.err().map(|refusal| refusal.reason)
}

fn default() -> NamespaceName {
    NamespaceName::default_namespace()
}

fn key(name: &str) -> KeyName {
    KeyName::parse(name).expect("a name")
}

fn create_key(name: &str, period: Option<Millis>) -> Command {
    Command::CreateKey {
        namespace: default(),
        name: key(name),
        id: KeyId([name.as_bytes()[0]; 16]),
        algorithm: Algorithm::Aes256Gcm,
        settings: kms::KeySettings::rotating(period),
        material: kms::WrappedMaterial::secret(vec![9; 81]),
    }
}

fn rotate(name: &str, expect_last: u32, cause: RotationCause) -> Command {
    Command::AddKeyVersion {
        namespace: default(),
        name: key(name),
        expect_last,
        cause,
        material: kms::WrappedMaterial::secret(vec![8; 81]),
    }
}

fn report(cluster: &mut Cluster, node: u64, clock: Time, audit_size: u64) -> Result<Reply, Refusal> {
    let report = NodeReport {
        node: NodeId(node),
        clock,
        audit_size,
        audit_root: [u8::try_from(audit_size).expect("small"); 32],
        api_address: "127.0.0.1:7443".to_owned(),
        supports: 1,
    };
    cluster.propose(proposal(Principal::Node(NodeId(node)), Command::ReportNode(report))).reply
}

fn join(cluster: &mut Cluster, number: u8) -> Result<Reply, Refusal> {
    let expires = cluster.state.time().after(Millis::from_hours(1));
    let token = Command::CreateJoinToken {
        id: TokenId([number; 16]),
        secret_hash: [number; 32],
        kind: JoinKind::Node,
        expires,
    };
    cluster.ask(token).expect("a token");
    redeem(cluster, number, number)
}

fn redeem(cluster: &mut Cluster, number: u8, secret: u8) -> Result<Reply, Refusal> {
    redeem_as(cluster, number, number, secret)
}

/// A node with the key of that number presents the token of another.
fn redeem_as(cluster: &mut Cluster, key: u8, number: u8, secret: u8) -> Result<Reply, Refusal> {
    let info =
        NodeInfo { spki: SpkiHash([0xa0 | key; 32]), peer_address: "a:1".to_owned(), api_address: "a:2".to_owned() };
    let command =
        Command::RedeemNodeToken { token: TokenId([number; 16]), secret_hash: [secret; 32], info, learner: false };
    cluster.propose(proposal(Principal::JoinToken, command)).reply
}

#[test]
fn only_the_first_entry_forms_the_cluster() {
    let mut state = State::new();
    let early = state.apply(&Entry { index: 1, proposal: proposal(root(), create_key("a", None)) });
    assert_eq!((why(early.reply), early.record), (Some(Reason::NotInitialized), None));
    let mut cluster = Cluster::formed();
    assert_eq!(why(cluster.propose(proposal(Principal::LocalAdmin, init())).reply), Some(Reason::AlreadyInitialized));
    assert_eq!(cluster.state.principal_by_spki(&SpkiHash([5; 32]), FORMED), Ok(root()));
}

#[test]
fn an_index_is_applied_once() {
    let mut cluster = Cluster::formed();
    let before = cluster.state.hash();
    let again = cluster.state.apply(&Entry { index: cluster.index, proposal: proposal(root(), create_key("a", None)) });
    assert_eq!((why(again.reply), cluster.state.hash()), (Some(Reason::Internal), before));
}

#[test]
fn a_retry_makes_one_version_and_another_body_none() {
    let mut cluster = Cluster::formed();
    cluster.ask(create_key("a", None)).expect("a key");
    let id = request_id(FORMED, 1);
    let first = cluster.ask_as(id, 1, rotate("a", 1, RotationCause::Operator));
    assert_eq!(first, Ok(Reply::Version(2)));
    assert_eq!(cluster.ask_as(id, 1, rotate("a", 2, RotationCause::Operator)), first);
    assert_eq!(why(cluster.ask_as(id, 2, rotate("a", 2, RotationCause::Operator))), Some(Reason::RequestIdReused));
    assert_eq!(cluster.state.key(&default(), &key("a")).map(|key| key.last_version), Some(2));
    // A refusal is remembered as well: the retry is not carried out although it now could be.
    let early = request_id(FORMED, 2);
    assert_eq!(why(cluster.ask_as(early, 1, rotate("b", 1, RotationCause::Operator))), Some(Reason::NotFound));
    cluster.ask(create_key("b", None)).expect("a key");
    assert_eq!(why(cluster.ask_as(early, 1, rotate("b", 1, RotationCause::Operator))), Some(Reason::NotFound));
}

#[test]
fn a_stale_decision_is_not_remembered() {
    let mut cluster = Cluster::formed();
    let command = create_key("a", None);
    let request = Some(RequestKey { id: request_id(FORMED, 1), body: [1; 32] });
    let mut basis = cluster.state.basis(&command, Time::NEVER);
    basis.global.0 += 1;
    let stale = Proposal { request, basis: Some(basis), ..proposal(root(), command.clone()) };
    let outcome = cluster.propose(stale);
    assert_eq!((why(outcome.reply), outcome.record), (Some(Reason::Stale), None));
    assert_eq!(cluster.ask_as(request_id(FORMED, 1), 1, command), Ok(Reply::Version(1)));
}

#[test]
fn each_part_of_the_basis_is_compared() {
    let mut cluster = Cluster::formed();
    cluster.ask(create_key("a", None)).expect("a key");
    let command = rotate("a", 1, RotationCause::Operator);
    let good = cluster.state.basis(&command, Time::NEVER);
    let mut wrong = [good; 4];
    wrong[0].global.0 -= 1;
    wrong[1].namespace.0 -= 1;
    wrong[2].resource.0 -= 1;
    wrong[3].valid_until = cluster.state.time();
    for basis in wrong {
        let stale = Proposal { basis: Some(basis), ..proposal(root(), command.clone()) };
        assert_eq!(why(cluster.propose(stale).reply), Some(Reason::Stale), "{basis:?}");
    }
    assert_eq!(why(cluster.propose(proposal(root(), command.clone())).reply), Some(Reason::PermissionDenied));
    let fresh = Proposal { basis: Some(good), ..proposal(root(), command) };
    assert_eq!(cluster.propose(fresh).reply, Ok(Reply::Version(2)));
}

#[test]
fn request_ids_from_the_future_are_refused() {
    let mut cluster = Cluster::formed();
    let edge = FORMED.after(types::limits::REQUEST_ID_FUTURE_MAX);
    let late = request_id(edge.after(Millis(1)), 1);
    assert_eq!(why(cluster.ask_as(late, 1, create_key("a", None))), Some(Reason::RequestIdExpired));
    assert_eq!(cluster.ask_as(request_id(edge, 1), 1, create_key("a", None)), Ok(Reply::Version(1)));
}

#[test]
fn request_ids_of_yesterday_are_forgotten_and_refused() {
    let mut cluster = Cluster::formed();
    let old = request_id(FORMED, 1);
    assert_eq!(cluster.ask_as(old, 1, create_key("a", None)), Ok(Reply::Version(1)));
    let day = FORMED.after(types::limits::REQUEST_ID_PAST_MAX);
    report(&mut cluster, 1, Time(day.0 - 1), 0).expect("a report");
    assert_eq!(cluster.ask_as(old, 1, create_key("a", None)), Ok(Reply::Version(1)), "still remembered");
    assert_eq!(cluster.ask_as(request_id(FORMED, 2), 1, create_key("b", None)), Ok(Reply::Version(1)));

    report(&mut cluster, 1, day, 0).expect("a report");
    assert_eq!(why(cluster.ask_as(request_id(FORMED, 3), 1, create_key("c", None))), Some(Reason::RequestIdExpired));
    assert!(cluster.state.remembered(&root(), old).is_some(), "a refused id drops nothing");
    assert_eq!(cluster.ask_as(request_id(day, 1), 1, create_key("c", None)), Ok(Reply::Version(1)));
    for forgotten in [old, request_id(FORMED, 2)] {
        assert_eq!(cluster.state.remembered(&root(), forgotten), None);
        assert_eq!(why(cluster.ask_as(forgotten, 1, create_key("a", None))), Some(Reason::RequestIdExpired));
    }
    cluster.state.check().expect("what is derived follows from the rows");
}

#[test]
fn state_time_is_the_lower_median_and_never_goes_back() {
    let mut cluster = Cluster::formed();
    assert_eq!(join(&mut cluster, 2), Ok(Reply::Node(NodeId(2))));
    assert_eq!(join(&mut cluster, 3), Ok(Reply::Node(NodeId(3))));
    let at = |seconds| FORMED.after(Millis::from_secs(seconds));
    for (node, clock, time) in [
        (1, at(10), at(10)),
        (2, at(5_000), at(10)),
        (3, at(20), at(20)),
        (1, at(30), at(30)),
        (1, at(1), at(30)),
        (3, at(40), at(40)),
    ] {
        report(&mut cluster, node, clock, 0).expect("a report");
        assert_eq!(cluster.state.time(), time, "after node {node} said {clock:?}");
    }
}

#[test]
fn an_audit_log_never_goes_back() {
    let mut cluster = Cluster::formed();
    report(&mut cluster, 1, FORMED, 5).expect("a report");
    let shorter = report(&mut cluster, 1, FORMED.after(Millis(9)), 4);
    assert_eq!((why(shorter), cluster.state.time()), (Some(Reason::PreconditionFailed), FORMED));
    let forked = NodeReport {
        node: NodeId(1),
        clock: FORMED,
        audit_size: 5,
        audit_root: [0xff; 32],
        api_address: "127.0.0.1:7443".to_owned(),
        supports: 1,
    };
    let forked = cluster.propose(proposal(Principal::Node(NodeId(1)), Command::ReportNode(forked)));
    assert_eq!(why(forked.reply), Some(Reason::PreconditionFailed));
    assert!(forked.record.is_some(), "the attempt is on record");
    let other = NodeReport {
        node: NodeId(1),
        clock: FORMED,
        audit_size: 6,
        audit_root: [0; 32],
        api_address: "a:1".into(),
        supports: 1,
    };
    let other = proposal(Principal::Node(NodeId(2)), Command::ReportNode(other));
    assert_eq!(why(cluster.propose(other).reply), Some(Reason::PermissionDenied));
}

#[test]
fn a_node_that_died_before_it_noted_its_number_is_told_it_again_until_it_has_run() {
    let mut cluster = Cluster::formed();
    assert_eq!(join(&mut cluster, 2), Ok(Reply::Node(NodeId(2))));
    assert_eq!(redeem(&mut cluster, 2, 2), Ok(Reply::Node(NodeId(2))));
    assert_eq!(cluster.state.nodes().count(), 2);
    let now = cluster.state.time();
    report(&mut cluster, 2, now, 0).expect("a report");
    assert_eq!(why(redeem(&mut cluster, 2, 2)), Some(Reason::TokenRejected));
}

#[test]
fn a_token_opens_once_and_bad_ones_look_alike() {
    let mut cluster = Cluster::formed();
    let unknown = redeem(&mut cluster, 2, 2).expect_err("no such token");
    assert_eq!(join(&mut cluster, 2), Ok(Reply::Node(NodeId(2))));
    assert_eq!(redeem_as(&mut cluster, 9, 2, 2), Err(unknown.clone()), "spent");
    let hour = Millis::from_hours(1);
    let (id, expires) = (TokenId([3; 16]), FORMED.after(hour));
    let token = Command::CreateJoinToken { id, secret_hash: [3; 32], kind: JoinKind::Node, expires };
    cluster.ask(token).expect("a token");
    assert_eq!(redeem(&mut cluster, 3, 9), Err(unknown.clone()), "wrong secret");
    assert_eq!(redeem(&mut cluster, 3, 3), Ok(Reply::Node(NodeId(3))), "a failed attempt does not spend it");
    let late = Command::CreateJoinToken { id: TokenId([4; 16]), secret_hash: [4; 32], kind: JoinKind::Node, expires };
    cluster.ask(late).expect("a token");
    report(&mut cluster, 1, FORMED.after(hour), 0).expect("a report");
    assert_eq!(redeem(&mut cluster, 4, 4), Err(unknown), "expired");
}

#[test]
fn the_last_admin_stays() {
    let mut cluster = Cluster::formed();
    let name = OperatorName::parse("root").expect("a name");
    let binding = |principal| Binding { principal, role: Role::Admin, scope: Scope::Cluster };
    assert_eq!(why(cluster.ask(Command::RevokeOperator { name: name.clone() })), Some(Reason::PreconditionFailed));
    assert_eq!(why(cluster.ask(Command::RevokeRole(binding(root())))), Some(Reason::PreconditionFailed));
    let second = OperatorName::parse("second").expect("a name");
    let expires = FORMED.after(Millis::from_days(1));
    cluster.ask(Command::EnrolOperator { name: second.clone(), spki: SpkiHash([9; 32]), expires }).expect("enrolled");
    cluster.ask(Command::GrantRole(binding(Principal::Operator(second)))).expect("granted");
    cluster.ask(Command::RevokeOperator { name: name.clone() }).expect("another admin is there");
    assert_eq!(cluster.state.principal_by_spki(&SpkiHash([5; 32]), FORMED), Err(Unrecognised::Revoked));
    // The key stays banned even when the name comes back with a new one, and its roles do not come back.
    let command = Command::EnrolOperator { name: name.clone(), spki: SpkiHash([5; 32]), expires };
    assert_eq!(why(cluster.ask(command)), Some(Reason::PreconditionFailed));
    cluster.ask(Command::EnrolOperator { name, spki: SpkiHash([10; 32]), expires }).expect("a new key");
    assert_eq!(cluster.state.principal_by_spki(&SpkiHash([5; 32]), FORMED), Err(Unrecognised::Revoked));
    assert_eq!(cluster.state.bindings_of(&root()).count(), 0);
    let end = cluster.state.principal_by_spki(&SpkiHash([10; 32]), expires);
    assert_eq!(end, Err(Unrecognised::Expired));
}

#[test]
fn a_schedule_is_served_once_when_it_is_due() {
    let mut cluster = Cluster::formed();
    let hour = Millis::from_hours(1);
    assert_eq!(why(cluster.ask(create_key("a", Some(Millis(hour.0 - 1))))), Some(Reason::InvalidArgument));
    cluster.ask(create_key("a", Some(hour))).expect("a key");
    let tick = |cluster: &mut Cluster, expect| {
        let command = rotate("a", expect, RotationCause::Schedule);
        cluster.propose(proposal(Principal::Node(NodeId(1)), command)).reply
    };
    assert_eq!(why(tick(&mut cluster, 1)), Some(Reason::NotDue));
    report(&mut cluster, 1, FORMED.after(Millis::from_hours(5)), 0).expect("a report");
    assert_eq!(cluster.state.rotations_due(cluster.state.time()).count(), 1);
    assert_eq!(tick(&mut cluster, 1), Ok(Reply::Version(2)));
    assert_eq!(why(tick(&mut cluster, 1)), Some(Reason::NotDue), "the same tick again");
    assert_eq!(why(tick(&mut cluster, 2)), Some(Reason::NotDue), "missed ticks are caught up once");
    assert_eq!(cluster.state.rotations_due(cluster.state.time()).count(), 0);
}

#[test]
fn an_entry_stays_in_its_namespace_and_its_granted_names() {
    let mut cluster = Cluster::formed();
    let entry = |path: &str, dns: &[&str]| Command::CreateEntry {
        namespace: default(),
        name: EntryName::parse("api").expect("a name"),
        body: EntryBody {
            path: path.to_owned(),
            parent: AgentName::parse("edge").expect("a name"),
            selectors: vec!["unix:uid:1000".to_owned()],
            svid_ttl: types::limits::SVID_TTL_DEFAULT,
            dns_names: dns.iter().map(|name| (*name).to_owned()).collect(),
            hint: String::new(),
        },
    };
    for path in ["/ns/other/api", "/chancery/node-1", "/ns/default"] {
        assert_eq!(why(cluster.ask(entry(path, &[]))), Some(Reason::OutsideNamespace), "{path}");
    }
    assert_eq!(why(cluster.ask(entry("/ns/default//", &[]))), Some(Reason::InvalidArgument));
    assert_eq!(why(cluster.ask(entry("/ns/default/api", &["a.pay.example"]))), Some(Reason::OutsideNamespace));
    let settings = NamespaceSettings {
        rotation_floor: types::limits::ROTATION_FLOOR_DEFAULT,
        dns_suffixes: vec!["pay.example".to_owned()],
        ..NamespaceSettings::default()
    };
    cluster.ask(Command::UpdateNamespace { name: default(), settings }).expect("granted");
    assert_eq!(cluster.ask(entry("/ns/default/api", &["a.pay.example"])), Ok(Reply::Done));
    let agent = AgentName::parse("edge").expect("a name");
    assert_eq!(cluster.state.entries_of(&agent).count(), 1);
    assert_eq!(cluster.state.entries_of(&AgentName::parse("edge-2").expect("a name")).count(), 0);
}

#[test]
fn lists_come_page_by_page_and_stay_in_their_namespace() {
    let mut cluster = Cluster::formed();
    for name in ["c", "a", "b"] {
        cluster.ask(create_key(name, None)).expect("a key");
    }
    let names = |after: Option<&str>, size| {
        let page = cluster.state.keys(&default(), after.map(key).as_ref(), size);
        (
            page.items.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>(),
            page.next.map(|name| name.to_string()),
        )
    };
    assert_eq!(names(None, 2), (vec!["a".to_owned(), "b".to_owned()], Some("b".to_owned())));
    assert_eq!(names(Some("b"), 2), (vec!["c".to_owned()], None));
    let other = NamespaceName::parse("a").expect("a name");
    assert!(cluster.state.keys(&other, None, 9).items.is_empty());
    let (_, name, found) = cluster.state.key_by_id(&KeyId([b'b'; 16])).expect("a key");
    assert_eq!((name.as_str(), found.last_version), ("b", 1));
}

//! A new root key: nothing makes it the active one before every member has it and everything is wrapped under it.
#![expect(clippy::expect_used, reason = "a test: what cannot be built should stop it")]

use crate::common::{Cluster, FORMED, proposal};
use state::{Command, JoinKind, NamespaceSettings, NodeInfo, Reply, read_snapshot, write_snapshot};
use types::{KeyId, Millis, NamespaceName, NodeId, Principal, Reason, Refusal, RootId, SpkiHash, TokenId};

const ONE: NodeId = NodeId(1);
const FIRST: RootId = RootId([1; 16]);
const OTHER: RootId = RootId([2; 16]);

fn why(result: Result<Reply, Refusal>) -> Option<Reason> {
    result.err().map(|refusal| refusal.reason)
}

fn own(cluster: &mut Cluster, node: NodeId, command: Command) -> Result<Reply, Refusal> {
    cluster.propose(proposal(Principal::Node(node), command)).reply
}

fn begin(cluster: &mut Cluster) -> Result<Reply, Refusal> {
    cluster.ask(Command::BeginRekey { quorum: None })
}

fn stage(cluster: &mut Cluster, epoch: u32, id: RootId) -> Result<Reply, Refusal> {
    own(cluster, ONE, Command::StageRoot { epoch, id })
}

fn confirm(cluster: &mut Cluster, node: NodeId, epoch: u32, id: RootId) -> Result<Reply, Refusal> {
    own(cluster, node, Command::ConfirmRoot { node, epoch, id })
}

fn activate(cluster: &mut Cluster, epoch: u32, id: RootId, namespaces: &[&str]) -> Result<Reply, Refusal> {
    let keks_wrapped = namespaces.iter().map(|name| (namespace(name), vec![0xaa; 81])).collect();
    own(cluster, ONE, Command::ActivateRoot { epoch, id, keks_wrapped, cluster_key_wrapped: vec![0xbb; 187] })
}

fn namespace(name: &str) -> NamespaceName {
    NamespaceName::parse(name).expect("a name")
}

fn join(cluster: &mut Cluster, number: u8) -> NodeId {
    let (id, secret_hash, expires) = (TokenId([number; 16]), [number; 32], FORMED.after(Millis::from_hours(1)));
    cluster.ask(Command::CreateJoinToken { id, secret_hash, kind: JoinKind::Node, expires }).expect("a token");
    let info =
        NodeInfo { spki: SpkiHash([0xa0 | number; 32]), peer_address: "a:1".to_owned(), api_address: "a:2".to_owned() };
    let redeem = Command::RedeemNodeToken { token: id, secret_hash, info, learner: false };
    match cluster.propose(proposal(Principal::JoinToken, redeem)).reply {
        Ok(Reply::Node(node)) => node,
        other => unreachable!("{other:?}"),
    }
}

fn waits_for(cluster: &Cluster) -> Vec<NodeId> {
    cluster.state.root_waits_for().collect()
}

#[test]
fn a_root_key_becomes_active_when_every_member_has_it() {
    let mut cluster = Cluster::formed();
    let two = join(&mut cluster, 2);
    assert_eq!((cluster.state.root_epoch(), cluster.state.root_keys()), (1, None));
    begin(&mut cluster).expect("is wanted");
    assert_eq!(why(confirm(&mut cluster, ONE, 2, FIRST)), Some(Reason::PreconditionFailed), "not drawn yet");
    stage(&mut cluster, 2, FIRST).expect("is drawn");
    assert_eq!(waits_for(&cluster), [ONE, two]);
    confirm(&mut cluster, ONE, 2, FIRST).expect("has it");
    let refused = activate(&mut cluster, 2, FIRST, &["default"]).expect_err("one has not got it");
    assert!(refused.message.ends_with("waits for node-2"), "{}", refused.message);
    assert_eq!(cluster.state.root_epoch(), 1);
    confirm(&mut cluster, two, 2, FIRST).expect("has it");
    let before = cluster.state.global_revision();
    activate(&mut cluster, 2, FIRST, &["default"]).expect("becomes active");
    assert_eq!((cluster.state.root_epoch(), cluster.state.staged_root()), (2, None));
    assert_eq!(cluster.state.root_keys().and_then(|row| row.id), Some(FIRST));
    let row = cluster.state.namespace(&namespace("default")).expect("is there");
    assert_eq!(row.kek_wrapped, vec![0xaa; 81]);
    assert_eq!(cluster.state.cluster().expect("is there").key_wrapped, vec![0xbb; 187]);
    assert!(cluster.state.global_revision() > before, "what was wrapped under the key before is wrapped again");
    assert_eq!(why(activate(&mut cluster, 2, FIRST, &["default"])), Some(Reason::PreconditionFailed), "once");
    cluster.state.check().expect("whole");
}

#[test]
fn a_member_that_came_meanwhile_is_waited_for_and_one_that_went_is_not() {
    let mut cluster = Cluster::formed();
    let two = join(&mut cluster, 2);
    begin(&mut cluster).expect("is wanted");
    stage(&mut cluster, 2, FIRST).expect("is drawn");
    confirm(&mut cluster, ONE, 2, FIRST).expect("has it");
    let three = join(&mut cluster, 3);
    confirm(&mut cluster, two, 2, FIRST).expect("has it");
    assert_eq!(waits_for(&cluster), [three]);
    assert_eq!(why(activate(&mut cluster, 2, FIRST, &["default"])), Some(Reason::PreconditionFailed));
    cluster
        .ask(Command::RemoveNode { node: three, audit_closed: None, forced: true, compromised: false })
        .expect("is removed");
    activate(&mut cluster, 2, FIRST, &["default"]).expect("waits for nobody");
}

#[test]
fn only_the_key_that_was_named_last_counts() {
    let mut cluster = Cluster::formed();
    begin(&mut cluster).expect("is wanted");
    stage(&mut cluster, 2, FIRST).expect("is drawn");
    stage(&mut cluster, 2, OTHER).expect("nobody has confirmed the one before");
    assert_eq!(why(confirm(&mut cluster, ONE, 2, FIRST)), Some(Reason::PreconditionFailed));
    confirm(&mut cluster, ONE, 2, OTHER).expect("has it");
    assert_eq!(why(stage(&mut cluster, 2, FIRST)), Some(Reason::PreconditionFailed), "one has confirmed it");
    assert_eq!(why(activate(&mut cluster, 2, FIRST, &["default"])), Some(Reason::PreconditionFailed));
    assert_eq!(why(activate(&mut cluster, 3, OTHER, &["default"])), Some(Reason::PreconditionFailed));
    activate(&mut cluster, 2, OTHER, &["default"]).expect("becomes active");
}

#[test]
fn a_key_that_only_a_removed_member_had_is_drawn_again() {
    let mut cluster = Cluster::formed();
    let two = join(&mut cluster, 2);
    begin(&mut cluster).expect("is wanted");
    stage(&mut cluster, 2, FIRST).expect("is drawn");
    confirm(&mut cluster, two, 2, FIRST).expect("has it");
    assert_eq!(why(stage(&mut cluster, 2, OTHER)), Some(Reason::PreconditionFailed));
    cluster
        .ask(Command::RemoveNode { node: two, audit_closed: None, forced: true, compromised: false })
        .expect("is removed");
    stage(&mut cluster, 2, OTHER).expect("nobody has the one before");
    assert_eq!(waits_for(&cluster), [ONE]);
}

#[test]
fn no_namespace_is_left_behind() {
    let mut cluster = Cluster::formed();
    begin(&mut cluster).expect("is wanted");
    stage(&mut cluster, 2, FIRST).expect("is drawn");
    confirm(&mut cluster, ONE, 2, FIRST).expect("has it");
    let settings = NamespaceSettings::default();
    let (name, id) = (namespace("late"), KeyId([0x33; 16]));
    cluster.ask(Command::CreateNamespace { name, id, settings, kek_wrapped: vec![1; 81] }).expect("is made");
    for namespaces in [&["default"][..], &[], &["default", "else"], &["late", "default"], &["default", "late", "x"]] {
        let refused = activate(&mut cluster, 2, FIRST, namespaces);
        assert_eq!(why(refused), Some(Reason::PreconditionFailed), "{namespaces:?}");
    }
    assert_eq!(cluster.state.namespace(&namespace("late")).expect("is there").kek_wrapped, vec![1; 81]);
    activate(&mut cluster, 2, FIRST, &["default", "late"]).expect("becomes active");
    assert_eq!(cluster.state.namespace(&namespace("late")).expect("is there").kek_wrapped, vec![0xaa; 81]);
}

#[test]
fn one_is_on_its_way_at_a_time_and_it_can_be_given_up() {
    let mut cluster = Cluster::formed();
    assert_eq!(why(cluster.ask(Command::CancelRekey)), Some(Reason::PreconditionFailed));
    begin(&mut cluster).expect("is wanted");
    let refused = begin(&mut cluster).expect_err("is wanted already");
    assert!(refused.message.contains("root key 2 is on its way already and waits for node-1"), "{}", refused.message);
    stage(&mut cluster, 2, FIRST).expect("is drawn");
    cluster.ask(Command::CancelRekey).expect("is given up");
    assert_eq!(why(confirm(&mut cluster, ONE, 2, FIRST)), Some(Reason::PreconditionFailed));
    begin(&mut cluster).expect("is wanted again");
    assert_eq!(cluster.state.staged_root().and_then(|staged| staged.id), None, "what was given up does not come back");
    assert_eq!(why(activate(&mut cluster, 2, FIRST, &["default"])), Some(Reason::PreconditionFailed));
}

#[test]
fn nobody_speaks_for_another() {
    let mut cluster = Cluster::formed();
    let two = join(&mut cluster, 2);
    begin(&mut cluster).expect("is wanted");
    stage(&mut cluster, 2, FIRST).expect("is drawn");
    let forged = own(&mut cluster, two, Command::ConfirmRoot { node: ONE, epoch: 2, id: FIRST });
    assert_eq!(why(forged), Some(Reason::PermissionDenied));
    for command in [
        Command::StageRoot { epoch: 2, id: OTHER },
        Command::ConfirmRoot { node: ONE, epoch: 2, id: FIRST },
        Command::ActivateRoot { epoch: 2, id: FIRST, keks_wrapped: Vec::new(), cluster_key_wrapped: vec![1] },
    ] {
        assert_eq!(why(cluster.ask(command)), Some(Reason::PermissionDenied), "an operator does not");
    }
    assert_eq!(why(own(&mut cluster, ONE, Command::BeginRekey { quorum: None })), Some(Reason::PermissionDenied));
}

#[test]
fn it_is_in_snapshots() {
    let mut cluster = Cluster::formed();
    begin(&mut cluster).expect("is wanted");
    stage(&mut cluster, 2, FIRST).expect("is drawn");
    confirm(&mut cluster, ONE, 2, FIRST).expect("has it");
    let mut bytes = Vec::new();
    write_snapshot(&cluster.state, &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })
    .expect("writes");
    let read = read_snapshot(&mut bytes.as_slice()).expect("reads");
    assert_eq!((read.root_keys(), read.hash()), (cluster.state.root_keys(), cluster.state.hash()));
}

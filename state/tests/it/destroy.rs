//! Destroyed stays destroyed: the wrapped bytes leave the state with the entry, the number and the name stay taken, and the
//! receipt says whose disk may still hold them.
#![expect(clippy::expect_used, reason = "a test: what cannot be built should stop it")]

use crate::common::{Cluster, FORMED, proposal};
use kms::{RotationCause, VersionState};
use state::{Command, Erasure, JoinKind, NodeInfo, NodeReport, Reply, read_snapshot, write_snapshot};
use types::limits::ERASURE_WAITS;
use types::{
    KeyId, KeyName, Millis, NamespaceName, NodeId, Principal, Reason, Refusal, Revision, RootId, SpkiHash, TokenId,
};

/// What the material of version 1 and 2 looks like, wrapped.
const WRAPPED: [u8; 2] = [0x91, 0x92];

fn why<T>(result: Result<T, Refusal>) -> Option<Reason> {
    result.err().map(|refusal| refusal.reason)
}

fn ns() -> NamespaceName {
    NamespaceName::default_namespace()
}

fn orders() -> KeyName {
    KeyName::parse("orders").expect("a name")
}

fn id() -> KeyId {
    KeyId([8; 16])
}

fn create() -> Command {
    Command::CreateKey {
        namespace: ns(),
        name: orders(),
        id: id(),
        algorithm: kms::Algorithm::Aes256Gcm,
        settings: kms::KeySettings {
            rotation_period: Some(Millis::from_hours(2)),
            waiting_period: Some(Millis::ZERO),
            ..kms::KeySettings::default()
        },
        material: kms::WrappedMaterial::secret(vec![WRAPPED[0]; 81]),
    }
}

fn rotate(expect_last: u32) -> Command {
    let material = kms::WrappedMaterial::secret(vec![WRAPPED[1]; 81]);
    Command::AddKeyVersion { namespace: ns(), name: orders(), expect_last, cause: RotationCause::Operator, material }
}

fn disable(version: Option<u32>) -> Command {
    Command::SetKeyEnabled { namespace: ns(), name: orders(), version, enabled: false }
}

fn enable(version: Option<u32>) -> Command {
    Command::SetKeyEnabled { namespace: ns(), name: orders(), version, enabled: true }
}

fn destroy(version: Option<u32>, urgent: bool) -> Command {
    Command::DestroyKey { namespace: ns(), name: orders(), version, urgent }
}

/// A key of two versions.
fn with_key() -> Cluster {
    let mut cluster = Cluster::formed();
    cluster.without_waiting();
    cluster.ask(create()).expect("a key");
    cluster.ask(rotate(1)).expect("a version");
    cluster
}

fn join(cluster: &mut Cluster, number: u8) -> NodeId {
    let (id, expires) = (TokenId([number; 16]), FORMED.after(Millis::from_hours(1)));
    let token = Command::CreateJoinToken { id, secret_hash: [number; 32], kind: JoinKind::Node, expires };
    cluster.ask(token).expect("a token");
    let spki = SpkiHash([number; 32]);
    let info = NodeInfo { spki, peer_address: "a:1".to_owned(), api_address: "a:2".to_owned() };
    let redeem = Command::RedeemNodeToken { token: id, secret_hash: [number; 32], info, learner: false };
    match cluster.propose(proposal(Principal::JoinToken, redeem)).reply {
        Ok(Reply::Node(node)) => node,
        other => unreachable!("{other:?}"),
    }
}

fn erased(cluster: &mut Cluster, node: NodeId, upto: u64) -> Result<Reply, Refusal> {
    let command = Command::ReportErasure { node, upto: Revision(upto) };
    cluster.propose(proposal(Principal::Node(node), command)).reply
}

fn bytes(cluster: &Cluster) -> Vec<u8> {
    let mut bytes = Vec::new();
    let done = write_snapshot(&cluster.state, &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    });
    done.expect("written");
    bytes
}

fn holds(bytes: &[u8], what: u8) -> bool {
    bytes.windows(16).any(|window| window.iter().all(|byte| *byte == what))
}

#[test]
fn the_wrapped_bytes_leave_the_state_with_the_entry() {
    let mut cluster = with_key();
    assert!(holds(&bytes(&cluster), WRAPPED[0]) && holds(&bytes(&cluster), WRAPPED[1]));
    let refused = cluster.ask(destroy(Some(1), false)).expect_err("it is enabled");
    assert_eq!(refused.reason, Reason::PreconditionFailed);
    assert!(refused.message.contains("disable it first"), "{}", refused.message);
    cluster.ask(disable(Some(1))).expect("disabled");
    assert_eq!(cluster.ask(destroy(Some(1), false)), Ok(Reply::Done));

    let snapshot = bytes(&cluster);
    assert!(!holds(&snapshot, WRAPPED[0]) && holds(&snapshot, WRAPPED[1]), "that version, and no other");
    let row = cluster.state.key_version(&id(), 1).expect("the tombstone");
    assert_eq!(
        (row.state, row.usable().err().map(|refusal| refusal.reason)),
        (VersionState::Destroyed, Some(Reason::KeyDestroyed))
    );
    // For good: not enabled, not destroyed twice, not made again.
    assert_eq!(why(cluster.ask(enable(Some(1)))), Some(Reason::KeyDestroyed));
    assert_eq!(why(cluster.ask(destroy(Some(1), false))), Some(Reason::KeyDestroyed));
    assert_eq!(cluster.ask(rotate(2)), Ok(Reply::Version(3)));
    let read = read_snapshot(&mut snapshot.as_slice()).expect("reads");
    assert_eq!(read.key_version(&id(), 1).map(|row| row.state), Some(VersionState::Destroyed));
    cluster.state.check().expect("whole");
}

#[test]
fn a_key_goes_as_a_whole_once_nothing_of_it_is_used() {
    let mut cluster = with_key();
    cluster.ask(disable(Some(1))).expect("disabled");
    assert_eq!(why(cluster.ask(destroy(None, false))), Some(Reason::PreconditionFailed), "version 2 is in use");
    cluster.ask(disable(None)).expect("disabled");
    assert_eq!(cluster.ask(destroy(None, false)), Ok(Reply::Done));
    let snapshot = bytes(&cluster);
    assert!(!holds(&snapshot, WRAPPED[0]) && !holds(&snapshot, WRAPPED[1]));
    assert_eq!(cluster.state.rotations_due(types::Time::NEVER).count(), 0);
    let update = Command::UpdateKey { namespace: ns(), name: orders(), change: kms::KeyChange::of_rotation(None) };
    for command in [enable(None), enable(Some(2)), rotate(2), destroy(None, true), update] {
        assert_eq!(why(cluster.ask(command)), Some(Reason::KeyDestroyed));
    }
    let again = Command::CreateKey {
        namespace: ns(),
        name: orders(),
        id: KeyId([9; 16]),
        algorithm: kms::Algorithm::Aes256Gcm,
        settings: kms::KeySettings::rotating(None),
        material: kms::WrappedMaterial::secret(vec![1; 81]),
    };
    assert_eq!(why(cluster.ask(again)), Some(Reason::AlreadyExists), "its name is never used again");
    cluster.state.check().expect("whole");
}

#[test]
fn it_is_a_change_that_takes_a_right_away() {
    assert!(destroy(None, false).takes_away());
    assert!(!Command::ReportErasure { node: NodeId(1), upto: Revision(1) }.takes_away());
    let removal = |compromised| Command::RemoveNode { node: NodeId(2), audit_closed: None, forced: true, compromised };
    assert!(removal(false).takes_away() && removal(true).takes_away());
}

#[test]
fn the_receipt_names_every_disk_that_may_hold_it() {
    let mut cluster = with_key();
    let two = join(&mut cluster, 2);
    cluster.ask(disable(None)).expect("disabled");
    cluster.ask(destroy(None, false)).expect("destroyed");
    let by = cluster.index;
    let three = join(&mut cluster, 3);
    let receipt = cluster.state.receipts_of(&id(), 10);
    assert_eq!(receipt.len(), 1, "one entry, one receipt");
    assert_eq!((receipt[0].revision, receipt[0].destruction.versions.as_slice()), (Revision(by), [1, 2].as_slice()));
    // One that came later may have been sent an older snapshot.
    assert_eq!(receipt[0].nodes, [NodeId(1), two, three].map(|node| (node, Erasure::Pending)).to_vec());

    assert_eq!(why(erased(&mut cluster, two, by + 1_000)), Some(Reason::NotDue), "nobody knows the future");
    assert_eq!(erased(&mut cluster, two, by - 1), Ok(Reply::Done));
    assert_eq!(cluster.state.receipt(Revision(by)).expect("one").nodes[1].1, Erasure::Pending, "not far enough");
    assert_eq!(erased(&mut cluster, two, by), Ok(Reply::Done));
    let done = Erasure::Done { upto: Revision(by), at: FORMED };
    assert_eq!(cluster.state.receipt(Revision(by)).expect("one").nodes[1].1, done);
    assert_eq!(erased(&mut cluster, two, by + 1), Ok(Reply::Done));
    assert_eq!(cluster.state.receipt(Revision(by)).expect("one").nodes[1].1, done, "the first word is what counts");
    assert_eq!(why(erased(&mut cluster, two, by + 1)), Some(Reason::NotDue));
    let for_another = Command::ReportErasure { node: NodeId(1), upto: Revision(by) };
    assert_eq!(why(cluster.propose(proposal(Principal::Node(two), for_another)).reply), Some(Reason::PermissionDenied));

    // A node that goes without a word is named as long as anybody asks.
    let command = Command::RemoveNode { node: three, audit_closed: None, forced: true, compromised: false };
    cluster.ask(command).expect("removed");
    let remove = |node| Command::RemoveNode { node, audit_closed: None, forced: true, compromised: false };
    cluster.ask(remove(NodeId(1))).expect("removed");
    let nodes = cluster.state.receipt(Revision(by)).expect("one").nodes.clone();
    assert_eq!(nodes, [(NodeId(1), Erasure::Removed), (two, done)]);
    cluster.state.check().expect("whole");
}

#[test]
fn what_is_urgent_is_due_at_once_and_the_rest_within_half_a_day() {
    let mut cluster = with_key();
    let one = NodeId(1);
    assert_eq!(cluster.state.erasure_due(one, types::Time::NEVER), None);
    cluster.ask(disable(None)).expect("disabled");
    cluster.ask(destroy(Some(1), false)).expect("destroyed");
    let first = Revision(cluster.index);
    assert_eq!(cluster.state.erasure_due(one, FORMED), None);
    assert_eq!(cluster.state.erasure_due(one, FORMED.after(ERASURE_WAITS)), Some(first));
    cluster.ask(destroy(Some(2), true)).expect("destroyed");
    let second = Revision(cluster.index);
    assert_eq!(cluster.state.erasure_due(one, FORMED), Some(second), "both go at once");
    erased(&mut cluster, one, second.0).expect("taken");
    assert_eq!(cluster.state.erasure_due(one, types::Time::NEVER), None);
    assert!(cluster.state.receipt(first).is_some_and(|receipt| receipt.is_complete()));
}

#[test]
fn a_compromised_node_leaves_a_tainted_authority_behind() {
    // Authorities need certificates, which `tests/sim` has; here only the record and the row.
    let mut cluster = Cluster::formed();
    let two = join(&mut cluster, 2);
    let report = NodeReport {
        node: two,
        clock: FORMED,
        audit_size: 0,
        audit_root: [0; 32],
        api_address: "a:2".to_owned(),
        supports: 1,
    };
    cluster.propose(proposal(Principal::Node(two), Command::ReportNode(report))).reply.expect("a report");
    let command = Command::RemoveNode { node: two, audit_closed: Some(0), forced: false, compromised: true };
    let basis = Some(cluster.state.basis(&command, types::Time::NEVER));
    let outcome = cluster.propose(state::Proposal { basis, ..proposal(crate::common::root(), command) });
    assert_eq!(outcome.reply, Ok(Reply::Done));
    let leaf = String::from_utf8_lossy(&outcome.record.expect("a record").bytes).into_owned();
    assert!(leaf.contains("compromised"), "{leaf}");
}

/// Later root keys do not change what an old copy is wrapped under.
#[test]
fn a_receipt_names_the_root_key_of_its_time() {
    let mut cluster = with_key();
    cluster.ask(disable(None)).expect("disabled");
    cluster.ask(destroy(Some(1), false)).expect("destroyed");
    let (node, epoch, root) = (NodeId(1), 2, RootId([1; 16]));
    cluster.ask(Command::BeginRekey { quorum: None }).expect("is wanted");
    let keks_wrapped = vec![(ns(), vec![0xaa; 81])];
    for command in [
        Command::StageRoot { epoch, id: root },
        Command::ConfirmRoot { node, epoch, id: root },
        Command::ActivateRoot { epoch, id: root, keks_wrapped, cluster_key_wrapped: vec![0xbb; 187] },
    ] {
        cluster.propose(proposal(Principal::Node(node), command)).reply.expect("moves on");
    }
    cluster.ask(destroy(Some(2), false)).expect("destroyed");
    let root_epoch = |version| {
        let row = cluster.state.key_version(&id(), version).expect("the tombstone");
        cluster.state.receipt(row.revision).expect("a receipt").destruction.root_epoch
    };
    assert_eq!((root_epoch(1), root_epoch(2)), (1, 2));
}

//! A cluster that comes back from a backup: nothing of the lost life acts in the new one, no number is given out twice, and
//! what a namespace holds is used only after somebody has said so.
#![expect(clippy::expect_used, reason = "a test: what cannot be built should stop it")]

use crate::common::{Cluster, FORMED, proposal, request_id};
use kms::RotationCause;
use state::rows::QuarantineReason;
use state::{Command, JoinKind, NodeInfo, Outcome, Proposal, Reply};
use types::limits::{KEY_VERSION_STEP, NODE_NUMBER_STEP};
use types::{
    Generation, KeyId, KeyName, Millis, NamespaceName, NodeId, Principal, Reason, Refusal, RootId, SpkiHash, Time,
    TokenId,
};

const RESTORED: Time = Time(FORMED.0 + 7 * 24 * 3_600_000);

fn why<T>(result: Result<T, Refusal>) -> Option<Reason> {
    result.err().map(|refusal| refusal.reason)
}

fn default() -> NamespaceName {
    NamespaceName::default_namespace()
}

fn orders() -> KeyName {
    KeyName::parse("orders").expect("a name")
}

/// A cluster with a key of two versions.
fn backed_up() -> Cluster {
    let mut cluster = Cluster::formed();
    let create = Command::CreateKey {
        namespace: default(),
        name: orders(),
        id: KeyId([8; 16]),
        algorithm: kms::Algorithm::Aes256Gcm,
        settings: kms::KeySettings::rotating(Some(Millis::from_hours(2))),
        material: kms::WrappedMaterial::secret(vec![9; 81]),
    };
    cluster.ask(create).expect("a key");
    assert_eq!(rotate(&mut cluster, 1), Ok(Reply::Version(2)));
    let (id, expires) = (TokenId([1; 16]), FORMED.after(Millis::from_hours(1)));
    let token = Command::CreateJoinToken { id, secret_hash: [1; 32], kind: JoinKind::Node, expires };
    cluster.ask(token).expect("a token");
    cluster
}

fn rotate(cluster: &mut Cluster, expect_last: u32) -> Result<Reply, Refusal> {
    let (namespace, name, material) = (default(), orders(), kms::WrappedMaterial::secret(vec![7; 81]));
    let cause = RotationCause::Operator;
    cluster.ask(Command::AddKeyVersion { namespace, name, expect_last, cause, material })
}

fn opening(generation: u64, quarantine: Option<QuarantineReason>) -> Command {
    Command::OpenGeneration {
        generation: Generation::try_from(generation).expect("in range"),
        backup: [0xbb; 32],
        info: NodeInfo { spki: SpkiHash([0xee; 32]), peer_address: "b:1".to_owned(), api_address: "b:2".to_owned() },
        compromised: false,
        quarantine,
        accounted: 0,
    }
}

fn open(cluster: &mut Cluster, command: Command) -> Outcome {
    cluster.propose(Proposal { at: RESTORED, ..proposal(Principal::LocalAdmin, command) })
}

#[test]
fn nothing_of_the_lost_life_acts_in_the_new_one() {
    let mut cluster = backed_up();
    let (trust, bundle) = (cluster.state.trust_sequence(), cluster.state.bundle_sequence());
    let opened = open(&mut cluster, opening(2, Some(QuarantineReason::NoLedger)));
    assert_eq!(opened.reply, Ok(Reply::Node(NodeId(NODE_NUMBER_STEP))));
    let leaf = String::from_utf8_lossy(&opened.record.expect("a record").bytes).into_owned();
    assert!(leaf.contains("BackupService.OpenGeneration") && leaf.contains("without a ledger"), "{leaf}");

    let state = &cluster.state;
    assert_eq!(state.generation().get(), 2);
    assert!(state.trust_sequence() >> 40 == 2 && state.trust_sequence() > trust && state.bundle_sequence() > bundle);
    assert!(state.node(NodeId(1)).is_none() && state.is_spent(&SpkiHash([4; 32])), "the lost node is not recognised");
    assert_eq!(state.voters().into_iter().collect::<Vec<_>>(), [NodeId(NODE_NUMBER_STEP)]);
    assert!(state.token(&TokenId([1; 16])).is_none(), "a token may have been spent since");
    assert_eq!(state.time(), RESTORED);
    state.check().expect("whole");
}

#[test]
fn a_generation_is_opened_once_and_only_by_whoever_restores() {
    let mut cluster = backed_up();
    let by_operator = cluster.ask(opening(2, None));
    assert_eq!(why(by_operator), Some(Reason::PermissionDenied));
    let before = cluster.state.substance_hash();
    assert_eq!(why(open(&mut cluster, opening(1, None)).reply), Some(Reason::PreconditionFailed), "its own");
    assert_eq!(cluster.state.substance_hash(), before);
    assert!(open(&mut cluster, opening(5, None)).reply.is_ok(), "the ledger may know of later ones");
    assert_eq!(cluster.state.next_generation(Generation::FIRST).map(Generation::get), Ok(6));
    let again = opening(6, None);
    assert_eq!(why(open(&mut cluster, again).reply), Some(Reason::AlreadyExists), "the node's key has a holder");
}

#[test]
fn a_quarantined_namespace_is_used_only_after_its_release() {
    let mut cluster = backed_up();
    open(&mut cluster, opening(2, Some(QuarantineReason::NoLedger))).reply.expect("opened");
    let refused = cluster.state.check_released(&default()).expect_err("quarantined");
    assert_eq!(refused.reason, Reason::RestoreQuarantine);
    assert!(refused.message.contains("`chancery namespace release default`"), "{}", refused.message);
    assert_eq!(cluster.state.rotations_due(Time::NEVER).count(), 0, "as if it were disabled");
    let last = cluster.state.key(&default(), &orders()).expect("the key").last_version;
    assert_eq!(why(rotate(&mut cluster, last)), Some(Reason::RestoreQuarantine));

    let release = || Command::ReleaseNamespace { name: default() };
    let by_a_node = cluster.propose(proposal(Principal::Node(NodeId(NODE_NUMBER_STEP)), release()));
    assert_eq!(why(by_a_node.reply), Some(Reason::PermissionDenied));
    let other = Command::ReleaseNamespace { name: NamespaceName::parse("other").expect("a name") };
    assert_eq!(why(cluster.ask(other)), Some(Reason::NotFound));
    assert_eq!(cluster.ask(release()), Ok(Reply::Done));
    assert!(cluster.state.check_released(&default()).is_ok());
    assert_eq!(why(cluster.ask(release())), Some(Reason::PreconditionFailed), "there is nothing to release");
    assert_eq!(cluster.state.rotations_due(Time::NEVER).count(), 1);
    cluster.state.check().expect("whole");
}

#[test]
fn no_version_number_is_made_a_second_time() {
    let mut cluster = backed_up();
    let mut lost = Cluster { state: cluster.state.clone(), index: cluster.index };
    open(&mut cluster, opening(2, None)).reply.expect("opened");
    let key = cluster.state.key(&default(), &orders()).expect("the key");
    assert_eq!((key.primary, key.last_version), (2, KEY_VERSION_STEP - 1), "what there is decrypts and encrypts on");
    assert_eq!(rotate(&mut cluster, KEY_VERSION_STEP - 1), Ok(Reply::Version(KEY_VERSION_STEP)));
    // The lost life went on after the backup.
    for last in 2..100 {
        assert_eq!(rotate(&mut lost, last), Ok(Reply::Version(last + 1)));
    }
}

/// A backup is restored, the life that came of it is lost as well, and the same backup is restored again.
#[test]
fn two_lives_from_one_backup_have_nothing_in_common() {
    let mut first = backed_up();
    let mut second = Cluster { state: first.state.clone(), index: first.index };
    assert_eq!(open(&mut first, opening(2, None)).reply, Ok(Reply::Node(NodeId(NODE_NUMBER_STEP))));
    assert_eq!(open(&mut second, opening(3, None)).reply, Ok(Reply::Node(NodeId(2 * NODE_NUMBER_STEP))));
    let last = |cluster: &Cluster| cluster.state.key(&default(), &orders()).expect("the key").last_version;
    assert_eq!((last(&first), last(&second)), (KEY_VERSION_STEP - 1, 2 * KEY_VERSION_STEP - 1));
}

#[test]
fn a_request_of_the_lost_life_is_not_carried_out_again() {
    let mut cluster = backed_up();
    open(&mut cluster, opening(2, None)).reply.expect("opened");
    let ask = |cluster: &mut Cluster, at: Time| {
        let command = Command::SetKeyEnabled { namespace: default(), name: orders(), version: None, enabled: true };
        cluster.ask_as(request_id(at, 1), 1, command)
    };
    assert_eq!(why(ask(&mut cluster, RESTORED)), Some(Reason::RequestIdExpired));
    assert_eq!(why(ask(&mut cluster, RESTORED.before(Millis(1)))), Some(Reason::RequestIdExpired));
    assert_eq!(ask(&mut cluster, RESTORED.after(Millis(1))), Ok(Reply::Done));
}

#[test]
fn a_root_key_that_was_on_its_way_in_the_lost_life_is_given_up() {
    let mut cluster = backed_up();
    cluster.ask(Command::BeginRekey { quorum: Some(vec![1]) }).expect("is wanted");
    let (epoch, id) = (2, RootId([1; 16]));
    let stage = proposal(Principal::Node(NodeId(1)), Command::StageRoot { epoch, id });
    cluster.propose(stage).reply.expect("is drawn");
    open(&mut cluster, opening(2, None)).reply.expect("opens");
    assert_eq!((cluster.state.root_epoch(), cluster.state.staged_root()), (1, None));
    cluster.state.check().expect("whole");
}

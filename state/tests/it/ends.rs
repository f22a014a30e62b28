//! What waits for its end: used by nobody, given back on request, destroyed when it is due and state time is sure. Of versions, of keys and
//! of namespaces.
#![expect(clippy::expect_used, reason = "a test: what cannot be built should stop it")]

use crate::common::{Cluster, FORMED, proposal};
use kms::{KeyChange, KeySettings, VersionState, WrappedMaterial};
use state::rows::{NamespaceLife, QuarantineReason};
use state::{Command, DestructionDue, Effect, JoinKind, NamespaceSettings, NodeInfo, Reply, State};
use types::limits::{WAITING_PERIOD_DEFAULT, WAITING_PERIOD_FLOOR_DEFAULT};
use types::{
    EntryName, Generation, KeyId, KeyName, Millis, NamespaceName, NodeId, Principal, Reason, Refusal, RootId, SpkiHash,
    Time, TokenId,
};

const ID: KeyId = KeyId([8; 16]);
const DAY: Millis = Millis::from_hours(24);

fn why<T>(result: Result<T, Refusal>) -> Option<Reason> {
    result.err().map(|refusal| refusal.reason)
}

fn ns(name: &str) -> NamespaceName {
    NamespaceName::parse(name).expect("a name")
}

fn orders() -> KeyName {
    KeyName::parse("orders").expect("a name")
}

fn create(namespace: &str, name: &str, id: KeyId, settings: KeySettings) -> Command {
    Command::CreateKey {
        namespace: ns(namespace),
        name: KeyName::parse(name).expect("a name"),
        id,
        algorithm: kms::Algorithm::Aes256Gcm,
        settings,
        material: WrappedMaterial::secret(vec![0x91; 81]),
    }
}

fn rotate(expect_last: u32) -> Command {
    let (cause, material) = (kms::RotationCause::Operator, WrappedMaterial::secret(vec![0x92; 81]));
    Command::AddKeyVersion { namespace: ns("default"), name: orders(), expect_last, cause, material }
}

fn set_enabled(version: Option<u32>, enabled: bool) -> Command {
    Command::SetKeyEnabled { namespace: ns("default"), name: orders(), version, enabled }
}

fn destroy(version: Option<u32>) -> Command {
    Command::DestroyKey { namespace: ns("default"), name: orders(), version, urgent: true }
}

fn restore(version: Option<u32>) -> Command {
    Command::RestoreKey { namespace: ns("default"), name: orders(), version }
}

fn carry_out(cluster: &mut Cluster, version: Option<u32>) -> Result<Reply, Refusal> {
    let command = Command::CarryOutDestruction { namespace: ns("default"), name: orders(), version };
    cluster.propose(proposal(Principal::Node(NodeId(1)), command)).reply
}

fn carry_out_namespace(cluster: &mut Cluster, name: &str) -> Result<Reply, Refusal> {
    let command = Command::CarryOutNamespaceDestruction { name: ns(name) };
    cluster.propose(proposal(Principal::Node(NodeId(1)), command)).reply
}

/// A key of two versions, the first disabled, that waits for 7 days.
fn with_key() -> Cluster {
    let mut cluster = Cluster::formed();
    let settings = KeySettings { waiting_period: Some(Millis::from_days(7)), ..KeySettings::default() };
    cluster.ask(create("default", "orders", ID, settings)).expect("a key");
    cluster.ask(rotate(1)).expect("a version");
    cluster.ask(set_enabled(Some(1), false)).expect("disabled");
    cluster
}

fn version(cluster: &Cluster, number: u32) -> kms::KeyVersion {
    cluster.state.key_version(&ID, number).expect("a row").clone()
}

fn key(cluster: &Cluster) -> kms::Key {
    cluster.state.key(&ns("default"), &orders()).expect("a row").clone()
}

fn due(state: &State) -> usize {
    state.destructions_due(state.time()).count()
}

/// A second member, so that a step of time is doubted.
fn join(cluster: &mut Cluster) {
    let (id, expires) = (TokenId([2; 16]), FORMED.after(Millis::from_hours(1)));
    let token = Command::CreateJoinToken { id, secret_hash: [2; 32], kind: JoinKind::Node, expires };
    cluster.ask(token).expect("a token");
    let info = NodeInfo { spki: SpkiHash([2; 32]), peer_address: "a:1".to_owned(), api_address: "a:2".to_owned() };
    let redeem = Command::RedeemNodeToken { token: id, secret_hash: [2; 32], info, learner: false };
    cluster.propose(proposal(Principal::JoinToken, redeem)).reply.expect("admitted");
}

#[test]
fn a_version_waits_and_is_destroyed_when_it_is_due() {
    let mut cluster = with_key();
    assert!(destroy(Some(1)).takes_away(), "it is fenced when it is asked for");
    cluster.ask(destroy(Some(1))).expect("scheduled");
    let until = FORMED.after(Millis::from_days(7));
    assert_eq!(version(&cluster, 1).scheduled().map(|scheduled| scheduled.due), Some(until));
    assert!(!version(&cluster, 1).wrapped.is_empty(), "it could still be given back");
    assert_eq!(why(key(&cluster).version_usable(1, &version(&cluster, 1))), Some(Reason::KeyDisabled));
    assert_eq!(key(&cluster).version_usable(2, &version(&cluster, 2)), Ok(()), "the other one goes on");
    // Asked for again: nothing is put off.
    cluster.ask(destroy(Some(1))).expect("is scheduled");
    assert_eq!(version(&cluster, 1).scheduled().map(|scheduled| scheduled.due), Some(until));
    assert_eq!(why(cluster.ask(set_enabled(Some(1), true))), Some(Reason::PreconditionFailed));

    assert_eq!(why(carry_out(&mut cluster, Some(1))), Some(Reason::NotDue));
    cluster.reach(Time(until.0 - 1));
    assert_eq!((due(&cluster.state), why(carry_out(&mut cluster, Some(1)))), (0, Some(Reason::NotDue)));
    cluster.reach(until);
    let (name, namespace) = (orders(), ns("default"));
    let first = cluster.state.destructions_due(until).next();
    assert_eq!(first, Some(DestructionDue::Key { namespace: &namespace, name: &name, version: Some(1) }));
    cluster.state.check().expect("whole");
    carry_out(&mut cluster, Some(1)).expect("destroyed");
    assert_eq!((version(&cluster, 1).state, due(&cluster.state)), (VersionState::Destroyed, 0));
    assert!(version(&cluster, 1).wrapped.is_empty());
    let receipt = cluster.state.receipt(version(&cluster, 1).revision).expect("a receipt");
    assert!(receipt.destruction.urgent, "as it was asked for");
    assert_eq!(why(carry_out(&mut cluster, Some(1))), Some(Reason::KeyDestroyed));
    assert_eq!(why(cluster.ask(restore(Some(1)))), Some(Reason::KeyDestroyed));
    cluster.state.check().expect("whole");
}

#[test]
fn a_key_waits_as_a_whole_and_comes_back_disabled() {
    let mut cluster = with_key();
    assert_eq!(why(cluster.ask(destroy(None))), Some(Reason::PreconditionFailed), "version 2 is enabled");
    cluster.ask(set_enabled(None, false)).expect("disabled");
    cluster.ask(destroy(None)).expect("scheduled");
    assert_eq!(why(key(&cluster).usable()), Some(Reason::KeyDisabled));
    assert_eq!(why(cluster.ask(set_enabled(None, true))), Some(Reason::PreconditionFailed));
    assert_eq!(why(cluster.ask(rotate(2))), Some(Reason::KeyDisabled));
    cluster.ask(restore(None)).expect("in time");
    assert_eq!(why(cluster.ask(restore(None))), Some(Reason::PreconditionFailed));
    cluster.ask(set_enabled(None, true)).expect("enabled");
    assert_eq!(key(&cluster).version_usable(2, &version(&cluster, 2)), Ok(()));

    cluster.ask(set_enabled(None, false)).expect("disabled");
    cluster.ask(destroy(None)).expect("scheduled");
    cluster.reach(FORMED.after(Millis::from_days(8)));
    carry_out(&mut cluster, None).expect("destroyed");
    assert!(key(&cluster).destroyed.is_some() && version(&cluster, 2).wrapped.is_empty());
    assert_eq!(cluster.state.counts(&ns("default")), (0, 0), "its name stays taken, its place does not");
    cluster.state.check().expect("whole");
}

#[test]
fn whoever_may_only_carry_out_carries_nothing_out_early_and_nobody_else_may() {
    let mut cluster = with_key();
    cluster.ask(destroy(Some(1))).expect("scheduled");
    let command = Command::CarryOutDestruction { namespace: ns("default"), name: orders(), version: Some(1) };
    assert_eq!(why(cluster.ask(command)), Some(Reason::PermissionDenied));
    assert_eq!(why(carry_out(&mut cluster, Some(2))), Some(Reason::PreconditionFailed), "nobody asked for that one");
    assert_eq!(why(carry_out(&mut cluster, None)), Some(Reason::PreconditionFailed));
}

#[test]
fn what_is_protected_meanwhile_waits_on() {
    let mut cluster = with_key();
    cluster.ask(destroy(Some(1))).expect("scheduled");
    let protect = |on| {
        let change = KeyChange { deletion_protection: Some(on), ..KeyChange::default() };
        Command::UpdateKey { namespace: ns("default"), name: orders(), change }
    };
    cluster.ask(protect(true)).expect("protected");
    cluster.reach(FORMED.after(Millis::from_days(8)));
    assert_eq!((due(&cluster.state), why(carry_out(&mut cluster, Some(1)))), (0, Some(Reason::PreconditionFailed)));
    cluster.ask(protect(false)).expect("not any more");
    assert_eq!(due(&cluster.state), 1);
    carry_out(&mut cluster, Some(1)).expect("destroyed");
}

/// Clocks that ran ahead must not destroy what was to be kept for a month.
#[test]
fn a_step_of_time_destroys_nothing_before_somebody_has_confirmed_it() {
    let mut cluster = with_key();
    join(&mut cluster);
    cluster.reach(FORMED.after(Millis::from_secs(1)));
    cluster.ask(destroy(Some(1))).expect("scheduled");
    let confirm = |to| Command::ConfirmTime { to };
    assert_eq!(why(cluster.ask(confirm(Time(0)))), Some(Reason::PreconditionFailed));
    let stepped = FORMED.after(Millis::from_days(30));
    cluster.reach(stepped);
    assert!(cluster.state.time_held().is_some());
    assert_eq!((due(&cluster.state), why(carry_out(&mut cluster, Some(1)))), (0, Some(Reason::NotDue)));
    // Everybody agrees for more than ten minutes: rotations go on, destructions do not.
    for minute in 1..=12 {
        cluster.reach(stepped.after(Millis::from_secs(60 * minute)));
    }
    assert!(cluster.state.time_held().is_none());
    let step = cluster.state.time_unconfirmed().expect("nobody has said so");
    assert_eq!((step.from, step.to), (FORMED.after(Millis::from_secs(1)), stepped));
    assert_eq!((due(&cluster.state), why(carry_out(&mut cluster, Some(1)))), (0, Some(Reason::NotDue)));
    let other = confirm(Time(stepped.0 - 1));
    assert_eq!(why(cluster.ask(other)), Some(Reason::PreconditionFailed), "that one nobody has looked at");
    cluster.ask(confirm(stepped)).expect("confirmed");
    assert_eq!(due(&cluster.state), 1);
    carry_out(&mut cluster, Some(1)).expect("destroyed");
}

#[test]
fn a_confirmation_during_the_hold_is_not_asked_for_again() {
    let mut cluster = with_key();
    join(&mut cluster);
    cluster.reach(FORMED.after(Millis::from_secs(1)));
    let stepped = FORMED.after(Millis::from_days(30));
    cluster.reach(stepped);
    cluster.ask(Command::ConfirmTime { to: stepped }).expect("confirmed");
    cluster.reach(stepped.after(Millis::from_secs(60)));
    assert!(cluster.state.time_held().is_some() && cluster.state.time_unconfirmed().is_none());
}

/// Somebody says that the step was wrong when only a second of it has been taken back.
#[test]
fn a_reset_that_leaves_most_of_a_step_confirms_nothing() {
    let mut cluster = with_key();
    join(&mut cluster);
    cluster.reach(FORMED.after(Millis::from_secs(1)));
    cluster.ask(destroy(Some(1))).expect("scheduled");
    let stepped = FORMED.after(Millis::from_days(30));
    cluster.reach(stepped);
    let second = cluster.state.nodes().map(|(node, _)| node).last().expect("two");
    cluster.report(second, Time(stepped.0 - 1_000));
    cluster.ask(Command::ResetTime).expect("a second back");
    assert_eq!(cluster.state.time(), Time(stepped.0 - 1_000));
    assert!(cluster.state.time_held().is_some() && cluster.state.time_unconfirmed().is_some());
    assert_eq!((due(&cluster.state), why(carry_out(&mut cluster, Some(1)))), (0, Some(Reason::NotDue)));
    // All of it: nothing is left to doubt.
    cluster.report(second, FORMED.after(Millis::from_secs(2)));
    cluster.ask(Command::ResetTime).expect("back");
    assert!(cluster.state.time_held().is_none() && cluster.state.time_unconfirmed().is_none());
}

/// Half of the clocks are behind: state time is, and whoever asks now waits from now on.
#[test]
fn a_wait_begins_at_the_later_of_both_clocks() {
    let mut cluster = with_key();
    let asked = FORMED.after(Millis::from_days(40));
    let (command, days) = (destroy(Some(1)), Millis::from_days(7));
    let basis = Some(cluster.state.basis(&command, Time::NEVER));
    let asking = state::Proposal { at: asked, basis, ..proposal(crate::common::root(), command) };
    cluster.propose(asking).reply.expect("scheduled");
    assert_eq!(version(&cluster, 1).scheduled().map(|scheduled| scheduled.due), Some(asked.after(days)));
}

/// The key was disabled, and the backup knows; the version is enabled in it.
#[test]
fn a_ledger_is_told_of_the_version_that_is_to_go() {
    let mut cluster = with_key();
    cluster.ask(set_enabled(None, false)).expect("disabled");
    cluster.ask(destroy(Some(2))).expect("scheduled");
    assert!(cluster.state.withdrew(cluster.index));
    cluster.ask(destroy(Some(1))).expect("scheduled");
    assert!(!cluster.state.withdrew(cluster.index), "that one was disabled, which was told");
}

#[test]
fn nothing_is_given_back_or_protected_behind_a_closed_door() {
    let mut cluster = with_key();
    cluster.ask(destroy(Some(1))).expect("scheduled");
    let close = Command::DestroyNamespace { name: ns("default"), waiting_period: None, urgent: false };
    cluster.ask(close).expect("closed");
    let change = KeyChange { deletion_protection: Some(true), ..KeyChange::default() };
    for refused in [
        Command::UpdateKey { namespace: ns("default"), name: orders(), change },
        restore(Some(1)),
        set_enabled(Some(1), true),
        rotate(2),
    ] {
        assert_eq!(why(cluster.ask(refused)), Some(Reason::NamespaceClosed));
    }
    cluster.ask(set_enabled(None, false)).expect("taking away goes on");
    cluster.reach(FORMED.after(Millis::from_days(31)));
    carry_out_namespace(&mut cluster, "default").expect("destroyed");
    assert_eq!(due(&cluster.state), 0, "what waited in it is looked at no more");
    cluster.state.check().expect("whole");
}

#[test]
fn a_quarantined_namespace_is_not_destroyed() {
    let mut cluster = with_key();
    let close = Command::DestroyNamespace { name: ns("default"), waiting_period: Some(DAY), urgent: false };
    cluster.ask(close).expect("closed");
    opened(&mut cluster, FORMED, Some(QuarantineReason::NoLedger));
    cluster.reach(FORMED.after(Millis::from_days(60)));
    assert_eq!(due(&cluster.state), 0);
    assert_eq!(why(carry_out_namespace(&mut cluster, "default")), Some(Reason::RestoreQuarantine));
    cluster.ask(Command::ReleaseNamespace { name: ns("default") }).expect("released");
    assert_eq!(due(&cluster.state), 1);
}

/// Asked for again with more haste, it is erased with more haste, at the same time.
#[test]
fn that_it_is_urgent_is_heard_later_too() {
    let mut cluster = with_key();
    let ask = |version, urgent| Command::DestroyKey { namespace: ns("default"), name: orders(), version, urgent };
    cluster.ask(ask(Some(1), false)).expect("scheduled");
    let first = version(&cluster, 1).scheduled().expect("it waits");
    cluster.ask(ask(Some(1), true)).expect("is scheduled");
    let urgent = kms::ScheduledDestruction { urgent: true, ..first };
    assert_eq!(version(&cluster, 1).scheduled(), Some(urgent));
    cluster.ask(ask(Some(1), false)).expect("is scheduled");
    assert_eq!(version(&cluster, 1).scheduled(), Some(urgent), "never with less");

    let close = |urgent| Command::DestroyNamespace { name: ns("default"), waiting_period: Some(DAY), urgent };
    cluster.ask(close(false)).expect("closed");
    let life = |cluster: &Cluster| cluster.state.namespace(&ns("default")).expect("a row").life;
    let NamespaceLife::DestroyScheduled(first) = life(&cluster) else { panic!("it waits") };
    cluster.ask(close(true)).expect("is closed");
    let urgent = kms::ScheduledDestruction { urgent: true, ..first };
    assert_eq!(life(&cluster), NamespaceLife::DestroyScheduled(urgent));
}

#[test]
fn with_a_key_that_is_due_its_versions_are_not_looked_at() {
    let mut cluster = with_key();
    cluster.ask(destroy(Some(1))).expect("scheduled");
    cluster.ask(set_enabled(None, false)).expect("disabled");
    cluster.ask(destroy(None)).expect("scheduled");
    cluster.reach(FORMED.after(Millis::from_days(8)));
    let (name, namespace) = (orders(), ns("default"));
    let found: Vec<_> = cluster.state.destructions_due(cluster.state.time()).collect();
    assert_eq!(found, [DestructionDue::Key { namespace: &namespace, name: &name, version: None }]);
    carry_out(&mut cluster, None).expect("destroyed");
    assert_eq!(due(&cluster.state), 0);
}

#[test]
fn a_protected_key_stays_when_all_of_its_versions_are_gone() {
    let mut cluster = with_key();
    cluster.ask(set_enabled(Some(2), false)).expect("disabled");
    cluster.ask(destroy(Some(1))).expect("scheduled");
    cluster.ask(destroy(Some(2))).expect("scheduled");
    cluster.reach(FORMED.after(Millis::from_days(8)));
    carry_out(&mut cluster, Some(1)).expect("destroyed");
    carry_out(&mut cluster, Some(2)).expect("destroyed");
    let change = KeyChange { deletion_protection: Some(true), ..KeyChange::default() };
    cluster.ask(Command::UpdateKey { namespace: ns("default"), name: orders(), change }).expect("protected");
    assert_eq!(why(cluster.ask(destroy(None))), Some(Reason::PreconditionFailed));
}

#[test]
fn the_lowest_version_in_use_is_fenced_and_told() {
    let mut cluster = with_key();
    cluster.ask(set_enabled(Some(1), true)).expect("enabled");
    let lowest = |version| {
        let change = KeyChange { min_version: Some(version), ..KeyChange::default() };
        Command::UpdateKey { namespace: ns("default"), name: orders(), change }
    };
    assert!(lowest(2).takes_away());
    cluster.ask(lowest(2)).expect("raised");
    assert!(cluster.state.withdrew(cluster.index));
    assert_eq!(why(key(&cluster).version_usable(1, &version(&cluster, 1))), Some(Reason::VersionTooOld));
    cluster.ask(lowest(1)).expect("lowered");
    assert!(!cluster.state.withdrew(cluster.index), "nothing was taken away");
    assert_eq!(key(&cluster).version_usable(1, &version(&cluster, 1)), Ok(()));
}

fn opened(cluster: &mut Cluster, at: Time, quarantine: Option<QuarantineReason>) {
    let open = Command::OpenGeneration {
        generation: Generation::FIRST.next().expect("the second"),
        backup: [1; 32],
        info: NodeInfo { spki: SpkiHash([9; 32]), peer_address: "a:1".to_owned(), api_address: "a:2".to_owned() },
        compromised: false,
        quarantine,
        accounted: 0,
    };
    let opening = state::Proposal { at, ..proposal(Principal::LocalAdmin, open) };
    cluster.propose(opening).reply.expect("opened");
}

/// It may have been given back after the backup, and nobody knows.
#[test]
fn a_restored_cluster_waits_for_a_whole_period_again() {
    let mut cluster = with_key();
    cluster.ask(namespace("pay", NamespaceSettings::default())).expect("made");
    cluster.ask(destroy(Some(1))).expect("scheduled");
    cluster.ask(set_enabled(None, false)).expect("disabled");
    cluster.ask(destroy(None)).expect("scheduled");
    let close = Command::DestroyNamespace { name: ns("pay"), waiting_period: Some(DAY), urgent: false };
    cluster.ask(close).expect("closed");
    let later = FORMED.after(Millis::from_days(100));
    opened(&mut cluster, later, None);
    assert_eq!(due(&cluster.state), 0);
    let again = later.after(Millis::from_days(7));
    assert_eq!(version(&cluster, 1).scheduled().map(|scheduled| scheduled.due), Some(again));
    assert_eq!(key(&cluster).scheduled.map(|scheduled| scheduled.due), Some(again));
    let NamespaceLife::DestroyScheduled(scheduled) = cluster.state.namespace(&ns("pay")).expect("a row").life else {
        panic!("it waits")
    };
    assert_eq!(scheduled.due, later.after(WAITING_PERIOD_DEFAULT));
    cluster.state.check().expect("whole");
}

#[test]
fn what_is_quarantined_waits_until_it_is_released() {
    let mut cluster = with_key();
    cluster.ask(destroy(Some(1))).expect("scheduled");
    opened(&mut cluster, FORMED, Some(QuarantineReason::NoLedger));
    cluster.reach(FORMED.after(Millis::from_days(60)));
    assert_eq!((due(&cluster.state), why(carry_out(&mut cluster, Some(1)))), (0, Some(Reason::RestoreQuarantine)));
    cluster.ask(Command::ReleaseNamespace { name: ns("default") }).expect("released");
    assert_eq!(due(&cluster.state), 1);
}

fn namespace(name: &str, settings: NamespaceSettings) -> Command {
    Command::CreateNamespace { name: ns(name), id: KeyId([0x70; 16]), settings, kek_wrapped: vec![0x77; 81] }
}

#[test]
fn a_namespace_is_closed_at_once_and_given_back_whole() {
    let mut cluster = Cluster::formed();
    // The default one has that id.
    let made = Command::CreateNamespace {
        name: ns("pay"),
        id: KeyId([0x70; 16]),
        settings: NamespaceSettings::default(),
        kek_wrapped: vec![0x77; 81],
    };
    cluster.ask(made).expect("made");
    cluster.ask(create("pay", "cards", ID, KeySettings::default())).expect("a key");
    let close = |waiting_period| Command::DestroyNamespace { name: ns("pay"), waiting_period, urgent: false };
    assert_eq!(
        why(cluster.ask(close(Some(Millis(WAITING_PERIOD_FLOOR_DEFAULT.0 - 1))))),
        Some(Reason::InvalidArgument)
    );
    assert!(close(None).takes_away());
    cluster.ask(close(Some(DAY))).expect("closed");
    assert!(cluster.state.withdrew(cluster.index));
    assert_eq!(why(cluster.state.check_open(&ns("pay"))), Some(Reason::NamespaceClosed));
    assert_eq!(
        why(cluster.ask(create("pay", "more", KeyId([9; 16]), KeySettings::default()))),
        Some(Reason::NamespaceClosed)
    );
    assert_eq!(why(carry_out_namespace(&mut cluster, "pay")), Some(Reason::NotDue));
    cluster.ask(Command::RestoreNamespace { name: ns("pay") }).expect("in time");
    assert_eq!(cluster.state.check_open(&ns("pay")), Ok(()));
    assert_eq!(why(cluster.ask(Command::RestoreNamespace { name: ns("pay") })), Some(Reason::PreconditionFailed));

    cluster.ask(close(None)).expect("closed");
    cluster.reach(FORMED.after(WAITING_PERIOD_DEFAULT));
    let pay = ns("pay");
    assert_eq!(cluster.state.destructions_due(Time::NEVER).next(), Some(DestructionDue::Namespace(&pay)));
    let command = Command::CarryOutNamespaceDestruction { name: ns("pay") };
    let outcome = cluster.propose(proposal(Principal::Node(NodeId(1)), command));
    assert_eq!(outcome.reply, Ok(Reply::Done));
    assert!(outcome.effects.contains(&Effect::NamespaceDestroyed(ns("pay"))), "every node wipes what it has of it");
    let row = cluster.state.namespace(&ns("pay")).expect("its name stays taken");
    assert!(row.kek_wrapped.is_empty() && matches!(row.life, NamespaceLife::Destroyed { .. }));
    assert!(cluster.state.receipt_of_namespace(&ns("pay")).is_some());
    for refused in [
        namespace("pay", NamespaceSettings::default()),
        Command::RestoreNamespace { name: ns("pay") },
        close(None),
        Command::UpdateNamespace { name: ns("pay"), settings: NamespaceSettings::default() },
        create("pay", "more", KeyId([9; 16]), KeySettings::default()),
    ] {
        let before = cluster.state.substance_hash();
        let refused = why(cluster.ask(refused));
        assert!(matches!(refused, Some(Reason::NamespaceClosed | Reason::AlreadyExists)), "{refused:?}");
        assert_eq!(cluster.state.substance_hash(), before);
    }
    assert_eq!(due(&cluster.state), 0);
    cluster.state.check().expect("whole");
}

/// Another root key wraps what there is to wrap.
#[test]
fn a_destroyed_namespace_is_not_wrapped_again() {
    let mut cluster = Cluster::formed();
    let settings = NamespaceSettings { waiting_period_floor: Millis::ZERO, ..NamespaceSettings::default() };
    let made =
        Command::CreateNamespace { name: ns("pay"), id: KeyId([0x70; 16]), settings, kek_wrapped: vec![0x77; 81] };
    cluster.ask(made).expect("made");
    cluster.ask(create("pay", "cards", ID, KeySettings::default())).expect("a key");
    let now = Command::DestroyNamespace { name: ns("pay"), waiting_period: Some(Millis::ZERO), urgent: true };
    assert_eq!(why(cluster.ask(now.clone())), Some(Reason::PreconditionFailed), "a key in it is enabled");
    let cards = KeyName::parse("cards").expect("a name");
    let disable = Command::SetKeyEnabled { namespace: ns("pay"), name: cards, version: None, enabled: false };
    cluster.ask(disable).expect("disabled");
    cluster.ask(now).expect("destroyed at once");
    let (node, epoch, id) = (NodeId(1), 2, RootId([1; 16]));
    cluster.ask(Command::BeginRekey { quorum: None }).expect("is wanted");
    let keks_wrapped = vec![(ns("default"), vec![0xaa; 81])];
    for command in [
        Command::StageRoot { epoch, id },
        Command::ConfirmRoot { node, epoch, id },
        Command::ActivateRoot { epoch, id, keks_wrapped, cluster_key_wrapped: vec![0xbb; 187] },
    ] {
        cluster.propose(proposal(Principal::Node(node), command)).reply.expect("moves on");
    }
    assert!(cluster.state.namespace(&ns("pay")).expect("a row").kek_wrapped.is_empty());
}

#[test]
fn a_protected_key_keeps_its_namespace() {
    let mut cluster = Cluster::formed();
    let protected = KeySettings { deletion_protection: true, ..KeySettings::default() };
    cluster.ask(create("default", "orders", ID, protected)).expect("a key");
    let close = Command::DestroyNamespace { name: ns("default"), waiting_period: None, urgent: false };
    assert_eq!(why(cluster.ask(close.clone())), Some(Reason::PreconditionFailed));
    let change = KeyChange { deletion_protection: Some(false), ..KeyChange::default() };
    cluster.ask(Command::UpdateKey { namespace: ns("default"), name: orders(), change }).expect("changed");
    cluster.ask(close).expect("closed");
}

#[test]
fn a_namespace_holds_as_much_as_its_quota_says() {
    let mut cluster = Cluster::formed();
    let quota = |keys_max| {
        let settings = NamespaceSettings { keys_max, entries_max: Some(0), ..NamespaceSettings::default() };
        Command::UpdateNamespace { name: ns("default"), settings }
    };
    cluster.ask(quota(Some(1))).expect("set");
    cluster.ask(create("default", "orders", ID, KeySettings::default())).expect("the first");
    let second = create("default", "letters", KeyId([9; 16]), KeySettings::default());
    let refused = cluster.ask(second.clone()).expect_err("one too many");
    assert_eq!(refused.reason, Reason::LimitExceeded);
    assert!(refused.message.contains("may have 1 keys and has 1"), "{refused}");
    cluster.ask(quota(Some(0))).expect("below what there is: nothing is taken away");
    assert_eq!(key(&cluster).usable(), Ok(()));
    let body = state::EntryBody {
        path: "/ns/default/web".to_owned(),
        parent: types::AgentName::parse("edge").expect("a name"),
        selectors: vec!["unix:uid:1000".to_owned()],
        svid_ttl: Millis::from_hours(1),
        dns_names: Vec::new(),
        hint: String::new(),
    };
    let name = EntryName::parse("web").expect("a name");
    let entry = Command::CreateEntry { namespace: ns("default"), name, body };
    assert_eq!(why(cluster.ask(entry.clone())), Some(Reason::LimitExceeded));
    cluster
        .ask(Command::UpdateNamespace { name: ns("default"), settings: NamespaceSettings::default() })
        .expect("none");
    cluster.ask(second).expect("made");
    cluster.ask(entry).expect("made");
    assert_eq!(cluster.state.counts(&ns("default")), (2, 1));
    cluster.state.check().expect("whole");
}

//! How much a version is used: handed out in blocks, never past a ceiling, and what follows from it.
#![expect(clippy::expect_used, reason = "a test: what cannot be built should stop it")]

use crate::common::{Cluster, FORMED, proposal};
use kms::{
    KeyChange, KeySettings, LimitsChange, RotationCause, Usage, UsageChange, UsageLevel, UsageLimits, UsagePolicy,
};
use kms::{VersionUsage, WrappedMaterial};
use state::rows::QuarantineReason;
use state::{Command, NamespaceSettings, NodeInfo, Reply, State, read_snapshot, write_snapshot};
use types::{Generation, KeyId, KeyName, Millis, NamespaceName, NodeId, Principal, Reason, Refusal, SpkiHash, Time};

const ID: KeyId = KeyId([8; 16]);

fn why<T>(result: Result<T, Refusal>) -> Option<Reason> {
    result.err().map(|refusal| refusal.reason)
}

fn ns() -> NamespaceName {
    NamespaceName::default_namespace()
}

fn orders() -> KeyName {
    KeyName::parse("orders").expect("a name")
}

fn uses(uses: u64) -> UsageLimits {
    UsageLimits { uses: Some(uses), bytes: None }
}

fn material() -> WrappedMaterial {
    WrappedMaterial::secret(vec![0x91; 81])
}

fn with_key(usage: UsagePolicy) -> Cluster {
    let mut cluster = Cluster::formed();
    let settings = KeySettings { usage, ..KeySettings::default() };
    let (algorithm, material) = (kms::Algorithm::Aes256Gcm, material());
    cluster
        .ask(Command::CreateKey { namespace: ns(), name: orders(), id: ID, algorithm, settings, material })
        .expect("a key");
    cluster
}

fn lease_of(node: u64, version: u32, uses: u64) -> Command {
    let least = Usage { uses, bytes: 0 };
    Command::LeaseUsage { node: NodeId(node), namespace: ns(), name: orders(), version, least }
}

fn lease(cluster: &mut Cluster, version: u32, uses: u64) -> Result<u64, Refusal> {
    let reply = cluster.propose(proposal(Principal::Node(NodeId(1)), lease_of(1, version, uses))).reply?;
    let block = if let Reply::Usage { block, .. } = reply { Some(block) } else { None };
    Ok(block.expect("a block was to be handed out").uses)
}

fn rotate(cluster: &mut Cluster, expect_last: u32, cause: RotationCause) -> Result<Reply, Refusal> {
    let command = Command::AddKeyVersion { namespace: ns(), name: orders(), expect_last, cause, material: material() };
    cluster.propose(proposal(Principal::Node(NodeId(1)), command)).reply
}

fn granted(cluster: &Cluster, version: u32) -> Option<Usage> {
    cluster.state.usage(&ID, version).map(|used| used.granted)
}

#[test]
fn a_ceiling_is_handed_out_once() {
    let mut cluster = with_key(UsagePolicy { ceiling: uses(10_000), ..UsagePolicy::default() });
    let mut handed = 0;
    // One node, so each block is an eighth of the rest, and at last single uses.
    let refused = loop {
        match lease(&mut cluster, 1, 1) {
            Ok(block) => handed += block,
            Err(refusal) => break refusal,
        }
    };
    assert_eq!((refused.reason, handed), (Reason::UsageExhausted, 10_000));
    assert!(refused.message.contains("ceiling of 10000 uses"), "{refused}");
    assert_eq!(granted(&cluster, 1), Some(Usage { uses: 10_000, bytes: 0 }));
    assert_eq!(cluster.state.usage_levels(), [(UsageLevel::Exhausted, 1)].into());
    // Nothing is due: the key says nothing of rotating.
    assert_eq!(cluster.state.rotations_due(Time::NEVER).count(), 0);
    rotate(&mut cluster, 1, RotationCause::Count).expect_err("not due");
    let command = Command::AddKeyVersion {
        namespace: ns(),
        name: orders(),
        expect_last: 1,
        cause: RotationCause::Operator,
        material: material(),
    };
    cluster.ask(command).expect("rotates");
    assert_eq!(lease(&mut cluster, 2, 1), Ok(1_250), "the next version begins anew");
    assert_eq!(why(lease(&mut cluster, 1, 1)), Some(Reason::UsageExhausted), "the one before does not");
    assert_eq!(cluster.state.usage_levels(), [].into());
    cluster.state.check().expect("whole");
}

#[test]
fn a_version_that_was_used_often_enough_is_rotated_once() {
    let mut cluster = with_key(UsagePolicy { rotate_after: uses(1_000), ..UsagePolicy::default() });
    assert_eq!(lease(&mut cluster, 1, 999), Ok(999));
    assert_eq!(cluster.state.rotations_due(FORMED).count(), 0);
    assert_eq!(why(rotate(&mut cluster, 1, RotationCause::Count)), Some(Reason::NotDue));
    assert_eq!(lease(&mut cluster, 1, 1), Ok(125));
    let due: Vec<_> = cluster.state.rotations_due(FORMED).map(|due| (due.name.clone(), due.cause)).collect();
    assert_eq!(due, [(orders(), RotationCause::Count)]);
    // Until the next one is made, this one is still used.
    assert_eq!(lease(&mut cluster, 1, 1), Ok(125));
    let by_operator = Command::AddKeyVersion {
        namespace: ns(),
        name: orders(),
        expect_last: 1,
        cause: RotationCause::Count,
        material: material(),
    };
    assert_eq!(why(cluster.ask(by_operator)), Some(Reason::PermissionDenied));
    assert_eq!(rotate(&mut cluster, 1, RotationCause::Count), Ok(Reply::Version(2)));
    assert_eq!(why(rotate(&mut cluster, 1, RotationCause::Count)), Some(Reason::NotDue), "the same again");
    assert_eq!(why(rotate(&mut cluster, 2, RotationCause::Count)), Some(Reason::NotDue), "nothing was used yet");
    assert_eq!(cluster.state.rotations_due(FORMED).count(), 0);
    assert_eq!(cluster.state.key_version(&ID, 2).map(|row| row.cause), Some(RotationCause::Count));
    cluster.state.check().expect("whole");
}

#[test]
fn due_by_time_and_by_count_it_is_rotated_once() {
    let mut cluster = with_key(UsagePolicy { rotate_after: uses(1_000), ..UsagePolicy::default() });
    let change = KeyChange::of_rotation(Some(Millis::from_hours(1)));
    cluster.ask(Command::UpdateKey { namespace: ns(), name: orders(), change }).expect("changes");
    lease(&mut cluster, 1, 1_000).expect("a block");
    assert_eq!(
        cluster.state.rotations_due(Time::NEVER).map(|due| due.cause).collect::<Vec<_>>(),
        [RotationCause::Count]
    );
}

#[test]
fn nobody_has_a_block_that_may_not_use_the_key() {
    let mut cluster = with_key(UsagePolicy { ceiling: uses(10_000), ..UsagePolicy::default() });
    let before = cluster.state.substance_hash();
    let by = |cluster: &mut Cluster, actor, command| why(cluster.propose(proposal(actor, command)).reply);
    let one = Principal::Node(NodeId(1));
    assert_eq!(by(&mut cluster, one.clone(), lease_of(2, 1, 1)), Some(Reason::PermissionDenied), "for another");
    assert_eq!(by(&mut cluster, Principal::Node(NodeId(2)), lease_of(2, 1, 1)), Some(Reason::NotFound), "no member");
    assert_eq!(why(cluster.ask(lease_of(1, 1, 1))), Some(Reason::PermissionDenied), "an operator");
    assert_eq!(by(&mut cluster, one.clone(), lease_of(1, 2, 1)), Some(Reason::NotFound), "no version");
    assert_eq!(by(&mut cluster, one, lease_of(1, 1, 10_001)), Some(Reason::UsageExhausted), "more than there is");
    assert_eq!(cluster.state.substance_hash(), before, "a refusal takes nothing");
    let disable = Command::SetKeyEnabled { namespace: ns(), name: orders(), version: None, enabled: false };
    cluster.ask(disable).expect("disables");
    assert_eq!(why(lease(&mut cluster, 1, 1)), Some(Reason::KeyDisabled));
    let enable = Command::SetKeyEnabled { namespace: ns(), name: orders(), version: None, enabled: true };
    cluster.ask(enable).expect("enables");
    cluster.ask(Command::DestroyNamespace { name: ns(), waiting_period: None, urgent: false }).expect("closes");
    assert_eq!(why(lease(&mut cluster, 1, 1)), Some(Reason::NamespaceClosed));
}

#[test]
fn a_ceiling_that_is_lowered_counts_what_was_handed_out_before() {
    let mut cluster = with_key(UsagePolicy { ceiling: uses(10_000), ..UsagePolicy::default() });
    lease(&mut cluster, 1, 600).expect("a block");
    let set = |cluster: &mut Cluster, uses| {
        let ceiling = LimitsChange { uses: Some(uses), bytes: None };
        let change = KeyChange { usage: UsageChange { ceiling, ..UsageChange::default() }, ..KeyChange::default() };
        let command = Command::UpdateKey { namespace: ns(), name: orders(), change };
        assert!(command.takes_away(), "nodes that have not heard of it would go on");
        cluster.ask(command)
    };
    set(&mut cluster, Some(100)).expect("lowers");
    assert_eq!(why(lease(&mut cluster, 1, 1)), Some(Reason::UsageExhausted));
    assert_eq!(cluster.state.usage_levels(), [(UsageLevel::Exhausted, 1)].into());
    // Taken away for a while and set again: what is known is not forgotten.
    set(&mut cluster, None).expect("takes away");
    assert_eq!(why(lease(&mut cluster, 1, 1)), Some(Reason::PreconditionFailed), "nobody counts");
    set(&mut cluster, Some(700)).expect("sets");
    assert_eq!(granted(&cluster, 1).map(|used| used.uses), Some(1_250));
    assert_eq!(why(lease(&mut cluster, 1, 1)), Some(Reason::UsageExhausted));
    assert_eq!(why(set(&mut cluster, Some(0))), Some(Reason::InvalidArgument));
    cluster.state.check().expect("whole");
}

#[test]
fn what_was_handed_out_is_in_the_snapshot_and_so_is_what_is_due() {
    let mut cluster = with_key(UsagePolicy { rotate_after: uses(1_000), ceiling: uses(1_200) });
    lease(&mut cluster, 1, 1_150).expect("a block");
    let mut bytes = Vec::new();
    let written = write_snapshot(&cluster.state, &mut |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    });
    written.expect("writes");
    let read: State = read_snapshot(&mut bytes.as_slice()).expect("reads");
    read.check().expect("whole");
    assert_eq!(read.usage(&ID, 1), cluster.state.usage(&ID, 1));
    assert_eq!(read.rotations_due(FORMED).count(), 1);
    assert_eq!(read.usage_levels(), [(UsageLevel::Critical, 1)].into());
    let row = VersionUsage { granted: Usage { uses: 1_150, bytes: 0 }, since: FORMED, at: FORMED, blocks: 1 };
    assert_eq!(read.usage(&ID, 1), Some(&row));
}

#[test]
fn the_lost_life_may_have_used_the_rest_of_a_ceiling() {
    let mut cluster = with_key(UsagePolicy { ceiling: uses(10_000), ..UsagePolicy::default() });
    let open = Command::OpenGeneration {
        generation: Generation::FIRST.next().expect("a number"),
        backup: [3; 32],
        info: NodeInfo {
            spki: SpkiHash([9; 32]),
            peer_address: "127.0.0.1:7444".to_owned(),
            api_address: "127.0.0.1:7443".to_owned(),
        },
        compromised: false,
        quarantine: Some(QuarantineReason::NoLedger),
        accounted: 0,
    };
    cluster.propose(proposal(Principal::LocalAdmin, open)).reply.expect("opens");
    let (node, last) = (cluster.state.nodes().next().expect("one").0, 65_535);
    let ask = |cluster: &mut Cluster, version| {
        let command = lease_of(node.0, version, 1);
        cluster.propose(proposal(Principal::Node(node), command)).reply
    };
    assert_eq!(cluster.state.rotations_due(FORMED).count(), 0, "not in quarantine");
    cluster.ask(Command::ReleaseNamespace { name: ns() }).expect("releases");
    assert_eq!(why(ask(&mut cluster, 1)), Some(Reason::UsageExhausted));
    assert_eq!(cluster.state.rotations_due(FORMED).map(|due| due.cause).collect::<Vec<_>>(), [RotationCause::Count]);
    let next = Command::AddKeyVersion {
        namespace: ns(),
        name: orders(),
        expect_last: last,
        cause: RotationCause::Count,
        material: material(),
    };
    let made = cluster.propose(proposal(Principal::Node(node), next)).reply;
    assert_eq!(made, Ok(Reply::Version(last + 1)));
    assert!(ask(&mut cluster, last + 1).is_ok());
    cluster.state.check().expect("whole");
}

#[test]
fn a_forecast_says_what_comes_first_and_what_is_in_the_way() {
    let mut cluster = with_key(UsagePolicy { rotate_after: uses(1_000), ..UsagePolicy::default() });
    let forecast = |cluster: &Cluster| {
        let key = cluster.state.key(&ns(), &orders()).expect("the key");
        cluster.state.rotation_forecast(&ns(), key).map(|it| (it.time, it.cause, it.estimated))
    };
    let waits_for = |cluster: &Cluster| {
        let key = cluster.state.key(&ns(), &orders()).expect("the key");
        cluster.state.rotation_forecast(&ns(), key).and_then(|it| it.waits_for)
    };
    assert_eq!(forecast(&cluster), Some((None, RotationCause::Count, false)));
    // Three blocks of 125, which is enough to know a pace by.
    for _ in 0..3 {
        lease(&mut cluster, 1, 1).expect("a block");
    }
    let hour = FORMED.after(Millis::from_hours(1));
    cluster.reach(hour);
    let full = FORMED.after(Millis(9_600_000));
    assert_eq!(forecast(&cluster), Some((Some(full), RotationCause::Count, true)));
    let schedule = |cluster: &mut Cluster, hours| {
        let change = KeyChange::of_rotation(Some(Millis::from_hours(hours)));
        cluster.ask(Command::UpdateKey { namespace: ns(), name: orders(), change }).expect("changes");
    };
    schedule(&mut cluster, 2);
    assert_eq!(forecast(&cluster), Some((Some(FORMED.after(Millis::from_hours(2))), RotationCause::Schedule, false)));
    schedule(&mut cluster, 5);
    assert_eq!(forecast(&cluster), Some((Some(full), RotationCause::Count, true)));
    lease(&mut cluster, 1, 750).expect("a block");
    assert_eq!(forecast(&cluster), Some((Some(hour), RotationCause::Count, false)), "it is due");
    assert_eq!(waits_for(&cluster), None);
    let disable = Command::SetKeyEnabled { namespace: ns(), name: orders(), version: None, enabled: false };
    cluster.ask(disable).expect("disables");
    assert!(waits_for(&cluster).is_some_and(|why| why.contains("disabled")));
    cluster.ask(Command::DestroyNamespace { name: ns(), waiting_period: None, urgent: false }).expect("closes");
    assert!(waits_for(&cluster).is_some());
    // Without any rule there is nothing to forecast.
    let other = with_key(UsagePolicy { ceiling: uses(5), ..UsagePolicy::default() });
    assert_eq!(forecast(&other), None);
}

#[test]
fn what_is_due_longest_comes_first_whatever_its_namespace() {
    let mut cluster = Cluster::formed();
    let pay = NamespaceName::parse("pay").expect("a name");
    let settings = NamespaceSettings::default();
    let kek_wrapped = vec![6; 64];
    cluster
        .ask(Command::CreateNamespace { name: pay.clone(), id: KeyId([20; 16]), settings, kek_wrapped })
        .expect("a namespace");
    for (id, namespace, name, hours) in
        [(1, ns(), "a", 4), (2, pay.clone(), "b", 1), (3, ns(), "c", 2), (4, pay, "d", 3), (5, ns(), "e", 9)]
    {
        let settings = KeySettings::rotating(Some(Millis::from_hours(hours)));
        let (name, algorithm) = (KeyName::parse(name).expect("a name"), kms::Algorithm::Aes256Gcm);
        let (id, material) = (KeyId([id; 16]), material());
        cluster.ask(Command::CreateKey { namespace, name, id, algorithm, settings, material }).expect("a key");
    }
    let due = |hours| {
        let now = FORMED.after(Millis::from_hours(hours));
        cluster.state.rotations_due(now).map(|due| due.name.as_str().to_owned()).collect::<Vec<_>>().concat()
    };
    assert_eq!((due(0), due(2), due(5), due(9)), (String::new(), "bc".into(), "bcda".into(), "bcdae".into()));
}

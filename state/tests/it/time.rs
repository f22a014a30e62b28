//! State time that runs away: held until it is confirmed, set back by an admin; and the length of leases.
#![expect(clippy::expect_used, reason = "a test: what cannot be built should stop it")]

use crate::common::{Cluster, FORMED, proposal, request_id};
use state::{Command, JoinKind, NodeInfo, NodeReport, Reply};
use types::{KeyId, KeyName, Millis, NamespaceName, NodeId, Principal, Reason, Revision, SpkiHash, Time, TokenId};

const HOUR: Millis = Millis::from_hours(1);
const MINUTE: Millis = Millis::from_secs(60);

/// Three members that have reported.
fn three() -> Cluster {
    let mut cluster = Cluster::formed();
    for node in 2..=3 {
        let (id, hash) = (TokenId([node; 16]), [node; 32]);
        let expires = FORMED.after(HOUR);
        let kind = JoinKind::Node;
        let token = Command::CreateJoinToken { id, secret_hash: hash, kind, expires };
        cluster.ask(token).expect("a token");
        let info = NodeInfo {
            spki: SpkiHash([0x40 + node; 32]),
            peer_address: format!("127.0.0.{node}:7444"),
            api_address: format!("127.0.0.{node}:7443"),
        };
        let redeem = Command::RedeemNodeToken { token: id, secret_hash: hash, info, learner: false };
        let admitted = cluster.propose(proposal(Principal::JoinToken, redeem)).reply;
        assert_eq!(admitted, Ok(Reply::Node(NodeId(u64::from(node)))));
    }
    all_say(&mut cluster, FORMED);
    cluster
}

fn say(cluster: &mut Cluster, node: u64, clock: Time) {
    let report = NodeReport {
        node: NodeId(node),
        clock,
        audit_size: 0,
        audit_root: [0; 32],
        supports: 1,
        api_address: format!("127.0.0.{node}:7443"),
    };
    let said = cluster.propose(proposal(Principal::Node(NodeId(node)), Command::ReportNode(report))).reply;
    said.expect("a report");
}

fn all_say(cluster: &mut Cluster, clock: Time) {
    (1..=3).for_each(|node| say(cluster, node, clock));
}

fn name() -> (NamespaceName, KeyName) {
    (NamespaceName::parse("default").expect("a name"), KeyName::parse("orders").expect("a name"))
}

fn create_key(cluster: &mut Cluster) {
    let (namespace, name) = name();
    let algorithm = kms::Algorithm::Aes256Gcm;
    let (rotation_period, material) = (Some(Millis(2 * HOUR.0)), kms::WrappedMaterial::secret(vec![1; 64]));
    let command = Command::CreateKey {
        namespace,
        name,
        id: KeyId([9; 16]),
        algorithm,
        settings: kms::KeySettings::rotating(rotation_period),
        material,
    };
    cluster.ask(command).expect("a key");
}

fn rotate(cluster: &mut Cluster) -> Result<Reply, Reason> {
    let (namespace, name) = name();
    let expect_last = cluster.state.key(&namespace, &name).expect("the key").last_version;
    let cause = kms::RotationCause::Schedule;
    let command = Command::AddKeyVersion {
        namespace,
        name,
        expect_last,
        cause,
        material: kms::WrappedMaterial::secret(vec![2; 64]),
    };
    cluster.propose(proposal(Principal::Node(NodeId(1)), command)).reply.map_err(|refusal| refusal.reason)
}

fn why(reply: Result<Reply, types::Refusal>) -> Option<Reason> {
    reply.err().map(|refusal| refusal.reason)
}

/// A cluster that was switched off for a night: its schedules wait until most clocks have agreed for ten minutes.
#[test]
fn a_step_of_more_than_an_hour_is_held_until_a_majority_has_agreed_for_ten_minutes() {
    let mut cluster = three();
    create_key(&mut cluster);
    let morning = FORMED.after(Millis::from_hours(8));
    say(&mut cluster, 1, morning);
    assert_eq!((cluster.state.time(), cluster.state.time_held()), (FORMED, None), "one clock alone moves nothing");
    say(&mut cluster, 2, morning);
    let held = cluster.state.time_held().expect("is held");
    assert_eq!((held.from, held.to, cluster.state.time()), (FORMED, morning, morning));
    assert_eq!(cluster.state.rotations_due(morning).count(), 0);
    assert_eq!(rotate(&mut cluster), Err(Reason::NotDue));
    for minute in 1..10 {
        let now = morning.after(Millis(minute * MINUTE.0));
        [1, 2].into_iter().for_each(|node| say(&mut cluster, node, now));
        assert!(cluster.state.time_held().is_some(), "after {minute} min");
        assert_eq!(rotate(&mut cluster), Err(Reason::NotDue));
    }
    let now = morning.after(Millis(10 * MINUTE.0));
    [1, 2].into_iter().for_each(|node| say(&mut cluster, node, now));
    assert_eq!(cluster.state.time_held(), None);
    assert_eq!(cluster.state.rotations_due(now).count(), 1);
    assert_eq!(rotate(&mut cluster), Ok(Reply::Version(2)));
}

#[test]
fn an_hour_is_no_step_and_a_member_alone_believes_itself() {
    let mut cluster = three();
    all_say(&mut cluster, FORMED.after(HOUR));
    assert_eq!(cluster.state.time_held(), None);
    let mut alone = Cluster::formed();
    create_key(&mut alone);
    say(&mut alone, 1, FORMED.after(Millis::from_days(7)));
    assert_eq!(alone.state.time_held(), None);
    assert_eq!(rotate(&mut alone), Ok(Reply::Version(2)));
}

/// Patience is counted in reports: one more jump does not make up for it.
#[test]
fn a_second_jump_confirms_nothing_and_doubt_begins_again() {
    let mut cluster = three();
    let far = FORMED.after(Millis::from_days(2));
    all_say(&mut cluster, far);
    let jump = far.after(Millis(59 * MINUTE.0));
    all_say(&mut cluster, jump);
    let held = cluster.state.time_held().expect("is held");
    assert!(held.agreed <= MINUTE, "{held:?}");
    assert_eq!(held.from, FORMED);
    // Two of three have their clocks set right: nobody agrees with state time any more.
    [1, 2].into_iter().for_each(|node| say(&mut cluster, node, FORMED.after(MINUTE)));
    assert_eq!(cluster.state.time_held().map(|held| held.agreed), Some(Millis::ZERO));
    assert_eq!(cluster.state.time(), jump, "state time does not go back by itself");
}

#[test]
fn an_admin_sets_state_time_back_and_every_decision_is_made_again() {
    let mut cluster = three();
    assert_eq!(why(cluster.ask(Command::ResetTime)), Some(Reason::PreconditionFailed), "nothing has run away");
    let far = FORMED.after(Millis::from_days(2));
    all_say(&mut cluster, far);
    let right = FORMED.after(MINUTE);
    all_say(&mut cluster, right);
    let before = cluster.state.global_revision();
    assert_eq!(cluster.ask(Command::ResetTime), Ok(Reply::Done));
    assert_eq!((cluster.state.time(), cluster.state.time_held()), (right, None));
    assert!(cluster.state.global_revision() > before);
    all_say(&mut cluster, right.after(MINUTE));
    assert_eq!(cluster.state.time(), right.after(MINUTE));
}

/// An answer that was forgotten under the later time would be carried out twice once time is set back.
#[test]
fn what_was_forgotten_under_a_later_time_is_not_carried_out_again() {
    let mut cluster = three();
    let id = request_id(FORMED, 1);
    let body = Command::UpdateNamespace { name: name().0, settings: cluster_settings() };
    cluster.ask_as(id, 1, body.clone()).expect("is done");
    let far = FORMED.after(Millis::from_days(2));
    all_say(&mut cluster, far);
    // While time is held nothing is forgotten; confirmed by a majority that is wrong, it is.
    cluster.ask_as(request_id(far, 2), 2, body.clone()).expect("is done");
    assert!(cluster.state.remembered(&crate::common::root(), id).is_some(), "forgotten while time is held");
    for second in 0..700 {
        let now = far.after(Millis::from_secs(second));
        [1, 2].into_iter().for_each(|node| say(&mut cluster, node, now));
    }
    assert_eq!(cluster.state.time_held(), None);
    cluster.ask_as(request_id(far, 3), 3, body.clone()).expect("is done");
    assert!(cluster.state.remembered(&crate::common::root(), id).is_none());
    all_say(&mut cluster, FORMED.after(MINUTE));
    cluster.ask(Command::ResetTime).expect("is set back");
    assert_eq!(why(cluster.ask_as(id, 1, body.clone())), Some(Reason::RequestIdExpired));
    let fresh = request_id(FORMED.after(MINUTE), 4);
    cluster.ask_as(fresh, 4, body).expect("new requests are carried out");
}

fn cluster_settings() -> state::NamespaceSettings {
    state::NamespaceSettings::default()
}

#[test]
fn a_longer_lease_is_reckoned_with_until_it_is_settled() {
    let mut cluster = three();
    let lease = |cluster: &Cluster| (cluster.state.settings().lease, cluster.state.longest_lease());
    let (thirty, day) = (types::limits::NODE_LEASE_DEFAULT, Millis::from_hours(24));
    assert_eq!(lease(&cluster), (thirty, thirty));
    for length in [Millis(4_999), Millis(day.0 + 1)] {
        assert_eq!(why(cluster.ask(Command::SetLease { length })), Some(Reason::InvalidArgument));
    }
    cluster.ask(Command::SetLease { length: day }).expect("is set");
    assert_eq!(lease(&cluster), (day, day));
    let early = Command::SettleLease { revision: cluster.state.settings().revision };
    let early = cluster.propose(proposal(Principal::Node(NodeId(1)), early)).reply;
    assert_eq!(why(early), Some(Reason::NotDue), "there is no longer one");
    cluster.ask(Command::SetLease { length: HOUR }).expect("is set");
    let before = cluster.state.settings().revision;
    cluster.ask(Command::SetLease { length: thirty }).expect("is set");
    assert_eq!(lease(&cluster), (thirty, day), "the longest of all that may still be held");
    let settle = |cluster: &mut Cluster, revision: Revision| {
        cluster.propose(proposal(Principal::Node(NodeId(1)), Command::SettleLease { revision })).reply
    };
    assert_eq!(why(settle(&mut cluster, before)), Some(Reason::NotDue), "it was set again meanwhile");
    let now = cluster.state.settings().revision;
    settle(&mut cluster, now).expect("is settled");
    assert_eq!(lease(&cluster), (thirty, thirty));
    let by_an_operator = cluster.ask(Command::SettleLease { revision: now });
    assert_eq!(why(by_an_operator), Some(Reason::PermissionDenied));
}

/// A standby that had outlived its use kept its place until time was no longer held: a cluster that had been off for a month
/// issued nothing for ten minutes (`chaos run --only away`).
#[test]
fn after_a_month_a_new_authority_takes_the_place_of_a_spent_one_at_once() {
    let mut cluster = three();
    publish(&mut cluster, 1, FORMED).expect("enters the bundle");
    assert_eq!(publish(&mut cluster, 2, FORMED), Err(Reason::PreconditionFailed), "one stands by");
    let month = FORMED.after(Millis::from_days(30));
    all_say(&mut cluster, month);
    assert!(cluster.state.time_held().is_some(), "a month is a step");
    assert!(cluster.state.authorities_wanted(month).contains(&NodeId(1)));
    publish(&mut cluster, 3, month).expect("takes the place of the spent one");
    assert_eq!(publish(&mut cluster, 4, month), Err(Reason::PreconditionFailed), "one stands by again");
    let steps = cluster.state.authority_steps_due(month);
    assert!(matches!(steps.as_slice(), [(_, ca::Step::Activate)]), "{steps:?}");
    cluster.state.check().expect("whole");
}

fn publish(cluster: &mut Cluster, serial: u8, generated: Time) -> Result<Reply, Reason> {
    let domain = cluster.state.trust_domain().expect("is formed").clone();
    let signer = crypto::sign::P256Signer::generate();
    let serial = ca::Serial::from_random([serial; 32]);
    let certificate = ca::generate_authority(NodeId(1), &domain, &signer, serial, generated).expect("a certificate");
    let command = Command::PublishAuthority {
        node: NodeId(1),
        certificate: certificate.into_der(),
        generated,
        not_after: generated.after(types::limits::AUTHORITY_LIFE),
    };
    let asked = proposal(Principal::Node(NodeId(1)), command);
    cluster.propose(asked).reply.map_err(|refusal| refusal.reason)
}

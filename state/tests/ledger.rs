//! A backup and a ledger: what was destroyed and revoked after the backup does not come back, and a ledger that cannot know is
//! not believed.
#![expect(clippy::expect_used, reason = "a test: what cannot be built should stop it")]

mod common;

use audit::{Ledger, LedgerEnd, LedgerFact, LedgerLine};
use common::{Cluster, FORMED, proposal};
use kms::{RotationCause, VersionState};
use state::rows::QuarantineReason;
use state::{Command, JoinKind, State, Unrecognised};
use types::limits::{ENROLMENT_MAX, KEY_VERSION_STEP};
use types::{
    AgentName, ClusterId, Generation, KeyId, KeyName, Millis, NamespaceName, OperatorName, Principal, Reason, SpkiHash,
    TokenId,
};

fn ns() -> NamespaceName {
    NamespaceName::default_namespace()
}

fn key(name: &str) -> KeyName {
    KeyName::parse(name).expect("a name")
}

fn create(cluster: &mut Cluster, name: &str, id: u8) {
    let command = Command::CreateKey {
        namespace: ns(),
        name: key(name),
        id: KeyId([id; 16]),
        algorithm: kms::Algorithm::Aes256Gcm,
        rotation_period: None,
        wrapped: vec![id; 81],
    };
    cluster.ask(command).expect("a key");
}

fn rotate(cluster: &mut Cluster, name: &str, expect_last: u32) {
    let (name, cause, wrapped) = (key(name), RotationCause::Operator, vec![7; 81]);
    cluster.ask(Command::AddKeyVersion { namespace: ns(), name, expect_last, cause, wrapped }).expect("a version");
}

fn destroy(cluster: &mut Cluster, name: &str, version: Option<u32>) {
    let (namespace, name) = (ns(), key(name));
    let disable = Command::SetKeyEnabled { namespace, name, version, enabled: false };
    cluster.ask(disable.clone()).expect("disabled");
    let Command::SetKeyEnabled { namespace, name, version, .. } = disable else { unreachable!("that is what it is") };
    cluster.ask(Command::DestroyKey { namespace, name, version, urgent: false }).expect("destroyed");
}

fn bob() -> OperatorName {
    OperatorName::parse("bob").expect("a name")
}

fn edge() -> AgentName {
    AgentName::parse("edge").expect("a name")
}

/// Two keys, an operator and an agent.
fn backed_up() -> Cluster {
    let mut cluster = Cluster::formed();
    create(&mut cluster, "orders", 1);
    rotate(&mut cluster, "orders", 1);
    create(&mut cluster, "bills", 2);
    let expires = FORMED.after(ENROLMENT_MAX);
    cluster.ask(Command::EnrolOperator { name: bob(), spki: SpkiHash([0xb0; 32]), expires }).expect("enrolled");
    let (id, kind) = (TokenId([1; 16]), JoinKind::Agent(edge()));
    let expires = FORMED.after(Millis::from_hours(1));
    cluster.ask(Command::CreateJoinToken { id, secret_hash: [1; 32], kind, expires }).expect("a token");
    let spki = SpkiHash([0xe0; 32]);
    let redeem = Command::RedeemAgentToken { token: id, secret_hash: [1; 32], spki, expires };
    cluster.propose(proposal(Principal::JoinToken, redeem)).reply.expect("enrolled");
    cluster
}

/// What the cluster did after the backup.
fn afterwards(cluster: &mut Cluster) {
    destroy(cluster, "orders", Some(1));
    destroy(cluster, "bills", None);
    create(cluster, "later", 3);
    destroy(cluster, "later", None);
    cluster.ask(Command::RevokeOperator { name: bob() }).expect("revoked");
    cluster.ask(Command::RevokeAgent { name: edge() }).expect("revoked");
}

/// A ledger as a writer makes it from state, marked at `upto`.
fn ledger(state: &State, upto: u64) -> Ledger {
    let mut facts: Vec<_> =
        state.ledger_facts((state.generation(), 0)).into_iter().map(|untold| (untold.index, untold.fact)).collect();
    facts.insert(0, (0, LedgerFact::Begun(vec![2; 91])));
    facts.push((upto, LedgerFact::Mark));
    let line = |(number, (index, fact)): (usize, (u64, LedgerFact))| LedgerLine {
        number: number as u64,
        previous: [0; 32],
        cluster: ClusterId([1; 16]),
        generation: state.generation(),
        index,
        at: FORMED,
        fact,
    };
    let lines: Vec<_> = facts.into_iter().enumerate().map(line).collect();
    let end = LedgerEnd { last: (state.generation(), upto), ..LedgerEnd::START };
    Ledger { lines, end, torn: 0 }
}

#[test]
fn what_was_destroyed_or_revoked_after_the_backup_does_not_come_back() {
    let mut cluster = backed_up();
    let backup = cluster.state.clone();
    afterwards(&mut cluster);
    let accounted = backup.account_for(&ledger(&cluster.state, cluster.index)).expect("its own");
    assert_eq!((accounted.quarantine, accounted.applied), (None, 4));
    let state = accounted.state;
    state.check().expect("whole");
    let usable = |id: u8, version| {
        let row = state.key_version(&KeyId([id; 16]), version).expect("a row");
        row.state != VersionState::Destroyed || !row.wrapped.is_empty()
    };
    assert!(!usable(1, 1) && usable(1, 2), "the version that was destroyed, and no other");
    let refused = state.key(&ns(), &key("bills")).expect("the tombstone").usable().expect_err("destroyed");
    assert_eq!(refused.reason, Reason::KeyDestroyed);
    assert!(!usable(2, 1) && state.key(&ns(), &key("later")).is_none());
    for spki in [SpkiHash([0xb0; 32]), SpkiHash([0xe0; 32])] {
        assert_eq!(state.principal_by_spki(&spki, FORMED), Err(Unrecognised::Revoked));
        assert!(state.is_spent(&spki));
    }
    // Held against itself it changes nothing.
    let again = cluster.state.account_for(&ledger(&cluster.state, cluster.index)).expect("its own");
    assert_eq!((again.applied, again.quarantine), (0, None));
}

#[test]
fn a_ledger_that_ends_before_the_backup_leaves_a_quarantine() {
    let mut cluster = backed_up();
    let early = ledger(&cluster.state, cluster.index);
    afterwards(&mut cluster);
    let backup = cluster.state.clone();
    let accounted = backup.account_for(&early).expect("its own");
    assert_eq!(accounted.quarantine, Some(QuarantineReason::LedgerBehind));
    let known = backup.account_for(&ledger(&cluster.state, cluster.index)).expect("its own");
    assert_eq!(known.quarantine, None, "as new as the backup is new enough");
}

#[test]
fn another_clusters_ledger_is_refused() {
    let cluster = backed_up();
    let mut other = ledger(&cluster.state, cluster.index);
    for line in &mut other.lines {
        line.cluster = ClusterId([9; 16]);
    }
    let refused = cluster.state.account_for(&other).expect_err("another's");
    assert_eq!(refused.reason, Reason::PreconditionFailed);
}

#[test]
fn generations_and_versions_of_the_lost_life_are_not_used_again() {
    let cluster = backed_up();
    let mut lost = ledger(&cluster.state, cluster.index);
    let mut more = lost.lines.last().expect("a line").clone();
    let third = Generation::try_from(3).expect("in range");
    (more.generation, more.fact) = (third, LedgerFact::Generation(third));
    lost.lines.push(more.clone());
    more.fact = LedgerFact::Version { key_id: KeyId([1; 16]), last: 5 * KEY_VERSION_STEP };
    lost.lines.push(more);
    lost.end.last = (third, 1);
    let accounted = cluster.state.account_for(&lost).expect("its own");
    assert_eq!(accounted.state.next_generation(accounted.seen).map(Generation::get), Ok(4));
    let last = accounted.state.key(&ns(), &key("orders")).expect("a key").last_version;
    assert!(last >= 5 * KEY_VERSION_STEP, "{last}");
}

#[test]
fn a_writer_is_told_what_its_ledger_lacks_and_no_more() {
    let mut cluster = backed_up();
    assert_eq!(cluster.state.ledger_facts((Generation::FIRST, 0)), []);
    afterwards(&mut cluster);
    let all = cluster.state.ledger_facts((Generation::FIRST, 0));
    assert_eq!(all.len(), 5);
    assert!(all.is_sorted_by_key(|untold| untold.index));
    let second = all.get(1).expect("some").index;
    assert_eq!(cluster.state.ledger_facts((Generation::FIRST, second)), all.get(2..).expect("the rest"));
    assert_eq!(cluster.state.ledger_facts((Generation::FIRST, cluster.index)), []);
    // A ledger that is to begin lacks everything; one of an earlier life lacks the opening of this one too.
    assert_eq!(cluster.state.ledger_facts((Generation::NONE, 0)), all);
}

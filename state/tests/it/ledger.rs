//! A backup and a ledger: what was destroyed and revoked after the backup does not come back, and a ledger that cannot know is
//! not believed.
#![expect(clippy::expect_used, reason = "a test: what cannot be built should stop it")]

use crate::common::{Cluster, FORMED, proposal, request_id};
use audit::{Ledger, LedgerEnd, LedgerError, LedgerFact, LedgerLine};
use kms::{RotationCause, VersionState};
use state::rows::QuarantineReason;
use state::{
    Command, EntryBody, JoinKind, NamespaceSettings, NodeInfo, OpenedSeal, Proposal, Reply, RequestKey, State,
    Unrecognised,
};
use types::limits::{ENROLMENT_MAX, KEY_VERSION_STEP};
use types::{
    AgentName, Binding, ClusterId, EntryName, Generation, KeyId, KeyName, Millis, NamespaceName, NodeId, OperatorName,
    Principal, Reason, Role, Scope, SpkiHash, Time, TokenId,
};

fn ns() -> NamespaceName {
    NamespaceName::default_namespace()
}

fn key(name: &str) -> KeyName {
    KeyName::parse(name).expect("a name")
}

fn create(cluster: &mut Cluster, name: &str, id: u8) {
    if cluster.state.namespace(&ns()).expect("is there").settings.waiting_period_floor > Millis::ZERO {
        cluster.without_waiting();
    }
    let command = Command::CreateKey {
        namespace: ns(),
        name: key(name),
        id: KeyId([id; 16]),
        algorithm: kms::Algorithm::Aes256Gcm,
        settings: kms::KeySettings { waiting_period: Some(Millis::ZERO), ..kms::KeySettings::default() },
        material: kms::WrappedMaterial::secret(vec![id; 81]),
    };
    cluster.ask(command).expect("a key");
}

fn rotate(cluster: &mut Cluster, name: &str, expect_last: u32) {
    let (name, cause, material) = (key(name), RotationCause::Operator, kms::WrappedMaterial::secret(vec![7; 81]));
    cluster.ask(Command::AddKeyVersion { namespace: ns(), name, expect_last, cause, material }).expect("a version");
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

fn web() -> EntryName {
    EntryName::parse("web").expect("a name")
}

const BOB: SpkiHash = SpkiHash([0xb0; 32]);
const EDGE: SpkiHash = SpkiHash([0xe0; 32]);

fn enrol(cluster: &mut Cluster, name: OperatorName, spki: SpkiHash, expires: Time) {
    cluster.ask(Command::EnrolOperator { name, spki, expires }).expect("enrolled");
}

fn enrol_agent(cluster: &mut Cluster, name: AgentName, spki: SpkiHash) {
    let (id, kind) = (TokenId(spki.0[..16].try_into().expect("as many")), JoinKind::Agent(name));
    let expires = FORMED.after(Millis::from_hours(1));
    cluster.ask(Command::CreateJoinToken { id, secret_hash: [1; 32], kind, expires }).expect("a token");
    let redeem = Command::RedeemAgentToken { token: id, secret_hash: [1; 32], spki, expires };
    cluster.propose(proposal(Principal::JoinToken, redeem)).reply.expect("enrolled");
}

fn reader(principal: Principal) -> Binding {
    Binding { principal, role: Role::KeyUser, scope: Scope::Namespace(ns()) }
}

fn settings(suffixes: &[&str]) -> Command {
    let dns_suffixes = suffixes.iter().map(|suffix| (*suffix).to_owned()).collect();
    let waiting_period_floor = Millis::ZERO;
    let settings = NamespaceSettings { dns_suffixes, waiting_period_floor, ..NamespaceSettings::default() };
    Command::UpdateNamespace { name: ns(), settings }
}

fn entry(ttl: Millis) -> EntryBody {
    EntryBody {
        path: "/ns/default/web".to_owned(),
        parent: edge(),
        selectors: vec!["unix:uid:1".to_owned()],
        svid_ttl: ttl,
        dns_names: Vec::new(),
        hint: String::new(),
    }
}

/// Two keys, an operator, an agent, a role, a registration and two suffixes.
fn backed_up() -> Cluster {
    let mut cluster = Cluster::formed();
    create(&mut cluster, "orders", 1);
    rotate(&mut cluster, "orders", 1);
    create(&mut cluster, "bills", 2);
    create(&mut cluster, "mails", 4);
    rotate(&mut cluster, "mails", 1);
    enrol(&mut cluster, bob(), BOB, FORMED.after(ENROLMENT_MAX));
    cluster.ask(Command::GrantRole(reader(Principal::Operator(bob())))).expect("granted");
    enrol_agent(&mut cluster, edge(), EDGE);
    cluster.ask(settings(&["a.example", "b.example"])).expect("updated");
    let body = entry(Millis::from_hours(1));
    cluster.ask(Command::CreateEntry { namespace: ns(), name: web(), body }).expect("registered");
    cluster
}

fn disable(cluster: &mut Cluster, name: &str, version: Option<u32>) {
    let command = Command::SetKeyEnabled { namespace: ns(), name: key(name), version, enabled: false };
    cluster.ask(command).expect("disabled");
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
    let mut facts: Vec<_> = state.ledger_facts((Generation::NONE, 0)).into_iter().collect();
    let edge = |index, fact| state::Untold { generation: state.generation(), index, at: FORMED, fact };
    facts.insert(0, state::Untold { generation: Generation::FIRST, ..edge(0, LedgerFact::Begun(vec![2; 91])) });
    facts.push(edge(upto, LedgerFact::Mark));
    let line = |(number, untold): (usize, state::Untold)| LedgerLine {
        number: number as u64,
        previous: [0; 32],
        cluster: ClusterId([1; 16]),
        generation: untold.generation,
        index: untold.index,
        at: untold.at,
        fact: untold.fact,
    };
    let lines: Vec<_> = facts.into_iter().enumerate().map(line).collect();
    let last = (state.generation(), upto);
    let end = LedgerEnd { last, marked: last, ..LedgerEnd::START };
    Ledger { lines, end, torn: 0 }
}

fn account(backup: &State, ledger: Ledger) -> state::Accounted {
    backup.account_for(&[(ledger, None)]).expect("its own")
}

/// Opens the next life of what came out of it.
fn reopened(accounted: state::Accounted, spki: u8) -> Cluster {
    let generation = accounted.state.next_generation(accounted.seen).expect("in range");
    let info = NodeInfo { spki: SpkiHash([spki; 32]), peer_address: "b:1".to_owned(), api_address: "b:2".to_owned() };
    let quarantine = accounted.quarantine;
    let accounted_for = accounted.applied;
    let open = Command::OpenGeneration {
        accounted: accounted_for,
        generation,
        backup: [1; 32],
        info,
        compromised: false,
        quarantine,
    };
    let index = accounted.state.index();
    let mut cluster = Cluster { state: accounted.state, index };
    cluster.propose(proposal(Principal::LocalAdmin, open)).reply.expect("opened");
    cluster.state.check().expect("whole");
    cluster
}

#[test]
fn what_was_destroyed_or_revoked_after_the_backup_does_not_come_back() {
    let mut cluster = backed_up();
    let backup = cluster.state.clone();
    afterwards(&mut cluster);
    let accounted = account(&backup, ledger(&cluster.state, cluster.index));
    assert_eq!(accounted.quarantine, None);
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
    for spki in [BOB, EDGE] {
        assert_eq!(state.principal_by_spki(&spki, FORMED), Err(Unrecognised::Revoked));
        assert!(state.is_spent(&spki));
    }
    assert_eq!(state.bindings_of(&Principal::Operator(bob())).count(), 0);
    // Held against itself it changes nothing.
    let again = account(&cluster.state, ledger(&cluster.state, cluster.index));
    assert_eq!((again.applied, again.quarantine), (0, None));
}

#[test]
fn what_was_taken_back_after_the_backup_stays_taken() {
    let mut cluster = backed_up();
    let backup = cluster.state.clone();
    let rita = Principal::Operator(bob());
    cluster.ask(Command::RevokeRole(reader(rita.clone()))).expect("taken back");
    disable(&mut cluster, "bills", None);
    disable(&mut cluster, "mails", Some(1));
    cluster.ask(settings(&["b.example"])).expect("updated");
    let body = entry(Millis::from_hours(2));
    cluster.ask(Command::UpdateEntry { namespace: ns(), name: web(), body }).expect("updated");
    enrol(&mut cluster, bob(), BOB, FORMED.after(Millis::from_hours(1)));
    // Given back again: the ledger gives nothing, so an admin does it once more.
    let enabled = Command::SetKeyEnabled { namespace: ns(), name: key("bills"), version: None, enabled: true };
    cluster.ask(enabled).expect("enabled");

    let told = ledger(&cluster.state, cluster.index);
    let accounted = account(&backup, told.clone());
    assert_eq!((accounted.quarantine, accounted.applied), (None, 6));
    let state = &accounted.state;
    assert_eq!(state.bindings_of(&rita).count(), 0);
    assert!(!state.key(&ns(), &key("bills")).expect("the key").enabled);
    assert_eq!(state.key_version(&KeyId([4; 16]), 1).expect("a row").state, VersionState::Disabled);
    assert_eq!(state.namespace(&ns()).expect("a row").settings.dns_suffixes, ["b.example"]);
    assert!(state.entry(&ns(), &web()).is_none(), "it held otherwise then");
    assert_eq!(state.operator(&bob()).expect("a row").expires, FORMED.after(Millis::from_hours(1)));
    state.check().expect("whole");

    // A backup that is later than that knows what was given back, and keeps it.
    let later = account(&cluster.state, ledger(&cluster.state, cluster.index + 5));
    assert_eq!((later.quarantine, later.applied), (None, 0));
    assert!(
        later.state.key(&ns(), &key("bills")).expect("the key").enabled && later.state.entry(&ns(), &web()).is_some()
    );
}

#[test]
fn keys_that_were_replaced_are_spent() {
    let mut cluster = backed_up();
    let backup = cluster.state.clone();
    cluster.ask(Command::RevokeOperator { name: bob() }).expect("revoked");
    enrol(&mut cluster, bob(), SpkiHash([0xb1; 32]), FORMED.after(ENROLMENT_MAX));
    enrol_agent(&mut cluster, edge(), SpkiHash([0xe1; 32]));
    let state = account(&backup, ledger(&cluster.state, cluster.index)).state;
    assert!(state.is_spent(&BOB) && state.principal_by_spki(&BOB, FORMED).is_err(), "a key that was revoked");
    assert!(state.is_spent(&EDGE) && state.principal_by_spki(&EDGE, FORMED).is_err(), "a key that was replaced");
    // Replaced is not banned: a token brings the agent back, with another key.
    let mut cluster = reopened(account(&backup, ledger(&cluster.state, cluster.index)), 0xee);
    enrol_agent(&mut cluster, edge(), SpkiHash([0xe2; 32]));
    assert!(cluster.state.principal_by_spki(&SpkiHash([0xe2; 32]), FORMED).is_ok());
}

#[test]
fn the_new_life_has_indexes_of_its_own() {
    let mut cluster = backed_up();
    let backup = cluster.state.clone();
    // A long life: what it destroyed at the end lies far beyond what the new one has written.
    for _ in 0..50 {
        cluster.ask(settings(&["a.example", "b.example"])).expect("updated");
    }
    afterwards(&mut cluster);
    let lost = cluster.index;
    let mut new = reopened(account(&backup, ledger(&cluster.state, lost)), 0xee);
    assert!(new.index < lost, "it is shorter than the one that was lost");
    let mut by = Vec::new();
    for (revision, row) in new.state.destructions() {
        assert!(revision.0 <= new.index && revision.0 > backup.index(), "{revision:?} is no entry of the new life");
        by.push(row.key);
    }
    by.sort();
    assert_eq!(by, [KeyId([1; 16]), KeyId([2; 16])], "each key's destruction has a row of its own");
    // What is wanted can be done: no entry is waited for that does not exist.
    let node = new.state.nodes().next().expect("a node").0;
    let due = new.state.erasure_due(node, Time::NEVER).expect("something was destroyed");
    assert!(due.0 <= new.index);
    // Destroyed under the very index that the lost life used: both stay on record.
    for number in 0x80.. {
        let (count, name) = (new.state.destructions().count(), format!("k{number}"));
        create(&mut new, &name, number);
        destroy(&mut new, &name, None);
        assert_eq!(new.state.destructions().count(), count + 1, "at {}", new.index);
        if new.index > lost {
            break;
        }
    }
}

#[test]
fn a_ledger_that_ends_before_the_backup_leaves_a_quarantine() {
    let mut cluster = backed_up();
    let early = ledger(&cluster.state, cluster.index);
    afterwards(&mut cluster);
    let backup = cluster.state.clone();
    let known = ledger(&cluster.state, cluster.index);
    assert_eq!(account(&backup, early.clone()).quarantine, Some(QuarantineReason::LedgerBehind));
    assert_eq!(account(&backup, known.clone()).quarantine, None, "as new as the backup is new enough");
    let unsound = (known.clone(), Some(LedgerError::Chain(9)));
    let held = |ledgers: &[_]| backup.account_for(ledgers).expect("its own").quarantine;
    assert_eq!(held(&[]), Some(QuarantineReason::NoLedger));
    assert_eq!(held(std::slice::from_ref(&unsound)), Some(QuarantineReason::LedgerUnsound));
    assert_eq!(held(&[unsound, (early, None), (known, None)]), None, "one that accounts is enough");
}

#[test]
fn several_ledgers_are_all_carried_out() {
    let mut cluster = backed_up();
    let backup = cluster.state.clone();
    destroy(&mut cluster, "bills", None);
    let deposed = ledger(&cluster.state, cluster.index);
    cluster.ask(Command::RevokeAgent { name: edge() }).expect("revoked");
    let mut last = ledger(&cluster.state, cluster.index);
    last.lines.retain(|line| !matches!(line.fact, LedgerFact::Destroyed { .. }));
    let state = backup.account_for(&[(last, None), (deposed, None)]).expect("its own").state;
    assert!(state.key(&ns(), &key("bills")).expect("the tombstone").usable().is_err());
    assert!(state.is_spent(&EDGE));
}

#[test]
fn another_clusters_ledger_is_refused() {
    let cluster = backed_up();
    let mut other = ledger(&cluster.state, cluster.index);
    for line in &mut other.lines {
        line.cluster = ClusterId([9; 16]);
    }
    let refused = cluster.state.account_for(&[(other, None)]).expect_err("another's");
    assert_eq!(refused.reason, Reason::PreconditionFailed);
}

#[test]
fn a_restore_that_nobody_administers_waits_for_a_seal() {
    let mut cluster = backed_up();
    let backup = cluster.state.clone();
    enrol(&mut cluster, OperatorName::parse("eve").expect("a name"), SpkiHash([0x33; 32]), FORMED.after(ENROLMENT_MAX));
    let eve = Principal::Operator(OperatorName::parse("eve").expect("a name"));
    let admin = Binding { principal: eve, role: Role::Admin, scope: Scope::Cluster };
    cluster.ask(Command::GrantRole(admin)).expect("granted");
    let known = cluster.state.clone();
    let root = OperatorName::parse("root").expect("a name");
    cluster.ask(Command::RevokeOperator { name: root }).expect("revoked");
    let told = ledger(&cluster.state, cluster.index);
    assert!(account(&known, told.clone()).state.has_admin(FORMED), "eve is");
    let accounted = account(&backup, told);
    assert!(!accounted.state.has_admin(FORMED), "root was revoked, and the backup knows of nobody else");
    let mut life = reopened(accounted, 0x44);
    let opened = OpenedSeal { node: NodeId(1_000), slot: 1, by: "file".to_owned() };
    let (name, expires) = (OperatorName::parse("rescue").expect("a name"), FORMED.after(ENROLMENT_MAX));
    let recover = Command::RecoverOperator { name, spki: SpkiHash([0x34; 32]), expires, opened, root_epoch: 1 };
    let made = life.state.time().after(Millis::from_secs(60));
    let request = Some(RequestKey { id: request_id(made, 1), body: [1; 32] });
    let recovered = life.propose(Proposal { request, ..proposal(Principal::Seal, recover) });
    assert_eq!(recovered.reply, Ok(Reply::Done));
    assert!(life.state.has_admin(FORMED));
}

#[test]
fn generations_and_versions_of_the_lost_life_are_not_used_again() {
    let cluster = backed_up();
    let mut lost = ledger(&cluster.state, cluster.index);
    let mut more = lost.lines.last().expect("a line").clone();
    let third = Generation::try_from(3).expect("in range");
    (more.generation, more.fact, more.at) = (third, LedgerFact::Generation(third), FORMED.after(Millis::from_days(3)));
    lost.lines.push(more.clone());
    more.fact = LedgerFact::Version { key_id: KeyId([1; 16]), last: 5 * KEY_VERSION_STEP };
    lost.lines.push(more);
    (lost.end.last, lost.end.marked) = ((third, 1), (third, 1));
    let accounted = account(&cluster.state, lost);
    assert_eq!(accounted.state.next_generation(accounted.seen).map(Generation::get), Ok(4));
    assert_eq!(accounted.state.time(), FORMED.after(Millis::from_days(3)), "no earlier than what the ledger saw");
    let last = accounted.state.key(&ns(), &key("orders")).expect("a key").last_version;
    assert!(last >= 5 * KEY_VERSION_STEP, "{last}");
}

#[test]
fn a_writer_is_told_what_its_ledger_lacks_and_no_more() {
    let mut cluster = Cluster::formed();
    assert_eq!(cluster.state.ledger_facts((Generation::FIRST, 0)), []);
    cluster = backed_up();
    afterwards(&mut cluster);
    let all = cluster.state.ledger_facts((Generation::FIRST, 0));
    assert_eq!(all.len(), 9, "three disables, three destructions, two keys and a role");
    assert!(all.is_sorted_by_key(|untold| (untold.generation, untold.index)));
    let third = all.get(2).expect("some").index;
    assert_eq!(cluster.state.ledger_facts((Generation::FIRST, third)), all.get(3..).expect("the rest"));
    assert_eq!(cluster.state.ledger_facts((Generation::FIRST, cluster.index)), []);
    assert_eq!(cluster.state.ledger_facts((Generation::NONE, 0)), all, "one that is to begin lacks everything");
}

#[test]
fn a_ledger_goes_on_from_life_to_life() {
    let mut cluster = backed_up();
    disable(&mut cluster, "mails", None);
    let backup = cluster.state.clone();
    afterwards(&mut cluster);
    let (lost, told) = (cluster.index, ledger(&cluster.state, cluster.index));
    let mut new = reopened(account(&backup, told), 0xee);
    let second = Generation::try_from(2).expect("in range");
    let facts = |state: &State, end| {
        let facts = state.ledger_facts(end).into_iter();
        facts.map(|untold| (untold.generation.get(), untold.fact)).collect::<Vec<_>>()
    };
    let lacks = facts(&new.state, (Generation::FIRST, lost));
    assert_eq!(lacks.first(), Some(&(2, LedgerFact::Generation(second))), "that it was opened");
    assert!(lacks.iter().all(|(life, _)| *life == 2) && lacks.iter().all(|(_, fact)| *fact != LedgerFact::Since));
    // One that fell behind before the backup lacks what the backup knows, under its own life.
    let behind = facts(&new.state, (Generation::FIRST, backup.index() - 1));
    assert!(matches!(behind.first(), Some((1, LedgerFact::Disabled { .. }))), "{behind:?}");
    // Begun in the new life, it accounts for the lost one as well: what the ledger told of it is in its state.
    let fresh = account(&backup, ledger(&new.state, new.index));
    assert_eq!(fresh.quarantine, None);
    assert!(fresh.state.is_spent(&BOB) && fresh.state.is_spent(&EDGE));

    // A life that began in quarantine knows nothing of the one before: its ledger does not account for that.
    let unknown = reopened(backup.account_for(&[]).expect("no ledger"), 0xef);
    assert_eq!(unknown.state.quarantines().count(), 1);
    assert_eq!(account(&backup, ledger(&unknown.state, unknown.index)).quarantine, Some(QuarantineReason::LedgerGap));
    let own = unknown.state.clone();
    assert_eq!(account(&own, ledger(&unknown.state, unknown.index)).quarantine, None, "of its own time it does");
    destroy(&mut new, "orders", Some(2));
    assert_eq!(new.state.ledger_facts((second, new.index - 1)).len(), 1);
}

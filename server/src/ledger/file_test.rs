//! The ledger under crashes, in foreign hands and with several writers.

use state::{Command, Entry, NodeInfo, Proposal};
use types::{ClusterId, KeyId, NodeId, OperatorName, Principal, TrustDomain, limits};

use super::*;

const FORMED: Time = Time(1_795_305_600_000);

/// A cluster with an operator to revoke whenever something is to be told.
struct Cluster {
    state: State,
    signer: P256Signer,
    operators: u8,
}

impl Cluster {
    fn formed() -> Self {
        let signer = P256Signer::generate();
        let init = Command::Init {
            cluster: ClusterId([1; 16]),
            trust_domain: TrustDomain::parse("example.org").expect("a name"),
            cluster_spki: signer.spki_der(),
            cluster_key_wrapped: vec![3; 64],
            node: NodeId(1),
            info: NodeInfo { spki: SpkiHash([4; 32]), peer_address: "a:1".to_owned(), api_address: "a:2".to_owned() },
            operator: OperatorName::parse("root").expect("a name"),
            operator_spki: SpkiHash([5; 32]),
            operator_expires: FORMED.after(limits::ENROLMENT_MAX),
            namespace_kek_wrapped: vec![6; 64],
            namespace_id: KeyId([7; 16]),
        };
        let mut cluster = Self { state: State::new(), signer, operators: 0 };
        cluster.apply(Principal::LocalAdmin, init);
        cluster
    }

    fn apply(&mut self, actor: Principal, command: Command) {
        let basis = (actor != Principal::LocalAdmin).then(|| self.state.basis(&command, Time::NEVER));
        let proposal = Proposal { actor, at: FORMED, request: None, basis, command };
        let index = self.state.index() + 1;
        self.state.apply(&Entry { index, proposal }).reply.expect("applied");
    }

    fn ask(&mut self, command: Command) {
        self.apply(Principal::Operator(OperatorName::parse("root").expect("a name")), command);
    }

    /// Something that a ledger is told: an operator with a role is revoked, which is two facts of one entry.
    fn revoke(&mut self) {
        self.operators += 1;
        let name = OperatorName::parse(&format!("op-{}", self.operators)).expect("a name");
        let (spki, expires) = (SpkiHash([0x80 | self.operators; 32]), FORMED.after(limits::ENROLMENT_MAX));
        self.ask(Command::EnrolOperator { name: name.clone(), spki, expires });
        let (principal, role) = (Principal::Operator(name.clone()), types::Role::Auditor);
        self.ask(Command::GrantRole(types::Binding { principal, role, scope: types::Scope::Cluster }));
        self.ask(Command::RevokeOperator { name });
    }

    fn tell(&self, file: &mut LedgerFile, mark: Mark) -> Result<LedgerEnd, LedgerFault> {
        file.append(&self.state, &self.signer, mark)
    }
}

fn facts(path: &Path) -> Vec<LedgerFact> {
    let bytes = std::fs::read(path).expect("reads");
    audit::verify_ledger(&bytes, None).expect("verifies").lines.into_iter().map(|line| line.fact).collect()
}

fn revoked(path: &Path) -> usize {
    facts(path).iter().filter(|fact| matches!(fact, LedgerFact::OperatorRevoked { .. })).count()
}

#[test]
fn what_is_told_is_told_once_and_a_restart_goes_on() {
    let (temp, mut cluster) = (tempfile::tempdir().expect("a folder"), Cluster::formed());
    let path = temp.path().join("ledger");
    let mut file = LedgerFile::new(path.clone());
    cluster.tell(&mut file, Mark::WithFacts).expect("begins");
    assert!(matches!(facts(&path).as_slice(), [LedgerFact::Begun(_), LedgerFact::Mark]));
    cluster.revoke();
    let end = cluster.tell(&mut file, Mark::WithFacts).expect("tells");
    assert_eq!(end.marked, (Generation::FIRST, cluster.state.index()));
    let length = std::fs::metadata(&path).expect("is there").len();
    assert_eq!(length, end.bytes);
    for mark in [Mark::WithFacts, Mark::WhenOld, Mark::Now] {
        assert_eq!(cluster.tell(&mut file, mark).expect("nothing to tell"), end, "{mark:?}");
    }
    let mut restarted = LedgerFile::new(path.clone());
    assert_eq!(cluster.tell(&mut restarted, Mark::WithFacts).expect("nothing to tell"), end);
    cluster.revoke();
    cluster.tell(&mut restarted, Mark::WithFacts).expect("tells");
    assert_eq!(revoked(&path), 2);
    // The other one, which may be another node on a shared folder, finds it.
    let end = cluster.tell(&mut file, Mark::Now).expect("nothing to tell");
    assert_eq!((revoked(&path), end.bytes), (2, std::fs::metadata(&path).expect("is there").len()));
}

#[test]
fn a_node_behind_the_file_does_not_say_that_it_has_told() {
    let (temp, mut cluster) = (tempfile::tempdir().expect("a folder"), Cluster::formed());
    let path = temp.path().join("ledger");
    let mut file = LedgerFile::new(path.clone());
    let mut set_back = Cluster { state: cluster.state.clone(), signer: copy(&cluster.signer), operators: 8 };
    cluster.revoke();
    cluster.revoke();
    let end = cluster.tell(&mut file, Mark::WithFacts).expect("tells");
    // Its disks were set back, and it lives on from there: what it revokes lies below the mark, and was not told.
    set_back.revoke();
    assert!(set_back.state.index() < cluster.state.index());
    for file in [&mut file, &mut LedgerFile::new(path.clone())] {
        for mark in [Mark::WithFacts, Mark::Now] {
            let told = set_back.tell(file, mark);
            assert!(matches!(told, Err(LedgerFault::Ahead { .. })), "{mark:?}: {told:?}");
        }
        // By itself it does not write either, and complains to nobody: most who are behind catch up.
        assert_eq!(set_back.tell(file, Mark::WhenOld).expect("waits"), end);
    }
    assert_eq!(revoked(&path), 2);
}

fn copy(signer: &P256Signer) -> P256Signer {
    P256Signer::from_pkcs8(signer.to_pkcs8().expose()).expect("a key")
}

#[test]
fn a_write_that_a_crash_cut_off_anywhere_is_made_again() {
    let (temp, mut cluster) = (tempfile::tempdir().expect("a folder"), Cluster::formed());
    let path = temp.path().join("ledger");
    let mut file = LedgerFile::new(path.clone());
    cluster.revoke();
    let before = cluster.tell(&mut file, Mark::WithFacts).expect("tells").bytes;
    cluster.revoke();
    let after = cluster.tell(&mut file, Mark::WithFacts).expect("tells").bytes;
    let whole = std::fs::read(&path).expect("reads");
    // Between the lines too: the second of two facts of one entry must not be taken for told.
    let lines = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at as u64 + 1);
    let cuts = lines.filter(|at| *at > before && *at < after).chain((before + 1..after).step_by(97));
    for cut in cuts {
        std::fs::write(&path, whole.get(..usize::try_from(cut).expect("small")).expect("so long")).expect("cut");
        let mut again = LedgerFile::new(path.clone());
        cluster.tell(&mut again, Mark::WithFacts).expect("goes on");
        let facts = facts(&path);
        let second = SpkiHash([0x82; 32]);
        let key = |fact: &LedgerFact| matches!(fact, LedgerFact::OperatorRevoked { spki, .. } if *spki == second);
        assert!(facts.iter().any(key), "cut at {cut}");
        let name = Principal::Operator(OperatorName::parse("op-2").expect("a name"));
        let role = |fact: &LedgerFact| matches!(fact, LedgerFact::RoleRevoked(binding) if binding.principal == name);
        assert!(facts.iter().any(role), "cut at {cut}");
        assert_eq!(facts.last(), Some(&LedgerFact::Mark));
    }
}

#[test]
fn a_ledger_that_was_cut_replaced_or_changed_is_not_written_to() {
    let (temp, mut cluster) = (tempfile::tempdir().expect("a folder"), Cluster::formed());
    let path = temp.path().join("ledger");
    let mut file = LedgerFile::new(path.clone());
    cluster.tell(&mut file, Mark::WithFacts).expect("begins");
    let copy = std::fs::read(&path).expect("reads");
    cluster.revoke();
    cluster.tell(&mut file, Mark::WithFacts).expect("tells");
    let whole = std::fs::read(&path).expect("reads");
    cluster.revoke();
    let told = |bytes: Option<&[u8]>, file: &mut LedgerFile| {
        match bytes {
            Some(bytes) => std::fs::write(&path, bytes).expect("replaced"),
            None => std::fs::remove_file(&path).expect("removed"),
        }
        let fault = cluster.tell(file, Mark::WithFacts).expect_err("refused");
        assert_eq!(std::fs::read(&path).ok().as_deref(), bytes, "it was left as it is");
        fault
    };
    let older = told(Some(&copy), &mut file);
    assert!(matches!(older, LedgerFault::Cut { .. }), "an older copy: {older}");
    let gone = told(None, &mut file);
    assert!(matches!(gone, LedgerFault::Cut { .. }), "{gone}");
    let mut changed = whole.clone();
    *changed.get_mut(200).expect("a byte") ^= 1;
    let damaged = told(Some(&changed), &mut LedgerFile::new(path.clone()));
    assert!(matches!(damaged, LedgerFault::Unsound { .. }), "{damaged}");
    let mut other = Cluster::formed();
    other.state = cluster.state.clone();
    let foreign = other.tell(&mut LedgerFile::new(path.clone()), Mark::WithFacts).expect_err("another's");
    assert!(
        matches!(
            foreign,
            LedgerFault::Unsound {
                source: LedgerError::Malformed(_) | LedgerError::Signature(_) | LedgerError::Key { .. },
                ..
            }
        ),
        "{foreign}"
    );
    std::fs::write(&path, &whole).expect("put back");
    cluster.tell(&mut file, Mark::WithFacts).expect("and goes on");
    assert_eq!(revoked(&path), 2);
}

#[test]
fn a_node_of_a_lost_life_has_no_say() {
    let (temp, mut cluster) = (tempfile::tempdir().expect("a folder"), Cluster::formed());
    let path = temp.path().join("ledger");
    let mut lost = LedgerFile::new(path.clone());
    cluster.tell(&mut lost, Mark::WithFacts).expect("begins");
    let mut restored = Cluster {
        state: cluster.state.clone(),
        signer: P256Signer::from_pkcs8(cluster.signer.to_pkcs8().expose()).expect("a key"),
        operators: 9,
    };
    let ledger = audit::verify_ledger(&std::fs::read(&path).expect("reads"), None).expect("verifies");
    let accounted = restored.state.account_for(&[(ledger, None)]).expect("its own");
    restored.state = accounted.state;
    let open = Command::OpenGeneration {
        generation: restored.state.next_generation(accounted.seen).expect("in range"),
        backup: [1; 32],
        info: NodeInfo { spki: SpkiHash([0xee; 32]), peer_address: "b:1".to_owned(), api_address: "b:2".to_owned() },
        compromised: false,
        quarantine: None,
        accounted: 0,
    };
    restored.apply(Principal::LocalAdmin, open);
    restored.tell(&mut LedgerFile::new(path.clone()), Mark::WithFacts).expect("goes on");
    assert!(matches!(
        facts(&path).as_slice(),
        [LedgerFact::Begun(_), LedgerFact::Mark, LedgerFact::Generation(_), LedgerFact::Mark]
    ));
    cluster.revoke();
    let fault = cluster.tell(&mut lost, Mark::WithFacts).expect_err("refused");
    assert!(matches!(fault, LedgerFault::LaterLife { .. }), "{fault}");
    assert_eq!(revoked(&path), 0);
}

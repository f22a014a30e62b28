//! A ledger that was changed in any way is found out; one whose last write was cut off is not taken for a changed one.

use crypto::sign::P256Signer;

use super::*;

const CLUSTER: ClusterId = ClusterId([3; 16]);

fn line(end: LedgerEnd, index: u64, fact: LedgerFact) -> LedgerLine {
    let (number, previous) = (end.next, end.previous);
    LedgerLine { number, previous, cluster: CLUSTER, generation: Generation::FIRST, index, at: Time(index), fact }
}

fn push(file: &mut String, end: &mut LedgerEnd, signer: &P256Signer, line: &LedgerLine) {
    let (body, signed) = line.to_body();
    let text = LedgerLine::join(&body, &signer.sign(&signed));
    *end = end.after(line, &text);
    file.push_str(&text);
    file.push('\n');
}

fn facts(signer: &P256Signer) -> Vec<LedgerFact> {
    let (key_id, spki) = (KeyId([7; 16]), SpkiHash([9; 32]));
    let namespace = NamespaceName::parse("pay").expect("a name");
    let key = KeyName::parse("orders").expect("a name");
    let (alice, edge) = (OperatorName::parse("alice").expect("a name"), AgentName::parse("edge").expect("a name"));
    let holds = |principal: &str, role, scope| {
        LedgerFact::RoleRevoked(Binding { principal: Principal::parse(principal).expect("a principal"), role, scope })
    };
    vec![
        LedgerFact::Begun(signer.spki_der()),
        LedgerFact::Since,
        LedgerFact::Destroyed {
            namespace: namespace.clone(),
            key: key.clone(),
            key_id,
            versions: vec![1, 2],
            whole: false,
        },
        LedgerFact::Disabled { namespace: namespace.clone(), key: key.clone(), key_id, version: None },
        LedgerFact::Disabled { namespace: namespace.clone(), key, key_id, version: Some(2) },
        LedgerFact::Version { key_id, last: 3 },
        LedgerFact::OperatorRevoked { name: alice.clone(), spki },
        LedgerFact::OperatorLimited { name: alice, spki, expires: Time(9) },
        LedgerFact::AgentRevoked { name: edge.clone(), spki },
        LedgerFact::AgentReplaced { name: edge, spki },
        holds("operators/alice", Role::Admin, Scope::Cluster),
        holds("spiffe://td/ns/pay/a", Role::KeyUser, Scope::Namespace(namespace.clone())),
        LedgerFact::EntryWithdrawn { namespace: namespace.clone(), entry: EntryName::parse("web").expect("a name") },
        LedgerFact::SuffixWithdrawn { namespace, suffix: "pay.example".to_owned() },
        LedgerFact::Mark,
    ]
}

fn written(signer: &P256Signer) -> (String, LedgerEnd) {
    let (mut file, mut end) = (String::new(), LedgerEnd::START);
    for (index, fact) in facts(signer).into_iter().enumerate() {
        let line = line(end, index as u64, fact);
        push(&mut file, &mut end, signer, &line);
    }
    (file, end)
}

#[test]
fn what_is_written_is_read() {
    let signer = P256Signer::generate();
    let (file, end) = written(&signer);
    let pinned = SpkiHash(crypto::hash::sha256(&signer.spki_der()));
    let ledger = verify_ledger(file.as_bytes(), Some(pinned)).expect("verifies");
    assert_eq!((ledger.end, ledger.torn), (end, 0));
    assert_eq!(ledger.lines.into_iter().map(|line| line.fact).collect::<Vec<_>>(), facts(&signer));
    assert_eq!(end.bytes, file.len() as u64);
    let other = verify_ledger(file.as_bytes(), Some(SpkiHash([0; 32])));
    assert!(matches!(other, Err(LedgerError::Key { .. })));
}

#[test]
fn a_torn_tail_is_told_from_damage() {
    let signer = P256Signer::generate();
    let (file, _) = written(&signer);
    let (bytes, all) = (file.as_bytes(), facts(&signer).len());
    let last_line = file.trim_end().rfind('\n').expect("several lines") + 1;
    for cut in last_line + 1..bytes.len() {
        let ledger = verify_ledger(&bytes[..cut], None).expect("what was acknowledged is whole");
        assert_eq!((ledger.lines.len(), ledger.torn), (all - 1, (cut - last_line) as u64), "cut at {cut}");
    }
    // A file that was cut between two lines verifies: only whoever knows its end finds out.
    assert_eq!(verify_ledger(&bytes[..last_line], None).expect("whole").lines.len(), all - 1);
    assert_eq!(verify_ledger(b"", None), Err(LedgerError::Empty));
    assert_eq!(verify_ledger(b"half a line", None), Err(LedgerError::Empty));
}

#[test]
fn every_change_before_the_tail_is_found() {
    let signer = P256Signer::generate();
    let (file, _) = written(&signer);
    let last_line = file.trim_end().rfind('\n').expect("several lines") + 1;
    for place in (0..last_line).step_by(5) {
        let mut changed = file.clone().into_bytes();
        changed[place] ^= 1;
        assert!(verify_ledger(&changed, None).is_err(), "a flipped bit at {place} was not found");
    }
    let lines: Vec<&str> = file.lines().collect();
    let again = |order: &[usize]| order.iter().map(|line| format!("{}\n", lines[*line])).collect::<String>();
    for order in [&[0, 2, 3][..], &[0, 1, 1], &[0, 2, 1], &[1, 2, 3], &[0, 1, 0]] {
        assert!(verify_ledger(again(order).as_bytes(), None).is_err(), "{order:?}");
    }
}

#[test]
fn nobody_else_writes_and_time_does_not_go_back() {
    let (signer, stranger) = (P256Signer::generate(), P256Signer::generate());
    let (file, end) = written(&signer);
    let key_id = KeyId([7; 16]);
    let checked = |line: LedgerLine, by: &P256Signer| {
        let (mut file, mut end) = (file.clone(), end);
        push(&mut file, &mut end, by, &line);
        verify_ledger(file.as_bytes(), None).map(|ledger| ledger.lines.len())
    };
    let next = line(end, 99, LedgerFact::Version { key_id, last: 4 });
    let place = end.next;
    assert_eq!(checked(next.clone(), &signer), Ok(place as usize + 1));
    assert_eq!(checked(next.clone(), &stranger), Err(LedgerError::Signature(place)));
    assert_eq!(checked(LedgerLine { index: 4, ..next.clone() }, &signer), Err(LedgerError::Chain(place)));
    assert_eq!(checked(LedgerLine { number: place + 1, ..next.clone() }, &signer), Err(LedgerError::Chain(place)));
    assert_eq!(checked(LedgerLine { previous: [0; 32], ..next.clone() }, &signer), Err(LedgerError::Chain(place)));
    assert_eq!(
        checked(LedgerLine { cluster: ClusterId([4; 16]), ..next.clone() }, &signer),
        Err(LedgerError::Foreign(place))
    );
    assert_eq!(
        checked(LedgerLine { fact: LedgerFact::Begun(stranger.spki_der()), ..next }, &stranger),
        Err(LedgerError::Foreign(place))
    );
}

#[test]
fn what_stands_before_damage_is_kept_and_reading_goes_on_where_it_ended() {
    let signer = P256Signer::generate();
    let (file, end) = written(&signer);
    let lines: Vec<&str> = file.split_inclusive('\n').collect();
    let missing: String = lines.iter().enumerate().filter(|(at, _)| *at != 5).map(|(_, line)| *line).collect();
    let (kept, error) = salvage_ledger(missing.as_bytes(), None).expect("a beginning");
    assert_eq!((kept.lines.len(), error), (5, Some(LedgerError::Chain(5))));
    assert!(matches!(
        salvage_ledger(&missing.as_bytes()[1..], None),
        Err(LedgerError::Malformed(0) | LedgerError::Signature(0))
    ));

    let mut reader = LedgerReader::new(SpkiHash(crypto::hash::sha256(&signer.spki_der())));
    let split = lines.iter().take(4).map(|line| line.len()).sum();
    let (first, second) = file.as_bytes().split_at(split);
    assert_eq!(reader.read(first).0.lines.len(), 4);
    assert_eq!(reader.read(second), (verify_rest(&file, 4), None));
    assert_eq!(reader.end(), end);
    assert!(matches!(reader.read(second).1, Some(LedgerError::Chain(_))), "not a second time");
}

fn verify_rest(file: &str, from: usize) -> Ledger {
    let mut whole = verify_ledger(file.as_bytes(), None).expect("verifies");
    whole.lines.drain(..from);
    whole
}

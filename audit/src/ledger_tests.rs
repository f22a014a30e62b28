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
    let (namespace, key, name) = ("pay".to_owned(), "orders".to_owned(), "alice".to_owned());
    vec![
        LedgerFact::Begun(signer.spki_der()),
        LedgerFact::Destroyed { namespace, key, key_id, versions: vec![1, 2], whole: false },
        LedgerFact::Version { key_id, last: 3 },
        LedgerFact::OperatorRevoked { name: name.clone(), spki },
        LedgerFact::AgentRevoked { name, spki },
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
    let bytes = file.as_bytes();
    let last_line = file.trim_end().rfind('\n').expect("several lines") + 1;
    for cut in last_line + 1..bytes.len() {
        let ledger = verify_ledger(&bytes[..cut], None).expect("what was acknowledged is whole");
        assert_eq!((ledger.lines.len(), ledger.torn), (5, (cut - last_line) as u64), "cut at {cut}");
    }
    // A file that was cut between two lines verifies: only whoever knows its end finds out.
    assert_eq!(verify_ledger(&bytes[..last_line], None).expect("whole").lines.len(), 5);
    assert_eq!(verify_ledger(b"", None), Err(LedgerError::Empty));
    assert_eq!(verify_ledger(b"half a line", None), Err(LedgerError::Empty));
}

#[test]
fn every_change_before_the_tail_is_found() {
    let signer = P256Signer::generate();
    let (file, _) = written(&signer);
    let last_line = file.trim_end().rfind('\n').expect("several lines") + 1;
    for place in 0..last_line {
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
    let next = line(end, 9, LedgerFact::Version { key_id, last: 4 });
    assert_eq!(checked(next.clone(), &signer), Ok(7));
    assert_eq!(checked(next.clone(), &stranger), Err(LedgerError::Signature(6)));
    assert_eq!(checked(LedgerLine { index: 4, ..next.clone() }, &signer), Err(LedgerError::Chain(6)));
    assert_eq!(checked(LedgerLine { number: 7, ..next.clone() }, &signer), Err(LedgerError::Chain(6)));
    assert_eq!(checked(LedgerLine { previous: [0; 32], ..next.clone() }, &signer), Err(LedgerError::Chain(6)));
    assert_eq!(
        checked(LedgerLine { cluster: ClusterId([4; 16]), ..next.clone() }, &signer),
        Err(LedgerError::Foreign(6))
    );
    assert_eq!(
        checked(LedgerLine { fact: LedgerFact::Begun(stranger.spki_der()), ..next }, &stranger),
        Err(LedgerError::Foreign(6))
    );
}

//! The audit log as whoever verifies it offline gets it: leaves, heads, proofs, ledgers.

use ::audit::proof::{consistency, inclusion, verify_consistency, verify_inclusion};
use ::audit::{
    Checkpoint, Event, Frontier, Hash, Head, LedgerEnd, LedgerFact, LedgerLine, LedgerReader, LogName, Record,
    leaf_hash, salvage_ledger, verify_ledger, verify_log,
};
use ::types::{Action, ClusterId, Generation, KeyId, KeyName, NamespaceName, NodeId, Principal, SpkiHash, Time};

use super::{signer, text, texts};
use crate::engine::Target;

/// One record as a JSON line.
pub(super) const LEAF: Target = Target::new("audit-leaf", leaf, || {
    let event = |principal: &str| Event::allowed(Time(1_795_358_000_000), Principal::parse(principal).unwrap(), Action::ALL[0]);
    let record = |principal, log| event(principal).into_record(log, 7).to_leaf();
    let long = br#"{"v":1,"log":"node-1","index":0,"at_ms":1,"principal":"seal","action":"key.create","resource":"namespaces/a","outcome":"deny","reason":"PERMISSION_DENIED","request_id":"0192d3c4-5e6f-7a8b-9c0d-1e2f3a4b5c6d","source":"[::1]:1","detail":{"a":{"count":1},"b":{"text":"c"}}}"#;
    vec![record("operators/root", LogName::Cluster), record("spiffe://example.org/ns/a/b", LogName::Node(NodeId(1))), long.to_vec()]
})
.tokens(&[b"\"reason\":\"", b"\"source\":\"", b"\"request_id\":\"", b"{\"count\":", b"{\"sha256\":\"", b"{\"hmac\":\"", b"{\"text\":\"", b"\"fail\"", b"\\u0061", b"null"]);

/// A signed head's body.
pub(super) const CHECKPOINT: Target = Target::new("audit-checkpoint", checkpoint, || {
    texts(&["chancery/000102030405060708090a0b0c0d0e0f/node-1\n88\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"])
})
.tokens(&[b"\n", b"chancery/", b"=", b"+"]);

/// Proofs of a log that is known: they are taken only if they are the right ones.
pub(super) const PROOF: Target = Target::new("audit-proof", proof, || {
    let of = |size: u8, at: u8| {
        let path = inclusion(&leaves(size)[..], u64::from(at), u64::from(size)).unwrap();
        [vec![size, at, at], path.iter().flat_map(|hash| hash.0).collect()].concat()
    };
    let grown = consistency(&leaves(11)[..], 6, 11).unwrap();
    vec![of(1, 0), of(7, 3), of(12, 11), [vec![11, 6, 6], grown.iter().flat_map(|hash| hash.0).collect()].concat()]
});

/// What was destroyed and revoked, in a file outside of the cluster.
pub(super) const LEDGER: Target = Target::new("audit-ledger", ledger, || {
    let whole = lines();
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap();
    vec![whole[..=first].to_vec(), whole[..whole.len() - 9].to_vec(), whole]
})
.tokens(&[b"\n", b" {\"n\":", b"\"fact\":{\"mark\":{}}", b"\"previous\":\"", b"=="])
.bytes_max(8_192);

fn leaf(input: &[u8]) {
    if let Ok(record) = Record::from_leaf(input) {
        assert_eq!(record.to_leaf(), input, "a second encoding of a record");
        let head = [(record.log, input)].map(|(log, leaf)| {
            let mut frontier = Frontier::new();
            frontier.push(leaf);
            frontier.head(log)
        });
        assert_eq!(verify_log(record.log, [input], &head).is_sound(), record.index == 0);
    }
    let report = verify_log(LogName::Cluster, input.split(|byte| *byte == b'\n'), &[]);
    assert_eq!(report.is_sound(), report.first_bad().is_none());
}

fn checkpoint(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let Ok(checkpoint) = Checkpoint::parse(text) else { return };
    assert_eq!(checkpoint.to_string(), text, "a second encoding of a checkpoint");
    let cluster = ClusterId(std::array::from_fn(|at| at as u8));
    if let Some(head) = checkpoint.head(cluster) {
        assert_eq!(head.checkpoint(cluster), checkpoint);
    }
}

fn leaves(size: u8) -> Vec<Hash> {
    (0..size).map(|number| leaf_hash(&[number])).collect()
}

fn head(size: u8) -> Head {
    let mut frontier = Frontier::new();
    for leaf in leaves(size) {
        frontier.append(leaf);
    }
    frontier.head(LogName::Cluster)
}

/// The size of the log, the leaf that is shown, the place that is claimed for it; then the path.
fn proof(input: &[u8]) {
    let [size, shown, claimed, path @ ..] = input else { return };
    let path: Vec<Hash> = path.chunks_exact(32).map(|hash| Hash(hash.try_into().unwrap())).collect();
    let size = size % 65;
    if size > 0 {
        let right = inclusion(&leaves(size)[..], u64::from(*claimed), u64::from(size));
        let taken = verify_inclusion(leaf_hash(&[*shown]), u64::from(*claimed), &head(size), &path);
        assert_eq!(
            taken,
            shown == claimed && right.is_some_and(|right| right == path),
            "a leaf that is not there, or one that is"
        );
    }
    let (old, mut new) = (shown % 65, head(size));
    let right = consistency(&leaves(size)[..], u64::from(old), u64::from(size));
    let taken = verify_consistency(&head(old), &new, &path);
    assert_eq!(
        taken,
        old <= size && right.is_some_and(|right| right == path),
        "a log that did not grow from the other, or one that did"
    );
    if taken && old != size && old != 0 {
        new.root.0[0] ^= 1;
        assert!(!verify_consistency(&head(old), &new, &path));
    }
}

fn lines() -> Vec<u8> {
    let key = signer();
    let facts = [
        LedgerFact::Begun(key.spki_der()),
        LedgerFact::Destroyed {
            namespace: NamespaceName::default_namespace(),
            key: KeyName::parse("orders").unwrap(),
            key_id: KeyId([1; 16]),
            versions: vec![1, 2],
            whole: true,
        },
        LedgerFact::SuffixWithdrawn { namespace: NamespaceName::default_namespace(), suffix: "pay.example".to_owned() },
        LedgerFact::Mark,
    ];
    let (mut end, mut file) = (LedgerEnd::START, Vec::new());
    for (index, fact) in (1..).zip(facts) {
        let line = LedgerLine {
            number: end.next,
            previous: end.previous,
            cluster: ClusterId([4; 16]),
            generation: Generation::FIRST,
            index,
            at: Time(1_795_358_000_000),
            fact,
        };
        let (body, signed) = line.to_body();
        let text = LedgerLine::join(&body, &key.sign(&signed));
        end = end.after(&line, &text);
        file.extend_from_slice(format!("{text}\n").as_bytes());
    }
    file
}

fn ledger(input: &[u8]) {
    let ours = SpkiHash(::crypto::hash::sha256(&signer().spki_der()));
    let pinned = verify_ledger(input, Some(ours));
    if let Ok(ledger) = &pinned {
        // Nobody has the key: what is signed with it was signed by this file, in some run.
        assert!(ledger.lines.iter().all(|line| line.cluster == ClusterId([4; 16])), "a line that nobody signed");
        assert_eq!(ledger.end.bytes + ledger.torn, input.len() as u64);
    }
    let Ok((whole, error)) = salvage_ledger(input, None) else {
        assert!(pinned.is_err());
        return;
    };
    assert_eq!(verify_ledger(input, None).is_ok(), error.is_none());
    for (number, line) in (0..).zip(&whole.lines) {
        assert_eq!(line.number, number);
    }
    // Piece by piece it is the same ledger.
    let mut reader = LedgerReader::new(ours);
    let cut = input.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (first, broken) = reader.read(&input[..cut]);
    if pinned.is_ok() && broken.is_none() {
        let (second, _) = reader.read(&input[cut..]);
        assert_eq!([first.lines, second.lines].concat(), whole.lines);
        assert_eq!(reader.end(), whole.end);
    }
}

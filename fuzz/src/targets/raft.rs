//! What a member reads from its own disk and from the other members.

use std::path::PathBuf;
use std::sync::OnceLock;

use ::proto::raft::v1 as wire;
use ::raft::fuzzing as door;
use prost::Message;

use crate::engine::Target;

/// Payloads and memberships, in the log and on the wire.
pub(super) const PAYLOAD: Target = Target::new("raft-payload", payload, || {
    let placed = door::some_membership();
    // Behind its place (two numbers and the mark that there is one) stands what a payload holds.
    vec![b"\x01".to_vec(), b"\x02order".to_vec(), [b"\x03", &placed[3..]].concat(), placed]
});

/// Messages of the peer port.
pub(super) const MESSAGE: Target = Target::new("raft-message", message, || {
    let ballot = || Some(wire::Ballot { term: 3, node: 1, committed: true });
    let at = || Some(wire::LogId { term: 3, index: 17 });
    let entries = vec![wire::Entry { log_id: at(), payload: b"\x02order".to_vec() }];
    let append = wire::AppendRequest { ballot: ballot(), previous: at(), entries, committed: at() };
    let offer = wire::SnapshotOffer { ballot: ballot(), last: at(), members: door::some_membership(), disk_bytes: 9 };
    let vote = wire::VoteRequest { ballot: ballot(), last: at(), leadership_transfer: true };
    let numbered = |number: u8, bytes: Vec<u8>| [vec![number], bytes].concat();
    (0..7)
        .map(|number| numbered(number, vote.encode_to_vec()))
        .chain([numbered(0, append.encode_to_vec()), numbered(4, offer.encode_to_vec())])
        .collect()
});

/// Snapshot, witness and records of the log, as they lie on the disk; nothing is sealed here, so that all of it can be changed.
pub(super) const FILES: Target = Target::new("raft-files", files, || {
    let path = file("seed");
    door::write_snapshot(&path, &door::some_membership(), b"a state");
    let snapshot = std::fs::read(&path).unwrap();
    door::write_witness(&path);
    let witness = std::fs::read(&path).unwrap();
    let records = [&[0; 16][..], &[0; 17], &[0, 0, 0, 3], b"xyz"].concat();
    [(0, snapshot), (1, witness), (2, records)].map(|(which, bytes)| [vec![which], bytes].concat()).into()
})
.bytes_max(9_000)
.spare_bytes(24 << 20);

fn file(what: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(super::scratch).join(what)
}

fn payload(input: &[u8]) {
    for again in [door::payload as fn(&[u8]) -> Option<Vec<u8>>, door::membership] {
        if let Some(written) = again(input) {
            assert_eq!(written, input, "a second encoding of what is replicated");
        }
    }
}

fn message(input: &[u8]) {
    fn check<M: Message + Default + PartialEq + std::fmt::Debug + Clone>(bytes: &[u8], again: impl Fn(M) -> Option<M>) {
        if let Some(once) = M::decode(bytes).ok().and_then(&again) {
            assert_eq!(again(once.clone()), Some(once));
        }
    }
    let Some((which, bytes)) = input.split_first() else { return };
    match which % 7 {
        0 => check(bytes, door::append),
        1 => check(bytes, door::append_reply),
        2 => check(bytes, door::vote),
        3 => check(bytes, door::vote_reply),
        4 => check(bytes, door::snapshot_offer),
        5 => check(bytes, door::transfer),
        _ => check(bytes, door::transfer_reply),
    }
}

fn files(input: &[u8]) {
    let Some((which, bytes)) = input.split_first() else { return };
    if which % 3 == 2 {
        assert!(bytes.starts_with(&door::records(bytes)), "a second encoding of a record");
        return;
    }
    let path = file("input");
    std::fs::write(&path, bytes).unwrap();
    if which % 3 == 1 {
        let _ = door::witness(&path);
    } else if let Some(state) = door::snapshot(&path) {
        assert!(state.len() <= bytes.len());
    }
}

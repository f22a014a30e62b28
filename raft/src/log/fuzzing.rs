//! Doors for `fuzz/` to the stored form of the log and to the witness. Only with `--cfg fuzzing`.

use std::path::Path;
use std::sync::Arc;

use raft_log::codeq::{Decode, Encode};
use types::{ClusterId, NodeId};

use super::record::{Ballot, Place, Sealed};
use super::witness::{Seen, Witness};
use crate::envelope::Owner;

/// As many records as there are (a position, a vote, a payload, in turn), written again.
#[must_use]
pub fn records(bytes: &[u8]) -> Vec<u8> {
    fn again<T: Decode + Encode>(input: &mut &[u8], out: &mut Vec<u8>) -> bool {
        T::decode(&mut *input).is_ok_and(|value| value.encode(out).is_ok())
    }
    let (mut input, mut out) = (bytes, Vec::new());
    while !input.is_empty()
        && again::<Place>(&mut input, &mut out)
        && again::<Ballot>(&mut input, &mut out)
        && again::<Sealed>(&mut input, &mut out)
    {}
    out
}

/// Reads a witness; when that succeeds, writes it again and reads that.
///
/// # Panics
/// When what was written does not read as the same.
pub fn witness(path: &Path) -> bool {
    let owner = Owner { cluster: ClusterId([1; 16]), node: NodeId(1) };
    let new = || Witness::new(path.to_owned(), owner, Arc::new(crate::fuzzing::Open));
    let Ok(Some(seen)) = new().read() else { return false };
    let mut fresh = new();
    fresh.create(&seen).expect("writes");
    assert_eq!(new().read().ok(), Some(Some(seen)), "what was written is not what is read");
    true
}

/// A witness that has seen that.
///
/// # Panics
/// When the disk refuses.
pub fn write_witness(path: &Path) {
    let owner = Owner { cluster: ClusterId([1; 16]), node: NodeId(1) };
    let seen =
        Seen { vote: Some(Ballot(crate::type_config::Vote::new(3, 1))), synced: Some(Place { term: 3, index: 17 }) };
    Witness::new(path.to_owned(), owner, Arc::new(crate::fuzzing::Open)).create(&seen).expect("writes");
}

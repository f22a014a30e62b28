//! Doors for `fuzz/`: what a member reads from its disk and from other members. Only with `--cfg fuzzing`.
//!
//! A door says what was read, written again; what must hold of that is judged there. None of it is public otherwise.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use types::{ClusterId, NodeId};

use crate::codec;
use crate::envelope::{Envelope, FileKind, Owner, Tampered};
use crate::snapshot::{Cipher, SnapshotReader, SnapshotWriter};

pub use crate::log::fuzzing::{records, witness, write_witness};
pub use crate::peer::fuzzing::{append, append_reply, snapshot_offer, transfer, transfer_reply, vote, vote_reply};

/// A membership of two nodes, one of which votes.
///
/// # Panics
/// Never.
#[must_use]
pub fn some_membership() -> Vec<u8> {
    let member = crate::Member { address: "127.0.0.1:7444".to_owned(), spki: types::SpkiHash([9; 32]) };
    let members = std::collections::BTreeMap::from([(1, member.clone()), (2, member)]);
    let membership = crate::type_config::Membership::new(vec![[1].into()], members).expect("a membership");
    let stored = crate::type_config::StoredMembership::new(Some(crate::type_config::log_id(3, 7)), membership);
    codec::encode_membership(&stored).expect("encodes")
}

/// An entry's payload, written again.
#[must_use]
pub fn payload(bytes: &[u8]) -> Option<Vec<u8>> {
    codec::decode_payload(bytes).ok().and_then(|payload| codec::encode_payload(&payload).ok())
}

/// A membership with its place, written again.
#[must_use]
pub fn membership(bytes: &[u8]) -> Option<Vec<u8>> {
    codec::decode_membership(bytes).ok().and_then(|stored| codec::encode_membership(&stored).ok())
}

/// A snapshot file of position 3, 17: the state in it.
#[must_use]
pub fn snapshot(path: &Path) -> Option<Vec<u8>> {
    let (mut reader, _) = SnapshotReader::open(path, cipher(), [3, 17]).ok()?;
    let mut state = Vec::new();
    reader.read_to_end(&mut state).ok()?;
    Some(state)
}

/// A snapshot file of that position.
///
/// # Panics
/// When the disk refuses.
pub fn write_snapshot(path: &Path, membership: &[u8], state: &[u8]) {
    let meta = crate::type_config::SnapshotMeta {
        last_log_id: Some(crate::type_config::log_id(3, 16)),
        last_membership: codec::decode_membership(membership).expect("a membership"),
    };
    let mut writer = SnapshotWriter::create(path, cipher(), &meta).expect("writes");
    writer.write(state).expect("writes");
    writer.finish().expect("writes");
}

pub(crate) fn cipher() -> Cipher {
    Cipher { owner: Owner { cluster: ClusterId([1; 16]), node: NodeId(1) }, envelope: Arc::new(Open) }
}

/// Seals nothing, so that what is sealed can be changed; the additional data is compared all the same.
pub(crate) struct Open;

impl Envelope for Open {
    fn seal(&self, _: FileKind, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        [&[aad.len() as u8], plain].concat()
    }

    fn open(&self, _: FileKind, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Tampered> {
        match sealed.split_first() {
            Some((length, plain)) if usize::from(*length) == aad.len() => Ok(plain.to_vec()),
            _ => Err(Tampered),
        }
    }
}

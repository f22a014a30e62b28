//! The stored form of an entry's payload and of a membership (docs/spec/raft-files.md).
//!
//! The same bytes go to the log (sealed) and over the peer port (inside TLS). Not here: log positions and votes, whose
//! form differs between disk and wire.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use openraft::EntryPayload as Kind;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::member::Member;
use crate::type_config::{EntryPayload, Membership, Payload, StoredMembership, log_id, log_id_parts};

/// First byte of a stored payload: version 1 of each kind. Append-only.
const BLANK: u8 = 1;
const NORMAL: u8 = 2;
const MEMBERSHIP: u8 = 3;

/// A membership as stored: postcard of this, behind a kind or version byte.
#[derive(Serialize, Deserialize)]
struct StoredMembers {
    configs: Vec<BTreeSet<u64>>,
    nodes: BTreeMap<u64, Member>,
}

/// A membership with the entry that made it, as stored in snapshots.
#[derive(Serialize, Deserialize)]
struct PlacedMembers {
    at: Option<(u64, u64)>,
    members: StoredMembers,
}

pub(crate) fn encode_payload(payload: &EntryPayload) -> io::Result<Vec<u8>> {
    Ok(match payload {
        Kind::Blank => vec![BLANK],
        Kind::Normal(Payload(bytes)) => {
            let mut out = Vec::with_capacity(1 + bytes.len());
            out.push(NORMAL);
            out.extend_from_slice(bytes);
            out
        }
        Kind::Membership(membership) => {
            postcard::to_extend(&StoredMembers::from(membership), vec![MEMBERSHIP]).map_err(io::Error::other)?
        }
    })
}

pub(crate) fn decode_payload(bytes: &[u8]) -> io::Result<EntryPayload> {
    let (kind, rest) = bytes.split_first().ok_or_else(|| invalid("an empty payload"))?;
    match *kind {
        BLANK if rest.is_empty() => Ok(Kind::Blank),
        NORMAL => Ok(Kind::Normal(Payload(rest.to_vec()))),
        MEMBERSHIP => {
            let stored: StoredMembers = exactly(rest)?;
            Ok(Kind::Membership(stored.into_membership()?))
        }
        other => Err(invalid(format!("a payload of unknown kind {other}"))),
    }
}

pub(crate) fn encode_membership(stored: &StoredMembership) -> io::Result<Vec<u8>> {
    let placed = PlacedMembers {
        at: stored.log_id().as_ref().map(log_id_parts),
        members: StoredMembers::from(stored.membership()),
    };
    postcard::to_stdvec(&placed).map_err(io::Error::other)
}

pub(crate) fn decode_membership(bytes: &[u8]) -> io::Result<StoredMembership> {
    let placed: PlacedMembers = exactly(bytes)?;
    let at = placed.at.map(|(term, index)| log_id(term, index));
    Ok(StoredMembership::new(at, placed.members.into_membership()?))
}

/// Postcard leaves what follows a value, and takes numbers and sets in more than one form: only what we would write is the stored form.
fn exactly<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    let value: T = postcard::from_bytes(bytes).map_err(io::Error::other)?;
    let written = postcard::to_stdvec(&value).map_err(io::Error::other)?;
    if written == bytes { Ok(value) } else { Err(invalid("a membership in another form")) }
}

impl From<&Membership> for StoredMembers {
    fn from(membership: &Membership) -> Self {
        Self {
            configs: membership.get_joint_config().clone(),
            nodes: membership.nodes().map(|(id, member)| (*id, member.clone())).collect(),
        }
    }
}

impl StoredMembers {
    fn into_membership(self) -> io::Result<Membership> {
        Membership::new(self.configs, self.nodes).map_err(|error| invalid(format!("a membership: {error}")))
    }
}

fn invalid(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} is not in the stored form"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::SpkiHash;

    fn membership() -> Membership {
        let member = Member { address: "127.0.0.1:7444".to_owned(), spki: SpkiHash([9; 32]) };
        Membership::new(vec![BTreeSet::from([1])], BTreeMap::from([(1, member.clone()), (2, member)])).unwrap()
    }

    #[test]
    fn payloads_come_back_and_their_first_bytes_are_fixed() {
        for (payload, first) in [
            (Kind::Blank, 1),
            (Kind::Normal(Payload(b"order".to_vec())), 2),
            (Kind::Normal(Payload(Vec::new())), 2),
            (Kind::Membership(membership()), 3),
        ] {
            let bytes = encode_payload(&payload).unwrap();
            assert_eq!(bytes.first(), Some(&first));
            assert_eq!(decode_payload(&bytes).unwrap(), payload);
        }
    }

    #[test]
    fn memberships_come_back_with_their_place() {
        for at in [None, Some(log_id(3, 17))] {
            let stored = StoredMembership::new(at, membership());
            assert_eq!(decode_membership(&encode_membership(&stored).unwrap()).unwrap(), stored);
        }
    }

    #[test]
    fn what_is_not_in_the_stored_form_is_refused() {
        for bad in [&b""[..], b"\x00", b"\x01x", b"\x04", b"\x03\xff\xff"] {
            assert!(decode_payload(bad).is_err(), "{bad:?}");
        }
        let good = encode_payload(&Kind::Membership(membership())).unwrap();
        // Something follows; the number of configurations stands in two bytes instead of one.
        assert!(decode_payload(&[&good[..], &[0]].concat()).is_err());
        assert!(decode_payload(&[&[MEMBERSHIP, 0x81, 0x00], &good[2..]].concat()).is_err());
        let placed = encode_membership(&StoredMembership::new(None, membership())).unwrap();
        assert!(decode_membership(&[&placed[..], &[0]].concat()).is_err());
    }
}

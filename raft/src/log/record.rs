//! raft-log's types: positions, votes and sealed payloads, with their stored form (docs/spec/raft-files.md).
//!
//! raft-log frames each record and adds a CRC; what a payload holds is sealed before it gets here.

use std::cmp::Ordering;
use std::io::{self, Read, Write};

use openraft::storage::IOFlushed;
use raft_log::codeq::{Decode, Encode};
use tokio::sync::oneshot;

use super::store::Synced;
use crate::config::PAYLOAD_BYTES_MAX;
use crate::type_config::{LogId, TypeConfig, Vote, log_id, log_id_parts};

/// The choice of types for raft-log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogTypes;

/// A position: term, then index, which is also the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) term: u64,
    pub(crate) index: u64,
}

/// A vote. Its order is openraft's: votes of one term for two nodes are not comparable unless one is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ballot(pub(crate) Vote);

/// A sealed payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed(pub(crate) bytes::Bytes);

/// What to do when a batch is on the disk.
pub(crate) enum Flushed {
    /// Entries up to here: tell openraft.
    Entries(Place, Synced, IOFlushed<TypeConfig>),
    /// Anything else: wake the caller.
    Other(Synced, oneshot::Sender<io::Result<()>>),
}

impl raft_log::Types for LogTypes {
    type LogId = Place;
    type LogPayload = Sealed;
    type Vote = Ballot;
    type Callback = Flushed;
    type UserData = u64;

    fn log_index(place: &Place) -> u64 {
        place.index
    }

    fn payload_size(payload: &Sealed) -> u64 {
        u64::try_from(payload.0.len()).unwrap_or(u64::MAX)
    }
}

impl raft_log::Callback for Flushed {
    fn send(self, result: Result<(), io::Error>) {
        match self {
            Self::Entries(place, synced, done) => {
                synced.record(Some(place), &result);
                done.io_completed(result);
            }
            Self::Other(synced, done) => {
                synced.record(None, &result);
                // The caller may have gone away; there is nobody else to tell.
                let _ = done.send(result);
            }
        }
    }
}

impl From<&LogId> for Place {
    fn from(id: &LogId) -> Self {
        let (term, index) = log_id_parts(id);
        Self { term, index }
    }
}

impl From<Place> for LogId {
    fn from(place: Place) -> Self {
        log_id(place.term, place.index)
    }
}

impl PartialOrd for Ballot {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        PartialOrd::partial_cmp(&self.0, &other.0)
    }
}

impl Encode for Place {
    fn encode<W: Write>(&self, mut out: W) -> io::Result<usize> {
        Ok(self.term.encode(&mut out)? + self.index.encode(&mut out)?)
    }
}

impl Decode for Place {
    fn decode<R: Read>(mut input: R) -> io::Result<Self> {
        Ok(Self { term: u64::decode(&mut input)?, index: u64::decode(&mut input)? })
    }
}

impl Encode for Ballot {
    fn encode<W: Write>(&self, mut out: W) -> io::Result<usize> {
        let Vote { leader_id, committed } = &self.0;
        Ok(leader_id.term.encode(&mut out)?
            + leader_id.voted_for.encode(&mut out)?
            + u8::from(*committed).encode(&mut out)?)
    }
}

impl Decode for Ballot {
    fn decode<R: Read>(mut input: R) -> io::Result<Self> {
        let (term, node) = (u64::decode(&mut input)?, u64::decode(&mut input)?);
        Ok(Self(match u8::decode(&mut input)? {
            0 => Vote::new(term, node),
            1 => Vote::new_committed(term, node),
            other => return Err(invalid(format!("a vote with the flag {other}"))),
        }))
    }
}

impl Encode for Sealed {
    fn encode<W: Write>(&self, mut out: W) -> io::Result<usize> {
        let length = u32::try_from(self.0.len()).map_err(io::Error::other)?;
        let head = length.encode(&mut out)?;
        out.write_all(&self.0)?;
        Ok(head + self.0.len())
    }
}

impl Decode for Sealed {
    fn decode<R: Read>(mut input: R) -> io::Result<Self> {
        let length = usize::try_from(u32::decode(&mut input)?).map_err(io::Error::other)?;
        // A damaged length must not make us reserve gigabytes; sealing adds far less than the second term.
        if length > PAYLOAD_BYTES_MAX + 4_096 {
            return Err(invalid(format!("a payload of {length} bytes")));
        }
        let mut bytes = vec![0; length];
        input.read_exact(&mut bytes)?;
        Ok(Self(bytes.into()))
    }
}

fn invalid(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} is not in the stored form"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: Encode + Decode + PartialEq + std::fmt::Debug>(value: &T, expected: &[u8]) {
        let mut bytes = Vec::new();
        assert_eq!(value.encode(&mut bytes).unwrap(), expected.len());
        assert_eq!(bytes, expected);
        assert_eq!(&T::decode(&bytes[..]).unwrap(), value);
        for cut in 0..expected.len() {
            assert!(T::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn the_stored_form_is_fixed() {
        round_trip(&Place { term: 1, index: 258 }, &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2]);
        round_trip(&Ballot(Vote::new_committed(2, 3)), &[0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 1]);
        round_trip(&Sealed(bytes::Bytes::from_static(b"xyz")), &[0, 0, 0, 3, b'x', b'y', b'z']);
    }

    #[test]
    fn a_damaged_length_is_refused_before_it_is_believed() {
        assert!(Sealed::decode(&[0xff, 0xff, 0xff, 0xff, 1][..]).is_err());
    }

    #[test]
    fn two_votes_of_one_term_do_not_compare_unless_one_is_committed() {
        let (a, b) = (Ballot(Vote::new(1, 1)), Ballot(Vote::new(1, 2)));
        assert_eq!(a.partial_cmp(&b), None);
        assert!(Ballot(Vote::new_committed(1, 1)) > b);
        assert!(Ballot(Vote::new(2, 1)) > Ballot(Vote::new_committed(1, 2)));
    }
}

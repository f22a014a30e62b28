//! The witness: a small sealed file, outside of the log's folder, that remembers the vote and how far the log had been
//! synced. With it a node tells a torn tail (never acknowledged) from a log that has forgotten.
//!
//! It follows the log: it may be behind, never ahead of what is on the disk. It repairs nothing. It has two places that
//! are written in turn, in a file that never grows: a write that breaks off leaves the other, and a full disk does not
//! keep a node from voting.

use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::record::{Ballot, Place};
use crate::envelope::{Envelope, FileKind, Owner};
use crate::error::OpenError;
use crate::snapshot::durable;
use crate::system::fs::{self, OpenOptions};
use crate::type_config::Vote;

/// First bytes of each place: name and version.
const MAGIC: [u8; 8] = *b"CHwitns1";
/// From one place to the other: they never share a block of a disk or of a file system.
const STRIDE: usize = 4_096;
const PLACES: usize = 2;
/// Bytes before the sealed part: the name, the number and the length.
const HEAD_BYTES: usize = MAGIC.len() + 8 + 4;

/// What the witness remembers.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub(crate) struct Seen {
    /// The last vote that was saved.
    pub(crate) vote: Option<Ballot>,
    /// The highest position known to be on the disk.
    pub(crate) synced: Option<Place>,
}

/// The stored form: postcard of this, sealed.
#[derive(Serialize, Deserialize)]
struct Stored {
    vote: Option<(u64, u64, bool)>,
    synced: Option<(u64, u64)>,
}

/// The file and how to seal it.
pub(crate) struct Witness {
    path: PathBuf,
    owner: Owner,
    envelope: Arc<dyn Envelope>,
    /// The number of the last write; the next one goes to the other place.
    number: u64,
}

/// One place, read.
enum Found {
    Nothing,
    Unreadable,
    Good(u64, Vec<u8>),
}

impl Witness {
    pub(crate) fn new(path: PathBuf, owner: Owner, envelope: Arc<dyn Envelope>) -> Self {
        Self { path, owner, envelope, number: 0 }
    }

    /// Reads the file; `None` when there is none.
    pub(crate) fn read(&mut self) -> Result<Option<Seen>, OpenError> {
        let what = || format!("cannot read the witness `{}`", self.path.display());
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OpenError::io(what())(error)),
        };
        let (mut newest, mut unreadable) = (None, false);
        for place in 0..PLACES {
            match self.find(bytes.get(place * STRIDE..).unwrap_or_default()) {
                Found::Good(number, plain) => newest = newest.max(Some((number, plain))),
                Found::Unreadable => unreadable = true,
                Found::Nothing => {}
            }
        }
        let Some((number, plain)) = newest else {
            return Err(if unreadable {
                OpenError::Foreign { path: self.path.clone(), source: crate::envelope::Tampered }
            } else {
                OpenError::io(what())(io::Error::new(ErrorKind::InvalidData, "it is not a witness of version 1"))
            });
        };
        if unreadable {
            tracing::warn!(path = %self.path.display(), "a write of the witness had broken off; the one before it counts");
        }
        let stored: Stored =
            postcard::from_bytes(&plain).map_err(|error| OpenError::io(what())(io::Error::other(error)))?;
        self.number = number;
        Ok(Some(stored.into()))
    }

    /// Makes the file; blocks until it is on the disk.
    pub(crate) fn create(&mut self, seen: &Seen) -> io::Result<()> {
        // Both places have their blocks from now on, and the number is of the second.
        let mut bytes = vec![0; PLACES * STRIDE];
        self.number = 1;
        let place = self.sealed(seen)?;
        for (to, from) in bytes.iter_mut().skip(STRIDE).zip(&place) {
            *to = *from;
        }
        durable::replace(&self.path, &bytes)
    }

    /// Writes the older place and syncs it; blocks. After an error nothing is known of it.
    pub(crate) fn write(&mut self, seen: &Seen) -> io::Result<()> {
        self.number += 1;
        let bytes = self.sealed(seen)?;
        let at = if self.number.is_multiple_of(2) { 0 } else { STRIDE };
        let mut file = OpenOptions::new().write(true).open(&self.path)?;
        file.seek(SeekFrom::Start(u64::try_from(at).map_err(io::Error::other)?))?;
        file.write_all(&bytes)?;
        file.sync_data()
    }

    /// One place's bytes under the present number.
    fn sealed(&self, seen: &Seen) -> io::Result<Vec<u8>> {
        let plain = postcard::to_stdvec(&Stored::from(seen)).map_err(io::Error::other)?;
        let sealed = self.envelope.seal(FileKind::Witness, &self.aad(self.number), &plain);
        if HEAD_BYTES + sealed.len() > STRIDE {
            return Err(io::Error::other("the witness does not fit its place"));
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&u32::try_from(sealed.len()).map_err(io::Error::other)?.to_be_bytes());
        bytes.extend_from_slice(&sealed);
        Ok(bytes)
    }

    fn find(&self, bytes: &[u8]) -> Found {
        let Some(rest) = bytes.strip_prefix(&MAGIC) else {
            let empty = bytes.iter().take(STRIDE).all(|byte| *byte == 0);
            return if empty { Found::Nothing } else { Found::Unreadable };
        };
        let opened = rest.split_first_chunk::<8>().and_then(|(number, rest)| {
            let (length, rest) = rest.split_first_chunk::<4>()?;
            let sealed = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
            let number = u64::from_be_bytes(*number);
            Some((number, self.envelope.open(FileKind::Witness, &self.aad(number), sealed).ok()?))
        });
        opened.map_or(Found::Unreadable, |(number, plain)| Found::Good(number, plain))
    }

    fn aad(&self, number: u64) -> Vec<u8> {
        self.owner.aad(FileKind::Witness, &[number])
    }
}

impl From<&Seen> for Stored {
    fn from(seen: &Seen) -> Self {
        Self {
            vote: seen.vote.map(|Ballot(vote)| (vote.leader_id.term, vote.leader_id.voted_for, vote.committed)),
            synced: seen.synced.map(|place| (place.term, place.index)),
        }
    }
}

impl From<Stored> for Seen {
    fn from(stored: Stored) -> Self {
        let ballot = |(term, node, committed): (u64, u64, bool)| {
            Ballot(if committed { Vote::new_committed(term, node) } else { Vote::new(term, node) })
        };
        Self { vote: stored.vote.map(ballot), synced: stored.synced.map(|(term, index)| Place { term, index }) }
    }
}

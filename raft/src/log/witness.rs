//! The witness: a small sealed file, outside of the log's folder, that remembers the vote and how far the log had been
//! synced. With it a node tells a torn tail (never acknowledged) from a log that has forgotten.
//!
//! It follows the log: it may be behind, never ahead of what is on the disk. It repairs nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::record::{Ballot, Place};
use crate::envelope::{Envelope, FileKind, Owner};
use crate::error::OpenError;
use crate::snapshot::durable;
use crate::system::fs;
use crate::type_config::Vote;

/// First bytes of the file: name and version.
const MAGIC: [u8; 8] = *b"CHwitns1";

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
}

impl Witness {
    pub(crate) fn new(path: PathBuf, owner: Owner, envelope: Arc<dyn Envelope>) -> Self {
        Self { path, owner, envelope }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file; `None` when there is none.
    pub(crate) fn read(&self) -> Result<Option<Seen>, OpenError> {
        let what = || format!("cannot read the witness `{}`", self.path.display());
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OpenError::io(what())(error)),
        };
        let sealed = bytes.strip_prefix(&MAGIC).ok_or_else(|| {
            OpenError::io(what())(io::Error::new(io::ErrorKind::InvalidData, "it is not a witness of version 1"))
        })?;
        let plain = self
            .envelope
            .open(FileKind::Witness, &self.owner.aad(FileKind::Witness, &[]), sealed)
            .map_err(|source| OpenError::Foreign { path: self.path.clone(), source })?;
        let stored: Stored =
            postcard::from_bytes(&plain).map_err(|error| OpenError::io(what())(io::Error::other(error)))?;
        Ok(Some(stored.into()))
    }

    /// Replaces the file and syncs it; blocks.
    pub(crate) fn write(&self, seen: &Seen) -> io::Result<()> {
        let plain = postcard::to_stdvec(&Stored::from(seen)).map_err(io::Error::other)?;
        let mut bytes = MAGIC.to_vec();
        let aad = self.owner.aad(FileKind::Witness, &[]);
        bytes.extend_from_slice(&self.envelope.seal(FileKind::Witness, &aad, &plain));
        durable::replace(&self.path, &bytes)
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

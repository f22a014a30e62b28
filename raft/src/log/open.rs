//! Opening the log: trust it, cut a torn tail, or refuse.
//!
//! A log may end in a record that was being written when the power went; nobody was told that it was stored, so it may
//! be cut. A log that ends below what the witness saw synced, or whose vote is older, has lost something that others
//! were told: such a node must not vote again. raft-log on its own would cut both with a warning.

use std::sync::Arc;

use super::record::{Ballot, Place};
use super::store::LogStore;
use super::wal;
use super::witness::{Seen, Witness};
use crate::config::Config;
use crate::envelope::{Envelope, Owner};
use crate::error::OpenError;
use crate::system::fs;

/// Opens or makes the log of this member; blocks.
pub(crate) fn open(config: &Config, envelope: Arc<dyn Envelope>) -> Result<LogStore, OpenError> {
    let folder = config.log_folder();
    fs::create_dir_all(&folder).map_err(OpenError::io(format!("cannot make the log folder `{}`", folder.display())))?;
    let owner = Owner { cluster: config.cluster, node: config.node };
    let mut witness = Witness::new(config.witness.clone(), owner, Arc::clone(&envelope));
    let seen = witness.read()?;

    let log = wal::open(config, |ends| check(config, seen.as_ref(), ends))?;
    let state = log.log_state();
    let ends = Seen { vote: state.vote().copied(), synced: state.last().copied() };
    check(config, seen.as_ref(), &ends)?;

    if seen.is_none() {
        // Before the first record: from here on a missing witness, or a missing log, is noticed.
        witness
            .create(&Seen::default())
            .map_err(OpenError::io(format!("cannot write the witness `{}`", config.witness.display())))?;
    }
    Ok(LogStore::new(log, witness, seen.unwrap_or_default(), owner, envelope))
}

/// Refuses a log that has forgotten.
fn check(config: &Config, seen: Option<&Seen>, ends: &Seen) -> Result<(), OpenError> {
    let Some(seen) = seen else {
        if ends.vote.is_none() && ends.synced.is_none() {
            return Ok(());
        }
        return Err(damaged(
            config,
            format!("there is a log but no witness at `{}` to vouch for its end", config.witness.display()),
        ));
    };
    if ends.synced < seen.synced {
        return Err(damaged(
            config,
            format!("it ends at {} but had been synced up to {}", place(ends.synced), place(seen.synced)),
        ));
    }
    // Votes are partially ordered: `None` from the comparison is a vote for another node in the same term.
    let kept = match (&ends.vote, &seen.vote) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(held), Some(seen)) => held >= seen,
    };
    if kept {
        return Ok(());
    }
    Err(damaged(config, format!("its vote is {} but {} had been saved", ballot(ends.vote), ballot(seen.vote))))
}

pub(super) fn damaged(config: &Config, why: impl Into<String>) -> OpenError {
    OpenError::Damaged { folder: config.log_folder(), why: why.into() }
}

fn place(place: Option<Place>) -> String {
    place.map_or_else(|| "nothing".to_owned(), |p| format!("entry {} of term {}", p.index, p.term))
}

fn ballot(ballot: Option<Ballot>) -> String {
    ballot.map_or_else(|| "none".to_owned(), |Ballot(vote)| format!("`{vote}`"))
}

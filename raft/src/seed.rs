//! A member's first files, from a state that no log here has led to: what a restored cluster begins with.
//!
//! The snapshot stands at term 0, below every term that an election can give: the first leader's entries follow it. The log
//! is empty and its witness has seen nothing, so the member starts as a new one that happens to hold a state.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use crate::config::Config;
use crate::envelope::{Envelope, Owner};
use crate::error::OpenError;
use crate::log;
use crate::member::Member;
use crate::snapshot::{Cipher, Shelf};
use crate::type_config::{Membership, SnapshotMeta, StoredMembership, log_id};

/// Makes the files of a member that is the only voter and has applied everything up to `index`; blocks. `write` hands over
/// the state as [`crate::Machine::write_snapshot`] does.
///
/// # Errors
/// When there is a log already, or the disk refuses.
pub fn seed(
    config: &Config,
    envelope: Arc<dyn Envelope>,
    own: Member,
    index: u64,
    write: impl FnOnce(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>,
) -> Result<(), OpenError> {
    let folder = config.snapshot_folder();
    let failed = |what: &'static str| OpenError::io(format!("{what} `{}`", folder.display()));
    if config.folder.exists() || config.witness.exists() {
        let source = io::ErrorKind::AlreadyExists.into();
        return Err(failed("there is a log beside")(source));
    }
    // Makes the witness too: a voter without one is refused.
    drop(log::open(config, Arc::clone(&envelope))?);
    let owner = Owner { cluster: config.cluster, node: config.node };
    let shelf =
        Shelf::open(folder.clone(), Cipher { owner, envelope }).map_err(failed("cannot make the snapshots in"))?;
    let put = || {
        let id = config.node.0;
        let members = Membership::new(vec![BTreeSet::from([id])], BTreeMap::from([(id, own)]));
        let members = members.map_err(|error| io::Error::other(error.to_string()))?;
        let at = log_id(0, index);
        let meta = SnapshotMeta { last_log_id: Some(at), last_membership: StoredMembership::new(Some(at), members) };
        let (mut writer, file) = shelf.begin(&meta)?;
        write(&mut |bytes| writer.write(bytes))?;
        writer.finish()?;
        shelf.put(&file)
    };
    put().map(drop).map_err(failed("cannot write the first snapshot in"))
}

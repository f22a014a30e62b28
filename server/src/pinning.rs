//! Whom the peer port lets in: the members that Raft knows, those that others have named to a node which is behind, and the
//! nodes that were admitted and are about to become members.
//!
//! A task of its own: the other duties wait for answers of members, and such an answer may be waiting for this.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use raft::Members;
use tokio::sync::watch;
use types::SpkiHash;

use crate::core::Core;
use crate::membership::write_members;
use crate::node::Node;

/// How often state is asked for nodes that were admitted.
const TICK: Duration = Duration::from_millis(250);

/// The task of one open node.
pub(crate) struct Pinning {
    pub(crate) node: Arc<Node>,
    pub(crate) core: Arc<Core>,
    pub(crate) members: watch::Receiver<Members>,
}

/// What was done last.
#[derive(Default)]
struct Done {
    pinned: BTreeSet<SpkiHash>,
    written: Option<Members>,
}

impl Pinning {
    /// Runs until the node closes.
    pub(crate) async fn run(mut self) {
        let mut done = Done::default();
        loop {
            self.keep(&mut done);
            tokio::select! {
                () = self.core.stop.cancelled() => return,
                () = tokio::time::sleep(TICK) => {}
                changed = self.members.changed() => if changed.is_err() { return },
            }
        }
    }

    fn keep(&mut self, done: &mut Done) {
        let members = self.members.borrow_and_update().clone();
        let state = self.core.state();
        let introduced = &self.core.introduced;
        if self.core.is_in_touch() {
            introduced.outgrow(self.core.node, &members);
        }
        let nothing_read = members.all.is_empty();
        let mut known = introduced.members();
        known.all.retain(|_, member| !state.is_spent(&member.spki));
        known.all.extend(members.all);
        known.voters = members.voters;
        let admitted = state.nodes().map(|(_, node)| node.info.spki);
        let pins: BTreeSet<_> = known.all.values().map(|member| member.spki).chain(admitted).collect();
        if !pins.is_empty() && pins != done.pinned {
            self.node.pins.replace(pins.iter().copied());
            done.pinned = pins;
        }
        // Who votes is written too: a voter whose log is gone must not come back as a blank one.
        if nothing_read || done.written.as_ref() == Some(&known) {
            return;
        }
        if let Err(error) = write_members(&self.node.folder, &known) {
            tracing::warn!(%error, "the members could not be written: a restart while sealed may not find them all");
            return;
        }
        done.written = Some(known);
    }
}

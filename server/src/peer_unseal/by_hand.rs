//! A node that somebody has sealed stays sealed until somebody opens it: a mark on its disk keeps it from asking the others when its
//! process starts again, and an approval that would let it in is taken back.

use std::sync::Arc;
use std::time::Duration;

use state::Command;
use types::{Reason, Refusal};

use crate::core::Core;
use crate::folder::{Folder, FolderError};
use crate::formation::internal;
use crate::node::{Node, Phase};

const MARK: &str = "sealed-by-hand";
const WORDS: &[u8] = b"somebody has sealed this node: no other member opens it until one of its own seals has\n";
/// How long the disk and the cluster may each take: what is to be sealed is not held open by them.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether the mark is there; one that cannot be looked at counts.
pub(crate) fn is_marked(folder: &Folder) -> bool {
    folder.join(MARK).try_exists().unwrap_or(true)
}

/// One of the node's own seals has opened it.
pub(crate) fn unmark(folder: &Folder) {
    if let Err(error) = folder.remove(MARK) {
        tracing::error!(%error, "the mark of a node that was sealed by hand stays: it asks no member when it starts again");
    }
}

/// The node is about to be sealed by hand. It is sealed whatever comes of this.
///
/// # Errors
/// When the disk has not taken the mark.
pub(crate) async fn about_to_seal(node: &Arc<Node>) -> Result<(), Refusal> {
    node.ask_no_peers();
    let holder = Arc::clone(node);
    let marking = tokio::task::spawn_blocking(move || mark(&holder.folder));
    let (marked, ()) = tokio::join!(tokio::time::timeout(PATIENCE, marking), take_back(node));
    let failed = match marked {
        Ok(Ok(Ok(()))) => return Ok(()),
        Ok(Ok(Err(error))) => internal(&error).message,
        Ok(Err(error)) => internal(&error).message,
        Err(_) => "the disk does not answer".to_owned(),
    };
    let text = format!(
        "this node seals, but what keeps other members from opening it when it starts again is not on its disk ({failed}): \
         leave it running, or `chancery seal peer-unseal off`"
    );
    Err(Refusal::new(Reason::Internal, text))
}

fn mark(folder: &Folder) -> Result<(), FolderError> {
    folder.write_private(MARK, WORDS)
}

/// Where the cluster can be reached, nobody's word is left that would open this node.
async fn take_back(node: &Arc<Node>) {
    let Phase::Open(core) = node.phase() else { return };
    match tokio::time::timeout(PATIENCE, cancel(&core)).await {
        Ok(Ok(())) => {}
        Ok(Err(refusal)) => tracing::warn!(%refusal, "an approval of this node, if there is one, is still good"),
        Err(_) => {
            tracing::warn!("the cluster is not reached: an approval of this node, if there is one, is still good")
        }
    }
}

async fn cancel(core: &Core) -> Result<(), Refusal> {
    let state = core.fresh_state().await?;
    if !state.peer_unseal().is_some_and(|row| row.approved.contains_key(&core.node)) {
        return Ok(());
    }
    core.propose_own(Command::CancelApproval { node: core.node }).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::tests::temporary;

    #[test]
    fn the_mark_outlives_the_process_until_it_is_taken_away() {
        let temporary = temporary();
        let folder = Folder::open(temporary.path()).expect("opens");
        assert!(!is_marked(&folder));
        mark(&folder).expect("marks");
        drop(folder);
        let folder = Folder::open(temporary.path()).expect("opens again");
        assert!(is_marked(&folder));
        unmark(&folder);
        assert!(!is_marked(&folder));
        unmark(&folder);
    }
}

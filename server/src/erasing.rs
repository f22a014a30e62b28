//! What was destroyed leaves this node's disk: its snapshots and its log are brought past it, and the cluster is told
//! (docs/spec/destroy.md §2).

use std::sync::Arc;
use std::time::Duration;

use raft::ChangeError;
use state::Command;
use types::Revision;

use crate::core::Core;

/// How often state is asked whether something is to be erased.
const TICK: Duration = Duration::from_millis(500);
/// How soon a disk without room for an erasure is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// How long one attempt may take: a snapshot of a million keys twice, on a slow disk.
const ATTEMPT: Duration = Duration::from_secs(120);

/// Runs until the node closes. A failed attempt is made again: what has been done of it stays done.
pub(crate) async fn run(core: Arc<Core>) {
    let mut pause = TICK;
    loop {
        tokio::select! {
            () = core.stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = TICK;
        let state = core.state();
        let due = state.erasure_due(core.node, state.time());
        // A removed node has nobody to tell.
        let Some(Revision(upto)) = due.filter(|_| state.node(core.node).is_some()) else { continue };
        drop(state);
        tokio::select! {
            () = core.stop.cancelled() => return,
            waits = erase(&core, upto) => if waits { pause = AGAIN; }
        }
    }
}

/// One attempt; whether it waits for room.
async fn erase(core: &Core, upto: u64) -> bool {
    let erased = match core.raft.erase(upto, ATTEMPT).await {
        Ok(erased) => erased,
        Err(error) => {
            tracing::warn!(upto, %error, "what was destroyed is still on this disk: it is tried again");
            return matches!(error, ChangeError::NoRoom { .. });
        }
    };
    let command = Command::ReportErasure { node: core.node, upto: Revision(erased) };
    match core.propose_own(command).await {
        Ok(_) => tracing::info!(upto = erased, "what was destroyed is no longer on this disk"),
        Err(refusal) => tracing::warn!(upto = erased, %refusal, "the cluster could not be told of an erasure yet"),
    }
    false
}

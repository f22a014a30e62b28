//! One workload's stream: on every change the process is attested again, its full state composed, and sent when it
//! differs from what was sent last. Ends when the process ends, has no identity any more, or does not read.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::Status;
use types::limits::CALL_TIMEOUT;

use crate::attachments::Attachment;
use crate::attest::{AttestError, Depth};
use crate::compose::{Compose, Composed, matching};
use crate::hub::Hub;
use crate::peer::Peer;
use crate::upstream::Snapshot;
use crate::view::View;

pub(crate) struct Pushes<C> {
    hub: Hub,
    view: watch::Receiver<Arc<View>>,
    peer: Arc<Peer>,
    attachment: Attachment,
    compose: C,
    /// The digest of what was sent last, and the bundle that it went with.
    sent: Option<([u8; 32], u64)>,
}

impl<C: Compose> Pushes<C> {
    pub(crate) fn new(hub: Hub, peer: Arc<Peer>, compose: C) -> Self {
        let mut view = hub.view.clone();
        view.mark_changed(); // what is there already is new to this stream
        let attachment = hub.attachments.attach();
        Self { hub, view, peer, attachment, compose, sent: None }
    }

    /// The next message. Asking for it says that the one before has been taken: the transport asks only when it has
    /// room, so a workload that does not read stops this.
    ///
    /// # Errors
    /// The status that the stream ends with.
    pub(crate) async fn next(&mut self) -> Result<C::Message, Status> {
        if let Some((_, sequence)) = self.sent {
            self.attachment.has_taken(sequence);
            return self.wait_for_next().await;
        }
        // The first message comes at once, or the caller learns why not and may try again.
        let first = tokio::time::timeout(CALL_TIMEOUT.to_std(), self.wait_for_next());
        first.await.unwrap_or_else(|_| Err(Status::unavailable("the cluster has not signed in time; try again")))
    }

    async fn wait_for_next(&mut self) -> Result<C::Message, Status> {
        let (hub, peer) = (self.hub.clone(), Arc::clone(&self.peer));
        loop {
            tokio::select! {
                biased;
                () = hub.closing.cancelled() => return Err(Status::unavailable("the agent is stopping")),
                () = peer.ended() => return Err(Status::permission_denied(AttestError::Ended.to_string())),
                () = self.attachment.evicted() => {
                    return Err(Status::unavailable("what was pushed had not been read in time; connect again"));
                }
                changed = self.view.changed() => {
                    changed.map_err(|_| Status::unavailable("the agent is stopping"))?;
                }
            }
            if let Some(message) = self.look().await? {
                return Ok(message);
            }
        }
    }

    /// The full state, if it is complete and not what was sent last.
    async fn look(&mut self) -> Result<Option<C::Message>, Status> {
        let view = Arc::clone(&self.view.borrow_and_update());
        let Some(snapshot) = &view.snapshot else {
            return Err(Status::unavailable("the agent has not reached the cluster yet; try again"));
        };
        let depth = if snapshot.asks_for_hashes() { Depth::WithHash } else { Depth::Cheap };
        let facts = self.hub.attestor.attest(&self.peer, depth).await.map_err(|error| refuse(&error))?;
        let matched = matching(snapshot, &facts)?;
        if C::NEEDS_CERTIFICATES {
            let names = matched.iter().map(|entry| Arc::clone(&entry.name)).collect();
            let asked = self.hub.wanted.send(names).await;
            asked.map_err(|_| Status::unavailable("the agent is stopping"))?;
        }
        match self.compose.compose(&matched, &view, snapshot)? {
            Composed::Incomplete => Ok(None),
            Composed::Complete { message, digest } => Ok(self.unless_sent(message, digest, snapshot)),
        }
    }

    fn unless_sent(&mut self, message: C::Message, digest: [u8; 32], snapshot: &Snapshot) -> Option<C::Message> {
        let sequence = snapshot.bundle().sequence;
        let again = self.sent.is_some_and(|(last, _)| last == digest);
        self.sent = Some((digest, sequence));
        if again {
            // Nothing in the new state concerns this workload: it has what there is to have.
            self.attachment.has_taken(sequence);
            return None;
        }
        Some(message)
    }
}

fn refuse(error: &AttestError) -> Status {
    match error {
        AttestError::Ended | AttestError::Changed => Status::permission_denied(error.to_string()),
        AttestError::Io(cause) => {
            tracing::warn!(%cause, "a process could not be attested");
            Status::permission_denied("no identity issued: the process could not be attested")
        }
    }
}

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

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::time::Duration;

    use ca::{Bundle, Selector};
    use tokio::sync::mpsc;
    use tonic::Code;
    use types::{Millis, Time, TrustDomain};

    use super::*;
    use crate::attachments::Attachments;
    use crate::attest::Attestor;
    use crate::compose::Bundles;
    use crate::upstream::{Content, Registration};

    fn view(sequence: u64) -> Arc<View> {
        let trust_domain = TrustDomain::parse("td").expect("a name");
        let entry = Registration {
            name: "namespaces/a/entries/b".into(),
            selectors: [Selector::UnixUid(rustix::process::geteuid().as_raw())].into(),
            hint: String::new(),
            created: Time(0),
            content: Content {
                spiffe_id: trust_domain.workload("/ns/a/b").expect("an id"),
                dns_names: Vec::new(),
                svid_ttl: Millis::from_hours(1),
            },
        };
        let roots = vec![sequence.to_be_bytes().to_vec()];
        let bundle = Bundle { trust_domain, sequence, refresh_hint: Millis::ZERO, roots };
        Arc::new(View { snapshot: Some(Arc::new(Snapshot::new(vec![entry], bundle))), ..View::default() })
    }

    /// A stream of a process that only waits, and the view that it follows.
    fn stream_of(child: &Child) -> (watch::Sender<Arc<View>>, Pushes<Bundles>) {
        let (sender, view) = watch::channel(view(1));
        let hub = Hub {
            view,
            wanted: mpsc::channel(1).0,
            attachments: Arc::new(Attachments::default()),
            attestor: Attestor::new(),
            closing: tokio_util::sync::CancellationToken::new(),
        };
        (sender, Pushes::new(hub, Arc::new(Peer::of_child(child)), Bundles))
    }

    #[tokio::test]
    async fn p88_a_stream_ends_when_its_process_does() {
        let mut child = Command::new("sleep").arg("600").spawn().expect("a child");
        let (sender, mut pushes) = stream_of(&child);
        pushes.next().await.expect("it matches while it lives");
        let mut next = Box::pin(pushes.next());
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut next).await.is_err(), "nothing is new");
        child.kill().expect("ends");
        assert_eq!(next.await.expect_err("ends").code(), Code::PermissionDenied);
        // Not even a new state is for a process that is gone, whoever holds its socket or its pid by then.
        sender.send_replace(view(2));
        assert_eq!(pushes.next().await.expect_err("ended").code(), Code::PermissionDenied);
        child.wait().expect("is reaped");
    }

    #[tokio::test]
    async fn a_process_that_becomes_another_program_gets_nothing_more() {
        let mut command = Command::new("sh");
        command.args(["-c", "read line; exec sleep 600"]).stdin(std::process::Stdio::piped());
        let mut child = command.spawn().expect("a child");
        let program = std::path::PathBuf::from(format!("/proc/{}/exe", child.id()));
        let (sender, mut pushes) = stream_of(&child);
        pushes.next().await.expect("the shell matches");
        let shell = std::fs::read_link(&program).expect("runs");
        drop(child.stdin.take());
        while std::fs::read_link(&program).expect("runs") == shell {
            tokio::task::yield_now().await;
        }
        sender.send_replace(view(2));
        let end = pushes.next().await.expect_err("another program");
        assert_eq!(end.code(), Code::PermissionDenied);
        assert!(end.message().contains("another program"), "{end}");
        child.kill().expect("ends");
        child.wait().expect("is reaped");
    }
}

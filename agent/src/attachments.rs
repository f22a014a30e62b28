//! Which streams are attached and which bundle each has taken, so that the agent acknowledges a bundle only when every
//! workload has it: an authority becomes active on the strength of that (docs/spec/identities.md).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use types::limits::PUSH_TIMEOUT;

/// Every stream that workloads hold now.
#[derive(Default, Debug)]
pub(crate) struct Attachments {
    streams: Mutex<Streams>,
    moved: Notify,
}

#[derive(Default, Debug)]
struct Streams {
    next: u64,
    attached: BTreeMap<u64, Stream>,
}

#[derive(Debug)]
struct Stream {
    taken: u64,
    evicted: CancellationToken,
}

/// One attached stream; dropped with it.
#[derive(Debug)]
pub(crate) struct Attachment {
    all: Arc<Attachments>,
    id: u64,
    evicted: CancellationToken,
}

impl Attachments {
    /// Counts a stream in.
    pub(crate) fn attach(self: &Arc<Self>) -> Attachment {
        let evicted = CancellationToken::new();
        let mut streams = self.lock();
        let id = streams.next;
        streams.next += 1;
        streams.attached.insert(id, Stream { taken: 0, evicted: evicted.clone() });
        Attachment { all: Arc::clone(self), id, evicted }
    }

    /// Waits until every stream that is attached now has taken the bundle with that sequence or a later one. A stream
    /// that leaves it unread for [`PUSH_TIMEOUT`] is ended, so that one stuck process delays but never blocks.
    pub(crate) async fn have_taken(&self, sequence: u64) {
        let newcomers = self.lock().next; // those get the new bundle in their first message
        let all_have = async {
            loop {
                let moved = self.moved.notified();
                if !self.lock().attached.range(..newcomers).any(|(_, stream)| stream.taken < sequence) {
                    return;
                }
                moved.await;
            }
        };
        if tokio::time::timeout(PUSH_TIMEOUT.to_std(), all_have).await.is_err() {
            self.evict(newcomers, sequence);
        }
    }

    fn evict(&self, newcomers: u64, sequence: u64) {
        let mut streams = self.lock();
        let stuck: Vec<u64> = streams
            .attached
            .range(..newcomers)
            .filter(|(_, stream)| stream.taken < sequence)
            .map(|(id, _)| *id)
            .collect();
        tracing::warn!(streams = stuck.len(), "ending streams whose workloads do not read what is pushed");
        for stream in stuck.into_iter().filter_map(|id| streams.attached.remove(&id)) {
            stream.evicted.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        // Every state that a panic could leave is a valid one.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attachment {
    /// The workload has taken the bundle with that sequence.
    pub(crate) fn has_taken(&self, sequence: u64) {
        if let Some(stream) = self.all.lock().attached.get_mut(&self.id) {
            stream.taken = stream.taken.max(sequence);
        }
        self.all.moved.notify_waiters();
    }

    /// Waits until the stream must end because its workload did not read.
    pub(crate) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.all.lock().attached.remove(&self.id);
        self.all.moved.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_bundle_is_taken_when_every_stream_has_it_or_is_gone() {
        let all = Arc::new(Attachments::default());
        all.have_taken(7).await; // nobody is attached
        let (one, two) = (all.attach(), all.attach());
        let mut waiting = Box::pin(all.have_taken(7));
        assert!(waiting.as_mut().now_or_never().is_none());
        one.has_taken(7);
        two.has_taken(6);
        assert!(waiting.as_mut().now_or_never().is_none());
        let _newcomer = all.attach();
        drop(two);
        waiting.await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_stuck_stream_is_ended() {
        let all = Arc::new(Attachments::default());
        let (good, stuck) = (all.attach(), all.attach());
        good.has_taken(3);
        all.have_taken(3).await;
        stuck.evicted().await;
        assert!(good.evicted().now_or_never().is_none());
        all.have_taken(3).await;
    }
}

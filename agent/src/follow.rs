//! The two tasks between agent and cluster: one follows the agent's state and watches again when the link breaks, the
//! other acknowledges each bundle once every attached workload has it.

use std::sync::Arc;

use futures::StreamExt;
use tokio::sync::{mpsc, watch};
use types::Millis;

use crate::attachments::Attachments;
use crate::upstream::{Snapshot, Upstream, UpstreamError};
use crate::view::View;

/// The first and the longest pause before the cluster is asked again.
const PAUSE_FIRST: Millis = Millis(250);
const PAUSE_MAX: Millis = Millis::from_secs(10);

/// Sends every state of the cluster to the keeper; for ever, or until the keeper is gone.
pub(crate) async fn follow<U: Upstream>(upstream: Arc<U>, snapshots: mpsc::Sender<Snapshot>) {
    let mut pause = Pause::new();
    loop {
        match watch_once(&*upstream, &snapshots, &mut pause).await {
            Ok(()) if snapshots.is_closed() => return,
            Ok(()) => tracing::info!("the cluster ended the watch; watching again"),
            Err(error) => tracing::warn!(%error, "watching again"),
        }
        pause.wait().await;
    }
}

async fn watch_once<U: Upstream>(
    upstream: &U,
    snapshots: &mpsc::Sender<Snapshot>,
    pause: &mut Pause,
) -> Result<(), UpstreamError> {
    let mut states = upstream.watch().await?;
    while let Some(state) = states.next().await {
        if snapshots.send(state?).await.is_err() {
            return Ok(());
        }
        pause.reset();
    }
    Ok(())
}

/// Acknowledges each bundle after every stream that is attached then has taken it.
pub(crate) async fn acknowledge<U: Upstream>(
    upstream: Arc<U>,
    mut view: watch::Receiver<Arc<View>>,
    attachments: Arc<Attachments>,
) {
    let mut told = None;
    let mut pause = Pause::new();
    loop {
        let sequence = view.borrow_and_update().snapshot.as_ref().map(|snapshot| snapshot.bundle().sequence);
        match sequence {
            Some(sequence) if told != Some(sequence) => {
                attachments.have_taken(sequence).await;
                match upstream.acknowledge(sequence).await {
                    Ok(()) => {
                        told = Some(sequence);
                        pause.reset();
                    }
                    Err(error) => {
                        tracing::warn!(%error, sequence, "the bundle is not acknowledged yet");
                        pause.wait().await;
                    }
                }
            }
            _ => {
                if view.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Waits longer each time, at random within the second half of the length, so that agents do not come back as one.
struct Pause {
    next: Millis,
}

impl Pause {
    fn new() -> Self {
        Self { next: PAUSE_FIRST }
    }

    fn reset(&mut self) {
        self.next = PAUSE_FIRST;
    }

    async fn wait(&mut self) {
        let [random] = crypto::entropy::array::<1>();
        let half = self.next.0 / 2;
        let length = Millis(half + half * u64::from(random) / 255);
        self.next = Millis(self.next.0.saturating_mul(2)).min(PAUSE_MAX);
        tokio::time::sleep(length.to_std()).await;
    }
}

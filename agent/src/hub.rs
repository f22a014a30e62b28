//! What every workload stream shares: the view, the way to ask for certificates, attestation, and who is attached.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::attachments::Attachments;
use crate::attest::Attestor;
use crate::keeper::Wanted;
use crate::view::View;

#[derive(Clone, Debug)]
pub(crate) struct Hub {
    pub(crate) view: watch::Receiver<Arc<View>>,
    pub(crate) wanted: mpsc::Sender<Wanted>,
    pub(crate) attachments: Arc<Attachments>,
    pub(crate) attestor: Attestor,
    /// Cancelled when the agent stops: streams end, and clients connect again.
    pub(crate) closing: CancellationToken,
}

//! The link to the cluster over gRPC: [`Upstream`] for real. Each call goes to whichever node answers; the watch is
//! opened again over every address that is known when it breaks.

use chancery_client::{Client, Error};
use futures::StreamExt;
use proto::ca::v1::{AckBundleRequest, IssueX509SvidRequest, WatchRequest, WatchResponse};
use tokio::sync::RwLock;
use types::Reason;

use crate::enrol::Enrolled;
use crate::upstream::{Issued, Snapshots, Upstream, UpstreamError};
use crate::wire;

/// The gRPC link of an enrolled agent.
pub(crate) struct Link {
    enrolled: Enrolled,
    client: RwLock<Client>,
}

impl Link {
    pub(crate) fn new(enrolled: Enrolled) -> Self {
        let client = RwLock::new(enrolled.client().clone());
        Self { enrolled, client }
    }

    async fn client(&self) -> Client {
        self.client.read().await.clone()
    }

    /// Nodes come and go while an agent runs: follows the trust document to their addresses. Best effort, for the
    /// nodes known so far may still do.
    async fn follow_nodes(&self) {
        if let Err(error) = self.enrolled.client().refresh_trust().await {
            tracing::debug!(%error, "the trust document was not refreshed");
        }
        let endpoints = self.enrolled.endpoints();
        let current = self.client().await;
        if current.addresses().eq(endpoints.iter()) {
            return;
        }
        match self.enrolled.connect(endpoints).await {
            Ok(client) => *self.client.write().await = client,
            Err(error) => tracing::warn!(%error, "keeping the addresses known so far"),
        }
    }
}

impl Upstream for Link {
    async fn watch(&self) -> Result<Snapshots, UpstreamError> {
        self.follow_nodes().await;
        let states = self.client().await.agents().watch(WatchRequest {}).await.map_err(|error| translate(&error))?;
        Ok(futures::stream::try_unfold(states, |mut states| async move {
            let state: Option<WatchResponse> = states.next().await.map_err(|error| translate(&error))?;
            state.map(|state| Ok((wire::snapshot(state)?, states))).transpose()
        })
        .boxed())
    }

    async fn issue(&self, entry: &str, csr: Vec<u8>) -> Result<Issued, UpstreamError> {
        let request = IssueX509SvidRequest { entry: entry.to_owned(), csr };
        let answer = self.client().await.svids().issue_x509(request).await.map_err(|error| translate(&error))?;
        wire::issued(answer)
    }

    async fn acknowledge(&self, sequence: u64) -> Result<(), UpstreamError> {
        let request = AckBundleRequest { sequence, request_id: chancery_client::api::request_id() };
        let answer = self.client().await.agents().ack_bundle(request).await;
        answer.map(drop).map_err(|error| translate(&error))
    }
}

/// A refusal that time or another node may lift is no refusal for a workload: it should try again.
fn translate(error: &Error) -> UpstreamError {
    match error.reason() {
        Some(
            Reason::NotFound
            | Reason::PermissionDenied
            | Reason::InvalidArgument
            | Reason::OutsideNamespace
            | Reason::CredentialRejected
            | Reason::Unimplemented,
        ) => UpstreamError::Refused(error.to_string()),
        _ => UpstreamError::Unavailable(error.to_string()),
    }
}

//! Puts the parts together and serves the socket until told to stop.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proto::workload::spiffe_workload_api_server::SpiffeWorkloadApiServer;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use types::limits::{WORKLOAD_REQUEST_BYTES_MAX, WORKLOAD_STREAMS_MAX};

use crate::attachments::Attachments;
use crate::attest::Attestor;
use crate::error::AgentError;
use crate::follow::{acknowledge, follow};
use crate::hub::Hub;
use crate::keeper::Keeper;
use crate::peer;
use crate::socket::Socket;
use crate::upstream::Upstream;
use crate::view::View;
use crate::workload_api::WorkloadApi;

/// How long open connections may take to end after their streams have.
const DRAIN: Duration = Duration::from_secs(2);
/// Requests that wait for the keeper; past it callers wait.
const WANTED_QUEUE: usize = 1_024;
/// Largest header list; the API needs one header of its own.
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1_024;
const SERVICE: &str = "SpiffeWorkloadAPI";

/// Serves the Workload API on a unix socket over that cluster until `shutdown` resolves. The socket answers from the
/// first moment, with `Unavailable` until the cluster has been reached.
///
/// # Errors
/// When the kernel cannot attest, the socket cannot be bound, or a part breaks.
pub async fn serve<U: Upstream>(
    upstream: U,
    socket_path: &Path,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), AgentError> {
    peer::probe().map_err(AgentError::Kernel)?;
    let socket =
        Socket::bind(socket_path).map_err(|source| AgentError::Socket { path: socket_path.to_owned(), source })?;
    let upstream = Arc::new(upstream);
    let (snapshots_in, snapshots) = mpsc::channel(1);
    let (wanted_in, wanted) = mpsc::channel(WANTED_QUEUE);
    let (view_in, view) = watch::channel(Arc::new(View::default()));
    let attachments = Arc::new(Attachments::default());
    let closing = CancellationToken::new();
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status(SERVICE, ServingStatus::NotServing).await;

    let mut parts = JoinSet::new();
    parts.spawn(follow(Arc::clone(&upstream), snapshots_in));
    parts.spawn(Keeper::new(Arc::clone(&upstream), snapshots, wanted, view_in).run());
    parts.spawn(acknowledge(upstream, view.clone(), Arc::clone(&attachments)));
    parts.spawn(report(reporter, view.clone()));

    let hub = Hub { view, wanted: wanted_in, attachments, attestor: Attestor::new(), closing: closing.clone() };
    let connections = futures::stream::unfold(socket, |socket| async move {
        let connection = socket.accept().await;
        Some((Ok::<_, io::Error>(connection), socket))
    });
    let router = router(hub)?.add_service(health);
    tracing::info!(socket = %socket_path.display(), "workloads may connect");
    let serving = router.serve_with_incoming_shutdown(Box::pin(connections), closing.cancelled());
    tokio::pin!(serving, shutdown);
    tokio::select! {
        served = &mut serving => return Ok(served?),
        Some(_) = parts.join_next() => return Err(AgentError::PartEnded),
        () = &mut shutdown => {}
    }
    // Streams end with `Unavailable` first; then the connections have nothing left to wait for.
    closing.cancel();
    let _ = tokio::time::timeout(DRAIN, &mut serving).await;
    Ok(())
}

fn router(hub: Hub) -> Result<Router, AgentError> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
            .with_service_name(SERVICE)
    };
    let api = SpiffeWorkloadApiServer::new(WorkloadApi::new(hub)).max_decoding_message_size(WORKLOAD_REQUEST_BYTES_MAX);
    Ok(Server::builder()
        .max_concurrent_streams(WORKLOAD_STREAMS_MAX)
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        .add_service(api)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?))
}

/// Health: the API serves from the first state on. It goes on doing so while the cluster is away, from what it has.
async fn report(reporter: HealthReporter, mut view: watch::Receiver<Arc<View>>) {
    if view.wait_for(|view| view.snapshot.is_some()).await.is_ok() {
        reporter.set_service_status(SERVICE, ServingStatus::Serving).await;
    }
    // A part that ends is an error, and this one has nothing more to do.
    std::future::pending().await
}

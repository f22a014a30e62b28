//! How a workload opens the agent's socket.
#![allow(clippy::expect_used, unreachable_pub, reason = "a test fails by panicking")]

use std::path::Path;

/// The channel that a workload opens; the process that calls this is the workload.
pub async fn channel(socket: &Path) -> tonic::transport::Channel {
    let socket = socket.to_owned();
    tonic::transport::Endpoint::from_static("http://localhost")
        .connect_with_connector(tower::service_fn(move |_: tonic::transport::Uri| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(hyper_util::rt::TokioIo::new) }
        }))
        .await
        .expect("connects")
}

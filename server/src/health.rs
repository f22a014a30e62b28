//! `/healthz`, `/readyz` and `/metrics`: plain HTTP on loopback, read only, nothing secret.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::node::Node;

/// Serves until `stop`.
///
/// # Errors
/// When the listener fails.
pub(crate) async fn serve(listener: TcpListener, node: Arc<Node>, stop: CancellationToken) -> io::Result<()> {
    let routes = Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(node);
    axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// The process answers: that is all that is asked here.
async fn alive() -> &'static str {
    "ok\n"
}

/// Whether the node would serve a request now, or the reason why not.
async fn ready(Shared(node): Shared<Arc<Node>>) -> (StatusCode, String) {
    match node.ready() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(refusal) => (StatusCode::SERVICE_UNAVAILABLE, format!("{refusal}\n")),
    }
}

async fn metrics(Shared(node): Shared<Arc<Node>>) -> impl IntoResponse {
    node.refresh_metrics();
    match node.metrics.render() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (StatusCode::OK, [(header::CONTENT_TYPE, kind)], text)
        }
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], String::new()),
    }
}

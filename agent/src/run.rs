//! The whole agent: enrolled, linked to its cluster, serving.

use std::future::Future;

use futures::future::BoxFuture;

use crate::config::Config;
use crate::enrol::enrol;
use crate::error::AgentError;
use crate::link::Link;
use crate::serve::serve;

/// Runs the agent until `shutdown` resolves. The first start enrols it with its join token; later ones need none.
///
/// # Errors
/// When it cannot be enrolled, its folder or socket cannot be used, or a part breaks. An unreachable cluster is no
/// error for an agent that was enrolled before: workloads get `Unavailable` until it comes back.
pub async fn run(config: Config, shutdown: impl Future<Output = ()> + Send) -> Result<(), AgentError> {
    boxed(config, Box::pin(shutdown)).await
}

/// Pointers in and out, so that the whole agent is compiled once, here, and not where it is awaited.
fn boxed<'a>(config: Config, shutdown: BoxFuture<'a, ()>) -> BoxFuture<'a, Result<(), AgentError>> {
    Box::pin(run_here(config, shutdown))
}

async fn run_here(config: Config, mut shutdown: BoxFuture<'_, ()>) -> Result<(), AgentError> {
    let enrolled = tokio::select! {
        enrolled = enrol(&config) => enrolled?,
        () = &mut shutdown => return Ok(()),
    };
    tracing::info!(agent = enrolled.name(), "enrolled");
    serve(Link::new(enrolled), &config.socket_path, shutdown).await
}

//! gRPC health (grpc.health.v1): SERVING while the node would answer, asked afresh each time.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::node::Node;

/// How often a watched health is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// The service of one node.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    node: Arc<Node>,
}

impl Health {
    pub(crate) fn service(node: &Arc<Node>) -> health_server::HealthServer<Self> {
        health_server::HealthServer::new(Self { node: Arc::clone(node) })
    }

    fn now(&self) -> HealthCheckResponse {
        let status = if self.node.ready().is_ok() { ServingStatus::Serving } else { ServingStatus::NotServing };
        HealthCheckResponse { status: status.into() }
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// One node is one service: every name has the health of the whole.
    async fn check(&self, _request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(self.now()))
    }

    async fn watch(&self, _request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (sender, receiver) = mpsc::channel(1);
        let health = self.clone();
        tokio::spawn(async move {
            let mut sent = None;
            loop {
                let now = health.now();
                if sent != Some(now) {
                    if sender.send(Ok(now)).await.is_err() {
                        return;
                    }
                    sent = Some(now);
                }
                tokio::select! {
                    () = sender.closed() => return,
                    () = health.node.stop.cancelled() => return,
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

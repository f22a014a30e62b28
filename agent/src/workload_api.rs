//! `SpiffeWorkloadAPI` on the agent's socket: the security header first, then streams over what attestation says about
//! the caller. JWT-SVIDs come later and WIT-SVIDs are not offered; both answer `Unimplemented`.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use proto::workload as wire;
use proto::workload::spiffe_workload_api_server::SpiffeWorkloadApi;
use tonic::{Request, Response, Status};

use crate::compose::{Bundles, Compose, Svids};
use crate::hub::Hub;
use crate::peer::Peer;
use crate::pushes::Pushes;

/// Workload Endpoint §3: it keeps forged requests of browsers and proxies out, whoever they come through.
const SECURITY_HEADER: &str = "workload.spiffe.io";

/// The service. One for all connections; who calls is in each request.
pub(crate) struct WorkloadApi {
    hub: Hub,
}

impl WorkloadApi {
    pub(crate) fn new(hub: Hub) -> Self {
        Self { hub }
    }

    /// The first message decides between an answer and a refusal; the others follow as they come.
    async fn stream<C: Compose>(&self, peer: Arc<Peer>, compose: C) -> Pushed<C::Message> {
        let mut pushes = Pushes::new(self.hub.clone(), peer, compose);
        let first = pushes.next().await?;
        let rest = futures::stream::unfold(Some(pushes), |pushes| async move {
            let mut pushes = pushes?;
            match pushes.next().await {
                Ok(message) => Some((Ok(message), Some(pushes))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(futures::stream::once(async { Ok(first) }).chain(rest).boxed()))
    }
}

type Stream<M> = BoxStream<'static, Result<M, Status>>;
type Pushed<M> = Result<Response<Stream<M>>, Status>;

/// The process that a request comes from, once the request carries exactly the header that the specification wants.
fn caller<T>(request: &Request<T>) -> Result<Arc<Peer>, Status> {
    let mut values = request.metadata().get_all(SECURITY_HEADER).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Status::invalid_argument(format!("send the metadata `{SECURITY_HEADER}: true` exactly once")));
    };
    if value.as_bytes() != b"true" {
        return Err(Status::invalid_argument(format!("the metadata `{SECURITY_HEADER}` must be `true`")));
    }
    let peer = request.extensions().get::<Arc<Peer>>().map(Arc::clone);
    peer.ok_or_else(|| Status::internal("the connection has no process"))
}

fn not_yet<T>(what: &str) -> Result<T, Status> {
    Err(Status::unimplemented(format!("this agent issues X.509-SVIDs only, not {what}")))
}

#[tonic::async_trait]
impl SpiffeWorkloadApi for WorkloadApi {
    type FetchX509SVIDStream = Stream<wire::X509svidResponse>;
    type FetchX509BundlesStream = Stream<wire::X509BundlesResponse>;
    type FetchJWTBundlesStream = Stream<wire::JwtBundlesResponse>;
    type FetchWITSVIDStream = Stream<wire::WitsvidResponse>;
    type FetchWITBundlesStream = Stream<wire::WitBundlesResponse>;

    async fn fetch_x509svid(&self, request: Request<wire::X509svidRequest>) -> Pushed<wire::X509svidResponse> {
        self.stream(caller(&request)?, Svids).await
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<wire::X509BundlesRequest>,
    ) -> Pushed<wire::X509BundlesResponse> {
        self.stream(caller(&request)?, Bundles).await
    }

    async fn fetch_jwtsvid(
        &self,
        request: Request<wire::JwtsvidRequest>,
    ) -> Result<Response<wire::JwtsvidResponse>, Status> {
        caller(&request).and_then(|_| not_yet("JWT-SVIDs"))
    }

    async fn fetch_jwt_bundles(&self, request: Request<wire::JwtBundlesRequest>) -> Pushed<wire::JwtBundlesResponse> {
        caller(&request).and_then(|_| not_yet("JWT bundles"))
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<wire::ValidateJwtsvidRequest>,
    ) -> Result<Response<wire::ValidateJwtsvidResponse>, Status> {
        caller(&request).and_then(|_| not_yet("JWT-SVIDs"))
    }

    async fn fetch_witsvid(&self, request: Request<wire::WitsvidRequest>) -> Pushed<wire::WitsvidResponse> {
        caller(&request).and_then(|_| not_yet("WIT-SVIDs"))
    }

    async fn fetch_wit_bundles(&self, request: Request<wire::WitBundlesRequest>) -> Pushed<wire::WitBundlesResponse> {
        caller(&request).and_then(|_| not_yet("WIT bundles"))
    }
}

//! Both ends of a call between members show that they may speak, beside the keys of their connection: a member's identity
//! key lies in clear on its disk, and whoever has copied it is not a member for that.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tonic::transport::Channel;
use tonic::{Status, codegen::StdError};
use tower::Service;
use types::NodeId;

/// Where the evidence stands, in requests and in answers.
pub const ROOT_PROOF: &str = "chancery-root-proof";
const PROOF: HeaderName = HeaderName::from_static(ROOT_PROOF);
const GRPC_STATUS: &str = "grpc-status";

/// What members show one another with every call and every answer.
pub trait Vouch: Send + Sync {
    /// What shows member `to` that this node may speak to it: visible ASCII.
    fn prove(&self, to: NodeId) -> String;
    /// Whether member `from` has shown this node that it may.
    fn check(&self, from: NodeId, proof: &str) -> bool;
}

/// A connection to one member whose requests carry the evidence, and whose answers are taken only with theirs.
#[derive(Clone)]
pub(crate) struct Vouched {
    channel: Channel,
    vouch: Arc<dyn Vouch>,
    to: NodeId,
}

impl Vouched {
    pub(super) fn new(channel: Channel, vouch: Arc<dyn Vouch>, to: NodeId) -> Self {
        Self { channel, vouch, to }
    }
}

impl Service<Request<Body>> for Vouched {
    type Response = Response<Body>;
    type Error = StdError;
    type Future = BoxFuture<'static, Result<Response<Body>, StdError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        self.channel.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        write(request.headers_mut(), &*self.vouch, self.to);
        let (vouch, to) = (Arc::clone(&self.vouch), self.to);
        let answering = self.channel.call(request);
        Box::pin(async move {
            let answer = answering.await?;
            // A refusal says nothing that is relied on.
            if answer.headers().contains_key(GRPC_STATUS) || is_vouched(answer.headers(), &*vouch, to) {
                return Ok(answer);
            }
            tracing::warn!(%to, "an answer was refused: whoever gave it has that member's identity key and no root key");
            Err(Status::permission_denied(format!("{to} did not show that it has the root key")).into())
        })
    }
}

/// Puts the evidence for `to` into the headers.
pub(super) fn write(headers: &mut HeaderMap, vouch: &dyn Vouch, to: NodeId) {
    if let Ok(mut proof) = HeaderValue::from_str(&vouch.prove(to)) {
        proof.set_sensitive(true);
        headers.insert(PROOF, proof);
    }
}

/// Whether the headers hold evidence of `from`.
pub(super) fn is_vouched(headers: &HeaderMap, vouch: &dyn Vouch, from: NodeId) -> bool {
    headers.get(PROOF).and_then(|proof| proof.to_str().ok()).is_some_and(|proof| vouch.check(from, proof))
}

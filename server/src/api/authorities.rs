//! `BundleService` and `AuthorityService`: what may be trusted, and how far each voter's authority has come.

use audit::Detail;
use proto::ca::v1 as wire;
use proto::ca::v1::authority_service_server::AuthorityService;
use proto::ca::v1::bundle_service_server::BundleService;
use state::State;
use tonic::{Request, Response, Status};
use types::{Action, Reason, Refusal};

use super::Api;
use crate::core::StateView;
use crate::request::authn::Caller;
use crate::request::query::{self, Consistency, Query};
use crate::request::target::Target;
use crate::wire::ca;
use crate::wire::time::duration;

#[tonic::async_trait]
impl BundleService for Api {
    async fn get_bundle(&self, request: Request<wire::GetBundleRequest>) -> Result<Response<wire::Bundle>, Status> {
        query::serve(&self.node, request).await
    }
}

#[tonic::async_trait]
impl AuthorityService for Api {
    async fn list_authorities(
        &self,
        request: Request<wire::ListAuthoritiesRequest>,
    ) -> Result<Response<wire::ListAuthoritiesResponse>, Status> {
        query::serve(&self.node, request).await
    }
}

/// The bundle of our own trust domain, as it is sent.
///
/// # Errors
/// When there is no cluster, or a root has a key that is never issued.
pub(super) fn bundle(state: &State) -> Result<wire::Bundle, Refusal> {
    let bundle = state.bundle().ok_or_else(|| Refusal::new(Reason::NotInitialized, "there is no cluster yet"))?;
    let document = bundle.to_json().map_err(|fault| {
        tracing::error!(%fault, "the bundle cannot be written as a document");
        Refusal::new(Reason::Internal, "the bundle could not be written")
    })?;
    Ok(wire::Bundle {
        trust_domain: bundle.trust_domain.to_string(),
        sequence: bundle.sequence,
        refresh_hint: Some(duration(bundle.refresh_hint)),
        x509_authorities: bundle.roots,
        document,
    })
}

impl Query for wire::GetBundleRequest {
    const ACTION: Action = Action::GetBundle;
    const CONSISTENCY: Consistency = Consistency::Local;
    type Answer = wire::Bundle;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::Bundle, Detail), Refusal> {
        let bundle = bundle(&desk.state)?;
        let detail = Detail::new().count("sequence", bundle.sequence);
        Ok((bundle, detail))
    }
}

impl Query for wire::ListAuthoritiesRequest {
    const ACTION: Action = Action::ListAuthorities;
    const CONSISTENCY: Consistency = Consistency::Local;
    type Answer = wire::ListAuthoritiesResponse;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::ListAuthoritiesResponse, Detail), Refusal> {
        let authorities = desk.state.authorities().map(ca::authority).collect();
        Ok((wire::ListAuthoritiesResponse { authorities }, Detail::new()))
    }
}

//! The local admin socket: `Init` on a node that belongs to no cluster yet, and the public trust document, from which whoever
//! formed it learns the endpoints. Nothing else of `ClusterService`.

use std::sync::Arc;

use proto::cluster::v1 as wire;
use proto::cluster::v1::cluster_service_server::ClusterService;
use tonic::{Request, Response, Status};
use types::{Reason, Refusal};

use crate::formation;
use crate::node::Node;
use crate::trust;
use crate::wire::status::status;

/// `ClusterService` on the admin socket, whose file mode says who may call.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    pub(crate) node: Arc<Node>,
}

fn elsewhere<T>() -> Result<Response<T>, Status> {
    let text = "this socket forms the cluster and does nothing else: use the API port";
    Err(status(&Refusal::new(Reason::PermissionDenied, text)))
}

#[tonic::async_trait]
impl ClusterService for Local {
    async fn init(&self, request: Request<wire::InitRequest>) -> Result<Response<wire::InitResponse>, Status> {
        let (node, request) = (Arc::clone(&self.node), request.into_inner());
        // It goes on when the caller goes away: half a formation would leave Raft running without a node around it.
        let forming = tokio::spawn(async move { formation::form(&node, request).await });
        let formed = forming.await.unwrap_or_else(|error| Err(formation::internal(&error)));
        formed.map(Response::new).map_err(|refusal| status(&refusal))
    }

    async fn get_status(
        &self,
        _request: Request<wire::GetStatusRequest>,
    ) -> Result<Response<wire::ClusterStatus>, Status> {
        elsewhere()
    }

    async fn create_join_token(
        &self,
        _request: Request<wire::CreateJoinTokenRequest>,
    ) -> Result<Response<wire::CreateJoinTokenResponse>, Status> {
        elsewhere()
    }

    async fn set_lease(
        &self,
        _request: Request<wire::SetLeaseRequest>,
    ) -> Result<Response<wire::SetLeaseResponse>, Status> {
        elsewhere()
    }

    async fn reset_time(
        &self,
        _request: Request<wire::ResetTimeRequest>,
    ) -> Result<Response<wire::ResetTimeResponse>, Status> {
        elsewhere()
    }

    async fn confirm_time(
        &self,
        _request: Request<wire::ConfirmTimeRequest>,
    ) -> Result<Response<wire::ConfirmTimeResponse>, Status> {
        elsewhere()
    }

    async fn redeem_node_token(
        &self,
        _request: Request<wire::RedeemNodeTokenRequest>,
    ) -> Result<Response<wire::RedeemNodeTokenResponse>, Status> {
        elsewhere()
    }

    async fn transfer_leader(
        &self,
        _request: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderResponse>, Status> {
        elsewhere()
    }

    async fn drain_node(
        &self,
        _request: Request<wire::DrainNodeRequest>,
    ) -> Result<Response<wire::DrainNodeResponse>, Status> {
        elsewhere()
    }

    async fn remove_node(
        &self,
        _request: Request<wire::RemoveNodeRequest>,
    ) -> Result<Response<wire::RemoveNodeResponse>, Status> {
        elsewhere()
    }

    async fn promote_node(
        &self,
        _request: Request<wire::PromoteNodeRequest>,
    ) -> Result<Response<wire::PromoteNodeResponse>, Status> {
        elsewhere()
    }

    async fn upgrade(
        &self,
        _request: Request<wire::UpgradeRequest>,
    ) -> Result<Response<wire::UpgradeResponse>, Status> {
        elsewhere()
    }

    async fn who_am_i(&self, _request: Request<wire::WhoAmIRequest>) -> Result<Response<wire::WhoAmIResponse>, Status> {
        elsewhere()
    }

    async fn get_trust_document(
        &self,
        _request: Request<wire::GetTrustDocumentRequest>,
    ) -> Result<Response<wire::TrustDocument>, Status> {
        let document = self.node.core().and_then(|core| trust::document(&core));
        document.map(Response::new).map_err(|refusal| status(&refusal))
    }
}

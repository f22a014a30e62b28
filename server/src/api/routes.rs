//! Which services answer where, and the table by which the leader finds a forwarded call.

use std::sync::Arc;

use prost::Message as _;
use proto::audit::v1::audit_service_server::AuditServiceServer;
use proto::ca::v1 as ca;
use proto::cluster::v1 as cluster;
use proto::kms::v1 as kms;
use tonic::service::Routes;
use types::{Action, Reason, Refusal, limits};

use super::Api;
use super::health::Health;
use super::init::Local;
use crate::core::Core;
use crate::node::Node;
use crate::request::authn::Proof;
use crate::request::mutation::{Mutation, NotCarriedOut, carry_out, recognise};
use crate::request::query::{self, Query};
use crate::request::record::note_stranger;
use crate::request::relay::Relayed;

/// One service with the bounds that all have.
macro_rules! bounded {
    ($server:path, $api:expr) => {
        <$server>::new($api)
            .max_decoding_message_size(limits::REQUEST_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
    };
}

/// The API: every service, health and reflection. A sealed node answers `SealService` and health, and refuses the rest.
///
/// # Errors
/// When the descriptors for reflection cannot be read.
pub(crate) fn api_routes(node: &Arc<Node>) -> Result<Routes, tonic_reflection::server::Error> {
    let api = Api { node: Arc::clone(node) };
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    Ok(Routes::new(reflection)
        .add_service(Health::service(node))
        .add_service(bounded!(kms::key_service_server::KeyServiceServer::<Api>, api.clone()))
        .add_service(bounded!(kms::crypto_service_server::CryptoServiceServer::<Api>, api.clone()))
        .add_service(bounded!(ca::entry_service_server::EntryServiceServer::<Api>, api.clone()))
        .add_service(bounded!(ca::agent_service_server::AgentServiceServer::<Api>, api.clone()))
        .add_service(bounded!(ca::svid_service_server::SvidServiceServer::<Api>, api.clone()))
        .add_service(bounded!(ca::bundle_service_server::BundleServiceServer::<Api>, api.clone()))
        .add_service(bounded!(ca::authority_service_server::AuthorityServiceServer::<Api>, api.clone()))
        .add_service(bounded!(cluster::cluster_service_server::ClusterServiceServer::<Api>, api.clone()))
        .add_service(bounded!(cluster::seal_service_server::SealServiceServer::<Api>, api.clone()))
        .add_service(bounded!(cluster::namespace_service_server::NamespaceServiceServer::<Api>, api.clone()))
        .add_service(bounded!(cluster::operator_service_server::OperatorServiceServer::<Api>, api.clone()))
        .add_service(bounded!(cluster::backup_service_server::BackupServiceServer::<Api>, api.clone()))
        .add_service(bounded!(AuditServiceServer::<Api>, api)))
}

/// The local admin socket: forming the cluster, and the seal.
pub(crate) fn admin_routes(node: &Arc<Node>) -> Routes {
    let local = Local { node: Arc::clone(node) };
    let api = Api { node: Arc::clone(node) };
    Routes::new(bounded!(cluster::cluster_service_server::ClusterServiceServer::<Local>, local))
        .add_service(bounded!(cluster::seal_service_server::SealServiceServer::<Api>, api))
}

/// Carries out a mutation that another member has forwarded, or a query that it could not answer: the same way as one that
/// arrived here.
///
/// # Errors
/// The refusal that the caller is to see, or that another node leads.
pub(crate) async fn forwarded(
    node: &Arc<Node>,
    core: &Core,
    action: Action,
    request: &[u8],
    proof: &Proof,
) -> Result<(Vec<u8>, u64), NotCarriedOut> {
    macro_rules! table {
        (mutations: $($mutation:ty),*; queries: $($query:ty),*;) => {
            match action {
                $(<$mutation as Mutation>::ACTION => run::<$mutation>(node, core, request, proof).await,)*
                $(<$query as Query>::ACTION => ask::<$query>(node, core, request, proof).await,)*
                _ => Err(NotCarriedOut::Answered(Refusal::new(
                    Reason::Unimplemented,
                    "this call is not one that is forwarded",
                ))),
            }
        };
    }
    table!(
        mutations:
        kms::CreateKeyRequest,
        kms::UpdateKeyRequest,
        kms::RotateKeyRequest,
        kms::EnableKeyRequest,
        kms::DisableKeyRequest,
        kms::DestroyKeyRequest,
        kms::RestoreKeyRequest,
        kms::ActivateKeyVersionRequest,
        ca::CreateEntryRequest,
        ca::UpdateEntryRequest,
        ca::DeleteEntryRequest,
        ca::RedeemAgentTokenRequest,
        ca::RevokeAgentRequest,
        ca::AckBundleRequest,
        cluster::CreateJoinTokenRequest,
        cluster::SetLeaseRequest,
        cluster::ResetTimeRequest,
        cluster::ConfirmTimeRequest,
        cluster::RedeemNodeTokenRequest,
        cluster::CreateNamespaceRequest,
        cluster::UpdateNamespaceRequest,
        cluster::ReleaseNamespaceRequest,
        cluster::DestroyNamespaceRequest,
        cluster::RestoreNamespaceRequest,
        cluster::EnrolOperatorRequest,
        cluster::RevokeOperatorRequest,
        cluster::GrantRoleRequest,
        cluster::RevokeRoleRequest,
        cluster::RemoveNodeRequest,
        cluster::PromoteNodeRequest,
        cluster::UpgradeRequest,
        cluster::RekeyRequest,
        cluster::CancelRekeyRequest,
        cluster::SetPeerUnsealRequest,
        cluster::ApproveUnsealRequest,
        cluster::CancelApprovalRequest,
        kms::CreateAliasRequest,
        kms::UpdateAliasRequest,
        kms::DeleteAliasRequest;
        queries:
        ca::IssueX509SvidRequest,
        cluster::TransferLeaderRequest,
        cluster::DrainNodeRequest;
    )
}

async fn run<M: Mutation>(
    node: &Arc<Node>,
    core: &Core,
    request: &[u8],
    proof: &Proof,
) -> Result<(Vec<u8>, u64), NotCarriedOut> {
    if !core.leads() {
        return Err(NotCarriedOut::LedByAnother);
    }
    let message: M = read(request)?;
    let caller = recognise(core, &message, proof).await;
    let caller = caller.inspect_err(|refusal| note_stranger(node, M::ACTION, proof.source, refusal));
    let (answer, index) = carry_out(node, core, message, caller.map_err(NotCarriedOut::Answered)?).await?;
    Ok((answer.encode_to_vec(), index))
}

async fn ask<Q: Relayed>(
    node: &Arc<Node>,
    core: &Core,
    request: &[u8],
    proof: &Proof,
) -> Result<(Vec<u8>, u64), NotCarriedOut> {
    let answer = query::carry_out(node, core, read::<Q>(request)?, proof).await;
    answer.map(|answer| (answer.encode_to_vec(), 0)).map_err(NotCarriedOut::Answered)
}

fn read<M: prost::Message + Default>(request: &[u8]) -> Result<M, NotCarriedOut> {
    M::decode(request).map_err(|_| {
        NotCarriedOut::Answered(Refusal::new(Reason::InvalidArgument, "the forwarded request cannot be read"))
    })
}

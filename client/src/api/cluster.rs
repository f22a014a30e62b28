//! The cluster, its seal, tenants, operators and audit logs.

use proto::audit::v1::audit_service_client::AuditServiceClient;
use proto::audit::v1::{
    GetHeadsRequest, GetHeadsResponse, ListRecordsRequest, ListRecordsResponse, Record, SearchRequest, SearchResponse,
    TailRequest,
};
use proto::cluster::v1::backup_service_client::BackupServiceClient;
use proto::cluster::v1::cluster_service_client::ClusterServiceClient;
use proto::cluster::v1::namespace_service_client::NamespaceServiceClient;
use proto::cluster::v1::operator_service_client::OperatorServiceClient;
use proto::cluster::v1::seal_service_client::SealServiceClient;
use proto::cluster::v1::{
    AddSealRequest, ApproveUnsealRequest, ApproveUnsealResponse, Binding, CancelApprovalRequest,
    CancelApprovalResponse, CancelRekeyRequest, ClusterStatus, ConfirmTimeRequest, ConfirmTimeResponse,
    CreateBackupRequest, CreateBackupResponse, CreateJoinTokenRequest, CreateJoinTokenResponse, CreateNamespaceRequest,
    DestroyNamespaceRequest, DrainNodeRequest, DrainNodeResponse, DropSealRequest, EnrolOperatorRequest,
    GetNamespaceRequest, GetRootKeyRequest, GetSealStatusRequest, GetStatusRequest, GrantRoleRequest,
    ListBackupsRequest, ListBackupsResponse, ListBindingsRequest, ListBindingsResponse, ListNamespacesRequest,
    ListNamespacesResponse, ListOperatorsRequest, ListOperatorsResponse, Namespace, Operator, PromoteNodeRequest,
    PromoteNodeResponse, RedeemNodeTokenRequest, RedeemNodeTokenResponse, RekeyRequest, ReleaseNamespaceRequest,
    RemoveNodeRequest, RemoveNodeResponse, ResetTimeRequest, ResetTimeResponse, RestoreNamespaceRequest,
    RevokeOperatorRequest, RevokeRoleRequest, RevokeRoleResponse, RootKey, SealRequest, SealStatus, SetLeaseRequest,
    SetLeaseResponse, SetPeerUnsealRequest, SetPeerUnsealResponse, TransferLeaderRequest, TransferLeaderResponse,
    UnsealRequest, UpdateNamespaceRequest, UpgradeRequest, UpgradeResponse, WhoAmIRequest, WhoAmIResponse,
};

use super::service;

service! {
    /// Formation and members.
    Cluster over ClusterServiceClient, from cluster;
    /// What each member is doing.
    read status(GetStatusRequest) -> ClusterStatus = get_status;
    /// Makes a one-time join token.
    mutate create_join_token(CreateJoinTokenRequest) -> CreateJoinTokenResponse = create_join_token;
    /// Admits the node whose identity key this client uses.
    mutate redeem_node_token(RedeemNodeTokenRequest) -> RedeemNodeTokenResponse = redeem_node_token;
    /// Hands leadership to another voter.
    local transfer_leader(TransferLeaderRequest) -> TransferLeaderResponse = transfer_leader;
    /// Sends a node's callers elsewhere, or takes it back.
    local drain_node(DrainNodeRequest) -> DrainNodeResponse = drain_node;
    /// Takes a member out of the cluster for good.
    mutate remove_node(RemoveNodeRequest) -> RemoveNodeResponse = remove_node;
    /// Makes a learner a voter.
    mutate promote_node(PromoteNodeRequest) -> PromoteNodeResponse = promote_node;
    /// Raises the version of the state machine.
    mutate upgrade(UpgradeRequest) -> UpgradeResponse = upgrade;
    /// Sets the length of the nodes' leases.
    mutate set_lease(SetLeaseRequest) -> SetLeaseResponse = set_lease;
    /// Sets state time back to what most members' clocks say.
    mutate reset_time(ResetTimeRequest) -> ResetTimeResponse = reset_time;
    /// Confirms a large step of state time.
    mutate confirm_time(ConfirmTimeRequest) -> ConfirmTimeResponse = confirm_time;
    /// Who is calling.
    read who_am_i(WhoAmIRequest) -> WhoAmIResponse = who_am_i;
}

service! {
    /// The seal of the answering node: use [`crate::Client::only`] to say which.
    Seal over SealServiceClient, from seal;
    /// Unseals it.
    local unseal(UnsealRequest) -> SealStatus = unseal;
    /// Seals it.
    local seal(SealRequest) -> SealStatus = seal;
    /// Whether it is sealed.
    local status(GetSealStatusRequest) -> SealStatus = get_status;
    /// Adds a seal to it.
    local add(AddSealRequest) -> SealStatus = add_seal;
    /// Takes a seal from it.
    local drop(DropSealRequest) -> SealStatus = drop_seal;
    /// Replaces the cluster's root key.
    mutate rekey(RekeyRequest) -> RootKey = rekey;
    /// Gives up a root key that is on its way.
    mutate cancel_rekey(CancelRekeyRequest) -> RootKey = cancel_rekey;
    /// Switches on or off that members open one another.
    mutate set_peer_unseal(SetPeerUnsealRequest) -> SetPeerUnsealResponse = set_peer_unseal;
    /// Lets a voter have the root key from another member once.
    mutate approve_unseal(ApproveUnsealRequest) -> ApproveUnsealResponse = approve_unseal;
    /// Takes that back.
    mutate cancel_approval(CancelApprovalRequest) -> CancelApprovalResponse = cancel_approval;
    /// Which root key is active, and what one on its way waits for.
    read root_key(GetRootKeyRequest) -> RootKey = get_root_key;
}

service! {
    /// Backups, made by the node that answers.
    Backups over BackupServiceClient, from backups;
    /// Streams one.
    stream create(CreateBackupRequest) -> CreateBackupResponse = create_backup;
    /// Those that the node has written by itself.
    local list(ListBackupsRequest) -> ListBackupsResponse = list_backups;
}

service! {
    /// Tenants.
    Namespaces over NamespaceServiceClient, from namespaces;
    /// Creates one.
    mutate create(CreateNamespaceRequest) -> Namespace = create_namespace;
    /// Replaces its settings.
    mutate update(UpdateNamespaceRequest) -> Namespace = update_namespace;
    /// Releases it from restore quarantine.
    mutate release(ReleaseNamespaceRequest) -> Namespace = release_namespace;
    /// Closes it, and destroys its key when the waiting period is over.
    mutate destroy(DestroyNamespaceRequest) -> Namespace = destroy_namespace;
    /// Takes that back before it is over.
    mutate restore(RestoreNamespaceRequest) -> Namespace = restore_namespace;
    /// Describes one.
    read get(GetNamespaceRequest) -> Namespace = get_namespace;
    /// One page of them, by name.
    read list(ListNamespacesRequest) -> ListNamespacesResponse = list_namespaces;
}

service! {
    /// Operators and the roles that principals hold.
    Operators over OperatorServiceClient, from operators;
    /// Enrols an operator's key.
    mutate enrol(EnrolOperatorRequest) -> Operator = enrol_operator;
    /// Revokes an operator.
    mutate revoke(RevokeOperatorRequest) -> Operator = revoke_operator;
    /// One page of them, by name.
    read list(ListOperatorsRequest) -> ListOperatorsResponse = list_operators;
    /// Grants a role.
    mutate grant_role(GrantRoleRequest) -> Binding = grant_role;
    /// Takes a role away.
    mutate revoke_role(RevokeRoleRequest) -> RevokeRoleResponse = revoke_role;
    /// One page of all grants.
    read list_bindings(ListBindingsRequest) -> ListBindingsResponse = list_bindings;
}

service! {
    /// The audit logs of the answering node.
    Audit over AuditServiceClient, from audit;
    /// Records by index.
    local list(ListRecordsRequest) -> ListRecordsResponse = list_records;
    /// The newest records, then each as it comes.
    stream tail(TailRequest) -> Record = tail;
    /// Searches, newest first.
    local search(SearchRequest) -> SearchResponse = search;
    /// Sizes and roots of the logs.
    local heads(GetHeadsRequest) -> GetHeadsResponse = get_heads;
}

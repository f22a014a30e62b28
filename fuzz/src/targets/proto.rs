//! Every request of every service as it comes from the wire. What decodes is encoded, and decodes to the same.

use ::proto::{
    audit::v1 as audit, ca::v1 as ca, cluster::v1 as cluster, kms::v1 as kms, member::v1 as member, workload,
};
use prost::Message;

use crate::engine::Target;

/// The number of a message, then the message.
pub(super) const MESSAGE: Target = Target::new("proto-message", message, || {
    let request = kms::EncryptRequest {
        name: "namespaces/default/keys/orders".into(),
        plaintext: b"attack at dawn".to_vec(),
        context: [("tenant".to_owned(), "acme".to_owned())].into(),
        ..Default::default()
    };
    let encoded = request.encode_to_vec();
    (0..MESSAGES.len()).map(|at| [&[at as u8][..], &encoded].concat()).collect()
});

/// Decodes one message.
type Decode = fn(&[u8]);

macro_rules! messages {
    ($($module:ident: $($name:ident)*;)*) => {
        const MESSAGES: &[Decode] = &[$($(again::<$module::$name>,)*)*];
    };
}

messages! {
    kms: CreateKeyRequest ListKeysRequest GetKeyRequest ListKeyVersionsRequest UpdateKeyRequest RotateKeyRequest EnableKeyRequest
        DisableKeyRequest DestroyKeyRequest GetPublicKeyRequest EncryptRequest DecryptRequest GenerateDataKeyRequest ReEncryptRequest
        SignRequest VerifyRequest GenerateMacRequest VerifyMacRequest AsymmetricDecryptRequest Key PublicKey;
    ca: CreateEntryRequest UpdateEntryRequest DeleteEntryRequest GetEntryRequest ListEntriesRequest RedeemAgentTokenRequest ListAgentsRequest
        RevokeAgentRequest WatchRequest WatchResponse AckBundleRequest IssueX509SvidRequest IssueX509SvidResponse GetBundleRequest;
    cluster: InitRequest GetStatusRequest ClusterStatus CreateJoinTokenRequest RedeemNodeTokenRequest RedeemNodeTokenResponse SetLeaseRequest
        ResetTimeRequest TrustDocument TrustStatement TransferLeaderRequest DrainNodeRequest RemoveNodeRequest PromoteNodeRequest UpgradeRequest
        UnsealRequest SealRequest AddSealRequest DropSealRequest RekeyRequest RecoverOperatorRequest SetPeerUnsealRequest ApproveUnsealRequest
        CreateNamespaceRequest UpdateNamespaceRequest ReleaseNamespaceRequest CreateBackupRequest EnrolOperatorRequest RevokeOperatorRequest
        GrantRoleRequest RevokeRoleRequest ListBindingsRequest;
    audit: ListRecordsRequest TailRequest SearchRequest Record GetHeadsRequest;
    member: HelloRequest HelloResponse ListMembersResponse ForwardRequest ForwardResponse ReleaseRootRequest FetchRootRequest UnsealPeerRequest
        RenewLeaseRequest RenewLeaseResponse AwaitAppliedRequest FetchLeavesRequest FetchLeavesResponse ProposeRequest ProposeResponse RetireRequest;
    workload: X509svidRequest X509svidResponse X509BundlesResponse JwtsvidRequest ValidateJwtsvidRequest;
}

fn again<M: Message + Default + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(message) = M::decode(bytes) {
        assert_eq!(M::decode(message.encode_to_vec().as_slice()).as_ref(), Ok(&message));
        assert_eq!(message.encoded_len(), message.encode_to_vec().len());
    }
}

fn message(input: &[u8]) {
    if let Some((which, bytes)) = input.split_first() {
        MESSAGES[usize::from(*which) % MESSAGES.len()](bytes);
    }
}

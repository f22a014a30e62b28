//! Promises that were once broken, each test named for what it found.
#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

use std::time::Duration;

use crate::support::{Cluster, until};
use chancery_client::tls::Identity;
use crypto::sign::P256Signer;
use proto::audit::v1::TailRequest;
use proto::cluster::v1 as wire;
use proto::kms::v1 as kms;
use types::Reason;

const KEY: &str = "namespaces/default/keys/orders";

async fn with_key(cluster: &Cluster) -> kms::Key {
    let create =
        kms::CreateKeyRequest { parent: "namespaces/default".into(), key_id: "orders".into(), ..Default::default() };
    cluster.client().await.keys().create(create).await.expect("creates")
}

/// The first attempt moved the key's etag, and the retry was refused for it: a caller that looked again rotated twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_retry_with_an_etag_is_answered_as_the_first_attempt_was() {
    let cluster = Cluster::form(1).await;
    let key = with_key(&cluster).await;
    let client = cluster.client().await;
    let request_id = chancery_client::api::request_id();
    let rotate = kms::RotateKeyRequest { name: KEY.into(), etag: key.etag, request_id, ..Default::default() };
    let first = client.keys().rotate(rotate.clone()).await.expect("rotates");
    let again = client.keys().rotate(rotate).await.expect("is answered again");
    assert_eq!((first.primary_version, again.primary_version), (2, 2));
    cluster.stop_all().await;
}

/// The answer was read from whatever the key had become: of two callers that rotated at the same time, both were told of the
/// second one's version, and a retry was told of a version that it had not made.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rotation_is_told_of_the_version_that_it_made() {
    let cluster = Cluster::form(1).await;
    with_key(&cluster).await;
    let client = cluster.client().await;
    let request_id = chancery_client::api::request_id();
    let rotate = kms::RotateKeyRequest { name: KEY.into(), request_id, ..Default::default() };
    let mine = client.keys().rotate(rotate.clone()).await.expect("rotates");
    let theirs = client.keys().rotate(kms::RotateKeyRequest { name: KEY.into(), ..Default::default() }).await;
    assert_eq!((mine.primary_version, theirs.expect("rotates").primary_version), (2, 3));
    let again = client.keys().rotate(rotate).await.expect("is answered again");
    assert_eq!((again.primary_version, &again.etag), (2, &mine.etag));
    // What it was told does not let it change what it has not seen.
    let update_mask = Some(prost_types::FieldMask { paths: vec!["rotation_period".into()] });
    let update = kms::UpdateKeyRequest { name: KEY.into(), etag: again.etag, update_mask, ..Default::default() };
    let refused = client.keys().update(update).await.expect_err("the key has moved on");
    assert_eq!(refused.reason(), Some(Reason::PreconditionFailed));
    cluster.stop_all().await;
}

/// The stream went on for as long as its connection did.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_revoked_readers_tail_ends() {
    let cluster = Cluster::form(1).await;
    let client = cluster.client().await;
    let signer = P256Signer::generate();
    let enrol =
        wire::EnrolOperatorRequest { operator_id: "reader".into(), spki: signer.spki_der(), ..Default::default() };
    client.operators().enrol(enrol).await.expect("enrols");
    let binding =
        wire::Binding { principal: "operators/reader".into(), role: "auditor".into(), scope: "cluster".into() };
    let grant = wire::GrantRoleRequest { binding: Some(binding), ..Default::default() };
    client.operators().grant_role(grant).await.expect("grants");
    let reader = Identity::self_signed(&signer, "operators/reader", crate::support::now()).expect("an identity");
    let reader = cluster.client_as(reader).await;
    let mut tail = reader.audit().tail(TailRequest { limit: 1, follow: true }).await.expect("follows");
    tail.next().await.expect("reads").expect("a record");
    let revoke = wire::RevokeOperatorRequest { name: "operators/reader".into(), ..Default::default() };
    client.operators().revoke(revoke).await.expect("revokes");
    with_key(&cluster).await;
    let ended = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            match tail.next().await {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(error) => return error.reason(),
            }
        }
    });
    assert_eq!(ended.await.expect("ends"), Some(Reason::CredentialRejected));
    cluster.stop_all().await;
}

/// A voter whose log was removed opened an empty one and voted again, having forgotten its votes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_voter_whose_log_is_gone_does_not_come_back() {
    let mut cluster = Cluster::form(1).await;
    cluster.stop(0).await;
    let dir = cluster.dir(0);
    std::fs::remove_dir_all(dir.join("raft")).expect("removes");
    std::fs::remove_file(dir.join("raft.witness")).expect("removes");
    let error = cluster.start_and_fail(0).await;
    assert!(error.contains("this voter's log is gone"), "{error}");
}

/// A learner was not asked, though the leader had counted what it once held: made a voter later, it would have made majorities of
/// entries that it does not have.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_learner_whose_log_is_gone_does_not_come_back() {
    let mut cluster = Cluster::form(1).await;
    let learner = cluster.add_learner().await;
    cluster.caught_up(learner).await;
    let dir = cluster.dir(learner);
    until("the learner to know who votes", Duration::from_secs(10), || async {
        std::fs::read_to_string(dir.join("members.json")).is_ok_and(|text| text.contains("true"))
    })
    .await;
    cluster.stop(learner).await;
    std::fs::remove_dir_all(dir.join("raft")).expect("removes");
    std::fs::remove_file(dir.join("raft.witness")).expect("removes");
    let error = cluster.start_and_fail(learner).await;
    assert!(error.contains("this learner's log is gone"), "{error}");
    cluster.stop_all().await;
}

/// With the file seal anybody who reached the port undid an operator's seal.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_seal_is_opened_on_its_own_machine_only() {
    let cluster = Cluster::form(1).await;
    let client = cluster.client().await;
    client.seal().seal(wire::SealRequest {}).await.expect("seals");
    until("the node to be sealed", Duration::from_secs(10), || async {
        client.seal().status(wire::GetSealStatusRequest {}).await.is_ok_and(|status| status.sealed)
    })
    .await;
    let refused = client.seal().unseal(wire::UnsealRequest::default()).await.expect_err("refuses");
    assert_eq!(refused.reason(), Some(Reason::PermissionDenied));
    let mut local = cluster.local_seal(0).await;
    let status = local.unseal(wire::UnsealRequest::default()).await.expect("unseals").into_inner();
    assert!(!status.sealed);
    cluster.stop_all().await;
}

/// A node's key was a principal on the API.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_nodes_key_is_nobody_on_the_api() {
    let cluster = Cluster::form(1).await;
    let pkcs8 = std::fs::read(cluster.dir(0).join("identity.key")).expect("reads");
    let signer = P256Signer::from_pkcs8(&pkcs8).expect("a key");
    let node = Identity::self_signed(&signer, "nodes/1", crate::support::now()).expect("an identity");
    let refused = cluster.client_as(node).await.cluster().who_am_i(wire::WhoAmIRequest {}).await.expect_err("refuses");
    assert_eq!(refused.reason(), Some(Reason::CredentialRejected));
    cluster.stop_all().await;
}

/// Sixteen callers change what all their decisions rest on: whoever loses three times is told so, with a time to come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_decision_that_keeps_going_stale_ends_aborted_with_a_time_to_come_back() {
    use proto::cluster::v1::operator_service_client::OperatorServiceClient;
    use tonic_types::StatusExt as _;
    let cluster = Cluster::form(1).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let callers = (0..16).map(|n| {
        let mut operators = OperatorServiceClient::new(cluster.channel(0));
        let binding = wire::Binding {
            principal: format!("spiffe://test.chancery/ns/default/w{n}"),
            role: "key-user".into(),
            scope: "cluster".into(),
        };
        tokio::spawn(async move {
            while tokio::time::Instant::now() < deadline {
                let request_id = chancery_client::api::request_id();
                let grant = wire::GrantRoleRequest { binding: Some(binding.clone()), request_id };
                if let Err(status) = operators.grant_role(grant).await {
                    return Some(status);
                }
                let request_id = chancery_client::api::request_id();
                let revoke = wire::RevokeRoleRequest { binding: Some(binding.clone()), request_id };
                if let Err(status) = operators.revoke_role(revoke).await {
                    return Some(status);
                }
            }
            None
        })
    });
    let (first, _, others) = futures::future::select_all(callers).await;
    others.iter().for_each(tokio::task::JoinHandle::abort);
    let status = first.expect("ends").expect("sixteen callers never met");
    assert_eq!(status.code(), tonic::Code::Aborted, "{status:?}");
    assert_eq!(status.get_details_error_info().map(|info| info.reason), Some("STALE".to_owned()));
    let pause = status.get_details_retry_info().and_then(|info| info.retry_delay);
    assert!(pause.is_some_and(|pause| pause > Duration::ZERO), "{pause:?}");
    cluster.stop_all().await;
}

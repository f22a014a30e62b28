//! Destruction: once it is acknowledged no node decrypts, and the receipt fills up as the nodes erase it from their disks. And
//! members that are gone: a leader that was elected since still waits for what they may serve.
#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

use std::time::{Duration, Instant};

use crate::support::{Cluster, until, without_waiting};
use chancery_client::Client;
use proto::audit::v1 as audit;
use proto::cluster::v1 as cluster;
use proto::kms::v1 as kms;
use types::Reason;

const PARENT: &str = "namespaces/default";
const SOON: Duration = Duration::from_secs(60);

async fn create(client: &Client, id: &str) -> (String, kms::DecryptRequest) {
    let create = kms::CreateKeyRequest { parent: PARENT.into(), key_id: id.into(), ..Default::default() };
    let name = client.keys().create(create).await.expect("creates").name;
    let encrypt = kms::EncryptRequest { name: name.clone(), plaintext: b"x".to_vec(), ..Default::default() };
    let ciphertext = client.crypto().encrypt(encrypt).await.expect("encrypts").ciphertext;
    (name, kms::DecryptRequest { parent: PARENT.into(), ciphertext, ..Default::default() })
}

fn disable(name: &str) -> kms::DisableKeyRequest {
    kms::DisableKeyRequest { name: name.into(), ..Default::default() }
}

fn destroy(name: &str, version: u32, erase_now: bool) -> kms::DestroyKeyRequest {
    kms::DestroyKeyRequest { name: name.into(), version, erase_now, ..Default::default() }
}

async fn receipt(client: &Client, name: &str) -> kms::DestructionReceipt {
    let key = client.keys().get(kms::GetKeyRequest { name: name.into() }).await.expect("describes");
    key.receipts.into_iter().next().expect("a receipt")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_node_serves_what_was_destroyed_and_every_disk_lets_go_of_it() {
    let cluster = Cluster::form(3).await;
    let client = cluster.client().await;
    let (name, decrypt) = create(&client, "orders").await;
    let rotate = kms::RotateKeyRequest { name: name.clone(), ..Default::default() };
    client.keys().rotate(rotate).await.expect("rotates");
    let nodes = [cluster.client_of_node(0).await, cluster.client_of_node(1).await, cluster.client_of_node(2).await];
    for node in &nodes {
        node.crypto().decrypt(decrypt.clone()).await.expect("serves, and has it in memory now");
    }
    let refused = client.keys().destroy(destroy(&name, 1, true)).await.expect_err("it is enabled");
    assert_eq!(refused.reason(), Some(Reason::PreconditionFailed));
    client.keys().disable(kms::DisableKeyRequest { version: 1, ..disable(&name) }).await.expect("disables");

    without_waiting(&client, &name).await;
    let destroyed = client.keys().destroy(destroy(&name, 1, true)).await.expect("destroys");
    for node in &nodes {
        let answer = node.crypto().decrypt(decrypt.clone()).await;
        assert_eq!(answer.map(drop).map_err(|error| error.reason()), Err(Some(Reason::KeyDestroyed)));
    }
    assert_eq!(destroyed.receipts[0].versions, [1]);
    assert_eq!(destroyed.receipts[0].nodes.len(), 3);
    let enable = kms::EnableKeyRequest { name: name.clone(), version: 1, ..Default::default() };
    assert_eq!(client.keys().enable(enable).await.map_err(|error| error.reason()), Err(Some(Reason::KeyDestroyed)));

    // Asked for at once, every node says so in a moment.
    until("every node has erased it", SOON, || async { receipt(&client, &name).await.erased }).await;
    let receipt = receipt(&client, &name).await;
    for node in &receipt.nodes {
        assert_eq!(node.state(), kms::ErasureState::Erased);
        assert!(node.index >= receipt.index && node.erase_time.is_some(), "{node:?}");
    }
    // The other version goes on.
    let encrypt = kms::EncryptRequest { name: name.clone(), plaintext: b"y".to_vec(), ..Default::default() };
    assert_eq!(client.crypto().encrypt(encrypt).await.expect("encrypts").version, 2);
    cluster.stop_all().await;
}

/// A node that is cut off goes on under its lease although it was removed. The leader that removed it knows; one that was elected
/// since found it neither in state nor in the membership, and told its callers too early that nobody serves the old state.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_leader_waits_for_a_removed_node_too() {
    let mut nodes = Cluster::form(3).await;
    let leader = nodes.leader().await;
    let (gone, heir) = ((leader + 1) % 3, (leader + 2) % 3);
    let client = nodes.client_of_node(heir).await;
    let (name, _) = create(&client, "orders").await;
    let number = |index: usize| index as u64 + 1;
    // It dies without a word; for all that the others know it serves on until its lease has run out, 20 s from now or later.
    nodes.kill(gone).await;
    let died = Instant::now();
    let request_id = chancery_client::api::request_id();
    let remove = cluster::RemoveNodeRequest { node: number(gone), force: true, request_id, ..Default::default() };
    let mut service = cluster::cluster_service_client::ClusterServiceClient::new(nodes.channel(leader));
    assert_eq!(reason(service.remove_node(remove).await), "FENCE_PENDING", "a removal takes a right away");
    let out = async || {
        let status = client.cluster().status(cluster::GetStatusRequest {}).await;
        status.is_ok_and(|status| status.nodes.iter().all(|node| node.node != number(gone)))
    };
    until("it is out of the membership", SOON, out).await;
    let transfer = cluster::TransferLeaderRequest { node: number(heir), ..Default::default() };
    client.cluster().transfer_leader(transfer).await.expect("handed over");

    let mut service = kms::key_service_client::KeyServiceClient::new(nodes.channel(heir));
    let request = kms::DisableKeyRequest { request_id: chancery_client::api::request_id(), ..disable(&name) };
    let told = reason(service.disable_key(request.clone()).await);
    // On a machine so slow that the lease is over by now there is nothing to see.
    if died.elapsed() < Duration::from_secs(19) {
        assert_eq!(told, "FENCE_PENDING", "acknowledged {:?} after the node was cut off", died.elapsed());
    }
    let service = kms::key_service_client::KeyServiceClient::new(nodes.channel(heir));
    let done = || {
        let (mut service, request) = (service.clone(), request.clone());
        async move { service.disable_key(request).await.is_ok() }
    };
    until("the lease has run out", SOON, done).await;
    // Settled: the next leader does not wait for it again.
    let settled = async || {
        let search = audit::SearchRequest { resource: format!("nodes/{}", number(gone)), ..Default::default() };
        let found = client.audit().search(search).await;
        found.is_ok_and(|found| format!("{found:?}").contains("it can hold no lease any more"))
    };
    until("the leader has settled it", SOON, settled).await;
    let transfer = cluster::TransferLeaderRequest { node: number(leader), ..Default::default() };
    until("leadership moves back", SOON, || async { client.cluster().transfer_leader(transfer).await.is_ok() }).await;
    let began = Instant::now();
    let enable = kms::EnableKeyRequest { name: name.clone(), ..Default::default() };
    client.keys().enable(enable).await.expect("enables");
    client.keys().disable(disable(&name)).await.expect("disables");
    assert!(began.elapsed() < Duration::from_secs(15), "took {:?}", began.elapsed());
    nodes.stop_all().await;
}

/// The reason of a refusal; empty for an answer.
fn reason<T>(answer: Result<tonic::Response<T>, tonic::Status>) -> String {
    use tonic_types::StatusExt as _;
    let refused = answer.err();
    refused.and_then(|status| status.get_details_error_info()).map_or_else(String::new, |info| info.reason)
}

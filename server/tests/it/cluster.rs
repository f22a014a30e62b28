//! Three nodes in one process, over real sockets and files: formation, joins, keys, the schedule, the loss of a leader,
//! sealing, and the refusals that a data folder gives.

use std::collections::HashMap;
use std::time::Duration;

use crate::support::{Cluster, until};
use chancery_client::Client;
use proto::cluster::v1 as wire;
use proto::kms::v1 as kms;
use server::config::SealKind;
use types::Reason;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_nodes_form_serve_lose_their_leader_and_go_on() {
    let mut cluster = Cluster::form(3).await;
    let client = cluster.client().await;
    let created = client
        .keys()
        .create(kms::CreateKeyRequest {
            parent: "namespaces/default".into(),
            key_id: "orders".into(),
            ..Default::default()
        })
        .await
        .expect("creates");
    assert_eq!(created.primary_version, 1);
    let name = "namespaces/default/keys/orders".to_owned();
    let context = HashMap::from([("tenant".to_owned(), "acme".to_owned())]);
    let encrypt = kms::EncryptRequest {
        name: name.clone(),
        plaintext: b"attack at dawn".to_vec(),
        context: context.clone(),
        ..Default::default()
    };
    let sealed = client.crypto().encrypt(encrypt).await.expect("encrypts").ciphertext;
    let rotated = client.keys().rotate(kms::RotateKeyRequest { name: name.clone(), ..Default::default() }).await;
    assert_eq!(rotated.expect("rotates").primary_version, 2);
    let decrypt =
        kms::DecryptRequest { parent: "namespaces/default".into(), ciphertext: sealed, context, ..Default::default() };
    let opened = client.crypto().decrypt(decrypt.clone()).await.expect("decrypts");
    assert_eq!((opened.plaintext.as_slice(), opened.version), (b"attack at dawn".as_slice(), 1));

    let wrong = kms::DecryptRequest { context: HashMap::new(), ..decrypt.clone() };
    let refused = client.crypto().decrypt(wrong).await.expect_err("refuses");
    assert_eq!(refused.reason(), Some(Reason::InvalidCiphertext));

    let leader = cluster.leader().await;
    cluster.stop(leader).await;
    // Uses do not wait for an election; changes wait for it and then succeed.
    client.crypto().decrypt(decrypt).await.expect("decrypts without the old leader");
    let rotated = client.keys().rotate(kms::RotateKeyRequest { name, ..Default::default() }).await;
    assert_eq!(rotated.expect("rotates under the new leader").primary_version, 3);
    cluster.start(leader).await;
    cluster.caught_up(leader).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_schedule_rotates_once_for_each_due_time() {
    let cluster = Cluster::form(1).await;
    let client = cluster.client().await;
    let floor = proto::cluster::v1::Namespace {
        name: "namespaces/default".into(),
        rotation_floor: Some(seconds(1)),
        ..Default::default()
    };
    let update = proto::cluster::v1::UpdateNamespaceRequest { namespace: Some(floor), ..Default::default() };
    client.namespaces().update(update).await.expect("lowers the floor");
    let create = kms::CreateKeyRequest {
        parent: "namespaces/default".into(),
        key_id: "quick".into(),
        rotation_period: Some(seconds(1)),
        ..Default::default()
    };
    client.keys().create(create).await.expect("creates");
    let name = "namespaces/default/keys/quick";
    let get = || async { client.keys().get(kms::GetKeyRequest { name: name.into() }).await.expect("describes") };
    until("version 3", Duration::from_secs(20), || async { get().await.primary_version >= 3 }).await;
    let versions = kms::ListKeyVersionsRequest { parent: name.into(), ..Default::default() };
    let versions = client.keys().versions(versions).await.expect("lists").versions;
    for (newer, older) in versions.iter().zip(versions.iter().skip(1)) {
        assert_eq!(newer.version, older.version + 1);
        assert_eq!(newer.cause, i32::from(kms::RotationCause::Schedule));
        let made =
            |version: &kms::KeyVersion| version.create_time.map(|t| t.seconds * 1_000 + i64::from(t.nanos) / 1_000_000);
        assert!(made(newer).zip(made(older)).is_some_and(|(n, o)| n - o >= 900), "{newer:?} came too early");
    }
    cluster.stop_all().await;
}

/// The log begins with members among whom the leader is not yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_join_a_leader_that_came_later() {
    let mut cluster = Cluster::form(1).await;
    // More than one message brings: the second finds a node that has read of the founder only.
    write(&cluster.client().await, "before", 400).await;
    cluster.add(SealKind::File).await;
    cluster.votes(&cluster.client().await, 2).await;
    lead(&cluster.client().await, 2).await;
    cluster.add(SealKind::File).await;
    let client = cluster.client().await;
    cluster.votes(&client, 3).await;
    // Nor does it take the founder to be there.
    cluster.stop(0).await;
    let fourth = cluster.add(SealKind::File).await;
    write(&client, "after", 20).await;
    cluster.caught_up(fourth).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_was_away_follows_a_leader_that_came_since() {
    let mut cluster = Cluster::form(3).await;
    cluster.stop(2).await;
    let fourth = cluster.add(SealKind::File).await;
    let client = cluster.client().await;
    let votes = async || {
        let status = client.cluster().status(wire::GetStatusRequest {}).await;
        status.is_ok_and(|status| status.nodes.iter().any(|node| node.node == fourth as u64 + 1 && node.votes))
    };
    until("the new node to vote", Duration::from_secs(30), votes).await;
    lead(&client, fourth as u64 + 1).await;
    write(&client, "since", 70).await;
    cluster.start(2).await;
    cluster.caught_up(2).await;
    assert_eq!(cluster.leader().await, fourth, "it follows, and has not taken the lead itself");
    cluster.stop_all().await;
}

async fn lead(client: &Client, node: u64) {
    let transfer = wire::TransferLeaderRequest { node, ..Default::default() };
    let moved = || async { client.cluster().transfer_leader(transfer).await.is_ok_and(|moved| moved.leader == node) };
    until("that node to lead", Duration::from_secs(30), moved).await;
}

async fn write(client: &Client, name: &str, count: usize) {
    for n in 0..count {
        let parent = "namespaces/default".to_owned();
        let create = kms::CreateKeyRequest { parent, key_id: format!("{name}-{n}"), ..Default::default() };
        let created = client.keys().create(create).await;
        assert!(created.is_ok(), "{created:?}");
    }
}

const fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

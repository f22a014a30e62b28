//! What waits for its end, on a real cluster: used by no node from the answer on, given back on request, destroyed by whoever leads when it is
//! due. And versions that are known before they are used, and ones that are not used any more.
#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

use std::time::Duration;

use chancery_client::{Client, Error};
use proto::cluster::v1 as cluster;
use proto::kms::v1 as kms;
use types::Reason;

use crate::support::{Cluster, until};

const SOON: Duration = Duration::from_secs(60);

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn reason<T>(answer: Result<T, Error>) -> Result<(), Option<Reason>> {
    answer.map(drop).map_err(|error| error.reason())
}

/// A namespace without a floor.
async fn namespace(client: &Client, id: &str) -> String {
    let namespace = cluster::Namespace { waiting_period_floor: seconds(0), ..Default::default() };
    let create = cluster::CreateNamespaceRequest {
        namespace_id: id.to_owned(),
        namespace: Some(namespace),
        ..Default::default()
    };
    client.namespaces().create(create).await.expect("creates").name
}

async fn key(client: &Client, parent: &str, id: &str, waiting_period: i64) -> String {
    let create = kms::CreateKeyRequest {
        parent: parent.to_owned(),
        key_id: id.to_owned(),
        waiting_period: seconds(waiting_period),
        ..Default::default()
    };
    client.keys().create(create).await.expect("creates").name
}

async fn get(client: &Client, name: &str) -> kms::Key {
    client.keys().get(kms::GetKeyRequest { name: name.to_owned() }).await.expect("describes")
}

async fn encrypt(client: &Client, name: &str) -> Result<kms::EncryptResponse, Error> {
    let encrypt = kms::EncryptRequest { name: name.to_owned(), plaintext: b"x".to_vec(), ..Default::default() };
    client.crypto().encrypt(encrypt).await
}

async fn decrypt(client: &Client, parent: &str, ciphertext: &[u8]) -> Result<(), Option<Reason>> {
    let (parent, ciphertext) = (parent.to_owned(), ciphertext.to_vec());
    reason(client.crypto().decrypt(kms::DecryptRequest { parent, ciphertext, ..Default::default() }).await)
}

fn disable(name: &str, version: u32) -> kms::DisableKeyRequest {
    kms::DisableKeyRequest { name: name.to_owned(), version, ..Default::default() }
}

fn destroy(name: &str, version: u32) -> kms::DestroyKeyRequest {
    kms::DestroyKeyRequest { name: name.to_owned(), version, erase_now: true, ..Default::default() }
}

async fn nodes(cluster: &Cluster) -> [Client; 3] {
    [cluster.client_of_node(0).await, cluster.client_of_node(1).await, cluster.client_of_node(2).await]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_is_given_back_in_time_and_destroyed_by_the_next_leader_after_it() {
    let mut cluster = Cluster::form(3).await;
    let client = cluster.client().await;
    let parent = namespace(&client, "pay").await;
    let name = key(&client, &parent, "cards", 3_600).await;
    let ciphertext = encrypt(&client, &name).await.expect("encrypts").ciphertext;
    assert_eq!(reason(client.keys().destroy(destroy(&name, 0)).await), Err(Some(Reason::PreconditionFailed)));
    client.keys().disable(disable(&name, 0)).await.expect("disables");
    let scheduled = client.keys().destroy(destroy(&name, 0)).await.expect("is to go");
    assert!(scheduled.scheduled_destroy_time.is_some() && scheduled.destroy_time.is_none());
    let enable = || kms::EnableKeyRequest { name: name.clone(), ..Default::default() };
    assert_eq!(reason(client.keys().enable(enable()).await), Err(Some(Reason::PreconditionFailed)));
    for node in &nodes(&cluster).await {
        assert_eq!(decrypt(node, &parent, &ciphertext).await, Err(Some(Reason::KeyDisabled)));
    }
    let restore = kms::RestoreKeyRequest { name: name.clone(), ..Default::default() };
    assert!(!client.keys().restore(restore).await.expect("in time").enabled);
    client.keys().enable(enable()).await.expect("enables");
    assert_eq!(decrypt(&client, &parent, &ciphertext).await, Ok(()), "all is as it was");

    // Short enough to be seen, long enough for another leader.
    let update_mask = Some(prost_types::FieldMask { paths: vec!["waiting_period".to_owned()] });
    let (waiting_period, update_name) = (seconds(8), name.clone());
    let shorter = kms::UpdateKeyRequest { name: update_name, update_mask, waiting_period, ..Default::default() };
    client.keys().update(shorter).await.expect("changes");
    client.keys().disable(disable(&name, 0)).await.expect("disables");
    client.keys().destroy(destroy(&name, 0)).await.expect("is to go");
    let leader = cluster.leader().await;
    cluster.kill(leader).await;
    let gone = async || {
        let found = client.keys().get(kms::GetKeyRequest { name: name.clone() }).await;
        found.is_ok_and(|key| key.destroy_time.is_some())
    };
    until("whoever leads now to destroy it", SOON, gone).await;
    let key = get(&client, &name).await;
    assert_eq!((key.receipts.len(), key.receipts[0].versions.as_slice()), (1, &[1][..]));
    assert_eq!(decrypt(&client, &parent, &ciphertext).await, Err(Some(Reason::KeyDestroyed)));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_confirms_a_step_of_time_that_there_was_not() {
    let cluster = Cluster::form(1).await;
    let client = cluster.client().await;
    let confirm = |to| cluster::ConfirmTimeRequest { to, ..Default::default() };
    let missing = client.cluster().confirm_time(confirm(None)).await;
    assert_eq!(reason(missing), Err(Some(Reason::InvalidArgument)));
    let none = client.cluster().confirm_time(confirm(Some(prost_types::Timestamp::default()))).await;
    assert_eq!(reason(none), Err(Some(Reason::PreconditionFailed)));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_closed_namespace_is_used_by_no_node_and_a_destroyed_one_by_nobody_ever() {
    let cluster = Cluster::form(3).await;
    let client = cluster.client().await;
    let parent = namespace(&client, "pay").await;
    let name = key(&client, &parent, "cards", 3_600).await;
    let other = key(&client, "namespaces/default", "orders", 86_400).await;
    let ciphertext = encrypt(&client, &name).await.expect("encrypts").ciphertext;
    let nodes = nodes(&cluster).await;
    for node in &nodes {
        decrypt(node, &parent, &ciphertext).await.expect("serves, and has it in memory now");
    }
    let close = |waiting_period| cluster::DestroyNamespaceRequest {
        name: parent.clone(),
        waiting_period,
        erase_now: true,
        ..Default::default()
    };
    let closed = client.namespaces().destroy(close(None)).await.expect("is to go");
    assert!(closed.scheduled_destroy_time.is_some());
    for node in &nodes {
        assert_eq!(decrypt(node, &parent, &ciphertext).await, Err(Some(Reason::NamespaceClosed)));
        assert_eq!(reason(encrypt(node, &name).await), Err(Some(Reason::NamespaceClosed)));
        encrypt(node, &other).await.expect("the others go on");
    }
    assert!(get(&client, &name).await.enabled, "the key itself is as it was");
    let restore = cluster::RestoreNamespaceRequest { name: parent.clone(), ..Default::default() };
    client.namespaces().restore(restore.clone()).await.expect("in time");
    for node in &nodes {
        let served = async || decrypt(node, &parent, &ciphertext).await.is_ok();
        until("the node to have heard of it", SOON, served).await;
    }

    client.namespaces().destroy(close(seconds(1))).await.expect("is to go");
    let describe = async || {
        let name = parent.clone();
        client.namespaces().get(cluster::GetNamespaceRequest { name }).await.expect("describes")
    };
    until("the leader to destroy it", SOON, async || describe().await.destroy_time.is_some()).await;
    for node in &nodes {
        assert_eq!(decrypt(node, &parent, &ciphertext).await, Err(Some(Reason::NamespaceClosed)));
    }
    assert_eq!(reason(client.namespaces().restore(restore).await), Err(Some(Reason::NamespaceClosed)));
    assert!(get(&client, &name).await.destroy_time.is_some());
    let list = kms::ListKeyVersionsRequest { parent: name.clone(), ..Default::default() };
    let versions = client.keys().versions(list).await.expect("lists").versions;
    assert!(versions.iter().all(|version| version.state() == kms::VersionState::Destroyed), "{versions:?}");
    let create = kms::CreateKeyRequest { parent: parent.clone(), key_id: "more".into(), ..Default::default() };
    assert_eq!(reason(client.keys().create(create).await), Err(Some(Reason::NamespaceClosed)));
    let erased = async || describe().await.receipt.is_some_and(|receipt| receipt.erased && receipt.nodes.len() == 3);
    until("every disk to have let go of it", SOON, erased).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_pre_active_version_hands_out_its_public_key_and_an_old_one_verifies_no_more() {
    let cluster = Cluster::form(3).await;
    let client = cluster.client().await;
    let create = kms::CreateKeyRequest {
        parent: "namespaces/default".into(),
        key_id: "releases".into(),
        algorithm: kms::Algorithm::Ed25519.into(),
        ..Default::default()
    };
    let name = client.keys().create(create).await.expect("creates").name;
    let sign = |version| kms::SignRequest { name: name.clone(), version, message: b"m".to_vec(), ..Default::default() };
    let first = client.crypto().sign(sign(0)).await.expect("signs").signature;
    let rotate = kms::RotateKeyRequest { name: name.clone(), pre_active: true, ..Default::default() };
    assert_eq!(client.keys().rotate(rotate).await.expect("makes it").primary_version, 1);
    let public = kms::GetPublicKeyRequest { name: name.clone(), version: 2 };
    let public = client.keys().public_key(public).await.expect("is handed out");
    assert_eq!(public.state(), kms::VersionState::PreActive);
    assert_eq!(client.crypto().sign(sign(0)).await.expect("signs").version, 1);
    assert_eq!(reason(client.crypto().sign(sign(2)).await), Err(Some(Reason::KeyDisabled)));

    let activate = kms::ActivateKeyVersionRequest { name: name.clone(), version: 2, ..Default::default() };
    assert_eq!(client.keys().activate(activate.clone()).await.expect("activates").primary_version, 2);
    assert_eq!(reason(client.keys().activate(activate).await), Err(Some(Reason::PreconditionFailed)));
    let nodes = nodes(&cluster).await;
    let second = client.crypto().sign(sign(0)).await.expect("signs");
    assert_eq!(second.version, 2);
    let verify = |version, signature: &[u8]| {
        let (name, signature) = (name.clone(), signature.to_vec());
        kms::VerifyRequest { name, version, message: b"m".to_vec(), signature, ..Default::default() }
    };
    for node in &nodes {
        // One that has not heard of the activation waits for it.
        node.crypto().verify(verify(2, &second.signature)).await.expect("verifies");
        node.crypto().verify(verify(1, &first)).await.expect("verifies");
    }

    let update_mask = Some(prost_types::FieldMask { paths: vec!["min_version".to_owned()] });
    let lowest = |min_version| kms::UpdateKeyRequest {
        name: name.clone(),
        update_mask: update_mask.clone(),
        min_version,
        ..Default::default()
    };
    assert_eq!(reason(client.keys().update(lowest(3)).await), Err(Some(Reason::InvalidArgument)));
    client.keys().update(lowest(2)).await.expect("raises it");
    for node in &nodes {
        assert_eq!(reason(node.crypto().verify(verify(1, &first)).await), Err(Some(Reason::VersionTooOld)));
        node.crypto().verify(verify(2, &second.signature)).await.expect("verifies");
    }
    cluster.stop_all().await;
}

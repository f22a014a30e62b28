//! The fence: once a disable or a revocation is acknowledged, no node serves the state before it; a node that is away
//! makes it wait for its lease, and no longer.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot be set up has failed, and that measures"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Cluster, until};
use chancery_client::{Client, Error};
use crypto::sign::P256Signer;
use proto::cluster::v1 as wire;
use proto::kms::v1 as kms;
use types::Reason;

const PARENT: &str = "namespaces/default";

async fn create(client: &Client, id: &str) -> (String, Vec<u8>) {
    let create = kms::CreateKeyRequest { parent: PARENT.into(), key_id: id.into(), ..Default::default() };
    let name = client.keys().create(create).await.expect("creates").name;
    let encrypt = kms::EncryptRequest { name: name.clone(), plaintext: b"x".to_vec(), ..Default::default() };
    let ciphertext = client.crypto().encrypt(encrypt).await.expect("encrypts").ciphertext;
    (name, ciphertext)
}

fn decrypt(ciphertext: &[u8]) -> kms::DecryptRequest {
    kms::DecryptRequest { parent: PARENT.into(), ciphertext: ciphertext.to_vec(), ..Default::default() }
}

async fn disable(client: &Client, name: &str) -> Result<kms::Key, Error> {
    client.keys().disable(kms::DisableKeyRequest { name: name.into(), ..Default::default() }).await
}

async fn enable(client: &Client, name: &str) {
    let enable = kms::EnableKeyRequest { name: name.into(), ..Default::default() };
    client.keys().enable(enable).await.expect("enables");
}

/// Decrypts on each node begin after the disable was acknowledged, in the very moment: none may succeed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_node_uses_a_key_after_its_disable_was_acknowledged() {
    let cluster = Cluster::form(3).await;
    let client = cluster.client().await;
    let (name, ciphertext) = create(&client, "orders").await;
    let nodes = [cluster.client_of_node(0).await, cluster.client_of_node(1).await, cluster.client_of_node(2).await];
    for node in &nodes {
        node.crypto().decrypt(decrypt(&ciphertext)).await.expect("serves");
    }
    // Load that makes followers lag: each of them applies these too.
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..4).map(|n| tokio::spawn(rotate_until(client.clone(), n, Arc::clone(&stop)))).collect();
    let mut took = Vec::new();
    for round in 0..40 {
        let through = nodes[round % 3].clone();
        let began = Instant::now();
        disable(&through, &name).await.expect("disables");
        took.push(began.elapsed());
        let asked = nodes.iter().map(|node| {
            let (node, request) = (node.clone(), decrypt(&ciphertext));
            async move { node.crypto().decrypt(request).await.map(drop).map_err(|error| error.reason()) }
        });
        for answer in futures::future::join_all(asked).await {
            assert_eq!(answer, Err(Some(Reason::KeyDisabled)), "round {round}");
        }
        enable(&through, &name).await;
    }
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await.expect("ends");
    }
    took.sort();
    println!("disable under load, all nodes up: median {:?}, worst {:?}", took[took.len() / 2], took[took.len() - 1]);
    cluster.stop_all().await;
}

async fn rotate_until(client: Client, n: u32, stop: Arc<AtomicBool>) {
    let (name, _) = create(&client, &format!("load-{n}")).await;
    while !stop.load(Ordering::Relaxed) {
        let rotate = kms::RotateKeyRequest { name: name.clone(), ..Default::default() };
        client.keys().rotate(rotate).await.expect("rotates");
    }
}

/// What the fence costs while every node is up, beside the same kind of change without one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_every_node_up_a_fence_costs_milliseconds() {
    let cluster = Cluster::form(3).await;
    let leader = cluster.leader().await;
    let client = cluster.client_of_node(leader).await;
    let (name, _) = create(&client, "orders").await;
    let (mut fenced, mut open) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        let began = Instant::now();
        disable(&client, &name).await.expect("disables");
        fenced.push(began.elapsed());
        let began = Instant::now();
        enable(&client, &name).await;
        open.push(began.elapsed());
    }
    fenced.sort();
    open.sort();
    let (fenced, open) = (fenced[30], open[30]);
    println!("median of 60: disable {fenced:?}, enable {open:?}");
    assert!(fenced < open + Duration::from_millis(100), "fenced {fenced:?}, not fenced {open:?}");
    cluster.stop_all().await;
}

/// A follower dies without a word: nobody is told that the key is disabled until the lease that it may hold has run out.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dead_node_makes_a_disable_wait_for_its_lease_and_no_longer() {
    let mut cluster = Cluster::form(3).await;
    let leader = cluster.leader().await;
    let client = cluster.client_of_node(leader).await;
    let (name, ciphertext) = create(&client, "orders").await;
    // A change that adds does not wait for anybody.
    cluster.kill((leader + 1) % 3).await;
    let died = Instant::now();
    create(&client, "invoices").await;
    assert!(died.elapsed() < Duration::from_secs(10), "an open change took {:?}", died.elapsed());

    let request = kms::DisableKeyRequest {
        name: name.clone(),
        request_id: chancery_client::api::request_id(),
        ..Default::default()
    };
    let refused = raw_disable(&cluster, leader, &request).await.expect_err("is not acknowledged yet");
    assert_eq!((refused.0, refused.1), (tonic::Code::DeadlineExceeded, "FENCE_PENDING".to_owned()));
    // Committed all the same, and a retry is answered no earlier.
    let now = client.crypto().decrypt(decrypt(&ciphertext)).await.expect_err("is disabled here");
    assert_eq!(now.reason(), Some(Reason::KeyDisabled));
    let pending = AtomicU64::new(0);
    until("the fence to end", Duration::from_secs(60), || async {
        let answered = raw_disable(&cluster, leader, &request).await;
        if let Err((_, reason)) = &answered {
            assert_eq!(reason, "FENCE_PENDING");
            pending.fetch_add(1, Ordering::Relaxed);
        }
        answered.is_ok()
    })
    .await;
    let took = died.elapsed();
    println!("the fence ended {took:?} after the node died, {} retries", pending.load(Ordering::Relaxed));
    assert!(pending.load(Ordering::Relaxed) > 0, "retries were let through");
    // It was renewed at most 10 s before it died.
    assert!(took > Duration::from_secs(19), "ended after {took:?}, before the lease can have");
    assert!(took < Duration::from_secs(45), "ended after {took:?}: a lease is 30 s");
    // Its lease is known to be over: the next fence waits for nobody.
    let began = Instant::now();
    revoke_somebody(&client).await;
    assert!(began.elapsed() < Duration::from_secs(5), "took {:?}", began.elapsed());
    cluster.stop_all().await;
}

/// The leader dies behind a fence: its successor knows nothing of the leases that it granted, and assumes the longest.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_leader_waits_for_what_the_old_one_may_have_granted() {
    let mut cluster = Cluster::form(3).await;
    let leader = cluster.leader().await;
    let client = cluster.client().await;
    let (name, _) = create(&client, "orders").await;
    let request = kms::DisableKeyRequest {
        name: name.clone(),
        request_id: chancery_client::api::request_id(),
        ..Default::default()
    };
    raw_disable(&cluster, leader, &request).await.expect("disables");
    cluster.kill(leader).await;
    let died = Instant::now();
    // Answered once already, but its successor cannot know that, nor what the dead leader may still serve.
    let survivor = (leader + 1) % 3;
    let mut pending = 0;
    loop {
        match raw_disable(&cluster, survivor, &request).await {
            Ok(()) => break,
            Err((_, reason)) if reason == "FENCE_PENDING" => pending += 1,
            Err((_, reason)) => assert_eq!(reason, "NO_QUORUM", "while there is no leader"),
        }
        assert!(died.elapsed() < Duration::from_secs(60), "the fence does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("answered {:?} after the leader died, {pending} times pending", died.elapsed());
    assert!(pending > 0 && died.elapsed() > Duration::from_secs(29), "{pending} times, {:?}", died.elapsed());
    cluster.stop_all().await;
}

/// A node that is sealed, or stops in good order, holds no lease, and nobody waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_waits_for_a_node_that_stopped_in_good_order() {
    let mut cluster = Cluster::form(3).await;
    let leader = cluster.leader().await;
    let client = cluster.client_of_node(leader).await;
    let (name, _) = create(&client, "orders").await;
    cluster.stop((leader + 1) % 3).await;
    let began = Instant::now();
    disable(&client, &name).await.expect("disables");
    assert!(began.elapsed() < Duration::from_secs(8), "took {:?}", began.elapsed());
    cluster.stop_all().await;
}

async fn revoke_somebody(client: &Client) {
    let signer = P256Signer::generate();
    let enrol = wire::EnrolOperatorRequest { operator_id: "bob".into(), spki: signer.spki_der(), ..Default::default() };
    client.operators().enrol(enrol).await.expect("enrols");
    let revoke = wire::RevokeOperatorRequest { name: "operators/bob".into(), ..Default::default() };
    client.operators().revoke(revoke).await.expect("revokes");
}

/// One attempt, without the client's retries: the code and the reason of a refusal.
async fn raw_disable(
    cluster: &Cluster,
    node: usize,
    request: &kms::DisableKeyRequest,
) -> Result<(), (tonic::Code, String)> {
    use tonic_types::StatusExt as _;
    let mut service = kms::key_service_client::KeyServiceClient::new(cluster.channel(node));
    let answer = tokio::time::timeout(Duration::from_secs(10), service.disable_key(request.clone())).await;
    let Ok(answer) = answer else { return Err((tonic::Code::Unavailable, "NO_QUORUM".to_owned())) };
    answer.map(drop).map_err(|status| {
        let reason = status.get_details_error_info().map_or_else(String::new, |info| info.reason);
        (status.code(), reason)
    })
}

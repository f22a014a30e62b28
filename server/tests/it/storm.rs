//! Ten thousand keys that are due at once: each is rotated once, what was encrypted is decrypted all the while, and the queue is seen.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot be set up has failed; figures are worth reading"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chancery_client::{Client, Error};
use futures::{StreamExt, TryStreamExt};
use proto::cluster::v1 as cluster;
use proto::kms::v1 as kms;

use crate::support::{Cluster, until_every};

const KEYS: usize = 10_000;
/// Long enough that making them all takes hardly longer.
const PERIOD: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(100);
const AT_ONCE: usize = 64;
const NAMESPACE: &str = "namespaces/storm";

fn name(key: usize) -> String {
    format!("{NAMESPACE}/keys/k{key}")
}

fn seconds(length: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(length).ok()
}

async fn make(client: &Client) {
    let settings = cluster::Namespace { rotation_floor: seconds(PERIOD), ..Default::default() };
    let create = cluster::CreateNamespaceRequest {
        namespace_id: "storm".into(),
        namespace: Some(settings),
        ..Default::default()
    };
    client.namespaces().create(create).await.expect("creates");
    let keys = client.keys();
    let one = |key: usize| {
        let create = kms::CreateKeyRequest {
            parent: NAMESPACE.into(),
            key_id: format!("k{key}"),
            rotation_period: seconds(PERIOD),
            ..Default::default()
        };
        keys.create(create)
    };
    let made = futures::stream::iter(0..KEYS).map(one).buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) });
    made.await.expect("creates");
}

/// Decrypts what was encrypted before the storm, and encrypts anew, until it is told to stop; says how often, or what went wrong.
async fn use_keys(client: Client, ciphertexts: Arc<Vec<Vec<u8>>>, stop: Arc<AtomicBool>) -> Result<u64, Error> {
    let mut uses = 0;
    for (key, ciphertext) in ciphertexts.iter().enumerate().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let decrypt =
            kms::DecryptRequest { parent: NAMESPACE.into(), ciphertext: ciphertext.clone(), ..Default::default() };
        assert_eq!(client.crypto().decrypt(decrypt).await?.plaintext, b"x");
        let encrypt = kms::EncryptRequest { name: name(key), plaintext: b"x".to_vec(), ..Default::default() };
        client.crypto().encrypt(encrypt).await?;
        uses += 2;
    }
    Ok(uses)
}

/// The newest version of each key, by name.
async fn newest(client: &Client) -> BTreeMap<String, u32> {
    let (mut newest, mut page_token) = (BTreeMap::new(), String::new());
    loop {
        let list = kms::ListKeysRequest { parent: NAMESPACE.into(), page_size: 1_000, page_token };
        let page = client.keys().list(list).await.expect("lists");
        newest.extend(page.keys.into_iter().map(|key| (key.name, key.primary_version)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return newest;
        }
    }
}

/// The value of a gauge.
fn gauge(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).expect("the gauge")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_keys_that_are_due_at_once_are_rotated_once_each() {
    let cluster = Cluster::form(3).await;
    let client = cluster.client().await;
    make(&client).await;
    let made = Instant::now();
    let mut ciphertexts = Vec::new();
    for key in 0..100 {
        let encrypt = kms::EncryptRequest { name: name(key), plaintext: b"x".to_vec(), ..Default::default() };
        ciphertexts.push(client.crypto().encrypt(encrypt).await.expect("encrypts").ciphertext);
    }
    let before = newest(&client).await;
    // Closed, nothing in it rotates; opened again, all of it is due.
    let close = cluster::DestroyNamespaceRequest { name: NAMESPACE.into(), ..Default::default() };
    client.namespaces().destroy(close).await.expect("closes");
    let all_due = made + PERIOD + Duration::from_secs(2);
    until_every(LOOK, "all of them to be due", PATIENCE, async || Instant::now() > all_due).await;
    let open = cluster::RestoreNamespaceRequest { name: NAMESPACE.into(), ..Default::default() };
    client.namespaces().restore(open).await.expect("opens");

    // Seen at once: the first look comes long before the last rotation.
    let leader = cluster.leader().await;
    let due = async || gauge(&cluster.metrics(leader).await, "chancery_rotations_due");
    let (began, most) = (Instant::now(), due().await);
    assert!(most > 0, "nothing was seen to be due");
    let (stop, ciphertexts) = (Arc::new(AtomicBool::new(false)), Arc::new(ciphertexts));
    let mut users = Vec::new();
    for node in 0..3 {
        let own = cluster.client_of_node(node).await;
        users.push(tokio::spawn(use_keys(own, Arc::clone(&ciphertexts), Arc::clone(&stop))));
    }
    until_every(LOOK, "the storm to be over", PATIENCE, async || {
        let newest = newest(&client).await;
        newest.iter().all(|(key, version)| *version > before[key])
    })
    .await;
    let took = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    let mut uses = 0;
    for user in users {
        uses += user.await.expect("ends").expect("nothing is refused");
    }
    println!("{KEYS} keys in {took:?}, {most} of them due at first as the metrics say, {uses} uses beside it");
    assert!(uses > 0, "nothing was used meanwhile");
    // Each due time once: no two versions of a key are closer than its period.
    for key in (0..KEYS).step_by(97) {
        let versions = kms::ListKeyVersionsRequest { parent: name(key), ..Default::default() };
        let versions = client.keys().versions(versions).await.expect("lists").versions;
        for (newer, older) in versions.iter().zip(versions.iter().skip(1)) {
            let made = |version: &kms::KeyVersion| version.create_time.map_or(0, |time| time.seconds);
            let apart = made(newer) - made(older);
            assert!(apart >= PERIOD.as_secs() as i64 - 1, "v{} of k{key} {apart} s after", newer.version);
            assert_eq!(newer.cause(), kms::RotationCause::Schedule);
        }
    }
    cluster.stop_all().await;
}

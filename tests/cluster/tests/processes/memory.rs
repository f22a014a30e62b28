//! What whoever may read a node's memory finds of its keys: while it serves, nothing outside of locked pages; a second after
//! it was sealed, nothing.
//!
//! The keys are unwrapped by the test itself, from what the node holds wrapped: so it knows what to look for, and that the
//! search finds what is there.

use std::time::{Duration, Instant};

use chancery_client::Client;
use proto::cluster::v1 as wire;
use proto::kms::v1 as kms;

use crate::support::memory::{self, Mapping};
use crate::support::secrets::{self, NodeKeys, Shape};
use crate::support::{Cluster, Needles, Plan, create_key, until};

const PASSPHRASE: &str = "canary passphrase 41d80b6e";
/// After a seal was answered, until nothing is left.
const GONE_WITHIN: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_lie_in_locked_pages_only_and_are_gone_a_second_after_the_seal() {
    let cluster = Cluster::form(Plan { passphrase: Some(PASSPHRASE), ..Plan::of(1) }).await;
    let node = &cluster.nodes[0];
    assert_no_core_dumps(node.pid());
    if let Err(error) = memory::of(node.pid()) {
        // Written past the harness, which hides what a passing test prints.
        let line = format!("\nSKIPPED: a node's memory is not for this user to read: {error}\n");
        std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).expect("writes");
        return;
    }
    let client = cluster.client().await;
    let name = create_key(&client, "canary").await;
    use_key(&client, &name).await;
    client.keys().rotate(kms::RotateKeyRequest { name: name.clone(), ..Default::default() }).await.expect("rotates");
    use_key(&client, &name).await;
    let pairs = [
        (sign_with(&client, kms::Algorithm::Ed25519).await, Shape::ED25519),
        (sign_with(&client, kms::Algorithm::EcdsaP256Sha256).await, Shape::P256),
        (sign_with(&client, kms::Algorithm::RsaPss2048Sha256).await, Shape::RSA),
    ];

    let open = memory::of(node.pid()).expect("reads");
    assert!(open.iter().any(Mapping::is_locked), "no locked page in {:?}", names(&open));
    let keys = NodeKeys::open(node.dir(), PASSPHRASE);
    let haystacks: Vec<&[u8]> = open.iter().map(|mapping| mapping.bytes.as_slice()).collect();
    let namespace_key = keys.namespace_key(&haystacks);
    let get = kms::GetKeyRequest { name: name.clone() };
    let key_id = client.keys().get(get).await.expect("gets").key_id;
    let mut needles = Needles::default();
    keys.add_kept(&mut needles);
    needles.add("a namespace key", namespace_key.expose());
    for version in 1..=2 {
        secrets::add_material(&mut needles, &haystacks, &namespace_key, (&key_id, version), Shape::AES);
    }
    for (key_id, shape) in pairs {
        secrets::add_material(&mut needles, &haystacks, &namespace_key, (&key_id, 1), shape);
    }
    assert_nowhere(&needles, open.iter().filter(|mapping| !mapping.is_locked()));

    // Sealed, opened by the other way in, and sealed again.
    keys.add_derived(&mut needles);
    seal(&client, node.pid(), &needles).await;
    let unseal = wire::UnsealRequest { passphrase: PASSPHRASE.into(), ..Default::default() };
    client.seal().unseal(unseal).await.expect("unseals");
    until("the key to be used again", async || decrypts(&client, &name).await).await;
    seal(&client, node.pid(), &needles).await;
}

/// Seals the node, and waits until nothing is left.
async fn seal(client: &Client, pid: u32, needles: &Needles) {
    client.seal().seal(wire::SealRequest {}).await.expect("seals");
    let sealed = Instant::now();
    loop {
        let (looked, mappings) = (sealed.elapsed(), memory::of(pid).expect("reads"));
        let found = found_in(needles, mappings.iter());
        if found.is_empty() {
            return;
        }
        assert!(looked < GONE_WITHIN, "{looked:?} after the seal: {found:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn use_key(client: &Client, name: &str) {
    let encrypt = kms::EncryptRequest { name: name.to_owned(), plaintext: b"an order".to_vec(), ..Default::default() };
    let ciphertext = client.crypto().encrypt(encrypt).await.expect("encrypts").ciphertext;
    let decrypt = kms::DecryptRequest { parent: "namespaces/default".into(), ciphertext, ..Default::default() };
    client.crypto().decrypt(decrypt).await.expect("decrypts");
}

/// Makes a key and signs with it, some times; its id.
async fn sign_with(client: &Client, algorithm: kms::Algorithm) -> String {
    let key_id = algorithm.as_str_name().to_lowercase().replace('_', "-");
    let parent = "namespaces/default".to_owned();
    let request = kms::CreateKeyRequest { parent, key_id, algorithm: algorithm.into(), ..Default::default() };
    let key = client.keys().create(request).await.expect("creates");
    for _ in 0..5 {
        let sign = kms::SignRequest { name: key.name.clone(), message: b"an order".to_vec(), ..Default::default() };
        client.crypto().sign(sign).await.expect("signs");
    }
    key.key_id
}

async fn decrypts(client: &Client, name: &str) -> bool {
    let encrypt = kms::EncryptRequest { name: name.to_owned(), plaintext: b"an order".to_vec(), ..Default::default() };
    client.crypto().encrypt(encrypt).await.is_ok()
}

fn assert_nowhere<'a>(needles: &Needles, mappings: impl Iterator<Item = &'a Mapping>) {
    let found = found_in(needles, mappings);
    assert!(found.is_empty(), "in memory: {found:#?}");
}

fn found_in<'a>(needles: &Needles, mappings: impl Iterator<Item = &'a Mapping>) -> Vec<String> {
    let in_one = |mapping: &Mapping| {
        let found = needles.found_in(&mapping.bytes);
        found.into_iter().map(|needle| format!("{needle} in {}", mapping.name)).collect::<Vec<_>>()
    };
    mappings.flat_map(in_one).collect()
}

fn names(mappings: &[Mapping]) -> Vec<&str> {
    mappings.iter().map(|mapping| mapping.name.as_str()).collect()
}

/// A crash leaves no copy of the memory on a disk.
fn assert_no_core_dumps(pid: u32) {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("reads");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    let values: Vec<&str> = core.split_whitespace().filter(|word| word.parse::<u64>().is_ok()).collect();
    assert_eq!(values, ["0", "0"], "{core}");
}

//! How much a key is used, on a real cluster: a ceiling that three nodes share, a rotation that follows use, and what a node that is alone
//! may still do.
#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

use std::time::Duration;

use chancery_client::{Client, Error};
use proto::kms::v1 as kms;
use types::Reason;

use crate::support::{Cluster, until};

const SOON: Duration = Duration::from_secs(60);

fn limits(uses: u64) -> Option<kms::UsageLimits> {
    Some(kms::UsageLimits { uses, bytes: 0 })
}

async fn key(client: &Client, create: kms::CreateKeyRequest) -> String {
    let create = kms::CreateKeyRequest { parent: "namespaces/default".into(), ..create };
    client.keys().create(create).await.expect("creates").name
}

async fn get(client: &Client, name: &str) -> kms::Key {
    client.keys().get(kms::GetKeyRequest { name: name.to_owned() }).await.expect("describes")
}

async fn encrypt(client: &Client, name: &str) -> Result<kms::EncryptResponse, Error> {
    let encrypt = kms::EncryptRequest { name: name.to_owned(), plaintext: b"x".to_vec(), ..Default::default() };
    client.crypto().encrypt(encrypt).await
}

async fn decrypt(client: &Client, ciphertext: &[u8]) -> Result<(), Error> {
    let (parent, ciphertext) = ("namespaces/default".to_owned(), ciphertext.to_vec());
    client.crypto().decrypt(kms::DecryptRequest { parent, ciphertext, ..Default::default() }).await.map(drop)
}

async fn set(client: &Client, name: &str, path: &str, bound: u64) -> Result<kms::Key, Error> {
    let update_mask = Some(prost_types::FieldMask { paths: vec![path.to_owned()] });
    let (rotate_after, ceiling) = (limits(bound), limits(bound));
    let name = name.to_owned();
    client.keys().update(kms::UpdateKeyRequest { name, update_mask, rotate_after, ceiling, ..Default::default() }).await
}

async fn nodes(cluster: &Cluster) -> [Client; 3] {
    [cluster.client_of_node(0).await, cluster.client_of_node(1).await, cluster.client_of_node(2).await]
}

fn reason<T>(answer: Result<T, Error>) -> Result<(), Option<Reason>> {
    answer.map(drop).map_err(|error| error.reason())
}

/// Uses a key on a node until it is refused; how often it was used, and why it was refused.
async fn exhaust(client: Client, name: String) -> (u64, Option<Reason>) {
    let mut used = 0;
    loop {
        match encrypt(&client, &name).await {
            Ok(_) => used += 1,
            Err(error) => return (used, error.reason()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_nodes_share_a_ceiling_until_the_key_is_rotated() {
    let cluster = Cluster::form(3).await;
    let client = cluster.client().await;
    let nodes = nodes(&cluster).await;
    let name =
        key(&client, kms::CreateKeyRequest { key_id: "cards".into(), ceiling: limits(600), ..Default::default() })
            .await;
    let ciphertext = encrypt(&client, &name).await.expect("encrypts").ciphertext;
    let described = get(&client, &name).await;
    assert_eq!((described.ceiling, described.rotation_forecast), (limits(600), None));
    assert!(described.usage.is_some_and(|usage| usage.uses == 25 && usage.bytes == 0), "600 / (8 · 3)");

    let hands: Vec<_> = nodes.iter().map(|node| tokio::spawn(exhaust(node.clone(), name.clone()))).collect();
    let mut used = 1;
    for hand in hands {
        let (uses, why) = hand.await.expect("ends");
        used += uses;
        assert_eq!(why, Some(Reason::UsageExhausted));
    }
    assert!((480..=600).contains(&used), "{used} uses of at most 600");
    assert_eq!(get(&client, &name).await.usage.map(|usage| usage.uses), Some(600), "all was handed out");
    let metrics = cluster.metrics(0).await;
    assert!(metrics.contains("chancery_keys_near_ceiling{level=\"exhausted\"} 1"), "{metrics}");
    assert!(metrics.contains("chancery_usage_refused_total 1\n"), "once for each call: {metrics}");
    // What was encrypted is decrypted, on every node.
    for node in &nodes {
        decrypt(node, &ciphertext).await.expect("never waits");
        assert_eq!(reason(encrypt(node, &name).await), Err(Some(Reason::UsageExhausted)));
    }
    // Whoever asks a node that has not heard of the next version finds it all the same.
    client.keys().rotate(kms::RotateKeyRequest { name: name.clone(), ..Default::default() }).await.expect("rotates");
    for node in &nodes {
        assert_eq!(encrypt(node, &name).await.expect("encrypts").version, 2);
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_that_is_used_rotates_by_itself_and_says_why() {
    let cluster = Cluster::form(3).await;
    let client = cluster.client().await;
    let nodes = nodes(&cluster).await;
    let wanted = kms::CreateKeyRequest { key_id: "orders".into(), rotate_after: limits(1_000), ..Default::default() };
    let name = key(&client, wanted).await;
    let idle = get(&client, &name).await.rotation_forecast.expect("it rotates by itself");
    assert_eq!((idle.time, idle.cause()), (None, kms::RotationCause::Count), "nothing was used yet");
    let first = encrypt(&client, &name).await.expect("encrypts").ciphertext;
    let begun = get(&client, &name).await.rotation_forecast.expect("it rotates by itself");
    assert!(begun.time.is_none() && begun.waits_for.is_empty(), "too soon to tell: {begun:?}");
    let hammer = |node: Client, name: String| async move {
        while encrypt(&node, &name).await.expect("nothing stops it").version == 1 {}
    };
    let hands: Vec<_> = nodes.iter().map(|node| tokio::spawn(hammer(node.clone(), name.clone()))).collect();
    for hand in hands {
        hand.await.expect("goes on with the next version");
    }
    decrypt(&client, &first).await.expect("the one before decrypts");
    let versions = kms::ListKeyVersionsRequest { parent: name.clone(), ..Default::default() };
    let versions = client.keys().versions(versions).await.expect("lists").versions;
    let history: Vec<_> = versions.iter().map(|row| (row.version, row.cause())).collect();
    assert_eq!(history, [(2, kms::RotationCause::Count), (1, kms::RotationCause::Created)]);
    assert!(versions[1].usage.is_some_and(|usage| usage.uses >= 1_000), "{versions:?}");
    let leader = cluster.leader().await;
    assert!(cluster.metrics(leader).await.contains("chancery_rotations_total{cause=\"COUNT\"} 1"));

    // Disabled, it waits, and the forecast says for what.
    client.keys().disable(kms::DisableKeyRequest { name: name.clone(), ..Default::default() }).await.expect("disables");
    let waits = get(&client, &name).await.rotation_forecast.expect("it rotates by itself").waits_for;
    assert!(waits.contains("disabled"), "{waits}");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_ceiling_that_was_lowered_holds_on_every_node_from_the_answer_on() {
    let cluster = Cluster::form(3).await;
    let client = cluster.client().await;
    let nodes = nodes(&cluster).await;
    let name = key(&client, kms::CreateKeyRequest { key_id: "cards".into(), ..Default::default() }).await;
    encrypt(&client, &name).await.expect("nobody counts");
    set(&client, &name, "ceiling.uses", 10_000).await.expect("sets");
    for node in &nodes {
        encrypt(node, &name).await.expect("each has a block of some hundred uses now");
    }
    set(&client, &name, "ceiling.uses", 100).await.expect("lowers");
    for node in &nodes {
        assert_eq!(reason(encrypt(node, &name).await), Err(Some(Reason::UsageExhausted)));
    }
    // Raised, used up elsewhere, and lowered again to what it was: what a node was handed out under it is worth nothing.
    set(&client, &name, "ceiling.uses", 20_000).await.expect("raises");
    encrypt(&nodes[2], &name).await.expect("it has a block of some hundred uses");
    set(&client, &name, "ceiling.uses", 40_000).await.expect("raises");
    for node in &nodes[..2] {
        encrypt(node, &name).await.expect("there is room");
    }
    set(&client, &name, "ceiling.uses", 20_000).await.expect("lowers");
    let before = get(&client, &name).await.usage.expect("counted").uses;
    encrypt(&nodes[2], &name).await.expect("there is room");
    assert!(get(&client, &name).await.usage.expect("counted").uses > before, "a new block");
    set(&client, &name, "ceiling.uses", 0).await.expect("takes away");
    encrypt(&client, &name).await.expect("nobody counts");
    // One of both is changed alone, and nonsense is refused.
    assert_eq!(reason(set(&client, &name, "rotate_after.uses", 999).await), Err(Some(Reason::InvalidArgument)));
    assert_eq!(reason(set(&client, &name, "rotate_after.years", 1).await), Err(Some(Reason::InvalidArgument)));
    let after = set(&client, &name, "rotate_after.uses", 5_000).await.expect("sets");
    assert_eq!((after.rotate_after, after.ceiling), (limits(5_000), None));
    cluster.stop_all().await;
}

/// Signatures and MACs are counted, checks are not; nor is what a key is not for.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_makes_something_new_is_counted_and_what_checks_is_not() {
    let cluster = Cluster::form(1).await;
    let client = cluster.client().await;
    let limited = |id: &str, algorithm: kms::Algorithm| kms::CreateKeyRequest {
        key_id: id.into(),
        algorithm: algorithm.into(),
        ceiling: limits(3),
        ..Default::default()
    };
    let crypto = client.crypto();
    let signer = key(&client, limited("signer", kms::Algorithm::EcdsaP256Sha256)).await;
    let maker = key(&client, limited("maker", kms::Algorithm::HmacSha256)).await;
    let sealer = key(&client, limited("sealer", kms::Algorithm::Aes256Gcm)).await;
    let sign = || kms::SignRequest { name: signer.clone(), message: b"m".to_vec(), ..Default::default() };
    let mac = || kms::GenerateMacRequest { name: maker.clone(), message: b"m".to_vec(), ..Default::default() };
    // Not what it is for: refused, and not counted.
    for _ in 0..3 {
        let wrong = kms::SignRequest { name: sealer.clone(), message: b"m".to_vec(), ..Default::default() };
        assert_eq!(reason(crypto.sign(wrong).await), Err(Some(Reason::WrongPurpose)));
    }
    let first = crypto.sign(sign()).await.expect("signs");
    for version in [0, 1] {
        crypto.sign(kms::SignRequest { version, ..sign() }).await.expect("signs");
    }
    assert_eq!(reason(crypto.sign(sign()).await), Err(Some(Reason::UsageExhausted)));
    for _ in 0..5 {
        let (name, signature) = (signer.clone(), first.signature.clone());
        let verify = kms::VerifyRequest { name, version: 1, message: b"m".to_vec(), signature, ..Default::default() };
        crypto.verify(verify).await.expect("good");
    }
    for _ in 0..3 {
        crypto.generate_mac(mac()).await.expect("makes");
    }
    assert_eq!(reason(crypto.generate_mac(mac()).await), Err(Some(Reason::UsageExhausted)));
    // A data key, an encryption and a re-encryption are one each.
    let data_key = kms::GenerateDataKeyRequest { name: sealer.clone(), ..Default::default() };
    let wrapped = crypto.generate_data_key(data_key.clone()).await.expect("draws").wrapped;
    encrypt(&client, &sealer).await.expect("encrypts");
    let again = || kms::ReEncryptRequest {
        parent: "namespaces/default".into(),
        ciphertext: wrapped.clone(),
        ..Default::default()
    };
    crypto.re_encrypt(again()).await.expect("encrypts again");
    assert_eq!(reason(crypto.re_encrypt(again()).await), Err(Some(Reason::UsageExhausted)));
    assert_eq!(reason(crypto.generate_data_key(data_key).await), Err(Some(Reason::UsageExhausted)));
    decrypt(&client, &wrapped).await.expect("decrypts");
    cluster.stop_all().await;
}

/// docs/spec/usage.md §1, row by row; and what is refused is not counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bytes_are_those_of_what_is_made_into_something() {
    let cluster = Cluster::form(1).await;
    let client = cluster.client().await;
    let crypto = client.crypto();
    let limited = |id: &str, algorithm: kms::Algorithm| kms::CreateKeyRequest {
        key_id: id.into(),
        algorithm: algorithm.into(),
        ceiling: Some(kms::UsageLimits { uses: 0, bytes: 100_000 }),
        ..Default::default()
    };
    let signer = key(&client, limited("signer", kms::Algorithm::EcdsaP256Sha256)).await;
    let maker = key(&client, limited("maker", kms::Algorithm::HmacSha256)).await;
    let sealer = key(&client, limited("sealer", kms::Algorithm::Aes256Gcm)).await;
    // A block is an eighth of what is left: how much is left of the ceiling after it has been spent is what tells.
    let spent = async |name: &str, bytes: usize| {
        let message = vec![7; bytes];
        let (name, plaintext) = (name.to_owned(), message.clone());
        match name.rsplit('/').next() {
            Some("signer") => crypto.sign(kms::SignRequest { name, message, ..Default::default() }).await.map(drop),
            Some("maker") => {
                crypto.generate_mac(kms::GenerateMacRequest { name, message, ..Default::default() }).await.map(drop)
            }
            _ => crypto.encrypt(kms::EncryptRequest { name, plaintext, ..Default::default() }).await.map(drop),
        }
    };
    for name in [&signer, &maker, &sealer] {
        // Too long for one call: refused, and not counted.
        for _ in 0..3 {
            assert_eq!(reason(spent(name, 65_537).await), Err(Some(Reason::LimitExceeded)));
        }
        assert_eq!(get(&client, name).await.usage, None, "nothing was handed out");
        spent(name, 65_536).await.expect("fits");
        assert_eq!(reason(spent(name, 65_536).await), Err(Some(Reason::UsageExhausted)), "100,000 together");
        spent(name, 30_000).await.expect("less is left");
        assert_eq!(reason(spent(name, 30_000).await), Err(Some(Reason::UsageExhausted)));
        spent(name, 0).await.expect("nothing is always left");
        let usage = get(&client, name).await.usage.expect("counted");
        assert!(usage.uses == 0 && (95_536..=100_000).contains(&usage.bytes), "{usage:?}");
    }
    let digest = kms::SignRequest { name: signer, digest: Some(vec![1; 31]), ..Default::default() };
    assert_eq!(reason(crypto.sign(digest).await), Err(Some(Reason::InvalidArgument)));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_is_alone_spends_what_it_has_and_no_more() {
    let mut cluster = Cluster::form(3).await;
    let client = cluster.client().await;
    let name =
        key(&client, kms::CreateKeyRequest { key_id: "cards".into(), ceiling: limits(2_400), ..Default::default() })
            .await;
    let last = cluster.client_of_node(2).await;
    let ciphertext = encrypt(&last, &name).await.expect("encrypts").ciphertext;
    cluster.kill(0).await;
    cluster.kill(1).await;
    let (used, why) = exhaust(last.clone(), name.clone()).await;
    assert!((20..=200).contains(&used), "a block of a hundred, perhaps two: {used}");
    assert_eq!(why, Some(Reason::NoQuorum));
    decrypt(&last, &ciphertext).await.expect("as long as the lease lasts");
    cluster.start_after_kill(0).await;
    until("a quorum", SOON, async || encrypt(&last, &name).await.is_ok()).await;
    cluster.stop_all().await;
}

//! Aliases on nodes: a move is seen everywhere when it is acknowledged, an alias stands for its key in every call, and one
//! that there is not looks like a key that there is not.
#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

use std::time::Duration;

use chancery_client::tls::Identity;
use chancery_client::{Client, Error};
use crypto::sign::P256Signer;
use proto::audit::v1 as audit;
use proto::cluster::v1 as wire;
use proto::kms::v1 as kms;
use proto::kms::v1::Algorithm;
use types::Reason;

use crate::support::{Cluster, until};

const PARENT: &str = "namespaces/default";
const CURRENT: &str = "namespaces/default/aliases/current";
const SOON: Duration = Duration::from_secs(60);

async fn create(client: &Client, id: &str, algorithm: Algorithm) -> kms::Key {
    let request = kms::CreateKeyRequest {
        parent: PARENT.into(),
        key_id: id.into(),
        algorithm: algorithm.into(),
        ..Default::default()
    };
    client.keys().create(request).await.expect("creates")
}

async fn alias(client: &Client, id: &str, key: &str) -> Result<kms::Alias, Error> {
    let request = kms::CreateAliasRequest {
        parent: PARENT.into(),
        alias_id: id.into(),
        key: key.into(),
        ..Default::default()
    };
    client.keys().create_alias(request).await
}

async fn give(client: &Client, name: &str, key: &str) -> Result<kms::Alias, Error> {
    let request = kms::UpdateAliasRequest { name: name.into(), key: key.into(), ..Default::default() };
    client.keys().update_alias(request).await
}

fn encrypt(name: &str) -> kms::EncryptRequest {
    kms::EncryptRequest { name: name.into(), plaintext: b"x".to_vec(), ..Default::default() }
}

/// The key that a ciphertext names (docs/spec/ciphertext.md).
fn key_id(ciphertext: &[u8]) -> String {
    hex::encode(ciphertext.get(6..22).unwrap_or_default())
}

fn reason<T>(answer: Result<T, Error>) -> Result<(), Option<Reason>> {
    answer.map(drop).map_err(|error| error.reason())
}

/// What a refusal says, with the name that was asked for taken out.
fn said<T>(answer: Result<T, Error>, name: &str) -> String {
    let error = answer.map(drop).expect_err("is refused");
    format!("{:?}: {}", error.reason(), error.to_string().replace(&format!("`{name}`"), "it"))
}

/// Encryptions on each node begin in the very moment in which the move was acknowledged: none uses the key before.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_move_is_seen_on_every_node_when_it_is_acknowledged() {
    let cluster = Cluster::form(3).await;
    let nodes = [cluster.client_of_node(0).await, cluster.client_of_node(1).await, cluster.client_of_node(2).await];
    let keys = [
        create(&nodes[0], "blue", Algorithm::Aes256Gcm).await,
        create(&nodes[0], "green", Algorithm::Aes256Gcm).await,
    ];
    alias(&nodes[0], "current", &keys[0].name).await.expect("creates");
    let mut kept = Vec::new();
    for node in &nodes {
        // One that has not applied it yet asks for a newer state.
        let made = node.crypto().encrypt(encrypt(CURRENT)).await.expect("encrypts");
        assert_eq!(key_id(&made.ciphertext), keys[0].key_id);
        kept.push(made.ciphertext);
    }
    for round in 1..=30_usize {
        let to = &keys[round % 2];
        let moved = give(&nodes[round % 3], CURRENT, &to.name).await.expect("moves");
        assert_eq!(moved.key, to.name);
        let asked = nodes.iter().map(|node| node.crypto().encrypt(encrypt(CURRENT)).await_owned());
        for made in futures::future::join_all(asked).await {
            assert_eq!(key_id(&made.expect("encrypts").ciphertext), to.key_id, "round {round}");
        }
    }
    for ciphertext in kept {
        let decrypt = kms::DecryptRequest { parent: PARENT.into(), ciphertext, ..Default::default() };
        let opened = nodes[2].crypto().decrypt(decrypt).await.expect("decrypts");
        assert_eq!((opened.key, opened.plaintext), (keys[0].name.clone(), b"x".to_vec()), "a move breaks nothing");
    }
    let delete = kms::DeleteAliasRequest { name: CURRENT.into(), ..Default::default() };
    nodes[1].keys().delete_alias(delete).await.expect("deletes");
    for node in &nodes {
        assert_eq!(reason(node.crypto().encrypt(encrypt(CURRENT)).await), Err(Some(Reason::NotFound)));
    }
    cluster.stop_all().await;
}

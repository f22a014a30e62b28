//! Nodes that stop and start: what was written is there, a passphrase opens and a wrong one does not, a sealed node
//! is out.

use chancery_client::Client;
use proto::cluster::v1 as wire;
use proto::kms::v1 as kms;
use types::Reason;

use crate::support::{Cluster, Plan, create_key, refusal, status, until};

const PASSPHRASE: &str = "correct horse battery staple";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_stopped_come_back_with_the_right_passphrase_and_everything_they_had() {
    let mut cluster = Cluster::form(Plan { passphrase: Some(PASSPHRASE), ..Plan::of(3) }).await;
    let client = cluster.client().await;
    let key = create_key(&client, "orders").await;
    let sealed = encrypt(&client, &key).await;
    client.keys().rotate(kms::RotateKeyRequest { name: key.clone(), ..Default::default() }).await.expect("rotates");
    let own = [cluster.client_of(0).await, cluster.client_of(1).await, cluster.client_of(2).await];

    cluster.nodes.iter_mut().for_each(crate::support::Node::stop);
    cluster.nodes.iter_mut().for_each(|node| node.start_sealed(&[]));
    for node in &own {
        until("the node to answer that it is sealed", async || {
            let found = node.seal().status(wire::GetSealStatusRequest {}).await;
            found.is_ok_and(|status| status.sealed && status.initialized && status.seal_type == "passphrase")
        })
        .await;
        assert_eq!(refusal(node.crypto().decrypt(decrypt(&sealed)).await).0, Reason::Sealed);
        let (reason, text) = refusal(unseal(node, "correct horse battery stable").await);
        assert_eq!(reason, Reason::UnsealFailed);
        assert_eq!(text, "the seal does not open: wrong passphrase, or a damaged seal file");
        assert_eq!(refusal(node.keys().get(kms::GetKeyRequest { name: key.clone() }).await).0, Reason::Sealed);
    }
    for node in &own {
        assert!(!unseal(node, PASSPHRASE).await.expect("unseals").sealed);
    }
    cluster.all_vote(&client).await;
    for node in &own {
        let found = node.keys().get(kms::GetKeyRequest { name: key.clone() }).await.expect("is there");
        assert_eq!(found.primary_version, 2);
        until("the node to use its keys again", async || {
            node.crypto().decrypt(decrypt(&sealed)).await.is_ok_and(|opened| opened.plaintext == b"attack at dawn")
        })
        .await;
    }
    let rotated = client.keys().rotate(kms::RotateKeyRequest { name: key, ..Default::default() }).await;
    assert_eq!(rotated.expect("rotates").primary_version, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_sealed_by_command_is_out_of_the_cluster_until_it_is_unsealed() {
    let cluster = Cluster::form(Plan::of(3)).await;
    let client = cluster.client().await;
    let key = create_key(&client, "orders").await;
    let sealed = encrypt(&client, &key).await;
    let victim = (cluster.leader(&client).await + 1) % 3;
    let (own, others) = (cluster.client_of(victim).await, others(&cluster, victim).await);

    let address = cluster.nodes[victim].api().to_string();
    let done = cluster.cli(&cluster.root, &["seal", "seal", "--addr", &address]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    until("the node to be sealed", async || {
        own.seal().status(wire::GetSealStatusRequest {}).await.is_ok_and(|status| status.sealed)
    })
    .await;
    assert_eq!(refusal(own.crypto().decrypt(decrypt(&sealed)).await).0, Reason::Sealed);
    assert_eq!(refusal(own.cluster().who_am_i(wire::WhoAmIRequest {}).await).0, Reason::Sealed);
    until("the others to count it as down", async || {
        status(&others).await.is_some_and(|status| {
            let node = status.nodes.iter().find(|node| node.node == victim as u64 + 1);
            status.failures_tolerated == 0 && node.is_some_and(|node| node.sealed || !node.reachable)
        })
    })
    .await;
    let rotated = others.keys().rotate(kms::RotateKeyRequest { name: key.clone(), ..Default::default() }).await;
    assert_eq!(rotated.expect("two of three go on").primary_version, 2);

    // The file seal asks for nothing, so it is not opened from afar.
    let done = cluster.cli(&cluster.root, &["seal", "unseal", "--addr", &address]);
    assert!(!done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    let socket = cluster.nodes[victim].dir().join("admin.sock");
    let done = cluster.cli(&cluster.root, &["seal", "unseal", "--socket", &socket.to_string_lossy()]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    until("the node to catch up", async || {
        let found = own.keys().get(kms::GetKeyRequest { name: key.clone() }).await;
        found.is_ok_and(|found| found.primary_version == 2)
    })
    .await;
    cluster.all_vote(&client).await;
}

/// Cause: while a node that needs nobody was opening, it answered as a sealed one does, and a client whose only node
/// it was, or whose every node had just been started, gave up at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_opens_by_itself_is_waited_for() {
    let mut cluster = Cluster::form(Plan::of(1)).await;
    let client = cluster.client().await;
    let key = create_key(&client, "orders").await;
    let sealed = encrypt(&client, &key).await;
    cluster.nodes[0].stop();
    cluster.nodes[0].start(&[]);
    let address = cluster.nodes[0].api().to_string();
    until("the port to be open", async || std::net::TcpStream::connect(&address).is_ok()).await;
    assert_eq!(client.crypto().decrypt(decrypt(&sealed)).await.expect("waits").plaintext, b"attack at dawn");
}

async fn others(cluster: &Cluster, victim: usize) -> Client {
    cluster.client_to(&cluster.root, &[(victim + 1) % 3, (victim + 2) % 3]).await
}

async fn encrypt(client: &Client, key: &str) -> Vec<u8> {
    let request = kms::EncryptRequest { name: key.into(), plaintext: b"attack at dawn".to_vec(), ..Default::default() };
    client.crypto().encrypt(request).await.expect("encrypts").ciphertext
}

fn decrypt(ciphertext: &[u8]) -> kms::DecryptRequest {
    let ciphertext = ciphertext.to_vec();
    kms::DecryptRequest { parent: "namespaces/default".into(), ciphertext, ..Default::default() }
}

async fn unseal(node: &Client, passphrase: &str) -> Result<wire::SealStatus, chancery_client::Error> {
    node.seal().unseal(wire::UnsealRequest { passphrase: passphrase.into(), ..Default::default() }).await
}

//! Nodes that a token opens (SoftHSM 2): with it they need nobody, without it they stay sealed and say why.

use std::path::Path;

use chancery_client::tls::unix_channel;
use chancery_client::{Client, api::request_id};
use proto::cluster::v1 as wire;
use proto::cluster::v1::seal_service_client::SealServiceClient;
use proto::kms::v1 as kms;
use tonic::transport::Channel;

use crate::support::token::Token;
use crate::support::{Cluster, Plan, create_key, until};

const PIN: &str = "4711 0815";
const PASSPHRASE: &str = "a passphrase beside the token";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_opens_its_nodes_and_nothing_else_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(token) = Token::new(folder.path(), PIN) else {
        // Written past the harness, which hides what a passing test prints.
        let line = b"\nSKIPPED for the pkcs11 seal: SoftHSM 2 is not installed (`apt install softhsm2`)\n";
        std::io::Write::write_all(&mut std::io::stderr(), line).expect("writes");
        return;
    };
    let token: &'static Token = Box::leak(Box::new(token));
    let mut cluster = Cluster::form(Plan { token: Some(token), ..Plan::of(2) }).await;
    let client = cluster.client().await;
    let name = create_key(&client, "orders").await;
    let encrypt = kms::EncryptRequest { name, plaintext: b"an order".to_vec(), ..Default::default() };
    let ciphertext = client.crypto().encrypt(encrypt).await.expect("encrypts").ciphertext;

    // A new root key follows by itself, and so does a restart.
    client.seal().rekey(wire::RekeyRequest::default()).await.expect("is wanted");
    until("root key 2 to be the active one", async || {
        client.seal().root_key(wire::GetRootKeyRequest {}).await.is_ok_and(|key| key.epoch == 2 && key.staged.is_none())
    })
    .await;
    for node in &mut cluster.nodes {
        assert_eq!(kinds(node.dir()), ["pkcs11"]);
        node.stop();
    }
    cluster.nodes.iter_mut().for_each(|node| node.start(&[]));
    until("the nodes to have opened", async || decrypts(&client, &ciphertext).await).await;

    // A passphrase beside the token, on one node.
    let seal = wire::add_seal_request::Seal::Passphrase(wire::PassphraseSeal { passphrase: PASSPHRASE.into() });
    let add = wire::AddSealRequest { seal: Some(seal), request_id: request_id() };
    cluster.client_of(1).await.seal().add(add).await.expect("adds");
    cluster.nodes[1].stop();

    // A wrong PIN is tried once, for a token locks itself; and the right one when somebody asks again.
    std::fs::write(&token.pin, "0000").expect("writes");
    cluster.nodes[1].start(&[]);
    stays_sealed(&cluster, "refuses the PIN").await;
    std::fs::write(&token.pin, PIN).expect("writes");
    unseal(&cluster, "").await;
    until("the node to have opened", async || decrypts(&cluster.client_of(1).await, &ciphertext).await).await;
    cluster.nodes[1].stop();

    // Another token of that name, without the key; the passphrase opens the node all the same.
    std::fs::rename(&token.folder, token.folder.with_extension("away")).expect("moves");
    std::fs::create_dir(&token.folder).expect("a folder");
    cluster.nodes[1].start(&[]);
    stays_sealed(&cluster, "there is none with the label `chancery`").await;
    assert!(token.initialise(PIN));
    let mut seal = local(&cluster).await;
    let refused = seal.unseal(wire::UnsealRequest::default()).await.expect_err("another token");
    assert!(refused.message().contains("it has no AES key `chancery-seal`"), "{}", refused.message());
    unseal(&cluster, PASSPHRASE).await;
    until("the node to have opened", async || decrypts(&cluster.client_of(1).await, &ciphertext).await).await;
}

fn kinds(dir: &Path) -> Vec<String> {
    let seal = std::fs::read(dir.join("seal.json")).expect("reads");
    let seal: serde_json::Value = serde_json::from_slice(&seal).expect("JSON");
    let slots = seal["slots"].as_array().expect("a list").iter();
    slots.map(|slot| slot["parameters"]["type"].as_str().expect("a text").to_owned()).collect()
}

async fn local(cluster: &Cluster) -> SealServiceClient<Channel> {
    let socket = cluster.nodes[1].dir().join("admin.sock");
    until("the node's own socket", async || unix_channel(&socket).await.is_ok()).await;
    SealServiceClient::new(unix_channel(&socket).await.expect("connects"))
}

async fn stays_sealed(cluster: &Cluster, why: &str) {
    until("the node to say why it stays sealed", async || {
        let log = cluster.nodes[1].log();
        log.lines().any(|line| line.contains(why) && line.contains("this node stays sealed"))
    })
    .await;
    let status = local(cluster).await.get_status(wire::GetSealStatusRequest {}).await.expect("a status");
    assert!(status.get_ref().sealed, "{status:?}");
}

async fn unseal(cluster: &Cluster, passphrase: &str) {
    let request = wire::UnsealRequest { passphrase: passphrase.into(), ..Default::default() };
    let status = local(cluster).await.unseal(request).await.expect("unseals");
    assert!(!status.get_ref().sealed, "{status:?}");
}

async fn decrypts(client: &Client, ciphertext: &[u8]) -> bool {
    let request = kms::DecryptRequest {
        parent: "namespaces/default".into(),
        ciphertext: ciphertext.to_vec(),
        ..Default::default()
    };
    client.crypto().decrypt(request).await.is_ok_and(|answer| answer.plaintext == b"an order")
}

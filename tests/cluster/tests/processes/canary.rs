//! Secrets that this test knows are searched for in everything that nodes leave behind: logs at trace level, Raft logs,
//! audit records, every other file of every data folder, and what the system shows of the processes.
//!
//! It knows what clients are given (data keys, plaintexts, join tokens), what operators give (passphrases, decrypted
//! outputs), each node's private key, and the root key, which it unwraps with the passphrase, with the keys derived
//! from it. The material of keys it cannot know: that leaves a node in no form.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::Path;

use chancery_client::Client;
use chancery_client::token::JoinToken;
use proto::audit::v1 as audit;
use proto::ca::v1 as ca;
use proto::kms::v1 as kms;
use types::limits::SNAPSHOT_LOG_BYTES_MIN;

use crate::support::secrets::NodeKeys;
use crate::support::{Cluster, Needles, Plan, create_key, files_under, join_token, private, until};

/// How many write at the same time.
const WRITERS: usize = 8;
const PASSPHRASE: &str = "canary passphrase 9b1d7c40";
const PLAINTEXT: &[u8] = b"canary plaintext 5f0c2ae8 of a unary message";
const CONTEXT: &str = "canary context 77e3d101";
const AAD: &[u8] = b"canary additional data e41b09";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_any_log_record_or_file() {
    let plan = Plan { log_level: "trace", passphrase: Some(PASSPHRASE), ..Plan::of(3) };
    let mut cluster = Cluster::form(plan).await;
    let mut needles = Needles::default();
    needles.add("the passphrase", PASSPHRASE.as_bytes());
    for node in &cluster.nodes {
        add_node_secrets(&mut needles, node.dir());
    }
    use_keys(&cluster, &mut needles).await;
    use_command_line(&cluster, &mut needles).await;
    make_tokens(&cluster, &mut needles).await;
    let processes: Vec<String> = cluster.nodes.iter().map(|node| format!("/proc/{}", node.pid())).collect();
    for process in processes {
        for file in ["cmdline", "environ"] {
            assert_clean(&needles, &Path::new(&process).join(file));
        }
    }

    cluster.nodes.iter_mut().for_each(crate::support::Node::stop);
    for node in &cluster.nodes {
        let log = node.log();
        assert!(log.contains("TRACE") && log.contains("DEBUG"), "logs at trace level");
        assert!(needles.found_in(log.as_bytes()).is_empty(), "in a log: {:?}", needles.found_in(log.as_bytes()));
        search_folder(&needles, node.dir());
    }
    let planted = [b"some text, then ".as_slice(), hex::encode(PLAINTEXT).as_bytes(), b" and more"].concat();
    assert_eq!(needles.found_in(&planted).len(), 1, "the search finds what is there");
}

/// A snapshot is written when the log has grown by so much (`limits::SNAPSHOT_LOG_BYTES_MIN`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_a_snapshot() {
    let mut cluster = Cluster::form(Plan { passphrase: Some(PASSPHRASE), ..Plan::of(1) }).await;
    let mut needles = Needles::default();
    needles.add("the passphrase", PASSPHRASE.as_bytes());
    add_node_secrets(&mut needles, cluster.nodes[0].dir());
    use_keys(&cluster, &mut needles).await;
    make_tokens(&cluster, &mut needles).await;
    let client = cluster.client().await;
    let writers: Vec<_> = (0..WRITERS).map(|n| tokio::spawn(grow_log(client.clone(), n))).collect();
    for writer in writers {
        writer.await.expect("ends");
    }
    let snapshots = cluster.nodes[0].dir().join("raft/snapshots");
    let is_snapshot = |file: &std::path::PathBuf| file.extension().is_some_and(|extension| extension == "snapshot");
    until("a snapshot", async || snapshots.exists() && files_under(&snapshots).iter().any(is_snapshot)).await;
    cluster.nodes[0].stop();
    search_folder(&needles, cluster.nodes[0].dir());
}

/// Writes its part of that, and a little more: the largest entries that there may be, over and over.
async fn grow_log(client: Client, writer: usize) {
    let longest = |n: usize| format!("unix:path:/{n:02}{}", "x".repeat(4_000));
    let name = format!("namespaces/default/entries/e{writer}");
    let mut entry = ca::Entry {
        path: format!("/ns/default/e{writer}"),
        parent_agent: "agents/dev".into(),
        selectors: (0..16).map(longest).collect(),
        ..Default::default()
    };
    let create = ca::CreateEntryRequest {
        parent: "namespaces/default".into(),
        entry_id: format!("e{writer}"),
        entry: Some(entry.clone()),
        ..Default::default()
    };
    client.entries().create(create).await.expect("registers");
    entry.name = name;
    for _ in 0..SNAPSHOT_LOG_BYTES_MIN as usize * 17 / 16 / (16 * 4_000) / WRITERS {
        let update = ca::UpdateEntryRequest { entry: Some(entry.clone()), ..Default::default() };
        client.entries().update(update).await.expect("updates");
    }
}

/// The node's private key, and the root key with what is derived from it (docs/spec/seal.md).
fn add_node_secrets(needles: &mut Needles, folder: &Path) {
    let identity = std::fs::read(folder.join("identity.key")).expect("reads");
    // PKCS#8 of an EC key (RFC 5915): the private number is the octet string of 32 bytes.
    let at = identity.windows(2).position(|window| window == [0x04, 0x20]).expect("a private number") + 2;
    needles.add("a node's private key", &identity[at..at + 32]);

    let keys = NodeKeys::open(folder, PASSPHRASE);
    keys.add_kept(needles);
    keys.add_derived(needles);
}

/// The uses of keys, with a secret in every field that holds one.
async fn use_keys(cluster: &Cluster, needles: &mut Needles) {
    needles.add("the plaintext", PLAINTEXT);
    needles.add("the context", CONTEXT.as_bytes());
    needles.add("the additional data", AAD);
    let client = cluster.client().await;
    let name = create_key(&client, "canary").await;
    let context = HashMap::from([("tenant".to_owned(), CONTEXT.to_owned())]);
    for node in 0..cluster.nodes.len() {
        let client = cluster.client_of(node).await;
        let encrypt = kms::EncryptRequest {
            name: name.clone(),
            plaintext: PLAINTEXT.to_vec(),
            context: context.clone(),
            additional_authenticated_data: AAD.to_vec(),
        };
        let ciphertext = client.crypto().encrypt(encrypt).await.expect("encrypts").ciphertext;
        let decrypt = kms::DecryptRequest {
            parent: "namespaces/default".into(),
            ciphertext,
            context: context.clone(),
            additional_authenticated_data: AAD.to_vec(),
        };
        let wrong = kms::DecryptRequest { context: HashMap::new(), ..decrypt.clone() };
        client.crypto().decrypt(wrong).await.expect_err("does not verify");
        assert_eq!(client.crypto().decrypt(decrypt).await.expect("decrypts").plaintext, PLAINTEXT);
        let data_key = kms::GenerateDataKeyRequest { name: name.clone(), ..Default::default() };
        let drawn = client.crypto().generate_data_key(data_key).await.expect("draws");
        needles.add("a data key", &drawn.plaintext);
        client
            .keys()
            .rotate(kms::RotateKeyRequest { name: name.clone(), ..Default::default() })
            .await
            .expect("rotates");
    }
}

/// A file through the command line: the output is written where it was asked for and nowhere else.
async fn use_command_line(cluster: &Cluster, needles: &mut Needles) {
    let content = "canary of a file c8d2 ".repeat(8_000);
    needles.add("a file", &content.as_bytes()[..64]);
    let folder = cluster.scratch().join("files");
    chancery_client::private_file::create_folder(&folder).expect("a folder");
    let clear = private(folder.join("clear"), &content);
    let path = |name: &str| folder.join(name).to_str().expect("text").to_owned();
    let run = |arguments: &[&str]| {
        let done = cluster.cli(&cluster.root, arguments);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        assert!(needles.found_in(&[done.stdout, done.stderr].concat()).is_empty(), "printed by {arguments:?}");
    };
    run(&["encrypt", "canary", "--in", clear.to_str().expect("text"), "--out", &path("sealed")]);
    run(&["decrypt", "--in", &path("sealed"), "--out", &path("opened")]);
    assert!(needles.found_in(&std::fs::read(path("sealed")).expect("reads")).is_empty());
    assert_eq!(std::fs::read(path("opened")).expect("reads"), content.as_bytes());
}

/// Tokens: one that is not used and one that is.
async fn make_tokens(cluster: &Cluster, needles: &mut Needles) {
    let client = cluster.client().await;
    for agent in ["canary-1", "canary-2"] {
        let text = join_token(&client, Some(agent)).await;
        needles.add("a join token", text.as_bytes());
        needles.add("a join token's secret", JoinToken::parse(&text).expect("a token").secret.expose());
        if agent == "canary-2" {
            let bearer = crate::support::Operator::new(&cluster.scratch().join("bearer"), "agents/canary-2");
            let bearer = cluster.client_to(&bearer, &[0]).await;
            let request = ca::RedeemAgentTokenRequest { token: text, ..Default::default() };
            bearer.agents().redeem_token(request).await.expect("redeems");
        }
    }
    let search = audit::SearchRequest { principal: "join-token".into(), ..Default::default() };
    let redeemed = |record: &audit::Record| record.action == "AgentService.RedeemToken" && record.outcome == "allow";
    // What is searched for secrets tells of their use. A change's record is made with it, and written a moment later.
    until("the record of the token's use", async || {
        client.audit().search(search.clone()).await.expect("searches").records.iter().any(redeemed)
    })
    .await;
}

/// Every file of a data folder but the one whose very purpose is to hold a key, which nobody else may read.
fn search_folder(needles: &Needles, folder: &Path) {
    let files = files_under(folder);
    for part in ["raft/log", "audit/cluster", "audit/node-", "seal.json", "node.json", "members.json", "raft.witness"] {
        let is_part = |file: &&std::path::PathBuf| file.to_string_lossy().contains(part);
        let bytes: u64 = files.iter().filter(is_part).map(|file| file.metadata().expect("is there").len()).sum();
        assert!(bytes > 0, "nothing under {part} in {files:?}");
    }
    let records = files.iter().filter(|file| file.to_string_lossy().contains("audit/cluster"));
    let records: Vec<u8> = records.flat_map(|file| std::fs::read(file).expect("reads")).collect();
    assert!(String::from_utf8_lossy(&records).contains("namespaces/default/keys/canary"), "names are there in clear");
    for file in files.iter().filter(|file| !file.ends_with("identity.key")) {
        assert_clean(needles, file);
    }
}

fn assert_clean(needles: &Needles, file: &Path) {
    let found = match std::fs::read(file) {
        // A node's environment is for root only (`private_memory` in the command line).
        Err(error) if file.ends_with("environ") && error.kind() == ErrorKind::PermissionDenied => return,
        read => read.expect("reads"),
    };
    let found = needles.found_in(&found);
    assert!(found.is_empty(), "{}: {found:?}", file.display());
}

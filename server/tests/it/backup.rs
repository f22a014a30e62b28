//! Backups of a real cluster: taken while it works, by hand and by schedule, and what they hold.
#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Cluster, until, without_waiting};
use chancery_client::Client;
use crypto::recipients::Identity;
use proto::cluster::v1 as wire;
use proto::kms::v1 as kms;
use server::Config;
use server::backup::restore::{Order, restore};
use server::backup::{self, BackupError};
use server::config::BackupSettings;
use types::{Generation, Reason, SpkiHash};

const KEY: &str = "namespaces/default/keys/orders";

fn settings(identity: &Identity, folder: Option<PathBuf>) -> BackupSettings {
    let every = folder.is_some().then(|| "1h".to_owned());
    BackupSettings { recipients: Some(vec![identity.recipient().to_string()]), folder, every, keep: None }
}

async fn create_key(client: &Client, id: &str) {
    let create = kms::CreateKeyRequest { parent: "namespaces/default".into(), key_id: id.into(), ..Default::default() };
    client.keys().create(create).await.expect("creates");
}

async fn back_up(client: &Client, path: &Path) {
    let mut stream = client.backups().create(wire::CreateBackupRequest {}).await.expect("begins");
    let mut bytes = Vec::new();
    while let Some(message) = stream.next().await.expect("goes on") {
        bytes.extend_from_slice(&message.chunk);
    }
    std::fs::write(path, bytes).expect("writes");
}

/// Makes and rotates keys until it is told to stop; says how many it made.
async fn load(client: Client, stop: Arc<AtomicBool>) -> u32 {
    let mut made = 0;
    while !stop.load(Ordering::Relaxed) {
        create_key(&client, &format!("load-{made}")).await;
        let rotate = kms::RotateKeyRequest { name: KEY.into(), ..Default::default() };
        client.keys().rotate(rotate).await.expect("rotates");
        made += 1;
    }
    made
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn backups_taken_under_load_on_every_node_are_whole() {
    let (identity, folder) = (Identity::generate(), tempfile::tempdir().expect("a folder"));
    let cluster = Cluster::form_backed_up(3, settings(&identity, None)).await;
    let client = cluster.client().await;
    create_key(&client, "orders").await;
    let pay = wire::CreateNamespaceRequest { namespace_id: "pay".into(), ..Default::default() };
    client.namespaces().create(pay).await.expect("creates");
    let stop = Arc::new(AtomicBool::new(false));
    let working = tokio::spawn(load(client.clone(), Arc::clone(&stop)));
    let all = kms::ListKeysRequest { parent: "namespaces/default".into(), page_size: 1_000, ..Default::default() };
    let acknowledged = || async { client.keys().list(all.clone()).await.expect("lists").keys.len() as u64 };
    // The third is there after the first rotation.
    until("the load to rotate", Duration::from_secs(60), || async { acknowledged().await >= 3 }).await;
    let mut keys = 1;
    for node in 0..3 {
        let path = folder.path().join(format!("{node}.chybackup"));
        let before = acknowledged().await;
        back_up(&cluster.client_of_node(node).await, &path).await;
        let verified = backup::verify(&path, std::slice::from_ref(&identity), None, &mut |_| {}).expect("holds");
        assert_eq!((verified.inspected.manifest.node, verified.probes), (node as u64 + 1, 2));
        assert!(verified.keys >= before, "it holds what was acknowledged before: {} of {before}", verified.keys);
        assert!(verified.versions > verified.keys && verified.audit_leaves > verified.keys);
        assert!(verified.keys >= keys, "later ones hold no less");
        keys = verified.keys;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(working.await.expect("ends") > 0, "there was a load");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_survivor_without_a_quorum_is_backed_up() {
    let (identity, folder) = (Identity::generate(), tempfile::tempdir().expect("a folder"));
    let mut cluster = Cluster::form_backed_up(3, settings(&identity, None)).await;
    create_key(&cluster.client().await, "orders").await;
    cluster.caught_up(0).await;
    let client = cluster.client_of_node(0).await;
    cluster.kill(1).await;
    cluster.kill(2).await;
    let path = folder.path().join("last.chybackup");
    back_up(&client, &path).await;
    let verified = backup::verify(&path, &[identity], None, &mut |_| {}).expect("holds");
    assert_eq!(verified.keys, 1);
    cluster.kill(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_writes_one_by_itself_and_says_so() {
    let (identity, folder) = (Identity::generate(), tempfile::tempdir().expect("a folder"));
    let cluster = Cluster::form_backed_up(1, settings(&identity, Some(folder.path().to_owned()))).await;
    let client = cluster.client().await;
    let list = || async { client.backups().list(wire::ListBackupsRequest {}).await.expect("lists") };
    until("the first backup", Duration::from_secs(60), || async { !list().await.backups.is_empty() }).await;
    let answer = list().await;
    assert_eq!((answer.keep, answer.recipients), (7, vec![identity.recipient().to_string()]));
    let name = answer.backups.first().map(|backup| backup.name.clone()).expect("is there");
    let path = folder.path().join("1").join(name);
    backup::verify(&path, &[identity], None, &mut |_| {}).expect("holds");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_recipients_and_without_the_right_there_is_none() {
    let cluster = Cluster::form(1).await;
    let client = cluster.client().await;
    let refused = client.backups().create(wire::CreateBackupRequest {}).await.expect_err("is refused");
    assert_eq!(refused.reason(), Some(Reason::PreconditionFailed));
    assert!(refused.to_string().contains("backup.recipients"), "{refused}");
    let listed = client.backups().list(wire::ListBackupsRequest {}).await.expect("lists");
    assert!(listed.folder.is_empty() && listed.backups.is_empty());
    cluster.stop_all().await;
}

async fn encrypt(client: &Client, plaintext: &[u8]) -> Vec<u8> {
    encrypt_under(client, KEY, plaintext).await
}

async fn encrypt_under(client: &Client, name: &str, plaintext: &[u8]) -> Vec<u8> {
    let request = kms::EncryptRequest { name: name.into(), plaintext: plaintext.to_vec(), ..Default::default() };
    client.crypto().encrypt(request).await.expect("encrypts").ciphertext
}

async fn decrypt(client: &Client, ciphertext: &[u8]) -> Result<Vec<u8>, chancery_client::Error> {
    let request = kms::DecryptRequest {
        parent: "namespaces/default".into(),
        ciphertext: ciphertext.to_vec(),
        ..Default::default()
    };
    client.crypto().decrypt(request).await.map(|answer| answer.plaintext)
}

async fn rotate(client: &Client) -> u32 {
    let rotate = kms::RotateKeyRequest { name: KEY.into(), ..Default::default() };
    client.keys().rotate(rotate).await.expect("rotates").primary_version
}

/// A ciphertext of a key that was destroyed since.
async fn destroyed(client: &Client) -> Vec<u8> {
    create_key(client, "gone").await;
    let name = "namespaces/default/keys/gone";
    let ciphertext = encrypt_under(client, name, b"for nobody").await;
    client.keys().disable(kms::DisableKeyRequest { name: name.into(), ..Default::default() }).await.expect("disables");
    without_waiting(client, name).await;
    client.keys().destroy(kms::DestroyKeyRequest { name: name.into(), ..Default::default() }).await.expect("destroys");
    ciphertext
}

fn order(config: Config, backup: PathBuf, identity: Identity, cluster_key: SpkiHash) -> Order {
    Order {
        config,
        backup,
        identities: vec![identity],
        ledgers: Vec::new(),
        trusts_clock: false,
        pinned: Some(cluster_key),
        compromised: false,
        seen: Generation::NONE,
        shares: None,
    }
}

/// A cluster is lost; another life of it comes out of a backup that was taken while it worked.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lost_cluster_comes_back_from_its_backup() {
    let (identity, folder) = (Identity::generate(), tempfile::tempdir().expect("a folder"));
    let mut lost = Cluster::form_backed_up(3, settings(&identity, None)).await;
    let client = lost.client().await;
    create_key(&client, "orders").await;
    let old = encrypt(&client, b"under version 1").await;
    let gone = destroyed(&client).await;
    let joins = wire::CreateJoinTokenRequest { kind: wire::JoinTokenKind::Node.into(), ..Default::default() };
    client.cluster().create_join_token(joins).await.expect("makes a token");
    let stop = Arc::new(AtomicBool::new(false));
    let working = tokio::spawn(load(client.clone(), Arc::clone(&stop)));
    let path = folder.path().join("one.chybackup");
    back_up(&client, &path).await;
    stop.store(true, Ordering::Relaxed);
    working.await.expect("ends");
    create_key(&client, "late").await;
    let last = rotate(&client).await;
    let lost_text = encrypt(&client, b"under a version that is lost").await;
    let sequence = client.trust().statement().order();
    for node in 0..3 {
        lost.kill(node).await;
    }

    let (seat, config) = Cluster::seat();
    let order = order(config, path, identity, lost.key_hash());
    let done = tokio::task::spawn_blocking(move || restore(&order, &mut |_| Ok(()))).await.expect("ends");
    let restored = done.expect("restores");
    assert_eq!((restored.generation.get(), restored.quarantined), (2, 1));
    assert!(restored.node.0 > 3, "no node of the lost life has its number");

    let mut cluster = lost.revived(seat);
    let client = cluster.client().await;
    check_quarantine_and_release(&client, &old).await;
    let refused = decrypt(&client, &gone).await.expect_err("was destroyed before the backup");
    assert_eq!(refused.reason(), Some(Reason::KeyDestroyed));
    let unknown = client.keys().get(kms::GetKeyRequest { name: "namespaces/default/keys/late".into() }).await;
    assert_eq!(unknown.expect_err("was made after the backup").reason(), Some(Reason::NotFound));
    assert!(decrypt(&client, &lost_text).await.is_err(), "that version was never in the backup");
    let next = rotate(&client).await;
    assert!(next > last && next.is_multiple_of(65_536), "{next} after {last}");
    let new = encrypt(&client, b"in the new life").await;
    assert!(client.trust().statement().order() > sequence);
    check_audit(&client).await;

    // Another node joins as any node does, and serves what came back; and all of it outlives a restart.
    let second = cluster.add(server::config::SealKind::File).await;
    cluster.votes(&client, 2).await;
    let joined = cluster.client_of_node(second).await;
    until("the second node to serve", Duration::from_secs(60), || async {
        decrypt(&joined, &new).await.is_ok_and(|plain| plain == b"in the new life")
    })
    .await;
    cluster.stop(second).await;
    cluster.stop(0).await;
    cluster.start(0).await;
    cluster.start(second).await;
    let client = cluster.client().await;
    until("both to serve again", Duration::from_secs(60), || async { decrypt(&client, &old).await.is_ok() }).await;
    assert_eq!(rotate(&client).await, next + 1);
    cluster.stop_all().await;
}

/// Nothing may be used before an admin has looked through what came back.
async fn check_quarantine_and_release(client: &Client, old: &[u8]) {
    let refused = decrypt(client, old).await.expect_err("is in quarantine");
    assert_eq!(refused.reason(), Some(Reason::RestoreQuarantine), "{refused}");
    let release = wire::ReleaseNamespaceRequest { name: "namespaces/default".into(), ..Default::default() };
    client.namespaces().release(release).await.expect("releases");
    until("the release to be applied", Duration::from_secs(20), || async {
        decrypt(client, old).await.is_ok_and(|plain| plain == b"under version 1")
    })
    .await;
}

/// The audit log of the cluster goes on from the backup's, without a gap.
async fn check_audit(client: &Client) {
    use proto::audit::v1 as audit;
    let heads = client.audit().heads(audit::GetHeadsRequest {}).await.expect("heads");
    let head = heads.held.iter().find(|head| head.log == "cluster").expect("is held");
    let list = audit::ListRecordsRequest { log: "cluster".into(), start_index: 0, page_size: 1_000 };
    let records = client.audit().list(list).await.expect("lists").records;
    assert!(records.len() as u64 >= head.size && head.size > 5);
    let opened = records.iter().filter(|record| record.action == "BackupService.OpenGeneration").count();
    assert_eq!(opened, 1, "the restore stands in it");
    let actions: Vec<_> = records.iter().map(|record| record.action.as_str()).collect();
    assert_eq!(actions.first(), Some(&"ClusterService.Init"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn another_clusters_backup_is_refused() {
    let (identity, folder) = (Identity::generate(), tempfile::tempdir().expect("a folder"));
    let cluster = Cluster::form_backed_up(1, settings(&identity, None)).await;
    let path = folder.path().join("one.chybackup");
    back_up(&cluster.client().await, &path).await;
    let (_seat, config) = Cluster::seat();
    let data = config.data_dir.clone();
    let order = order(config, path, identity, SpkiHash([7; 32]));
    let done = tokio::task::spawn_blocking(move || restore(&order, &mut |_| Ok(()))).await.expect("ends");
    assert!(matches!(done, Err(BackupError::OtherCluster { .. })));
    assert!(!data.exists());
    cluster.stop_all().await;
}

//! A new root key for a cluster that serves: whole nodes, their disks, and what becomes of both when a node is away, is
//! killed, or is opened with shares that were replaced.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot be set up has failed"
)]

use std::path::Path;
use std::time::Duration;

use crate::support::{Cluster, PASSPHRASE, until, until_every};
use chancery_client::Client;
use proto::cluster::v1 as wire;
use proto::kms::v1 as kms;
use server::config::SealKind;
use types::{ClusterId, Reason};

const KEY: &str = "namespaces/default/keys/orders";
const SOON: Duration = Duration::from_secs(60);
const CLEAR: &[u8] = b"an order";

async fn create(client: &Client, key_id: &str) {
    let create =
        kms::CreateKeyRequest { parent: "namespaces/default".into(), key_id: key_id.into(), ..Default::default() };
    client.keys().create(create).await.expect("creates");
}

async fn encrypt(client: &Client) -> Vec<u8> {
    let request = kms::EncryptRequest { name: KEY.into(), plaintext: CLEAR.to_vec(), ..Default::default() };
    client.crypto().encrypt(request).await.expect("encrypts").ciphertext
}

async fn decrypts(client: &Client, ciphertext: &[u8]) {
    let request = kms::DecryptRequest {
        parent: "namespaces/default".into(),
        ciphertext: ciphertext.to_vec(),
        ..Default::default()
    };
    assert_eq!(client.crypto().decrypt(request).await.expect("decrypts").plaintext, CLEAR);
}

async fn rekey(client: &Client) -> wire::RootKey {
    client.seal().rekey(wire::RekeyRequest::default()).await.expect("is wanted")
}

async fn root_key(client: &Client) -> Option<wire::RootKey> {
    client.seal().root_key(wire::GetRootKeyRequest {}).await.ok()
}

async fn active(client: &Client, epoch: u32) {
    until(&format!("root key {epoch} to be the active one"), SOON, || async {
        root_key(client).await.is_some_and(|key| key.epoch == epoch && key.staged.is_none())
    })
    .await;
}

fn seal_json(dir: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(dir.join("seal.json")).expect("reads")).expect("JSON")
}

/// Whether the node holds a root key that is not active yet, as far as it knows.
fn has_staged(dir: &Path) -> bool {
    seal_json(dir).get("staged").is_some()
}

/// The epochs that a node's disk holds.
fn epochs(dir: &Path) -> Vec<u64> {
    let seal = seal_json(dir);
    let roots = seal["slots"][0]["roots"].as_array().expect("a list").iter();
    roots.map(|root| root["epoch"].as_u64().expect("a number")).collect()
}

async fn only_epoch_left(cluster: &Cluster, size: usize, epoch: u64) {
    for index in 0..size {
        let dir = cluster.dir(index);
        until(&format!("node {index} to forget what is before epoch {epoch}"), SOON, || async {
            epochs(&dir) == [epoch]
        })
        .await;
    }
}

fn refused<T: std::fmt::Debug>(outcome: Result<T, chancery_client::Error>) -> (Reason, String) {
    match outcome.expect_err("must be refused") {
        chancery_client::Error::Refused { refusal, .. } => (refusal.reason, refusal.message),
        error => panic!("not a refusal: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_root_key_is_replaced_while_the_cluster_serves_and_the_old_one_is_forgotten() {
    let mut cluster = Cluster::form(3).await;
    let client = cluster.client().await;
    create(&client, "orders").await;
    let ciphertext = encrypt(&client).await;
    let before = std::fs::read(cluster.dir(0).join("seal.json")).expect("reads");
    assert_eq!(rekey(&client).await.staged.expect("is on its way").epoch, 2);
    active(&client, 2).await;
    decrypts(&client, &ciphertext).await;
    create(&client, "later").await;
    let create = wire::CreateNamespaceRequest { namespace_id: "later".into(), ..Default::default() };
    client.namespaces().create(create).await.expect("is wrapped under the new root key");
    only_epoch_left(&cluster, 3, 2).await;
    // Nothing needs the old root key: not the log, not the snapshots, not the authority.
    for index in 0..3 {
        cluster.stop(index).await;
    }
    for index in 0..3 {
        cluster.start(index).await;
    }
    let client = cluster.client().await;
    decrypts(&client, &ciphertext).await;
    assert_eq!(root_key(&client).await.expect("answers").epoch, 2);
    // And nothing opens with it: the seal of before the change is of a root key that this node's log does not know.
    cluster.stop(0).await;
    let now = std::fs::read(cluster.dir(0).join("seal.json")).expect("reads");
    std::fs::write(cluster.dir(0).join("seal.json"), before).expect("writes");
    let why = cluster.start_and_fail(0).await;
    assert!(why.contains("does not open"), "{why}");
    std::fs::write(cluster.dir(0).join("seal.json"), now).expect("writes");
    cluster.start(0).await;
    cluster.caught_up(0).await;
    // The next member gets the new one.
    let added = cluster.add(SealKind::File).await;
    cluster.caught_up(added).await;
    assert_eq!(epochs(&cluster.dir(added)), [2]);
    decrypts(&cluster.client_of_node(added).await, &ciphertext).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_that_is_away_is_waited_for_and_named_and_the_key_can_be_given_up() {
    let mut cluster = Cluster::form(3).await;
    let client = cluster.client().await;
    create(&client, "orders").await;
    let ciphertext = encrypt(&client).await;
    cluster.stop(2).await;
    rekey(&client).await;
    let waits_for_three =
        || async { root_key(&client).await.and_then(|key| key.staged).is_some_and(|staged| staged.waiting_for == [3]) };
    until("the others to have the new root key", SOON, waits_for_three).await;
    let (reason, text) = refused(client.seal().rekey(wire::RekeyRequest::default()).await);
    assert_eq!(reason, Reason::PreconditionFailed);
    assert!(text.contains("root key 2 is on its way already and waits for node-3"), "{text}");
    assert_eq!(epochs(&cluster.dir(0)), [1, 2]);
    // Given up: it is taken off the disks, and the next is another.
    let cancelled = client.seal().cancel_rekey(wire::CancelRekeyRequest::default()).await.expect("is given up");
    assert_eq!((cancelled.epoch, cancelled.staged), (1, None));
    only_epoch_left(&cluster, 2, 1).await;
    let (reason, _) = refused(client.seal().cancel_rekey(wire::CancelRekeyRequest::default()).await);
    assert_eq!(reason, Reason::PreconditionFailed);
    // Wanted again, and the member comes back.
    rekey(&client).await;
    until("the others to have the new root key", SOON, waits_for_three).await;
    cluster.start(2).await;
    active(&client, 2).await;
    cluster.caught_up(2).await;
    decrypts(&cluster.client_of_node(2).await, &ciphertext).await;
    cluster.stop_all().await;
}

/// Where the change is on one node, by what can be seen of it from outside.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// It is wanted, and may or may not be drawn.
    Wanted,
    /// The node has written it down.
    OnDisk,
    /// The node has said so.
    Confirmed,
    /// The cluster has made it the active one; the node may or may not know.
    Active,
    /// The node uses it, and has the one before too.
    Used,
    /// The node has forgotten the one before.
    Forgotten,
}

impl Step {
    async fn is_reached(self, client: &Client, dir: &Path, node: u64, epoch: u32) -> bool {
        let known = || async { root_key(client).await.filter(|key| key.epoch >= epoch || key.staged.is_some()) };
        match self {
            Self::Wanted => known().await.is_some(),
            Self::OnDisk => epochs(dir).contains(&epoch.into()),
            Self::Confirmed => {
                let said = |key: wire::RootKey| key.staged.is_none_or(|staged| staged.confirmed.contains(&node));
                known().await.is_some_and(said)
            }
            Self::Active => known().await.is_some_and(|key| key.epoch == epoch),
            Self::Used => epochs(dir).contains(&epoch.into()) && !has_staged(dir),
            Self::Forgotten => epochs(dir) == [u64::from(epoch)],
        }
    }
}

/// A node dies at each step of the change, as the leader, who has drawn the key, or as another, and comes back with what is
/// on its disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_is_killed_at_any_step_of_the_change_opens_again() {
    let mut cluster = Cluster::form(3).await;
    let client = cluster.client().await;
    create(&client, "orders").await;
    let ciphertext = encrypt(&client).await;
    let steps = [
        (Step::Wanted, true),
        (Step::OnDisk, true),
        (Step::OnDisk, false),
        (Step::Confirmed, true),
        (Step::Active, true),
        (Step::Active, false),
        (Step::Used, false),
        (Step::Forgotten, true),
    ];
    for (round, (step, leads)) in steps.into_iter().enumerate() {
        let epoch = u32::try_from(round).expect("small") + 2;
        let client = cluster.client().await;
        let leader = cluster.leader().await;
        let victim = if leads { leader } else { (leader + 1) % 3 };
        rekey(&client).await;
        let (dir, node) = (cluster.dir(victim), u64::try_from(victim).expect("small") + 1);
        until_at_once(&format!("{step:?} in round {round}"), || step.is_reached(&client, &dir, node, epoch)).await;
        cluster.kill(victim).await;
        cluster.start_after_kill(victim).await;
        cluster.caught_up(victim).await;
        active(&client, epoch).await;
        decrypts(&cluster.client_of_node(victim).await, &ciphertext).await;
    }
    only_epoch_left(&cluster, 3, 9).await;
    cluster.stop_all().await;
}

/// Waits with hardly a pause, so that whoever waits is there when it happens.
async fn until_at_once<F: Future<Output = bool>>(what: &str, reached: impl FnMut() -> F) {
    until_every(Duration::from_millis(1), what, SOON, reached).await;
}

async fn bring(cluster: &Cluster, index: usize, shares: &[String]) -> Result<wire::SealStatus, tonic::Status> {
    let mut last = Ok(wire::SealStatus::default());
    for share in shares {
        let request = wire::UnsealRequest { share: share.clone(), ..Default::default() };
        last = cluster.local_seal(index).await.unseal(request).await.map(tonic::Response::into_inner);
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn new_shares_open_the_node_and_old_ones_do_not() {
    let mut cluster = Cluster::form_sealed(2, SealKind::Shamir).await;
    let client = cluster.client().await;
    create(&client, "orders").await;
    let ciphertext = encrypt(&client).await;
    let id = client.cluster().status(wire::GetStatusRequest {}).await.expect("a status").cluster_id;
    let id = ClusterId::from_hex(&id).expect("an id");
    let (quorum, texts) = server::new_shares(id, 2, 3).expect("draws");
    let new: Vec<String> = texts.iter().map(|text| String::from_utf8_lossy(text.expose()).into_owned()).collect();
    let request = wire::RekeyRequest { shamir: Some(quorum), ..Default::default() };
    assert!(client.seal().rekey(request).await.expect("is wanted").staged.expect("is on its way").new_shares);
    active(&client, 2).await;
    only_epoch_left(&cluster, 2, 2).await;
    for index in 0..2 {
        cluster.stop(index).await;
        cluster.start(index).await;
        until("the socket", SOON, || async { cluster.answers(index).await }).await;
        let refused = bring(&cluster, index, &cluster.shares[..3]).await.expect_err("old shares");
        assert!(refused.message().contains("older set of shares"), "{}", refused.message());
        let status = bring(&cluster, index, &new[1..]).await.expect("new shares");
        assert!(!status.sealed);
    }
    let client = cluster.client().await;
    decrypts(&client, &ciphertext).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn any_of_several_seals_opens_a_node_and_the_last_one_stays() {
    let mut cluster = Cluster::form(1).await;
    let client = cluster.client().await;
    create(&client, "orders").await;
    let ciphertext = encrypt(&client).await;
    let passphrase = |words: &[u8]| wire::AddSealRequest {
        seal: Some(wire::add_seal_request::Seal::Passphrase(wire::PassphraseSeal { passphrase: words.to_vec() })),
        request_id: chancery_client::api::request_id(),
    };
    assert_eq!(refused(client.seal().add(passphrase(b"short")).await).0, Reason::InvalidArgument);
    let request = passphrase(PASSPHRASE);
    for _ in 0..2 {
        let status = client.seal().add(request.clone()).await.expect("adds once");
        let kinds: Vec<_> = status.slots.iter().map(|slot| (slot.slot, slot.seal_type.as_str())).collect();
        assert_eq!(kinds, [(1, "file"), (2, "passphrase")]);
    }
    let drop = |slot| wire::DropSealRequest { slot, request_id: chancery_client::api::request_id() };
    assert_eq!(refused(client.seal().drop(drop(9)).await).0, Reason::NotFound);
    for _ in 0..2 {
        assert_eq!(client.seal().drop(drop(1)).await.expect("drops").slots.len(), 1);
    }
    assert!(!cluster.dir(0).join("seal.key").exists(), "what opened it is gone with it");
    let (reason, text) = refused(client.seal().drop(drop(2)).await);
    assert_eq!(reason, Reason::PreconditionFailed);
    assert!(text.contains("last seal"), "{text}");
    // The seal that was added follows the root key, though nobody brings its passphrase.
    rekey(&client).await;
    active(&client, 2).await;
    only_epoch_left(&cluster, 1, 2).await;
    cluster.stop(0).await;
    cluster.start(0).await;
    cluster.unseal_locally(0, PASSPHRASE).await;
    decrypts(&cluster.client().await, &ciphertext).await;
    cluster.stop_all().await;
}

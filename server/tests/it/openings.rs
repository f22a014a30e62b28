//! Sealing and unsealing when something gives way: the caller, the disk, the operator's patience. And a node that was
//! away: it serves nothing old.
#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

use std::collections::HashMap;
use std::time::Duration;

use crate::support::{Cluster, PASSPHRASE, until};
use chancery_client::tls::unix_channel;
use crypto::sign::P256Signer;
use proto::cluster::v1 as wire;
use proto::cluster::v1::cluster_service_client::ClusterServiceClient;
use proto::kms::v1 as kms;
use server::config::SealKind;
use tokio_util::sync::CancellationToken;
use types::Reason;

const KEY: &str = "namespaces/default/keys/orders";
const SOON: Duration = Duration::from_secs(20);

async fn create(client: &chancery_client::Client, key_id: &str) {
    let create =
        kms::CreateKeyRequest { parent: "namespaces/default".into(), key_id: key_id.into(), ..Default::default() };
    client.keys().create(create).await.expect("creates");
}

async fn seal(cluster: &Cluster, index: usize) {
    let client = cluster.client_of_one(index).await;
    client.seal().seal(wire::SealRequest {}).await.expect("seals");
    until("the node to be sealed", SOON, || async { is_sealed(cluster, index).await }).await;
}

async fn is_sealed(cluster: &Cluster, index: usize) -> bool {
    let status = cluster.local_seal(index).await.get_status(wire::GetSealStatusRequest {}).await;
    status.expect("a status").into_inner().sealed
}

/// A second `init` took the audit folder of one that had failed for that of a cluster whose `node.json` is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_init_that_failed_can_be_repeated() {
    let (_seat, config) = Cluster::seat();
    let (dir, stop) = (config.data_dir.clone(), CancellationToken::new());
    let running = tokio::spawn(server::run(config, None, stop.clone()));
    let socket = dir.join("admin.sock");
    until("the admin socket", SOON, || async { unix_channel(&socket).await.is_ok() }).await;
    let mut admin = ClusterServiceClient::new(unix_channel(&socket).await.expect("connects"));
    let init = wire::InitRequest {
        trust_domain: "test.chancery".into(),
        operator_spki: P256Signer::generate().spki_der(),
        ..Default::default()
    };
    // The last step cannot be taken: no file gets that name.
    let in_the_way = dir.join("node.json");
    std::fs::create_dir(&in_the_way).expect("makes");
    admin.init(init.clone()).await.expect_err("fails");
    std::fs::remove_dir(&in_the_way).expect("removes");
    admin.init(init).await.expect("forms");
    stop.cancel();
    running.await.expect("ends").expect("without an error");
}

/// Half an opening held the log and served nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_opening_outlives_its_caller() {
    let cluster = Cluster::form_sealed(1, SealKind::Passphrase).await;
    seal(&cluster, 0).await;
    // No caller waits for its answer: argon2id alone takes longer than this.
    until("the node to open", SOON, || async {
        let mut local = cluster.local_seal(0).await;
        let call = local.unseal(wire::UnsealRequest { passphrase: PASSPHRASE.to_vec(), ..Default::default() });
        let answered = tokio::time::timeout(Duration::from_millis(10), call).await;
        !is_sealed(&cluster, 0).await || answered.is_ok_and(|answer| answer.is_ok())
    })
    .await;
    create(&cluster.client().await, "orders").await;
    cluster.stop_all().await;
}

/// Raft went on voting on a node that called itself sealed, and held the log against the next attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_opening_that_fails_leaves_nothing_running() {
    let cluster = Cluster::form(1).await;
    let file = cluster.dir(0).join("authority.sealed");
    until("the node's authority keys", SOON, || async { file.exists() }).await;
    seal(&cluster, 0).await;
    let whole = std::fs::read(&file).expect("reads");
    let mut damaged = whole.clone();
    *damaged.last_mut().expect("not empty") ^= 1;
    std::fs::write(&file, damaged).expect("writes");
    let mut local = cluster.local_seal(0).await;
    for _ in 0..2 {
        let refused = local.unseal(wire::UnsealRequest::default()).await.expect_err("refuses");
        assert!(refused.message().contains("authority.sealed does not open"), "{refused}");
        assert!(is_sealed(&cluster, 0).await);
    }
    std::fs::write(&file, whole).expect("writes");
    local.unseal(wire::UnsealRequest::default()).await.expect("unseals");
    create(&cluster.client().await, "orders").await;
    cluster.stop_all().await;
}

/// Guesses queued up before the operator's own attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn guesses_are_refused_and_hold_nobody_up() {
    let cluster = Cluster::form_sealed(1, SealKind::Passphrase).await;
    let stranger = cluster.client().await;
    seal(&cluster, 0).await;
    let guesses = (0..16).map(|_| {
        let seal = stranger.seal();
        async move {
            let guess =
                wire::UnsealRequest { passphrase: b"a guess that is long enough".to_vec(), ..Default::default() };
            seal.unseal(guess).await.expect_err("refuses").reason()
        }
    });
    let guesses = guesses.map(tokio::spawn).collect::<Vec<_>>();
    let mut reasons = Vec::new();
    for guess in guesses {
        reasons.push(guess.await.expect("ends").expect("a reason"));
    }
    let tried = reasons.iter().filter(|reason| **reason == Reason::UnsealFailed).count();
    let turned_away = reasons.iter().filter(|reason| **reason == Reason::LimitExceeded).count();
    assert_eq!(tried + turned_away, 16, "{reasons:?}");
    assert!(tried >= 1 && turned_away >= 8, "{reasons:?}");
    cluster.unseal_locally(0, PASSPHRASE).await;
    assert!(!is_sealed(&cluster, 0).await);
    cluster.stop_all().await;
}

/// The first caller from the network chose the passphrase of a node that had just joined.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_joining_nodes_passphrase_is_chosen_on_its_own_machine() {
    let mut cluster = Cluster::form(1).await;
    let joined = cluster.add(SealKind::Passphrase).await;
    until("the node to be admitted", SOON, || async {
        let client = cluster.client().await;
        let status = client.cluster().status(wire::GetStatusRequest {}).await.expect("a status");
        status.nodes.iter().any(|node| node.node == 2 && node.sealed && node.reachable)
    })
    .await;
    let stranger = cluster.client_of_one(joined).await;
    let chosen = wire::UnsealRequest { passphrase: b"chosen by a stranger".to_vec(), ..Default::default() };
    let refused = stranger.seal().unseal(chosen).await.expect_err("refuses");
    assert_eq!(refused.reason(), Some(Reason::PermissionDenied));
    assert!(!cluster.dir(joined).join("seal.json").exists(), "nothing was sealed under the stranger's passphrase");
    cluster.unseal_locally(joined, PASSPHRASE).await;
    cluster.caught_up(joined).await;
    cluster.stop_all().await;
}

/// A node that came back knew nothing of versions that were made meanwhile, and could have a lease before it had the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_was_away_serves_nothing_old() {
    let mut cluster = Cluster::form(3).await;
    let client = cluster.client().await;
    for key in ["orders", "stopped"] {
        create(&client, key).await;
    }
    let encrypt = |name: &str| kms::EncryptRequest { name: name.into(), plaintext: vec![7; 32], ..Default::default() };
    let decrypt = |ciphertext: &[u8]| kms::DecryptRequest {
        parent: "namespaces/default".into(),
        ciphertext: ciphertext.to_vec(),
        context: HashMap::new(),
        ..Default::default()
    };
    let stopped = client.crypto().encrypt(encrypt("namespaces/default/keys/stopped")).await.expect("encrypts");
    let away = (cluster.leader().await + 1) % 3;
    cluster.stop(away).await;
    let disable = kms::DisableKeyRequest { name: "namespaces/default/keys/stopped".into(), ..Default::default() };
    client.keys().disable(disable).await.expect("disables");
    // Much to catch up with, so that there is a time in which the node is behind.
    for n in 0..300 {
        create(&client, &format!("key-{n}")).await;
    }
    client.keys().rotate(kms::RotateKeyRequest { name: KEY.into(), ..Default::default() }).await.expect("rotates");
    let newest = client.crypto().encrypt(encrypt(KEY)).await.expect("encrypts");
    assert_eq!(newest.version, 2);

    cluster.start(away).await;
    let back = cluster.client_of_one(away).await;
    let refused = back.crypto().decrypt(decrypt(&stopped.ciphertext)).await.expect_err("refuses");
    assert_eq!(refused.reason(), Some(Reason::KeyDisabled));
    let opened = back.crypto().decrypt(decrypt(&newest.ciphertext)).await.expect("decrypts");
    assert_eq!(opened.version, 2);
    cluster.stop_all().await;
}

/// The shamir seal: a node joins without anybody's share, and opens again when three of five have met at it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_of_five_shares_open_every_node() {
    let mut cluster = Cluster::form_sealed(2, SealKind::Shamir).await;
    let other = Cluster::form_sealed(1, SealKind::Shamir).await;
    assert_eq!(cluster.shares.len(), 5);
    let bring = |index: usize, share: String| {
        let local = cluster.local_seal(index);
        async move { local.await.unseal(wire::UnsealRequest { share, ..Default::default() }).await }
    };
    let share = |at: usize| cluster.shares[at].clone();
    for index in [1, 0] {
        seal(&cluster, index).await;
        for (at, given) in [(0, 1), (3, 2), (3, 2)] {
            let status = bring(index, share(at)).await.expect("is taken").into_inner();
            assert_eq!((status.sealed, status.shares_given, status.shares_needed), (true, given, 3));
        }
        // What is no share of this seal is told apart, and costs nothing that was brought before.
        let damaged = share(1).replace(|c: char| c.is_ascii_digit(), "a").replacen("chsa.", "chs1.", 1);
        for (wrong, why) in [(other.shares[0].clone(), "another cluster"), (damaged, "share")] {
            let refused = bring(index, wrong).await.expect_err("refuses");
            assert!(refused.message().contains(why), "{refused}");
        }
        let asked = cluster.local_seal(index).await.unseal(wire::UnsealRequest::default()).await.expect_err("refuses");
        assert!(asked.message().contains("needs 3 shares"), "{asked}");
        let status = bring(index, share(4)).await.expect("opens").into_inner();
        assert_eq!((status.sealed, status.shares_needed), (false, 0));
    }
    create(&cluster.client().await, "orders").await;
    // A restart asks for the shares again.
    cluster.stop(1).await;
    cluster.start(1).await;
    until("the node to be sealed", SOON, || async { cluster.answers(1).await && is_sealed(&cluster, 1).await }).await;
    for at in 0..3 {
        let request = wire::UnsealRequest { share: cluster.shares[at].clone(), ..Default::default() };
        cluster.local_seal(1).await.unseal(request).await.expect("is taken");
    }
    cluster.caught_up(1).await;
    cluster.stop_all().await;
    other.stop_all().await;
}

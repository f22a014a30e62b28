//! A ceiling on the use of a key, while nodes that spend from it are killed: whatever is lost with a node, it is never passed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chancery_client::Client;
use proto::kms::v1 as kms;
use types::Reason;

use crate::kill::Dice;
use crate::support::{Cluster, Plan, until};

const CEILING: u64 = 10_000;
/// Callers of each node.
const CALLERS: usize = 3;
/// A node is killed each time that so many more uses were granted.
const USES_PER_KILL: u64 = 900;
/// Pause of a caller whose node is down.
const PAUSE: Duration = Duration::from_millis(20);

/// Uses a key on one node until its ceiling is reached.
async fn use_up(client: Client, name: String, used: Arc<AtomicU64>) {
    loop {
        let (name, plaintext) = (name.clone(), b"x".to_vec());
        match client.crypto().encrypt(kms::EncryptRequest { name, plaintext, ..Default::default() }).await {
            Ok(_) => drop(used.fetch_add(1, Ordering::Relaxed)),
            Err(error) if error.reason() == Some(Reason::UsageExhausted) => return,
            // Its node is down, or there is no leader now.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ceiling_of_ten_thousand_is_never_passed_whoever_is_killed() {
    let mut cluster = Cluster::form(Plan::of(3)).await;
    let client = cluster.client().await;
    let create = kms::CreateKeyRequest {
        parent: "namespaces/default".into(),
        key_id: "limited".into(),
        ceiling: Some(kms::UsageLimits { uses: CEILING, bytes: 0 }),
        ..Default::default()
    };
    let name = client.keys().create(create).await.expect("creates").name;
    let used = Arc::new(AtomicU64::new(0));
    let mut callers = Vec::new();
    for node in 0..3 {
        for _ in 0..CALLERS {
            callers.push(tokio::spawn(use_up(cluster.impatient(node).await, name.clone(), Arc::clone(&used))));
        }
    }
    let mut dice = Dice::new();
    let (mut kills, mut next) = (0, USES_PER_KILL);
    loop {
        until("more uses, or the end of them", async || {
            used.load(Ordering::Relaxed) >= next || callers.iter().all(tokio::task::JoinHandle::is_finished)
        })
        .await;
        next = used.load(Ordering::Relaxed) + USES_PER_KILL;
        if callers.iter().all(tokio::task::JoinHandle::is_finished) {
            break;
        }
        let victim = dice.below(3);
        cluster.nodes[victim].kill();
        cluster.nodes[victim].start(&[]);
        kills += 1;
    }
    for caller in callers {
        caller.await.expect("ends");
    }
    let used = used.load(Ordering::Relaxed);
    let describe = kms::GetKeyRequest { name: name.clone() };
    until("the cluster to answer", async || client.keys().get(describe.clone()).await.is_ok()).await;
    let handed = client.keys().get(describe).await.expect("describes").usage.expect("counted").uses;
    let told = format!("{used} uses of {CEILING}, {handed} handed out, {kills} kills, seed {}", dice.seed);
    assert!(used <= CEILING && handed <= CEILING, "{told}");
    // What was lost with the killed is a part of a share each time, not the rest of the ceiling.
    assert!(used >= CEILING / 2 && kills >= 3, "{told}");
    // Every node knows it, and the next version is as good as new.
    for node in 0..3 {
        let own = cluster.client_of(node).await;
        let again = kms::EncryptRequest { name: name.clone(), plaintext: b"x".to_vec(), ..Default::default() };
        let refused = own.crypto().encrypt(again).await.expect_err("refused");
        assert_eq!(refused.reason(), Some(Reason::UsageExhausted), "node {}: {refused}", node + 1);
    }
    client.keys().rotate(kms::RotateKeyRequest { name: name.clone(), ..Default::default() }).await.expect("rotates");
    let again = kms::EncryptRequest { name, plaintext: b"x".to_vec(), ..Default::default() };
    assert_eq!(client.crypto().encrypt(again).await.expect("encrypts").version, 2);
}

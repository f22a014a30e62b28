//! The ledger is told before anybody is told that something is gone; a ledger that cannot be written is no reason to say OK.

#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

use std::path::Path;
use std::time::Duration;

use audit::LedgerFact;
use chancery_client::Client;
use proto::cluster::v1 as cluster;
use proto::kms::v1 as kms;
use types::Reason;

use crate::support::{Cluster, until, without_waiting};

const SOON: Duration = Duration::from_secs(60);

/// A key, by its name.
async fn create(client: &Client, id: &str) -> String {
    let create = kms::CreateKeyRequest { parent: "namespaces/default".into(), key_id: id.into(), ..Default::default() };
    client.keys().create(create).await.expect("creates").name
}

fn disable(name: &str) -> kms::DisableKeyRequest {
    kms::DisableKeyRequest { name: name.into(), ..Default::default() }
}

fn facts(path: &Path) -> Vec<LedgerFact> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let ledger = audit::verify_ledger(&bytes, None);
    ledger.map(|ledger| ledger.lines.into_iter().map(|line| line.fact).collect()).unwrap_or_default()
}

fn has(path: &Path, what: fn(&LedgerFact) -> bool) -> bool {
    facts(path).iter().any(what)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_gone_before_the_ledger_knows() {
    let place = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::form_with_ledgers(3, place.path()).await;
    let client = cluster.client().await;
    let name = create(&client, "orders").await;
    let leader = cluster.leader().await;
    let ledger = |node: usize| place.path().join(format!("{}.ledger", node + 1));

    client.keys().disable(disable(&name)).await.expect("disables");
    assert!(has(&ledger(leader), |fact| matches!(fact, LedgerFact::Disabled { .. })), "told before it was answered");
    assert!(!client.unledgered());
    until("the others to follow", SOON, || async {
        (0..3).all(|node| has(&ledger(node), |fact| matches!(fact, LedgerFact::Disabled { .. })))
    })
    .await;

    without_waiting(&client, &name).await;
    // Nobody can write there any more: the change holds, and nobody is told that it is done.
    let away = place.path().join("away");
    std::fs::rename(ledger(leader), &away).expect("moved");
    let hasty = cluster.hasty_client().await;
    let order = kms::DestroyKeyRequest {
        name: name.clone(),
        request_id: uuid::Uuid::now_v7().to_string(),
        ..Default::default()
    };
    let refused = hasty.keys().destroy(order.clone()).await.expect_err("not told");
    assert_eq!(refused.reason(), Some(Reason::LedgerPending), "{refused}");
    assert!(refused.to_string().contains("is committed and holds"), "{refused}");
    let key = client.keys().get(kms::GetKeyRequest { name: name.clone() }).await.expect("describes");
    assert_eq!(key.receipts.len(), 1, "it is destroyed all the same");
    until("the status to say so", SOON, || async {
        let status = client.cluster().status(cluster::GetStatusRequest {}).await.expect("answers");
        let behind = status.nodes.into_iter().filter_map(|node| node.ledger.map(|ledger| (node.node, ledger)));
        behind.filter(|(_, ledger)| ledger.behind_since.is_some()).any(|(node, _)| node == leader as u64 + 1)
    })
    .await;
    let metrics = cluster.metrics(leader).await;
    assert!(metrics.contains("chancery_ledger_behind 1"), "{metrics}");

    // The same request waits until it can be written, and a new leader knows what the old one did not write.
    std::fs::rename(&away, ledger(leader)).expect("put back");
    client.keys().destroy(order).await.expect("told by now");
    assert!(has(&ledger(leader), |fact| matches!(fact, LedgerFact::Destroyed { whole: true, .. })));
    assert!(cluster.metrics(leader).await.contains("chancery_ledger_behind 0"));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_leader_tells_what_the_old_one_could_not_and_without_a_ledger_the_answer_says_so() {
    let place = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::form_with_ledgers(3, place.path()).await;
    let client = cluster.client().await;
    let name = create(&client, "orders").await;
    let old = cluster.leader().await;
    let ledger = |node: usize| place.path().join(format!("{}.ledger", node + 1));
    until("all ledgers to begin", SOON, || async { (0..3).all(|node| !facts(&ledger(node)).is_empty()) }).await;
    std::fs::remove_file(ledger(old)).expect("removed");
    let hasty = cluster.hasty_client().await;
    let order = kms::DisableKeyRequest { request_id: uuid::Uuid::now_v7().to_string(), ..disable(&name) };
    let refused = hasty.keys().disable(order.clone()).await.expect_err("not told");
    assert_eq!(refused.reason(), Some(Reason::LedgerPending), "{refused}");
    let transfer = cluster::TransferLeaderRequest::default();
    let led = client.cluster().transfer_leader(transfer).await.expect("another one leads").leader;
    client.keys().disable(order).await.expect("it tells it, and answers");
    let new = usize::try_from(led).expect("small") - 1;
    assert_ne!(new, old);
    assert!(has(&ledger(new), |fact| matches!(fact, LedgerFact::Disabled { .. })));
    cluster.stop_all().await;

    let cluster = Cluster::form(2).await;
    for node in 0..2 {
        let client = cluster.client_of_node(node).await;
        let name = create(&client, &format!("orders-{node}")).await;
        assert!(!client.unledgered(), "nothing was taken away");
        client.keys().disable(disable(&name)).await.expect("disables");
        assert!(client.unledgered(), "asked of node {node}");
    }
    cluster.stop_all().await;
}

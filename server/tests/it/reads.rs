//! How new a read is: one's own writes on any node, stale reads on a node that is alone, and what is refused.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot be set up has failed, and that measures"
)]

use std::time::{Duration, Instant};

use crate::support::{Cluster, until};
use chancery_client::Client;
use chancery_client::freshness::IndexToken;
use proto::cluster::v1 as wire;
use proto::kms::v1 as kms;
use types::Reason;

const PARENT: &str = "namespaces/default";
const KEY: &str = "namespaces/default/keys/orders";

async fn create(client: &Client, id: &str) {
    let create = kms::CreateKeyRequest { parent: PARENT.into(), key_id: id.into(), ..Default::default() };
    client.keys().create(create).await.expect("creates");
}

async fn get(client: &Client) -> Result<kms::Key, Option<Reason>> {
    client.keys().get(kms::GetKeyRequest { name: KEY.into() }).await.map_err(|error| error.reason())
}

/// The leader answers when a majority has the change; the third node may not, and is asked at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_brings_its_token_reads_its_own_writes_on_any_node() {
    let cluster = Cluster::form(3).await;
    let leader = cluster.leader().await;
    let writer = cluster.client_of_node(leader).await;
    create(&writer, "orders").await;
    let others = [cluster.client_of_node((leader + 1) % 3).await, cluster.client_of_node((leader + 2) % 3).await];
    let mut behind = 0;
    for version in 2..=60 {
        let rotate = kms::RotateKeyRequest { name: KEY.into(), ..Default::default() };
        writer.keys().rotate(rotate).await.expect("rotates");
        let token = writer.seen().expect("a change has a token");
        for other in &others {
            behind += u32::from(get(&other.stale()).await.expect("reads").primary_version < version);
            let own = get(&other.stale().after(token)).await.expect("reads");
            assert!(own.primary_version >= version, "version {version} is not there, {}", own.primary_version);
        }
    }
    println!("without the token {behind} of 118 reads were behind");
    // The same holds of uses.
    create(&writer, "fresh").await;
    let encrypt = kms::EncryptRequest { name: format!("{PARENT}/keys/fresh"), ..Default::default() };
    let token = writer.seen().expect("a token");
    others[0].after(token).crypto().encrypt(encrypt).await.expect("sees the key");
    cluster.stop_all().await;
}

/// Alone, a node says what it has applied, and how old that may be, until its lease ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_alone_answers_stale_reads_until_its_lease_ends() {
    let mut cluster = Cluster::form(3).await;
    let client = cluster.client().await;
    create(&client, "orders").await;
    let ten = prost_types::Duration { seconds: 10, nanos: 0 };
    client.cluster().set_lease(wire::SetLeaseRequest { lease: Some(ten), ..Default::default() }).await.expect("is set");
    until("the longer lease to be over", Duration::from_secs(60), || async {
        let status = client.cluster().status(wire::GetStatusRequest {}).await.expect("a status");
        status.lease == Some(ten) && status.lease_before.is_none()
    })
    .await;
    let alone = cluster.client_of_node(0).await;
    assert_eq!(alone.age(), None);
    get(&alone.stale()).await.expect("reads");
    assert!(alone.age().is_some_and(|age| age < Duration::from_secs(12)), "{:?}", alone.age());
    cluster.kill(1).await;
    cluster.kill(2).await;
    let died = Instant::now();
    get(&alone.stale()).await.expect("reads what it has");
    assert_eq!(get(&alone).await.expect_err("no quorum"), Some(Reason::NoQuorum));
    let mut age = Duration::ZERO;
    let refused = loop {
        match get(&alone.stale()).await {
            Ok(_) => {
                let older = alone.age().expect("says how old");
                assert!(older >= age, "a node alone gets no younger");
                age = older;
            }
            Err(reason) => break reason,
        }
        assert!(died.elapsed() < Duration::from_secs(60), "the lease does not end");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(refused, Some(Reason::LeaseExpired));
    assert!(age < Duration::from_secs(10), "served at {age:?} under a lease of 10 s");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_of_another_life_or_of_the_future_is_refused() {
    let cluster = Cluster::form(1).await;
    let client = cluster.client().await;
    create(&client, "orders").await;
    let IndexToken(token) = client.seen().expect("a token");
    assert_eq!(token >> 40, 1, "the first generation");
    let restored = get(&client.after(IndexToken(token + (1 << 40)))).await;
    assert_eq!(restored.expect_err("is refused"), Some(Reason::PreconditionFailed));
    let began = Instant::now();
    let future = get(&cluster.client_of_node(0).await.after(IndexToken(token + 1_000_000))).await;
    assert_eq!(future.expect_err("is refused"), Some(Reason::NoQuorum));
    assert!(began.elapsed() > Duration::from_secs(2), "it waits for a moment");
    cluster.stop_all().await;
}

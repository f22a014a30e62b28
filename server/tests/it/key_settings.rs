//! What an admin may change about a key: only what the mask names, all of it or nothing; and what it then refuses.
#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

use std::collections::HashMap;

use chancery_client::{Client, Error};
use proto::kms::v1 as kms;
use types::Reason;

use crate::support::{Cluster, without_waiting};

const PARENT: &str = "namespaces/default";
const KEY: &str = "namespaces/default/keys/orders";

fn labels(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn update(paths: &[&str]) -> kms::UpdateKeyRequest {
    let update_mask = Some(prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() });
    kms::UpdateKeyRequest { name: KEY.into(), update_mask, ..Default::default() }
}

fn days(days: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: days * 86_400, nanos: 0 })
}

fn reason<T>(answer: Result<T, Error>) -> Result<(), Option<Reason>> {
    answer.map(drop).map_err(|error| error.reason())
}

async fn get(client: &Client) -> kms::Key {
    client.keys().get(kms::GetKeyRequest { name: KEY.into() }).await.expect("describes")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_update_changes_what_its_mask_names_and_nothing_else() {
    let cluster = Cluster::form(1).await;
    let client = cluster.client().await;
    let create = kms::CreateKeyRequest {
        parent: PARENT.into(),
        key_id: "orders".into(),
        rotation_period: days(90),
        labels: labels(&[("team", "pay"), ("env", "prod")]),
        ..Default::default()
    };
    let loud = kms::CreateKeyRequest { labels: labels(&[("Team", "pay")]), ..create.clone() };
    assert_eq!(reason(client.keys().create(loud).await), Err(Some(Reason::InvalidArgument)));
    let made = client.keys().create(create.clone()).await.expect("creates");
    assert_eq!((&made.labels, made.deletion_protection), (&create.labels, false));

    let relabel = kms::UpdateKeyRequest { labels: labels(&[("team", "risk")]), ..update(&["labels"]) };
    let relabelled = client.keys().update(relabel).await.expect("changes");
    assert_eq!((relabelled.labels, relabelled.rotation_period), (labels(&[("team", "risk")]), days(90)));
    let protect = kms::UpdateKeyRequest { deletion_protection: true, ..update(&["deletion_protection"]) };
    client.keys().update(protect).await.expect("changes");
    let quicker = kms::UpdateKeyRequest { rotation_period: days(30), ..update(&["rotation_period"]) };
    client.keys().update(quicker).await.expect("changes");
    let key = get(&client).await;
    assert_eq!((&key.labels, key.deletion_protection), (&labels(&[("team", "risk")]), true));
    assert_eq!(key.rotation_period, days(30));

    for (paths, why) in [(&[][..], "update_mask` is missing"), (&["labels", "algorithm"], "names `algorithm`")] {
        let refused = client.keys().update(update(paths)).await.expect_err("the mask");
        assert_eq!(refused.reason(), Some(Reason::InvalidArgument));
        assert!(refused.to_string().contains(why), "{refused}");
    }
    let half = kms::UpdateKeyRequest { rotation_period: days(9_999), ..update(&["labels", "rotation_period"]) };
    assert_eq!(reason(client.keys().update(half).await), Err(Some(Reason::InvalidArgument)));
    assert_eq!(get(&client).await, key, "all of it or nothing");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_protected_is_not_destroyed_by_anybody() {
    let cluster = Cluster::form(1).await;
    let client = cluster.client().await;
    let create = kms::CreateKeyRequest {
        parent: PARENT.into(),
        key_id: "orders".into(),
        deletion_protection: true,
        ..Default::default()
    };
    client.keys().create(create).await.expect("creates");
    client.keys().rotate(kms::RotateKeyRequest { name: KEY.into(), ..Default::default() }).await.expect("rotates");
    client.keys().disable(kms::DisableKeyRequest { name: KEY.into(), ..Default::default() }).await.expect("disables");
    let destroy = |version| kms::DestroyKeyRequest { name: KEY.into(), version, ..Default::default() };
    for version in [0, 1] {
        let refused = client.keys().destroy(destroy(version)).await.expect_err("protected");
        assert_eq!(refused.reason(), Some(Reason::PreconditionFailed));
        assert!(refused.to_string().contains("protected from deletion"), "{refused}");
    }
    client.keys().update(update(&["deletion_protection"])).await.expect("takes it back");
    without_waiting(&client, KEY).await;
    client.keys().destroy(destroy(0)).await.expect("destroys");
    cluster.stop_all().await;
}

//! Search finds the same with an index, without one, and after it was damaged.

use audit::{Outcome, Record};
use types::Reason;
use types::limits::AUDIT_INDEX_BLOCK;

use super::*;
use crate::audit_store::summary::key_of;
use crate::audit_store::{OutcomeKind, Query, ReadError};

const COUNT: u64 = 2 * AUDIT_INDEX_BLOCK + 100;
/// Events in the cluster log: less than a block.
const CLUSTER_COUNT: u64 = 200;

/// Events of three operators on seven keys in two namespaces, some of them denied or failed.
fn mixed(n: u64) -> Event {
    let outcome = match n % 50 {
        7 => Outcome::Deny(Reason::PermissionDenied),
        11 => Outcome::Fail(Reason::KeyDisabled),
        _ => Outcome::Allow,
    };
    let principal = operator(if n % 150 == 3 { "rare" } else { ["ann", "bob"][n as usize % 2] });
    let namespace = if n.is_multiple_of(10) { "pay" } else { "default" };
    let resource = Text::clipped(&format!("namespaces/{namespace}/keys/key-{}", n % 7));
    Event { outcome, resource, ..Event::allowed(Time(10 * n), principal, Action::Decrypt) }
}

async fn filled(dir: &Path) -> AuditStore {
    let store = open(dir, &[]).expect("opens");
    let mut receipts = Vec::new();
    for n in 0..COUNT {
        receipts.push(store.shared.logs[&LOG].event(mixed(n)).await.expect("queued"));
    }
    for receipt in receipts {
        receipt.recorded().await.expect("recorded");
    }
    let leaves = (0..CLUSTER_COUNT).map(|n| mixed(n * 3).into_record(LogName::Cluster, n).to_leaf()).collect();
    store.append_cluster(0, leaves).await.expect("queued").recorded().await.expect("recorded");
    store
}

/// Waits until the index has both full blocks of the node's log.
async fn indexed(store: &AuditStore) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while store.shared.index.checked(LOG) < 2 {
        assert!(std::time::Instant::now() < deadline, "the index is not built");
        let _ = store.shared.word.try_send(());
        tokio::task::yield_now().await;
    }
}

fn queries() -> Vec<Query> {
    let any = Query::default();
    vec![
        any.clone(),
        Query { log: Some(LogName::Cluster), ..any.clone() },
        Query { principal: Some(operator("rare")), ..any.clone() },
        Query { principal: Some(operator("nobody")), ..any.clone() },
        Query { resource_prefix: Some("namespaces/pay/".to_owned()), ..any.clone() },
        Query { resource_prefix: Some("namespaces/pay".to_owned()), ..any.clone() },
        // Half a name is nobody's.
        Query { resource_prefix: Some("namespaces/default/keys/key".to_owned()), ..any.clone() },
        Query { resource_prefix: Some("namespaces/default/keys/key-3".to_owned()), log: Some(LOG), ..any.clone() },
        Query { from: Some(Time(2_990)), until: Some(Time(3_300)), ..any.clone() },
        Query { outcome: Some(OutcomeKind::Deny), ..any.clone() },
        Query { outcome: Some(OutcomeKind::Fail), principal: Some(operator("bob")), until: Some(Time(4_000)), ..any },
    ]
}

/// What a plain look at every event finds.
fn expected(query: &Query) -> Vec<Record> {
    let node = (0..COUNT).map(|n| mixed(n).into_record(LOG, n));
    let cluster = (0..CLUSTER_COUNT).map(|n| mixed(n * 3).into_record(LogName::Cluster, n));
    let mut found: Vec<Record> = node
        .chain(cluster)
        .filter(|Record { log, event, .. }| {
            query.log.is_none_or(|wanted| wanted == *log)
                && query.principal.as_ref().is_none_or(|wanted| *wanted == event.principal)
                && query.resource_prefix.as_deref().is_none_or(|prefix| {
                    // By their parts.
                    let parts = |text: &str| {
                        text.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>()
                    };
                    parts(event.resource.as_str()).starts_with(&parts(prefix))
                })
                && query.from.is_none_or(|from| event.at.0 >= from.0)
                && query.until.is_none_or(|until| event.at.0 < until.0)
                && query.outcome.is_none_or(|kind| kind.as_str() == event.outcome.as_str())
        })
        .collect();
    found.sort_by_key(|record| std::cmp::Reverse((record.event.at, record.log, record.index)));
    found
}

async fn found(store: &AuditStore, query: &Query, page_size: usize) -> Vec<Record> {
    let (mut records, mut token) = (Vec::new(), None);
    loop {
        let page = store.search(query.clone(), page_size, token).await.expect("searches");
        assert!(page.records.len() <= page_size);
        records.extend(page.records);
        match page.next {
            Some(next) => token = Some(next),
            None => return records,
        }
    }
}

async fn check(store: &AuditStore, what: &str) {
    for query in queries() {
        let expected = expected(&query);
        let found = found(store, &query, 300).await;
        assert_eq!(found.len(), expected.len(), "{what}: {query:?}");
        assert!(found == expected, "{what}: {query:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_the_same_whatever_happens_to_the_index() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = filled(dir.path()).await;
    check(&store, "while the index is built").await;
    indexed(&store).await;
    check(&store, "with an index").await;

    let index_dirs = || {
        let entries = std::fs::read_dir(dir.path()).expect("a folder").map(|entry| entry.expect("an entry").path());
        entries.filter(|path| path.to_string_lossy().contains("index-")).collect::<Vec<_>>()
    };
    let reopen = |store: AuditStore, damage: &dyn Fn(&Path)| {
        drop(store);
        let dirs = index_dirs();
        assert_eq!(dirs.len(), 1, "one index at a time");
        damage(&dirs[0]);
        open(dir.path(), &[]).expect("opens")
    };
    let delete = |index: &Path| std::fs::remove_dir_all(index).expect("deletes");
    let garbage = |index: &Path| {
        let path = index.join("db");
        let len = std::fs::metadata(&path).expect("a file").len() as usize;
        std::fs::write(path, vec![0xa5; len]).expect("damages");
    };
    let truncate = |index: &Path| {
        let path = index.join("db");
        let bytes = std::fs::read(&path).expect("reads");
        std::fs::write(path, &bytes[..bytes.len() / 2]).expect("damages");
    };
    // A well-formed index of another log: what it says would hide records.
    let foreign = |index: &Path| {
        let db = sled::open(index).expect("opens");
        let other: Vec<Record> = (0..AUDIT_INDEX_BLOCK).map(|n| event(n).into_record(LOG, n)).collect();
        let key = key_of(LOG, 0);
        let bytes = crate::audit_store::summary::Summary::of(&other).to_bytes(&key);
        db.insert(key, bytes).expect("inserts");
        db.flush().expect("flushes");
    };
    let untouched = |_: &Path| {};
    type Damage<'a> = (&'a str, &'a dyn Fn(&Path));
    let damages: [Damage<'_>; 5] = [
        ("untouched", &untouched),
        ("deleted", &delete),
        ("garbage", &garbage),
        ("truncated", &truncate),
        ("of another log", &foreign),
    ];
    let mut store = store;
    for (what, damage) in damages {
        store = reopen(store, damage);
        check(&store, what).await;
        indexed(&store).await;
        check(&store, &format!("{what}, rebuilt")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_that_does_not_verify_is_never_believed() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = filled(dir.path()).await;
    indexed(&store).await;
    let generation = store.shared.index.generation();
    store.shared.index.plant(&key_of(LOG, 1), b"nonsense");
    check(&store, "planted").await;
    assert!(store.shared.index.generation() > generation, "it began again");
    indexed(&store).await;
    check(&store, "planted, rebuilt").await;
}

#[tokio::test]
async fn an_index_that_cannot_be_opened_at_all_only_makes_searches_slow() {
    let dir = tempfile::tempdir().expect("a folder");
    // A file where sled wants its folder, for this beginning and the next.
    std::fs::write(dir.path().join("index-0"), b"in the way").expect("writes");
    std::fs::write(dir.path().join("index-1"), b"in the way").expect("writes");
    std::fs::write(dir.path().join("index-2"), b"in the way").expect("writes");
    let store = filled(dir.path()).await;
    check(&store, "without an index").await;
}

#[tokio::test]
async fn a_page_token_is_of_its_query() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = filled(dir.path()).await;
    let query = Query::default();
    let token = store.search(query.clone(), 10, None).await.expect("searches").next.expect("more");
    let other = Query { log: Some(LOG), ..query.clone() };
    for (query, token) in
        [(other, token.clone()), (query.clone(), "nonsense".to_owned()), (query.clone(), String::new())]
    {
        let refused = store.search(query, 10, Some(token)).await.expect_err("refused");
        assert!(matches!(refused, ReadError::PageToken));
    }
    for page_size in [1, 7, 97] {
        let query = Query { principal: Some(operator("rare")), ..query.clone() };
        assert!(found(&store, &query, page_size).await == expected(&query), "pages of {page_size}");
    }
    // Records that arrive between two pages do not move those that follow.
    store.append(mixed(COUNT)).await.expect("recorded");
    let second = store.search(query.clone(), 10, Some(token)).await.expect("searches").records;
    assert_eq!(second, expected(&query)[10..20]);
    let unknown = Query { log: Some(LogName::Node(NodeId(9))), ..query };
    assert!(matches!(store.search(unknown, 1, None).await, Err(ReadError::UnknownLog(_))));
}

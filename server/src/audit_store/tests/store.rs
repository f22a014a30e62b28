//! Recording, reading, following, verifying, reopening.

use audit::{Finding, Frontier};

use super::*;
use crate::audit_store::ReadError;

#[tokio::test]
async fn records_come_back_after_a_restart_and_verify() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open_small(dir.path(), &[], 4_000).expect("opens");
    fill(&store, 0, 100).await;
    let head = store.head(LOG).expect("held");
    assert_eq!(head.size, 100);
    drop(store);
    assert!(files(dir.path()).len() > 3, "several files");

    let store = open_small(dir.path(), &[head], 4_000).expect("opens again");
    assert_eq!(store.head(LOG), Some(head));
    fill(&store, 100, 20).await;
    for (from, limit) in [(0, 120), (37, 5), (99, 2), (119, 9), (120, 1)] {
        let records = store.records(LOG, from, limit).await.expect("reads");
        assert_eq!(records.len() as u64, (limit as u64).min(120 - from));
        for (n, record) in (from..).zip(records) {
            assert_eq!(record, event(n).into_record(LOG, n));
        }
    }
    let report = store.verify(LOG, vec![head]).await.expect("verifies");
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.head.size, report.unanchored), (120, 0));
    let mut frontier = Frontier::new();
    for leaf in store.leaves(LOG, 0, 1_000).await.expect("reads") {
        frontier.push(&leaf);
    }
    assert_eq!(Some(frontier.head(LOG)), store.head(LOG), "anybody can compute the head from the leaves");
    let other = LogName::Node(NodeId(2));
    assert!(matches!(store.records(other, 0, 1).await, Err(ReadError::UnknownLog(log)) if log == other));
}

#[tokio::test]
async fn a_follower_sees_every_record_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path(), &[]).expect("opens");
    let mut heads = store.subscribe(LOG).expect("held");
    let appending = tokio::spawn({
        let store = store.clone();
        async move { fill(&store, 0, 50).await }
    });
    let mut seen = 0;
    while seen < 50 {
        let size = heads.wait_for(|head| head.size > seen).await.expect("open").size;
        for record in store.records(LOG, seen, (size - seen) as usize).await.expect("reads") {
            assert_eq!(record.index, seen);
            seen += 1;
        }
    }
    appending.await.expect("appended");
}

#[tokio::test]
async fn the_cluster_log_takes_replays_and_no_gaps() {
    let dir = tempfile::tempdir().expect("a folder");
    let leaves = |range: std::ops::Range<u64>| range.map(cluster_leaf).collect::<Vec<_>>();
    let store = open(dir.path(), &[]).expect("opens");
    let hand_in = |first, leaves| async move {
        store.append_cluster(first, leaves).await.expect("queued").recorded().await.map(|_| store)
    };
    let store = hand_in(0, leaves(0..5)).await.expect("recorded");
    let head = store.head(LogName::Cluster).expect("held");
    for (first, replayed) in [(0, leaves(0..5)), (3, leaves(3..5)), (5, Vec::new()), (0, leaves(0..1))] {
        store.append_cluster(first, replayed).await.expect("queued").recorded().await.expect("passed over");
        assert_eq!(store.head(LogName::Cluster), Some(head));
    }
    store.append_cluster(3, leaves(3..8)).await.expect("queued").recorded().await.expect("the new ones are taken");
    assert_eq!(store.head(LogName::Cluster).map(|head| head.size), Some(8));
    let gap = store.append_cluster(9, leaves(9..10)).await.expect("queued").recorded().await.expect_err("a gap");
    assert!(gap.why.contains("where 8 is next"), "{gap}");
    let long = vec![vec![b' '; 65_536]];
    store.append_cluster(8, long).await.expect("queued").recorded().await.expect_err("too long");
    store.append_cluster(8, leaves(8..10)).await.expect("queued").recorded().await.expect("the log goes on");
    let report = store.verify(LogName::Cluster, vec![head]).await.expect("reads");
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.head.size, 10);
}

#[tokio::test]
async fn a_cluster_log_behind_its_state_opens_and_catches_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let leaves = |range: std::ops::Range<u64>| range.map(cluster_leaf).collect::<Vec<_>>();
    let mut applied = Frontier::new();
    for leaf in leaves(0..9) {
        applied.push(&leaf);
    }
    let anchored = [applied.head(LogName::Cluster)];
    let store = open(dir.path(), &anchored).expect("an empty log opens");
    store.append_cluster(0, leaves(0..4)).await.expect("queued").recorded().await.expect("recorded");
    drop(store);
    // The last record torn: it comes again.
    let path = crate::audit_store::files::path_of(&dir.path().join("cluster"), 0);
    let bytes = std::fs::read(&path).expect("reads");
    std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("cuts");
    let store = open(dir.path(), &anchored).expect("a torn log opens");
    assert_eq!(store.head(LogName::Cluster).map(|head| head.size), Some(3));
    store.append_cluster(3, leaves(3..9)).await.expect("queued").recorded().await.expect("recorded");
    assert!(store.verify(LogName::Cluster, anchored.to_vec()).await.expect("reads").is_sound());
    drop(store);
    open(dir.path(), &anchored).expect("and is as long as its head again");
}

#[tokio::test]
async fn a_replay_that_differs_is_found_by_the_anchored_head() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path(), &[]).expect("opens");
    let mut forked = Frontier::new();
    for n in 0..4 {
        store.append_cluster(n, vec![cluster_leaf(n)]).await.expect("queued").recorded().await.expect("recorded");
        forked.push(&cluster_leaf(n + 1));
    }
    let head = forked.head(LogName::Cluster);
    let report = store.verify(LogName::Cluster, vec![head]).await.expect("reads");
    assert!(report.findings.contains(&Finding::ConflictingHeads { size: 4 }), "{report:?}");
    drop(store);
    assert!(matches!(open(dir.path(), &[head]), Err(OpenError::Changed { anchored: 4, .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_were_let_go_are_there_even_when_nobody_closed_the_store() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path(), &[]).expect("opens");
    fill(&store, 0, 10).await;
    // A second reader of the same files, as after `kill -9`: the first store is still open.
    let copy = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(copy.path().join(LOG.to_string())).expect("a folder");
    for file in files(dir.path()) {
        std::fs::copy(&file, copy.path().join(LOG.to_string()).join(file.file_name().expect("a name")))
            .expect("copies");
    }
    let after = open(copy.path(), &[store.head(LOG).expect("held")]).expect("opens");
    assert_eq!(after.head(LOG), store.head(LOG));
}

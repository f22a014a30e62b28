//! The log store by itself: a failed sync is for ever, a truncation takes the witness back, reads are bounded.

use std::io;
use std::sync::Arc;

use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, RaftLogStorage, RaftLogStorageExt};
use types::{ClusterId, NodeId};

use crate::config::{BATCH_BYTES, Config};
use crate::log::{self, LogStore};
use crate::suite_test::Clear;
use crate::type_config::{Entry, EntryPayload, Payload, Vote, log_id};

fn config(folder: &tempfile::TempDir) -> Config {
    Config::new(ClusterId([1; 16]), NodeId(1), folder.path())
}

fn open(folder: &tempfile::TempDir) -> LogStore {
    log::open(&config(folder), Arc::new(Clear)).unwrap()
}

fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(Payload(vec![7; bytes])) }
}

#[tokio::test]
async fn nothing_is_accepted_after_a_failed_sync() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(&folder);
    log.blocking_append([entry(1, 0, 1)]).await.unwrap();
    log.fail(&io::Error::other("the disk is gone"));
    let appended = log.append([entry(1, 1, 1)], IOFlushed::noop()).await;
    assert!(appended.unwrap_err().to_string().contains("the disk is gone"));
    assert!(log.save_vote(&Vote::new(2, 1)).await.is_err());
    assert!(log.save_committed(Some(log_id(1, 0))).await.is_err());
    assert!(log.truncate_after(None).await.is_err());
    assert!(log.purge(log_id(1, 0)).await.is_err());
    assert_eq!(log.try_get_log_entries(0..9).await.unwrap().len(), 1, "what was accepted can still be read");
}

#[tokio::test]
async fn a_truncation_takes_the_witness_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(&folder);
    log.blocking_append((0..10).map(|index| entry(1, index, 1))).await.unwrap();
    log.follow().unwrap();
    log.truncate_after(Some(log_id(1, 4))).await.unwrap();
    log.truncate_after(Some(log_id(1, 8))).await.unwrap();
    log.follow().unwrap();
    drop(log);

    let mut log = open(&folder);
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_log_id, Some(log_id(1, 4)), "it opens, and the second truncation was past the end");
    log.blocking_append([entry(2, 5, 1)]).await.unwrap();
    assert_eq!(log.try_get_log_entries(4..9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_vote_that_the_log_lost_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(&folder);
    log.save_vote(&Vote::new(3, 2)).await.unwrap();
    drop(log);
    std::fs::remove_dir_all(config(&folder).log_folder()).unwrap();
    let refused = log::open(&config(&folder), Arc::new(Clear)).err().unwrap().to_string();
    assert!(refused.contains("its vote is none"), "{refused}");
}

#[tokio::test]
async fn batches_for_the_wire_are_cut_by_size() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(&folder);
    log.blocking_append((0..8).map(|index| entry(1, index, BATCH_BYTES / 3))).await.unwrap();
    let batch = log.limited_get_log_entries(0, 8).await.unwrap();
    assert_eq!(batch.len(), 3, "three thirds and their frames pass the bound");
    let all: Vec<_> = futures::StreamExt::collect(log.entries_stream(0..8).await).await;
    assert_eq!(all.len(), 8);
    assert!(all.iter().all(Result::is_ok));
    assert!(log.limited_get_log_entries(8, 8).await.unwrap().is_empty());
}

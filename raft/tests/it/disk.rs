//! One member and its files: snapshots and purges, damage, torn tails, foreign folders, nothing in clear.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test's helpers")]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::{Book, Known, SOON, Seat, files, leads, lines, write};
use raft::{Machine as _, OpenError, RaftHandle};

async fn reopen(seat: &Seat) -> Result<RaftHandle<Book>, OpenError> {
    seat.try_open(&Known::of([seat])).await
}

/// Writes two snapshots with lines around them and stops.
async fn two_snapshots(seat: &Seat) -> Vec<String> {
    let handle = seat.open_alone().await;
    for round in 0..3 {
        write(&handle, &format!("round {round}"), 10).await;
        handle.trigger_snapshot(SOON).await.unwrap();
    }
    write(&handle, "tail", 5).await;
    let mut status = handle.watch_status();
    let purged = status.wait_for(|status| status.purged.is_some_and(|index| index > 20));
    assert!(tokio::time::timeout(SOON, purged).await.is_ok(), "purged below the second of three snapshots");
    assert!(handle.status().purged < handle.status().snapshot, "never up to the newest");
    let lines = lines(&handle);
    handle.shutdown().await;
    lines
}

fn flip(path: &Path, from_end: usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() - from_end;
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn wal(seat: &Seat) -> PathBuf {
    let chunks = files(&seat.log_folder());
    chunks.into_iter().rfind(|path| path.extension().is_some_and(|extension| extension == "wal")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_stand_for_the_log_that_went() {
    let seat = Seat::new(1).await;
    let before = two_snapshots(&seat).await;
    assert_eq!(seat.snapshots().len(), 2, "two are kept");
    let again = reopen(&seat).await.unwrap();
    leads(&again).await;
    assert_eq!(lines(&again), before);
    write(&again, "more", 1).await;
    assert_eq!(lines(&again).len(), before.len() + 1);
    again.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_falls_back_to_the_older() {
    let seat = Seat::new(1).await;
    let before = two_snapshots(&seat).await;
    let snapshots = seat.snapshots();
    flip(&snapshots[1], 40);
    let again = reopen(&seat).await.unwrap();
    leads(&again).await;
    assert_eq!(lines(&again), before, "the older snapshot and the log after it hold everything");
    assert!(snapshots[1].with_extension("damaged").exists(), "set aside, not deleted");
    again.shutdown().await;

    // With every other damaged too there is nothing to start from, and that is said.
    for path in seat.snapshots().iter().filter(|path| path.extension().is_some_and(|e| e == "snapshot")) {
        flip(path, 40);
    }
    let refused = reopen(&seat).await.unwrap_err();
    assert!(matches!(refused, OpenError::NoSnapshot { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_forgot_is_refused() {
    let seat = Seat::new(1).await;
    let handle = seat.open_alone().await;
    write(&handle, "line", 50).await;
    handle.shutdown().await;
    drop(handle);

    // Cut in the middle of what the witness saw.
    let (path, whole) = (wal(&seat), fs::read(wal(&seat)).unwrap());
    fs::write(&path, &whole[..whole.len() * 2 / 3]).unwrap();
    let refused = reopen(&seat).await.unwrap_err();
    assert!(matches!(&refused, OpenError::Damaged { .. }), "{refused}");
    assert!(refused.to_string().contains("rejoin under a new id"), "{refused}");
    assert_eq!(fs::read(&path).unwrap().len(), whole.len() * 2 / 3, "looking changes nothing");

    // Zeroed instead of short, as some file systems leave it.
    let mut zeroed = whole.clone();
    zeroed[whole.len() * 2 / 3..].fill(0);
    fs::write(&path, &zeroed).unwrap();
    assert!(matches!(reopen(&seat).await, Err(OpenError::Damaged { .. })));

    // One bit in the middle.
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    fs::write(&path, &flipped).unwrap();
    assert!(matches!(reopen(&seat).await, Err(OpenError::Damaged { .. })));

    // Whole again, it opens.
    fs::write(&path, &whole).unwrap();
    let again = reopen(&seat).await.unwrap();
    leads(&again).await;
    assert_eq!(lines(&again).len(), 50);
    again.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_tail_that_nobody_was_told_of_is_cut() {
    let seat = Seat::new(1).await;
    let handle = seat.open_alone().await;
    write(&handle, "line", 10).await;
    handle.shutdown().await;
    drop(handle);

    // The first half of a record that begins as records do: type `append`, then a position, then nothing.
    let mut log = OpenOptions::new().append(true).open(wal(&seat)).unwrap();
    log.write_all(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0]).unwrap();
    drop(log);
    let again = reopen(&seat).await.unwrap();
    leads(&again).await;
    assert_eq!(lines(&again).len(), 10);
    write(&again, "after", 1).await;
    again.shutdown().await;
    drop(again);
    let third = reopen(&seat).await.unwrap();
    leads(&third).await;
    assert_eq!(lines(&third).len(), 11);
    third.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_or_foreign_folder_is_refused() {
    let mut seat = Seat::new(1).await;
    let handle = seat.open_alone().await;
    write(&handle, "line", 3).await;
    handle.shutdown().await;
    drop(handle);
    let config = seat.config();

    seat.envelope_key = 8;
    assert!(matches!(reopen(&seat).await, Err(OpenError::Foreign { .. })), "another storage key");
    seat.envelope_key = 7;
    seat.id = types::NodeId(2);
    assert!(matches!(reopen(&seat).await, Err(OpenError::Foreign { .. })), "another node");
    seat.id = types::NodeId(1);
    seat.cluster = types::ClusterId([9; 16]);
    assert!(matches!(reopen(&seat).await, Err(OpenError::Foreign { .. })), "another cluster");
    seat.cluster = crate::common::CLUSTER;

    // A witness that vanished cannot vouch for the log.
    let witness = fs::read(&config.witness).unwrap();
    fs::remove_file(&config.witness).unwrap();
    let refused = reopen(&seat).await.unwrap_err();
    assert!(refused.to_string().contains("no witness"), "{refused}");
    fs::write(&config.witness, witness).unwrap();

    // A voter whose log vanished has forgotten its votes.
    fs::remove_dir_all(&config.folder).unwrap();
    let refused = reopen(&seat).await.unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_folder_serves_one_process() {
    let seat = Seat::new(1).await;
    let handle = seat.open_alone().await;
    let refused = reopen(&seat).await.unwrap_err();
    assert!(refused.to_string().contains("in use"), "{refused}");
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_grows_a_snapshot_by_itself() {
    let seat = Seat::new(1).await;
    let mut config = seat.config();
    config.snapshot_log_bytes_min = 64 * 1_024;
    let handle = seat.open_with(config, &Known::of([&seat])).await.unwrap();
    handle.initialize(seat.member(), SOON).await.unwrap();
    leads(&handle).await;
    let mut status = handle.watch_status();
    for n in 0..20 {
        write(&handle, &format!("{n} {}", "y".repeat(8_000)), 1).await;
    }
    let taken = status.wait_for(|status| status.snapshot.is_some());
    assert!(tokio::time::timeout(SOON, taken).await.is_ok(), "160 kB of log call for a snapshot");
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_in_clear_on_the_disk() {
    const CANARY: &str = "canary-4c7f-in-the-mine";
    let seat = Seat::new(1).await;
    let handle = seat.open_alone().await;
    write(&handle, CANARY, 5).await;
    handle.trigger_snapshot(SOON).await.unwrap();
    write(&handle, CANARY, 5).await;
    let address = seat.member().address;
    handle.shutdown().await;

    let mut folders = vec![seat.folder.path().to_path_buf()];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for path in files(&folder) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            read += usize::from(!bytes.is_empty());
            for canary in [CANARY.as_bytes(), address.as_bytes()] {
                let found = bytes.windows(canary.len()).any(|window| window == canary);
                assert!(!found, "`{}` is in clear in {}", String::from_utf8_lossy(canary), path.display());
            }
        }
    }
    assert!(read >= 3, "log, snapshot and witness were looked at");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seeded_member_leads_from_the_state_that_it_was_given() {
    let seat = Seat::new(7).await;
    let given: Vec<Vec<u8>> = (0..1_000).map(|n| format!("given {n}").into_bytes()).collect();
    let seed = |seat: &Seat| {
        let given = Arc::new(given.clone());
        raft::seed(&seat.config(), crate::common::Sealer::with_key(seat.envelope_key), seat.member(), 41, |out| {
            Book::write_snapshot(&given, out)
        })
    };
    seed(&seat).unwrap();
    assert!(seed(&seat).is_err(), "what is there is not written over");
    for round in 0_u64..3 {
        let handle = reopen(&seat).await.unwrap();
        leads(&handle).await;
        write(&handle, &format!("round {round}"), 5).await;
        assert_eq!(lines(&handle).len() as u64, 1_000 + 5 * (round + 1));
        assert!(handle.state().applied > 41 + 5 * round, "the index goes on from the one that it was given");
        assert!(handle.membership().is_voter(seat.id));
        handle.trigger_snapshot(SOON).await.unwrap();
        handle.shutdown().await;
    }
}

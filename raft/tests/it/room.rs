//! A disk that fills up: changes are refused before a write fails, a leader hands over, a full follower stops nobody, and
//! everything goes on by itself when there is room again. On small file systems of their own, where they can be mounted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers"
)]
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{Book, Known, SOON, Seat, any_leader, leads, lines, write};
use raft::{Config, ProposeError, RaftHandle, Role, Room, Watermarks};

const MIB: u64 = 1_024 * 1_024;

/// A file system of its own, gone when it is dropped.
struct SmallDisk {
    mount: tempfile::TempDir,
}

impl SmallDisk {
    /// `None`, said loudly, where nothing can be mounted.
    fn new(mib: u64) -> Option<Self> {
        let mount = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(mount.path())
            .stderr(Stdio::null())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: a tmpfs cannot be mounted here; run as root");
            return None;
        }
        Some(Self { mount })
    }

    fn path(&self) -> &Path {
        self.mount.path()
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Leaves so much free space, to within some pages.
    fn fill_up_to(&self, left: u64) {
        let stat = rustix::fs::statvfs(self.path()).unwrap();
        let free = stat.f_bavail * stat.f_frsize;
        let mut file = File::options().create(true).append(true).open(self.filler()).unwrap();
        // The last write may find less room than was counted.
        let _ = file.write_all(&vec![1; usize::try_from(free.saturating_sub(left)).unwrap()]);
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn config(seat: &Seat, disk: &SmallDisk) -> Config {
    Config {
        folder: disk.path().join("raft"),
        witness: disk.path().join("raft.witness"),
        log_chunk_bytes: usize::try_from(2 * MIB).unwrap(),
        watermarks: Watermarks { low: 6 * MIB, enough: 10 * MIB, none: 3 * MIB },
        room_interval: Duration::from_millis(20),
        ..seat.config()
    }
}

async fn has(handle: &RaftHandle<Book>, room: Room) {
    let mut status = handle.watch_status();
    let seen = status.wait_for(|status| status.room == room);
    let seen = tokio::time::timeout(SOON, seen).await;
    assert!(seen.is_ok(), "{room:?}, not {:?}", handle.status().room);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_refused_before_the_disk_is_full_and_taken_again_after() {
    let Some(disk) = SmallDisk::new(32) else { return };
    let seat = Seat::new(1).await;
    let known = Known::of([&seat]);
    let handle = seat.open_with(config(&seat, &disk), &known).await.unwrap();
    handle.initialize(seat.member(), SOON).await.unwrap();
    leads(&handle).await;
    write(&handle, "before", 5).await;

    disk.fill_up_to(5 * MIB);
    has(&handle, Room::Low).await;
    let refused = handle.propose(b"no".to_vec(), SOON).await;
    assert!(matches!(refused, Err(ProposeError::NoRoom { .. })), "{refused:?}");
    handle.propose_vital(b"vital".to_vec(), SOON).await.unwrap();
    handle.read_index(SOON).await.unwrap();
    assert_eq!(lines(&handle).len(), 6);

    // Nothing is left at all: what was set aside for the log still takes what is vital, up to a bound, and no write fails.
    disk.fill_up_to(0);
    let mut taken = 0;
    loop {
        match handle.propose_vital(vec![b'v'; 32 * 1_024], SOON).await {
            Ok(_) => taken += 1,
            Err(ProposeError::NoRoom { .. }) => break,
            Err(other) => panic!("after {taken}: {other}"),
        }
        assert!(taken < 1_000, "there is an end");
    }
    assert!(taken > 5, "{taken} were taken");
    assert_eq!((handle.status().role, handle.status().failure.clone()), (Role::Leader, None));
    handle.read_index(SOON).await.unwrap();

    disk.make_room();
    has(&handle, Room::Enough).await;
    write(&handle, "after", 5).await;
    let expected = lines(&handle);
    handle.shutdown().await;
    drop(handle);
    let again = seat.open_with(config(&seat, &disk), &known).await.unwrap();
    leads(&again).await;
    assert_eq!(lines(&again), expected);
    again.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_low_on_room_hands_over_and_a_full_follower_stops_nobody() {
    let Some(disk) = SmallDisk::new(32) else { return };
    let seats = [Seat::new(1).await, Seat::new(2).await, Seat::new(3).await];
    let known = Known::of(&seats);
    let mut handles = vec![seats[0].open_with(config(&seats[0], &disk), &known).await.unwrap()];
    handles[0].initialize(seats[0].member(), SOON).await.unwrap();
    leads(&handles[0]).await;
    for seat in &seats[1..] {
        handles.push(seat.open(&known).await);
        handles[0].add_learner(seat.id, seat.member(), SOON).await.unwrap();
        handles[0].promote(seat.id, SOON).await.unwrap();
    }
    write(&handles[0], "before", 5).await;

    disk.fill_up_to(5 * MIB);
    let leader = any_leader(&handles[1..]).await;
    write(leader, "by another", 5).await;
    has(&handles[0], Room::Low).await;

    // Entries for more than what the full disk can take: the other two go on, and the full one stays alive.
    disk.fill_up_to(0);
    for n in 0..40 {
        leader.propose(format!("{n} {}", "x".repeat(128 * 1_024)).into_bytes(), SOON).await.unwrap();
    }
    has(&handles[0], Room::None).await;
    assert_eq!(handles[0].status().failure, None);
    assert!(handles[0].status().last_log < leader.status().last_log, "it took what it had room for");

    disk.make_room();
    handles[0].await_applied(leader.status().applied.unwrap(), 3 * SOON).await.unwrap();
    assert_eq!(handles[0].state().state, leader.state().state);
    has(&handles[0], Room::Enough).await;
    for handle in &handles {
        handle.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_snapshot_is_written_into_the_last_of_the_room() {
    let Some(disk) = SmallDisk::new(32) else { return };
    let seat = Seat::new(1).await;
    let mut config = config(&seat, &disk);
    config.snapshot_log_bytes_min = 512 * 1_024;
    let handle = seat.open_with(config, &Known::of([&seat])).await.unwrap();
    handle.initialize(seat.member(), SOON).await.unwrap();
    leads(&handle).await;
    disk.fill_up_to(5 * MIB);
    has(&handle, Room::Low).await;
    for n in 0..8 {
        handle.propose_vital(format!("{n} {}", "y".repeat(100 * 1_024)).into_bytes(), SOON).await.unwrap();
    }
    assert_eq!(handle.status().snapshot, None, "the log has grown, but there is no room");
    disk.make_room();
    let mut status = handle.watch_status();
    let taken = status.wait_for(|status| status.snapshot.is_some());
    assert!(tokio::time::timeout(SOON, taken).await.is_ok(), "it is made up for when there is");
    handle.shutdown().await;
}

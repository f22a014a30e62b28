//! Snapshots between members: cut half way and gone on with, superseded, damaged at the sender, fetched when a member's
//! own are damaged.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers"
)]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::common::proxy::Proxy;
use crate::common::{Book, Known, SOON, Seat, leads, lines, three, write};
use raft::{Member, Members, OpenError, RaftHandle};
use types::NodeId;

/// Bytes of one line.
const LINE: usize = 512 * 1_024;
/// A snapshot of so many lines is as many chunks as half of them.
const LINES: usize = 24;

/// Bytes of a chunk.
const CHUNK: u64 = 1_024 * 1_024;
/// Handshakes, heartbeats and frames.
const OVERHEAD: u64 = 256 * 1_024;

/// A leader whose log no longer starts at its start, with a snapshot of some dozen chunks.
async fn leader_with_snapshot(seat: &Seat, known: &Known) -> RaftHandle<Book> {
    let leader = seat.open(known).await;
    leader.initialize(seat.member(), SOON).await.unwrap();
    leads(&leader).await;
    for round in 0..2 {
        // Lines that differ, so that each chunk has a sum of its own.
        for n in 0..LINES / 2 {
            let line = format!("{round} {n} ").repeat(LINE / 5);
            leader.propose(line.into_bytes(), SOON).await.unwrap();
        }
        leader.trigger_snapshot(SOON).await.unwrap();
    }
    let mut status = leader.watch_status();
    let purged = status.wait_for(|status| status.purged.is_some());
    assert!(tokio::time::timeout(SOON, purged).await.is_ok(), "the log is purged");
    leader
}

fn behind(proxy: &Proxy, seat: &Seat) -> Member {
    Member { address: proxy.address.to_string(), ..seat.member() }
}

fn size_of_newest(seat: &Seat) -> u64 {
    fs::metadata(seat.snapshots().last().unwrap()).unwrap().len()
}

fn incoming(seat: &Seat) -> Vec<PathBuf> {
    seat.snapshots().into_iter().filter(|path| path.extension().is_some_and(|e| e == "incoming")).collect()
}

/// Whole chunks that have arrived.
fn held(seat: &Seat) -> u64 {
    incoming(seat).first().map_or(0, |path| fs::metadata(path).unwrap().len() / CHUNK * CHUNK)
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, waited).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

/// Adds the learner and waits until the proxy has cut the transfer half way.
async fn cut_half_way(leader: &RaftHandle<Book>, learner: &Seat, proxy: &Proxy, whole: u64) {
    proxy.cut_after(whole * 3 / 4);
    leader.add_learner(learner.id, behind(proxy, learner), SOON).await.unwrap();
    until("the connection is cut", || proxy.is_cut()).await;
    // What was on its way when the connection was cut may be lost: some windows and buffers.
    until("a part has arrived", || held(learner) >= 2 * CHUNK).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_had_also_while_another_is_written() {
    let seat = Seat::new(1).await;
    let leader = seat.open_alone().await;
    let gate = seat.folder.path().join("gate");
    leader.propose(format!("until {}", gate.display()).into_bytes(), SOON).await.unwrap();
    let newer = async {
        leader.propose(b"newer".to_vec(), SOON).await.unwrap();
        let mut taken = std::pin::pin!(leader.trigger_snapshot(SOON));
        // It is asked for while the first one cannot end.
        assert!(futures::poll!(&mut taken).is_pending());
        fs::write(&gate, "").unwrap();
        taken.await
    };
    let (first, second) = tokio::join!(leader.trigger_snapshot(SOON), newer);
    assert!(first.is_ok(), "{first:?}");
    assert_eq!(second.unwrap(), leader.status().last_log.unwrap(), "the second holds what came after the first");
    leader.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_cut_only_the_rest_is_sent() {
    let seats = [Seat::new(1).await, Seat::new(2).await];
    let known = Known::of(&seats);
    let leader = leader_with_snapshot(&seats[0], &known).await;
    let whole = size_of_newest(&seats[0]);
    let learner = seats[1].open(&known).await;
    let proxy = Proxy::to(seats[1].listener.local_addr().unwrap()).await;
    cut_half_way(&leader, &seats[1], &proxy, whole).await;

    let (before, held) = (proxy.forwarded(), held(&seats[1]));
    proxy.heal();
    learner.await_applied(leader.status().last_log.unwrap(), 3 * SOON).await.unwrap();
    assert_eq!(learner.state().state, leader.state().state);
    let sent = proxy.forwarded() - before;
    assert!(sent <= whole - held + OVERHEAD, "{sent} bytes were sent after the cut: {held} of {whole} were there");
    assert!(incoming(&seats[1]).is_empty(), "it has its name now");
    leader.shutdown().await;
    learner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_arrived_outlives_the_receiver() {
    let seats = [Seat::new(1).await, Seat::new(2).await];
    let known = Known::of(&seats);
    let leader = leader_with_snapshot(&seats[0], &known).await;
    let whole = size_of_newest(&seats[0]);
    let learner = seats[1].open(&known).await;
    let proxy = Proxy::to(seats[1].listener.local_addr().unwrap()).await;
    cut_half_way(&leader, &seats[1], &proxy, whole).await;
    learner.shutdown().await;
    drop(learner);

    // A torn end, as a crash leaves one, and a flipped bit before it: what still reads counts.
    let part = incoming(&seats[1]).pop().unwrap();
    let mut bytes = fs::read(&part).unwrap();
    let held = bytes.len() as u64 / CHUNK * CHUNK;
    bytes.truncate(bytes.len() - 100);
    let flipped = bytes.len() - 50;
    bytes[flipped] ^= 1;
    fs::write(&part, &bytes).unwrap();

    let learner = seats[1].open(&known).await;
    let before = proxy.forwarded();
    proxy.heal();
    learner.await_applied(leader.status().last_log.unwrap(), 3 * SOON).await.unwrap();
    assert_eq!(learner.state().state, leader.state().state);
    let sent = proxy.forwarded() - before;
    assert!(sent <= whole - (held - CHUNK) + OVERHEAD, "{sent} bytes were sent after the restart: {held} of {whole}");
    leader.shutdown().await;
    learner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_snapshot_takes_the_place_of_a_part() {
    let seats = [Seat::new(1).await, Seat::new(2).await];
    let known = Known::of(&seats);
    let leader = leader_with_snapshot(&seats[0], &known).await;
    let whole = size_of_newest(&seats[0]);
    let learner = seats[1].open(&known).await;
    let proxy = Proxy::to(seats[1].listener.local_addr().unwrap()).await;
    cut_half_way(&leader, &seats[1], &proxy, whole).await;
    let part = incoming(&seats[1]);

    write(&leader, "newer", 3).await;
    leader.trigger_snapshot(SOON).await.unwrap();
    proxy.heal();
    learner.await_applied(leader.status().last_log.unwrap(), 3 * SOON).await.unwrap();
    assert_eq!(learner.state().state, leader.state().state);
    assert!(!part[0].exists(), "the part of the older one is gone");
    leader.shutdown().await;
    learner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_is_never_handed_on() {
    let seats = [Seat::new(1).await, Seat::new(2).await];
    let known = Known::of(&seats);
    let leader = leader_with_snapshot(&seats[0], &known).await;
    let newest = seats[0].snapshots().pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newest, bytes).unwrap();

    let learner = seats[1].open(&known).await;
    leader.add_learner(NodeId(2), seats[1].member(), SOON).await.unwrap();
    learner.await_applied(leader.status().last_log.unwrap(), 3 * SOON).await.unwrap();
    assert_eq!(learner.state().state, leader.state().state, "from the older one and the log");
    assert!(newest.with_extension("damaged").exists(), "set aside at the leader");
    // Another is written in its place, for two have to be there before the log may go.
    let complete =
        || seats[0].snapshots().iter().filter(|path| path.extension().is_some_and(|e| e == "snapshot")).count();
    write(&leader, "more", 1).await;
    until("two snapshots are there again", || complete() == 2).await;
    leader.shutdown().await;
    learner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_a_good_snapshot_takes_one_from_another() {
    let (seats, known, handles) = crate::common::three().await;
    for round in 0..3 {
        write(&handles[0], &format!("round {round}"), 10).await;
        handles[2].await_applied(handles[0].status().applied.unwrap(), SOON).await.unwrap();
        for handle in &handles {
            handle.trigger_snapshot(SOON).await.unwrap();
        }
    }
    let mut status = handles[2].watch_status();
    let purged = status.wait_for(|status| status.purged.is_some());
    assert!(tokio::time::timeout(SOON, purged).await.is_ok(), "its log begins after its snapshots");
    handles[2].shutdown().await;
    for path in seats[2].snapshots() {
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.len() - 40;
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    write(&handles[0], "meanwhile", 5).await;

    // Without anybody to ask it says so.
    let mut config = seats[2].config();
    config.repair_patience = Duration::from_millis(300);
    let refused = seats[2].open_with(config.clone(), &known).await.unwrap_err();
    assert!(matches!(&refused, OpenError::NoSnapshot { why, .. } if why.contains("no other member")), "{refused}");
    assert_eq!(seats[2].snapshots().len(), 2, "both were set aside, none was deleted");

    config.repair_patience = SOON;
    let seed = Members { all: seats.iter().map(|seat| (seat.id, seat.member())).collect(), ..Members::default() };
    let repaired = seats[2].open_among(config, &known, seed).await.unwrap();
    repaired.read_index(SOON).await.unwrap();
    assert_eq!(lines(&repaired), lines(&handles[0]));

    // It is a whole voter again: with it and one other there is a quorum.
    handles[1].shutdown().await;
    write(&handles[0], "with it", 3).await;
    repaired.read_index(SOON).await.unwrap();
    assert_eq!(lines(&repaired), lines(&handles[0]));
    handles[0].shutdown().await;
    repaired.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_snapshot_is_begun_while_nobody_leads() {
    let (seats, known, handles) = three().await;
    write(&handles[0], "line", 10).await;
    for handle in &handles {
        handle.shutdown().await;
    }
    drop(handles);
    let open = async |seat: &Seat| {
        let mut config = seat.config();
        config.snapshot_log_bytes_min = 1;
        seat.open_with(config, &known).await.unwrap()
    };
    // One that followed: its stored vote still names the leader of before.
    let alone = open(&seats[1]).await;
    // Several of its ticks.
    for _ in 0..10 {
        tokio::time::sleep(seats[1].config().witness_interval).await;
        assert_eq!(alone.status().snapshot, None);
    }

    let other = open(&seats[2]).await;
    let mut status = alone.watch_status();
    let taken = status.wait_for(|status| status.snapshot.is_some());
    assert!(tokio::time::timeout(SOON, taken).await.is_ok(), "there is a leader, and a snapshot soon after");
    alone.shutdown().await;
    other.shutdown().await;
}

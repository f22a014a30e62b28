//! Several members in one process: replication, fail-over, restart, joining by snapshot, hand-over, removal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test's helpers")]

use std::time::Duration;

use crate::common::proxy::Proxy;
use crate::common::{Book, Known, SOON, Seat, any_leader, leads, lines, three, write};
use raft::{ChangeError, Member, ProposeError, RaftHandle, Role};
use types::NodeId;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_dies_and_nothing_acknowledged_is_lost() {
    let (seats, known, handles) = three().await;
    write(&handles[0], "first", 20).await;

    // A follower refuses and names the leader; reads through it are linearizable.
    let refused = handles[1].propose(b"no".to_vec(), SOON).await.unwrap_err();
    assert_eq!(refused, ProposeError::NotLeader { leader: Some(NodeId(1)) });
    handles[1].read_index(SOON).await.unwrap();
    assert_eq!(lines(&handles[1]).len(), 20);

    handles[0].shutdown().await;
    let leader = any_leader(&handles[1..]).await;
    assert_ne!(leader.status().node, NodeId(1));
    let reply = leader.propose(b"second".to_vec(), SOON).await.unwrap().reply;
    assert_eq!(reply, b"21", "the reply is the one of this entry");

    // The dead one comes back from its disk and catches up.
    let back = seats[0].open(&known).await;
    back.read_index(SOON).await.unwrap();
    assert_eq!(lines(&back), lines(leader));
    assert_eq!(back.status().role, Role::Follower);
    for handle in [&back, &handles[1], &handles[2]] {
        handle.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_restart_and_replay() {
    let (seats, known, handles) = three().await;
    write(&handles[0], "line", 30).await;
    let (before, term) = (lines(&handles[0]), handles[0].status().term);
    for handle in &handles {
        handle.shutdown().await;
    }
    assert_eq!(handles[0].status().role, Role::Stopped);
    assert!(matches!(handles[0].propose(b"late".to_vec(), SOON).await, Err(ProposeError::Fatal(_))));
    drop(handles);

    let mut again = Vec::new();
    for seat in &seats {
        again.push(seat.open(&known).await);
    }
    let leader = any_leader(&again).await;
    assert!(leader.status().term > term, "a restarted leader must be elected again");
    for handle in &again {
        handle.read_index(SOON).await.unwrap();
        assert_eq!(lines(handle), before);
        assert_eq!(handle.membership().voters.len(), 3);
    }
    for handle in &again {
        handle.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_joins_by_snapshot() {
    let seats = [Seat::new(1).await, Seat::new(2).await];
    let known = crate::common::Known::of(&seats);
    let leader = seats[0].open(&known).await;
    leader.initialize(seats[0].member(), SOON).await.unwrap();
    crate::common::leads(&leader).await;
    // More than one chunk of snapshot, and a log that no longer starts at its start.
    let long = "x".repeat(200_000);
    for round in 0..2 {
        write(&leader, &format!("{round} {long}"), 6).await;
        leader.trigger_snapshot(SOON).await.unwrap();
    }
    let mut status = leader.watch_status();
    let purged = status.wait_for(|status| status.purged.is_some());
    assert!(tokio::time::timeout(SOON, purged).await.is_ok(), "the log is purged");

    let learner = seats[1].open(&known).await;
    leader.add_learner(NodeId(2), seats[1].member(), SOON).await.unwrap();
    let index = leader.status().last_log.unwrap();
    learner.await_applied(index, SOON).await.unwrap();
    assert_eq!(learner.state().state, leader.state().state);
    let mut status = learner.watch_status();
    let installed = status.wait_for(|status| status.snapshot.is_some());
    assert!(tokio::time::timeout(SOON, installed).await.is_ok(), "it came as a snapshot");
    assert!(!learner.membership().is_voter(NodeId(2)));

    leader.promote(NodeId(2), SOON).await.unwrap();
    assert!(leader.membership().is_voter(NodeId(2)));
    write(&leader, "after", 3).await;
    learner.read_index(SOON).await.unwrap();
    assert_eq!(learner.state().state, leader.state().state);

    // What it was sent is on its own disk, sealed by itself.
    learner.shutdown().await;
    drop(learner);
    let learner = seats[1].open(&known).await;
    learner.read_index(SOON).await.unwrap();
    assert_eq!(learner.state().state, leader.state().state);
    leader.shutdown().await;
    learner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_on_request_and_members_leave() {
    let (_seats, _known, handles) = three().await;
    write(&handles[0], "line", 3).await;
    let unknown = handles[0].transfer_leader(NodeId(9), SOON).await;
    assert!(matches!(unknown, Err(ChangeError::Refused(_))), "{unknown:?}");

    handles[0].transfer_leader(NodeId(3), SOON).await.unwrap();
    let leader = any_leader(&handles[2..]).await;
    // To itself it is handed over already, and it goes on leading.
    leader.transfer_leader(NodeId(3), SOON).await.unwrap();
    leader.propose(b"moved".to_vec(), SOON).await.unwrap();
    let itself = leader.remove(NodeId(3), SOON).await;
    assert!(matches!(itself, Err(ChangeError::Refused(_))), "{itself:?}");
    let deposed = handles[0].remove(NodeId(2), SOON).await;
    assert_eq!(deposed, Err(ChangeError::NotLeader { leader: Some(NodeId(3)) }));

    leader.remove(NodeId(1), SOON).await.unwrap();
    assert_eq!(leader.membership().all.keys().copied().collect::<Vec<_>>(), [NodeId(2), NodeId(3)]);
    // Quorum is two of two now; without the second nothing is acknowledged, and the deadline holds.
    handles[1].shutdown().await;
    let alone = leader.propose(b"alone".to_vec(), std::time::Duration::from_millis(300)).await;
    assert_eq!(alone, Err(ProposeError::NoQuorum));
    assert!(leader.read_index(std::time::Duration::from_millis(300)).await.is_err());
    for handle in &handles {
        handle.shutdown().await;
    }
}

/// A leader and a learner that has caught up, which is reached through a proxy.
async fn leader_and_learner(seats: &[Seat; 2]) -> (RaftHandle<Book>, RaftHandle<Book>, Proxy) {
    let known = Known::of(seats);
    let (leader, learner) = (seats[0].open(&known).await, seats[1].open(&known).await);
    leader.initialize(seats[0].member(), SOON).await.unwrap();
    leads(&leader).await;
    let proxy = Proxy::to(seats[1].listener.local_addr().unwrap()).await;
    let member = Member { address: proxy.address.to_string(), ..seats[1].member() };
    leader.add_learner(NodeId(2), member, SOON).await.unwrap();
    write(&leader, "line", 3).await;
    learner.await_applied(leader.status().last_log.unwrap(), SOON).await.unwrap();
    (leader, learner, proxy)
}

async fn until_it_is(leader: &RaftHandle<Book>, heard: bool) {
    let reached = async {
        while leader.hears(NodeId(2)) != heard {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, reached).await.expect("the other is heard or not");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_voters_left_half_way_can_be_finished() {
    let seats = [Seat::new(1).await, Seat::new(2).await];
    let (leader, learner, proxy) = leader_and_learner(&seats).await;
    until_it_is(&leader, true).await;
    proxy.cut_after(0);
    let promoted = leader.promote(NodeId(2), Duration::from_millis(700)).await;
    assert_eq!(promoted, Err(ChangeError::NoQuorum));
    assert!(leader.membership().changing, "the first step is in the log");

    proxy.heal();
    let leader = any_leader([&leader, &learner]).await;
    leader.propose(b"committed, and the first step with it".to_vec(), SOON).await.unwrap();
    assert!(leader.membership().changing, "nobody takes the second step by himself");
    leader.finish_change(SOON).await.unwrap();
    assert!(!leader.membership().changing);
    assert_eq!(leader.membership().voters.iter().copied().collect::<Vec<_>>(), [NodeId(1), NodeId(2)]);
    leader.finish_change(SOON).await.expect("there is nothing to finish");
    for seat in [leader, &learner] {
        seat.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_that_is_gone_does_not_become_a_voter() {
    let seats = [Seat::new(1).await, Seat::new(2).await];
    let (leader, learner, proxy) = leader_and_learner(&seats).await;
    until_it_is(&leader, true).await;
    proxy.cut_after(0);
    until_it_is(&leader, false).await;
    let promoted = leader.promote(NodeId(2), Duration::from_millis(300)).await;
    assert_eq!(promoted, Err(ChangeError::NoQuorum));
    assert!(!leader.membership().changing);
    leader.propose(b"its quorum is still itself".to_vec(), SOON).await.unwrap();

    proxy.heal();
    leader.promote(NodeId(2), SOON).await.unwrap();
    assert!(leader.membership().is_voter(NodeId(2)));
    leader.shutdown().await;
    learner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_on_its_way_out_does_not_finish_the_change() {
    let seats = [Seat::new(1).await, Seat::new(2).await, Seat::new(3).await];
    let known = Known::of(&seats);
    let mut handles = Vec::new();
    for seat in &seats {
        handles.push(seat.open(&known).await);
    }
    let proxy = Proxy::to(seats[2].listener.local_addr().unwrap()).await;
    let third = Member { address: proxy.address.to_string(), ..seats[2].member() };
    handles[0].initialize(seats[0].member(), SOON).await.unwrap();
    leads(&handles[0]).await;
    for (id, member) in [(NodeId(2), seats[1].member()), (NodeId(3), third)] {
        handles[0].add_learner(id, member, SOON).await.unwrap();
        handles[0].promote(id, SOON).await.unwrap();
    }
    // The second is to go; without the third the first step is not committed.
    proxy.cut_after(0);
    let removed = handles[0].remove(NodeId(2), Duration::from_millis(700)).await;
    assert_eq!(removed, Err(ChangeError::NoQuorum));
    assert!(handles[0].membership().changing);
    proxy.heal();
    let leader = any_leader(&handles).await;
    if leader.status().node != NodeId(2) {
        leader.transfer_leader(NodeId(2), SOON).await.unwrap();
        leads(&handles[1]).await;
    }
    let finished = handles[1].finish_change(SOON).await;
    assert!(matches!(finished, Err(ChangeError::Refused(_))), "{finished:?}");

    handles[1].transfer_leader(NodeId(1), SOON).await.unwrap();
    leads(&handles[0]).await;
    handles[0].finish_change(SOON).await.unwrap();
    assert_eq!(handles[0].membership().voters.iter().copied().collect::<Vec<_>>(), [NodeId(1), NodeId(3)]);
    for handle in &handles {
        handle.shutdown().await;
    }
}

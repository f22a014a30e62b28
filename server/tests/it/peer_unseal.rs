//! Members that open one another: off until it is switched on, and then only for a voter that was there a moment ago, from
//! its own address, and nowhere else at once.
#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

use std::time::Duration;

use proto::audit::v1 as audit;
use proto::cluster::v1 as wire;
use proto::member::v1 as member;
use server::config::SealKind;
use tonic::Status;
use types::Reason;

use crate::support::{Cluster, until};

const SOON: Duration = Duration::from_secs(60);

async fn switch(cluster: &Cluster, on: bool) {
    let request = wire::SetPeerUnsealRequest { on, ..Default::default() };
    let set = cluster.client().await.seal().set_peer_unseal(request).await.expect("switches");
    assert_eq!(set.on, on);
}

async fn approve(cluster: &Cluster, index: usize) -> Result<wire::ApproveUnsealResponse, chancery_client::Error> {
    let request = wire::ApproveUnsealRequest { node: index as u64 + 1, ..Default::default() };
    cluster.client().await.seal().approve_unseal(request).await
}

async fn restarts_sealed(cluster: &mut Cluster, index: usize) {
    cluster.stop(index).await;
    cluster.start(index).await;
    until("the node to answer", SOON, || cluster.answers(index)).await;
}

async fn opens(cluster: &Cluster, index: usize) {
    until("the node to open", SOON, || async { cluster.answers(index).await && !cluster.is_sealed(index).await }).await;
}

/// What whoever has a node's disk, and so its identity key and its seal.json, is told by whoever leads.
async fn thief(cluster: &Cluster, of: usize) -> Result<member::UnsealPeerResponse, Status> {
    let leader = cluster.leader().await;
    cluster.peer_client(of, leader).unseal_peer(cluster.asks_for_root(of)).await.map(tonic::Response::into_inner)
}

fn told(answer: Result<member::UnsealPeerResponse, Status>) -> (Option<Reason>, String) {
    let status = answer.expect_err("the root key stays where it is");
    (chancery_client::Error::from_status(&status).reason(), status.message().to_owned())
}

async fn follower(cluster: &Cluster) -> usize {
    let leader = cluster.leader().await;
    (0..3).find(|index| *index != leader).expect("there are three")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_voter_that_restarts_is_opened_by_the_others_once_that_is_on() {
    let mut cluster = Cluster::form_sealed(3, SealKind::Shamir).await;
    let away = follower(&cluster).await;
    restarts_sealed(&mut cluster, away).await;
    let (reason, text) = told(thief(&cluster, away).await);
    assert_eq!(reason, Some(Reason::PreconditionFailed), "off at first: {text}");
    assert_eq!(approve(&cluster, away).await.expect_err("off").reason(), Some(Reason::PreconditionFailed));
    assert!(cluster.is_sealed(away).await);

    // It goes on asking, so it opens as soon as it may.
    switch(&cluster, true).await;
    opens(&cluster, away).await;
    let status = cluster.client().await.cluster().status(wire::GetStatusRequest {}).await.expect("a status");
    assert!(status.peer_unseal);
    // A leader that falls over is judged by one that was elected after it left.
    let leader = cluster.leader().await;
    cluster.kill(leader).await;
    cluster.start_after_kill(leader).await;
    cluster.caught_up(leader).await;

    // The release is in the cluster's log, the opening in the node's own.
    let client = cluster.client_of_node(away).await;
    let search = audit::SearchRequest { resource: format!("nodes/{}", away + 1), page_size: 100, ..Default::default() };
    until("both records", SOON, || async {
        let Ok(found) = client.audit().search(search.clone()).await else { return false };
        let said = |action: &str, what: &str| {
            found.records.iter().any(|record| record.action == action && format!("{record:?}").contains(what))
        };
        said("SealService.ReleaseRoot", "127.0.0.1") && said("SealService.Unseal", "root key from nodes/")
    })
    .await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copied_disk_gets_nothing_while_its_node_is_there_nor_does_one_that_does_not_vote() {
    let mut cluster = Cluster::form_sealed(3, SealKind::Shamir).await;
    switch(&cluster, true).await;
    let copied = follower(&cluster).await;
    let (reason, text) = told(thief(&cluster, copied).await);
    assert_eq!(reason, Some(Reason::PermissionDenied));
    assert!(text.contains("another connection is open"), "{text}");

    let refused = approve(&cluster, copied).await.expect_err("is open");
    assert_eq!(refused.reason(), Some(Reason::PreconditionFailed));
    assert!(refused.to_string().contains("is open"), "{refused}");

    // Nor anything else: the identity key is no proof of the root key.
    let leader = cluster.leader().await;
    let mut caller = cluster.peer_client(copied, leader);
    caller.hello(member::HelloRequest {}).await.expect("may greet");
    let renew = caller.renew_lease(member::RenewLeaseRequest::default()).await.map(drop);
    let propose = caller.propose(member::ProposeRequest::default()).await.map(drop);
    let forward = caller.forward(member::ForwardRequest::default()).await.map(drop);
    for refused in [renew, propose, forward] {
        let refused = refused.expect_err("has not got the root key");
        assert_eq!(chancery_client::Error::from_status(&refused).reason(), Some(Reason::PermissionDenied), "{refused}");
    }
    drop(caller);

    let learner = cluster.add_learner_sealed(SealKind::Shamir).await;
    cluster.caught_up(learner).await;
    cluster.stop(learner).await;
    let (reason, text) = told(thief(&cluster, learner).await);
    assert_eq!(reason, Some(Reason::PermissionDenied));
    assert!(text.contains("only voters"), "{text}");
    let refused = approve(&cluster, learner).await.expect_err("a learner");
    assert_eq!(refused.reason(), Some(Reason::PermissionDenied));

    // One that was removed is not even greeted.
    let request_id = chancery_client::api::request_id();
    let remove = wire::RemoveNodeRequest { node: learner as u64 + 1, force: true, request_id, ..Default::default() };
    let client = cluster.client().await;
    // Its last word may not have arrived: then its lease has to end first.
    until("it to be removed", SOON, || async { client.cluster().remove_node(remove.clone()).await.is_ok() }).await;
    until("it to be shut out", SOON, || async {
        let leader = cluster.leader().await;
        cluster.peer_client(learner, leader).hello(member::HelloRequest {}).await.is_err()
    })
    .await;
    thief(&cluster, learner).await.expect_err("no member");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn from_elsewhere_an_admin_lets_a_voter_in_once() {
    // Registered at 127.0.0.2, it calls from 127.0.0.1, as a disk does that was carried away.
    let mut cluster = Cluster::form_sealed(2, SealKind::Shamir).await;
    let moved = cluster.add_at([127, 0, 0, 2], SealKind::Shamir).await;
    let client = cluster.client().await;
    cluster.votes(&client, 3).await;
    switch(&cluster, true).await;
    if cluster.leader().await == moved {
        let to = wire::TransferLeaderRequest { node: 1, ..Default::default() };
        client.cluster().transfer_leader(to).await.expect("moves");
    }
    cluster.stop(moved).await;
    for _ in 0..2 {
        // No process of the node's is there: this is its disk, elsewhere.
        let (reason, text) = told(thief(&cluster, moved).await);
        assert_eq!(reason, Some(Reason::PermissionDenied));
        assert!(text.contains("does not ask from the address"), "{text}");
        approve(&cluster, moved).await.expect("an admin lets it in");
        // What cannot be answered uses nothing up.
        let asked = cluster.asks_for_root(moved);
        let mut elsewhere = asked.clone();
        elsewhere.roots[0].root_id[0] ^= 1;
        for (request, reason) in [
            (member::UnsealPeerRequest { recipient: vec![9; 31], ..asked.clone() }, Reason::InvalidArgument),
            (member::UnsealPeerRequest { roots: Vec::new(), ..asked.clone() }, Reason::InvalidArgument),
            (elsewhere, Reason::PreconditionFailed),
        ] {
            let leader = cluster.leader().await;
            let answer = cluster.peer_client(moved, leader).unseal_peer(request).await.map(tonic::Response::into_inner);
            assert_eq!(told(answer).0, Some(reason));
        }
        cluster.start(moved).await;
        until("the node to answer", SOON, || cluster.answers(moved)).await;
        opens(&cluster, moved).await;
        cluster.caught_up(moved).await;
        // Good once.
        cluster.stop(moved).await;
    }
    let search =
        audit::SearchRequest { resource: format!("nodes/{}", moved + 1), page_size: 100, ..Default::default() };
    until("the records", SOON, || async {
        let found = client.audit().search(search.clone()).await.map(|found| found.records).unwrap_or_default();
        let because = |record: &&audit::Record| format!("{record:?}").contains("an admin approved it");
        found.iter().filter(because).count() == 2
    })
    .await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_that_was_sealed_by_hand_waits_for_a_seal_of_its_own_over_a_restart() {
    let mut cluster = Cluster::form_sealed(3, SealKind::Shamir).await;
    switch(&cluster, true).await;
    let sealed = follower(&cluster).await;
    let said = cluster.client_of_one(sealed).await.seal().seal(wire::SealRequest {}).await.expect("seals");
    assert!(said.sealed);
    assert!(cluster.dir(sealed).join("sealed-by-hand").exists(), "before it says so");
    let others = cluster.client().await;
    until("the others to see that it has sealed", SOON, || async {
        let Ok(status) = others.cluster().status(wire::GetStatusRequest {}).await else { return false };
        let node = status.nodes.iter().find(|node| node.node == sealed as u64 + 1);
        node.is_some_and(|node| node.reachable && node.sealed)
    })
    .await;

    restarts_sealed(&mut cluster, sealed).await;
    // An admin lets it in and takes that back; neither makes it ask.
    approve(&cluster, sealed).await.expect("it is not open");
    let request = wire::CancelApprovalRequest { node: sealed as u64 + 1, ..Default::default() };
    others.seal().cancel_approval(request.clone()).await.expect("takes it back");
    let nothing = others.seal().cancel_approval(request).await.expect_err("there is none");
    assert_eq!(nothing.reason(), Some(Reason::NotFound));
    approve(&cluster, sealed).await.expect("lets it in");
    // The others would open it within a second.
    let asked = tokio::time::timeout(Duration::from_secs(4), opens(&cluster, sealed)).await;
    asked.expect_err("it asks nobody");

    for share in &cluster.shares[..3] {
        let share = wire::UnsealRequest { share: share.clone(), ..Default::default() };
        cluster.local_seal(sealed).await.unseal(share).await.expect("takes a share");
    }
    opens(&cluster, sealed).await;
    assert!(!cluster.dir(sealed).join("sealed-by-hand").exists());
    cluster.caught_up(sealed).await;
    restarts_sealed(&mut cluster, sealed).await;
    opens(&cluster, sealed).await;
    cluster.stop_all().await;
}

//! The peer port: who is let in, who is not, and what else is served on it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test's helpers")]

use std::sync::Arc;
use std::time::Duration;

use crate::common::proxy::Proxy;
use crate::common::{Book, Known, SOON, Sealer, Seat, leads, write};
use proto::raft::v1 as wire;
use raft::{ChangeError, Member, PeerInfo, Peering, RaftHandle, Role, Vouch};
use tonic::service::interceptor::InterceptedService;
use tonic::{Code, Request, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use types::{ClusterId, NodeId};
use wire::peer_service_client::PeerServiceClient;

/// A connection to `to` as `from`.
async fn dial(from: &Seat, to: &Seat) -> Result<PeerServiceClient<tonic::transport::Channel>, tonic::transport::Error> {
    let (tls, address) = (from.identity.client(to.identity.spki), to.listener.local_addr().unwrap());
    let connector = tower::service_fn(move |_| {
        let tls = Arc::clone(&tls);
        async move {
            let tcp = tokio::net::TcpStream::connect(address).await?;
            let name = rustls::pki_types::ServerName::try_from("node").unwrap();
            let tls = tokio_rustls::TlsConnector::from(tls).connect(name, tcp).await?;
            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(tls))
        }
    });
    let channel = tonic::transport::Endpoint::from_static("http://peer").connect_with_connector(connector).await?;
    Ok(PeerServiceClient::new(channel))
}

/// What shows these members that somebody may speak: [`Password`].
const PROOF: &str = "7";

fn pre_vote(cluster: ClusterId, from: u64, to: u64) -> Request<wire::VoteRequest> {
    let ballot = Some(wire::Ballot { term: 1, node: from, committed: false });
    let message = wire::VoteRequest { ballot, last: None, leadership_transfer: false };
    named(message, cluster, from, to, Some(PROOF))
}

fn named<T>(message: T, cluster: ClusterId, from: u64, to: u64, proof: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("chancery-cluster", cluster.to_hex().parse().unwrap());
    metadata.insert("chancery-from", from.to_string().parse().unwrap());
    metadata.insert("chancery-to", to.to_string().parse().unwrap());
    if let Some(proof) = proof {
        metadata.insert("chancery-root-proof", proof.parse().unwrap());
    }
    request
}

async fn refusal(
    client: &mut PeerServiceClient<tonic::transport::Channel>,
    request: Request<wire::VoteRequest>,
) -> Status {
    client.pre_vote(request).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_members_of_this_cluster_with_their_own_key_may_call() {
    let (seat, friend, stranger) = (Seat::new(1).await, Seat::new(2).await, Seat::new(3).await);
    let handle = seat.open(&Known::of([&seat, &friend])).await;

    // A key that nobody knows does not get through the handshake.
    let outcome = match dial(&stranger, &seat).await {
        Err(_) => Code::Unavailable,
        Ok(mut client) => refusal(&mut client, pre_vote(crate::common::CLUSTER, 3, 1)).await.code(),
    };
    assert_ne!(outcome, Code::Ok);
    assert_ne!(outcome, Code::PermissionDenied, "TLS refuses before the gate is asked");

    let mut client = dial(&friend, &seat).await.unwrap();
    client.pre_vote(pre_vote(crate::common::CLUSTER, 2, 1)).await.unwrap();
    let other_cluster = refusal(&mut client, pre_vote(ClusterId([9; 16]), 2, 1)).await;
    assert_eq!(other_cluster.code(), Code::PermissionDenied);
    assert!(other_cluster.message().contains("another cluster"), "{other_cluster}");
    let misdirected = refusal(&mut client, pre_vote(crate::common::CLUSTER, 2, 7)).await;
    assert_eq!(misdirected.code(), Code::PermissionDenied, "meant for another node");
    let impostor = refusal(&mut client, pre_vote(crate::common::CLUSTER, 1, 1)).await;
    assert_eq!(impostor.code(), Code::PermissionDenied, "a member's key under another's number");
    let bare = client.pre_vote(Request::new(wire::VoteRequest::default())).await.unwrap_err();
    assert_eq!(bare.code(), Code::InvalidArgument, "no metadata");
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_cluster_or_key_is_not_replicated_to() {
    let (seat, mut other) = (Seat::new(1).await, Seat::new(2).await);
    other.cluster = ClusterId([9; 16]);
    let known = Known::of([&seat, &other]);
    let leader = seat.open(&known).await;
    leader.initialize(seat.member(), SOON).await.unwrap();
    leads(&leader).await;
    let misplaced = other.open(&known).await;
    leader.add_learner(NodeId(2), other.member(), SOON).await.unwrap();
    let promoted = leader.promote(NodeId(2), Duration::from_millis(700)).await;
    assert_eq!(promoted, Err(ChangeError::NoQuorum), "it never catches up");
    assert_eq!(misplaced.status().last_log, None, "nothing reached it");

    // The cluster goes on.
    write(&leader, "line", 3).await;
    leader.shutdown().await;
    misplaced.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_own_services_share_the_port_and_see_the_peers_key() {
    let seats = [Seat::new(1).await, Seat::new(2).await];
    let known = Known::of(&seats);
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("member", tonic_health::ServingStatus::Serving).await;
    let expected = seats[0].identity.spki;
    let health = InterceptedService::new(health, move |request: Request<()>| {
        let peer = request.extensions().get::<PeerInfo>().ok_or_else(|| Status::internal("no peer"))?;
        (peer.spki == expected).then_some(request).ok_or_else(|| Status::permission_denied("another key"))
    });
    let mut peering = seats[1].peering(&known);
    peering.routes = tonic::service::Routes::new(health);
    let sealer = crate::common::Sealer::with_key(7);
    let second =
        raft::RaftHandle::open(seats[1].config(), crate::common::Book::default(), sealer, peering).await.unwrap();
    let first = seats[0].open(&known).await;
    first.initialize(seats[0].member(), SOON).await.unwrap();
    leads(&first).await;
    assert!(first.channel(NodeId(2)).is_none(), "not a member yet");
    first.add_learner(NodeId(2), seats[1].member(), SOON).await.unwrap();
    first.promote(NodeId(2), SOON).await.unwrap();

    let mut client = tonic_health::pb::health_client::HealthClient::new(first.channel(NodeId(2)).unwrap());
    let request = tonic_health::pb::HealthCheckRequest { service: "member".to_owned() };
    let reply = client.check(request).await.unwrap().into_inner();
    assert_eq!(reply.status(), ServingStatus::Serving);
    first.shutdown().await;
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_handshake_holds_nobody_up_and_shutdown_closes_connections() {
    use tokio::io::AsyncReadExt;
    let (seat, friend) = (Seat::new(1).await, Seat::new(2).await);
    let handle = seat.open(&Known::of([&seat, &friend])).await;
    let mut silent = tokio::net::TcpStream::connect(seat.listener.local_addr().unwrap()).await.unwrap();
    let mut client = dial(&friend, &seat).await.unwrap();
    client.pre_vote(pre_vote(crate::common::CLUSTER, 2, 1)).await.unwrap();

    tokio::time::timeout(SOON, handle.shutdown()).await.expect("open connections do not hold shutdown up");
    // The listener is still bound, so a new connection would wait in its queue: nobody answers either way.
    let asked =
        tokio::time::timeout(Duration::from_millis(300), client.pre_vote(pre_vote(crate::common::CLUSTER, 2, 1)));
    assert!(!matches!(asked.await, Ok(Ok(_))));
    let read = tokio::time::timeout(SOON, silent.read(&mut [0])).await.expect("the silent connection is closed");
    assert!(matches!(read, Ok(0) | Err(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_takes_longer_than_an_election_is_waited_for() {
    let seats = [Seat::new(1).await, Seat::new(2).await];
    let known = Known::of(&seats);
    let proxy = Proxy::to(seats[0].listener.local_addr().unwrap()).await;
    proxy.slow_down(2 * seats[0].config().election_min);
    let (leader, learner) = (seats[0].open(&known).await, seats[1].open(&known).await);
    let member = Member { address: proxy.address.to_string(), ..seats[0].member() };
    leader.initialize(member, SOON).await.unwrap();
    leads(&leader).await;
    leader.add_learner(NodeId(2), seats[1].member(), SOON).await.unwrap();
    // The leader reaches the learner as ever; the learner asks through the slow one.
    learner.read_index(SOON).await.unwrap();
    leader.shutdown().await;
    learner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_identity_key_speaks_no_raft() {
    let seats = [Seat::new(1).await, Seat::new(2).await];
    let known = Known::of(&seats);
    let leader = seats[0].open(&known).await;
    leader.initialize(seats[0].member(), SOON).await.unwrap();
    leads(&leader).await;
    leader.add_learner(NodeId(2), seats[1].member(), SOON).await.unwrap();
    leader.trigger_snapshot(SOON).await.unwrap();
    let before = leader.status();

    let mut thief = dial(&seats[1], &seats[0]).await.unwrap();
    for proof in [None, Some(""), Some("8")] {
        // A leader of a later term, whom nobody has voted for: openraft would follow it at once.
        let ballot = Some(wire::Ballot { term: before.term + 1, node: 2, committed: true });
        let vote = wire::VoteRequest { ballot, last: None, leadership_transfer: true };
        let append = wire::AppendRequest { ballot, ..Default::default() };
        let (append, cluster, from, to) = (futures::stream::iter([append]), crate::common::CLUSTER, 2, 1);
        let refused = [
            thief.vote(named(vote, cluster, from, to, proof)).await.map(drop),
            thief.pre_vote(named(vote, cluster, from, to, proof)).await.map(drop),
            thief.append(named(append, cluster, from, to, proof)).await.map(drop),
            thief.fetch_snapshot(named(wire::SnapshotQuery::default(), cluster, from, to, proof)).await.map(drop),
            thief
                .transfer_leader(named(wire::TransferLeaderRequest::default(), cluster, from, to, proof))
                .await
                .map(drop),
            thief.read_index(named(wire::ReadIndexRequest {}, cluster, from, to, proof)).await.map(drop),
            thief.room(named(wire::RoomRequest {}, cluster, from, to, proof)).await.map(drop),
        ];
        for outcome in refused {
            assert_eq!(outcome.map_err(|status| status.code()), Err(Code::PermissionDenied), "with {proof:?}");
        }
    }
    write(&leader, "line", 2).await;
    assert_eq!((leader.status().role, leader.status().term), (Role::Leader, before.term));
    leader.shutdown().await;
}

/// Takes everybody at his word, and has nothing to show.
struct Thief;

impl Vouch for Thief {
    fn prove(&self, _: NodeId) -> String {
        "whatever it has seen".to_owned()
    }

    fn check(&self, _: NodeId, _: &str) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_counts_the_word_of_one_who_has_not_the_root_key() {
    let seats = [Seat::new(1).await, Seat::new(2).await];
    let known = Known::of(&seats);
    let leader = seats[0].open(&known).await;
    leader.initialize(seats[0].member(), SOON).await.unwrap();
    leads(&leader).await;
    let peering = Peering { vouch: Arc::new(Thief), ..seats[1].peering(&known) };
    let thief = RaftHandle::open(seats[1].config(), Book::default(), Sealer::with_key(7), peering).await.unwrap();
    leader.add_learner(NodeId(2), seats[1].member(), SOON).await.unwrap();
    let promoted = leader.promote(NodeId(2), Duration::from_millis(700)).await;
    assert_eq!(promoted, Err(ChangeError::NoQuorum), "what it says that it has stored counts for nothing");
    write(&leader, "line", 2).await;
    leader.shutdown().await;
    thief.shutdown().await;
}

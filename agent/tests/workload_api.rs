//! The Workload API as a workload meets it: over the unix socket, with this test process attested by the kernel, and
//! certificates of a real authority. Names carry the numbers of the conformance list where they prove a point of it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and a child of one prints what it got"
)]

mod channel;
#[path = "../../tests/interop/src/in_process.rs"]
mod support;

use std::time::Duration;

use agent::upstream::UpstreamError;
use ca::{Bundles, Selector};
use channel::channel;
use proto::workload as wire;
use proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use rustls::pki_types::CertificateDer;
use support::{Cluster, Nobody, RunningAgent, eventually, now, own_hash, own_path, own_uid, soon};
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use types::Millis;

fn with_header<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("workload.spiffe.io", "true".parse().expect("a value"));
    request
}

async fn client(agent: &RunningAgent) -> SpiffeWorkloadApiClient<Channel> {
    SpiffeWorkloadApiClient::new(channel(&agent.socket()).await)
}

/// Opens the stream once the agent has heard from the cluster.
async fn svids(agent: &RunningAgent) -> Result<Streaming<wire::X509svidResponse>, Status> {
    let mut client = client(agent).await;
    eventually("the agent has a state", || {
        let mut client = client.clone();
        async move {
            match client.fetch_x509svid(with_header(wire::X509svidRequest {})).await {
                Err(status) if status.code() == Code::Unavailable && status.message().contains("yet") => None,
                _ => Some(()),
            }
        }
    })
    .await;
    let opened = soon("an answer", client.fetch_x509svid(with_header(wire::X509svidRequest {}))).await;
    opened.map(tonic::Response::into_inner)
}

async fn next(stream: &mut Streaming<wire::X509svidResponse>) -> Result<wire::X509svidResponse, Status> {
    soon("a message", stream.message()).await.map(|message| message.expect("the stream goes on"))
}

fn ids(message: &wire::X509svidResponse) -> Vec<&str> {
    message.svids.iter().map(|svid| svid.spiffe_id.as_str()).collect()
}

async fn bundles(agent: &RunningAgent) -> Streaming<wire::X509BundlesResponse> {
    let opened = client(agent).await.fetch_x509_bundles(with_header(wire::X509BundlesRequest {})).await;
    opened.expect("opens").into_inner()
}

#[tokio::test]
async fn p73_an_svid_is_complete_and_holds_together() {
    let cluster = Cluster::new();
    cluster.register_with("api", &[own_uid(), own_path(), own_hash()], 1, "main", &["api.test.example"]);
    let agent = RunningAgent::start(cluster.clone()).await;
    let message = next(&mut svids(&agent).await.expect("opens")).await.expect("an identity");
    let [svid] = message.svids.as_slice() else { panic!("{} svids", message.svids.len()) };
    assert_eq!(svid.spiffe_id, "spiffe://test.chancery/ns/default/api");
    assert_eq!(svid.hint, "main");
    assert_eq!(svid.bundle, cluster.bundle().roots_der());
    let leaf = CertificateDer::from(svid.x509_svid.as_slice());
    let id = ca::verify_peer(&[leaf], &Bundles::new([cluster.bundle()]), now()).expect("verifies");
    assert_eq!(id.to_string(), svid.spiffe_id);
    let key = crypto::sign::P256Signer::from_pkcs8(&svid.x509_svid_key).expect("PKCS#8 DER");
    assert_eq!(ca::spki_hash_of_cert(&svid.x509_svid).expect("parses"), ca::spki_hash(&key.spki_der()));
    agent.stop().await;
}

#[tokio::test]
async fn p63_the_security_header_comes_exactly_once_and_is_true() {
    let cluster = Cluster::new();
    cluster.register("api", &[own_uid()], 1, "");
    let agent = RunningAgent::start(cluster).await;
    svids(&agent).await.expect("opens with the header");
    let mut client = client(&agent).await;
    for values in [&[][..], &["True"], &["TRUE"], &[""], &["false"], &["true", "true"], &["true", "false"]] {
        let mut request = Request::new(wire::X509svidRequest {});
        for value in values {
            request.metadata_mut().append("workload.spiffe.io", value.parse().expect("a value"));
        }
        let status = client.fetch_x509svid(request).await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument, "{values:?}");
    }
    let bare = client.fetch_jwtsvid(Request::new(wire::JwtsvidRequest::default())).await.expect_err("refused");
    assert_eq!(bare.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn p66_a_process_that_no_entry_matches_is_refused() {
    let cluster = Cluster::new();
    let stranger = Selector::UnixUid(rustix::process::geteuid().as_raw() + 1);
    let wrong_hash = Selector::UnixSha256([0; 32]);
    cluster.register("other", &[stranger], 1, "");
    cluster.register("program", &[own_uid(), own_path(), wrong_hash], 2, "");
    let agent = RunningAgent::start(cluster.clone()).await;
    let refused = svids(&agent).await.expect_err("no identity");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let mut client = client(&agent).await;
    let refused = client.fetch_x509_bundles(with_header(wire::X509BundlesRequest {})).await.expect_err("no identity");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(cluster.issued(), [""; 0], "nothing is signed for nobody");
}

#[tokio::test]
async fn p66_without_a_cluster_the_answer_is_unavailable() {
    let agent = RunningAgent::start(Nobody).await;
    let status =
        client(&agent).await.fetch_x509svid(with_header(wire::X509svidRequest {})).await.expect_err("no state");
    assert_eq!(status.code(), Code::Unavailable);
    agent.stop().await;
}

#[tokio::test]
async fn p66_jwt_and_wit_calls_are_unimplemented() {
    let agent = RunningAgent::start(Cluster::new()).await;
    let mut client = client(&agent).await;
    let codes = [
        client.fetch_jwtsvid(with_header(wire::JwtsvidRequest::default())).await.map(drop),
        client.fetch_jwt_bundles(with_header(wire::JwtBundlesRequest {})).await.map(drop),
        client.validate_jwtsvid(with_header(wire::ValidateJwtsvidRequest::default())).await.map(drop),
        client.fetch_witsvid(with_header(wire::WitsvidRequest::default())).await.map(drop),
        client.fetch_wit_bundles(with_header(wire::WitBundlesRequest {})).await.map(drop),
    ]
    .map(|answer| answer.expect_err("not offered").code());
    assert_eq!(codes, [Code::Unimplemented; 5]);
}

#[tokio::test]
async fn p69_p71_every_message_is_the_full_state_and_absence_revokes() {
    let cluster = Cluster::new();
    cluster.register("b", &[own_uid()], 2, "");
    let agent = RunningAgent::start(cluster.clone()).await;
    let mut stream = svids(&agent).await.expect("opens");
    assert_eq!(ids(&next(&mut stream).await.expect("one")), [cluster.id("b").to_string()]);
    cluster.register("a", &[own_uid()], 1, "");
    assert_eq!(
        ids(&next(&mut stream).await.expect("both")),
        [cluster.id("a").to_string(), cluster.id("b").to_string()],
        "p75: oldest first"
    );
    cluster.delete("a");
    assert_eq!(ids(&next(&mut stream).await.expect("one")), [cluster.id("b").to_string()]);
    cluster.delete("b");
    assert_eq!(next(&mut stream).await.expect_err("all gone").code(), Code::PermissionDenied);
}

#[tokio::test]
async fn p74_hints_are_unique_and_the_oldest_keeps_its_own() {
    let cluster = Cluster::new();
    for (name, created, hint) in [("c", 3, "x"), ("a", 1, "x"), ("b", 2, "y"), ("d", 4, ""), ("e", 5, "")] {
        cluster.register(name, &[own_uid()], created, hint);
    }
    let agent = RunningAgent::start(cluster).await;
    let message = next(&mut svids(&agent).await.expect("opens")).await.expect("five");
    let hints: Vec<_> = message.svids.iter().map(|svid| svid.hint.as_str()).collect();
    assert_eq!(hints, ["x", "y", "", "", ""]);
}

#[tokio::test]
async fn p92_an_unchanged_state_is_not_sent_again() {
    let cluster = Cluster::new();
    cluster.register("a", &[own_uid()], 1, "");
    let agent = RunningAgent::start(cluster.clone()).await;
    let (mut stream, mut bundles) = (svids(&agent).await.expect("opens"), bundles(&agent).await);
    next(&mut stream).await.expect("a first message");
    soon("a bundle", bundles.message()).await.expect("a first message");
    for _ in 0..3 {
        cluster.repeat();
        cluster.register("elsewhere", &[Selector::UnixUid(1)], 9, "");
    }
    cluster.register("b", &[own_uid()], 2, "");
    assert_eq!(next(&mut stream).await.expect("the next").svids.len(), 2, "nothing came in between");
    cluster.new_authority();
    let bundle = soon("a bundle", bundles.message()).await.expect("the next").expect("goes on");
    assert_eq!(bundle.bundles["spiffe://test.chancery"], cluster.bundle().roots_der(), "p76");
}

#[tokio::test]
async fn one_certificate_serves_every_process_that_matches() {
    let cluster = Cluster::new();
    cluster.register("a", &[own_uid()], 1, "");
    let agent = RunningAgent::start(cluster.clone()).await;
    let one = next(&mut svids(&agent).await.expect("opens")).await.expect("one");
    let two = next(&mut svids(&agent).await.expect("opens")).await.expect("two");
    assert_eq!(one.svids, two.svids);
    assert_eq!(cluster.issued(), ["namespaces/default/entries/a"]);
}

#[tokio::test]
async fn a_certificate_is_renewed_before_it_ends() {
    let cluster = Cluster::with_ttl(Some(Millis(1_500)));
    cluster.register("a", &[own_uid()], 1, "");
    let agent = RunningAgent::start(cluster.clone()).await;
    let mut stream = svids(&agent).await.expect("opens");
    let mut last = next(&mut stream).await.expect("the first");
    for _ in 0..2 {
        let started = std::time::Instant::now();
        let renewed = next(&mut stream).await.expect("the next");
        assert_ne!(renewed.svids[0].x509_svid, last.svids[0].x509_svid);
        assert_ne!(renewed.svids[0].x509_svid_key, last.svids[0].x509_svid_key, "a new key each time");
        assert!(started.elapsed() < Duration::from_millis(1_500), "it comes before the old one ends");
        last = renewed;
    }
}

#[tokio::test]
async fn a_certificate_that_the_bundle_no_longer_vouches_for_is_replaced_at_once() {
    let cluster = Cluster::new();
    cluster.register("a", &[own_uid()], 1, "");
    let agent = RunningAgent::start(cluster.clone()).await;
    let mut stream = svids(&agent).await.expect("opens");
    let first = next(&mut stream).await.expect("the first");
    cluster.new_authority();
    let both = next(&mut stream).await.expect("a new bundle");
    assert_eq!(both.svids[0].x509_svid, first.svids[0].x509_svid, "the old certificate still stands");
    cluster.drop_old_authorities();
    let replaced = next(&mut stream).await.expect("a new certificate");
    let leaf = CertificateDer::from(replaced.svids[0].x509_svid.as_slice());
    ca::verify_peer(&[leaf], &Bundles::new([cluster.bundle()]), now()).expect("verifies against what is left");
    assert_eq!(replaced.svids[0].bundle, cluster.bundle().roots_der());
}

#[tokio::test]
async fn a_changed_entry_gets_a_new_certificate() {
    let cluster = Cluster::new();
    cluster.register("a", &[own_uid()], 1, "");
    let agent = RunningAgent::start(cluster.clone()).await;
    let mut stream = svids(&agent).await.expect("opens");
    let first = next(&mut stream).await.expect("the first");
    cluster.register_with("a", &[own_uid()], 1, "", &["a.test.example"]);
    assert_ne!(next(&mut stream).await.expect("another").svids[0].x509_svid, first.svids[0].x509_svid);
}

#[tokio::test]
async fn a_certificate_over_another_key_reaches_nobody() {
    let cluster = Cluster::new();
    cluster.register("a", &[own_uid()], 1, "");
    cluster.swap_keys();
    let agent = RunningAgent::start(cluster).await;
    let status = svids(&agent).await.expect_err("unusable");
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("another key"), "{}", status.message());
}

#[tokio::test]
async fn a_refusal_is_told_and_ends_with_its_cause() {
    let cluster = Cluster::new();
    cluster.register("a", &[own_uid()], 1, "");
    cluster.refuse(Some(UpstreamError::Unavailable("no leader".to_owned())));
    let agent = RunningAgent::start(cluster.clone()).await;
    assert_eq!(svids(&agent).await.expect_err("cannot").code(), Code::Unavailable);
    cluster.refuse(Some(UpstreamError::Refused("the agent is revoked".to_owned())));
    eventually("the refusal shows", || async {
        let status = svids(&agent).await.err()?;
        (status.code() == Code::PermissionDenied).then_some(())
    })
    .await;
    cluster.refuse(None);
    eventually("it works again", || async { svids(&agent).await.ok() }).await;
}

#[tokio::test]
async fn a_bundle_is_acknowledged_once_every_stream_has_it() {
    let cluster = Cluster::new();
    cluster.register("a", &[own_uid()], 1, "");
    let agent = RunningAgent::start(cluster.clone()).await;
    eventually("the first bundle is acknowledged", || async {
        (cluster.acknowledged() == [cluster.sequence()]).then_some(())
    })
    .await;
    let mut stream = svids(&agent).await.expect("opens");
    next(&mut stream).await.expect("the first");
    cluster.new_authority();
    next(&mut stream).await.expect("the new bundle");
    eventually("the second too", || async { cluster.acknowledged().contains(&cluster.sequence()).then_some(()) }).await;
}

#[tokio::test]
async fn p67_health_and_reflection_answer_without_the_header() {
    let agent = RunningAgent::start(Cluster::new()).await;
    let channel = channel(&agent.socket()).await;
    let health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    eventually("it serves", || {
        let mut health = health.clone();
        async move {
            let request = tonic_health::pb::HealthCheckRequest { service: "SpiffeWorkloadAPI".to_owned() };
            let answer = health.check(request).await.expect("answers").into_inner();
            (answer.status == tonic_health::pb::health_check_response::ServingStatus::Serving as i32).then_some(())
        }
    })
    .await;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let mut reflection = tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(channel);
    let question = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers =
        reflection.server_reflection_info(futures::stream::iter([question])).await.expect("answers").into_inner();
    let answer = answers.message().await.expect("a message").expect("one").message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
    assert!(list.service.iter().any(|service| service.name == "SpiffeWorkloadAPI"), "{list:?}");
}

#[tokio::test]
async fn open_streams_end_when_the_agent_stops() {
    let cluster = Cluster::new();
    cluster.register("a", &[own_uid()], 1, "");
    let agent = RunningAgent::start(cluster).await;
    let mut stream = svids(&agent).await.expect("opens");
    next(&mut stream).await.expect("the first");
    let ((), end) = tokio::join!(agent.stop(), next(&mut stream));
    assert_eq!(end.expect_err("ends").code(), Code::Unavailable);
}

/// What the child of the next test does: it is a workload in a program of its own. Run by hand it does nothing.
#[tokio::test]
async fn as_a_child_with_a_program_of_its_own() {
    let Some(socket) = std::env::var_os("WORKLOAD_SOCKET") else { return };
    let mut client = SpiffeWorkloadApiClient::new(channel(std::path::Path::new(&socket)).await);
    match client.fetch_x509svid(with_header(wire::X509svidRequest {})).await {
        Ok(answer) => {
            let message = answer.into_inner().message().await.expect("a message").expect("one");
            println!("identities: {}", ids(&message).join(" "));
        }
        Err(status) => println!("refused: {:?}", status.code()),
    }
}

/// Two copies of one program, each with its own name appended, differ in path and hash: each gets its own identity.
#[tokio::test]
async fn path_and_hash_tell_copies_of_a_program_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let original = std::fs::read(std::env::current_exe().expect("a path")).expect("reads");
    let cluster = Cluster::new();
    for (created, name) in (1..).zip(["frontend", "backend", "changed"]) {
        let copy = [original.as_slice(), name.as_bytes()].concat();
        let path = folder.path().join(name);
        let registered = if name == "changed" { [0; 32] } else { crypto::hash::sha256(&copy) };
        std::fs::write(&path, copy).expect("writes");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("changes");
        let path = Selector::UnixPath(path.to_str().expect("text").to_owned());
        cluster.register(name, &[own_uid(), path, Selector::UnixSha256(registered)], created, "");
    }
    let agent = RunningAgent::start(cluster.clone()).await;
    assert_eq!(svids(&agent).await.expect_err("the original is neither").code(), Code::PermissionDenied);
    for (name, expected) in [
        ("frontend", format!("identities: {}", cluster.id("frontend"))),
        ("backend", format!("identities: {}", cluster.id("backend"))),
        ("changed", "refused: PermissionDenied".to_owned()),
    ] {
        let child = tokio::process::Command::new(folder.path().join(name))
            .args(["--exact", "as_a_child_with_a_program_of_its_own", "--nocapture"])
            .env("WORKLOAD_SOCKET", agent.socket())
            .output();
        let output = soon("the child ends", child).await.expect("runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(&expected), "{name}: {said}");
    }
}

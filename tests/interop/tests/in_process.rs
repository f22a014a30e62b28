//! Third-party clients against our agent, over a real unix socket and a real authority in this process.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use interop::in_process::{Cluster, RunningAgent, own_uid};
use interop::{openssl, workload};

/// The identity that every process of this user gets, and what makes its certificate a new one.
const NAME: &str = "api";

fn registered() -> Cluster {
    let cluster = Cluster::new();
    cluster.register(NAME, &[own_uid()], 1, "");
    cluster
}

fn rotate(cluster: &Cluster) {
    cluster.new_authority();
    cluster.register_with(NAME, &[own_uid()], 1, "", &["api.test.example"]);
}

#[tokio::test]
async fn rust_spiffe_fetches_and_sees_a_pushed_rotation() {
    let cluster = registered();
    let agent = RunningAgent::start(cluster.clone()).await;
    let id = cluster.id(NAME).to_string();
    workload::rust_spiffe(&agent.endpoint(), &id, async || rotate(&cluster)).await;
}

#[tokio::test]
async fn py_spiffe_fetches_and_sees_a_pushed_rotation() {
    let cluster = registered();
    let agent = RunningAgent::start(cluster.clone()).await;
    let id = cluster.id(NAME).to_string();
    workload::py_spiffe(&agent.endpoint(), &id, async || rotate(&cluster)).await;
}

#[tokio::test]
async fn openssl_verifies_the_chain_and_does_mutual_tls() {
    if !openssl::is_there() {
        return;
    }
    let agent = RunningAgent::start(registered()).await;
    let source = workload::source(&agent.endpoint()).await;
    let folder = tempfile::tempdir().expect("a folder");
    openssl::write_files(&source, folder.path());
    let path = folder.path().to_owned();
    tokio::task::spawn_blocking(move || {
        openssl::verify(&path);
        openssl::mutual_tls(&path);
    })
    .await
    .expect("holds");
}

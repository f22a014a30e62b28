//! The whole agent against a node on a TLS port: enrolled by a join token once, known by its key afterwards, serving
//! what the node signs.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod channel;
mod node;
#[path = "../../tests/interop/src/in_process.rs"]
mod support;

use std::path::Path;

use agent::{AgentError, Config};
use chancery_client::token::JoinToken;
use channel::channel;
use node::Node;
use proto::workload::X509svidRequest;
use proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use support::{Cluster, eventually, own_uid, soon};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Request;

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), AgentError>>,
}

fn start(folder: &Path, join_token: Option<JoinToken>) -> Running {
    let config = Config {
        data_dir: folder.join("data"),
        socket_path: folder.join("agent.sock"),
        endpoints: Vec::new(),
        join_token,
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(agent::run(config, async {
        stopped.await.ok();
    }));
    Running { stop, task }
}

impl Running {
    /// Waits until a workload has its identity through the whole chain: socket, agent, TLS, node, authority.
    async fn serves(&self, folder: &Path) -> String {
        let socket = folder.join("agent.sock");
        eventually("the socket is there", || async { socket.exists().then_some(()) }).await;
        let client = SpiffeWorkloadApiClient::new(channel(&socket).await);
        eventually("a workload is served", || {
            let mut client = client.clone();
            async move {
                let mut request = Request::new(X509svidRequest {});
                request.metadata_mut().insert("workload.spiffe.io", "true".parse().expect("a value"));
                let message = client.fetch_x509svid(request).await.ok()?.into_inner().message().await.ok()??;
                Some(message.svids.first()?.spiffe_id.clone())
            }
        })
        .await
    }

    async fn stop(self) {
        self.stop.send(()).expect("runs");
        soon("the agent ends", self.task).await.expect("ends").expect("ends well");
    }

    async fn fails(self) -> AgentError {
        soon("the agent ends", self.task).await.expect("ends").expect_err("fails")
    }
}

async fn node() -> Node {
    let cluster = Cluster::new();
    cluster.register("api", &[own_uid()], 1, "");
    Node::start(cluster).await
}

#[tokio::test]
async fn a_token_admits_once_and_a_restart_needs_none() {
    let (node, folder) = (node().await, tempfile::tempdir().expect("a folder"));
    let agent = start(folder.path(), Some(node.token()));
    assert_eq!(agent.serves(folder.path()).await, node.cluster.id("api").to_string());
    eventually("the bundle is acknowledged", || async {
        node.cluster.acknowledged().contains(&node.cluster.sequence()).then_some(())
    })
    .await;
    let second = start(folder.path(), None).fails().await;
    assert!(matches!(second, AgentError::AlreadyRunning { .. }), "{second}");
    agent.stop().await;
    let again = start(folder.path(), None);
    again.serves(folder.path()).await;
    again.stop().await;
    let with_another = start(folder.path(), Some(node.token()));
    with_another.serves(folder.path()).await;
    with_another.stop().await;
}

#[tokio::test]
async fn a_used_token_is_refused_in_words() {
    let node = node().await;
    let token = node.token();
    let again = JoinToken::parse(&token.encode().expect("text")).expect("the same");
    let (first, second) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let agent = start(first.path(), Some(token));
    agent.serves(first.path()).await;
    let error = start(second.path(), Some(again)).fails().await.to_string();
    assert!(error.contains("`agents/dev` was refused: it has been used"), "{error}");
    agent.stop().await;
}

#[tokio::test]
async fn a_crash_between_redeeming_and_noting_it_is_mended() {
    let (node, folder) = (node().await, tempfile::tempdir().expect("a folder"));
    let token = node.token();
    let again = JoinToken::parse(&token.encode().expect("text")).expect("the same");
    let agent = start(folder.path(), Some(token));
    agent.serves(folder.path()).await;
    agent.stop().await;
    std::fs::remove_file(folder.path().join("data/identity.json")).expect("was there");
    let mended = start(folder.path(), Some(again));
    mended.serves(folder.path()).await;
    mended.stop().await;
}

#[tokio::test]
async fn without_a_token_or_with_another_clusters_it_says_so() {
    let (node, folder) = (node().await, tempfile::tempdir().expect("a folder"));
    let error = start(folder.path(), None).fails().await;
    assert!(matches!(error, AgentError::NotEnrolled), "{error}");
    let agent = start(folder.path(), Some(node.token()));
    agent.serves(folder.path()).await;
    agent.stop().await;
    let foreign = JoinToken { cluster_id: types::ClusterId([8; 16]), ..node.token() };
    let error = start(folder.path(), Some(foreign)).fails().await;
    assert!(matches!(error, AgentError::OtherCluster { .. }), "{error}");
}

#[tokio::test]
async fn a_node_that_the_pinned_key_does_not_vouch_for_gets_no_token() {
    let (node, folder) = (node().await, tempfile::tempdir().expect("a folder"));
    let token = JoinToken { cluster_key_hash: types::SpkiHash([0; 32]), ..node.token() };
    let id = token.id;
    let error = start(folder.path(), Some(token)).fails().await;
    assert!(matches!(error, AgentError::Cluster(_)), "{error}");
    assert!(!node.has_seen(id), "the token was never sent");
}

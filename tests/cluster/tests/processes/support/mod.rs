//! A cluster of processes and the operators that use it.

pub(crate) mod memory;
mod node;
mod operator;
mod search;
pub(crate) mod secrets;
pub(crate) mod token;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use chancery_client::tls::unix_channel;
use chancery_client::{Address, Client, Config, Error};
use proto::cluster::v1 as wire;
use proto::cluster::v1::cluster_service_client::ClusterServiceClient;
use types::{ClusterId, Reason, SpkiHash};

pub(crate) use node::{Node, command};
pub(crate) use operator::Operator;
pub(crate) use search::{Needles, files_under};
use token::Token;

/// How long anything that must come about may take. Generous: the machine may be busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The deadline of a client's call, retries included.
const CALL: Duration = Duration::from_secs(30);

/// What a cluster is formed as.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) nodes: usize,
    pub(crate) log_level: &'static str,
    /// The seal is one of passphrase when there is one.
    pub(crate) passphrase: Option<&'static str>,
    /// The seal is a token when there is one.
    pub(crate) token: Option<&'static Token>,
}

/// A running cluster. Its processes end and its folder goes with it.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: Operator,
    pub(crate) id: ClusterId,
    pub(crate) key_hash: SpkiHash,
    folder: tempfile::TempDir,
    plan: Plan,
}

impl Plan {
    pub(crate) const fn of(nodes: usize) -> Self {
        Self { nodes, log_level: "info", passphrase: None, token: None }
    }
}

impl Cluster {
    /// Forms a cluster of that many voters.
    pub(crate) async fn form(plan: Plan) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut nodes: Vec<_> = (1..=plan.nodes).map(|number| Node::new(folder.path(), number, plan)).collect();
        let mut root = Operator::new(&folder.path().join("root"), "operators/root");
        nodes[0].start(&[]);
        let admin = nodes[0].dir().join("admin.sock");
        until("the admin socket", async || unix_channel(&admin).await.is_ok()).await;
        let request = wire::InitRequest {
            trust_domain: "test.chancery".into(),
            operator_spki: root.spki(),
            seal_passphrase: plan.passphrase.unwrap_or_default().into(),
            ..Default::default()
        };
        let channel = unix_channel(&admin).await.expect("connects");
        let formed = ClusterServiceClient::new(channel).init(request).await.expect("forms").into_inner();
        let id = ClusterId::from_hex(&formed.cluster_id).expect("an id");
        let key_hash = SpkiHash::from_hex(&formed.cluster_key_hash).expect("a hash");
        root.belongs_to(id, key_hash, &nodes);
        let mut cluster = Self { nodes, root, id, key_hash, folder, plan };
        let first = cluster.client_to(&cluster.root, &[0]).await;
        for index in 1..plan.nodes {
            let token = join_token(&first, None).await;
            cluster.nodes[index].join(&token);
            // One after the other: numbers are given in the order in which nodes come.
            until("the node to be admitted", async || {
                status(&first).await.is_some_and(|status| status.nodes.len() == index + 1)
            })
            .await;
        }
        cluster.all_vote(&first).await;
        cluster
    }

    /// Starts one more node with that token and those flags, and returns its index; it is not waited for.
    pub(crate) fn join(&mut self, token: &str, flags: &[&str]) -> usize {
        let index = self.nodes.len();
        self.nodes.push(Node::new(self.folder.path(), index + 1, self.plan));
        self.nodes[index].join_with(token, flags);
        index
    }

    /// Where tests may put files: removed with the cluster.
    pub(crate) fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// A client of all nodes, as the first operator.
    pub(crate) async fn client(&self) -> Client {
        self.client_to(&self.root, &(0..self.nodes.len()).collect::<Vec<_>>()).await
    }

    /// A client of one node, as the first operator.
    pub(crate) async fn client_of(&self, node: usize) -> Client {
        self.client_to(&self.root, &[node]).await
    }

    /// A client of one node that gives up soon: for what the node refuses and another would answer.
    pub(crate) async fn impatient(&self, node: usize) -> Client {
        self.connect(&self.root, &[node], Duration::from_secs(2)).await
    }

    /// A client of those nodes, as that operator.
    pub(crate) async fn client_to(&self, operator: &Operator, nodes: &[usize]) -> Client {
        self.connect(operator, nodes, CALL).await
    }

    async fn connect(&self, operator: &Operator, nodes: &[usize], deadline: Duration) -> Client {
        let config = Config {
            endpoints: nodes.iter().map(|index| self.nodes[*index].api()).collect(),
            identity: operator.identity(),
            cluster_key_hash: self.key_hash,
            trust_cache: None,
            deadline,
        };
        Client::connect(config).await.expect("connects")
    }

    /// Enrols another operator, for ever or for some seconds.
    pub(crate) async fn enrol(&self, name: &str, ttl_secs: Option<i64>) -> Operator {
        let mut operator = Operator::new(&self.scratch().join(name), &format!("operators/{name}"));
        let request = wire::EnrolOperatorRequest {
            operator_id: name.into(),
            spki: operator.spki(),
            ttl: ttl_secs.map(seconds),
            ..Default::default()
        };
        self.client().await.operators().enrol(request).await.expect("enrols");
        operator.belongs_to(self.id, self.key_hash, &self.nodes);
        operator
    }

    /// Grants a role; `scope` is `cluster` or `namespaces/{ns}`.
    pub(crate) async fn grant(&self, operator: &Operator, role: &str, scope: &str) {
        let binding = wire::Binding { principal: operator.name().into(), role: role.into(), scope: scope.into() };
        let request = wire::GrantRoleRequest { binding: Some(binding), ..Default::default() };
        self.client().await.operators().grant_role(request).await.expect("grants");
    }

    /// Runs a command as that operator and waits for its end.
    pub(crate) fn cli(&self, operator: &Operator, arguments: &[&str]) -> Output {
        let addresses: Vec<String> = self.nodes.iter().map(|node| node.api().to_string()).collect();
        command()
            .args(arguments)
            .env("CHANCERY_ADDR", addresses.join(","))
            .env("CHANCERY_IDENTITY", operator.folder())
            .stdin(std::process::Stdio::null())
            .output()
            .expect("runs")
    }

    /// Which node leads, as an index into `nodes`.
    pub(crate) async fn leader(&self, client: &Client) -> usize {
        let mut leader = 0;
        until("a leader", async || {
            leader = status(client).await.map_or(0, |status| status.leader);
            leader != 0
        })
        .await;
        usize::try_from(leader).expect("small") - 1
    }

    /// Waits until every node votes and is unsealed.
    pub(crate) async fn all_vote(&self, client: &Client) {
        let size = self.nodes.len();
        until("every node to vote", async || {
            let votes = |node: &wire::NodeStatus| {
                node.reachable && matches!(node.role(), wire::NodeRole::Leader | wire::NodeRole::Follower)
            };
            status(client).await.is_some_and(|status| status.nodes.len() == size && status.nodes.iter().all(votes))
        })
        .await;
    }
}

/// The cluster's status, if a node tells it now.
pub(crate) async fn status(client: &Client) -> Option<wire::ClusterStatus> {
    client.cluster().status(wire::GetStatusRequest {}).await.ok()
}

/// A token for a node, or for the agent of that name.
pub(crate) async fn join_token(client: &Client, agent: Option<&str>) -> String {
    let kind = if agent.is_some() { wire::JoinTokenKind::Agent } else { wire::JoinTokenKind::Node };
    let request = wire::CreateJoinTokenRequest {
        kind: kind.into(),
        agent_id: agent.unwrap_or_default().into(),
        ..Default::default()
    };
    client.cluster().create_join_token(request).await.expect("makes a token").token
}

/// Creates a key in the namespace `default`.
pub(crate) async fn create_key(client: &Client, id: &str) -> String {
    let request = proto::kms::v1::CreateKeyRequest {
        parent: "namespaces/default".into(),
        key_id: id.into(),
        ..Default::default()
    };
    client.keys().create(request).await.expect("creates").name
}

/// The refusal that a call must have ended in.
#[track_caller]
pub(crate) fn refusal<T: std::fmt::Debug>(outcome: Result<T, Error>) -> (Reason, String) {
    match outcome.expect_err("must be refused") {
        Error::Refused { refusal, .. } => (refusal.reason, refusal.message),
        Error::AllSealed { .. } => (Reason::Sealed, String::new()),
        error => panic!("not a refusal: {error}"),
    }
}

/// Waits for a condition, and fails with its name when it does not come about in time.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) const fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

/// Writes a file that only its owner may read, as secrets have to be.
pub(crate) fn private(path: PathBuf, content: &str) -> PathBuf {
    chancery_client::private_file::write(&path, content.as_bytes()).expect("writes");
    path
}

/// An address on loopback.
pub(crate) fn loopback(port: u16) -> Address {
    Address::parse(&format!("127.0.0.1:{port}")).expect("an address")
}

//! A cluster of real nodes, each a process of its own, formed through the public calls.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chancery_client::tls::{Connector, Identity, PinSet, PinnedServers, channel, client_config, unix_channel};
use chancery_client::{Address, Client, Config};
use crypto::sign::P256Signer;
use proto::cluster::v1 as wire;
use proto::cluster::v1::cluster_service_client::ClusterServiceClient;
use tonic::transport::Channel;
use types::{SpkiHash, Time};

use crate::Fault;
use crate::child::Child;
use crate::usage::Usage;

/// A running cluster and the operator that formed it.
pub(crate) struct Cluster {
    /// The first is the leader: it formed the cluster, and nobody disturbs it.
    nodes: Vec<tokio::sync::Mutex<Child>>,
    /// Who calls.
    pub(crate) operator: Identity,
    /// The first node only.
    pub(crate) client: Client,
    address: Address,
}

impl Cluster {
    /// Forms a cluster of that many voters under `folder`.
    pub(crate) async fn form(folder: &Path, size: usize) -> Result<Self, Fault> {
        let signer = P256Signer::generate();
        let operator = Identity::self_signed(&signer, "operators/bench", now()?)?;
        let dir = |n: usize| folder.join(format!("node-{n}"));
        std::fs::create_dir_all(folder)?;
        let first = Child::start([Path::new("node"), &dir(1)])?;
        let socket = dir(1).join("admin.sock");
        until("the admin socket", async || unix_channel(&socket).await.is_ok()).await?;
        let mut admin = ClusterServiceClient::new(unix_channel(&socket).await?);
        let init = wire::InitRequest {
            trust_domain: "bench.chancery".into(),
            operator_spki: signer.spki_der(),
            ..Default::default()
        };
        let cluster_key_hash = admin.init(init).await?.into_inner().cluster_key_hash;
        let address = api_address(&dir(1))?;
        let config = Config {
            endpoints: vec![address.clone()],
            identity: operator.clone(),
            cluster_key_hash: SpkiHash::from_hex(&cluster_key_hash).ok_or("not the hash of a key")?,
            trust_cache: None,
            deadline: Duration::from_secs(20),
        };
        let client = Client::connect(config).await?;
        let mut nodes = vec![tokio::sync::Mutex::new(first)];
        for n in 2..=size {
            let request = wire::CreateJoinTokenRequest { kind: wire::JoinTokenKind::Node.into(), ..Default::default() };
            let token = client.cluster().create_join_token(request).await?.token;
            let mut node = Child::start([Path::new("node"), &dir(n), Path::new("--join")])?;
            node.say(&token).await?;
            nodes.push(tokio::sync::Mutex::new(node));
        }
        until("every node to vote", async || votes(&client).await == size).await?;
        Ok(Self { nodes, operator, client, address })
    }

    /// A bare channel to the first node, without the client's fail-over and retries: as the peer is called.
    pub(crate) fn channel(&self) -> Result<Channel, Fault> {
        pinned_channel(&self.operator, self.address.clone(), self.client.trust().pins())
    }

    /// What the first node has used so far.
    pub(crate) async fn usage(&self) -> Result<Usage, Fault> {
        self.nodes.first().ok_or("no node")?.lock().await.usage().await
    }

    /// Ends all nodes; the leader last, so that nobody elects another.
    pub(crate) async fn stop(self) -> Result<(), Fault> {
        for node in self.nodes.into_iter().rev() {
            node.into_inner().stop().await?;
        }
        Ok(())
    }
}

/// A bare channel to a server of one of those keys.
pub(crate) fn pinned_channel(
    identity: &Identity,
    address: Address,
    pins: impl Iterator<Item = SpkiHash>,
) -> Result<Channel, Fault> {
    let tls = client_config(identity, PinnedServers::new(PinSet::new(pins)))?;
    Ok(channel(Connector::new(address, tls.into()))?)
}

/// This machine's clock.
pub(crate) fn now() -> Result<Time, Fault> {
    Ok(Time(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?))
}

async fn votes(client: &Client) -> usize {
    let Ok(status) = client.cluster().status(wire::GetStatusRequest {}).await else { return 0 };
    let votes = |node: &&wire::NodeStatus| {
        node.reachable && matches!(node.role(), wire::NodeRole::Leader | wire::NodeRole::Follower)
    };
    status.nodes.iter().filter(votes).count()
}

fn api_address(data_dir: &Path) -> Result<Address, Fault> {
    let file: PathBuf = data_dir.join("addresses.json");
    let addresses: serde_json::Value = serde_json::from_slice(&std::fs::read(file)?)?;
    let api = addresses.get("api").and_then(serde_json::Value::as_str).ok_or("the node wrote no API address")?;
    Ok(Address::parse(api)?)
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) -> Result<(), Fault> {
    let started = Instant::now();
    while !holds().await {
        if started.elapsed() > Duration::from_secs(30) {
            return Err(format!("waited in vain for {what}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

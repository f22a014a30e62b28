//! A cluster of processes, formed through the public calls, and its first operator.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chancery_client::tls::{Connector, Identity, PinSet, PinnedServers, channel, client_config, unix_channel};
use chancery_client::{Address, Client, Config};
use crypto::sign::P256Signer;
use proto::ca::v1 as ca;
use proto::cluster::v1 as wire;
use proto::cluster::v1::cluster_service_client::ClusterServiceClient;
use proto::kms::v1 as kms;
use tonic::transport::Channel;
use types::{ClusterId, SpkiHash, Time};

use crate::Fault;
use crate::node::{Node, Place};

/// How long anything that must come about may take. Generous: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The deadline of a call, retries included, of a client that knows every node.
pub(crate) const CALL: Duration = Duration::from_secs(20);
/// The same for a client of one node, which has nowhere else to go.
const CALL_ONE: Duration = Duration::from_secs(3);

/// A running cluster. Its processes end with it.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) doors: Doors,
    folder: PathBuf,
}

/// How callers reach the cluster. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Doors {
    /// Who calls.
    pub(crate) operator: Identity,
    /// Of every node, by the SDK, which fails over.
    pub(crate) all: Client,
    /// Of each node alone, by the SDK.
    pub(crate) each: Vec<Client>,
    pub(crate) addresses: Vec<Address>,
    pub(crate) cluster_id: ClusterId,
    pub(crate) cluster_key_hash: SpkiHash,
}

impl Cluster {
    /// Forms a cluster with a voter at each place.
    pub(crate) async fn form(folder: &Path, places: Vec<Place>) -> Result<Self, Fault> {
        std::fs::create_dir_all(folder)?;
        let output = |number: usize| folder.join(format!("node-{number}.log"));
        let mut nodes: Vec<Node> =
            places.into_iter().enumerate().map(|(index, place)| Node::new(place, output(index + 1))).collect();
        let signer = P256Signer::generate();
        let operator = Identity::self_signed(&signer, "operators/chaos", now()?)?;
        let (first, others) = nodes.split_first_mut().ok_or("a cluster has a node")?;
        first.start()?;
        let socket = first.dir().join("admin.sock");
        until("the admin socket", async || unix_channel(&socket).await.is_ok()).await?;
        let init = wire::InitRequest {
            trust_domain: "chaos.chancery".into(),
            operator_spki: signer.spki_der(),
            ..Default::default()
        };
        let formed = ClusterServiceClient::new(unix_channel(&socket).await?).init(init).await?.into_inner();
        let cluster_key_hash = SpkiHash::from_hex(&formed.cluster_key_hash).ok_or("not the hash of a key")?;
        let whom = (ClusterId::from_hex(&formed.cluster_id).ok_or("not the id of a cluster")?, cluster_key_hash);
        let alone = Doors::open(&operator, vec![first.api()?], whom).await?;
        for (index, node) in others.iter_mut().enumerate() {
            let request = wire::CreateJoinTokenRequest { kind: wire::JoinTokenKind::Node.into(), ..Default::default() };
            node.join(&alone.all.cluster().create_join_token(request).await?.token)?;
            // One after the other: numbers are given in the order in which nodes come.
            until("the node to be admitted", async || {
                status(&alone.all).await.is_some_and(|status| status.nodes.len() == index + 2)
            })
            .await?;
        }
        let size = nodes.len();
        until("every node to vote", async || votes(&alone.all).await == size).await?;
        // As an operator waits before the first workload comes: until then an authority need not wait for anybody's knowledge of it.
        until("every node to have an authority that signs", async || signers(&alone.all).await == size).await?;
        let addresses = nodes.iter().map(Node::api).collect::<Result<Vec<_>, _>>()?;
        let doors = Doors::open(&operator, addresses, whom).await?;
        Ok(Self { nodes, doors, folder: folder.to_owned() })
    }

    /// A node.
    pub(crate) fn node(&mut self, index: usize) -> Result<&mut Node, Fault> {
        self.nodes.get_mut(index).ok_or_else(|| format!("there is no node {index}").into())
    }

    /// Where a scenario may put files.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Which node leads, as an index into `nodes`, by the word of the highest term.
    pub(crate) async fn leader(&self) -> Result<usize, Fault> {
        let mut leader = None;
        until("a leader", async || {
            leader = self.doors.leader().await;
            leader.is_some()
        })
        .await?;
        Ok(leader.ok_or("no leader")?)
    }

    /// A node other than the leader, where there is one.
    pub(crate) async fn follower(&self, choice: usize) -> Result<usize, Fault> {
        let others = (self.nodes.len() - 1).max(1);
        Ok((self.leader().await? + 1 + choice % others) % self.nodes.len())
    }

    /// Starts every node whose process is gone, as a supervisor does; says which.
    pub(crate) fn start_what_ended(&mut self) -> Result<Vec<usize>, Fault> {
        let mut started = Vec::new();
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if !node.runs()? {
                node.start()?;
                started.push(index);
            }
        }
        Ok(started)
    }

    /// Waits until a node answers a read that a quorum confirms: it is open, caught up and in touch.
    pub(crate) async fn caught_up(&mut self, index: usize) -> Result<(), Fault> {
        let client = self.doors.one(index)?.clone();
        let mut newest = String::new();
        let found = until("the node to catch up", async || match linearizable(&client).await {
            Ok(()) => true,
            Err(error) => {
                newest = error.to_string();
                false
            }
        });
        if found.await.is_err() {
            let (said, seen) = (self.node(index)?.last_words(), self.doors.seen().await);
            return Err(format!("node {} did not catch up: {newest}; {said}; {seen}", index + 1).into());
        }
        Ok(())
    }

    /// Waits until every node answers reads.
    pub(crate) async fn all_caught_up(&mut self) -> Result<(), Fault> {
        for index in 0..self.nodes.len() {
            self.caught_up(index).await?;
        }
        Ok(())
    }
}

impl Doors {
    async fn open(
        operator: &Identity,
        addresses: Vec<Address>,
        (cluster_id, cluster_key_hash): (ClusterId, SpkiHash),
    ) -> Result<Self, Fault> {
        let config = |endpoints: Vec<Address>, deadline: Duration| Config {
            endpoints,
            identity: operator.clone(),
            cluster_key_hash,
            trust_cache: None,
            deadline,
        };
        let all = Client::connect(config(addresses.clone(), CALL)).await?;
        let mut each = Vec::new();
        for address in &addresses {
            each.push(Client::connect(config(vec![address.clone()], CALL_ONE)).await?);
        }
        Ok(Self { operator: operator.clone(), all, each, addresses, cluster_id, cluster_key_hash })
    }

    /// A client of all nodes with connections of its own, as another process has; it turns to `first` first.
    pub(crate) async fn another(&self, first: usize) -> Result<Client, Fault> {
        self.another_as(&self.operator, first).await
    }

    /// The same for somebody else.
    pub(crate) async fn another_as(&self, identity: &Identity, first: usize) -> Result<Client, Fault> {
        let mut endpoints = self.addresses.clone();
        let count = endpoints.len();
        endpoints.rotate_left(first % count.max(1));
        let config = Config {
            endpoints,
            identity: identity.clone(),
            cluster_key_hash: self.cluster_key_hash,
            trust_cache: None,
            deadline: CALL,
        };
        Ok(Client::connect(config).await?)
    }

    /// The client of one node.
    pub(crate) fn one(&self, index: usize) -> Result<&Client, Fault> {
        self.each.get(index).ok_or_else(|| format!("there is no node {index}").into())
    }

    /// A bare channel to one node: no fail-over, no retry, so that each answer is that node's.
    pub(crate) fn bare(&self, identity: &Identity, index: usize) -> Result<Channel, Fault> {
        let address = self.addresses.get(index).ok_or("there is no such node")?.clone();
        let tls = client_config(identity, PinnedServers::new(PinSet::new(self.all.trust().pins())))?;
        Ok(channel(Connector::new(address, tls.into()))?)
    }

    /// How far the nodes are, as each of them tells it: for the words of a failure.
    async fn seen(&self) -> String {
        let mut told = Vec::new();
        for (node, client) in self.each.iter().enumerate() {
            let Some(status) = status(client).await else {
                told.push(format!("node {} tells nothing", node + 1));
                continue;
            };
            let rows =
                status.nodes.iter().map(|node| format!("{} is at {} (-{})", node.node, node.applied_index, node.lag));
            let rows: Vec<String> = rows.collect();
            told.push(format!(
                "node {}: {} leads in term {}, {}",
                node + 1,
                status.leader,
                status.term,
                rows.join(", ")
            ));
        }
        told.join("; ")
    }

    /// The leader of the highest term that any node tells of.
    pub(crate) async fn leader(&self) -> Option<usize> {
        let mut newest = (0, 0);
        for client in &self.each {
            let asked = tokio::time::timeout(Duration::from_secs(1), status(client)).await;
            if let Some(told) = asked.ok().flatten() {
                newest = newest.max((told.term, told.leader));
            }
        }
        usize::try_from(newest.1).ok()?.checked_sub(1)
    }
}

/// A read that a node had to ask the leader about.
async fn linearizable(client: &Client) -> Result<(), chancery_client::Error> {
    let request = kms::ListKeysRequest { parent: "namespaces/default".into(), page_size: 1, ..Default::default() };
    client.keys().list(request).await.map(drop)
}

async fn status(client: &Client) -> Option<wire::ClusterStatus> {
    client.cluster().status(wire::GetStatusRequest {}).await.ok()
}

async fn votes(client: &Client) -> usize {
    let votes = |node: &&wire::NodeStatus| {
        node.reachable && matches!(node.role(), wire::NodeRole::Leader | wire::NodeRole::Follower)
    };
    status(client).await.map_or(0, |status| status.nodes.iter().filter(votes).count())
}

async fn signers(client: &Client) -> usize {
    let Ok(found) = client.authorities().list(ca::ListAuthoritiesRequest {}).await else { return 0 };
    found.authorities.iter().filter(|authority| authority.state() == ca::AuthorityState::Active).count()
}

/// Waits for a condition; in vain is an error with its name.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) -> Result<(), Fault> {
    let started = Instant::now();
    while !holds().await {
        if started.elapsed() > PATIENCE {
            return Err(format!("waited in vain for {what}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Lets time pass while a fault lasts; there is no condition to wait for, the load goes on.
pub(crate) async fn last(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        tokio::time::sleep(until.saturating_duration_since(Instant::now())).await;
    }
}

/// This machine's clock.
pub(crate) fn now() -> Result<Time, Fault> {
    Ok(Time(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?))
}

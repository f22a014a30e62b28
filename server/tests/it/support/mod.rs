//! A cluster of nodes in this process: each with its own folder, ports and tasks, formed through the public calls.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test that cannot be set up has failed")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant};

use chancery_client::tls::{self, Connector, Identity, PinSet, PinnedServers, unix_channel};
use chancery_client::trust::TrustCache;
use chancery_client::{Address, Client, Config as ClientConfig};
use crypto::sign::P256Signer;
use proto::cluster::v1 as wire;
use proto::cluster::v1::cluster_service_client::ClusterServiceClient;
use proto::cluster::v1::seal_service_client::SealServiceClient;
use proto::member::v1::member_service_client::MemberServiceClient;
use proto::member::v1::{RootName, UnsealPeerRequest};
use server::Config;
use server::config::{BackupSettings, SealKind, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use types::{ClusterId, NodeId, SpkiHash, Time};

/// What opens every node of a cluster with the passphrase seal.
pub(crate) const PASSPHRASE: &[u8] = b"correct horse battery staple";

/// A running cluster and the operator that formed it.
pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    nodes: Vec<Node>,
    operator: Identity,
    operator_spki: Vec<u8>,
    cluster_key_hash: SpkiHash,
    /// Of the shamir seal, three of which open a node.
    pub(crate) shares: Vec<String>,
}

/// A place for a node whose data folder is not there yet.
pub(crate) struct Seat(Node, tempfile::TempDir);

struct Node {
    dir: PathBuf,
    ports: Vec<u16>,
    seal: SealKind,
    backup: BackupSettings,
    ledger: Option<PathBuf>,
    /// Joins without a vote.
    learner: bool,
    /// Where its peer port is.
    peer_ip: [u8; 4],
    running: Option<(CancellationToken, JoinHandle<Result<(), server::RunError>>)>,
    /// Why the node that was started last is running no more.
    ended: Arc<OnceLock<String>>,
    /// Its own, so that it can be killed with everything that it has started.
    runtime: Option<Runtime>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Cluster {
    /// Forms a cluster of that many voters, with the file seal.
    pub(crate) async fn form(size: usize) -> Self {
        Self::form_sealed(size, SealKind::File).await
    }

    /// Forms a cluster of that many voters; with the passphrase seal, that passphrase is [`PASSPHRASE`].
    pub(crate) async fn form_sealed(size: usize, seal: SealKind) -> Self {
        Self::form_under(tempfile::tempdir().expect("a folder"), size, seal).await
    }

    /// Forms a cluster whose folders lie under that one.
    pub(crate) async fn form_under(folder: tempfile::TempDir, size: usize, seal: SealKind) -> Self {
        Self::form_with(folder, size, seal, BackupSettings::default(), None).await
    }

    /// Forms a cluster of that many voters, each with a ledger in that folder, named for its number.
    pub(crate) async fn form_with_ledgers(size: usize, ledgers: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::form_with(folder, size, SealKind::File, BackupSettings::default(), Some(ledgers)).await
    }

    /// Forms a cluster of that many voters whose nodes back it up, each in a folder of its own below the given one.
    pub(crate) async fn form_backed_up(size: usize, backup: BackupSettings) -> Self {
        Self::form_with(tempfile::tempdir().expect("a folder"), size, SealKind::File, backup, None).await
    }

    async fn form_with(
        folder: tempfile::TempDir,
        size: usize,
        seal: SealKind,
        backup: BackupSettings,
        ledgers: Option<&Path>,
    ) -> Self {
        let signer = P256Signer::generate();
        let operator = Identity::self_signed(&signer, "operators/root", now()).expect("an identity");
        let node = |n: usize| {
            let own = backup.folder.as_ref().map(|folder| folder.join(format!("{n}")));
            let backup = BackupSettings { folder: own, ..backup.clone() };
            let mut node = Node::new(folder.path().join(format!("node-{n}")), seal);
            node.backup = backup;
            node.ledger = ledgers.map(|folder| folder.join(format!("{n}.ledger")));
            node
        };
        let nodes = (1..=size).map(node).collect();
        let (operator_spki, cluster_key_hash) = (signer.spki_der(), SpkiHash([0; 32]));
        let mut cluster = Self { folder, nodes, operator, operator_spki, cluster_key_hash, shares: Vec::new() };
        cluster.nodes[0].start(None);
        let socket = cluster.nodes[0].dir.join("admin.sock");
        until("the admin socket", Duration::from_secs(10), || async { unix_channel(&socket).await.is_ok() }).await;
        let mut admin = ClusterServiceClient::new(unix_channel(&socket).await.expect("connects"));
        let init = wire::InitRequest {
            trust_domain: "test.chancery".into(),
            operator_spki: signer.spki_der(),
            seal_passphrase: if seal == SealKind::Passphrase { PASSPHRASE.to_vec() } else { Vec::new() },
            seal_shares: if seal == SealKind::Shamir { 5 } else { 0 },
            seal_threshold: if seal == SealKind::Shamir { 3 } else { 0 },
            ..Default::default()
        };
        let formed = admin.init(init).await.expect("forms").into_inner();
        cluster.shares = formed.seal_shares;
        cluster.cluster_key_hash = SpkiHash::from_hex(&formed.cluster_key_hash).expect("a hash");
        let client = cluster.client_to(&[0]).await;
        cluster.votes(&client, 1).await;
        for index in 1..size {
            cluster.nodes[index].start(Some(token(&client).await));
            if seal == SealKind::Passphrase {
                cluster.unseal_locally(index, PASSPHRASE).await;
            }
            // One at a time, so that the numbers are those of the folders.
            cluster.votes(&client, index + 1).await;
        }
        cluster
    }

    /// A place for the first node of a restored cluster, and its settings.
    pub(crate) fn seat() -> (Seat, Config) {
        let folder = tempfile::tempdir().expect("a folder");
        let node = Node::new(folder.path().join("node-1"), SealKind::File);
        let config = node.config();
        (Seat(node, folder), config)
    }

    /// The cluster, restored to that place, with the operator and the pinned key that it had.
    pub(crate) fn revived(&self, Seat(mut node, folder): Seat) -> Self {
        node.start(None);
        let (operator, operator_spki) = (self.operator.clone(), self.operator_spki.clone());
        let cluster_key_hash = self.cluster_key_hash;
        Self { folder, nodes: vec![node], operator, operator_spki, cluster_key_hash, shares: Vec::new() }
    }

    /// The public half of the first operator's key.
    pub(crate) fn operator_spki(&self) -> Vec<u8> {
        self.operator_spki.clone()
    }

    /// The hash that its clients pin.
    pub(crate) fn key_hash(&self) -> SpkiHash {
        self.cluster_key_hash
    }

    /// Starts one more node, with a token of its own, and returns its index; it is not waited for.
    pub(crate) async fn add(&mut self, seal: SealKind) -> usize {
        let client = self.client().await;
        let index = self.nodes.len();
        self.nodes.push(Node::new(self.folder.path().join(format!("node-{}", index + 1)), seal));
        self.nodes[index].start(Some(token(&client).await));
        index
    }

    /// Starts one more node, whose peer port is at that address, and returns its index; it is not waited for.
    pub(crate) async fn add_at(&mut self, ip: [u8; 4], seal: SealKind) -> usize {
        let client = self.client().await;
        let index = self.nodes.len();
        let mut node = Node::new(self.folder.path().join(format!("node-{}", index + 1)), seal);
        node.peer_ip = ip;
        node.start(Some(token(&client).await));
        self.nodes.push(node);
        index
    }

    /// Starts one more node, which asks for no vote, and returns its index; it is not waited for.
    pub(crate) async fn add_learner(&mut self) -> usize {
        self.add_learner_sealed(SealKind::File).await
    }

    /// The same with another seal.
    pub(crate) async fn add_learner_sealed(&mut self, seal: SealKind) -> usize {
        let client = self.client().await;
        let index = self.nodes.len();
        let mut node = Node::new(self.folder.path().join(format!("node-{}", index + 1)), seal);
        node.learner = true;
        node.start(Some(token(&client).await));
        self.nodes.push(node);
        index
    }

    /// Gives a node its passphrase on its own socket, as soon as it waits for one.
    pub(crate) async fn unseal_locally(&self, index: usize, passphrase: &[u8]) {
        until("the node to wait for its passphrase", Duration::from_secs(10), || async {
            let Ok(channel) = unix_channel(&self.nodes[index].dir.join("admin.sock")).await else { return false };
            let status = SealServiceClient::new(channel).get_status(wire::GetSealStatusRequest {}).await;
            status.is_ok_and(|status| status.get_ref().sealed && status.get_ref().initialized)
        })
        .await;
        let request = wire::UnsealRequest { passphrase: passphrase.to_vec(), ..Default::default() };
        self.local_seal(index).await.unseal(request).await.expect("unseals");
    }

    /// A client of one node, as the first operator; one that is sealed is recognised by what the others said of it.
    pub(crate) async fn client_of_one(&self, index: usize) -> Client {
        let cache = Some(TrustCache::at(self.folder.path().join("trust.json")));
        let all: Vec<_> = (0..self.nodes.len()).collect();
        self.connect(&all, self.operator.clone(), cache.clone()).await;
        self.connect(&[index], self.operator.clone(), cache).await
    }

    /// Waits until that many nodes vote.
    pub(crate) async fn votes(&self, client: &Client, size: usize) {
        until("every node to vote", Duration::from_secs(90), || async {
            let ended = self.nodes.iter().find_map(|node| Some((&node.dir, node.ended.get()?)));
            assert!(ended.is_none(), "a node ended instead of voting: {ended:?}");
            let Ok(status) = client.cluster().status(wire::GetStatusRequest {}).await else { return false };
            let votes = |node: &wire::NodeStatus| {
                node.reachable && matches!(node.role(), wire::NodeRole::Leader | wire::NodeRole::Follower)
            };
            status.nodes.len() == size && status.nodes.iter().all(votes)
        })
        .await;
    }

    /// A client of all nodes, as the first operator.
    pub(crate) async fn client(&self) -> Client {
        self.client_to(&(0..self.nodes.len()).collect::<Vec<_>>()).await
    }

    /// A client of all nodes, as the first operator, that does not wait for better times.
    pub(crate) async fn hasty_client(&self) -> Client {
        let all: Vec<_> = (0..self.nodes.len()).collect();
        self.connect_within(&all, self.operator.clone(), None, Duration::from_secs(2)).await
    }

    /// A client of all nodes, as somebody else.
    pub(crate) async fn client_as(&self, identity: Identity) -> Client {
        self.client_of(&(0..self.nodes.len()).collect::<Vec<_>>(), identity).await
    }

    /// A node's folder.
    pub(crate) fn dir(&self, index: usize) -> PathBuf {
        self.nodes[index].dir.clone()
    }

    /// Starts a node that cannot start, and returns why.
    pub(crate) async fn start_and_fail(&mut self, index: usize) -> String {
        self.nodes[index].start(None);
        let (_, task) = self.nodes[index].running.take().expect("was started");
        task.await.expect("ends").expect_err("fails").to_string()
    }

    /// Whether anybody answers on a node's own socket.
    pub(crate) async fn answers(&self, index: usize) -> bool {
        unix_channel(&self.nodes[index].dir.join("admin.sock")).await.is_ok()
    }

    /// The seal of a node, on its own machine.
    pub(crate) async fn local_seal(&self, index: usize) -> SealServiceClient<Channel> {
        SealServiceClient::new(unix_channel(&self.nodes[index].dir.join("admin.sock")).await.expect("connects"))
    }

    /// A client of one node only.
    pub(crate) async fn client_of_node(&self, index: usize) -> Client {
        self.client_to(&[index]).await
    }

    /// A connection to one node as the first operator, without the client's retries and fail-over.
    pub(crate) fn channel(&self, index: usize) -> Channel {
        let pinned = PinSet::new([ca::spki_hash(&self.identity_key(index).spki_der())]);
        let tls = tls::client_config(&self.operator, PinnedServers::new(pinned)).expect("a configuration");
        let address = Address::parse(&format!("127.0.0.1:{}", self.nodes[index].ports[0])).expect("an address");
        tls::channel(Connector::new(address, Arc::new(tls))).expect("a channel")
    }

    /// A caller of a node's peer port that has nothing but another node's disk: its identity key.
    pub(crate) fn peer_client(
        &self,
        from: usize,
        to: usize,
    ) -> MemberServiceClient<InterceptedService<Channel, raft::Names>> {
        let identity = Identity::self_signed(&self.identity_key(from), "chancery node", now()).expect("an identity");
        let pinned = PinSet::new([ca::spki_hash(&self.identity_key(to).spki_der())]);
        let tls = tls::client_config(&identity, PinnedServers::new(pinned)).expect("a configuration");
        let [a, b, c, d] = self.nodes[to].peer_ip;
        let address = Address::parse(&format!("{a}.{b}.{c}.{d}:{}", self.nodes[to].ports[1])).expect("an address");
        let channel = tls::channel(Connector::new(address, Arc::new(tls))).expect("a channel");
        let cluster =
            self.json(from, "node.json")["cluster"].as_str().and_then(ClusterId::from_hex).expect("a cluster");
        let number = |index: usize| NodeId(index as u64 + 1);
        let names = raft::Names { cluster, from: number(from), to: number(to) };
        MemberServiceClient::with_interceptor(channel, names)
    }

    /// What a node asks the others for when it is sealed, with a key that nobody has drawn for it.
    pub(crate) fn asks_for_root(&self, of: usize) -> UnsealPeerRequest {
        let seal = self.json(of, "seal.json");
        let roots = seal["slots"][0]["roots"].as_array().expect("root keys").iter().map(|root| RootName {
            epoch: root["epoch"].as_u64().and_then(|epoch| u32::try_from(epoch).ok()).expect("a number"),
            root_id: hex::decode(root["id"].as_str().expect("text")).expect("hexadecimal"),
            optional: false,
        });
        let recipient = crypto::sealed_box::public_of(&crypto::entropy::secret::<32>()).expect("a key");
        UnsealPeerRequest { recipient: recipient.to_vec(), roots: roots.collect() }
    }

    fn json(&self, index: usize, file: &str) -> serde_json::Value {
        let bytes = std::fs::read(self.nodes[index].dir.join(file)).expect("reads");
        serde_json::from_slice(&bytes).expect("is JSON")
    }

    fn identity_key(&self, index: usize) -> P256Signer {
        let key = std::fs::read(self.nodes[index].dir.join("identity.key")).expect("reads");
        P256Signer::from_pkcs8(&key).expect("a key")
    }

    /// Ends a node without a word to anybody, as a power cut would: its tasks are dropped where they stand.
    pub(crate) async fn kill(&mut self, index: usize) {
        self.nodes[index].kill();
        let address = ("127.0.0.1", self.nodes[index].ports[0]);
        until("the node to be dead", Duration::from_secs(10), || async {
            tokio::net::TcpStream::connect(address).await.is_err()
        })
        .await;
    }

    async fn client_to(&self, nodes: &[usize]) -> Client {
        self.client_of(nodes, self.operator.clone()).await
    }

    async fn client_of(&self, nodes: &[usize], identity: Identity) -> Client {
        self.connect(nodes, identity, None).await
    }

    async fn connect(&self, nodes: &[usize], identity: Identity, trust_cache: Option<TrustCache>) -> Client {
        self.connect_within(nodes, identity, trust_cache, Duration::from_secs(20)).await
    }

    async fn connect_within(
        &self,
        nodes: &[usize],
        identity: Identity,
        trust_cache: Option<TrustCache>,
        deadline: Duration,
    ) -> Client {
        let endpoint = |index: &usize| Address::parse(&format!("127.0.0.1:{}", self.nodes[*index].ports[0]));
        let config = ClientConfig {
            endpoints: nodes.iter().map(|index| endpoint(index).expect("an address")).collect(),
            identity,
            cluster_key_hash: self.cluster_key_hash,
            trust_cache,
            deadline,
        };
        Client::connect(config).await.expect("connects")
    }

    /// Which node leads.
    pub(crate) async fn leader(&self) -> usize {
        let status = self.client().await.cluster().status(wire::GetStatusRequest {}).await.expect("a status");
        usize::try_from(status.leader).expect("small") - 1
    }

    /// What a node counts.
    pub(crate) async fn metrics(&self, index: usize) -> String {
        let address = ("127.0.0.1", self.nodes[index].ports[2]);
        let mut connection = tokio::net::TcpStream::connect(address).await.expect("connects");
        let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        connection.write_all(request).await.expect("asks");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.expect("reads");
        answer
    }

    /// Stops one node.
    pub(crate) async fn stop(&mut self, index: usize) {
        let (stop, task) = self.nodes[index].running.take().expect("runs");
        stop.cancel();
        task.await.expect("ends").expect("ends well");
    }

    /// Starts a stopped node again.
    pub(crate) async fn start(&mut self, index: usize) {
        self.nodes[index].kill();
        // What is left of its runtime ends in its own time, and holds its ports until then.
        let addresses = self.nodes[index].addresses();
        let free = async || addresses.iter().all(|address| std::net::TcpListener::bind(address).is_ok());
        until("the ports of the node that was stopped", Duration::from_secs(30), free).await;
        self.nodes[index].start(None);
    }

    /// Starts a node that was killed, as soon as what the kill has left running lets its folder go; fails with the reason
    /// when it does not open.
    pub(crate) async fn start_after_kill(&mut self, index: usize) {
        let started = Instant::now();
        // Or what is left of the node that was killed would answer for the one that is to start.
        until("the killed node's socket to close", Duration::from_secs(30), || async { !self.answers(index).await })
            .await;
        loop {
            self.nodes[index].start(None);
            let open = loop {
                let running = self.nodes[index].running.as_ref().expect("was started");
                if running.1.is_finished() {
                    break false;
                }
                if self.answers(index).await && !self.is_sealed(index).await {
                    break true;
                }
                assert!(started.elapsed() < Duration::from_secs(60), "a node that was killed does not open again");
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            if open {
                return;
            }
            let (_, task) = self.nodes[index].running.take().expect("was started");
            let why = task.await.expect("ends").expect_err("fails").to_string();
            assert!(why.contains("in use"), "a node that was killed does not open again: {why}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn is_sealed(&self, index: usize) -> bool {
        let status = self.local_seal(index).await.get_status(wire::GetSealStatusRequest {}).await;
        status.is_ok_and(|status| status.get_ref().sealed)
    }

    /// Waits until a node has applied what the others have.
    pub(crate) async fn caught_up(&self, index: usize) {
        let client = self.client().await;
        until("the node to catch up", Duration::from_secs(30), || async {
            let Ok(status) = client.cluster().status(wire::GetStatusRequest {}).await else { return false };
            let node = status.nodes.iter().find(|node| node.node == index as u64 + 1);
            node.is_some_and(|node| node.reachable && !node.sealed && node.lag < 10)
        })
        .await;
    }

    /// Stops all nodes and removes their folders.
    pub(crate) async fn stop_all(mut self) {
        for index in 0..self.nodes.len() {
            if self.nodes[index].running.is_some() {
                self.stop(index).await;
            }
        }
        self.folder.close().expect("removes");
    }
}

impl Node {
    fn new(dir: PathBuf, seal: SealKind) -> Self {
        let ports = (0..3).map(|_| unused_port()).collect();
        let backup = BackupSettings::default();
        let (peer_ip, ledger) = ([127, 0, 0, 1], None);
        Self {
            dir,
            ports,
            seal,
            backup,
            ledger,
            learner: false,
            peer_ip,
            running: None,
            ended: Arc::default(),
            runtime: None,
        }
    }

    fn addresses(&self) -> [std::net::SocketAddr; 3] {
        let local = |port: u16| ([127, 0, 0, 1], port).into();
        [local(self.ports[0]), (self.peer_ip, self.ports[1]).into(), local(self.ports[2])]
    }

    fn kill(&mut self) {
        self.running = None;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    fn config(&self) -> Config {
        let mut settings = Settings { data_dir: Some(self.dir.clone()), ..Settings::default() };
        let listen = |port: u16| Some(([127, 0, 0, 1], port).into());
        settings.api.listen = listen(self.ports[0]);
        settings.peer.listen = Some((self.peer_ip, self.ports[1]).into());
        settings.health.listen = listen(self.ports[2]);
        settings.seal.kind = Some(self.seal);
        settings.audit.reserve_bytes = Some(1024 * 1024);
        settings.backup = self.backup.clone();
        settings.ledger.file = self.ledger.clone();
        let resolved = Config::resolve(settings).expect("complete");
        Config { join_as_learner: self.learner, ..resolved }
    }

    fn start(&mut self, token: Option<String>) {
        let (config, stop) = (self.config(), CancellationToken::new());
        self.kill();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let running = server::run(config, token, stop.clone());
        self.ended = Arc::default();
        let ended = Arc::clone(&self.ended);
        let task = runtime.spawn(async move {
            let result = running.await;
            ended.set(format!("{result:?}")).expect("ends once");
            result
        });
        self.runtime = Some(runtime);
        self.running = Some((stop, task));
    }
}

/// A port that a node keeps over restarts, and that no other test of this process is given meanwhile. It is below the range that outgoing
/// connections draw from (32,768 and up on Linux), so that none takes it while the node is down.
fn unused_port() -> u16 {
    static FIRST: LazyLock<u16> = LazyLock::new(|| u16::from_be_bytes(crypto::entropy::array()));
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 16_384 + FIRST.wrapping_add(next) % 16_384;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

async fn token(client: &Client) -> String {
    let request = wire::CreateJoinTokenRequest { kind: wire::JoinTokenKind::Node.into(), ..Default::default() };
    client.cluster().create_join_token(request).await.expect("makes a token").token
}

/// Waits for a condition, and fails with its name when it does not come about in time.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, patience: Duration, holds: impl FnMut() -> F) {
    until_every(Duration::from_millis(20), what, patience, holds).await;
}

/// The same, looking at it so often.
pub(crate) async fn until_every<F: Future<Output = bool>>(
    pause: Duration,
    what: &str,
    patience: Duration,
    mut holds: impl FnMut() -> F,
) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < patience, "waited in vain for {what}");
        tokio::time::sleep(pause).await;
    }
}

pub(crate) fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    Time(u64::try_from(since.as_millis()).expect("fits"))
}

/// From now on a destruction of that key does not wait.
pub(crate) async fn without_waiting(client: &Client, key: &str) {
    let none = Some(prost_types::Duration::default());
    let name = "namespaces/default".to_owned();
    let namespace = client.namespaces().get(wire::GetNamespaceRequest { name }).await.expect("describes");
    let namespace = wire::Namespace { waiting_period_floor: none, ..namespace };
    let update = wire::UpdateNamespaceRequest { namespace: Some(namespace), ..Default::default() };
    client.namespaces().update(update).await.expect("changes");
    let update_mask = Some(prost_types::FieldMask { paths: vec!["waiting_period".to_owned()] });
    let (name, waiting_period) = (key.to_owned(), none);
    let update = proto::kms::v1::UpdateKeyRequest { name, update_mask, waiting_period, ..Default::default() };
    client.keys().update(update).await.expect("changes");
}

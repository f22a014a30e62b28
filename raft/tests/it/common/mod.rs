//! Members in one process over real mTLS loopback sockets: keys, pinned TLS, a real AEAD envelope, a small machine.
#![allow(unreachable_pub, reason = "tests/sim-raft takes `tls` from here")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test's helpers")]

pub mod proxy;
pub mod tls;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crypto::sign::P256Signer;
use raft::{
    Config, Envelope, FileKind, Machine, Member, Members, OpenError, Peering, RaftHandle, Role, Tampered, Vouch,
};
use tokio::net::TcpListener;
use types::{ClusterId, NodeId, SpkiHash};

pub const CLUSTER: ClusterId = ClusterId([0xc1; 16]);
/// Longer than anything here takes, shorter than a test runner's patience.
pub const SOON: Duration = Duration::from_secs(20);

/// Seals with AES-256-GCM under one key and random nonces, which is enough for a test's few records.
pub struct Sealer(crypto::aead::Key);

impl Sealer {
    pub fn with_key(key: u8) -> Arc<dyn Envelope> {
        Arc::new(Self(crypto::aead::Key::new(&[key; 32])))
    }
}

impl Envelope for Sealer {
    fn seal(&self, _: FileKind, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; 12] = crypto::entropy::array();
        let mut sealed = nonce.to_vec();
        self.0.seal_into(nonce, aad, plain, &mut sealed).unwrap();
        sealed
    }

    fn open(&self, _: FileKind, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Tampered> {
        let (nonce, body) = sealed.split_first_chunk::<12>().ok_or(Tampered)?;
        let mut plain = Vec::new();
        self.0.open_into(*nonce, aad, body, &mut plain).map_err(|_| Tampered)?;
        Ok(plain)
    }
}

/// A snapshot with the line `until PATH` is written when there is such a file.
fn until_there_is(line: &[u8]) -> Option<&Path> {
    line.strip_prefix(b"until ").and_then(|path| str::from_utf8(path).ok()).map(Path::new)
}

/// Remembers every payload in order; replies with how many there are.
#[derive(Default)]
pub struct Book(Arc<Vec<Vec<u8>>>);

impl Machine for Book {
    type Snapshot = Arc<Vec<Vec<u8>>>;

    fn apply(&mut self, _: u64, payload: &[u8]) -> Vec<u8> {
        let lines = Arc::make_mut(&mut self.0);
        lines.push(payload.to_vec());
        lines.len().to_string().into_bytes()
    }

    fn applied_members(&mut self, _: u64, _: &Members) {}

    fn snapshot(&self) -> Self::Snapshot {
        Arc::clone(&self.0)
    }

    fn write_snapshot(lines: &Self::Snapshot, out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        for line in lines.iter() {
            while until_there_is(line).is_some_and(|path| !path.exists()) {
                std::thread::sleep(Duration::from_millis(1));
            }
            out(&u32::try_from(line.len()).unwrap().to_be_bytes())?;
            out(line)?;
        }
        Ok(())
    }

    fn read_snapshot(&mut self, input: &mut dyn Read) -> io::Result<()> {
        let mut lines = Vec::new();
        let mut length = [0; 4];
        loop {
            match input.read_exact(&mut length) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
            let mut line = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
            input.read_exact(&mut line)?;
            lines.push(line);
        }
        self.0 = Arc::new(lines);
        Ok(())
    }
}

/// What outlives a member's process: its key, its port and its folder.
pub struct Seat {
    pub id: NodeId,
    pub identity: tls::Identity,
    pub listener: Arc<TcpListener>,
    pub folder: tempfile::TempDir,
    pub cluster: ClusterId,
    pub envelope_key: u8,
}

impl Seat {
    pub async fn new(id: u64) -> Self {
        crypto::tls::install_provider();
        Self {
            id: NodeId(id),
            identity: tls::Identity::new(&P256Signer::generate()),
            listener: Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap()),
            folder: tempfile::tempdir().unwrap(),
            cluster: CLUSTER,
            envelope_key: 7,
        }
    }

    pub fn member(&self) -> Member {
        Member { address: self.listener.local_addr().unwrap().to_string(), spki: self.identity.spki }
    }

    pub fn config(&self) -> Config {
        let mut config = Config::new(self.cluster, self.id, self.folder.path());
        // A little patience: the machine that runs this has two busy cores.
        config.election_min = Duration::from_millis(600);
        config.election_max = Duration::from_millis(1_000);
        config.witness_interval = Duration::from_millis(50);
        // A test asks for its snapshots.
        config.snapshot_log_bytes_min = u64::MAX;
        config
    }

    pub fn peering(&self, known: &Known) -> Peering {
        let (trusted, identity) = (known.clone(), self.identity.clone());
        Peering {
            listener: Arc::clone(&self.listener),
            server_tls: self.identity.server(known.keys()),
            client_tls: Arc::new(move |_, member: &Member| identity.client(member.spki)),
            key_of: Arc::new(|certificate| ca::spki_hash_of_cert(certificate).ok()),
            trust: Arc::new(move |id, spki| trusted.0.get(&id) == Some(spki)),
            vouch: Arc::new(Password(self.envelope_key)),
            seed: Members::default(),
            routes: tonic::service::Routes::default(),
        }
    }

    pub async fn try_open(&self, known: &Known) -> Result<RaftHandle<Book>, OpenError> {
        self.open_with(self.config(), known).await
    }

    pub async fn open_with(&self, config: Config, known: &Known) -> Result<RaftHandle<Book>, OpenError> {
        RaftHandle::open(config, Book::default(), Sealer::with_key(self.envelope_key), self.peering(known)).await
    }

    pub async fn open_among(
        &self,
        config: Config,
        known: &Known,
        seed: Members,
    ) -> Result<RaftHandle<Book>, OpenError> {
        let peering = Peering { seed, ..self.peering(known) };
        RaftHandle::open(config, Book::default(), Sealer::with_key(self.envelope_key), peering).await
    }

    pub async fn open(&self, known: &Known) -> RaftHandle<Book> {
        self.try_open(known).await.unwrap()
    }

    /// Opened, formed, leading.
    pub async fn open_alone(&self) -> RaftHandle<Book> {
        let handle = self.open(&Known::of([self])).await;
        handle.initialize(self.member(), SOON).await.unwrap();
        leads(&handle).await;
        handle
    }

    pub fn log_folder(&self) -> PathBuf {
        self.config().folder.join("log")
    }

    pub fn snapshots(&self) -> Vec<PathBuf> {
        files(&self.config().folder.join("snapshots"))
    }
}

/// What the root key is to the server: members that seal with one key believe one another.
pub struct Password(pub u8);

impl Vouch for Password {
    fn prove(&self, _: NodeId) -> String {
        self.0.to_string()
    }

    fn check(&self, _: NodeId, proof: &str) -> bool {
        proof == self.0.to_string()
    }
}

/// Who is who: what the TLS configurations and the gate believe before the log has told them.
#[derive(Clone)]
pub struct Known(Arc<BTreeMap<NodeId, SpkiHash>>);

impl Known {
    pub fn of<'s>(seats: impl IntoIterator<Item = &'s Seat>) -> Self {
        Self(Arc::new(seats.into_iter().map(|seat| (seat.id, seat.identity.spki)).collect()))
    }

    pub fn keys(&self) -> Vec<SpkiHash> {
        self.0.values().copied().collect()
    }
}

/// Three voters, the first of which was formed alone.
pub async fn three() -> (Vec<Seat>, Known, Vec<RaftHandle<Book>>) {
    let seats = vec![Seat::new(1).await, Seat::new(2).await, Seat::new(3).await];
    let known = Known::of(&seats);
    let mut handles = Vec::new();
    for seat in &seats {
        handles.push(seat.open(&known).await);
    }
    handles[0].initialize(seats[0].member(), SOON).await.unwrap();
    leads(&handles[0]).await;
    for seat in &seats[1..] {
        handles[0].add_learner(seat.id, seat.member(), SOON).await.unwrap();
        handles[0].promote(seat.id, SOON).await.unwrap();
    }
    (seats, known, handles)
}

/// Waits until one of them leads and returns it.
pub async fn any_leader<'h>(handles: impl IntoIterator<Item = &'h RaftHandle<Book>>) -> &'h RaftHandle<Book> {
    let waits = handles.into_iter().map(|handle| {
        Box::pin(async move {
            leads(handle).await;
            handle
        })
    });
    tokio::time::timeout(SOON, futures::future::select_all(waits)).await.expect("a leader is elected").0
}

pub async fn leads(handle: &RaftHandle<Book>) {
    let mut status = handle.watch_status();
    let led = status.wait_for(|status| status.role == Role::Leader);
    let _ = tokio::time::timeout(3 * SOON, led).await.expect("it leads");
}

/// Proposes `count` lines that start with `prefix`, one after the other.
pub async fn write(handle: &RaftHandle<Book>, prefix: &str, count: usize) {
    for n in 0..count {
        handle.propose(format!("{prefix} {n}").into_bytes(), SOON).await.unwrap();
    }
}

pub fn lines(handle: &RaftHandle<Book>) -> Vec<String> {
    handle.state().state.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}

pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

//! A cluster in the same process: a real authority, real certificates, entries that tests change. What it does not have
//! is a network: `agent::serve` runs over it exactly as it runs over the gRPC link. The agent's own tests use it.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::new_without_default,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "shared by test files, each of which uses its own part"
)]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use agent::upstream::{Content, Issued, Registration, Snapshot, Snapshots, Upstream, UpstreamError};
use ca::{
    Authority, Bundle, DnsName, Entry, EntrySpec, Grant, Issuer, RequestedKey, Selector, Serial, Step, SvidOrder,
};
use crypto::sign::P256Signer;
use futures::StreamExt;
use tokio::sync::{oneshot, watch};
use types::{AgentName, Millis, NamespaceName, NodeId, Revision, SpiffeId, Time, TrustDomain};

pub fn now() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
    Time(since.as_millis() as u64)
}

/// What the cluster holds.
struct Held {
    entries: Vec<(Arc<str>, Entry)>,
    authorities: Vec<(Authority, P256Signer)>,
    sequence: u64,
    acknowledged: Vec<u64>,
    issued: Vec<String>,
    refusing: Option<UpstreamError>,
    /// Answers with certificates over a key that nobody asked for.
    swapping_keys: bool,
}

/// The cluster. Clones are the same one.
#[derive(Clone)]
pub struct Cluster {
    trust_domain: TrustDomain,
    held: Arc<Mutex<Held>>,
    changed: Arc<watch::Sender<u64>>,
    /// Life of the certificates it signs: shorter than any real one may be, so that renewal can be seen.
    ttl: Option<Millis>,
}

impl Cluster {
    pub fn new() -> Self {
        Self::with_ttl(None)
    }

    pub fn with_ttl(ttl: Option<Millis>) -> Self {
        let cluster = Self {
            trust_domain: TrustDomain::parse("test.chancery").expect("a name"),
            held: Arc::new(Mutex::new(Held {
                entries: Vec::new(),
                authorities: Vec::new(),
                sequence: 0,
                acknowledged: Vec::new(),
                issued: Vec::new(),
                refusing: None,
                swapping_keys: false,
            })),
            changed: Arc::new(watch::channel(0).0),
            ttl,
        };
        cluster.new_authority();
        cluster
    }

    pub fn change<T>(&self, change: impl FnOnce(&mut HeldMut<'_>) -> T) -> T {
        let mut held = self.held.lock().expect("not poisoned");
        let result = change(&mut HeldMut { held: &mut held });
        drop(held);
        self.changed.send_modify(|version| *version += 1);
        result
    }

    /// A new authority that signs from now on; the old ones stay in the bundle.
    pub fn new_authority(&self) {
        let signer = P256Signer::generate();
        let serial = Serial::from_random(crypto::entropy::array());
        let linted =
            ca::generate_authority(NodeId(1), &self.trust_domain, &signer, serial, now()).expect("an authority");
        let mut authority =
            Authority::generated(NodeId(1), linted.into_der(), &self.trust_domain, now()).expect("lints");
        self.change(|cluster| {
            cluster.held.sequence += 1;
            authority.advance(Step::Publish, now(), cluster.held.sequence).expect("published");
            authority.advance(Step::Activate, now(), cluster.held.sequence).expect("active");
            cluster.held.authorities.push((authority, signer));
        });
    }

    /// Takes every authority but the newest out of the bundle.
    pub fn drop_old_authorities(&self) {
        self.change(|cluster| {
            cluster.held.sequence += 1;
            let newest = cluster.held.authorities.len() - 1;
            cluster.held.authorities.drain(..newest);
        });
    }

    /// Registers or replaces an entry: `name` becomes its path, `created` its place in the order.
    pub fn register(&self, name: &str, selectors: &[Selector], created: u64, hint: &str) {
        self.register_with(name, selectors, created, hint, &[]);
    }

    pub fn register_with(&self, name: &str, selectors: &[Selector], created: u64, hint: &str, dns_names: &[&str]) {
        let namespace = NamespaceName::parse("default").expect("a name");
        let spec = EntrySpec {
            spiffe_id: self.id(name),
            parent: AgentName::parse("dev").expect("a name"),
            selectors: selectors.iter().cloned().collect(),
            svid_ttl: Millis::from_secs(3_600),
            dns_names: dns_names.iter().map(|name| DnsName::parse(name).expect("a name")).collect(),
            hint: hint.to_owned(),
        };
        let suffixes = suffixes();
        let grant = Grant { trust_domain: &self.trust_domain, namespace: &namespace, dns_suffixes: &suffixes };
        let entry = Entry::new(spec, grant, Time(created), Revision(1)).expect("an entry");
        let name = entry_name(name);
        self.change(|cluster| {
            cluster.held.entries.retain(|(held, _)| *held != name);
            cluster.held.entries.push((name, entry));
        });
    }

    pub fn delete(&self, name: &str) {
        self.change(|cluster| cluster.held.entries.retain(|(held, _)| *held != entry_name(name)));
    }

    pub fn refuse(&self, error: Option<UpstreamError>) {
        self.change(|cluster| cluster.held.refusing = error);
    }

    pub fn swap_keys(&self) {
        self.change(|cluster| cluster.held.swapping_keys = true);
    }

    /// Sends the same state again.
    pub fn repeat(&self) {
        self.change(|_| ());
    }

    pub fn id(&self, name: &str) -> SpiffeId {
        self.trust_domain.workload(&format!("/ns/default/{name}")).expect("an id")
    }

    pub fn sequence(&self) -> u64 {
        self.held.lock().expect("not poisoned").sequence
    }

    pub fn acknowledged(&self) -> Vec<u64> {
        self.held.lock().expect("not poisoned").acknowledged.clone()
    }

    pub fn issued(&self) -> Vec<String> {
        self.held.lock().expect("not poisoned").issued.clone()
    }

    pub fn bundle(&self) -> Bundle {
        let held = self.held.lock().expect("not poisoned");
        Bundle::of_authorities(self.trust_domain.clone(), held.sequence, held.authorities.iter().map(|(a, _)| a))
    }

    /// For the node that puts the same state on the wire.
    pub fn changes(&self) -> watch::Receiver<u64> {
        let mut changes = self.changed.subscribe();
        changes.mark_changed();
        changes
    }

    pub fn entries(&self) -> Vec<(Arc<str>, Entry)> {
        self.held.lock().expect("not poisoned").entries.clone()
    }

    pub fn trust_domain(&self) -> TrustDomain {
        self.trust_domain.clone()
    }

    fn snapshot(&self) -> Snapshot {
        let bundle = self.bundle();
        let held = self.held.lock().expect("not poisoned");
        let registrations = held.entries.iter().map(|(name, entry)| registration(name, entry)).collect();
        Snapshot::new(registrations, bundle)
    }

    fn sign(&self, name: &str, csr: &[u8]) -> Result<Issued, UpstreamError> {
        let mut held = self.held.lock().expect("not poisoned");
        held.issued.push(name.to_owned());
        if let Some(error) = &held.refusing {
            return Err(error.clone());
        }
        let refused = |error: &dyn std::fmt::Display| UpstreamError::Refused(error.to_string());
        let (_, entry) = held
            .entries
            .iter()
            .find(|(held, _)| &**held == name)
            .ok_or_else(|| refused(&format!("entry `{name}` was not found")))?;
        let mut key = RequestedKey::from_csr(csr).map_err(|error| refused(&error))?;
        if held.swapping_keys {
            let other = ca::certificate_request(&P256Signer::generate()).expect("a request");
            key = RequestedKey::from_csr(&other).expect("a key");
        }
        let (authority, signer) = held.authorities.last().expect("an authority");
        let issuer = Issuer::new(authority, signer, now()).map_err(|error| refused(&error))?;
        let namespace = NamespaceName::parse("default").expect("a name");
        let suffixes = suffixes();
        let grant = Grant { trust_domain: &self.trust_domain, namespace: &namespace, dns_suffixes: &suffixes };
        let serial = Serial::from_random(crypto::entropy::array());
        let order = SvidOrder { entry, grant, key: &key, serial, now: now() };
        let issued = issuer.svid(&order).map_err(|error| refused(&error))?;
        // A short life is told, not signed: the shortest that the CA signs is a minute.
        let expires = self.ttl.map_or(issued.not_after, |ttl| now().after(ttl));
        Ok(Issued { chain: vec![issued.certificate.into_der()], expires })
    }
}

pub struct HeldMut<'a> {
    held: &'a mut Held,
}

fn suffixes() -> Vec<DnsName> {
    vec![DnsName::parse("test.example").expect("a name")]
}

fn entry_name(name: &str) -> Arc<str> {
    format!("namespaces/default/entries/{name}").into()
}

fn registration(name: &Arc<str>, entry: &Entry) -> Registration {
    let spec = entry.spec();
    Registration {
        name: Arc::clone(name),
        selectors: spec.selectors.clone(),
        hint: spec.hint.clone(),
        created: entry.created(),
        content: Content {
            spiffe_id: spec.spiffe_id.clone(),
            dns_names: spec.dns_names.iter().map(|name| name.as_str().to_owned()).collect(),
            svid_ttl: spec.svid_ttl,
        },
    }
}

impl Upstream for Cluster {
    async fn watch(&self) -> Result<Snapshots, UpstreamError> {
        let (cluster, changes) = (self.clone(), self.changes());
        Ok(futures::stream::unfold((cluster, changes), |(cluster, mut changes)| async move {
            changes.changed().await.ok()?;
            Some((Ok(cluster.snapshot()), (cluster, changes)))
        })
        .boxed())
    }

    async fn issue(&self, entry: &str, csr: Vec<u8>) -> Result<Issued, UpstreamError> {
        self.sign(entry, &csr)
    }

    async fn acknowledge(&self, sequence: u64) -> Result<(), UpstreamError> {
        self.held.lock().expect("not poisoned").acknowledged.push(sequence);
        Ok(())
    }
}

/// A cluster that never answers.
pub struct Nobody;

impl Upstream for Nobody {
    async fn watch(&self) -> Result<Snapshots, UpstreamError> {
        Err(UpstreamError::Unavailable("nobody is there".to_owned()))
    }

    async fn issue(&self, _entry: &str, _csr: Vec<u8>) -> Result<Issued, UpstreamError> {
        Err(UpstreamError::Unavailable("nobody is there".to_owned()))
    }

    async fn acknowledge(&self, _sequence: u64) -> Result<(), UpstreamError> {
        Err(UpstreamError::Unavailable("nobody is there".to_owned()))
    }
}

/// An agent over such a cluster, on a socket in a folder of its own.
pub struct RunningAgent {
    folder: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<Result<(), agent::AgentError>>,
}

impl RunningAgent {
    pub async fn start(upstream: impl Upstream) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("agent.sock");
        let (stop, stopped) = oneshot::channel::<()>();
        let socket = path.clone();
        let task = tokio::spawn(async move {
            agent::serve(upstream, &socket, async {
                stopped.await.ok();
            })
            .await
        });
        let agent = Self { folder, stop: Some(stop), task };
        eventually("the socket answers", || {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(&path).await.ok() }
        })
        .await;
        agent
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub async fn stop(mut self) {
        self.stop.take().expect("runs").send(()).ok();
        self.task.await.expect("ends").expect("ends well");
        assert!(!self.folder.path().join("agent.sock").exists(), "the socket file is removed");
    }
}

/// Asks again until there is an answer; a test that waits for ever fails after 20 seconds.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let answer = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), answer).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// Fails a test that would wait for ever.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// Selectors that this very process has.
pub fn own_uid() -> Selector {
    Selector::UnixUid(rustix::process::geteuid().as_raw())
}

pub fn own_path() -> Selector {
    Selector::UnixPath(std::env::current_exe().expect("a path").to_str().expect("text").to_owned())
}

pub fn own_hash() -> Selector {
    let bytes = std::fs::read(std::env::current_exe().expect("a path")).expect("reads");
    Selector::UnixSha256(crypto::hash::sha256(&bytes))
}

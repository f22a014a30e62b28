//! What many keys cost a member: how long applying stands still while a snapshot is written, how long a start takes, how
//! much memory it needs. Each beside the limit that is promised for a million.
//!
//! One member in this process over real files, sealed and synced: Raft and the state, without the server around them.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chancery_client::tls::{
    CertificateSlot, Identity, PinSet, PinnedClients, PinnedServers, client_config, server_config,
};
use crypto::aead::Key;
use crypto::sign::P256Signer;
use raft::{Config, Envelope, FileKind, Machine, Member, Members, Peering, RaftHandle, Tampered};
use serde::{Deserialize, Serialize};
use state::{Command, Entry, NodeInfo, Proposal, State};
use tokio::net::TcpListener;
use types::limits::SNAPSHOT_LOG_BYTES_MIN;
use types::{
    ClusterId, KeyId, KeyName, Millis, NamespaceName, NodeId, OperatorName, Principal, SpkiHash, Time, TrustDomain,
};

use crate::child::{Child, tell};
use crate::cluster::now;
use crate::report::{Row, median};
use crate::usage::Usage;
use crate::{Effort, Fault};

/// What is promised with a million keys.
const STILL_MS_MAX: f64 = 50.0;
const START_S_MAX: f64 = 5.0;
const MEMORY_MIB_MAX: f64 = 2_048.0;

const CLUSTER: ClusterId = ClusterId([7; 16]);
const NODE: NodeId = NodeId(1);
const DEADLINE: Duration = Duration::from_secs(60);
/// Changes under way at once while the snapshot is written.
const IN_FLIGHT: usize = 16;
/// While the log grows.
const GROWING_IN_FLIGHT: usize = 256;
/// Around a command in the log: the proposal, Raft's place, the envelope and the frame.
const AROUND: u64 = 64;

/// Measures with so many keys under `folder`.
pub(crate) async fn compare(folder: &Path, keys: usize, effort: Effort) -> Result<Vec<Row>, Fault> {
    let folder = folder.join("scale");
    let standstill = standstill(&folder, keys, effort).await?;
    let mut started = Vec::new();
    for _ in 0..effort.runs {
        let (keys, index) = (keys.to_string(), standstill.index.to_string());
        let mut child = Child::start([OsStr::new("open-scale"), folder.as_os_str(), keys.as_ref(), index.as_ref()])?;
        started.push(child.answer::<Started>().await?);
        child.stop().await?;
    }
    if !started.iter().all(|started| started.complete) {
        return Err("a start did not bring every key back".into());
    }
    let seconds = median(started.iter().map(|started| started.seconds));
    let memory = started.iter().map(|started| started.peak_mib).fold(0.0, f64::max);
    let row = |name: &str, value: f64, unit, against: &str, against_value: f64| Row {
        name: format!("{name}, {keys} keys"),
        value,
        unit,
        against: against.to_owned(),
        against_value,
        ratio: against_value / value,
    };
    let started_from = format!("start from the snapshot and {} changes after it", standstill.after);
    Ok(vec![
        row("longest pause of apply while a snapshot is written", standstill.with, "ms", "limit", STILL_MS_MAX),
        row(
            "longest pause of apply while a snapshot is written",
            standstill.with,
            "ms",
            "without a snapshot",
            standstill.without,
        ),
        row(&started_from, seconds, "s", "limit", START_S_MAX),
        row("memory after a start, highest", memory, "MiB resident", "limit", MEMORY_MIB_MAX),
    ])
}

/// The child: opens the folder and says what that took.
pub(crate) async fn open(folder: &Path, keys: usize, index: u64) -> Result<(), Fault> {
    let before = Instant::now();
    let member = Seat::new().await?;
    // As many entries as `Keys::filled` has applied.
    let machine = Keys { before: keys as u64 + 1, ..Keys::default() };
    let handle = member.open(folder, machine).await?;
    let seconds = before.elapsed().as_secs_f64();
    // The snapshot's hash over all rows was checked when it was read; the last key and change show that it is this state.
    let (last, state) = (name_of(keys.saturating_sub(1))?, &handle.state().state.0);
    let complete = state.index() == index && state.key(&NamespaceName::default_namespace(), &last).is_some();
    let peak_mib = Usage::now()?.peak_kib as f64 / 1_024.0;
    tell(&Started { seconds, peak_mib, complete })?;
    handle.shutdown().await;
    Ok(())
}

#[derive(Serialize, Deserialize)]
struct Started {
    seconds: f64,
    peak_mib: f64,
    complete: bool,
}

/// The longest time between two entries applied under load, in milliseconds; and what is on the disk in the end.
struct Standstill {
    with: f64,
    without: f64,
    /// Changes that no snapshot covers.
    after: u64,
    /// The last entry's.
    index: u64,
}

async fn standstill(folder: &Path, keys: usize, effort: Effort) -> Result<Standstill, Fault> {
    let watch = Arc::new(Gaps::default());
    let machine = Keys { gaps: Arc::clone(&watch), ..Keys::filled(keys)? };
    let seat = Seat::new().await?;
    let handle = seat.open(folder, machine).await?;
    handle.initialize(seat.member(), DEADLINE).await?;
    let (mut with, mut without) = (0.0_f64, 0.0_f64);
    for round in 0..effort.runs {
        let stop = tokio_util::sync::CancellationToken::new();
        let load: Vec<_> = (0..IN_FLIGHT)
            .map(|n| tokio::spawn(change_keys(handle.clone(), keys, round * IN_FLIGHT + n, stop.clone())))
            .collect();
        // Warm, then measured.
        tokio::time::sleep(effort.window / 4).await;
        watch.reset();
        tokio::time::sleep(effort.window).await;
        without = without.max(watch.longest_ms());
        watch.reset();
        handle.trigger_snapshot(DEADLINE).await?;
        with = with.max(watch.longest_ms());
        stop.cancel();
        for task in load {
            task.await??;
        }
    }
    let after = grow(&handle, keys).await?;
    let index = handle.state().state.0.index();
    handle.shutdown().await;
    Ok(Standstill { with, without, after, index })
}

/// As much log as there may be before the next snapshot is due, in changes.
async fn grow(handle: &RaftHandle<Keys>, keys: usize) -> Result<u64, Fault> {
    let (grown, changes) = (AtomicU64::new(0), AtomicU64::new(0));
    let caller = |seed: usize| {
        let (grown, changes) = (&grown, &changes);
        async move {
            let mut n = seed;
            while grown.load(Ordering::Relaxed) < SNAPSHOT_LOG_BYTES_MIN {
                let bytes = change_key(handle, keys, &mut n).await?;
                grown.fetch_add(bytes + AROUND, Ordering::Relaxed);
                changes.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), Fault>(())
        }
    };
    futures::future::try_join_all((0..GROWING_IN_FLIGHT).map(caller)).await?;
    Ok(changes.into_inner())
}

/// Changes one key after the other until it is told to stop.
async fn change_keys(
    handle: RaftHandle<Keys>,
    keys: usize,
    seed: usize,
    stop: tokio_util::sync::CancellationToken,
) -> Result<(), Fault> {
    let mut n = seed;
    while !stop.is_cancelled() {
        change_key(&handle, keys, &mut n).await?;
    }
    Ok(())
}

/// Changes the key after `n`; the bytes of the change.
async fn change_key(handle: &RaftHandle<Keys>, keys: usize, n: &mut usize) -> Result<u64, Fault> {
    *n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let command = Command::UpdateKey {
        namespace: NamespaceName::default_namespace(),
        name: name_of(*n % keys)?,
        change: kms::KeyChange::of_rotation(Some(Millis::from_hours(24 + (*n % 100) as u64))),
    };
    let basis = Some(handle.state().state.0.basis(&command, Time::NEVER));
    let proposal = Proposal { actor: operator()?, at: now()?, request: None, basis, command };
    let payload = postcard::to_stdvec(&proposal)?;
    let bytes = payload.len() as u64;
    handle.propose(payload, DEADLINE).await?;
    Ok(bytes)
}

/// When entries were applied.
struct Gaps(Mutex<(Instant, Duration)>);

impl Default for Gaps {
    fn default() -> Self {
        Self(Mutex::new((Instant::now(), Duration::ZERO)))
    }
}

impl Gaps {
    fn tick(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        *state = (now, state.1.max(now - state.0));
    }

    fn reset(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), Duration::ZERO);
    }

    fn longest_ms(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.as_secs_f64() * 1_000.0
    }
}

/// The state machine, as the server has it, without audit records.
#[derive(Default)]
struct Keys {
    state: State,
    /// Entries that were applied before Raft counted.
    before: u64,
    gaps: Arc<Gaps>,
}

/// A state that stays as it is.
struct Held(State);

impl Keys {
    /// A formed cluster with so many keys.
    fn filled(keys: usize) -> Result<Self, Fault> {
        let mut filled = Self::default();
        filled.step(Principal::LocalAdmin, init()?)?;
        for n in 0..keys {
            let command = Command::CreateKey {
                namespace: NamespaceName::default_namespace(),
                name: name_of(n)?,
                id: KeyId((n as u128).to_be_bytes()),
                algorithm: kms::Algorithm::Aes256Gcm,
                settings: kms::KeySettings::rotating(Some(Millis::from_hours(24))),
                // As long as wrapped material is.
                material: kms::WrappedMaterial::secret(crypto::entropy::array::<81>().to_vec()),
            };
            filled.step(operator()?, command)?;
        }
        Ok(filled)
    }

    fn step(&mut self, actor: Principal, command: Command) -> Result<(), Fault> {
        self.before += 1;
        let basis = Some(self.state.basis(&command, Time::NEVER));
        let proposal = Proposal { actor, at: now()?, request: None, basis, command };
        self.state.apply(&Entry { index: self.before, proposal }).reply.map(drop).map_err(Into::into)
    }
}

impl Machine for Keys {
    type Snapshot = Held;

    fn apply(&mut self, index: u64, payload: &[u8]) -> Vec<u8> {
        if let Ok(proposal) = postcard::from_bytes::<Proposal>(payload) {
            self.state.apply(&Entry { index: self.before + index, proposal });
        }
        self.gaps.tick();
        Vec::new()
    }

    fn applied_members(&mut self, _: u64, _: &Members) {}

    fn snapshot(&self) -> Held {
        Held(self.state.clone())
    }

    fn write_snapshot(snapshot: &Held, out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        state::write_snapshot(&snapshot.0, out)
    }

    fn read_snapshot(&mut self, input: &mut dyn Read) -> io::Result<()> {
        self.state = state::read_snapshot(input).map_err(io::Error::other)?;
        Ok(())
    }
}

/// AES-256-GCM with random nonces: one process writes a few thousand records.
struct Sealer(Key);

impl Envelope for Sealer {
    fn seal(&self, _: FileKind, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; 12] = crypto::entropy::array();
        let mut sealed = nonce.to_vec();
        // A record is far below the cipher's bound; an empty one would not open again.
        let _ = self.0.seal_into(nonce, aad, plain, &mut sealed);
        sealed
    }

    fn open(&self, _: FileKind, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Tampered> {
        let (nonce, body) = sealed.split_first_chunk::<12>().ok_or(Tampered)?;
        let mut plain = Vec::new();
        self.0.open_into(*nonce, aad, body, &mut plain).map_err(|_| Tampered)?;
        Ok(plain)
    }
}

/// There is no other member.
struct Alone;

impl raft::Vouch for Alone {
    fn prove(&self, _: NodeId) -> String {
        String::new()
    }

    fn check(&self, _: NodeId, _: &str) -> bool {
        false
    }
}

/// A member's key and port.
struct Seat {
    identity: Identity,
    listener: Arc<TcpListener>,
}

impl Seat {
    async fn new() -> Result<Self, Fault> {
        let identity = Identity::self_signed(&P256Signer::generate(), "node-1", now()?)?;
        Ok(Self { identity, listener: Arc::new(TcpListener::bind("127.0.0.1:0").await?) })
    }

    fn member(&self) -> Member {
        let address = self.listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
        Member { address, spki: self.identity.spki() }
    }

    async fn open(&self, folder: &Path, machine: Keys) -> Result<RaftHandle<Keys>, Fault> {
        let client = Arc::new(client_config(&self.identity, PinnedServers::new(PinSet::new([])))?);
        let server = server_config(CertificateSlot::new(&self.identity), PinnedClients::new(PinSet::new([])))?;
        let peering = Peering {
            listener: Arc::clone(&self.listener),
            server_tls: Arc::new(server),
            client_tls: Arc::new(move |_, _| Arc::clone(&client)),
            key_of: Arc::new(|_| None),
            trust: Arc::new(|_, _| false),
            seed: Members::default(),
            vouch: Arc::new(Alone),
            routes: tonic::service::Routes::default(),
        };
        let sealer = Arc::new(Sealer(Key::new(&[9; 32])));
        Ok(RaftHandle::open(Config::new(CLUSTER, NODE, folder), machine, sealer, peering).await?)
    }
}

fn operator() -> Result<Principal, Fault> {
    Ok(Principal::Operator(OperatorName::parse("root").map_err(|_| "not a name")?))
}

fn name_of(n: usize) -> Result<KeyName, Fault> {
    Ok(KeyName::parse(&format!("key-{n:07}")).map_err(|_| "not a name")?)
}

fn init() -> Result<Command, Fault> {
    let wrapped = vec![3; 64];
    Ok(Command::Init {
        cluster: CLUSTER,
        trust_domain: TrustDomain::parse("bench.chancery").map_err(|_| "not a trust domain")?,
        cluster_spki: vec![2; 91],
        cluster_key_wrapped: wrapped.clone(),
        node: NODE,
        info: NodeInfo {
            spki: SpkiHash([4; 32]),
            peer_address: "127.0.0.1:7444".to_owned(),
            api_address: "127.0.0.1:7443".to_owned(),
        },
        operator: OperatorName::parse("root").map_err(|_| "not a name")?,
        operator_spki: SpkiHash([5; 32]),
        operator_expires: now()?.after(types::limits::ENROLMENT_MAX),
        namespace_kek_wrapped: wrapped,
        namespace_id: KeyId([7; 16]),
    })
}

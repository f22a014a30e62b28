//! `kill -9` of any one node under load, twenty times: no acknowledged write is lost, a retried request makes one
//! version, and uses of keys go on while a node is down.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chancery_client::{Client, Error};
use proto::kms::v1 as kms;
use tokio::task::JoinHandle;

use crate::support::{Cluster, Plan, create_key, until};

/// Rounds of each of the two tests.
const ROUNDS: u32 = 10;
const WRITERS: usize = 3;
const READERS: usize = 2;
/// Keys of one writer; the rest of its writes are rotations.
const KEYS: u64 = 8;
/// Writes that must be acknowledged while a node is down, before it comes back.
const WRITES_WHILE_DOWN: u64 = 5;
/// Pace of one task: load enough to have requests under way at every kill.
const PAUSE: Duration = Duration::from_millis(15);

/// What the tasks share.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) stop: AtomicBool,
    pub(crate) writes: AtomicU64,
    pub(crate) reads: AtomicU64,
    /// The newest acknowledged write: key and version.
    newest: Mutex<Option<(String, u32)>>,
    pub(crate) errors: Mutex<Vec<String>>,
}

/// A write that was acknowledged.
pub(crate) struct Acknowledged {
    request: Request,
    version: u32,
}

#[derive(Clone)]
enum Request {
    Create(kms::CreateKeyRequest),
    Rotate(kms::RotateKeyRequest),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_killed_ten_times_loses_no_acknowledged_write() {
    survive(|leader, _| leader).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_killed_ten_times_loses_no_acknowledged_write() {
    survive(|_, dice| dice.below(3)).await;
}

/// Kills a node in each round, whichever `choose` says of the leader and the dice, and then asks every node for
/// everything that was acknowledged.
async fn survive(choose: impl Fn(usize, &mut Dice) -> usize) {
    let mut cluster = Cluster::form(Plan::of(3)).await;
    let client = cluster.client().await;
    let own = [cluster.client_of(0).await, cluster.client_of(1).await, cluster.client_of(2).await];
    let shared = Arc::new(Shared::default());
    let readers = start_readers(&client, &shared).await;
    let writers: Vec<_> = (0..WRITERS).map(|n| tokio::spawn(write(client.clone(), n, Arc::clone(&shared)))).collect();

    let mut dice = Dice::new();
    for round in 0..ROUNDS {
        let leader = cluster.leader(&client).await;
        let victim = choose(leader, &mut dice);
        cluster.nodes[victim].kill();
        let before = shared.writes.load(Ordering::Relaxed);
        until("writes without the killed node", async || {
            shared.writes.load(Ordering::Relaxed) >= before + WRITES_WHILE_DOWN
        })
        .await;
        let (key, version) = shared.newest.lock().expect("whole").clone().expect("something was written");
        cluster.nodes[victim].start(&[]);
        until("the killed node to catch up", async || {
            let found = own[victim].keys().get(kms::GetKeyRequest { name: key.clone() }).await;
            found.is_ok_and(|found| found.primary_version >= version)
        })
        .await;
        assert!(
            shared.errors.lock().expect("whole").is_empty(),
            "round {round}, seed {}: {}",
            dice.seed,
            shared.report()
        );
    }
    shared.stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.expect("ends");
    }
    let mut acknowledged = BTreeMap::new();
    for writer in writers {
        acknowledged.extend(writer.await.expect("ends"));
    }
    assert!(shared.errors.lock().expect("whole").is_empty(), "seed {}: {}", dice.seed, shared.report());
    assert!(shared.reads.load(Ordering::Relaxed) > u64::from(ROUNDS) * 10, "{}", shared.report());
    retries_change_nothing(&own, &acknowledged).await;
    for (node, client) in own.iter().enumerate() {
        for (key, writes) in &acknowledged {
            check_versions(client, key, writes).await.unwrap_or_else(|why| panic!("node {}: {why}", node + 1));
        }
    }
}

/// Each retry of an acknowledged request, on whichever node, is answered again and makes nothing.
async fn retries_change_nothing(own: &[Client; 3], acknowledged: &BTreeMap<String, Vec<Acknowledged>>) {
    for (client, writes) in own.iter().cycle().zip(acknowledged.values()) {
        for write in writes.iter().take(1).chain(writes.iter().rev().take(2)) {
            send(client, write.request.clone()).await.expect("is answered again");
        }
    }
}

/// The versions of a key on one node are 1, 2, 3 … without a gap, and as many as were acknowledged: every write of
/// these tests is.
pub(crate) async fn check_versions(client: &Client, key: &str, writes: &[Acknowledged]) -> Result<(), String> {
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = kms::ListKeyVersionsRequest { parent: key.to_owned(), page_size: 1_000, page_token };
        let page = client.keys().versions(request).await.map_err(|error| format!("{key}: {error}"))?;
        found.extend(page.versions.iter().map(|version| version.version));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    found.reverse();
    let expected: Vec<u32> = (1..).take(found.len()).collect();
    let told: Vec<u32> = writes.iter().map(|write| write.version).collect();
    if found != expected || told != expected {
        return Err(format!("{key}: versions {found:?}, acknowledged {told:?}"));
    }
    Ok(())
}

impl Shared {
    pub(crate) fn report(&self) -> String {
        let (writes, reads) = (self.writes.load(Ordering::Relaxed), self.reads.load(Ordering::Relaxed));
        format!("{writes} writes, {reads} reads, errors: {:?}", self.errors.lock().expect("whole"))
    }

    fn failed(&self, what: &str, error: &Error) {
        self.errors.lock().expect("whole").push(format!("{what}: {error}"));
    }

    fn runs(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

/// Decrypts over and over: the client goes to another node, and its caller sees nothing of it.
pub(crate) async fn start_readers(client: &Client, shared: &Arc<Shared>) -> Vec<JoinHandle<()>> {
    let name = create_key(client, "read").await;
    let request = kms::EncryptRequest { name, plaintext: b"attack at dawn".to_vec(), ..Default::default() };
    let ciphertext = client.crypto().encrypt(request).await.expect("encrypts").ciphertext;
    let read = |client: Client, shared: Arc<Shared>, ciphertext: Vec<u8>| async move {
        let request = kms::DecryptRequest { parent: "namespaces/default".into(), ciphertext, ..Default::default() };
        while shared.runs() {
            match client.crypto().decrypt(request.clone()).await {
                Ok(opened) => assert_eq!(opened.plaintext, b"attack at dawn"),
                Err(error) => shared.failed("decrypt", &error),
            }
            shared.reads.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
    };
    (0..READERS).map(|_| tokio::spawn(read(client.clone(), Arc::clone(shared), ciphertext.clone()))).collect()
}

/// Creates keys and rotates them, one request after the other, and remembers what was acknowledged. Every fourth
/// request is sent twice at once: both are answered with the one version that they made.
pub(crate) async fn write(client: Client, writer: usize, shared: Arc<Shared>) -> BTreeMap<String, Vec<Acknowledged>> {
    let mut acknowledged: BTreeMap<String, Vec<Acknowledged>> = BTreeMap::new();
    for n in 0.. {
        if !shared.runs() {
            break;
        }
        let id = format!("w{writer}-{}", n % KEYS);
        let name = format!("namespaces/default/keys/{id}");
        let request = request(n < KEYS, &id, &name);
        let sent = if n % 4 == 3 {
            let (one, two) = tokio::join!(send(&client, request.clone()), send(&client, request.clone()));
            one.and_then(|one| two.inspect(|two| assert_eq!(one, *two, "one request, two answers")))
        } else {
            send(&client, request.clone()).await
        };
        match sent {
            Ok(version) => {
                acknowledged.entry(name.clone()).or_default().push(Acknowledged { request, version });
                *shared.newest.lock().expect("whole") = Some((name, version));
                shared.writes.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => shared.failed(&name, &error),
        }
        tokio::time::sleep(PAUSE).await;
    }
    acknowledged
}

fn request(create: bool, id: &str, name: &str) -> Request {
    let request_id = chancery_client::api::request_id();
    if create {
        Request::Create(kms::CreateKeyRequest {
            parent: "namespaces/default".into(),
            key_id: id.into(),
            request_id,
            ..Default::default()
        })
    } else {
        Request::Rotate(kms::RotateKeyRequest { name: name.into(), request_id, ..Default::default() })
    }
}

/// The version that the answer tells.
async fn send(client: &Client, request: Request) -> Result<u32, Error> {
    let key = match request {
        Request::Create(request) => client.keys().create(request).await?,
        Request::Rotate(request) => client.keys().rotate(request).await?,
    };
    Ok(key.primary_version)
}

/// Which node dies next: from `CHANCERY_KILL_SEED`, else from chance, and told when the test fails.
pub(crate) struct Dice {
    pub(crate) seed: u64,
    state: u64,
}

impl Dice {
    pub(crate) fn new() -> Self {
        let given = std::env::var("CHANCERY_KILL_SEED").ok();
        let drawn = || u64::from_be_bytes(crypto::entropy::array());
        let seed = given.map_or_else(drawn, |text| text.parse().expect("CHANCERY_KILL_SEED is a number"));
        Self { seed, state: seed }
    }

    /// splitmix64 (Steele, Lea and Flood 2014).
    pub(crate) fn below(&mut self, bound: u64) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound).expect("small")
    }
}

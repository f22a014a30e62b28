//! The load: callers that create, rotate, enable, disable, read and use a few keys at the same time, and write down what they
//! were told. Keys are retired before their histories grow too long to be decided, and new ones take their places.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chancery_client::{Client, Error};
use chaos::check::{oracle, register};
use chaos::history::{Call, Nanos, Operation, Outcome};
use proto::kms::v1 as kms;
use tokio::task::JoinHandle;
use types::Reason;

use crate::Fault;
use crate::cluster::Doors;
use crate::figures::Dice;
use crate::verdict::Verdict;

/// Keys in use at a time: few, so that callers meet.
const KEYS: usize = 5;
/// A key is retired at this length, well below what the search takes.
const RETIRED_AT: usize = 700;
/// Writes without an answer that one history may hold: each doubles what the search may have to try.
const UNKNOWN_MAX: usize = 6;
/// Callers of each kind, and the pause between two calls of one.
const WRITERS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(8);
/// How long a history may take to decide.
const DECIDED_WITHIN: Duration = Duration::from_secs(60);
/// Findings that are printed; a broken cluster has thousands.
const SHOWN: usize = 10;
const NAMESPACE: &str = "namespaces/default";
const PLAINTEXT: &[u8] = b"attack at dawn";

/// The callers at work.
pub(crate) struct Workload {
    book: Arc<Book>,
    callers: Vec<JoinHandle<()>>,
}

/// What callers share: the histories.
pub(crate) struct Book {
    started: Instant,
    stop: AtomicBool,
    keys: Mutex<Keys>,
    next_key: AtomicU32,
    /// Writes acknowledged.
    writes: AtomicU64,
    /// Calls of clients that know every node and got no answer: what an application would have seen.
    unanswered: AtomicU64,
    newest_error: Mutex<String>,
    ciphertexts: Mutex<BTreeMap<u32, Vec<u8>>>,
    lies: Mutex<Vec<String>>,
}

#[derive(Default)]
struct Keys {
    active: Vec<u32>,
    histories: BTreeMap<u32, Vec<Operation>>,
}

impl Workload {
    /// Sets the callers to work.
    pub(crate) async fn start(doors: &Doors, seed: u64) -> Result<Self, Fault> {
        let book = Arc::new(Book {
            started: Instant::now(),
            stop: AtomicBool::new(false),
            keys: Mutex::default(),
            next_key: AtomicU32::new(0),
            writes: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            newest_error: Mutex::default(),
            ciphertexts: Mutex::default(),
            lies: Mutex::default(),
        });
        let mut callers = Vec::new();
        for process in 0..WRITERS {
            let first = usize::try_from(process)?;
            let caller = Caller::new(&book, process, doors.another(first).await?, seed);
            callers.push(tokio::spawn(caller.write()));
        }
        callers.push(tokio::spawn(Caller::new(&book, WRITERS, doors.another(0).await?, seed).toggle()));
        for (client, process) in doors.each.iter().zip(WRITERS + 1..) {
            let caller = Caller::new(&book, process, client.clone(), seed);
            callers.push(tokio::spawn(caller.read()));
            let caller = Caller::new(&book, process + 100, client.clone(), seed);
            callers.push(tokio::spawn(caller.r#use(doors.each.clone())));
        }
        Ok(Self { book, callers })
    }

    /// Writes acknowledged so far.
    pub(crate) fn writes(&self) -> u64 {
        self.book.writes.load(Ordering::Relaxed)
    }

    /// Ends the load and judges everything: every history, and what every node has in the end.
    pub(crate) async fn judge(self, doors: &Doors, verdict: &mut Verdict) -> Result<(), Fault> {
        self.book.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await?;
        }
        let histories = std::mem::take(&mut self.book.keys().histories);
        verdict.fact("acknowledged writes", self.book.writes.load(Ordering::Relaxed));
        verdict.fact("calls recorded", histories.values().map(Vec::len).sum::<usize>());
        verdict.fact("histories", histories.len());
        let unanswered = self.book.unanswered.load(Ordering::Relaxed);
        verdict.fact("client errors", unanswered);
        // A cluster of one node is away while the node is: its callers have nobody else to turn to.
        if unanswered > 0 && doors.each.len() > 1 {
            let (newest, deadline) = (lock(&self.book.newest_error).clone(), crate::cluster::CALL);
            verdict.fail(format!("{unanswered} writes had no answer within {deadline:?}, for example: {newest}"));
        }
        let mut findings: Vec<String> = lock(&self.book.lies).drain(..).collect();
        let (broken, slow) = decide(&histories).await?;
        verdict.fact("non-linearizable histories", broken.len());
        findings.extend(broken.iter().map(|key| format!("the history of k{key} is not linearizable")));
        findings.extend(slow.iter().map(|why| format!("not decided: {why}")));
        for (key, history) in &histories {
            findings.extend(oracle::check(history).iter().map(|finding| format!("k{key}: {finding}")));
        }
        let lost = survey(doors, &histories).await?;
        verdict.fact("lost writes", lost.len());
        findings.extend(lost);
        findings.extend(self.book.reopen(doors).await?);
        let count = findings.len();
        findings.into_iter().take(SHOWN).for_each(|finding| verdict.fail(finding));
        if count > SHOWN {
            verdict.fail(format!("and {} more findings", count - SHOWN));
        }
        Ok(())
    }
}

/// Decides every history, each on a thread that may be given up. Which are broken, and which were not decided.
async fn decide(histories: &BTreeMap<u32, Vec<Operation>>) -> Result<(Vec<u32>, Vec<String>), Fault> {
    let (mut broken, mut slow) = (Vec::new(), Vec::new());
    for (key, history) in histories {
        let owned = history.clone();
        let judging = tokio::task::spawn_blocking(move || register::check(&owned));
        match tokio::time::timeout(DECIDED_WITHIN, judging).await {
            Ok(judged) => match judged? {
                Ok(()) => {}
                Err(register::Fault::NotLinearizable) => broken.push(*key),
                Err(register::Fault::TooLong(calls)) => slow.push(format!("k{key} has {calls} calls")),
            },
            Err(_) => slow.push(format!("k{key} took longer than {DECIDED_WITHIN:?}")),
        }
    }
    Ok((broken, slow))
}

/// Asks every node for every version of every key.
async fn survey(doors: &Doors, histories: &BTreeMap<u32, Vec<Operation>>) -> Result<Vec<String>, Fault> {
    let mut lost = Vec::new();
    for (node, client) in doors.each.iter().enumerate() {
        for (key, history) in histories {
            let versions = versions(client, &name(*key)).await?;
            let findings = oracle::check_versions(history, node + 1, &versions);
            lost.extend(findings.iter().map(|finding| format!("k{key}: {finding}")));
        }
    }
    Ok(lost)
}

/// The versions that a node lists; none when it does not know the key.
pub(crate) async fn versions(client: &Client, key: &str) -> Result<BTreeSet<u32>, Fault> {
    let (mut found, mut page_token) = (BTreeSet::new(), String::new());
    loop {
        let request = kms::ListKeyVersionsRequest { parent: key.to_owned(), page_size: 1_000, page_token };
        let page = match client.keys().versions(request).await {
            Ok(page) => page,
            Err(error) if error.reason() == Some(Reason::NotFound) => return Ok(found),
            Err(error) => return Err(error.to_string().into()),
        };
        found.extend(page.versions.iter().map(|version| version.version));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(found);
        }
    }
}

fn name(key: u32) -> String {
    format!("{NAMESPACE}/keys/k{key}")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Book {
    fn keys(&self) -> MutexGuard<'_, Keys> {
        lock(&self.keys)
    }

    fn now(&self) -> Nanos {
        Nanos::try_from(self.started.elapsed().as_nanos()).unwrap_or(Nanos::MAX)
    }

    fn runs(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn lie(&self, what: String) {
        lock(&self.lies).push(what);
    }

    /// Writes a call down; retires the key when its history has grown enough.
    fn note(&self, key: u32, operation: Operation) {
        if operation.is_write() && matches!(operation.outcome, Outcome::Done { .. }) {
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
        let mut keys = self.keys();
        let history = keys.histories.entry(key).or_default();
        history.push(operation);
        let unknown = history.iter().filter(|o| o.outcome == Outcome::Unknown).count();
        if history.len() >= RETIRED_AT || unknown >= UNKNOWN_MAX {
            keys.active.retain(|active| *active != key);
        }
    }

    /// One of the keys in use; a free place is taken by a new key, which the caller has to create.
    fn pick(&self, dice: &mut Dice) -> (u32, bool) {
        let mut keys = self.keys();
        if keys.active.len() < KEYS {
            let key = self.next_key.fetch_add(1, Ordering::Relaxed);
            keys.active.push(key);
            return (key, true);
        }
        let at = dice.below(keys.active.len());
        (keys.active.get(at).copied().unwrap_or(0), false)
    }

    /// One of the keys in use, or none yet.
    fn peek(&self, dice: &mut Dice) -> Option<u32> {
        let keys = self.keys();
        keys.active.get(dice.below(keys.active.len())).copied()
    }

    /// Every key is enabled, and every ciphertext that was made is opened on every node: a version that was used is durable
    /// with its material.
    async fn reopen(&self, doors: &Doors) -> Result<Vec<String>, Fault> {
        let ciphertexts = std::mem::take(&mut *lock(&self.ciphertexts));
        let mut findings = Vec::new();
        for key in ciphertexts.keys() {
            let request = kms::EnableKeyRequest { name: name(*key), ..Default::default() };
            doors.all.keys().enable(request).await.map_err(|error| error.to_string())?;
        }
        for (node, client) in doors.each.iter().enumerate() {
            for (key, ciphertext) in &ciphertexts {
                let opened = client.crypto().decrypt(opening(ciphertext.clone())).await;
                match opened {
                    Ok(opened) if opened.plaintext == PLAINTEXT => {}
                    Ok(_) => findings.push(format!("node {} opens a ciphertext of k{key} to something else", node + 1)),
                    Err(error) => findings.push(format!("node {} does not open k{key}: {error}", node + 1)),
                }
            }
        }
        Ok(findings)
    }
}

fn opening(ciphertext: Vec<u8>) -> kms::DecryptRequest {
    kms::DecryptRequest { parent: NAMESPACE.into(), ciphertext, ..Default::default() }
}

/// One caller: one call after the other.
struct Caller {
    book: Arc<Book>,
    process: u32,
    client: Client,
    dice: Dice,
}

impl Caller {
    fn new(book: &Arc<Book>, process: u32, client: Client, seed: u64) -> Self {
        Self { book: Arc::clone(book), process, client, dice: Dice::new(seed ^ u64::from(process) << 32) }
    }

    /// Creates and rotates; every fifth rotation is sent twice at once under one request id.
    async fn write(mut self) {
        while self.book.runs() {
            let (key, new) = self.book.pick(&mut self.dice);
            if new {
                self.create(key).await;
            } else if self.dice.below(5) == 0 {
                self.rotate_twice(key).await;
            } else if self.dice.below(3) == 0 {
                self.get(key).await;
            } else {
                let keys = self.client.keys();
                let sent = async move { keys.rotate(rotation(key)).await.map(|key| key.primary_version) };
                self.call(key, Call::Rotate, sent).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Disables a key now and then, and enables it again.
    async fn toggle(mut self) {
        let mut enabled = false;
        let mut key = None;
        while self.book.runs() {
            key = if enabled { key } else { self.book.peek(&mut self.dice) };
            if let Some(key) = key {
                let (name, keys) = (name(key), self.client.keys());
                let sent = async move {
                    let done = match enabled {
                        true => keys.enable(kms::EnableKeyRequest { name, ..Default::default() }).await,
                        false => keys.disable(kms::DisableKeyRequest { name, ..Default::default() }).await,
                    };
                    done.map(|_| 0)
                };
                self.call(key, Call::SetEnabled(enabled), sent).await;
                enabled = !enabled;
            }
            tokio::time::sleep(4 * PAUSE).await;
        }
    }

    /// Reads from one node.
    async fn read(mut self) {
        while self.book.runs() {
            if let Some(key) = self.book.peek(&mut self.dice) {
                self.get(key).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Encrypts on one node and decrypts on another.
    async fn r#use(mut self, others: Vec<Client>) {
        while self.book.runs() {
            if let Some(key) = self.book.peek(&mut self.dice) {
                let at = self.dice.below(others.len());
                if let Some(other) = others.get(at).cloned() {
                    self.round_trip(key, &other).await;
                }
            }
            tokio::time::sleep(2 * PAUSE).await;
        }
    }

    async fn create(&mut self, key: u32) {
        let request = kms::CreateKeyRequest {
            parent: NAMESPACE.into(),
            key_id: format!("k{key}"),
            request_id: chancery_client::api::request_id(),
            ..Default::default()
        };
        let keys = self.client.keys();
        self.call(key, Call::Create, async move { keys.create(request).await.map(|key| key.primary_version) }).await;
    }

    async fn get(&mut self, key: u32) {
        let began = self.book.now();
        let answer = self.client.keys().get(kms::GetKeyRequest { name: name(key) }).await;
        let outcome = match answer {
            Ok(key) => Outcome::Done { version: key.primary_version, enabled: key.enabled },
            Err(error) if error.reason() == Some(Reason::NotFound) => Outcome::NotFound,
            Err(_) => return, // says nothing
        };
        self.note(key, began, Call::Get, outcome);
    }

    /// One request, sent twice at once: both must be told of the one version that it made.
    async fn rotate_twice(&mut self, key: u32) {
        let (began, request, keys) = (self.book.now(), rotation(key), self.client.keys());
        let (one, two) = tokio::join!(keys.rotate(request.clone()), keys.rotate(request));
        if let (Ok(one), Ok(two)) = (&one, &two)
            && one.primary_version != two.primary_version
        {
            let (one, two) = (one.primary_version, two.primary_version);
            self.book.lie(format!("k{key}: one request was told of versions {one} and {two}"));
        }
        let outcome = self.outcome(one.or(two).map(|key| key.primary_version));
        self.note(key, began, Call::Rotate, outcome);
    }

    async fn round_trip(&mut self, key: u32, other: &Client) {
        let began = self.book.now();
        let request = kms::EncryptRequest { name: name(key), plaintext: PLAINTEXT.to_vec(), ..Default::default() };
        let Ok(sealed) = self.client.crypto().encrypt(request).await else { return };
        let done = |version| Outcome::Done { version, enabled: true };
        self.note(key, began, Call::Use, done(sealed.version));
        let began = self.book.now();
        let Ok(opened) = other.crypto().decrypt(opening(sealed.ciphertext.clone())).await else { return };
        if opened.plaintext != PLAINTEXT || opened.version != sealed.version {
            self.book.lie(format!("k{key}: version {} opened to something else", sealed.version));
        }
        self.note(key, began, Call::Use, done(opened.version));
        lock(&self.book.ciphertexts).insert(key, sealed.ciphertext);
    }

    /// Makes a call that changes the key, and writes down what was told.
    async fn call(&mut self, key: u32, call: Call, sent: impl Future<Output = Result<u32, Error>> + Send) {
        let began = self.book.now();
        let answer = sent.await;
        let outcome = self.outcome(answer);
        self.note(key, began, call, outcome);
    }

    fn note(&self, key: u32, began: Nanos, call: Call, outcome: Outcome) {
        let (process, ended) = (self.process, self.book.now());
        self.book.note(key, Operation { process, began, ended, call, outcome });
    }

    fn outcome(&self, answer: Result<u32, Error>) -> Outcome {
        let error = match answer {
            Ok(version) => return Outcome::Done { version, enabled: true },
            Err(error) => error,
        };
        match error.reason() {
            Some(Reason::NotFound) => Outcome::NotFound,
            Some(Reason::KeyDisabled) => Outcome::Disabled,
            Some(Reason::AlreadyExists) => Outcome::Taken,
            // Contention is an answer, if not one that says what the key is; so is a fence that waits for a node that is away.
            Some(Reason::Stale | Reason::PreconditionFailed | Reason::FencePending) => Outcome::Unknown,
            _ => {
                self.book.unanswered.fetch_add(1, Ordering::Relaxed);
                *lock(&self.book.newest_error) = error.to_string();
                Outcome::Unknown
            }
        }
    }
}

fn rotation(key: u32) -> kms::RotateKeyRequest {
    let request_id = chancery_client::api::request_id();
    kms::RotateKeyRequest { name: name(key), request_id, ..Default::default() }
}

//! The client: which nodes there are, whom it trusts, and how a call is carried to an answer.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use types::SpkiHash;

use crate::Address;
use crate::bootstrap::{self, Fetched};
use crate::error::{Error, Tried};
use crate::freshness::{IndexToken, Observed, Wanted};
use crate::hedge::{Pace, Race};
use crate::retry::{Verdict, backoff, judge, no_answer};
use crate::tls::{self, Connector, Identity, PinSet, PinnedServers};
use crate::trust::{TrustCache, TrustDocument};

/// When nothing listens at any address, it is not a fail-over that is being waited for.
const NOBODY_HOME: Duration = Duration::from_secs(2);
/// One attempt is given at least this long, however many nodes share the deadline.
const ATTEMPT_MIN: Duration = Duration::from_secs(2);

/// What a client is made from.
#[derive(Clone, Debug)]
pub struct Config {
    /// API addresses, in the order in which they are tried first; at least one.
    pub endpoints: Vec<Address>,
    /// Who calls.
    pub identity: Identity,
    /// SHA-256 of the cluster key's SubjectPublicKeyInfo: the only thing that is pinned.
    pub cluster_key_hash: SpkiHash,
    /// Where the trust document is kept between runs; without it each client fetches one first.
    pub trust_cache: Option<TrustCache>,
    /// A call ends within this time, all retries included.
    pub deadline: Duration,
}

/// A connection to a cluster. Cheap to clone; clones share connections. See [`Client::connect`].
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    nodes: Arc<[Arc<Node>]>,
    preferred: Arc<AtomicUsize>,
    wanted: Wanted,
    observed: Arc<Observed>,
}

struct Shared {
    config: Config,
    pins: PinSet,
    tls: Arc<rustls::ClientConfig>,
    trust: Mutex<TrustDocument>,
    /// One refresh at a time: many calls fail together when a node has been replaced.
    refreshing: tokio::sync::Mutex<()>,
    reads: Pace,
    changes: Pace,
}

/// Whether another node may be asked as well when the first is slow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hedging {
    /// The call changes nothing, and any node's answer is as good.
    Read,
    /// It changes something under a request id, so that a second copy is answered as the first is.
    Change,
    /// It concerns the answering node.
    Never,
}

struct Node {
    address: Address,
    connector: Connector,
    channel: Channel,
}

/// Where a call stands over its rounds.
struct Progress {
    started: Instant,
    deadline: Instant,
    round: u32,
    tried: Vec<Tried>,
    refusal: Option<Error>,
    not_before: Duration,
    somebody_home: bool,
    refreshed: bool,
}

impl Client {
    /// Makes a client. Pins the nodes of the cached trust document, or fetches one first; nothing else is sent to a
    /// server before its key has been found in a document that the cluster key signed.
    ///
    /// # Errors
    /// When no endpoint is given, or no trust document is cached and none can be had.
    pub async fn connect(config: Config) -> Result<Self, Error> {
        if config.endpoints.is_empty() {
            return Err(Error::Setup("no address of a node is known: set CHANCERY_ADDR or give --addr".to_owned()));
        }
        let cached = match &config.trust_cache {
            Some(cache) => cache.load(config.cluster_key_hash)?,
            None => None,
        };
        let document = match cached {
            Some(document) => document,
            None => fetch_until(&config, None).await?,
        };
        let pins: PinSet = document.pins().collect();
        let tls = tls::client_config(&config.identity, PinnedServers::new(pins.clone()))
            .map(Arc::new)
            .map_err(|error| Error::Setup(error.to_string()))?;
        let nodes =
            config.endpoints.iter().map(|address| Node::new(address, &tls)).collect::<Result<Vec<_>, Error>>()?;
        let refreshing = tokio::sync::Mutex::new(());
        let (trust, reads, changes) = (Mutex::new(document), Pace::of_reads(), Pace::of_changes());
        let shared = Shared { config, pins, tls, trust, refreshing, reads, changes };
        Ok(Self {
            shared: Arc::new(shared),
            nodes: nodes.into(),
            preferred: Arc::default(),
            wanted: Wanted::default(),
            observed: Arc::default(),
        })
    }

    /// The addresses that calls go to.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.nodes.iter().map(|node| &node.address)
    }

    /// The same client for one of its addresses only: for what concerns the answering node, such as its seal.
    #[must_use]
    pub fn only(&self, address: &Address) -> Option<Self> {
        let node = self.nodes.iter().find(|node| node.address == *address)?;
        Some(self.of([Arc::clone(node)].into()))
    }

    /// The same client for the node at that address only, be it one of its addresses or not: for members that were
    /// added since. Its key has to be pinned as any other's.
    ///
    /// # Errors
    /// When no connection can be set up for the address.
    pub fn at(&self, address: &Address) -> Result<Self, Error> {
        if let Some(known) = self.only(address) {
            return Ok(known);
        }
        let node = Node::new(address, &self.shared.tls)?;
        Ok(self.of([node].into()))
    }

    /// The same client, whose reads a node may answer from what it has applied, without asking who leads: they go on without
    /// a quorum for as long as the node holds its lease, and [`Client::age`] says how old the answer may be.
    #[must_use]
    pub fn stale(&self) -> Self {
        Self { wanted: Wanted { stale: true, ..self.wanted }, ..self.clone() }
    }

    /// The same client, whose reads and uses see that change, whichever node answers: a node that has not applied it waits.
    #[must_use]
    pub fn after(&self, token: IndexToken) -> Self {
        Self { wanted: Wanted { after: Some(token), ..self.wanted }, ..self.clone() }
    }

    /// The newest place in history that this client, or a clone, was told of: by its own changes and by what it read.
    #[must_use]
    pub fn seen(&self) -> Option<IndexToken> {
        self.observed.index()
    }

    /// Whether something was taken away that no ledger knows of: a restore of an older backup brings it back, in quarantine.
    #[must_use]
    pub fn unledgered(&self) -> bool {
        self.observed.unledgered()
    }

    /// How old the last stale read may have been: it saw everything that was acknowledged so long before.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.observed.age()
    }

    fn of(&self, nodes: Arc<[Arc<Node>]>) -> Self {
        Self { nodes, preferred: Arc::default(), ..self.clone() }
    }

    /// The trust document in force.
    #[must_use]
    pub fn trust(&self) -> TrustDocument {
        self.shared.trust.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether an answer came from a cluster whose members or keys have changed since the trust document in force:
    /// [`Client::refresh_trust`] then knows members that came since.
    #[must_use]
    pub fn is_trust_behind(&self) -> bool {
        self.observed.trust() > self.trust().statement().sequence
    }

    /// Fetches the trust document again, pins the nodes in it and caches it. Called by itself when a node's key is not
    /// pinned; long-running clients call it now and then to forget removed nodes.
    ///
    /// # Errors
    /// When no node hands out a document that is genuine and no older than the one in force.
    pub async fn refresh_trust(&self) -> Result<(), Error> {
        let seen = self.trust();
        let _one = self.shared.refreshing.lock().await;
        if self.trust().statement().order() > seen.statement().order() {
            return Ok(()); // somebody else has just done it
        }
        let document = fetch_until(&self.shared.config, Some(&seen)).await?;
        self.shared.pins.replace(document.pins());
        *self.shared.trust.lock().unwrap_or_else(PoisonError::into_inner) = document;
        Ok(())
    }

    /// Carries one call to an answer: each node in turn, from the one that answered last; then again after a pause,
    /// until the deadline. The request is the same each time, request id included, so that a retry is harmless.
    pub(crate) async fn call<Q, A, F, U>(&self, hedging: Hedging, request: Q, send: F) -> Result<A, Error>
    where
        Q: Clone + Send + Sync,
        A: Send,
        F: Fn(Channel, Request<Q>) -> U + Send + Sync,
        U: Future<Output = Result<Response<A>, Status>> + Send,
    {
        let answers = Slot::default();
        let attempt = |node: Arc<Node>, limit: Duration| {
            let mut request = Request::new(request.clone());
            request.set_timeout(limit);
            self.wanted.put_into(request.metadata_mut());
            let sent = send(node.channel.clone(), request);
            let answers = &answers;
            Box::pin(async move { timed(limit, sent, &node).await.map(|answer| answers.put(answer)) }) as Attempt<'_>
        };
        self.rounds(hedging, &attempt).await?;
        let answer = answers.take()?;
        self.observed.note(answer.metadata());
        Ok(answer.into_inner())
    }

    /// Opens a stream of answers as [`Client::call`] makes a call. The deadline is for the opening only; once open, a
    /// broken stream is the caller's to open again.
    pub(crate) async fn open<Q, A, F, U>(&self, request: Q, send: F) -> Result<Stream<A>, Error>
    where
        Q: Clone + Send + Sync,
        A: Send,
        F: Fn(Channel, Request<Q>) -> U + Send + Sync,
        U: Future<Output = Result<Response<tonic::Streaming<A>>, Status>> + Send,
    {
        let answers = Slot::default();
        let attempt = |node: Arc<Node>, limit: Duration| {
            let sent = send(node.channel.clone(), Request::new(request.clone()));
            let answers = &answers;
            Box::pin(async move { timed(limit, sent, &node).await.map(|answer| answers.put(answer)) }) as Attempt<'_>
        };
        self.rounds(Hedging::Never, &attempt).await?;
        Ok(Stream(answers.take()?.into_inner()))
    }

    async fn rounds<'a>(&self, hedging: Hedging, attempt: &Ask<'a>) -> Result<(), Error> {
        let mut progress = Progress::new(self.shared.config.deadline);
        loop {
            if self.round(hedging, attempt, &mut progress).await? {
                return Ok(());
            }
            progress.pause().await?;
        }
    }

    /// Asks each node once. `Ok(false)`: none could answer, another round may help.
    async fn round<'a>(&self, hedging: Hedging, attempt: &Ask<'a>, progress: &mut Progress) -> Result<bool, Error> {
        let (count, first) = (self.nodes.len(), self.preferred.load(Ordering::Relaxed));
        let (mut sealed, mut unformed, mut refused) = (0, Vec::new(), None);
        progress.tried.clear();
        let deadline = progress.deadline;
        let questions = (0..count).filter_map(|n| {
            let at = first.wrapping_add(n) % count;
            let node = self.nodes.get(at)?;
            Some(async move {
                let started = Instant::now();
                let answer = attempt(Arc::clone(node), attempt_limit(deadline, count)).await;
                ((at, node), started.elapsed(), answer)
            })
        });
        let pace = match hedging {
            Hedging::Read => Some(&self.shared.reads),
            Hedging::Change => Some(&self.shared.changes),
            Hedging::Never => None,
        };
        let mut race = Race::new(questions, pace);
        while let Some(((at, node), answer)) = race.next().await {
            let verdict = match answer {
                Ok(()) => {
                    self.preferred.store(at, Ordering::Relaxed);
                    return Ok(true);
                }
                Err(verdict) => verdict,
            };
            tracing::debug!(node = %node.address, ?verdict, "no answer from this node");
            progress.somebody_home |= !matches!(verdict, Verdict::Elsewhere { nobody_home: true, .. });
            match verdict {
                // One copy of a change may be refused for what the other has done: its answer is waited for.
                Verdict::Final(error) if hedging == Hedging::Change && race.is_waiting() => {
                    refused = refused.or(Some(error));
                }
                Verdict::Final(error) => return Err(refused.unwrap_or(error)),
                Verdict::Sealed => {
                    sealed += 1;
                    progress.note(node, "sealed".to_owned());
                }
                Verdict::NotInitialized(error) => {
                    progress.note(node, error.to_string());
                    unformed.push(error);
                }
                Verdict::UntrustedKey => {
                    progress.note(node, "its key is not one that the cluster vouches for".to_owned());
                    progress.refresh_once(self).await?;
                }
                Verdict::Elsewhere { why, refusal, not_before, .. } => {
                    progress.note(node, why);
                    progress.refusal = refusal.or(progress.refusal.take());
                    progress.not_before = progress.not_before.max(not_before.unwrap_or_default());
                }
            }
            if refused.is_some() && !race.is_waiting() {
                break;
            }
        }
        if let Some(error) = refused {
            return Err(error);
        }
        if sealed == count {
            return Err(Error::AllSealed { nodes: count });
        }
        match unformed.pop() {
            Some(error) if unformed.len() + 1 == count => Err(error),
            _ => Ok(false),
        }
    }
}

/// The answer of a call under way: see [`Client`]'s methods.
pub type Answer<'a, A> = BoxFuture<'a, Result<A, Error>>;

/// One question to one node. Behind a pointer, so that fail-over and hedging are compiled once and not for every method;
/// the answer goes into the call's [`Slot`].
type Attempt<'a> = BoxFuture<'a, Result<(), Verdict>>;
type Ask<'a> = dyn Fn(Arc<Node>, Duration) -> Attempt<'a> + Send + Sync + 'a;

/// Where the attempt that was answered leaves what it got. A race ends at its first answer, so there is one.
struct Slot<A>(Mutex<Option<A>>);

impl<A> Default for Slot<A> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<A> Slot<A> {
    fn put(&self, answer: A) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }

    fn take(&self) -> Result<A, Error> {
        let answer = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        answer.ok_or_else(|| Error::Setup("a call ended without its answer".to_owned()))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.nodes.iter().map(|node| &node.address)).finish()
    }
}

impl Node {
    fn new(address: &Address, tls: &Arc<rustls::ClientConfig>) -> Result<Arc<Self>, Error> {
        let connector = Connector::new(address.clone(), Arc::clone(tls));
        let channel = tls::channel(connector.clone()).map_err(|error| Error::Setup(error.to_string()))?;
        Ok(Arc::new(Self { address: address.clone(), connector, channel }))
    }
}

impl Progress {
    fn new(limit: Duration) -> Self {
        let started = Instant::now();
        Self {
            started,
            deadline: started + limit,
            round: 0,
            tried: Vec::new(),
            refusal: None,
            not_before: Duration::ZERO,
            somebody_home: false,
            refreshed: false,
        }
    }

    fn note(&mut self, node: &Node, why: String) {
        self.tried.push(Tried { address: node.address.clone(), why });
    }

    async fn refresh_once(&mut self, client: &Client) -> Result<(), Error> {
        if std::mem::replace(&mut self.refreshed, true) {
            return Ok(());
        }
        client.refresh_trust().await
    }

    /// Waits before the next round, or gives up.
    async fn pause(&mut self) -> Result<(), Error> {
        let [jitter] = crypto::entropy::array::<1>();
        let pause = backoff(self.round, jitter).max(std::mem::take(&mut self.not_before));
        let next = Instant::now() + pause;
        let hopeless = !self.somebody_home && next.duration_since(self.started) > NOBODY_HOME;
        if next >= self.deadline || hopeless {
            return Err(self.refusal.take().unwrap_or(Error::Unreachable { tried: std::mem::take(&mut self.tried) }));
        }
        self.round += 1;
        sleep(pause).await;
        Ok(())
    }
}

/// The time for one attempt: a share of what is left, so that one silent node does not use up the deadline.
fn attempt_limit(deadline: Instant, nodes: usize) -> Duration {
    let left = deadline.saturating_duration_since(Instant::now());
    let share = left / u32::try_from(nodes).unwrap_or(u32::MAX).max(1);
    share.max(ATTEMPT_MIN).min(left)
}

/// A stream of answers from one node.
#[derive(Debug)]
pub struct Stream<A>(tonic::Streaming<A>);

impl<A> Stream<A> {
    /// The next answer; `None` when the node has ended the stream in good order.
    ///
    /// # Errors
    /// When the node ends it with a refusal, or the connection is lost.
    pub async fn next(&mut self) -> Result<Option<A>, Error> {
        self.0.message().await.map_err(|status| match judge(&status, None) {
            Verdict::Elsewhere { refusal: None, why, .. } => Error::Setup(format!("the stream broke off: {why}")),
            _ => Error::from_status(&status),
        })
    }
}

async fn timed<A>(limit: Duration, sent: impl Future<Output = Result<A, Status>>, node: &Node) -> Result<A, Verdict> {
    match timeout(limit, sent).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(status)) => Err(judge(&status, node.connector.last_failure())),
        Err(_) => Err(no_answer()),
    }
}

/// Fetches a trust document from whichever endpoint has one, until the deadline, and caches it.
async fn fetch_until(config: &Config, seen: Option<&TrustDocument>) -> Result<TrustDocument, Error> {
    let mut progress = Progress::new(config.deadline);
    loop {
        match bootstrap::fetch_from_any(config, seen, attempt_limit(progress.deadline, config.endpoints.len())).await? {
            Fetched::Document(document) => {
                if let Some(cache) = &config.trust_cache {
                    cache.store(&document, config.cluster_key_hash)?;
                }
                return Ok(*document);
            }
            Fetched::Nobody { tried, somebody_home } => {
                progress.tried = tried;
                progress.somebody_home |= somebody_home;
            }
        }
        progress.pause().await?;
    }
}

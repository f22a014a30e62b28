//! Watches each node from outside: a decryption and an issuance over and over, on a bare channel without retries, so that
//! every refusal is counted against the node that gave it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chancery_client::Error;
use chancery_client::tls::Identity;
use crypto::sign::P256Signer;
use proto::ca::v1 as ca;
use proto::ca::v1::svid_service_client::SvidServiceClient;
use proto::cluster::v1 as cluster;
use proto::kms::v1 as kms;
use proto::kms::v1::crypto_service_client::CryptoServiceClient;
use tokio::task::JoinHandle;
use tonic::{Request, Status};

use crate::Fault;
use crate::cluster::{Doors, now, until};

/// The pause between two calls, and the deadline of one. The deadline is generous so that a busy machine is no error.
const PAUSE: Duration = Duration::from_millis(25);
const DEADLINE: Duration = Duration::from_secs(2);
const PLAINTEXT: &[u8] = b"attack at dawn";

/// The watchers.
pub(crate) struct Probes {
    marks: Arc<Mutex<Vec<Mark>>>,
    stop: Arc<AtomicBool>,
    watchers: Vec<JoinHandle<()>>,
}

/// One answer of one node.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) node: usize,
    pub(crate) kind: Kind,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    /// Why not.
    pub(crate) error: Option<String>,
}

/// What was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Decrypt,
    Issue,
}

/// A node was made unable to answer from here to there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Down {
    pub(crate) node: usize,
    pub(crate) from: Instant,
    pub(crate) until: Instant,
}

impl Probes {
    /// Enrols an agent with one entry, makes a ciphertext, and starts asking every node.
    pub(crate) async fn start(doors: &Doors) -> Result<Self, Fault> {
        let key = doors.all.keys().create(named("probed")).await?.name;
        let encrypt = kms::EncryptRequest { name: key, plaintext: PLAINTEXT.to_vec(), ..Default::default() };
        let ciphertext = doors.all.crypto().encrypt(encrypt).await?.ciphertext;
        let agent = enrol(doors).await?;
        let entry = ca::Entry {
            parent_agent: "agents/probe".into(),
            path: "/ns/default/probe".into(),
            selectors: vec!["unix:uid:0".into()],
            ..Default::default()
        };
        let create = ca::CreateEntryRequest {
            parent: "namespaces/default".into(),
            entry_id: "probe".into(),
            entry: Some(entry),
            ..Default::default()
        };
        let entry = doors.all.entries().create(create).await?.name;
        let csr = chancery_client::certificate_request(&P256Signer::generate())?;
        let (marks, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let mut probes = Self { marks, stop, watchers: Vec::new() };
        for node in 0..doors.each.len() {
            let decrypt = kms::DecryptRequest {
                parent: "namespaces/default".into(),
                ciphertext: ciphertext.clone(),
                ..Default::default()
            };
            let client = CryptoServiceClient::new(doors.bare(&doors.operator, node)?);
            probes.watch(node, Kind::Decrypt, move || {
                let (mut client, request) = (client.clone(), within(decrypt.clone()));
                async move {
                    let answer = client.decrypt(request).await?.into_inner();
                    if answer.plaintext == PLAINTEXT { Ok(()) } else { Err(Status::data_loss("another plaintext")) }
                }
            });
            let issue = ca::IssueX509SvidRequest { entry: entry.clone(), csr: csr.clone() };
            let client = SvidServiceClient::new(doors.bare(&agent, node)?);
            probes.watch(node, Kind::Issue, move || {
                let (mut client, request) = (client.clone(), within(issue.clone()));
                async move { client.issue_x509_svid(request).await.map(drop) }
            });
        }
        let count = doors.each.len();
        let answered = until("every node to serve and issue", async || probes.all_answered(2 * count)).await;
        answered.map_err(|error| {
            format!("{error}: {:?}", (0..count).map(|n| probes.newest_error(n)).collect::<Vec<_>>())
        })?;
        lock(&probes.marks).clear();
        Ok(probes)
    }

    /// Waits until the node has answered both questions, asked after `since`.
    pub(crate) async fn serves(&self, node: usize, since: Instant) -> Result<(), Fault> {
        until("the node to decrypt and issue", async || {
            let marks = lock(&self.marks);
            let good = |kind| {
                let mut newest = marks.iter().rev().filter(|mark| mark.node == node && mark.kind == kind);
                newest.next().is_some_and(|mark| mark.error.is_none() && mark.began > since)
            };
            good(Kind::Decrypt) && good(Kind::Issue)
        })
        .await
        .map_err(|error| format!("node {}: {error}: {:?}", node + 1, self.newest_error(node)).into())
    }

    /// Ends the watching; everything that was answered.
    pub(crate) async fn stop(mut self) -> Result<Vec<Mark>, Fault> {
        self.stop.store(true, Ordering::Relaxed);
        for watcher in self.watchers.drain(..) {
            watcher.await?;
        }
        Ok(std::mem::take(&mut *lock(&self.marks)))
    }

    fn watch<U>(&mut self, node: usize, kind: Kind, ask: impl Fn() -> U + Send + 'static)
    where
        U: Future<Output = Result<(), Status>> + Send,
    {
        let (marks, stop) = (Arc::clone(&self.marks), Arc::clone(&self.stop));
        self.watchers.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                let answer = tokio::time::timeout(DEADLINE, ask()).await;
                let error = match answer {
                    Ok(Ok(())) => None,
                    Ok(Err(status)) => Some(why(&status)),
                    Err(_) => Some("no answer in time".to_owned()),
                };
                lock(&marks).push(Mark { node, kind, began, ended: Instant::now(), error });
                tokio::time::sleep(PAUSE).await;
            }
        }));
    }

    fn all_answered(&self, count: usize) -> bool {
        let marks = lock(&self.marks);
        let good: std::collections::BTreeSet<_> = marks
            .iter()
            .filter(|mark| mark.error.is_none())
            .map(|mark| (mark.node, mark.kind == Kind::Issue))
            .collect();
        good.len() == count
    }

    fn newest_error(&self, node: usize) -> Option<String> {
        lock(&self.marks).iter().rev().find(|mark| mark.node == node && mark.error.is_some())?.error.clone()
    }
}

/// The errors of nodes that nothing had been done to, and how many answers they gave.
pub(crate) fn errors_outside(marks: &[Mark], downs: &[Down]) -> (Vec<Mark>, usize) {
    let up = |mark: &&Mark| {
        !downs.iter().any(|down| down.node == mark.node && mark.ended >= down.from && mark.began <= down.until)
    };
    let up: Vec<&Mark> = marks.iter().filter(up).collect();
    let errors = up.iter().filter(|mark| mark.error.is_some()).map(|mark| (*mark).clone()).collect();
    (errors, up.len())
}

fn named(id: &str) -> kms::CreateKeyRequest {
    kms::CreateKeyRequest { parent: "namespaces/default".into(), key_id: id.into(), ..Default::default() }
}

async fn enrol(doors: &Doors) -> Result<Identity, Fault> {
    let request = cluster::CreateJoinTokenRequest {
        kind: cluster::JoinTokenKind::Agent.into(),
        agent_id: "probe".into(),
        ..Default::default()
    };
    let token = doors.all.cluster().create_join_token(request).await?.token;
    let agent = Identity::self_signed(&P256Signer::generate(), "agents/probe", now()?)?;
    let redeem = ca::RedeemAgentTokenRequest { token, ..Default::default() };
    doors.another_as(&agent, 0).await?.agents().redeem_token(redeem).await?;
    Ok(agent)
}

fn within<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

fn why(status: &Status) -> String {
    let error = Error::from_status(status);
    error.reason().map_or_else(|| error.to_string(), |reason| format!("{} ({})", reason.as_str(), status.message()))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! What callers do while a node is killed: decrypt and have certificates issued, each through a client that fails over.

use std::time::Duration;

use chancery_client::envelope::{KeyUse as _, ServiceKeys};
use chancery_client::proto::ca::v1::IssueX509SvidRequest;
use chancery_client::{Client, certificate_request};
use crypto::sign::P256Signer;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::super::fault::Fault;
use super::super::sample::{Sample, bound, is_start};
use super::super::stage::{Stage, Who};
use super::PARENT;
use super::register::spiffe_id;

/// A caller's pause between two calls: enough load to be in flight at any moment, room for the nodes on two cores.
const DECRYPT_PAUSE: Duration = Duration::from_millis(4);
const ISSUE_PAUSE: Duration = Duration::from_millis(30);
/// Different errors that are told.
const ERRORS_TOLD: usize = 3;

/// Callers at work.
#[derive(Debug)]
pub(crate) struct Load {
    callers: JoinSet<()>,
    stop: watch::Sender<bool>,
    counts: watch::Receiver<Counts>,
}

/// What came of their calls.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) decrypts: u64,
    pub(crate) svids: u64,
    pub(crate) errors: Vec<String>,
}

/// What a caller does over and over.
#[derive(Clone)]
enum Call {
    Decrypt(ServiceKeys, Sample),
    Issue(Client),
}

impl Load {
    /// Callers that begin at different nodes, so that some are with any node when it dies; one has certificates issued
    /// with the agent's own key, for what the agent holds already would not ask the cluster.
    pub(crate) async fn start(stage: &Stage) -> Result<Self, Fault> {
        let (tell, counts) = watch::channel(Counts::default());
        let (stop, stopped) = watch::channel(false);
        let mut callers = JoinSet::new();
        let mut endpoints = stage.endpoints()?;
        for _ in 0..endpoints.len() {
            let client = stage.connect_as(Who::Operator, endpoints.clone()).await?;
            let call = Call::Decrypt(ServiceKeys::to_decrypt(client), stage.sample()?.clone());
            callers.spawn(repeat(call, tell.clone(), stopped.clone()));
            let issue = Call::Issue(stage.connect_as(Who::Agent, endpoints.clone()).await?);
            callers.spawn(repeat(issue, tell.clone(), stopped.clone()));
            endpoints.rotate_left(1);
        }
        Ok(Self { callers, stop, counts })
    }

    /// What was counted so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counts.borrow().clone()
    }

    /// Lets every call that was begun end; what was counted.
    pub(crate) async fn stop(mut self) -> Result<Counts, Fault> {
        self.stop.send_replace(true);
        while let Some(ended) = self.callers.join_next().await {
            ended?;
        }
        Ok(self.counts())
    }
}

async fn repeat(call: Call, counts: watch::Sender<Counts>, stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        let outcome = call.make().await;
        counts.send_modify(|counts| counts.add(&call, outcome));
        sleep(call.pause()).await;
    }
}

impl Call {
    async fn make(&self) -> Result<(), Fault> {
        match self {
            Self::Decrypt(keys, sample) => {
                let opened = keys.decrypt(&sample.unary, &bound()?).await?;
                Fault::check(is_start(sample, opened.plaintext.expose()), || "the wrong plaintext".to_owned())
            }
            Self::Issue(client) => {
                let csr = certificate_request(&P256Signer::generate())?;
                let request = IssueX509SvidRequest { entry: format!("{PARENT}/entries/frontend"), csr };
                let issued = client.svids().issue_x509(request).await?;
                Fault::check(issued.spiffe_id == spiffe_id("frontend") && !issued.chain.is_empty(), || {
                    format!("a certificate for `{}`", issued.spiffe_id)
                })
            }
        }
    }

    fn pause(&self) -> Duration {
        match self {
            Self::Decrypt(..) => DECRYPT_PAUSE,
            Self::Issue(_) => ISSUE_PAUSE,
        }
    }
}

impl Counts {
    fn add(&mut self, call: &Call, outcome: Result<(), Fault>) {
        match (outcome, call) {
            (Ok(()), Call::Decrypt(..)) => self.decrypts += 1,
            (Ok(()), Call::Issue(_)) => self.svids += 1,
            (Err(fault), _) => self.errors.push(fault.to_string()),
        }
    }

    /// An error if a caller saw one.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let mut different = self.errors.clone();
        different.sort();
        different.dedup();
        different.truncate(ERRORS_TOLD);
        Fault::check(self.errors.is_empty(), || {
            format!("callers saw {} errors, such as: {}", self.errors.len(), different.join("; "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_error_is_enough() {
        let none = Counts { decrypts: 9, ..Counts::default() };
        assert!(none.check().is_ok());
        let one = Counts { errors: vec!["b".to_owned(), "a".to_owned(), "b".to_owned()], ..none };
        assert_eq!(one.check().expect_err("errors").to_string(), "callers saw 3 errors, such as: a; b");
    }
}

//! Getting the trust document from servers that are not trusted yet.
//!
//! Each fetch has a connection of its own whose server may hold any key. All that is sent on it is the question; all that
//! is believed of the answer is what the pinned cluster key signed; and the server's own key must be in it. Calls go over
//! other connections, pinned to what was learnt.

use std::sync::Arc;
use std::time::Duration;

use proto::cluster::v1::GetTrustDocumentRequest;
use proto::cluster::v1::cluster_service_client::ClusterServiceClient;
use tokio::time::timeout;
use types::SpkiHash;

use crate::Address;
use crate::client::Config;
use crate::error::{Error, Tried};
use crate::retry::{Verdict, judge, no_answer};
use crate::tls::{self, Connector, DangerousRecordAnyServer, Identity};
use crate::trust::{TrustDocument, TrustError};

/// What came of asking every endpoint once.
pub(crate) enum Fetched {
    /// A genuine document, no older than what was seen before.
    Document(Box<TrustDocument>),
    /// Nobody had one.
    Nobody {
        /// What each said.
        tried: Vec<Tried>,
        /// Whether anything listens at any of them.
        somebody_home: bool,
    },
}

/// Why one server gave no usable document.
enum Failure {
    /// It could not be asked, or could not answer.
    NoAnswer(Verdict),
    /// Its answer is not to be believed.
    NotGenuine(TrustError),
    /// Ours.
    Setup(Error),
}

/// Asks each endpoint until one hands out a genuine document that is no older than `seen`.
///
/// # Errors
/// When every endpoint is sealed or refuses for good, or when all that answered gave documents that are not genuine: that
/// is an attack or the wrong cluster, not an outage.
pub(crate) async fn fetch_from_any(
    config: &Config,
    seen: Option<&TrustDocument>,
    limit: Duration,
) -> Result<Fetched, Error> {
    let (mut tried, mut sealed, mut somebody_home, mut suspect) = (Vec::new(), 0, false, None);
    for address in &config.endpoints {
        let why = match fetch(address, &config.identity, config.cluster_key_hash, seen, limit).await {
            Ok(document) => return Ok(Fetched::Document(Box::new(document))),
            Err(Failure::Setup(error)) => return Err(error),
            Err(Failure::NotGenuine(error)) => {
                somebody_home = true;
                let why = error.to_string();
                suspect = Some(error);
                why
            }
            Err(Failure::NoAnswer(Verdict::Elsewhere { why, nobody_home, .. })) => {
                somebody_home |= !nobody_home;
                why
            }
            Err(Failure::NoAnswer(Verdict::Sealed)) => {
                sealed += 1;
                somebody_home = true;
                "sealed".to_owned()
            }
            Err(Failure::NoAnswer(Verdict::UntrustedKey)) => "its key is not pinned".to_owned(),
            Err(Failure::NoAnswer(Verdict::Final(error) | Verdict::NotInitialized(error))) => return Err(error),
        };
        tried.push(Tried { address: address.clone(), why });
    }
    match suspect {
        Some(error) => Err(error.into()),
        None if sealed == config.endpoints.len() => Err(Error::AllSealed { nodes: sealed }),
        None => Ok(Fetched::Nobody { tried, somebody_home }),
    }
}

async fn fetch(
    address: &Address,
    identity: &Identity,
    pinned: SpkiHash,
    seen: Option<&TrustDocument>,
    limit: Duration,
) -> Result<TrustDocument, Failure> {
    let setup = |error: String| Failure::Setup(Error::Setup(error));
    let recorder = DangerousRecordAnyServer::new();
    let tls = tls::client_config(identity, Arc::clone(&recorder) as _).map_err(|error| setup(error.to_string()))?;
    let connector = Connector::new(address.clone(), Arc::new(tls));
    let channel = tls::channel(connector.clone()).map_err(|error| setup(error.to_string()))?;
    let mut server = ClusterServiceClient::new(channel);
    let answer = match timeout(limit, server.get_trust_document(GetTrustDocumentRequest {})).await {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) => return Err(Failure::NoAnswer(judge(&status, connector.last_failure()))),
        Err(_) => return Err(Failure::NoAnswer(no_answer())),
    };
    genuine(answer, pinned, seen, recorder.seen()).map_err(Failure::NotGenuine)
}

fn genuine(
    answer: proto::cluster::v1::TrustDocument,
    pinned: SpkiHash,
    seen: Option<&TrustDocument>,
    server: Option<SpkiHash>,
) -> Result<TrustDocument, TrustError> {
    let document = TrustDocument::verify(answer, pinned)?;
    // The connection that carried the answer has a recorded key; without one it would not stand.
    document.check_lists(server.unwrap_or(SpkiHash([0; 32])))?;
    if let Some(seen) = seen {
        document.check_not_older_than(seen)?;
    }
    Ok(document)
}

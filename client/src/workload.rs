//! A client of the SPIFFE Workload API: what a workload does to get its identity from the agent of its host.
//!
//! The agent asks the kernel who is calling; a caller presents nothing. Nothing is verified here: what comes over the
//! socket is as trustworthy as the agent behind it (SPIFFE Workload API §3).

use std::path::{Path, PathBuf};

use crypto::SecretBytes;
use proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use proto::workload::{X509svid, X509svidRequest, X509svidResponse};
use tonic::Request;
use types::Time;

use crate::{Error, tls};

/// The header without which an agent refuses (SPIFFE Workload API §3: against request forgery by browsers).
const SECURITY_HEADER: &str = "workload.spiffe.io";

/// An X.509-SVID as it came from the agent.
#[derive(Debug)]
pub struct X509Svid {
    /// Whose it is.
    pub spiffe_id: String,
    /// DER certificates, leaf first.
    pub chain: Vec<Vec<u8>>,
    /// PKCS#8 DER.
    pub key: SecretBytes,
    /// DER certificates of the authorities of the own trust domain.
    pub bundle: Vec<Vec<u8>>,
    /// Tells a workload's identities apart; may be empty.
    pub hint: String,
    /// When the leaf ends.
    pub expires: Time,
}

/// A stream of full states: every identity of this process, again whenever one changes.
#[derive(Debug)]
pub struct X509Svids(tonic::Streaming<X509svidResponse>);

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The address is not one of a unix socket.
    #[error("`{0}` is not the address of a unix socket: use unix:///run/chancery/agent.sock")]
    Address(String),
    /// No agent listens there.
    #[error("no agent listens on `{}`: {source}", path.display())]
    NoAgent {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The agent's answer.
    #[error(transparent)]
    Refused(#[from] Error),
    /// The agent sent something that is no identity.
    #[error("the agent sent an identity that cannot be read: {0}")]
    Malformed(String),
}

/// The path in the address of an agent's socket: `unix:///path`, `unix:/path`, or a bare absolute path.
///
/// # Errors
/// When it is something else.
pub fn socket_path(address: &str) -> Result<PathBuf, WorkloadError> {
    let path = address.strip_prefix("unix:").unwrap_or(address);
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.starts_with('/') && !path.starts_with("//") {
        Ok(PathBuf::from(path))
    } else {
        Err(WorkloadError::Address(address.to_owned()))
    }
}

/// Opens the stream of this process' X.509-SVIDs.
///
/// # Errors
/// When no agent listens, or it refuses.
pub async fn watch_x509(socket: &Path) -> Result<X509Svids, WorkloadError> {
    let channel =
        tls::unix_channel(socket).await.map_err(|source| WorkloadError::NoAgent { path: socket.to_owned(), source })?;
    let mut request = Request::new(X509svidRequest {});
    request.metadata_mut().insert(SECURITY_HEADER, tonic::metadata::MetadataValue::from_static("true"));
    let answer = SpiffeWorkloadApiClient::new(channel).fetch_x509svid(request).await;
    Ok(X509Svids(answer.map_err(|status| Error::from_status(&status))?.into_inner()))
}

impl X509Svids {
    /// The next full state, the default identity first; `None` when the agent has ended the stream.
    ///
    /// # Errors
    /// When the agent ends it with a refusal, for example because this process has no identity any more.
    pub async fn next(&mut self) -> Result<Option<Vec<X509Svid>>, WorkloadError> {
        let Some(state) = self.0.message().await.map_err(|status| Error::from_status(&status))? else {
            return Ok(None);
        };
        state.svids.into_iter().map(X509Svid::from_wire).collect::<Result<_, _>>().map(Some)
    }
}

impl X509Svid {
    fn from_wire(wire: X509svid) -> Result<Self, WorkloadError> {
        let key = SecretBytes::from_vec(wire.x509_svid_key);
        let malformed = |fault: ca::Fault| WorkloadError::Malformed(fault.to_string());
        let chain = ca::keys::split_certificates(&wire.x509_svid).map_err(malformed)?;
        let expires = chain.first().map(|(_, end)| *end);
        let expires = expires.ok_or_else(|| WorkloadError::Malformed("it has no certificate".to_owned()))?;
        let bundle = ca::keys::split_certificates(&wire.bundle).map_err(malformed)?;
        let der = |certificates: Vec<(Vec<u8>, Time)>| certificates.into_iter().map(|(der, _)| der).collect();
        Ok(Self { spiffe_id: wire.spiffe_id, chain: der(chain), key, bundle: der(bundle), hint: wire.hint, expires })
    }
}

#[cfg(test)]
mod tests {
    use crypto::sign::P256Signer;

    use super::*;

    #[test]
    fn socket_addresses() {
        for good in ["unix:///run/a.sock", "unix:/run/a.sock", "/run/a.sock"] {
            assert_eq!(socket_path(good).expect(good), PathBuf::from("/run/a.sock"));
        }
        for bad in ["", "tcp://127.0.0.1:1", "unix:a.sock", "unix://host/a.sock", "a.sock", "unix:////a"] {
            let path = socket_path(bad);
            assert!(path.is_err(), "{bad}: {path:?}");
        }
    }

    #[test]
    fn a_chain_is_split_and_its_leaf_says_when_it_ends() {
        let cert = |end| ca::self_signed(&P256Signer::generate(), "x", Time(0), Time(end)).expect("a certificate");
        let (leaf, authority) = (cert(60_000), cert(90_000));
        let wire = X509svid {
            spiffe_id: "spiffe://td/ns/a/b".to_owned(),
            x509_svid: [&leaf[..], &authority].concat(),
            x509_svid_key: vec![1],
            bundle: authority.clone(),
            hint: String::new(),
        };
        let svid = X509Svid::from_wire(wire.clone()).expect("reads");
        assert_eq!(svid.chain, [leaf, authority.clone()]);
        assert_eq!(svid.bundle, [authority]);
        assert_eq!(svid.expires, Time(60_000));
        assert!(X509Svid::from_wire(X509svid { x509_svid: vec![1, 2], ..wire.clone() }).is_err());
        assert!(X509Svid::from_wire(X509svid { x509_svid: Vec::new(), ..wire }).is_err());
    }
}

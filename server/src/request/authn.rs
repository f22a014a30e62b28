//! Who is calling: the key that the connection proved, looked up among those that are enrolled.
//!
//! Nodes are known on the peer port only; here a key is an operator's or an agent's, or the certificate is an SVID, or
//! the caller is nobody. Unknown, revoked and expired look the same.

use std::net::SocketAddr;
use std::sync::Arc;

use ca::Bundles;
use rustls::pki_types::CertificateDer;
use state::Unrecognised;
use types::{Principal, Reason, Refusal, SpkiHash};

use crate::core::{StateView, judging_time};
use crate::net::ApiConnection;

/// An authenticated caller.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Who.
    pub principal: Principal,
    /// The key it proved to hold; none on the local admin socket.
    pub spki: Option<SpkiHash>,
    /// From where, when it came over the network.
    pub source: Option<SocketAddr>,
}

/// What a connection proved, before anybody is looked up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proof {
    /// The certificates, leaf first; empty when none was presented.
    pub certificates: Arc<[CertificateDer<'static>]>,
    /// The hash of the leaf's key; none without a certificate.
    pub spki: Option<SpkiHash>,
    /// From where.
    pub source: Option<SocketAddr>,
}

impl Proof {
    /// What the connection of an API request proved.
    #[must_use]
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> Self {
        match request.extensions().get::<ApiConnection>() {
            Some(ApiConnection { source, certificates, spki }) => {
                Self { certificates: Arc::clone(certificates), spki: *spki, source: Some(*source) }
            }
            None => Self::default(),
        }
    }

    /// What another member says that a connection to it proved.
    pub(crate) fn forwarded(certificates: Vec<Vec<u8>>, source: Option<SocketAddr>) -> Self {
        let certificates: Arc<[_]> = certificates.into_iter().map(CertificateDer::from).collect();
        let spki = certificates.first().and_then(|leaf| ca::spki_hash_of_cert(leaf).ok());
        Self { certificates, spki, source }
    }
}

/// Finds out who a connection belongs to.
///
/// # Errors
/// [`Reason::CredentialRejected`], in the same words for every cause.
pub(crate) fn authenticate(state: &StateView, proof: &Proof) -> Result<Caller, Refusal> {
    let spki = proof.spki.ok_or_else(rejected)?;
    let now = judging_time(state);
    match state.principal_by_spki(&spki, now) {
        // A node is known on the peer port only, where its calls are of another kind.
        Ok(Principal::Node(_)) => return Err(rejected()),
        Ok(principal) => return Ok(Caller { principal, spki: Some(spki), source: proof.source }),
        Err(Unrecognised::Unknown) => {}
        Err(Unrecognised::Revoked | Unrecognised::Expired) => return Err(rejected()),
    }
    let bundles = Bundles::new(state.bundle());
    let id = ca::verify_peer(&proof.certificates, &bundles, now).map_err(|_| rejected())?;
    Ok(Caller { principal: Principal::Workload(id), spki: Some(spki), source: proof.source })
}

/// The bearer of a join token: nobody yet, but with a key that the connection proved and that will be enrolled.
///
/// # Errors
/// [`Reason::CredentialRejected`] when no certificate was presented.
pub(crate) fn bearer(proof: &Proof) -> Result<Caller, Refusal> {
    let spki = proof.spki.ok_or_else(rejected)?;
    Ok(Caller { principal: Principal::JoinToken, spki: Some(spki), source: proof.source })
}

fn rejected() -> Refusal {
    Refusal::new(
        Reason::CredentialRejected,
        "the credential is unknown, revoked or expired: use an enrolled identity (CHANCERY_IDENTITY)",
    )
}

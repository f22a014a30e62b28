//! `verify_peer`: the only check of a peer that presents an X.509-SVID. Path building is webpki's; the rules of X509-SVID §5
//! are ours. A path is built only against the bundle of the trust domain that the leaf itself names, never against all
//! roots together: otherwise one federated domain could issue for another.
//!
//! Who that peer is allowed to be is the caller's question. Revocation lists are not looked at: an SVID is short-lived, and
//! leaves with its root.

use rustls::pki_types::{CertificateDer, UnixTime};
use types::limits::PEER_CHAIN_MAX;
use types::{SpiffeId, SpiffeIdError, Time, TrustDomain};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use crate::Bundles;
use crate::parsed::{Facts, usage};

/// Why a peer was not believed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PeerRefusal {
    /// The peer sent no certificate.
    #[error("the peer presented no certificate")]
    NoCertificate,
    /// The peer sent more certificates than are ever looked at.
    #[error("the peer presented more than {PEER_CHAIN_MAX} certificates")]
    ChainTooLong,
    /// The leaf is not a well-formed certificate.
    #[error("the peer's certificate is malformed: {0}")]
    Malformed(String),
    /// The leaf has no URI name, or several.
    #[error("the peer's certificate has {0} URI names, an X.509-SVID has exactly one")]
    NotOneUri(usize),
    /// The URI name is no SPIFFE ID.
    #[error("the peer's certificate does not name a SPIFFE ID: {0}")]
    NotASpiffeId(SpiffeIdError),
    /// The id names a trust domain, not a workload.
    #[error("the peer's certificate names the trust domain `{0}`, not a workload in it")]
    NoPath(TrustDomain),
    /// The leaf is an authority, or may sign certificates or revocation lists.
    #[error("the peer presented a signing certificate, which never authenticates")]
    SigningCertificate,
    /// Key usage or extended key usage does not allow TLS authentication.
    #[error("the usages in the peer's certificate do not allow it to authenticate")]
    WrongUsage,
    /// No bundle is held for the leaf's trust domain.
    #[error("no bundle is held for trust domain `{0}`")]
    UnknownTrustDomain(TrustDomain),
    /// The leaf is not valid any more.
    #[error("the peer's certificate has expired")]
    Expired,
    /// The leaf is not valid yet.
    #[error("the peer's certificate is not valid yet, compare the clocks")]
    NotValidYet,
    /// No path leads from the leaf to a root of its trust domain.
    #[error("no path leads from the peer's certificate to a root of `{0}`: {1}")]
    Untrusted(TrustDomain, String),
}

/// Verifies a chain, leaf first, and returns whose it is.
///
/// # Errors
/// The first rule that the chain breaks.
pub fn verify_peer(chain: &[CertificateDer<'_>], bundles: &Bundles, now: Time) -> Result<SpiffeId, PeerRefusal> {
    let (leaf, intermediates) = chain.split_first().ok_or(PeerRefusal::NoCertificate)?;
    if chain.len() > PEER_CHAIN_MAX {
        return Err(PeerRefusal::ChainTooLong);
    }
    let facts = Facts::read(leaf).map_err(PeerRefusal::Malformed)?;
    let id = check_leaf(&facts)?;
    check_path(leaf, intermediates, id.trust_domain(), bundles, now)?;
    Ok(id)
}

/// X509-SVID §5.2: what the leaf itself must say.
fn check_leaf(facts: &Facts) -> Result<SpiffeId, PeerRefusal> {
    let uris = facts.names.as_ref().map(|names| names.uris.as_slice()).unwrap_or_default();
    let [uri] = uris else {
        return Err(PeerRefusal::NotOneUri(uris.len()));
    };
    let id = SpiffeId::parse(uri).map_err(PeerRefusal::NotASpiffeId)?;
    let key_usage = facts.usage.as_ref().map_or(0, |usage| usage.bits);
    let signs = facts.basic.as_ref().is_some_and(|basic| basic.is_ca)
        || key_usage & (usage::KEY_CERT_SIGN | usage::CRL_SIGN) != 0;
    if signs {
        return Err(PeerRefusal::SigningCertificate);
    }
    if id.path().is_empty() {
        return Err(PeerRefusal::NoPath(id.trust_domain().clone()));
    }
    let purposes = facts.purposes.as_ref().is_none_or(|purposes| purposes.server && purposes.client);
    if key_usage & usage::DIGITAL_SIGNATURE == 0 || !purposes {
        return Err(PeerRefusal::WrongUsage);
    }
    Ok(id)
}

/// RFC 5280 §6, against the roots of one trust domain.
fn check_path(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    trust_domain: &TrustDomain,
    bundles: &Bundles,
    now: Time,
) -> Result<(), PeerRefusal> {
    let anchors = bundles.anchors(trust_domain).ok_or_else(|| PeerRefusal::UnknownTrustDomain(trust_domain.clone()))?;
    let leaf = EndEntityCert::try_from(leaf).map_err(|error| PeerRefusal::Malformed(error.to_string()))?;
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.as_unix_seconds()));
    // The purposes of both sides were checked above; webpki asks for one of them.
    let client = KeyUsage::client_auth();
    let signers = |path: &VerifiedPath<'_>| check_intermediates(path, trust_domain);
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, anchors, intermediates, now, client, None, Some(&signers))
        .map(|_| ())
        .map_err(|error| match error {
            webpki::Error::CertExpired { .. } => PeerRefusal::Expired,
            webpki::Error::CertNotValidYet { .. } => PeerRefusal::NotValidYet,
            other => PeerRefusal::Untrusted(trust_domain.clone(), other.to_string()),
        })
}

/// X509-SVID §4.3 and §5.1, which webpki does not know: a signing certificate has keyCertSign, and if it has a SPIFFE ID
/// that is its trust domain's own, without a path.
fn check_intermediates(path: &VerifiedPath<'_>, trust_domain: &TrustDomain) -> Result<(), webpki::Error> {
    for signer in path.intermediate_certificates() {
        let facts = Facts::read(&signer.der()).map_err(|_| webpki::Error::BadDer)?;
        let may_sign = facts.usage.as_ref().is_some_and(|usage| usage.bits & usage::KEY_CERT_SIGN != 0);
        let uris = facts.names.as_ref().map(|names| names.uris.as_slice()).unwrap_or_default();
        let is_domains_own = match uris {
            [] => true,
            [uri] => names_domain(uri, trust_domain),
            _ => false,
        };
        if !may_sign || !is_domains_own {
            return Err(webpki::Error::EndEntityUsedAsCa);
        }
    }
    Ok(())
}

/// Whether a signer's URI names that trust domain. `spiffe://td/` is tolerated here, because appendix A of the bundle
/// specification shows such a certificate; it is never written.
fn names_domain(uri: &str, trust_domain: &TrustDomain) -> bool {
    let uri = uri.strip_suffix('/').unwrap_or(uri);
    SpiffeId::parse(uri).is_ok_and(|id| id == trust_domain.id())
}

#[cfg(test)]
mod tests;

//! Trust bundles: the X.509 roots of one trust domain, always together with its name and never merged with another's
//! (SPIFFE Trust Domain and Bundle §3; Federation §7.3).

use std::collections::BTreeMap;

use rustls::pki_types::{CertificateDer, TrustAnchor};
use serde::{Deserialize, Serialize};
use types::limits::BUNDLE_REFRESH_HINT;
use types::{Millis, TrustDomain};

use crate::parsed::Facts;
use crate::{Authority, Fault, jwks};

/// The roots of one trust domain at one sequence.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bundle {
    /// Whose roots.
    pub trust_domain: TrustDomain,
    /// Grows with every change of the content, across leaders and restores.
    pub sequence: u64,
    /// How long a consumer may wait before it looks again.
    pub refresh_hint: Millis,
    /// Self-signed authority certificates, DER. None means that nothing of this trust domain is trusted.
    pub roots: Vec<Vec<u8>>,
}

impl Bundle {
    /// Our own bundle: every authority that is published and not yet retired, oldest first.
    #[must_use]
    pub fn of_authorities<'a>(
        trust_domain: TrustDomain,
        sequence: u64,
        authorities: impl IntoIterator<Item = &'a Authority>,
    ) -> Self {
        let mut held: Vec<_> = authorities.into_iter().filter(|authority| authority.is_in_bundle()).collect();
        held.sort_by_key(|authority| (authority.generated, authority.key));
        let roots = held.into_iter().map(|authority| authority.certificate.clone()).collect();
        Self { trust_domain, sequence, refresh_hint: BUNDLE_REFRESH_HINT, roots }
    }

    /// The roots one after the other, DER, as the Workload API sends them.
    #[must_use]
    pub fn roots_der(&self) -> Vec<u8> {
        self.roots.concat()
    }

    /// The roots as PEM, as files for others hold them.
    #[must_use]
    pub fn roots_pem(&self) -> String {
        self.roots.iter().map(|root| certificate_pem(root)).collect()
    }

    /// The SPIFFE bundle document (JWK set, JSON).
    ///
    /// # Errors
    /// [`Fault::Bundle`] when a root has a key that we never issue.
    pub fn to_json(&self) -> Result<String, Fault> {
        jwks::write(self)
    }

    /// Reads a SPIFFE bundle document of that trust domain. Entries that are no X.509 authority are passed over, as the
    /// specification wants; a document without `spiffe_sequence` gets sequence 0, one without a refresh hint 5 minutes.
    ///
    /// # Errors
    /// [`Fault::Bundle`] when it is not JSON, a parameter has the wrong type, or `keys` is missing.
    pub fn from_json(trust_domain: TrustDomain, json: &str) -> Result<Self, Fault> {
        jwks::read(trust_domain, json)
    }
}

/// One certificate as PEM.
#[must_use]
pub fn certificate_pem(der: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("CERTIFICATE", der), config)
}

/// Several trust domains' bundles, ready for verification: each peer is checked against its own trust domain's alone.
#[derive(Clone, Default)]
pub struct Bundles {
    anchors: BTreeMap<TrustDomain, Vec<TrustAnchor<'static>>>,
}

impl Bundles {
    /// Makes the bundles ready. Of two for one trust domain the later counts.
    #[must_use]
    pub fn new(bundles: impl IntoIterator<Item = Bundle>) -> Self {
        let mut ready = Self::default();
        for bundle in bundles {
            ready.insert(&bundle);
        }
        ready
    }

    /// Puts a bundle in the place of what was known of its trust domain. A root that is no CA certificate trusts nobody
    /// and is passed over.
    pub fn insert(&mut self, bundle: &Bundle) {
        let anchors = bundle.roots.iter().filter_map(|root| anchor(root)).collect();
        self.anchors.insert(bundle.trust_domain.clone(), anchors);
    }

    pub(crate) fn anchors(&self, trust_domain: &TrustDomain) -> Option<&[TrustAnchor<'static>]> {
        self.anchors.get(trust_domain).map(Vec::as_slice)
    }
}

impl From<Bundle> for Bundles {
    fn from(bundle: Bundle) -> Self {
        Self::new([bundle])
    }
}

impl std::fmt::Debug for Bundles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.anchors.iter().map(|(domain, roots)| (domain, roots.len()))).finish()
    }
}

/// Whether a certificate may stand in a bundle: webpki itself would take any certificate as an anchor.
pub(crate) fn is_root(der: &[u8]) -> bool {
    Facts::read(der).is_ok_and(|facts| facts.basic.is_some_and(|basic| basic.is_ca))
}

fn anchor(root: &[u8]) -> Option<TrustAnchor<'static>> {
    if !is_root(root) {
        return None;
    }
    webpki::anchor_from_trusted_cert(&CertificateDer::from(root)).ok().map(|anchor| anchor.to_owned())
}

#[cfg(test)]
mod tests;

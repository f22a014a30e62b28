//! What a workload gets to see: the entries that match it, written as Workload API messages. Pure.

use std::collections::{BTreeSet, HashMap};

use ca::Selector;
use crypto::hash::Sha256;
use proto::workload as wire;
use tonic::Status;
use types::limits::IDENTITIES_PER_PROCESS_MAX;

use crate::svid::Svid;
use crate::upstream::{Registration, Snapshot, UpstreamError};
use crate::view::{Certificate, View};

/// One kind of stream.
pub(crate) trait Compose: Send + 'static {
    /// What it sends.
    type Message: Send + 'static;
    /// Whether the cluster must have signed for the workload first.
    const NEEDS_CERTIFICATES: bool;

    /// The full state for a workload that matches these entries (at least one).
    ///
    /// # Errors
    /// The status that the stream ends with.
    fn compose(
        &self,
        matched: &[&Registration],
        view: &View,
        snapshot: &Snapshot,
    ) -> Result<Composed<Self::Message>, Status>;
}

/// A full state, or none yet.
pub(crate) enum Composed<M> {
    /// Something is still on its way.
    Incomplete,
    /// All there is, and a digest that tells it from another state.
    Complete { message: M, digest: [u8; 32] },
}

/// `FetchX509SVID`.
pub(crate) struct Svids;

/// `FetchX509Bundles`.
pub(crate) struct Bundles;

/// The entries that match a process, oldest first.
///
/// # Errors
/// `PermissionDenied` when there are none; `ResourceExhausted` when there are too many for one process.
pub(crate) fn matching<'a>(
    snapshot: &'a Snapshot,
    facts: &BTreeSet<Selector>,
) -> Result<Vec<&'a Registration>, Status> {
    let matches = |entry: &&Registration| Selector::all_match(&entry.selectors, facts);
    let matched: Vec<_> = snapshot.registrations().iter().filter(matches).collect();
    match matched.len() {
        0 => Err(Status::permission_denied("no identity issued")),
        1..=IDENTITIES_PER_PROCESS_MAX => Ok(matched),
        count => Err(Status::resource_exhausted(format!(
            "{count} entries match this process, at most {IDENTITIES_PER_PROCESS_MAX} may; give them narrower selectors"
        ))),
    }
}

impl Compose for Svids {
    type Message = wire::X509svidResponse;
    const NEEDS_CERTIFICATES: bool = true;

    fn compose(
        &self,
        matched: &[&Registration],
        view: &View,
        snapshot: &Snapshot,
    ) -> Result<Composed<Self::Message>, Status> {
        let bundle = snapshot.bundle().roots_der();
        let mut digest = Digest::new();
        digest.part(&bundle);
        let mut hints = BTreeSet::new();
        let mut svids = Vec::new();
        let mut failure = None;
        for entry in matched {
            match view.certificates.get(&entry.name) {
                None | Some(Certificate::Pending) => return Ok(Composed::Incomplete),
                Some(Certificate::Failed(error)) => failure = Some(error),
                Some(Certificate::Ready(svid)) => {
                    // Workload API §5.2.1: unique when not empty; the older entry keeps it.
                    let hint = if hints.insert(&entry.hint) { entry.hint.clone() } else { String::new() };
                    let svid = x509_svid(svid, &bundle, hint);
                    digest.part(&svid.x509_svid);
                    digest.part(svid.hint.as_bytes());
                    svids.push(svid);
                }
            }
        }
        match failure {
            Some(error) if svids.is_empty() => Err(unavailable(error)),
            // One entry that cannot be served does not keep the others from their workload.
            _ => {
                let message = wire::X509svidResponse { svids, crl: Vec::new(), federated_bundles: HashMap::new() };
                Ok(Composed::Complete { message, digest: digest.finish() })
            }
        }
    }
}

impl Compose for Bundles {
    type Message = wire::X509BundlesResponse;
    const NEEDS_CERTIFICATES: bool = false;

    fn compose(
        &self,
        _matched: &[&Registration],
        _view: &View,
        snapshot: &Snapshot,
    ) -> Result<Composed<Self::Message>, Status> {
        let bundle = snapshot.bundle();
        let own = bundle.trust_domain.id().to_string();
        let authorities = bundle.roots_der();
        let mut digest = Digest::new();
        digest.part(own.as_bytes());
        digest.part(&authorities);
        let message = wire::X509BundlesResponse { crl: Vec::new(), bundles: [(own, authorities)].into() };
        Ok(Composed::Complete { message, digest: digest.finish() })
    }
}

fn x509_svid(svid: &Svid, bundle: &[u8], hint: String) -> wire::X509svid {
    wire::X509svid {
        spiffe_id: svid.content().spiffe_id.to_string(),
        x509_svid: svid.chain_der(),
        // A plain copy leaves here: the wire needs one, and the workload is its owner.
        x509_svid_key: svid.key().expose().to_vec(),
        bundle: bundle.to_vec(),
        hint,
    }
}

fn unavailable(error: &UpstreamError) -> Status {
    match error {
        UpstreamError::Refused(_) => Status::permission_denied(format!("no identity issued: {error}")),
        UpstreamError::Unavailable(_) | UpstreamError::Unusable(_) => Status::unavailable(error.to_string()),
    }
}

/// Tells states apart. The key needs no part of its own: the certificate names its public half.
struct Digest(Sha256);

impl Digest {
    fn new() -> Self {
        Self(Sha256::new())
    }

    /// Adds one part, with its length so that parts cannot run into one another.
    fn part(&mut self, bytes: &[u8]) {
        self.0.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        self.0.update(bytes);
    }

    fn finish(self) -> [u8; 32] {
        self.0.finish()
    }
}

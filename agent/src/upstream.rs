//! What the agent needs of the cluster, as a trait: the gRPC link implements it, and tests implement it over a real
//! authority in the same process. Wire types end before this line.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use ca::{Bundle, Bundles, Selector};
use futures::stream::BoxStream;
use types::{Millis, SpiffeId, Time};

/// One entry whose parent is this agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registration {
    /// `namespaces/{ns}/entries/{entry}`.
    pub name: Arc<str>,
    /// What a process must have, all of it.
    pub selectors: BTreeSet<Selector>,
    /// Tells a workload its identities apart; may be empty.
    pub hint: String,
    /// The oldest matching entry is a workload's default identity.
    pub created: Time,
    /// What the certificate says.
    pub content: Content,
}

/// The part of an entry that is written into its certificates: when it changes, they are issued anew.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    /// The id its workloads get.
    pub spiffe_id: SpiffeId,
    /// DNS names in the SVID.
    pub dns_names: Vec<String>,
    /// Life of each SVID.
    pub svid_ttl: Millis,
}

/// Everything this agent is to know: the full state, never a difference.
#[derive(Clone, Debug)]
pub struct Snapshot {
    registrations: Vec<Registration>,
    bundle: Bundle,
    /// The same bundle, ready to verify with.
    anchors: Bundles,
}

impl Snapshot {
    /// Puts the entries into the one order that workloads see: oldest first, then by name.
    #[must_use]
    pub fn new(mut registrations: Vec<Registration>, bundle: Bundle) -> Self {
        registrations.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
        let anchors = Bundles::new([bundle.clone()]);
        Self { registrations, bundle, anchors }
    }

    /// The entries, oldest first.
    #[must_use]
    pub fn registrations(&self) -> &[Registration] {
        &self.registrations
    }

    /// Whom workloads trust.
    #[must_use]
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    pub(crate) fn anchors(&self) -> &Bundles {
        &self.anchors
    }

    /// Whether any entry asks for the hash of an executable.
    pub(crate) fn asks_for_hashes(&self) -> bool {
        let is_hash = |selector: &Selector| matches!(selector, Selector::UnixSha256(_));
        self.registrations.iter().any(|entry| entry.selectors.iter().any(is_hash))
    }
}

/// A certificate as the cluster signed it, not yet checked by the agent.
#[derive(Clone, Debug)]
pub struct Issued {
    /// DER, leaf first.
    pub chain: Vec<Vec<u8>>,
    /// When it stops being valid.
    pub expires: Time,
}

/// Why the cluster did not do what the agent asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UpstreamError {
    /// It said no; asking at once again does not help.
    #[error("the cluster refused: {0}")]
    Refused(String),
    /// It did not answer, or cannot now.
    #[error("the cluster cannot be reached: {0}")]
    Unavailable(String),
    /// It answered nonsense: its side or ours has a bug.
    #[error("the cluster's answer is unusable: {0}")]
    Unusable(String),
}

/// States as they come; an error ends the stream, and the agent watches again.
pub type Snapshots = BoxStream<'static, Result<Snapshot, UpstreamError>>;

/// The cluster, as the agent sees it.
pub trait Upstream: Send + Sync + 'static {
    /// The full state at once and again on every change.
    fn watch(&self) -> impl Future<Output = Result<Snapshots, UpstreamError>> + Send;

    /// Signs a certificate for an entry over the key of a PKCS#10 request (DER).
    fn issue(&self, entry: &str, csr: Vec<u8>) -> impl Future<Output = Result<Issued, UpstreamError>> + Send;

    /// Tells that every attached stream has been given the bundle with that sequence.
    fn acknowledge(&self, sequence: u64) -> impl Future<Output = Result<(), UpstreamError>> + Send;
}

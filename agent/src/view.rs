//! What the agent knows now, as one value that every stream reads: the entries, the bundle, and how far each wanted
//! certificate is. Entries and certificates change together, so a stream never sees a certificate that its bundle does
//! not vouch for.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::svid::Svid;
use crate::upstream::{Snapshot, UpstreamError};

/// The whole state. Replaced, never changed.
#[derive(Clone, Default, Debug)]
pub(crate) struct View {
    /// `None` until the cluster has answered for the first time.
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    /// By entry name; an entry that no process has asked for yet is not there.
    pub(crate) certificates: BTreeMap<Arc<str>, Certificate>,
}

/// How far the certificate of an entry is.
#[derive(Clone, Debug)]
pub(crate) enum Certificate {
    /// Asked for, no answer yet.
    Pending,
    /// Here, checked against the bundle of the same view.
    Ready(Arc<Svid>),
    /// Not to be had now; the agent goes on trying while somebody wants it.
    Failed(Arc<UpstreamError>),
}

impl View {
    /// Whether both hold the very same things.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same_snapshot = match (&self.snapshot, &other.snapshot) {
            (Some(one), Some(another)) => Arc::ptr_eq(one, another),
            (None, None) => true,
            _ => false,
        };
        same_snapshot
            && self.certificates.len() == other.certificates.len()
            && self.certificates.iter().zip(&other.certificates).all(|(a, b)| a.0 == b.0 && a.1.is_same(b.1))
    }
}

impl Certificate {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Pending, Self::Pending) => true,
            (Self::Ready(one), Self::Ready(another)) => Arc::ptr_eq(one, another),
            (Self::Failed(one), Self::Failed(another)) => Arc::ptr_eq(one, another),
            _ => false,
        }
    }
}

//! Who may call: every request names cluster, sender and receiver, and the sender's key must be the one that the
//! membership holds for that number.
//!
//! It does not check keys against a certificate: the TLS handshake did, and left the key's hash in [`PeerInfo`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::RaftMetrics;
use openraft::async_runtime::WatchReceiver;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::{Request, Response, Status};
use types::{ClusterId, NodeId};

use super::vouch::{Vouch, is_vouched, write};
use super::{PeerInfo, Trust};
use crate::envelope::Owner;
use crate::type_config::TypeConfig;

/// Metadata keys.
const CLUSTER: &str = "chancery-cluster";
const FROM: &str = "chancery-from";
const TO: &str = "chancery-to";
/// Between two lines about strangers.
const SAYING: Duration = Duration::from_secs(10);

/// openraft's metrics, from which the current members are read.
pub(crate) type Metrics =
    <<<TypeConfig as openraft::RaftTypeConfig>::AsyncRuntime as openraft::AsyncRuntime>::Watch as openraft::async_runtime::Watch>::Receiver<RaftMetrics<TypeConfig>>;

/// The check of incoming calls.
#[derive(Clone)]
pub(crate) struct Gate {
    owner: Owner,
    metrics: Metrics,
    trust: Trust,
    vouch: Arc<dyn Vouch>,
    /// When it was last said that a stranger calls, who may try many times a second.
    said: Arc<Mutex<Option<Instant>>>,
}

impl Gate {
    pub(crate) fn new(owner: Owner, metrics: Metrics, trust: Trust, vouch: Arc<dyn Vouch>) -> Self {
        Self { owner, metrics, trust, vouch, said: Arc::default() }
    }

    /// The member that calls, or why it may not.
    pub(crate) fn admit<T>(&self, request: &Request<T>) -> Result<NodeId, Status> {
        let peer = request
            .extensions()
            .get::<PeerInfo>()
            .ok_or_else(|| Status::unauthenticated("the connection proved no key"))?;
        let NodeId(from) = check_names(request, self.owner.cluster, self.owner.node)?;
        let held = {
            let metrics = self.metrics.borrow_watched();
            metrics.membership_config.membership().get_node(&from).map(|member| member.spki)
        };
        let known = match held {
            Some(spki) => spki == peer.spki,
            None => (self.trust)(NodeId(from), &peer.spki),
        };
        if known && is_vouched(request.metadata().as_ref(), &*self.vouch, NodeId(from)) {
            return Ok(NodeId(from));
        }
        if known {
            tracing::warn!(peer = %peer.address, claims = from, "a peer call was refused: that member's key, and no proof of the root key");
            return Err(Status::permission_denied("no proof of the root key"));
        }
        if self.is_time_to_say() {
            tracing::warn!(peer = %peer.address, spki = %peer.spki, claims = from, "a peer call was refused: not a member with that key, as far as this node knows");
        }
        Err(Status::permission_denied("no member of that number has that key"))
    }

    fn is_time_to_say(&self) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_time = said.is_none_or(|last| now.duration_since(last) >= SAYING);
        if is_time {
            *said = Some(now);
        }
        is_time
    }
}

impl Gate {
    /// An answer to a member, with what shows it that this node may give one.
    pub(crate) fn answer<T>(&self, to: NodeId, message: T) -> Response<T> {
        let mut answer = Response::new(message);
        write(answer.metadata_mut().as_mut(), &*self.vouch, to);
        answer
    }
}

/// A request to a member, saying from whom and to whom.
pub(crate) fn stamp<T>(owner: &Owner, to: NodeId, message: T) -> Request<T> {
    let mut request = Request::new(message);
    Names { cluster: owner.cluster, from: owner.node, to }.write(request.metadata_mut());
    request
}

/// Who calls whom, in which cluster: on every request of the peer port. An interceptor for clients of the server's own
/// services.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Names {
    /// The cluster that both belong to.
    pub cluster: ClusterId,
    /// The member that calls.
    pub from: NodeId,
    /// The member that is meant.
    pub to: NodeId,
}

impl Names {
    fn write(self, metadata: &mut MetadataMap) {
        // Hexadecimal and decimal digits are always valid metadata.
        let mut insert = |key: &'static str, value: String| {
            if let Ok(value) = value.parse() {
                metadata.insert(key, value);
            }
        };
        insert(CLUSTER, self.cluster.to_hex());
        insert(FROM, self.from.0.to_string());
        insert(TO, self.to.0.to_string());
    }
}

impl Interceptor for Names {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        self.write(request.metadata_mut());
        Ok(request)
    }
}

/// Whether a request is for this cluster and this node; returns the member that it says it comes from, whose key is still to be
/// compared.
///
/// # Errors
/// When it names another, or nobody.
pub fn check_names<T>(request: &Request<T>, cluster: ClusterId, own: NodeId) -> Result<NodeId, Status> {
    if text(request, CLUSTER)? != cluster.to_hex() {
        return Err(Status::permission_denied("this node belongs to another cluster"));
    }
    if number(request, TO)? != own.0 {
        return Err(Status::permission_denied(format!("this is {own}")));
    }
    number(request, FROM).map(NodeId)
}

fn text<'r, T>(request: &'r Request<T>, key: &'static str) -> Result<&'r str, Status> {
    let value = request.metadata().get(key).and_then(|value| value.to_str().ok());
    value.ok_or_else(|| Status::invalid_argument(format!("`{key}` is missing in the metadata")))
}

fn number<T>(request: &Request<T>, key: &'static str) -> Result<u64, Status> {
    let number = text(request, key)?.parse().ok();
    number.ok_or_else(|| Status::invalid_argument(format!("`{key}` is not a node's number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_for_another_node_or_cluster_is_refused() {
        let (cluster, one, two) = (ClusterId([1; 16]), NodeId(1), NodeId(2));
        let said = |names: Names| {
            let mut names = names;
            names
                .call(Request::new(()))
                .map(|request| check_names(&request, cluster, two).map_err(|status| status.code()))
        };
        let names = Names { cluster, from: one, to: two };
        assert_eq!(said(names).ok(), Some(Ok(one)));
        for wrong in [Names { cluster: ClusterId([2; 16]), ..names }, Names { to: one, ..names }] {
            assert_eq!(said(wrong).ok(), Some(Err(tonic::Code::PermissionDenied)), "{wrong:?}");
        }
        let nameless = check_names(&Request::new(()), cluster, two).map_err(|status| status.code());
        assert_eq!(nameless, Err(tonic::Code::InvalidArgument));
    }
}

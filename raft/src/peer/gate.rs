//! Who may call: every request names cluster, sender and receiver, and the sender's key must be the one that the
//! membership holds for that number.
//!
//! It does not check keys against a certificate: the TLS handshake did, and left the key's hash in [`PeerInfo`].

use openraft::RaftMetrics;
use openraft::async_runtime::WatchReceiver;
use tonic::{Request, Status};
use types::NodeId;

use super::{PeerInfo, Trust};
use crate::envelope::Owner;
use crate::type_config::TypeConfig;

/// Metadata keys.
const CLUSTER: &str = "chancery-cluster";
const FROM: &str = "chancery-from";
const TO: &str = "chancery-to";

/// openraft's metrics, from which the current members are read.
pub(crate) type Metrics =
    <<<TypeConfig as openraft::RaftTypeConfig>::AsyncRuntime as openraft::AsyncRuntime>::Watch as openraft::async_runtime::Watch>::Receiver<RaftMetrics<TypeConfig>>;

/// The check of incoming calls.
#[derive(Clone)]
pub(crate) struct Gate {
    owner: Owner,
    metrics: Metrics,
    trust: Trust,
}

impl Gate {
    pub(crate) fn new(owner: Owner, metrics: Metrics, trust: Trust) -> Self {
        Self { owner, metrics, trust }
    }

    /// The member that calls, or why it may not.
    pub(crate) fn admit<T>(&self, request: &Request<T>) -> Result<NodeId, Status> {
        let peer = request
            .extensions()
            .get::<PeerInfo>()
            .ok_or_else(|| Status::unauthenticated("the connection proved no key"))?;
        if text(request, CLUSTER)? != self.owner.cluster.to_hex() {
            return Err(Status::permission_denied("this node belongs to another cluster"));
        }
        if number(request, TO)? != self.owner.node.0 {
            return Err(Status::permission_denied(format!("this is {}", self.owner.node)));
        }
        let from = number(request, FROM)?;
        let held = {
            let metrics = self.metrics.borrow_watched();
            metrics.membership_config.membership().get_node(&from).map(|member| member.spki)
        };
        let known = match held {
            Some(spki) => spki == peer.spki,
            None => (self.trust)(NodeId(from), &peer.spki),
        };
        if known {
            return Ok(NodeId(from));
        }
        tracing::warn!(peer = %peer.address, spki = %peer.spki, claims = from, "a peer call was refused: not a member with that key");
        Err(Status::permission_denied("no member of that number has that key"))
    }
}

/// A request to a member, saying from whom and to whom.
pub(crate) fn stamp<T>(owner: &Owner, to: NodeId, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    // Hexadecimal and decimal digits are always valid metadata.
    let mut insert = |key: &'static str, value: String| {
        if let Ok(value) = value.parse() {
            metadata.insert(key, value);
        }
    };
    insert(CLUSTER, owner.cluster.to_hex());
    insert(FROM, owner.node.0.to_string());
    insert(TO, to.0.to_string());
    request
}

fn text<'r, T>(request: &'r Request<T>, key: &'static str) -> Result<&'r str, Status> {
    let value = request.metadata().get(key).and_then(|value| value.to_str().ok());
    value.ok_or_else(|| Status::invalid_argument(format!("`{key}` is missing in the metadata")))
}

fn number<T>(request: &Request<T>, key: &'static str) -> Result<u64, Status> {
    let number = text(request, key)?.parse().ok();
    number.ok_or_else(|| Status::invalid_argument(format!("`{key}` is not a node's number")))
}

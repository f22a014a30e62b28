//! The open end: the leader hands the root key to a voter that was there a moment ago.
//!
//! What only the leader can see, the connection and who answers at the voter's address, is looked at here; what everybody
//! must agree on is judged by `apply`, in the entry that comes before the key leaves.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chancery_client::Address;
use proto::member::v1::{SealedRoot, UnsealPeerRequest, UnsealPeerResponse};
use raft::PeerInfo;
use state::{Command, Release};
use types::{Action, NodeId, Reason, Refusal, RootId, limits};

use crate::api::hello;
use crate::core::{Core, StateView, judging_time, no_leader, own_proposal};
use crate::node::Node;
use crate::release::PeerTransfer;
use crate::root::Root;

/// How long the name in a voter's address may take to be looked up.
const LOOK_UP: Duration = Duration::from_secs(2);

/// Hands out what the voter's seal.json names, if it may have it.
///
/// # Errors
/// Why it may not; what `apply` refused.
pub(crate) async fn release(
    node: &Arc<Node>,
    core: &Arc<Core>,
    to: NodeId,
    peer: &PeerInfo,
    request: &UnsealPeerRequest,
) -> Result<UnsealPeerResponse, Refusal> {
    let released = try_release(node, core, to, peer, request).await;
    if let Err(refusal) = &released
        && refusal.reason == Reason::PermissionDenied
    {
        // It comes back every few seconds, and so may a thief: recorded once a minute, like whoever else knocks.
        node.strangers.count(Action::ReleaseRoot, Some(peer.address));
        tracing::warn!(node = %to, address = %peer.address, %refusal, "a sealed member was not given the root key");
    }
    released
}

async fn try_release(
    node: &Arc<Node>,
    core: &Arc<Core>,
    to: NodeId,
    peer: &PeerInfo,
    request: &UnsealPeerRequest,
) -> Result<UnsealPeerResponse, Refusal> {
    if !core.leads() {
        return Err(no_leader());
    }
    let state = core.fresh_state().await?;
    if !state.peer_unseal().is_some_and(|row| row.on) {
        return Err(Refusal::new(Reason::PreconditionFailed, "peer unseal is off in this cluster"));
    }
    check_alone(peer)?;
    let roots = wanted(core, request)?;
    let at_home = is_at_home(node, core, &state, to, peer).await?;
    // By this machine's clock as well: after a night in which nobody was up, state time is that of the evening.
    let own_clock = state.report(to).map(|report| judging_time(&state).since(report.at));
    let recent = own_clock.is_some_and(|away| away < limits::PEER_UNSEAL_WITHIN);
    let address = peer.address.ip().to_string();
    let release = Release { node: to, by: core.node, address, at_home: at_home && recent };
    state.check_release(&release)?;
    let proposal = own_proposal(core.node, Command::ReleaseRoot(release));
    core.propose(&proposal).await.map_err(Refusal::from)?.reply?;
    // Somebody may have come meanwhile.
    check_alone(peer)?;
    let transfer = PeerTransfer { cluster: core.cluster, from: core.node, to };
    let sealed = roots.iter().map(|root| {
        let sealed = transfer.sealed(root, &request.recipient)?;
        Ok(SealedRoot { epoch: root.epoch, root_id: root.id.0.to_vec(), sealed })
    });
    let roots = sealed.collect::<Result<Vec<_>, Refusal>>()?;
    tracing::warn!(node = %to, address = %peer.address, "the root key was handed to a voter that has restarted");
    Ok(UnsealPeerResponse { roots })
}

/// One that is there twice is a node and its stolen copy, and nobody knows which is which.
fn check_alone(peer: &PeerInfo) -> Result<(), Refusal> {
    if peer.session.has_a_twin() {
        let text = "another connection is open that has proved the same identity key";
        return Err(Refusal::new(Reason::PermissionDenied, text));
    }
    Ok(())
}

/// Those of the root keys that it names which this node has.
fn wanted(core: &Core, request: &UnsealPeerRequest) -> Result<Vec<Arc<Root>>, Refusal> {
    let malformed = || Refusal::new(Reason::InvalidArgument, "`roots` are not names of root keys");
    if request.roots.is_empty() || request.roots.len() > limits::ROOT_EPOCHS_MAX + 1 {
        return Err(malformed());
    }
    let named = request.roots.iter().map(|name| {
        let id = name.root_id.as_slice().try_into().map(RootId).map_err(|_| malformed())?;
        Ok(core.keyring.named(name.epoch, id))
    });
    Ok(named.collect::<Result<Vec<_>, Refusal>>()?.into_iter().flatten().collect())
}

/// Whether it asks from the address under which it is a member, and a sealed node of that number answers there.
async fn is_at_home(
    node: &Arc<Node>,
    core: &Arc<Core>,
    state: &StateView,
    to: NodeId,
    peer: &PeerInfo,
) -> Result<bool, Refusal> {
    let row = state.node(to).ok_or_else(|| Refusal::not_found("node", &to))?;
    if !core.raft.membership().is_voter(to) {
        let text = format!("{to} does not vote: only voters get the root key from a peer");
        return Err(Refusal::new(Reason::PermissionDenied, text));
    }
    let answers = match hello(node, core, to).await {
        Some(found) if !found.sealed => {
            let text = format!("{to} is open already, at {}", row.info.peer_address);
            return Err(Refusal::new(Reason::PermissionDenied, text));
        }
        Some(found) => found.node == to.0,
        None => false,
    };
    Ok(answers && is_address_of(&row.info.peer_address, peer.address.ip()).await)
}

/// Whether a registered `host:port` is that machine's. A name is looked up now: it is as good as whoever answers for it.
async fn is_address_of(registered: &str, ip: IpAddr) -> bool {
    let Ok(address) = Address::parse(registered) else { return false };
    let host = address.host().into_owned();
    let found = tokio::time::timeout(LOOK_UP, tokio::net::lookup_host((host.as_str(), 0))).await;
    let Ok(Ok(mut found)) = found else { return false };
    found.any(|found| found.ip().to_canonical() == ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_that_of_its_machine_whatever_the_port() {
        let is = async |registered: &str, ip: &str| is_address_of(registered, ip.parse().expect("an address")).await;
        assert!(is("127.0.0.1:7444", "127.0.0.1").await && is("127.0.0.1:7444", "::ffff:127.0.0.1").await);
        assert!(is("[::1]:7444", "::1").await && is("localhost:7444", "127.0.0.1").await);
        assert!(!is("127.0.0.1:7444", "127.0.0.2").await && !is("10.0.0.1:7444", "127.0.0.1").await);
        assert!(!is("", "127.0.0.1").await && !is("no-such-host.invalid:1", "127.0.0.1").await);
    }
}

//! The open end: the leader hands the root key to a voter that was there a moment ago.
//!
//! What only the leader can see, the connection and who answers at the voter's address, is looked at here; what everybody
//! must agree on is judged by `apply`, in the entry that comes before the key leaves.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chancery_client::Address;
use proto::member::v1::{SealedRoot, UnsealPeerRequest, UnsealPeerResponse};
use raft::PeerInfo;
use state::{Command, Release};
use types::{Action, NodeId, Reason, Refusal, RootId, limits};

use crate::api::hello;
use crate::clock;
use crate::core::{Core, StateView, no_leader, own_proposal};
use crate::node::Node;
use crate::release::PeerTransfer;
use crate::root::Root;

/// How long the name in a voter's address may take to be looked up.
const LOOK_UP: Duration = Duration::from_secs(2);

/// Whom the root key is just being handed to: one answer at a time to each.
#[derive(Debug, Default)]
pub(crate) struct Releasing(Mutex<BTreeSet<NodeId>>);

/// The place of one of them, given up when it goes.
#[derive(Debug)]
struct Turn<'a>(&'a Releasing, NodeId);

impl Releasing {
    fn begin(&self, node: NodeId) -> Result<Turn<'_>, Refusal> {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(node) {
            return Ok(Turn(self, node));
        }
        Err(Refusal::new(Reason::LimitExceeded, format!("{node} is just being answered")))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

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
    let released = match node.releasing.begin(to) {
        Ok(_turn) => try_release(node, core, to, peer, request).await,
        Err(refusal) => Err(refusal),
    };
    if let Err(refusal) = &released
        && refusal.reason != Reason::NoQuorum
    {
        // It comes back every few seconds, and so may a thief: recorded once a minute, like whoever else knocks.
        let first = node.strangers.count_member(Action::ReleaseRoot, peer.address, to);
        if first {
            tracing::warn!(node = %to, address = %peer.address, %refusal, "a sealed member was not given the root key");
        }
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
    // Whatever can be wrong with the request is found before an entry is written for it, and an approval used up.
    let roots = boxes(core, to, request)?;
    let at_home = is_at_home(node, core, &state, to, peer).await?;
    let address = peer.address.ip().to_string();
    let release = Release { node: to, by: core.node, address, at_home };
    state.check_release(&release, clock::now())?;
    let proposal = own_proposal(core.node, Command::ReleaseRoot(release));
    core.propose(&proposal).await.map_err(Refusal::from)?.reply?;
    // Somebody may have come meanwhile.
    check_alone(peer)?;
    tracing::warn!(node = %to, address = %peer.address, "the root key was handed to a voter that has restarted");
    Ok(UnsealPeerResponse { roots })
}

/// The root keys that it names, each sealed for it; they stay here until the entry is committed.
fn boxes(core: &Core, to: NodeId, request: &UnsealPeerRequest) -> Result<Vec<SealedRoot>, Refusal> {
    let transfer = PeerTransfer { cluster: core.cluster, from: core.node, to };
    let sealed = wanted(request, |epoch, id| core.keyring.named(epoch, id))?.into_iter().map(|root| {
        let sealed = transfer.sealed(&root, &request.recipient)?;
        Ok(SealedRoot { epoch: root.epoch, root_id: root.id.0.to_vec(), sealed })
    });
    sealed.collect()
}

/// One that is there twice is a node and its stolen copy, and nobody knows which is which.
fn check_alone(peer: &PeerInfo) -> Result<(), Refusal> {
    if peer.session.has_a_twin() {
        let text = "another connection is open that has proved the same identity key";
        return Err(Refusal::new(Reason::PermissionDenied, text));
    }
    Ok(())
}

/// What it names: all of it, but for what it opens without. One that lacks a key would ask again and again.
fn wanted(
    request: &UnsealPeerRequest,
    named: impl Fn(u32, RootId) -> Option<Arc<Root>>,
) -> Result<Vec<Arc<Root>>, Refusal> {
    let malformed = || Refusal::new(Reason::InvalidArgument, "`roots` are not names of root keys");
    if request.roots.len() > limits::ROOT_EPOCHS_MAX + 1 {
        return Err(malformed());
    }
    let mut found = Vec::new();
    for name in &request.roots {
        let id = name.root_id.as_slice().try_into().map(RootId).map_err(|_| malformed())?;
        match named(name.epoch, id) {
            Some(root) => found.push(root),
            None if name.optional => {}
            None => {
                let text = format!(
                    "the leader has not got root key {} any more: one of the node's own seals opens it",
                    name.epoch
                );
                return Err(Refusal::new(Reason::PreconditionFailed, text));
            }
        }
    }
    if found.is_empty() { Err(malformed()) } else { Ok(found) }
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
    use proto::member::v1::RootName;

    use super::*;

    fn names(names: &[(u32, u8, bool)]) -> UnsealPeerRequest {
        let roots = names.iter().map(|(epoch, id, optional)| RootName {
            epoch: *epoch,
            root_id: vec![*id; 16],
            optional: *optional,
        });
        UnsealPeerRequest { recipient: vec![9; 32], roots: roots.collect() }
    }

    #[test]
    fn a_root_key_that_is_not_here_refuses_all_of_it() {
        let root = Arc::new(Root::draw(1).expect("locks"));
        let found = |request: &UnsealPeerRequest| {
            let here = |epoch, _: RootId| (epoch == 1).then(|| Arc::clone(&root));
            wanted(request, here).map(|roots| roots.len()).map_err(|refusal| refusal.reason)
        };
        assert_eq!(found(&names(&[(1, 1, false)])), Ok(1));
        assert_eq!(found(&names(&[(1, 1, false), (2, 2, true)])), Ok(1), "one on its way is left out");
        assert_eq!(found(&names(&[(1, 1, false), (2, 2, false)])), Err(Reason::PreconditionFailed));
        assert_eq!(found(&names(&[(2, 2, true)])), Err(Reason::InvalidArgument), "nothing is left");
        assert_eq!(found(&names(&[])), Err(Reason::InvalidArgument));
        let short = RootName { epoch: 1, root_id: vec![1; 15], optional: false };
        let short = UnsealPeerRequest { recipient: vec![9; 32], roots: vec![short] };
        assert_eq!(found(&short), Err(Reason::InvalidArgument));
    }

    #[test]
    fn each_is_answered_one_at_a_time() {
        let releasing = Releasing::default();
        let first = releasing.begin(NodeId(2)).expect("begins");
        assert_eq!(releasing.begin(NodeId(2)).expect_err("is busy").reason, Reason::LimitExceeded);
        releasing.begin(NodeId(3)).expect("another");
        drop(first);
        releasing.begin(NodeId(2)).expect("and then again");
    }

    #[tokio::test]
    async fn an_address_is_that_of_its_machine_whatever_the_port() {
        let is = async |registered: &str, ip: &str| is_address_of(registered, ip.parse().expect("an address")).await;
        assert!(is("127.0.0.1:7444", "127.0.0.1").await && is("127.0.0.1:7444", "::ffff:127.0.0.1").await);
        assert!(is("[::1]:7444", "::1").await && is("localhost:7444", "127.0.0.1").await);
        assert!(!is("127.0.0.1:7444", "127.0.0.2").await && !is("10.0.0.1:7444", "127.0.0.1").await);
        assert!(!is("", "127.0.0.1").await && !is("no-such-host.invalid:1", "127.0.0.1").await);
    }
}

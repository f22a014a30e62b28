//! The sealed end: asks the members that it knew, from the start of the process until the node is open.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proto::member::v1::member_service_client::MemberServiceClient;
use proto::member::v1::{RootName, UnsealPeerRequest};
use raft::Names;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use types::{NodeId, Reason, Refusal, RootId, limits};

use crate::formation::{self, internal};
use crate::join::dial;
use crate::membership::{Membership, read_members};
use crate::node::{Node, Phase};
use crate::release::{PeerTransfer, Recipient};
use crate::root::Root;
use crate::seal::{self, SealRecord};

/// Between two rounds; twice as long each time.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// One that may hand the root key out. The connection is kept: two at once with one key look like two nodes.
struct Peer {
    id: NodeId,
    client: MemberServiceClient<InterceptedService<Channel, Names>>,
}

/// Asks for as long as this process has not been open and is sealed; nobody needs to come then. One that an operator has
/// sealed does not ask.
pub(crate) async fn ask(node: Arc<Node>) {
    let Phase::Sealed(membership) = node.phase() else { return };
    let mut peers = match peers(&node, &membership) {
        Ok(peers) => peers,
        Err(refusal) => return tracing::debug!(%refusal, "no member can be asked for the root key"),
    };
    if peers.is_empty() {
        return;
    }
    let (mut pause, mut said) = (PAUSE_FIRST, BTreeSet::new());
    while node.asks_peers() && matches!(node.phase(), Phase::Sealed(_)) {
        for peer in &mut peers {
            match open_by(&node, &membership, peer).await {
                Ok(()) => return tracing::info!(peer = %peer.id, "this node was opened by another member"),
                // Each thing once: it may be hours until somebody comes.
                Err(refusal) if said.insert(refusal.message.clone()) => {
                    tracing::info!(peer = %peer.id, %refusal, "a member did not open this node");
                }
                Err(_) => {}
            }
        }
        tokio::select! {
            () = node.stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = pause.saturating_mul(2).min(PAUSE_MAX);
    }
}

/// The other members, if this node votes as far as it knows.
fn peers(node: &Arc<Node>, own: &Membership) -> Result<Vec<Peer>, Refusal> {
    let members = read_members(&node.folder).map_err(|error| internal(&error))?;
    if !members.is_voter(own.node()) {
        return Ok(Vec::new());
    }
    let others = members.all.iter().filter(|(id, _)| **id != own.node());
    let peer = |(id, member): (&NodeId, &raft::Member)| {
        let names = Names { cluster: own.cluster(), from: own.node(), to: *id };
        Ok(Peer { id: *id, client: MemberServiceClient::with_interceptor(dial(node, member)?, names) })
    };
    others.map(peer).collect()
}

async fn open_by(node: &Arc<Node>, own: &Membership, peer: &mut Peer) -> Result<(), Refusal> {
    let record = seal::read(&node.folder).map_err(|error| formation::refused(&error))?;
    let record =
        record.ok_or_else(|| Refusal::new(Reason::UnsealFailed, "seal.json is missing from the data folder"))?;
    let recipient = Recipient::draw()?;
    let (names, staged) = (record.root_names(), record.staged());
    let named = |(epoch, id): &(u32, RootId)| {
        let optional = staged == Some((*epoch, *id));
        RootName { epoch: *epoch, root_id: id.0.to_vec(), optional }
    };
    let roots = names.iter().map(named).collect();
    let mut request = tonic::Request::new(UnsealPeerRequest { recipient: recipient.public().to_vec(), roots });
    request.set_timeout(limits::CALL_TIMEOUT.to_std());
    let answer = peer.client.unseal_peer(request).await;
    let answer = answer.map_err(|status| Refusal::new(Reason::NoQuorum, status.message()))?.into_inner();
    let transfer = PeerTransfer { cluster: own.cluster(), from: peer.id, to: own.node() };
    let mut opened: Vec<Root> = Vec::new();
    for sealed in &answer.roots {
        let id = sealed.root_id.as_slice().try_into().map(RootId);
        let id = id.map_err(|_| Refusal::new(Reason::Internal, "the name of the root key is malformed"))?;
        // Only what this node's own seal.json names: its log opens with nothing else.
        if names.contains(&(sealed.epoch, id)) {
            opened.push(recipient.open_as(&transfer.aad(sealed.epoch, id), sealed.epoch, id, &sealed.sealed)?);
        }
    }
    check_whole(&record, &opened)?;
    opened.sort_by_key(|root| root.epoch);
    formation::unseal_with(node, opened, peer.id).await
}

/// Whether these are all that the node's own seals would have given, but for one that is not in use yet.
fn check_whole(record: &SealRecord, opened: &[Root]) -> Result<(), Refusal> {
    let staged = record.staged();
    let missing = record.root_names().into_iter().find(|(epoch, id)| {
        Some((*epoch, *id)) != staged && !opened.iter().any(|root| (root.epoch, root.id) == (*epoch, *id))
    });
    missing.map_or(Ok(()), |(epoch, _)| {
        let text = format!("the member has not got root key {epoch} any more, which this node's log needs: unseal it");
        Err(Refusal::new(Reason::PreconditionFailed, text))
    })
}

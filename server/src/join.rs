//! Joining: a one-time token admits the node, then a member hands over the root key on the pinned peer connection.

use std::sync::Arc;
use std::time::Duration;

use chancery_client::tls::{self, Connector, PinSet, PinnedServers};
use chancery_client::token::{JoinToken, TokenKind};
use chancery_client::{Address, Client, Config as ClientConfig};
use proto::cluster::v1::RedeemNodeTokenRequest;
use proto::member::v1::ReleaseRootRequest;
use proto::member::v1::member_service_client::MemberServiceClient;
use raft::{Member, Members};
use tonic::transport::Channel;
use types::{NodeId, Reason, Refusal, RootId, SpkiHash, limits};

use crate::config::SealKind;
use crate::formation::internal;
use crate::membership::{Membership, read_members, write_members};
use crate::node::{Node, Phase};
use crate::release::Recipient;
use crate::root::Root;
use crate::seal::{self, NewSeal, Quorum, SealError};

/// How long a member is asked again for the root key: the one that was asked may not have applied the admission yet.
const PATIENCE: Duration = Duration::from_secs(30);

/// Redeems a token: from then on the cluster knows this node, and this folder knows its cluster.
///
/// # Errors
/// `TOKEN_REJECTED` for an unknown, used or expired token; why no endpoint could be asked otherwise.
pub(crate) async fn redeem(node: &Arc<Node>, token: &str) -> Result<(), Refusal> {
    let _turn = node.turning.lock().await;
    let parsed = JoinToken::parse(token).map_err(|error| Refusal::new(Reason::TokenRejected, error.to_string()));
    let own = match node.phase() {
        Phase::Empty => None,
        Phase::Removed(_) => return Ok(()),
        Phase::Admitted(membership) | Phase::Sealed(membership) => Some(membership.cluster()),
        Phase::Open(core) => Some(core.cluster),
    };
    if let Some(own) = own {
        if parsed.is_ok_and(|parsed| parsed.cluster_id != own) {
            let text = format!(
                "the data folder belongs to cluster {}, and the join token to another: start with another folder, or without \
                 the token",
                own.to_hex()
            );
            return Err(Refusal::new(Reason::TokenRejected, text));
        }
        tracing::info!("the data folder belongs to the cluster already: the join token is not needed and was not used");
        return Ok(());
    }
    let parsed = parsed?;
    if parsed.kind != TokenKind::Node {
        let text = "this token admits an agent: make one with `chancery cluster token --for node`";
        return Err(Refusal::new(Reason::TokenRejected, text));
    }
    let config = ClientConfig {
        endpoints: parsed.endpoints.clone(),
        identity: node.identity.clone(),
        cluster_key_hash: parsed.cluster_key_hash,
        trust_cache: None,
        deadline: PATIENCE,
    };
    let client = Client::connect(config).await.map_err(|error| told(&error))?;
    let request = RedeemNodeTokenRequest {
        token: token.trim().to_owned(),
        peer_address: node.peer_address.clone(),
        api_address: node.api_address.clone(),
        learner: node.config.join_as_learner,
        request_id: chancery_client::api::request_id(),
    };
    let admitted = client.cluster().redeem_node_token(request).await.map_err(|error| told(&error))?;
    let mut members = Members::default();
    for member in &admitted.members {
        if let Some(spki) = SpkiHash::from_hex(&member.spki_sha256) {
            members.all.insert(NodeId(member.node), Member { address: member.peer_address.clone(), spki });
        }
    }
    write_members(&node.folder, &members).map_err(|error| internal(&error))?;
    let trust_domain = client.trust().statement().trust_domain.clone();
    let membership = Membership::new(parsed.cluster_id, NodeId(admitted.node), trust_domain);
    membership.write(&node.folder).map_err(|error| internal(&error))?;
    tracing::info!(node = %membership.node(), "this node was admitted");
    node.turn(Phase::Admitted(membership));
    Ok(())
}

/// Takes the root key from a member and seals it with this node's own seal.
///
/// # Errors
/// When no member hands it out in time, or the seal refuses.
pub(crate) async fn take_root(node: &Arc<Node>, membership: &Membership, passphrase: &[u8]) -> Result<Root, Refusal> {
    let invalid = |error: &SealError| Refusal::new(Reason::InvalidArgument, error.to_string());
    seal::check_passphrase(node.config.seal, passphrase).map_err(|error| invalid(&error))?;
    let members = read_members(&node.folder).map_err(|error| internal(&error))?;
    let Released { root, quorum } = ask_members(node, membership, &members).await?;
    if quorum.is_some() && node.config.seal == SealKind::File {
        tracing::warn!(
            "this node is sealed by a key file beside its data and others by shares: a copy of this disk opens, and theirs do \
             not; join with `--seal shamir` instead"
        );
    }
    let with = match node.config.seal {
        SealKind::File => NewSeal::File,
        SealKind::Passphrase => NewSeal::Passphrase(passphrase),
        SealKind::Pkcs11 => NewSeal::Pkcs11,
        SealKind::Shamir => NewSeal::Quorum(quorum.ok_or_else(|| invalid(&SealError::NoQuorum))?),
    };
    seal::seal(node.seal_place(membership.cluster()), with, &root)
        .map_err(|error| Refusal::new(Reason::UnsealFailed, error.to_string()))?;
    Ok(root)
}

/// What a member hands out.
struct Released {
    root: Root,
    /// The shamir seal that it has itself.
    quorum: Option<Quorum>,
}

async fn ask_members(node: &Arc<Node>, membership: &Membership, members: &Members) -> Result<Released, Refusal> {
    let started = tokio::time::Instant::now();
    let mut last = Refusal::new(Reason::NoQuorum, "no member could be asked for the root key");
    while started.elapsed() < PATIENCE {
        for (id, member) in members.all.iter().filter(|(id, _)| **id != membership.node()) {
            match ask(node, membership, *id, member).await {
                Ok(released) => return Ok(released),
                Err(refusal) => last = refusal,
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(last)
}

async fn ask(node: &Arc<Node>, own: &Membership, id: NodeId, member: &Member) -> Result<Released, Refusal> {
    let recipient = Recipient::draw()?;
    let channel = dial(node, member)?;
    let mut request = tonic::Request::new(ReleaseRootRequest { recipient: recipient.public().to_vec() });
    request.set_timeout(limits::CALL_TIMEOUT.to_std());
    let names = raft::Names { cluster: own.cluster(), from: own.node(), to: id };
    let answer =
        MemberServiceClient::with_interceptor(channel, names).release_root(request).await.map_err(|status| {
            Refusal::new(Reason::NoQuorum, format!("{id} did not hand out the root key: {}", status.message()))
        })?;
    let answer = answer.into_inner();
    let name = answer.root_id.try_into().map(RootId);
    let name = name.map_err(|_| Refusal::new(Reason::Internal, "the name of the root key is malformed"))?;
    let root = recipient.open(own.cluster(), answer.epoch, name, &answer.sealed)?;
    let quorum = serde_json::from_str::<Quorum>(&answer.seal_quorum).ok().filter(Quorum::is_sound);
    Ok(Released { root, quorum })
}

/// A connection to a member's peer port by a node that has no Raft running: pinned to that member's key, made when it is used.
pub(crate) fn dial(node: &Arc<Node>, member: &Member) -> Result<Channel, Refusal> {
    let address = Address::parse(&member.address).map_err(|error| internal(&error))?;
    let tls = tls::client_config(&node.identity, PinnedServers::new(PinSet::new([member.spki])));
    let tls = tls.map_err(|error| internal(&error))?;
    tls::channel(Connector::new(address, Arc::new(tls))).map_err(|error| internal(&error))
}

/// What a client's error means for whoever starts this node.
fn told(error: &chancery_client::Error) -> Refusal {
    match error {
        chancery_client::Error::Refused { refusal, .. } => refusal.clone(),
        other => Refusal::new(Reason::NoQuorum, other.to_string()),
    }
}

//! How a node comes to be part of a cluster and how it opens and seals: `init`, unseal, seal (docs/spec/formation.md).
//! Joining is in `join.rs`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use audit::{Detail, Event, Text};
use chancery_client::private_file::FileError;
use crypto::LockedSecret;
use crypto::sign::P256Signer;
use proto::cluster::v1::{InitRequest, InitResponse};
use raft::{Member, Members};
use state::command::NodeInfo;
use state::{Command, Proposal};
use types::{
    Action, ClusterId, KeyId, NamespaceName, NodeId, OperatorName, Principal, Reason, Refusal, Time, TrustDomain,
    limits,
};

use crate::clock;
use crate::config::SealKind;
use crate::core::Core;
use crate::join;
use crate::keyring::Keyring;
use crate::machine::decode_reply;
use crate::membership::{Membership, read_members, write_members};
use crate::node::{Node, Phase};
use crate::opening::{Opened, OpeningError, open_raft};
use crate::seal::{self, SealError};
use crate::wire::{name, time};

/// The number of the node that forms the cluster.
const FIRST: NodeId = NodeId(1);

/// Forms a cluster of this node alone (`chancery init`).
///
/// # Errors
/// `ALREADY_INITIALIZED`, what the request lacks, or why the disk refused.
pub(crate) async fn form(node: &Arc<Node>, request: InitRequest) -> Result<InitResponse, Refusal> {
    let _turn = node.turning.lock().await;
    if !matches!(node.phase(), Phase::Empty) {
        return Err(Refusal::new(Reason::AlreadyInitialized, "this node belongs to a cluster already"));
    }
    if node.folder.join("audit").exists() {
        // The audit folder is made only after node.json was written.
        let text = "this folder has served a cluster and its node.json is missing: restore it, or use an empty folder";
        return Err(Refusal::new(Reason::AlreadyInitialized, text));
    }
    let InitRequest { trust_domain, operator_name, operator_spki, seal_passphrase } = request;
    let mut passphrase = crypto::SecretBytes::from_vec(seal_passphrase);
    if node.config.seal == SealKind::File && !passphrase.is_empty() {
        let text = "this node has the file seal, which takes no passphrase: start it with the passphrase seal first";
        return Err(Refusal::new(Reason::InvalidArgument, text));
    }
    if let (true, Some(path)) = (passphrase.is_empty(), &node.config.passphrase_file) {
        passphrase = read_passphrase(path)?;
    }
    let trust_domain = TrustDomain::parse(&trust_domain)
        .map_err(|error| Refusal::new(Reason::InvalidArgument, format!("`{trust_domain}`: {error}")))?;
    let operator = if operator_name.is_empty() { "root" } else { &operator_name };
    let operator = OperatorName::parse(operator).map_err(name::refused)?;
    if crypto::sign::point_of_spki(&operator_spki).is_none() {
        let text = "`operator_spki` must be the DER SubjectPublicKeyInfo of an ECDSA P-256 key";
        return Err(Refusal::new(Reason::InvalidArgument, text));
    }
    let cluster = ClusterId(crypto::entropy::array());
    let root = crypto::entropy::locked().map_err(|error| internal(&error))?;
    seal::seal(&node.folder, node.config.seal, passphrase.expose(), cluster, &root).map_err(|error| refused(&error))?;
    let first = First { cluster, trust_domain, operator, operator_spki: ca::spki_hash(&operator_spki) };
    let core = open_first(node, first.clone(), root).await.map_err(|error| internal(&error))??;
    let state = core.state();
    let row = state.cluster().ok_or_else(|| Refusal::new(Reason::Internal, "the cluster was not formed"))?;
    let expires = state.operator(&first.operator).map_or(Time::NEVER, |row| row.expires);
    let response = InitResponse {
        cluster_id: cluster.to_hex(),
        cluster_key_hash: ca::spki_hash(&row.spki).to_hex(),
        operator: format!("operators/{}", first.operator),
        operator_expire_time: time::timestamp(expires),
    };
    node.turn(Phase::Open(core));
    tracing::info!(cluster = %cluster, "the cluster was formed");
    Ok(response)
}

/// What a cluster is formed with.
#[derive(Clone)]
struct First {
    cluster: ClusterId,
    trust_domain: TrustDomain,
    operator: OperatorName,
    operator_spki: types::SpkiHash,
}

/// Starts Raft as the only voter, commits the first entry, and only then writes `node.json`: a crash before that leaves a
/// folder in which `init` may be repeated.
async fn open_first(
    node: &Arc<Node>,
    first: First,
    root: LockedSecret,
) -> Result<Result<Arc<Core>, Refusal>, OpeningError> {
    let membership = Membership::new(first.cluster, FIRST, first.trust_domain.clone());
    clear_unfinished(node)?;
    let own = Member { address: node.peer_address.clone(), spki: node.identity.spki() };
    let mut members = Members::default();
    members.all.insert(FIRST, own.clone());
    members.voters.insert(FIRST);
    write_members(&node.folder, &members)?;
    let opened = open_raft(node, membership.clone(), root).await?;
    let proposal = Proposal {
        actor: Principal::LocalAdmin,
        at: clock::now(),
        request: None,
        basis: None,
        command: init_command(node, first, &opened.keyring),
    };
    if let Err(refusal) = commit_first(&opened.raft, own, &proposal).await {
        opened.raft.shutdown().await;
        return Ok(Err(refusal));
    }
    if let Err(error) = membership.write(&node.folder) {
        opened.raft.shutdown().await;
        return Err(error.into());
    }
    // From here on the folder belongs to a cluster, whatever happens: a second `init` must not wipe it.
    node.turn(Phase::Sealed(membership));
    finish_or_stop(node, opened).await.map(Ok)
}

/// Removes what an `init` that died has left: without `node.json` it belongs to no cluster.
fn clear_unfinished(node: &Node) -> Result<(), OpeningError> {
    for name in ["raft", "raft.witness", "authority.sealed"] {
        let path = node.folder.join(name);
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(crate::folder::FolderError::File(FileError::Io { path, source: error }).into());
            }
            _ => {}
        }
    }
    Ok(())
}

async fn commit_first(
    raft: &raft::RaftHandle<crate::machine::StateMachine>,
    own: Member,
    proposal: &Proposal,
) -> Result<(), Refusal> {
    raft.initialize(own, limits::CALL_TIMEOUT.to_std()).await.map_err(|error| internal(&error))?;
    let payload = postcard::to_stdvec(proposal).map_err(|error| internal(&error))?;
    let deadline = limits::CALL_TIMEOUT.to_std();
    let mut status = raft.watch_status();
    let leads = status.wait_for(|status| status.role == raft::Role::Leader);
    tokio::time::timeout(deadline, leads)
        .await
        .map_err(|_| Refusal::new(Reason::NoQuorum, "the node did not begin to lead in time: try again"))?
        .map_err(|error| internal(&error))?;
    let proposed = raft.propose(payload, deadline).await.map_err(|error| internal(&error))?;
    decode_reply(&proposed.reply).map(drop)
}

fn init_command(node: &Node, first: First, keyring: &Keyring) -> Command {
    let cluster_key = P256Signer::generate();
    let default = NamespaceName::default_namespace();
    Command::Init {
        cluster: first.cluster,
        trust_domain: first.trust_domain,
        cluster_spki: cluster_key.spki_der(),
        cluster_key_wrapped: keyring.wrap_cluster_key(&cluster_key.to_pkcs8()),
        node: FIRST,
        info: NodeInfo {
            spki: node.identity.spki(),
            peer_address: node.peer_address.clone(),
            api_address: node.api_address.clone(),
        },
        operator: first.operator,
        operator_spki: first.operator_spki,
        operator_expires: clock::now().after(limits::ENROLMENT_MAX),
        namespace_kek_wrapped: keyring.draw_namespace_key(&default),
        namespace_id: KeyId(crypto::entropy::array()),
    }
}

/// Unseals the node: opens the root key with the passphrase, or, for a node that was just admitted, takes it from a peer and
/// seals it with the passphrase.
///
/// # Errors
/// `UNSEAL_FAILED` for a wrong passphrase; what is damaged otherwise.
pub(crate) async fn unseal(node: &Arc<Node>, passphrase: &[u8], by: Principal) -> Result<(), Refusal> {
    let unsealed = try_unseal(node, passphrase, by).await;
    if unsealed.is_err() {
        node.failed_unseals.fetch_add(1, Ordering::Relaxed);
    }
    unsealed
}

async fn try_unseal(node: &Arc<Node>, passphrase: &[u8], by: Principal) -> Result<(), Refusal> {
    let _turn = node.turning.lock().await;
    let membership = match node.phase() {
        Phase::Open(_) => return Ok(()),
        Phase::Empty => {
            let text = "this node belongs to no cluster yet: there is nothing to unseal";
            return Err(Refusal::new(Reason::NotInitialized, text));
        }
        Phase::Admitted(membership) => {
            join::take_root(node, &membership, passphrase).await?;
            membership
        }
        Phase::Sealed(membership) => {
            check_votes(node, &membership)?;
            membership
        }
    };
    let root = open_root(node, &membership, passphrase).await?;
    node.sealed_port.stop().await;
    match open_up(node, membership, root, by).await {
        Ok(core) => node.turn(Phase::Open(core)),
        Err(refusal) => {
            node.sealed_port.start(node).await.map_err(|error| internal(&error))?;
            return Err(refusal);
        }
    }
    tracing::info!("the node was unsealed");
    Ok(())
}

/// Opens the node with its root key and records it; whatever fails, nothing of it goes on running.
async fn open_up(
    node: &Arc<Node>,
    membership: Membership,
    root: LockedSecret,
    by: Principal,
) -> Result<Arc<Core>, Refusal> {
    let opened = open_raft(node, membership, root).await.map_err(|error| internal(&error))?;
    let core = finish_or_stop(node, opened).await.map_err(|error| internal(&error))?;
    match record_opening(node, &core, by).await {
        Ok(()) => Ok(core),
        Err(refusal) => {
            core.close().await;
            Err(refusal)
        }
    }
}

/// Refuses a voter whose log and witness are gone: it has forgotten its votes.
fn check_votes(node: &Node, membership: &Membership) -> Result<(), Refusal> {
    let members = read_members(&node.folder).map_err(|error| internal(&error))?;
    if !members.is_voter(membership.node()) || node.folder.join("raft.witness").exists() {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::PreconditionFailed,
        "this voter's log is gone, and with it its votes: empty the data folder and join it again as a new node",
    ))
}

/// Opens what is left to open; when that fails Raft is stopped again, for a node that cannot serve must not vote.
async fn finish_or_stop(node: &Arc<Node>, opened: Opened) -> Result<Arc<Core>, OpeningError> {
    let raft = opened.raft.clone();
    match opened.finish(node).await {
        Ok(core) => Ok(core),
        Err(error) => {
            raft.shutdown().await;
            Err(error)
        }
    }
}

/// Records who opened the node and how often that had failed before: a sealed node has no log to record it in.
async fn record_opening(node: &Node, core: &Core, by: Principal) -> Result<(), Refusal> {
    let mut event = Event::allowed(clock::now(), by, Action::Unseal);
    event.resource = Text::clipped(&format!("nodes/{}", core.node.0));
    event.detail = Detail::new().count("failed_before", node.failed_unseals.swap(0, Ordering::Relaxed));
    core.record(event).await
}

async fn open_root(node: &Arc<Node>, membership: &Membership, passphrase: &[u8]) -> Result<LockedSecret, Refusal> {
    let record = seal::read(&node.folder).map_err(|error| refused(&error))?;
    let record =
        record.ok_or_else(|| Refusal::new(Reason::UnsealFailed, "seal.json is missing from the data folder"))?;
    let cluster = membership.cluster();
    let passphrase = crypto::SecretBytes::from_vec(passphrase.to_vec());
    let node = Arc::clone(node);
    // argon2id takes its time and its memory: not on a thread that answers others.
    let opened = tokio::task::spawn_blocking(move || seal::unseal(&node.folder, &record, passphrase.expose(), cluster));
    opened.await.map_err(|error| internal(&error))?.map_err(|error| refused(&error))
}

/// Seals the node: its tasks end, Raft stops, and every key leaves its memory.
///
/// # Errors
/// `SEALED` or `NOT_INITIALIZED` when it is not open.
pub(crate) async fn seal_node(node: &Arc<Node>) -> Result<(), Refusal> {
    let _turn = node.turning.lock().await;
    let core = node.core()?;
    let trust_domain = core.state().trust_domain().cloned();
    let trust_domain = trust_domain.ok_or_else(|| Refusal::new(Reason::NotInitialized, "there is no cluster yet"))?;
    node.turn(Phase::Sealed(Membership::new(core.cluster, core.node, trust_domain)));
    core.close().await;
    tracing::info!("the node was sealed");
    node.sealed_port.start(node).await.map_err(|error| internal(&error))
}

/// Reads the passphrase from the file that the settings name; a line end after it does not count.
///
/// # Errors
/// `UNSEAL_FAILED` when it cannot be read or may be read by others.
pub(crate) fn read_passphrase(path: &Path) -> Result<crypto::SecretBytes, Refusal> {
    let content = chancery_client::private_file::read(path);
    let content = content.map_err(|error| Refusal::new(Reason::UnsealFailed, error.to_string()))?;
    let content = crypto::SecretBytes::from_vec(content);
    Ok(crypto::SecretBytes::from_vec(content.expose().trim_ascii_end().to_vec()))
}

/// A refusal that tells a wrong passphrase from a broken disk.
fn refused(error: &SealError) -> Refusal {
    match error {
        SealError::DoesNotOpen => Refusal::new(Reason::UnsealFailed, error.to_string()),
        SealError::PassphraseMissing | SealError::PassphraseTooShort => {
            Refusal::new(Reason::InvalidArgument, error.to_string())
        }
        SealError::OtherCluster { .. } => Refusal::new(Reason::AlreadyInitialized, error.to_string()),
        SealError::Memory(_) | SealError::Folder(_) => internal(error),
    }
}

/// A fault of ours, told to whoever runs this node: these calls are made by its operator.
pub(crate) fn internal(error: &dyn std::fmt::Display) -> Refusal {
    tracing::error!(%error, "the node could not be opened");
    Refusal::new(Reason::Internal, error.to_string())
}

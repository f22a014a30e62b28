//! How a node comes to be part of a cluster and how it opens and seals: `init`, unseal, seal (docs/spec/formation.md).
//! Joining is in `join.rs`.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use audit::{Detail, Event, Text};
use chancery_client::private_file::FileError;
use crypto::SecretBytes;
use crypto::sign::P256Signer;
use proto::cluster::v1::{InitRequest, InitResponse};
use raft::{Member, Members};
use state::command::NodeInfo;
use state::{Command, Proposal};
use types::{
    Action, ClusterId, KeyId, NamespaceName, NodeId, OperatorName, Principal, Reason, Refusal, Time, TrustDomain,
    limits,
};

use crate::audit_store;
use crate::clock;
use crate::config::SealKind;
use crate::core::Core;
use crate::join;
use crate::keyring::Keyring;
use crate::machine::decode_reply;
use crate::membership::{Membership, read_members, write_members};
use crate::node::{Node, Phase};
use crate::opening::{Opened, OpeningError, begin_audit, open_raft};
use crate::peer_unseal::by_hand;
use crate::root::{FIRST_EPOCH, Root};
use crate::seal::{self, NewSeal, Offer, SealError};
use crate::wire::{name, time};

/// The number of the node that forms the cluster.
const FIRST: NodeId = NodeId(1);

/// Forms a cluster of this node alone (`chancery init`).
///
/// # Errors
/// `ALREADY_INITIALIZED`, what the request lacks, or why the disk refused.
pub(crate) async fn form(node: &Arc<Node>, mut request: InitRequest) -> Result<InitResponse, Refusal> {
    let mut passphrase = SecretBytes::from_vec(std::mem::take(&mut request.seal_passphrase));
    let _turn = node.turning.lock().await;
    if !matches!(node.phase(), Phase::Empty) {
        return Err(Refusal::new(Reason::AlreadyInitialized, "this node belongs to a cluster already"));
    }
    if node.folder.join("audit").exists() {
        // The audit folder is made only after node.json was written.
        let text = "this folder has served a cluster and its node.json is missing: restore it, or use an empty folder";
        return Err(Refusal::new(Reason::AlreadyInitialized, text));
    }
    let InitRequest { trust_domain, operator_name, operator_spki, seal_shares, seal_threshold, .. } = request;
    if let (true, Some(path)) = (passphrase.is_empty(), &node.config.passphrase_file) {
        passphrase = read_passphrase(path)?;
    }
    check_seal(node.config.seal, &passphrase, seal_shares, seal_threshold)?;
    let trust_domain = TrustDomain::parse(&trust_domain)
        .map_err(|error| Refusal::new(Reason::InvalidArgument, format!("`{trust_domain}`: {error}")))?;
    let operator = if operator_name.is_empty() { "root" } else { &operator_name };
    let operator = OperatorName::parse(operator).map_err(name::refused)?;
    if crypto::sign::point_of_spki(&operator_spki).is_none() {
        let text = "`operator_spki` must be the DER SubjectPublicKeyInfo of an ECDSA P-256 key";
        return Err(Refusal::new(Reason::InvalidArgument, text));
    }
    let cluster = ClusterId(crypto::entropy::array());
    let root = Root::draw(FIRST_EPOCH).map_err(|error| internal(&error))?;
    let (with, shares) = match node.config.seal {
        SealKind::File => (NewSeal::File, Vec::new()),
        SealKind::Passphrase => (NewSeal::Passphrase(passphrase.expose()), Vec::new()),
        SealKind::Pkcs11 => (NewSeal::Pkcs11, Vec::new()),
        SealKind::Shamir => {
            let (quorum, shares) = draw_shares(cluster, seal_threshold, seal_shares)?;
            (NewSeal::Quorum(quorum), shares)
        }
    };
    seal::seal(node.seal_place(cluster), with, &root).map_err(|error| refused(&error))?;
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
        seal_shares: shares.iter().map(|share| String::from_utf8_lossy(share.expose()).into_owned()).collect(),
    };
    node.turn(Phase::Open(core));
    tracing::info!(cluster = %cluster, "the cluster was formed");
    Ok(response)
}

/// Refuses what the node's seal has no use for, before anything is made.
fn check_seal(kind: SealKind, passphrase: &SecretBytes, shares: u32, threshold: u32) -> Result<(), Refusal> {
    let text = match kind {
        SealKind::File if !passphrase.is_empty() => {
            "this node has the file seal, which takes no passphrase: start it with the passphrase seal first"
        }
        SealKind::Pkcs11 if !passphrase.is_empty() => {
            "this node has the pkcs11 seal, which takes no passphrase: start it with the passphrase seal first"
        }
        SealKind::Shamir if !passphrase.is_empty() => {
            "this node has the shamir seal, which takes no passphrase: start it with the passphrase seal first"
        }
        SealKind::Shamir if shares == 0 => {
            "this node has the shamir seal: say where its shares go, `chancery init --seal-shares-dir DIR`"
        }
        SealKind::File | SealKind::Passphrase | SealKind::Pkcs11 if shares != 0 || threshold != 0 => {
            "this node's seal has no shares: start it with the shamir seal first"
        }
        _ => return Ok(()),
    };
    Err(Refusal::new(Reason::InvalidArgument, text))
}

fn draw_shares(cluster: ClusterId, threshold: u32, shares: u32) -> Result<(seal::Quorum, Vec<SecretBytes>), Refusal> {
    let refused = |text: String| Refusal::new(Reason::InvalidArgument, text);
    let most = limits::SEAL_SHARES_MAX;
    let narrow = |count: u32| u8::try_from(count).ok().filter(|count| *count <= most);
    let (Some(threshold), Some(shares)) = (narrow(threshold), narrow(shares)) else {
        return Err(refused(format!("a seal has at most {most} shares")));
    };
    seal::draw(cluster, threshold, shares).map_err(|fault| refused(fault.to_string()))
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
async fn open_first(node: &Arc<Node>, first: First, root: Root) -> Result<Result<Arc<Core>, Refusal>, OpeningError> {
    let membership = Membership::new(first.cluster, FIRST, first.trust_domain.clone());
    clear_unfinished(node)?;
    let own = Member { address: node.peer_address.clone(), spki: node.identity.spki() };
    let mut members = Members::default();
    members.all.insert(FIRST, own.clone());
    members.voters.insert(FIRST);
    write_members(&node.folder, &members)?;
    let opened = open_raft(node, membership.clone(), vec![root]).await?;
    let command = match init_command(node, first, &opened.keyring) {
        Ok(command) => command,
        Err(refusal) => {
            opened.raft.shutdown().await;
            return Ok(Err(refusal));
        }
    };
    let proposal = Proposal { actor: Principal::LocalAdmin, at: clock::now(), request: None, basis: None, command };
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
    let audit = begin_audit(node, FIRST).await;
    finish_or_stop(node, opened, audit).await.map(Ok)
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

fn init_command(node: &Node, first: First, keyring: &Keyring) -> Result<Command, Refusal> {
    let cluster_key = P256Signer::generate();
    let default = NamespaceName::default_namespace();
    Ok(Command::Init {
        cluster: first.cluster,
        trust_domain: first.trust_domain,
        cluster_spki: cluster_key.spki_der(),
        cluster_key_wrapped: keyring.wrap_cluster_key(FIRST_EPOCH, &cluster_key.to_pkcs8())?,
        node: FIRST,
        info: NodeInfo {
            spki: node.identity.spki(),
            peer_address: node.peer_address.clone(),
            api_address: node.api_address.clone(),
        },
        operator: first.operator,
        operator_spki: first.operator_spki,
        operator_expires: clock::now().after(limits::ENROLMENT_MAX),
        namespace_kek_wrapped: keyring.draw_namespace_key(FIRST_EPOCH, &default)?,
        namespace_id: KeyId(crypto::entropy::array()),
    })
}

/// What somebody brings to a sealed node.
pub(crate) enum Brought {
    /// A passphrase; empty for a seal that asks for nothing.
    Passphrase(SecretBytes),
    /// One share's text.
    Share(SecretBytes),
}

/// Unseals the node: opens the root key with what was brought, or, for a node that was just admitted, takes it from a peer
/// and seals it with the passphrase. With a share that does not yet suffice it stays sealed and keeps the share.
///
/// # Errors
/// `UNSEAL_FAILED` for a wrong passphrase or share; what is damaged otherwise.
pub(crate) async fn unseal(node: &Arc<Node>, brought: Brought, by: Principal) -> Result<(), Refusal> {
    let unsealed = try_unseal(node, brought, by).await;
    if unsealed.is_err() {
        node.failed_unseals.fetch_add(1, Ordering::Relaxed);
    }
    unsealed
}

async fn try_unseal(node: &Arc<Node>, brought: Brought, by: Principal) -> Result<(), Refusal> {
    let _turn = node.turning.lock().await;
    let membership = match node.phase() {
        Phase::Open(_) => return Ok(()),
        Phase::Empty => {
            let text = "this node belongs to no cluster yet: there is nothing to unseal";
            return Err(Refusal::new(Reason::NotInitialized, text));
        }
        Phase::Removed(_) => return node.core().map(drop),
        Phase::Admitted(membership) => return first_opening(node, membership, &brought, by).await,
        Phase::Sealed(membership) => membership,
    };
    check_log(node, &membership)?;
    let (roots, how) = match brought {
        Brought::Passphrase(words) => open_roots(node, &membership, words).await?,
        Brought::Share(text) => match bring_share(node, &membership, &text)? {
            Some(opened) => opened,
            None => return Ok(()),
        },
    };
    turn_open(node, membership, roots, Opener { by, how: Some(how) }).await
}

/// Opens a sealed node with the root keys that another member has handed out.
///
/// # Errors
/// When it is not sealed, or does not open with them.
pub(crate) async fn unseal_with(node: &Arc<Node>, roots: Vec<Root>, by: NodeId) -> Result<(), Refusal> {
    let _turn = node.turning.lock().await;
    // An operator may have been quicker, or sealed it since.
    let Phase::Sealed(membership) = node.phase() else { return Ok(()) };
    if !node.asks_peers() {
        return Ok(());
    }
    check_log(node, &membership)?;
    let how = format!("root key from nodes/{}", by.0);
    turn_open(node, membership, roots, Opener { by: Principal::Node(by), how: Some(how) }).await
}

/// A node that was just admitted takes the root key from a member, and seals it for its own disk.
async fn first_opening(
    node: &Arc<Node>,
    membership: Membership,
    brought: &Brought,
    by: Principal,
) -> Result<(), Refusal> {
    let Brought::Passphrase(words) = brought else {
        return Err(refused(&SealError::NoShares));
    };
    let root = join::take_root(node, &membership, words.expose()).await?;
    turn_open(node, membership, vec![root], Opener { by, how: None }).await
}

async fn turn_open(node: &Arc<Node>, membership: Membership, roots: Vec<Root>, opener: Opener) -> Result<(), Refusal> {
    node.sealed_port.stop().await;
    match open_up(node, membership, roots, opener).await {
        Ok(core) => {
            node.ask_no_peers();
            // Another member opens none that has it.
            by_hand::unmark(&node.folder);
            node.turn(Phase::Open(core));
        }
        Err(refusal) => {
            node.sealed_port.start(node).await.map_err(|error| internal(&error))?;
            return Err(refusal);
        }
    }
    tracing::info!("the node was unsealed");
    Ok(())
}

/// Keeps a share, and opens the root key when it was the last that lacked; says whose shares met.
fn bring_share(
    node: &Node,
    membership: &Membership,
    text: &SecretBytes,
) -> Result<Option<(Vec<Root>, String)>, Refusal> {
    let cluster = membership.cluster();
    let record = seal::read(&node.folder).map_err(|error| refused(&error))?;
    let record = record.ok_or_else(no_seal_file)?;
    let text = std::str::from_utf8(text.expose()).unwrap_or_default();
    // While new shares are on their way there are two kinds: what a share says of itself tells which it is.
    let mut recognised = Err(SealError::NoShares);
    for quorum in record.quorums() {
        match quorum.recognise(cluster, text) {
            Ok(share) => {
                recognised = Ok((quorum, share));
                break;
            }
            Err(why) => recognised = Err(why.into()),
        }
    }
    let (quorum, share) = recognised.map_err(|error| refused(&error))?;
    let mut shares = node.shares.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    shares.add(&quorum.id, share, now);
    if shares.count(&quorum.id, now) < quorum.threshold {
        return Ok(None);
    }
    let met = shares.take(&quorum.id);
    let numbers: Vec<_> = met.iter().map(|share| share.index.to_string()).collect();
    let key = quorum.combine(&met).map_err(|_| refused(&SealError::DoesNotOpen))?;
    let place = node.seal_place(cluster);
    let opened = seal::unseal(&record, place, Offer::Private(&key)).map_err(|error| refused(&error))?;
    Ok(Some((opened.roots, format!("seal {}, shares {}", opened.slot, numbers.join(", ")))))
}

/// Who opened the node, and with what.
struct Opener {
    by: Principal,
    how: Option<String>,
}

/// Opens the node with its root key and records it; whatever fails, nothing of it goes on running.
async fn open_up(
    node: &Arc<Node>,
    membership: Membership,
    roots: Vec<Root>,
    opener: Opener,
) -> Result<Arc<Core>, Refusal> {
    let id = membership.node();
    // Both read much, and neither needs the other.
    let (opened, audit) = tokio::join!(open_raft(node, membership, roots), begin_audit(node, id));
    let opened = opened.map_err(|error| internal(&error))?;
    let core = finish_or_stop(node, opened, audit).await.map_err(|error| internal(&error))?;
    match record_opening(node, &core, opener).await {
        Ok(()) => Ok(core),
        Err(refusal) => {
            core.close().await;
            Err(refusal)
        }
    }
}

/// Refuses a member whose log and witness are gone: a voter has forgotten its votes, and a learner what the leader has
/// counted as held by it. Raft writes who votes as soon as it runs, so a node that never got so far is not meant.
fn check_log(node: &Node, membership: &Membership) -> Result<(), Refusal> {
    let members = read_members(&node.folder).map_err(|error| internal(&error))?;
    if members.voters.is_empty() || node.folder.join("raft.witness").exists() {
        return Ok(());
    }
    let (member, lost) = if members.is_voter(membership.node()) {
        ("voter", "its votes")
    } else {
        ("learner", "what the cluster counts on it to have")
    };
    let text = format!(
        "this {member}'s log is gone, and with it {lost}: empty the data folder and join it again as a new node"
    );
    Err(Refusal::new(Reason::PreconditionFailed, text))
}

/// Opens what is left to open; when that fails Raft is stopped again, for a node that cannot serve must not vote.
async fn finish_or_stop(
    node: &Arc<Node>,
    opened: Opened,
    audit: Result<audit_store::Opening, OpeningError>,
) -> Result<Arc<Core>, OpeningError> {
    let raft = opened.raft.clone();
    let finished = async { opened.finish(node, audit?).await };
    match finished.await {
        Ok(core) => Ok(core),
        Err(error) => {
            raft.shutdown().await;
            Err(error)
        }
    }
}

/// Records who opened the node and how often that had failed before: a sealed node has no log to record it in.
async fn record_opening(node: &Node, core: &Core, opener: Opener) -> Result<(), Refusal> {
    let mut event = Event::allowed(clock::now(), opener.by, Action::Unseal);
    event.resource = Text::clipped(&format!("nodes/{}", core.node.0));
    event.detail = Detail::new().count("failed_before", node.failed_unseals.swap(0, Ordering::Relaxed));
    if let Some(how) = opener.how {
        event.detail = event.detail.text("opened_by", &how);
    }
    core.record(event).await
}

async fn open_roots(
    node: &Arc<Node>,
    membership: &Membership,
    passphrase: SecretBytes,
) -> Result<(Vec<Root>, String), Refusal> {
    let record = seal::read(&node.folder).map_err(|error| refused(&error))?;
    let record = record.ok_or_else(no_seal_file)?;
    let only_shares = !["file", "passphrase", "pkcs11"].iter().any(|kind| record.has(kind));
    if let Some(quorum) = record.quorum().filter(|_| passphrase.is_empty() && only_shares) {
        let text =
            format!("this node's seal needs {} shares: `chancery seal unseal --share-file FILE`", quorum.threshold);
        return Err(Refusal::new(Reason::InvalidArgument, text));
    }
    let cluster = membership.cluster();
    let node = Arc::clone(node);
    // argon2id takes its time and its memory: not on a thread that answers others.
    let opened = tokio::task::spawn_blocking(move || {
        let place = node.seal_place(cluster);
        let offer = match passphrase.is_empty() {
            true => Offer::Nothing,
            false => Offer::Passphrase(passphrase.expose()),
        };
        seal::unseal(&record, place, offer)
    });
    let opened = opened.await.map_err(|error| internal(&error))?.map_err(|error| refused(&error))?;
    Ok((opened.roots, format!("seal {}, {}", opened.slot, opened.kind)))
}

fn no_seal_file() -> Refusal {
    Refusal::new(Reason::UnsealFailed, "seal.json is missing from the data folder")
}

/// Seals the node: its tasks end, Raft stops, and every key leaves its memory.
///
/// # Errors
/// `SEALED` or `NOT_INITIALIZED` when it is not open.
pub(crate) async fn seal_node(node: &Arc<Node>) -> Result<(), Refusal> {
    let _turn = node.turning.lock().await;
    let core = node.core()?;
    node.ask_no_peers();
    let trust_domain = core.state().trust_domain().cloned();
    let trust_domain = trust_domain.ok_or_else(|| Refusal::new(Reason::NotInitialized, "there is no cluster yet"))?;
    node.turn(Phase::Sealed(Membership::new(core.cluster, core.node, trust_domain)));
    core.close().await;
    tracing::info!("the node was sealed");
    node.sealed_port.start(node).await.map_err(|error| internal(&error))
}

/// Seals the node from within one of its own tasks, which end meanwhile.
pub(crate) fn seal_soon(node: &Arc<Node>) {
    let node = Arc::clone(node);
    tokio::spawn(async move {
        if let Err(refusal) = seal_node(&node).await {
            tracing::debug!(%refusal, "the node is not open any more");
        }
    });
}

/// Reads the passphrase from the file that the settings name; a line end after it does not count.
///
/// # Errors
/// `UNSEAL_FAILED` when it cannot be read or may be read by others.
pub(crate) fn read_passphrase(path: &Path) -> Result<SecretBytes, Refusal> {
    let content = chancery_client::private_file::read(path);
    let content = content.map_err(|error| Refusal::new(Reason::UnsealFailed, error.to_string()))?;
    let content = SecretBytes::from_vec(content);
    Ok(SecretBytes::from_vec(content.expose().trim_ascii_end().to_vec()))
}

/// A refusal that tells a wrong passphrase from a broken disk.
pub(crate) fn refused(error: &SealError) -> Refusal {
    match error {
        SealError::DoesNotOpen | SealError::Share(_) | SealError::Token(_) | SealError::NoToken => {
            Refusal::new(Reason::UnsealFailed, error.to_string())
        }
        SealError::PassphraseMissing | SealError::PassphraseTooShort | SealError::NoShares | SealError::NoQuorum => {
            Refusal::new(Reason::InvalidArgument, error.to_string())
        }
        SealError::NoSlot(_) => Refusal::new(Reason::NotFound, error.to_string()),
        SealError::SecondFile => Refusal::new(Reason::AlreadyExists, error.to_string()),
        SealError::LastSlot | SealError::Staged(_) | SealError::Changing => {
            Refusal::new(Reason::PreconditionFailed, error.to_string())
        }
        SealError::TooMany | SealError::TooManyEpochs => Refusal::new(Reason::LimitExceeded, error.to_string()),
        SealError::OtherCluster { .. } => Refusal::new(Reason::AlreadyInitialized, error.to_string()),
        SealError::Memory(_) | SealError::Folder(_) => internal(error),
    }
}

/// A fault of ours, told to whoever runs this node: these calls are made by its operator.
pub(crate) fn internal(error: &dyn std::fmt::Display) -> Refusal {
    tracing::error!(%error, "the node could not be opened");
    Refusal::new(Reason::Internal, error.to_string())
}

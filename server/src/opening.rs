//! From a root key to an open node: Raft restored, the audit log checked against what is anchored, the node's tasks begun.

use std::sync::Arc;

use audit::{Head, LogName};
use axum::response::IntoResponse;
use chancery_client::tls::{self, PinSet, PinnedClients, PinnedServers};
use proto::member::v1::member_service_server::MemberServiceServer;
use raft::{Config, Members, Peering, RaftHandle};
use rustls::pki_types::CertificateDer;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use types::{NodeId, SpkiHash, limits};

use crate::audit_store::{self, AuditStore};
use crate::authority::AuthorityDesk;
use crate::backup::schedule::Schedule;
use crate::core::Core;
use crate::duties::Duties;
use crate::envelope::StorageEnvelope;
use crate::erasing;
use crate::fence::Fences;
use crate::introduced::{Asking, Introduced};
use crate::keyring::Keyring;
use crate::leading::Leading;
use crate::lease::Lease;
use crate::ledger::LedgerDesk;
use crate::machine::{Ends, StateMachine};
use crate::member::Member;
use crate::membership::{Membership, read_members};
use crate::node::Node;
use crate::pinning::Pinning;
use crate::recorder::Recorder;
use crate::rekey::Rekeying;
use crate::root::Root;
use crate::seal::{SealDesk, SealError, SealRecord};
use crate::trust::TrustDesk;
use crate::usage::{self, UsageDesk};
use crate::vouched::RootProof;

/// Why a node could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpeningError {
    /// Raft did not start.
    #[error(transparent)]
    Raft(#[from] raft::OpenError),
    /// The audit log is not what the cluster has anchored, or cannot be read.
    #[error(transparent)]
    Audit(#[from] crate::audit_store::OpenError),
    /// The node's authority keys do not open.
    #[error(transparent)]
    Authority(#[from] crate::authority::DeskError),
    /// No locked memory to be had.
    #[error("cannot lock memory for keys: {0}")]
    Memory(#[from] crypto::locked::LockError),
    /// The seal that gave way is one of those that the cluster has replaced.
    #[error(
        "root key {0} is the active one, and what opened this node does not know it: the shares were replaced \
         (`chancery seal reshare`), the new ones open it"
    )]
    OldShares(u32),
    /// seal.json cannot be read any more.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The data folder failed.
    #[error(transparent)]
    Folder(#[from] crate::folder::FolderError),
    /// TLS could not be set up.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Raft opened, nothing else yet: a node that forms a cluster commits its first entry at this point.
pub(crate) struct Opened {
    pub(crate) raft: RaftHandle<StateMachine>,
    pub(crate) keyring: Arc<Keyring>,
    envelope: Arc<StorageEnvelope>,
    introduced: Arc<Introduced>,
    record: SealRecord,
    membership: Membership,
    ends: Ends,
}

/// Opens Raft with everything that it is handed: the root keys that a seal has given, and the record of the seals.
///
/// # Errors
/// When a file is damaged, foreign or in use.
pub(crate) async fn open_raft(
    node: &Arc<Node>,
    membership: Membership,
    roots: Vec<Root>,
) -> Result<Opened, OpeningError> {
    let (cluster, id) = (membership.cluster(), membership.node());
    let record = crate::seal::read(&node.folder)?.ok_or(SealError::DoesNotOpen)?;
    let active = record.active_epoch();
    let writes = roots.iter().find(|root| root.epoch == active).ok_or(SealError::DoesNotOpen)?;
    let others: Vec<&Root> = roots.iter().filter(|root| root.epoch != active).collect();
    let envelope = Arc::new(StorageEnvelope::new(&others, writes, id)?);
    let keyring = Arc::new(Keyring::new(cluster, roots));
    let (machine, ends) = StateMachine::new(node.config.state_version, keyring.unwrapped());
    let seed_members = read_members(&node.folder)?;
    node.pins.replace(seed_members.all.values().map(|member| member.spki));
    let config = Config::new(cluster, id, node.folder.path());
    let vouch = Arc::new(RootProof { own: id, keyring: Arc::clone(&keyring) });
    let introduced = Arc::new(Introduced::new(seed_members.clone()));
    let peering = peering(node, seed_members, Arc::clone(&introduced), vouch)?;
    let raft = RaftHandle::open(config, machine, Arc::clone(&envelope) as Arc<dyn raft::Envelope>, peering).await?;
    Ok(Opened { raft, keyring, envelope, introduced, record, membership, ends })
}

impl Opened {
    /// Checks the audit log against what Raft has anchored, begins the node's tasks, and hands the core out.
    ///
    /// # Errors
    /// When the audit log is short of its anchored head, or anything does not open.
    pub(crate) async fn finish(self, node: &Arc<Node>, audit: audit_store::Opening) -> Result<Arc<Core>, OpeningError> {
        let Self { raft, keyring, envelope, introduced, record, membership, ends } = self;
        let (cluster, id) = (membership.cluster(), membership.node());
        check_active(&raft, &keyring)?;
        let audit = finish_audit(audit, &raft, id).await?;
        let authority = open_authority(node, &keyring, &record, cluster, id)?;
        let (usage, fetches) = UsageDesk::new(node.metrics.usage.clone());
        let core = Arc::new(Core {
            cluster,
            node: id,
            raft,
            keyring,
            lease: Lease::default(),
            fences: Fences::default(),
            authority,
            envelope,
            seals: SealDesk::new(record),
            trust: TrustDesk::default(),
            introduced,
            ledger: LedgerDesk::new(node.config.ledger.clone(), &node.metrics),
            usage,
            audit,
            stop: node.stop.child_token(),
            tasks: TaskTracker::new(),
        });
        let Ends { leaves, recorded, members } = ends;
        let recorder = Recorder { core: Arc::clone(&core), leaves, recorded };
        core.tasks.spawn(recorder.run());
        let pinning = Pinning { node: Arc::clone(node), core: Arc::clone(&core), members: members.clone() };
        core.tasks.spawn(pinning.run());
        let asking = Asking { node: Arc::clone(node), core: Arc::clone(&core) };
        core.tasks.spawn(asking.run());
        let duties = Duties { node: Arc::clone(node), core: Arc::clone(&core), members };
        core.tasks.spawn(duties.run());
        let schedule = Schedule { node: Arc::clone(node), core: Arc::clone(&core), stop: core.stop.clone() };
        core.tasks.spawn(schedule.run());
        let leading = Leading { node: Arc::clone(node), core: Arc::clone(&core) };
        core.tasks.spawn(leading.clone().run_schedules());
        core.tasks.spawn(leading.clone().run_slow_rotations());
        core.tasks.spawn(leading.run_membership());
        core.tasks.spawn(erasing::run(Arc::clone(&core)));
        core.tasks.spawn(usage::run_fetches(Arc::clone(&core), fetches));
        let rekeying = Rekeying { node: Arc::clone(node), core: Arc::clone(&core) };
        core.tasks.spawn(rekeying.run());
        core.tasks.spawn(Arc::clone(&core).keep_ledger());
        Ok(core)
    }
}

/// As far as this node's own state says; what it learns from the others is looked at on each tick.
fn check_active(raft: &RaftHandle<StateMachine>, keyring: &Keyring) -> Result<(), OpeningError> {
    let view = raft.state();
    let active = view.state.state.root_keys().and_then(|row| Some((row.epoch, row.id?)));
    match active {
        // One that is behind may not have the root keys of the past.
        Some((epoch, id))
            if keyring.named(epoch, id).is_none()
                && keyring.roots().last().is_some_and(|newest| newest.epoch < epoch) =>
        {
            Err(OpeningError::OldShares(epoch))
        }
        _ => Ok(()),
    }
}

fn open_authority(
    node: &Arc<Node>,
    keyring: &Keyring,
    record: &SealRecord,
    cluster: types::ClusterId,
    id: NodeId,
) -> Result<AuthorityDesk, OpeningError> {
    let roots = keyring.roots();
    let active = record.active_epoch();
    let active = roots.iter().find(|root| root.epoch == active).ok_or(SealError::DoesNotOpen)?;
    Ok(AuthorityDesk::open(&node.folder, &roots, active, cluster, id)?)
}

/// The part of the audit store that needs nothing of Raft's. It makes the folder by which a node that has served is told from
/// one that has not: whoever forms a cluster begins it once `node.json` is written.
pub(crate) async fn begin_audit(node: &Arc<Node>, id: NodeId) -> Result<audit_store::Opening, OpeningError> {
    let (folder, reserve) = (node.folder.join("audit"), node.config.audit_reserve_bytes);
    Ok(on_disk(move || audit_store::Opening::begin(&folder, id, reserve)).await?)
}

/// Opens the audit store with the heads that this node's own state holds: what is anchored must be there.
async fn finish_audit(
    begun: audit_store::Opening,
    raft: &RaftHandle<StateMachine>,
    id: NodeId,
) -> Result<AuditStore, OpeningError> {
    let own = LogName::Node(id);
    // The cluster log is made again by replay above the last snapshot, so only this node's own has an anchor here.
    let anchored: Vec<Head> =
        raft.state().state.state.audit_heads().into_iter().filter(|head| head.log == own).collect();
    Ok(on_disk(move || begun.finish(&anchored)).await?)
}

async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// What the peer port is made of: this node's key, and the members' keys pinned on both sides.
fn peering(
    node: &Arc<Node>,
    seed: Members,
    introduced: Arc<Introduced>,
    vouch: Arc<RootProof>,
) -> Result<Peering, OpeningError> {
    let slot = chancery_client::tls::CertificateSlot::new(&node.identity);
    let server_tls = tls::server_config(slot, PinnedClients::new(node.pins.clone()))?;
    let member = MemberServiceServer::new(Member { node: Arc::clone(node) })
        .max_decoding_message_size(2 * limits::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(2 * limits::MESSAGE_BYTES_MAX);
    let (identity, pins) = (node.identity.clone(), node.pins.clone());
    // A configuration is made for each member, since each has one key. It was made once already, so it can be made.
    let fallback = Arc::new(tls::client_config(&identity, PinnedServers::new(PinSet::new([])))?);
    let client_tls = move |_: NodeId, member: &raft::Member| {
        let pinned = PinnedServers::new(PinSet::new([member.spki]));
        tls::client_config(&identity, pinned).map_or_else(|_| Arc::clone(&fallback), Arc::new)
    };
    Ok(Peering {
        listener: Arc::clone(&node.peer_listener),
        server_tls: Arc::new(server_tls),
        client_tls: Arc::new(client_tls),
        key_of: Arc::new(key_of),
        seed,
        // Unless this node has learnt since that they are gone.
        trust: Arc::new(move |id, spki| pins.contains(spki) && introduced.names(id, spki)),
        vouch,
        routes: answered_here(tonic::service::Routes::new(member)),
    })
}

/// Raft's threads carry what members ask of the server; what it takes to answer is not done on them.
fn answered_here(routes: tonic::service::Routes) -> tonic::service::Routes {
    let here = tokio::runtime::Handle::current();
    let answer = move |request: axum::extract::Request, next: axum::middleware::Next| {
        let here = here.clone();
        async move {
            let answering = AbortOnDropHandle::new(here.spawn(next.run(request)));
            answering.await.unwrap_or_else(|_| axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response())
        }
    };
    routes.into_axum_router().layer(axum::middleware::from_fn(answer)).into()
}

/// The key hash of a peer's certificate.
pub(crate) fn key_of(certificate: &CertificateDer<'_>) -> Option<SpkiHash> {
    ca::spki_hash_of_cert(certificate).ok()
}

//! Takes a backup from an open node: what stands in it is gathered first, then it is written in one pass.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use audit::LogName;
use crypto::LockedSecret;
use crypto::recipients::Recipient;
use crypto::sign::P256Signer;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, TryAcquireError};
use types::{Reason, Refusal, limits};

use super::Manifest;
use super::RootKey;
use super::manifest::Maker;
use super::probe::{self, Probe};
use super::write::{Content, Written, write};
use crate::clock;
use crate::core::{Core, StateView};
use crate::ledger::Mark;
use crate::node::Node;

/// How long this node's copy of the cluster's audit log may take to reach the state.
const AUDIT_PATIENCE: Duration = Duration::from_secs(60);

/// Everything that a backup is written from: nothing of it changes any more.
pub(crate) struct Making {
    core: Arc<Core>,
    state: StateView,
    manifest: Manifest,
    recipients: Vec<Recipient>,
    signer: P256Signer,
    roots: Vec<RootKey>,
    probes: Vec<Probe>,
    /// One at a time on a node.
    _turn: OwnedSemaphorePermit,
}

impl Making {
    /// Takes the newest state that the cluster can vouch for, without a quorum this node's own, and makes the probes.
    ///
    /// # Errors
    /// Without recipients, while another backup is made here, or when a stored key does not open.
    pub(crate) async fn begin(node: &Arc<Node>, core: &Arc<Core>) -> Result<Self, Refusal> {
        let recipients = node.config.backup.recipients.clone();
        if recipients.is_empty() {
            let text = "this node has no recipients for backups: set `backup.recipients` in its configuration to what \
                        `chancery backup keygen` prints, and restart it";
            return Err(Refusal::new(Reason::PreconditionFailed, text));
        }
        let turn = Arc::clone(&node.backups).try_acquire_owned().map_err(|error| match error {
            TryAcquireError::NoPermits => {
                Refusal::new(Reason::PreconditionFailed, "a backup is being made on this node: try again later")
            }
            TryAcquireError::Closed => crate::core::no_leader(),
        })?;
        let state = match core.fresh_state().await {
            Ok(state) => state,
            Err(refusal) => {
                tracing::warn!(%refusal, "the backup is of this node's own state: the cluster cannot say what is newest");
                core.state()
            }
        };
        audit_reaches(core, &state).await?;
        let keys = Arc::clone(core);
        let gathered = tokio::task::spawn_blocking(move || Gathered::from(&keys, &state, &recipients, turn));
        // A ledger that ends before a backup does not account for what comes after it.
        if let Err(refusal) = core.tell_ledger(Mark::Now).await {
            tracing::warn!(%refusal, "the ledger may end before this backup");
        }
        let Gathered { state, manifest, recipients, signer, roots, probes, turn } =
            gathered.await.map_err(|error| Refusal::new(Reason::Internal, error.to_string()))??;
        Ok(Self { core: Arc::clone(core), state, manifest, recipients, signer, roots, probes, _turn: turn })
    }

    /// What it will say of itself.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Writes it; blocks, on a thread of the runtime.
    ///
    /// # Errors
    /// Those of `out`, and when the audit log cannot be read.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<Written> {
        let (handle, end) = (Handle::current(), self.manifest.audit_leaves);
        let Self { core, state, manifest, recipients, signer, roots, probes, .. } = self;
        let content = Content { manifest, recipients, signer, roots, probes, state };
        write(out, &content, &mut |take| {
            let mut next = 0;
            while next < end {
                let limit = usize::try_from(end - next).unwrap_or(usize::MAX).min(limits::PAGE_SIZE_MAX);
                let page = handle.block_on(core.audit.leaves(LogName::Cluster, next, limit));
                let page = page.map_err(io::Error::other)?;
                if page.is_empty() {
                    return Err(io::Error::other("the audit log is shorter than it was"));
                }
                for leaf in page {
                    take(&leaf)?;
                    next += 1;
                }
            }
            Ok(())
        })
    }
}

/// What is drawn and opened for a backup, off the threads that answer others.
struct Gathered {
    state: StateView,
    manifest: Manifest,
    recipients: Vec<Recipient>,
    signer: P256Signer,
    roots: Vec<RootKey>,
    probes: Vec<Probe>,
    turn: OwnedSemaphorePermit,
}

impl Gathered {
    fn from(
        core: &Core,
        state: &StateView,
        recipients: &[Recipient],
        turn: OwnedSemaphorePermit,
    ) -> Result<Self, Refusal> {
        let internal = |error: &dyn std::fmt::Display| Refusal::new(Reason::Internal, error.to_string());
        let row = state.cluster().ok_or_else(|| Refusal::new(Reason::NotInitialized, "there is no cluster yet"))?;
        let pkcs8 = core.keyring.cluster_key(state.root_epoch(), &row.key_wrapped)?;
        let signer = P256Signer::from_pkcs8(pkcs8.expose()).map_err(|error| internal(&error))?;
        // Everything in the state is wrapped under the active one.
        let root = core.keyring.root(state.root_epoch())?;
        let key = LockedSecret::new(root.dangerous_bytes()).map_err(|error| internal(&error))?;
        let roots = vec![RootKey { epoch: root.epoch, key }];
        let probes = probe::make_all(state, &core.keyring)?;
        let maker = Maker { node: core.node, term: core.raft.status().term, now: clock::now() };
        let epochs = roots.iter().map(|root| root.epoch).collect();
        let manifest = Manifest::of(state, maker, epochs, recipients);
        let manifest = manifest.ok_or_else(|| internal(&"there is no cluster yet"))?;
        let recipients = recipients.to_vec();
        Ok(Self { state: state.clone(), manifest, recipients, signer, roots, probes, turn })
    }
}

/// Waits until every record that the state stands for is in this node's copy of the audit log.
async fn audit_reaches(core: &Core, state: &StateView) -> Result<(), Refusal> {
    let needed = state.cluster_audit_head().size;
    let short = || {
        let text = "this node's copy of the cluster's audit log is not complete: try again, or on another node";
        Refusal::new(Reason::AuditUnavailable, text)
    };
    let mut head = core.audit.subscribe(LogName::Cluster).ok_or_else(short)?;
    let reached = head.wait_for(|head| head.size >= needed);
    tokio::time::timeout(AUDIT_PATIENCE, reached).await.map_err(|_| short())?.map(drop).map_err(|_| short())
}

//! Entries become state: openraft's state machine around a [`Machine`].
//!
//! After each batch the new state is published, then the proposers get their replies: whoever has a reply can read
//! what it changed. Snapshots are written from an O(1) clone on a blocking thread while applying goes on.

use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use openraft::EntryPayload;
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use tokio::sync::watch;

use crate::config::APPLY_BATCH;
use crate::machine::{Machine, View};
use crate::member::Members;
use crate::snapshot::{Shelf, SnapshotFile};
use crate::system::{blocking, in_place};
use crate::type_config::{
    LogId, Payload, Reply, Snapshot, SnapshotMeta, StoredMembership, TypeConfig, log_id_parts, members_of,
};

/// The applied state as readers see it.
pub(crate) type Published<M> = watch::Sender<Arc<View<<M as Machine>::Snapshot>>>;

/// openraft's view of a [`Machine`].
pub(crate) struct Applier<M: Machine> {
    machine: M,
    applied: Option<LogId>,
    membership: StoredMembership,
    /// Until [`Applier::restored`]: the states on the way are nobody's, and each that is published has to be copied where
    /// the next entry changes it.
    restoring: bool,
    views: Published<M>,
    members: watch::Sender<Arc<Members>>,
    shelf: Shelf,
}

/// Writes one snapshot.
pub(crate) struct Builder<M: Machine> {
    /// Until it is written: what was changed meanwhile is let go where it is written, because that takes a while.
    state: Option<M::Snapshot>,
    meta: SnapshotMeta,
    shelf: Shelf,
}

impl<M: Machine> Applier<M> {
    /// Starts from the newest good snapshot, or from the machine as it is; blocks.
    pub(crate) fn start(
        machine: M,
        shelf: Shelf,
        newest: Option<&SnapshotFile>,
        members: watch::Sender<Arc<Members>>,
    ) -> io::Result<Self> {
        let (views, _) = watch::channel(Arc::new(View { applied: 0, state: machine.snapshot() }));
        let membership = StoredMembership::default();
        let mut applier = Self { machine, applied: None, membership, restoring: true, views, members, shelf };
        if let Some(file) = newest {
            applier.load(file)?;
        }
        Ok(applier)
    }

    pub(crate) fn views(&self) -> Published<M> {
        self.views.clone()
    }

    /// What had been committed before this start is applied: from here on each state is somebody's.
    pub(crate) fn restored(&mut self) {
        self.restoring = false;
        self.publish();
    }

    /// Replaces the state with a snapshot's.
    fn load(&mut self, file: &SnapshotFile) -> io::Result<()> {
        let mut reader = self.shelf.reader(file)?;
        self.machine.read_snapshot(&mut reader)?;
        if reader.next_chunk()?.is_some() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the snapshot is longer than the state it holds"));
        }
        self.applied = file.meta().last_log_id;
        self.change_members(file.meta().last_membership.clone());
        if !self.restoring {
            self.publish();
        }
        Ok(())
    }

    fn change_members(&mut self, membership: StoredMembership) {
        let members = members_of(membership.membership());
        let index = membership.log_id().as_ref().map_or(0, |id| id.index);
        self.machine.applied_members(index, &members);
        self.members.send_replace(Arc::new(members));
        self.membership = membership;
    }

    fn publish(&self) {
        let applied = self.applied.as_ref().map_or(0, |id| log_id_parts(id).1);
        self.views.send_replace(Arc::new(View { applied, state: self.machine.snapshot() }));
    }

    fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() }
    }
}

impl<M: Machine> RaftStateMachine<TypeConfig> for Applier<M> {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder<M>;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + openraft::OptionalSend,
    {
        let batch_size = usize::try_from(APPLY_BATCH).unwrap_or(1);
        let mut batches = entries.ready_chunks(batch_size);
        let mut replies: Vec<(ApplyResponder<TypeConfig>, Reply)> = Vec::new();
        while let Some(batch) = batches.next().await {
            let full = batch.len() >= batch_size;
            for entry in batch {
                let (entry, responder) = entry?;
                let reply = match entry.payload {
                    EntryPayload::Blank => Vec::new(),
                    EntryPayload::Normal(Payload(bytes)) => {
                        let reply = self.machine.apply(entry.log_id.index, &bytes);
                        self.machine.check()?;
                        reply
                    }
                    EntryPayload::Membership(membership) => {
                        self.change_members(StoredMembership::new(Some(entry.log_id), membership));
                        Vec::new()
                    }
                };
                self.applied = Some(entry.log_id);
                replies.extend(responder.map(|responder| (responder, Reply(reply))));
            }
            // Published before anyone is answered: a proposer reads its own write.
            self.restoring &= replies.is_empty();
            if !self.restoring {
                self.publish();
            }
            for (responder, reply) in replies.drain(..) {
                responder.send(reply);
            }
            // Much is behind it, and heartbeats are to be answered meanwhile.
            if full {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder<M> {
        Builder { state: Some(self.machine.snapshot()), meta: self.meta(), shelf: self.shelf.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotFile) -> io::Result<()> {
        if snapshot.meta() != meta {
            return Err(io::Error::other("the snapshot is not the one that was announced"));
        }
        // On the shelf first: a crash after this line starts from it.
        let shelf = self.shelf.clone();
        let file = blocking(move || shelf.put(&snapshot)).await?;
        // A large one takes seconds, in which heartbeats are to be answered.
        in_place(|| self.load(&file))
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot<SnapshotFile>>> {
        let shelf = self.shelf.clone();
        let newest = blocking(move || shelf.newest()).await?;
        Ok(newest.map(|file| Snapshot { meta: file.meta().clone(), snapshot: file }))
    }
}

impl<M: Machine> RaftSnapshotBuilder<TypeConfig> for Builder<M> {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot<SnapshotFile>> {
        let (state, meta, shelf) = (self.state.take(), self.meta.clone(), self.shelf.clone());
        let built = blocking(move || {
            let state = state.ok_or_else(|| io::Error::other("this snapshot was written before"))?;
            let (mut writer, file) = shelf.begin(&meta)?;
            let written = M::write_snapshot(&state, &mut |bytes| writer.write(bytes))
                .and_then(|()| writer.finish())
                .and_then(|_| shelf.put(&file));
            if written.is_err() {
                Shelf::discard(&file);
            }
            written
        })
        .await;
        let file = match built {
            Ok(file) => file,
            // openraft stops a node whose snapshot fails, but a full disk is no reason to stop serving: the previous
            // snapshot still stands, and the log is not purged. `duties.rs` tries again.
            Err(error) => {
                tracing::error!(%error, "the snapshot was not written; the previous one stays");
                let shelf = self.shelf.clone();
                blocking(move || shelf.newest()).await?.ok_or(error)?
            }
        };
        Ok(Snapshot { meta: file.meta().clone(), snapshot: file })
    }
}

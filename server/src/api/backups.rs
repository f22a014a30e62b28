//! `BackupService`: a backup as a stream, and what the node keeps by itself (docs/spec/backup.md).

use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;

use ::audit::{Detail, Event, Outcome};
use proto::cluster::v1 as wire;
use proto::cluster::v1::backup_service_server::BackupService;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use types::{Action, Millis, Principal, Reason, Refusal, Time};

use super::Api;
use crate::backup::making::Making;
use crate::backup::{self, Kept, hex};
use crate::clock;
use crate::core::{Core, StateView};
use crate::request::authn::Caller;
use crate::request::query::{self, Consistency, Query};
use crate::request::target::Target;
use crate::wire::status::status;
use crate::wire::time;

/// Bytes in one message of the stream.
const CHUNK_BYTES: usize = 256 * 1_024;
/// Messages that wait for a slow reader.
const CHUNKS_WAITING: usize = 4;

#[tonic::async_trait]
impl BackupService for Api {
    type CreateBackupStream = Pin<Box<dyn Stream<Item = Result<wire::CreateBackupResponse, Status>> + Send>>;

    async fn create_backup(
        &self,
        request: Request<wire::CreateBackupRequest>,
    ) -> Result<Response<Self::CreateBackupStream>, Status> {
        query::serve(&self.node, request).await
    }

    async fn list_backups(
        &self,
        request: Request<wire::ListBackupsRequest>,
    ) -> Result<Response<wire::ListBackupsResponse>, Status> {
        query::serve(&self.node, request).await
    }
}

impl Query for wire::CreateBackupRequest {
    const ACTION: Action = Action::CreateBackup;
    // A survivor without a quorum, and so without a lease, is what most needs a backup. What leaves it is sealed.
    const CONSISTENCY: Consistency = Consistency::Local;
    const UNDER_LEASE: bool = false;
    type Answer = <Api as BackupService>::CreateBackupStream;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(Self::Answer, Detail), Refusal> {
        let core = desk.node.core()?;
        let making = Making::begin(desk.node, &core).await?;
        let manifest = making.manifest();
        let detail = Detail::new()
            .count("index", manifest.index)
            .count("generation", manifest.generation)
            .count("recipients", manifest.recipients.len() as u64)
            .text("recipient", manifest.recipients.first().map_or("", String::as_str));
        let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
        let sending = Sending { core: Arc::clone(&core), caller: desk.caller.principal.clone(), making, sender };
        core.tasks.spawn(sending.run());
        Ok((Box::pin(ReceiverStream::new(receiver)), detail))
    }
}

type Message = Result<wire::CreateBackupResponse, Status>;

/// A backup on its way to a caller.
struct Sending {
    core: Arc<Core>,
    caller: Principal,
    making: Making,
    sender: mpsc::Sender<Message>,
}

impl Sending {
    /// Sends it to its end, and records that it was handed out whole, or was not.
    async fn run(self) {
        let Self { core, caller, making, sender } = self;
        let out = Outgoing { core: Arc::clone(&core), sender: sender.clone(), buffer: Vec::new() };
        let written = tokio::task::spawn_blocking(move || {
            let mut out = out;
            let written = making.write(&mut out)?;
            out.send().map(|()| written)
        });
        let mut event = Event::allowed(clock::now(), caller, Action::CreateBackup);
        let written = written.await.map_err(io::Error::other).and_then(|written| written);
        match &written {
            Ok(written) => {
                let sum = hex(&written.body_sha256);
                event.detail = Detail::new().count("bytes", written.bytes).text("body_sha256", &sum);
            }
            Err(error) => {
                tracing::warn!(%error, "a backup was not handed out whole");
                event.outcome = Outcome::Fail(Reason::Internal);
            }
        }
        // The end of the stream waits for the record, as any answer does.
        let recorded = core.record(event).await;
        let failed = match (written, recorded) {
            (Ok(_), Ok(())) => return,
            (Err(error), _) => Refusal::new(Reason::Internal, format!("the backup was not written: {error}")),
            (Ok(_), Err(refusal)) => refusal,
        };
        // Whoever is gone cannot be told.
        let _ = sender.send(Err(status(&failed))).await;
    }
}

/// The blocking end of the stream. A reader that does not read must not hold up a node that closes.
struct Outgoing {
    core: Arc<Core>,
    sender: mpsc::Sender<Message>,
    buffer: Vec<u8>,
}

impl Outgoing {
    fn send(&mut self) -> io::Result<()> {
        let chunk = std::mem::take(&mut self.buffer);
        let sent = Handle::current().block_on(async {
            tokio::select! {
                () = self.core.stop.cancelled() => false,
                sent = self.sender.send(Ok(wire::CreateBackupResponse { chunk })) => sent.is_ok(),
            }
        });
        if sent { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }
}

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK_BYTES.saturating_sub(self.buffer.len()).min(bytes.len());
        self.buffer.extend_from_slice(bytes.get(..room).unwrap_or_default());
        if self.buffer.len() >= CHUNK_BYTES {
            self.send()?;
        }
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Query for wire::ListBackupsRequest {
    const ACTION: Action = Action::ListBackups;
    const CONSISTENCY: Consistency = Consistency::Local;
    type Answer = wire::ListBackupsResponse;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::ListBackupsResponse, Detail), Refusal> {
        let settings = &desk.node.config.backup;
        let internal = |error: &dyn std::fmt::Display| Refusal::new(Reason::Internal, error.to_string());
        let kept = match settings.folder.clone().filter(|folder| folder.exists()) {
            None => Vec::new(),
            Some(folder) => {
                let listed = tokio::task::spawn_blocking(move || backup::list(&folder)).await;
                listed.map_err(|error| internal(&error))?.map_err(|error| internal(&error))?
            }
        };
        let every = settings.every.map(|every| Millis(u64::try_from(every.as_millis()).unwrap_or(u64::MAX)));
        let detail = Detail::new().count("items", kept.len() as u64);
        let answer = wire::ListBackupsResponse {
            node: desk.core.node.0,
            folder: settings.folder.as_ref().map(|folder| folder.display().to_string()).unwrap_or_default(),
            interval: every.map(time::duration),
            keep: u32::try_from(settings.keep).unwrap_or(u32::MAX),
            recipients: settings.recipients.iter().map(ToString::to_string).collect(),
            backups: kept.into_iter().map(listed).collect(),
        };
        Ok((answer, detail))
    }
}

fn listed(kept: Kept) -> wire::Backup {
    let Kept { name, bytes, manifest } = kept;
    let Some(manifest) = manifest else {
        return wire::Backup { name, size_bytes: bytes, unreadable: true, ..wire::Backup::default() };
    };
    wire::Backup {
        name,
        size_bytes: bytes,
        create_time: time::timestamp(Time(manifest.created_time_ms)),
        generation: manifest.generation,
        index: manifest.index,
        state_time: time::timestamp(Time(manifest.state_time_ms)),
        node: manifest.node,
        keys: manifest.keys,
        unreadable: false,
        recipients: manifest.recipients,
    }
}

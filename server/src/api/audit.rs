//! `AuditService`: the logs of the node that answers, to be read, followed, searched and verified elsewhere.

use std::pin::Pin;
use std::sync::Arc;

use ::audit::{Detail, LogName, Record};
use proto::audit::v1 as wire;
use proto::audit::v1::audit_service_server::AuditService;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use types::{Action, Principal, Reason, Refusal, limits};

use super::Api;
use crate::audit_store::{OutcomeKind, Query as Search, ReadError};
use crate::core::{Core, StateView, judging_time};
use crate::request::authn::Caller;
use crate::request::decide::decide;
use crate::request::query::{self, Consistency, Query};
use crate::request::target::Target;
use crate::wire::status::status;
use crate::wire::{audit, page, time};

#[tonic::async_trait]
impl AuditService for Api {
    type TailStream = Pin<Box<dyn Stream<Item = Result<wire::Record, Status>> + Send>>;

    async fn list_records(
        &self,
        request: Request<wire::ListRecordsRequest>,
    ) -> Result<Response<wire::ListRecordsResponse>, Status> {
        query::serve(&self.node, request).await
    }

    async fn tail(&self, request: Request<wire::TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        query::serve(&self.node, request).await
    }

    async fn search(&self, request: Request<wire::SearchRequest>) -> Result<Response<wire::SearchResponse>, Status> {
        query::serve(&self.node, request).await
    }

    async fn get_heads(
        &self,
        request: Request<wire::GetHeadsRequest>,
    ) -> Result<Response<wire::GetHeadsResponse>, Status> {
        query::serve(&self.node, request).await
    }
}

fn unreadable(error: &ReadError) -> Refusal {
    match error {
        ReadError::UnknownLog(log) => Refusal::not_found("log", log),
        ReadError::PageToken => {
            Refusal::new(Reason::InvalidArgument, "`page_token` is not one that this search returned")
        }
        error => {
            tracing::error!(%error, "the audit log cannot be read");
            Refusal::new(Reason::Internal, format!("the audit log cannot be read: {error}"))
        }
    }
}

/// A record with its leaf: the encoding is canonical, so the leaf is the record written again.
fn shown(record: &Record) -> wire::Record {
    audit::record(record, record.to_leaf())
}

impl Query for wire::ListRecordsRequest {
    const ACTION: Action = Action::ListRecords;
    const CONSISTENCY: Consistency = Consistency::Local;
    type Answer = wire::ListRecordsResponse;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::ListRecordsResponse, Detail), Refusal> {
        let log = audit::log(&self.log)?;
        let size = page::size(self.page_size)?;
        let log_size = desk.core.audit.head(log).map_or(0, |head| head.size);
        let records = desk.core.audit.records(log, self.start_index, size).await.map_err(|error| unreadable(&error))?;
        let records: Vec<_> = records.iter().map(shown).collect();
        let detail = Detail::new().text("log", &log.to_string()).count("items", records.len() as u64);
        Ok((wire::ListRecordsResponse { records, log_size }, detail))
    }
}

impl Query for wire::GetHeadsRequest {
    const ACTION: Action = Action::GetHead;
    const CONSISTENCY: Consistency = Consistency::Local;
    type Answer = wire::GetHeadsResponse;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::GetHeadsResponse, Detail), Refusal> {
        let logs = [LogName::Cluster, desk.core.audit.node_log()];
        let held = logs.iter().filter_map(|log| desk.core.audit.head(*log)).map(|head| audit::head(&head)).collect();
        let anchored = desk.state.audit_heads().iter().map(audit::head).collect();
        Ok((wire::GetHeadsResponse { held, anchored }, Detail::new()))
    }
}

impl Query for wire::SearchRequest {
    const ACTION: Action = Action::SearchRecords;
    const CONSISTENCY: Consistency = Consistency::Local;
    type Answer = wire::SearchResponse;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::SearchResponse, Detail), Refusal> {
        let outcome = match self.outcome.as_str() {
            "" => None,
            text => Some(OutcomeKind::parse(text).ok_or_else(|| {
                Refusal::new(Reason::InvalidArgument, format!("`{text}` is not an outcome: use allow, deny or fail"))
            })?),
        };
        let given = |text: String| (!text.is_empty()).then_some(text);
        let start = self.start_time.as_ref().map(|start| time::time("start_time", start)).transpose()?;
        let end = self.end_time.as_ref().map(|end| time::time("end_time", end)).transpose()?;
        let principal = given(self.principal).map(|text| {
            Principal::parse(&text).ok_or_else(|| {
                Refusal::new(Reason::InvalidArgument, format!("`{text}` is not a principal: use operators/{{name}}"))
            })
        });
        let search = Search {
            log: None,
            principal: principal.transpose()?,
            resource_prefix: given(self.resource),
            from: start,
            until: end,
            outcome,
        };
        let size = page::size(self.page_size)?;
        let found = desk.core.audit.search(search, size, given(self.page_token)).await;
        let found = found.map_err(|error| unreadable(&error))?;
        let records: Vec<_> = found.records.iter().map(shown).collect();
        let detail = Detail::new().count("items", records.len() as u64);
        Ok((wire::SearchResponse { records, next_page_token: found.next.unwrap_or_default() }, detail))
    }
}

impl Query for wire::TailRequest {
    const ACTION: Action = Action::TailRecords;
    const CONSISTENCY: Consistency = Consistency::Local;
    type Answer = <Api as AuditService>::TailStream;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(Self::Answer, Detail), Refusal> {
        let (sender, receiver) = mpsc::channel(limits::PAGE_SIZE_DEFAULT);
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX).min(limits::PAGE_SIZE_MAX);
        let caller = desk.caller.principal.clone();
        let draining = desk.node.draining();
        let tail = Tail { core: desk.node.core()?, draining, caller, limit, follow: self.follow, sender };
        desk.core.tasks.spawn(tail.run());
        Ok((Box::pin(ReceiverStream::new(receiver)), Detail::new().count("limit", limit as u64)))
    }
}

/// One follower of the logs: the newest records of both in the order of their times, then each as it comes.
struct Tail {
    core: Arc<Core>,
    draining: CancellationToken,
    caller: Principal,
    limit: usize,
    follow: bool,
    sender: mpsc::Sender<Result<wire::Record, Status>>,
}

impl Tail {
    async fn run(self) {
        // What ends a tail is told to its reader, unless the reader or the node is gone.
        if let Err(refusal) = self.follow().await {
            self.send(Err(status(&refusal))).await;
        }
    }

    async fn follow(&self) -> Result<(), Refusal> {
        let logs = [LogName::Cluster, self.core.audit.node_log()];
        let mut heads: Vec<_> = logs.iter().filter_map(|log| self.core.audit.subscribe(*log)).collect();
        let mut next: Vec<u64> = heads.iter_mut().map(|head| head.borrow_and_update().size).collect();
        let mut newest = Vec::new();
        for (log, size) in logs.iter().zip(&next) {
            newest.extend(self.read(*log, size.saturating_sub(self.limit as u64), self.limit).await?);
        }
        newest.sort_by_key(|record| record.event.at);
        let skipped = newest.len().saturating_sub(self.limit);
        if !self.send_all(newest.iter().skip(skipped)).await || !self.follow {
            return Ok(());
        }
        while self.changed(&mut heads).await {
            self.check_right()?;
            for (log, next) in logs.iter().zip(&mut next) {
                let records = self.read(*log, *next, limits::PAGE_SIZE_MAX).await?;
                *next += records.len() as u64;
                if !self.send_all(records.iter()).await {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A reader whose enrolment or role was taken away reads no further.
    fn check_right(&self) -> Result<(), Refusal> {
        let state = self.core.state();
        let is_operator = matches!(self.caller, Principal::Operator(_));
        if is_operator && state.check_standing(&self.caller, judging_time(&state)).is_err() {
            return Err(Refusal::new(Reason::CredentialRejected, "the credential was revoked or has expired"));
        }
        decide(&state, &self.caller, Action::TailRecords, &Target::Cluster)
    }

    async fn read(&self, log: LogName, from: u64, limit: usize) -> Result<Vec<Record>, Refusal> {
        self.core.audit.records(log, from, limit).await.map_err(|error| unreadable(&error))
    }

    async fn send_all(&self, records: impl Iterator<Item = &Record>) -> bool {
        for record in records {
            if !self.send(Ok(shown(record))).await {
                return false;
            }
        }
        true
    }

    /// False when the reader or the node is gone: a reader that does not read must not hold up a node that closes.
    async fn send(&self, message: Result<wire::Record, Status>) -> bool {
        tokio::select! {
            () = self.core.stop.cancelled() => false,
            sent = self.sender.send(message) => sent.is_ok(),
        }
    }

    /// Waits for either log to move; false when the follower or the node is gone.
    async fn changed(&self, heads: &mut [tokio::sync::watch::Receiver<::audit::Head>]) -> bool {
        let any = futures::future::select_all(heads.iter_mut().map(|head| Box::pin(head.changed())));
        tokio::select! {
            () = self.core.stop.cancelled() => false,
            () = self.draining.cancelled() => false,
            () = self.sender.closed() => false,
            (changed, ..) = any => changed.is_ok(),
        }
    }
}

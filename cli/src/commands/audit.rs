//! `chancery audit`: reading the record, and checking it without trusting the nodes that keep it.

use audit::verify::Verifier;
use audit::{Hash, Head as AuditHead, LogName};
use chancery_client::proto::audit::v1::{
    GetHeadsRequest, GetHeadsResponse, Head, ListRecordsRequest, Record, SearchRequest, TailRequest,
};
use chancery_client::{Client, Error};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::pages::PAGE_SIZE;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, of_one_node};
use crate::output::{self, Format, Show, Table, line, note, printable};
use crate::values::{now, time_or_ago, to_wire_time};
use crate::views::rfc3339;

/// Between two questions to a node that has not caught up.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(100);

/// The verbs of `audit`.
#[derive(Subcommand, Debug)]
pub(crate) enum AuditCommand {
    /// Show the newest records of the answering node
    Tail(TailArgs),
    /// Search the logs of the answering node, newest first
    Search(SearchArgs),
    /// Read every log of every node and check it against what Raft has anchored
    Verify,
}

/// Arguments of `audit tail`.
#[derive(Args, Debug)]
pub(crate) struct TailArgs {
    /// How many records to begin with
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: u32,
    /// Go on with each record as it comes
    #[arg(short, long)]
    follow: bool,
}

/// Arguments of `audit search`.
#[derive(Args, Debug)]
pub(crate) struct SearchArgs {
    /// Exactly this principal, for example operators/root
    #[arg(long, value_name = "PRINCIPAL")]
    principal: Option<String>,
    /// This resource and everything under it
    #[arg(long, value_name = "RESOURCE")]
    resource: Option<String>,
    /// Not before this time (RFC 3339), or this long ago (1h)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this time (RFC 3339), or this long ago (1h)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only what ended so
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<OutcomeArg>,
    /// At most this many records
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// How an action ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum OutcomeArg {
    /// It was done
    Allow,
    /// It was refused
    Deny,
    /// It failed
    Fail,
}

#[derive(Serialize)]
struct RecordView {
    log: String,
    index: u64,
    time: Option<String>,
    principal: String,
    action: String,
    resource: String,
    outcome: String,
    reason: String,
    request_id: String,
    detail: BTreeMap<String, String>,
}

impl From<Record> for RecordView {
    fn from(wire: Record) -> Self {
        Self {
            time: rfc3339(wire.time.as_ref()),
            log: wire.log,
            index: wire.index,
            principal: wire.principal,
            action: wire.action,
            resource: wire.resource,
            outcome: wire.outcome,
            reason: wire.reason,
            request_id: wire.request_id,
            detail: wire.detail.into_iter().collect(),
        }
    }
}

impl Show for RecordView {
    /// `14:53:09 allow operators/root KeyService.RotateKey keys/invoices #431`
    fn text(&self) -> String {
        let clock = self.time.as_deref().and_then(|time| time.get(11..19)).unwrap_or("-");
        let number = match self.log.as_str() {
            "cluster" => format!("#{}", self.index),
            log => format!("#{log}/{}", self.index),
        };
        let resource = self.resource.strip_prefix("namespaces/").and_then(|rest| rest.split_once('/'));
        let resource = resource.map_or(self.resource.as_str(), |(_, rest)| rest);
        let parts = [clock, &self.outcome, &self.principal, &self.action, resource, &self.reason, &number];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        printable(&parts.join(" "))
    }
}

/// Runs a verb.
pub(crate) async fn run(command: AuditCommand, context: &Context) -> Result<(), Failure> {
    let client = context.client().await?;
    match command {
        AuditCommand::Tail(args) => tail(&args, &client, context).await,
        AuditCommand::Search(args) => search(args, &client, context).await,
        AuditCommand::Verify => verify(&client, context).await,
    }
}

async fn tail(args: &TailArgs, client: &Client, context: &Context) -> Result<(), Failure> {
    let mut records = client.audit().tail(TailRequest { limit: args.limit, follow: args.follow }).await?;
    while let Some(record) = records.next().await? {
        output::print_item(context.format(), &RecordView::from(record))?;
    }
    Ok(())
}

async fn search(args: SearchArgs, client: &Client, context: &Context) -> Result<(), Failure> {
    let time = |text: Option<String>| match text {
        Some(text) => time_or_ago(&text, now()).map(|time| Some(to_wire_time(time))),
        None => Ok(None),
    };
    let invalid = |why| Failure::new(Exit::Invalid, why);
    let outcome = args.outcome.map_or("", |outcome| match outcome {
        OutcomeArg::Allow => "allow",
        OutcomeArg::Deny => "deny",
        OutcomeArg::Fail => "fail",
    });
    let mut request = SearchRequest {
        principal: args.principal.unwrap_or_default(),
        resource: args.resource.map(|resource| in_full(resource, &context.parent())).unwrap_or_default(),
        start_time: time(args.since).map_err(invalid)?,
        end_time: time(args.until).map_err(invalid)?,
        outcome: outcome.to_owned(),
        page_size: i32::try_from(args.limit).unwrap_or(i32::MAX).min(PAGE_SIZE),
        page_token: String::new(),
    };
    let mut left = usize::try_from(args.limit).unwrap_or(usize::MAX);
    // A page may be short or empty and still have a next one: a call looks at a bounded number of records.
    while left > 0 {
        let page = client.audit().search(request.clone()).await?;
        for record in page.records.into_iter().take(left) {
            left = left.saturating_sub(1);
            output::print_item(context.format(), &RecordView::from(record))?;
        }
        if page.next_page_token.is_empty() || page.next_page_token == request.page_token {
            break;
        }
        request.page_token = page.next_page_token;
    }
    Ok(())
}

/// A resource as records name it: `audit tail` leaves the namespace out, so it is put back.
fn in_full(resource: String, namespace: &str) -> String {
    let is_short = ["keys", "entries"].iter().any(|collection| {
        resource.strip_prefix(collection).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    if is_short { format!("{namespace}/{resource}") } else { resource }
}

/// One log as one node holds it.
#[derive(Serialize)]
struct LogReport {
    node: String,
    log: String,
    records: u64,
    unanchored: u64,
    gaps: u64,
    root: String,
    sound: bool,
    findings: Vec<String>,
    /// Why it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct VerifyReport {
    sound: bool,
    records: u64,
    gaps: u64,
    logs: Vec<LogReport>,
}

impl Show for VerifyReport {
    fn text(&self) -> String {
        let mut table = Table::new(["AT", "LOG", "RECORDS", "UNANCHORED", "GAPS", "STATE"]);
        for log in &self.logs {
            table.row([
                log.node.clone(),
                log.log.clone(),
                log.records.to_string(),
                log.unanchored.to_string(),
                log.gaps.to_string(),
                log.state(),
            ]);
        }
        let verified = self.logs.iter().filter(|log| log.sound).count();
        let (records, gaps, logs) = (self.records, self.gaps, self.logs.len());
        format!("{}\n{records} records, {verified} of {logs} logs verified, {gaps} gaps", table.text())
    }
}

/// What one member says, or why it says nothing.
struct Member {
    address: String,
    client: Client,
    heads: Result<GetHeadsResponse, Error>,
}

async fn verify(client: &Client, context: &Context) -> Result<(), Failure> {
    let mut members = Vec::new();
    for (address, client) in context.members(client).await {
        let heads = client.audit().heads(GetHeadsRequest {}).await;
        members.push(Member { address: address.to_string(), client, heads });
    }
    // Every node's word on what is anchored is held against every log: a node that lies alone is found out.
    let said = members.iter().filter_map(|member| member.heads.as_ref().ok());
    let anchored: Vec<AuditHead> = said.flat_map(|heads| &heads.anchored).filter_map(head).collect();
    let mut logs = Vec::new();
    for member in members {
        logs.extend(verify_node(member, &anchored, context).await);
    }
    conclude(VerifyReport::of(logs), context)
}

/// Prints the report, and fails when something is wrong or was not read.
fn conclude(report: VerifyReport, context: &Context) -> Result<(), Failure> {
    context.print(&report)?;
    if report.sound {
        return Ok(());
    }
    let findings: Vec<&String> = report.logs.iter().flat_map(|log| &log.findings).collect();
    if context.format() == Format::Table {
        for finding in &findings {
            line(&format!("  {}", printable(finding)))?;
        }
    }
    if findings.is_empty() {
        let unread = report.logs.iter().filter(|log| log.error.is_some()).count();
        return Err(Failure::new(Exit::Unavailable, format!("{unread} could not be read, so not all is verified"))
            .hint("chancery cluster status"));
    }
    Err(Failure::new(Exit::Unverified, "the audit logs do not verify"))
}

/// Verifies each log of one node; what could not be read is a row too, and the others are still verified.
async fn verify_node(member: Member, anchored: &[AuditHead], context: &Context) -> Vec<LogReport> {
    let Member { address, client, heads } = member;
    let heads = match heads {
        Ok(heads) => caught_up(&client, heads, anchored, context.timeout()).await,
        Err(error) => return vec![LogReport::unread(&address, "-", &error)],
    };
    let mut reports = Vec::new();
    for held in &heads.held {
        let Some(log) = LogName::parse(&held.log) else {
            note(&format!("{address} holds a log of the unknown name `{}`", printable(&held.log)));
            continue;
        };
        tracing::debug!(address, log = held.log, size = held.size, "verifying");
        let report = verify_one(&address, &client, log, held, anchored).await;
        reports.push(report.unwrap_or_else(|error| LogReport::unread(&address, &held.log, &error)));
    }
    reports
}

/// The node's heads once they reach what is anchored. The members were asked one after the other while the cluster
/// goes on, and a follower applies a little later than others: only a log that stays short is a truncated one.
async fn caught_up(
    node: &Client,
    mut heads: GetHeadsResponse,
    anchored: &[AuditHead],
    patience: Duration,
) -> GetHeadsResponse {
    let start = Instant::now();
    while heads.held.iter().any(|held| is_short(held, anchored)) && start.elapsed() < patience {
        tokio::time::sleep(CATCH_UP_PAUSE).await;
        match node.audit().heads(GetHeadsRequest {}).await {
            Ok(newer) => heads = newer,
            Err(_) => break, // what it said before stands
        }
    }
    heads
}

fn is_short(held: &Head, anchored: &[AuditHead]) -> bool {
    let log = LogName::parse(&held.log);
    anchored.iter().any(|head| Some(head.log) == log && head.size > held.size)
}

impl VerifyReport {
    fn of(logs: Vec<LogReport>) -> Self {
        Self {
            sound: logs.iter().all(|log| log.sound),
            records: logs.iter().map(|log| log.records).sum(),
            gaps: logs.iter().map(|log| log.gaps).sum(),
            logs,
        }
    }
}

impl LogReport {
    /// What stands in the place of a log, or of a whole node, that could not be read.
    fn unread(address: &str, log: &str, error: &Error) -> Self {
        Self {
            node: address.to_owned(),
            log: log.to_owned(),
            records: 0,
            unanchored: 0,
            gaps: 0,
            root: String::new(),
            sound: false,
            findings: Vec::new(),
            error: Some(of_one_node(error)),
        }
    }

    fn state(&self) -> String {
        match (&self.error, self.sound) {
            (Some(error), _) => format!("not read: {error}"),
            (None, true) => "verified".to_owned(),
            (None, false) => "DAMAGED".to_owned(),
        }
    }
}

async fn verify_one(
    address: &str,
    node: &Client,
    log: LogName,
    held: &Head,
    anchored: &[AuditHead],
) -> Result<LogReport, Error> {
    let mut verifier = Verifier::new(log, anchored);
    let mut next = 0;
    // Up to what the node said it holds; what it has added since is for the next run.
    while next < held.size {
        let request = ListRecordsRequest { log: held.log.clone(), start_index: next, page_size: PAGE_SIZE };
        let page = node.audit().list(request).await?;
        let wanted = usize::try_from(held.size - next).unwrap_or(usize::MAX);
        let before = next;
        for record in page.records.iter().take(wanted) {
            verifier.take(&record.leaf);
            next += 1;
        }
        if next == before {
            break; // the node holds less than it said: the verifier finds the gap
        }
    }
    let report = verifier.finish();
    let place = |what: String| format!("{address} {}: {what}", held.log);
    let mut findings: Vec<String> = report.findings.iter().map(|found| place(found.to_string())).collect();
    let said = head(held);
    if said.is_none_or(|said| said != report.head) {
        findings.push(place(format!("its {} records do not give the root that the node itself names", held.size)));
    }
    Ok(LogReport {
        node: address.to_owned(),
        log: held.log.clone(),
        records: report.head.size,
        unanchored: report.unanchored,
        gaps: report.gaps,
        root: report.head.root.to_base64(),
        sound: findings.is_empty(),
        findings,
        error: None,
    })
}

fn head(wire: &Head) -> Option<AuditHead> {
    let root = Hash(<[u8; 32]>::try_from(wire.root.as_slice()).ok()?);
    Some(AuditHead { log: LogName::parse(&wire.log)?, size: wire.size, root })
}

#[cfg(test)]
mod tests {
    use types::Time;

    use super::*;

    #[test]
    fn a_node_that_is_down_is_a_row_and_a_log_behind_is_waited_for() {
        let down = LogReport::unread("127.0.0.1:1", "-", &Error::Unreachable { tried: Vec::new() });
        let report = VerifyReport::of(vec![down]);
        assert!(!report.sound && report.text().contains("not read: no node answered"), "{}", report.text());

        let log = LogName::parse("cluster").expect("a log");
        let anchored = [AuditHead { log, size: 7, root: Hash([0; 32]) }];
        let held = |log: &str, size| Head { log: log.to_owned(), size, ..Head::default() };
        assert!(is_short(&held("cluster", 6), &anchored));
        assert!(!is_short(&held("cluster", 7), &anchored) && !is_short(&held("node-1", 0), &anchored));
    }

    #[test]
    fn a_resource_is_searched_as_it_is_printed() {
        let table = [
            ("keys/invoices", "namespaces/acme/keys/invoices"),
            ("entries", "namespaces/acme/entries"),
            ("keys-of-mine", "keys-of-mine"),
            ("operators/root", "operators/root"),
            ("namespaces/x/keys/a", "namespaces/x/keys/a"),
        ];
        for (typed, full) in table {
            assert_eq!(in_full(typed.to_owned(), "namespaces/acme"), full);
        }
    }

    #[test]
    fn a_record_is_one_line() {
        let record = Record {
            log: "cluster".to_owned(),
            index: 431,
            time: Some(to_wire_time(Time(1_795_358_000_000))),
            principal: "operators/root".to_owned(),
            action: "KeyService.RotateKey".to_owned(),
            resource: "namespaces/default/keys/invoices".to_owned(),
            outcome: "allow".to_owned(),
            ..Record::default()
        };
        let text = |record: Record| RecordView::from(record).text();
        assert_eq!(text(record.clone()), "14:33:20 allow operators/root KeyService.RotateKey keys/invoices #431");
        let denied = Record {
            log: "node-1".to_owned(),
            outcome: "deny".to_owned(),
            reason: "NOT_FOUND".to_owned(),
            resource: "a\nb".to_owned(),
            ..record
        };
        assert_eq!(text(denied), "14:33:20 deny operators/root KeyService.RotateKey a\u{fffd}b NOT_FOUND #node-1/431");
    }
}

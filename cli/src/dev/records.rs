//! Reading the audit logs over the API, as anybody who may can.

use std::time::Duration;

use chancery_client::Client;
use chancery_client::proto::audit::v1::{GetHeadsRequest, ListRecordsRequest, Record};

use super::fault::Fault;
use super::wait::{Asked, until};

/// Records asked for at once: the most that a node gives.
const PAGE: i32 = 1_000;
/// A record is in the log of every node that has applied its entry, which takes about as long as a heartbeat.
const APPLIED: Duration = Duration::from_secs(5);
/// The log of changes.
pub(crate) const CLUSTER: &str = "cluster";

/// How many records the cluster's log has on that node.
pub(crate) async fn size(node: &Client) -> Result<u64, Fault> {
    let heads = node.audit().heads(GetHeadsRequest {}).await?;
    Ok(heads.held.iter().find(|head| head.log == CLUSTER).map_or(0, |head| head.size))
}

/// The records of a log from `start`, each handed to `take`, up to where the log ended when reading began.
pub(crate) async fn read(
    node: &Client,
    log: &str,
    start: u64,
    mut take: impl FnMut(Record) -> Result<(), Fault>,
) -> Result<u64, Fault> {
    let (mut next, mut end) = (start, None);
    loop {
        let request = ListRecordsRequest { log: log.to_owned(), start_index: next, page_size: PAGE };
        let page = node.audit().list(request).await?;
        // Reading is recorded too: the log of the node that answers never ends.
        let end = *end.get_or_insert(page.log_size);
        if page.records.is_empty() && next < end {
            return Err(Fault::new(format!("{log} has {end} records and gives none after {next}")));
        }
        for record in page.records {
            next += 1;
            take(record)?;
        }
        if next >= end {
            return Ok(next);
        }
    }
}

/// The records from `start` that `wanted` picks: waits for the first, then returns all there are.
pub(crate) async fn find(node: &Client, start: u64, wanted: impl Fn(&Record) -> bool) -> Result<Vec<Record>, Fault> {
    until(APPLIED, async || {
        let mut found = Vec::new();
        read(node, CLUSTER, start, |record| {
            found.extend(Some(record).filter(&wanted));
            Ok(())
        })
        .await?;
        Ok(if found.is_empty() { Asked::NotYet("no record of it".to_owned()) } else { Asked::Yes(found) })
    })
    .await
}

/// Whether the record is of a version that was added to that key, and which.
pub(crate) fn added_version(record: &Record, key: &str) -> Option<u32> {
    let is_one = record.action == "KeyService.RotateKey" && record.outcome == "allow" && record.resource == key;
    record.detail.get("version").filter(|_| is_one)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_version_that_was_added_counts() {
        let key = "namespaces/default/keys/orders";
        let record = Record {
            action: "KeyService.RotateKey".to_owned(),
            outcome: "allow".to_owned(),
            resource: key.to_owned(),
            detail: [("version".to_owned(), "7".to_owned())].into(),
            ..Record::default()
        };
        assert_eq!(added_version(&record, key), Some(7));
        let others = [
            Record { outcome: "deny".to_owned(), ..record.clone() },
            Record { action: "KeyService.GetKey".to_owned(), ..record.clone() },
            Record { resource: format!("{key}2"), ..record.clone() },
            Record { detail: [].into(), ..record.clone() },
        ];
        for other in others {
            assert_eq!(added_version(&other, key), None, "{other:?}");
        }
    }
}

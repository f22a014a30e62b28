//! A member whose own snapshots are damaged takes one from another member, before it takes part again.
//!
//! Its vote and the end of its log are whole, so it has forgotten nothing that it promised; what it lacks is committed, so
//! any member's snapshot will do that reaches up to where its own log begins.

use std::time::Duration;

use proto::raft::v1 as wire;
use tokio::time::Instant;
use tonic::Status;
use types::NodeId;

use super::convert;
use super::gate::stamp;
use super::inbox::{Inbox, Received};
use super::pool::Pool;
use crate::config::PEER_CALL_TIMEOUT;
use crate::member::{Member, Members};
use crate::snapshot::{Shelf, SnapshotFile};
use crate::system::blocking;
use crate::type_config::LogId;

/// How soon the members are asked again.
const PAUSE: Duration = Duration::from_millis(250);

/// Asks one member after the other, again and again until `patience` has passed, for a snapshot that reaches `at_least`;
/// returns it from the shelf.
pub(crate) async fn fetch(
    pool: &Pool,
    shelf: &Shelf,
    members: &Members,
    at_least: LogId,
    patience: Duration,
) -> Result<SnapshotFile, String> {
    let others: Vec<_> = members.all.iter().filter(|(id, _)| **id != pool.owner().node).collect();
    let inbox = Inbox::new(shelf.clone());
    let by = Instant::now() + patience;
    let mut last = "there is no other member to ask".to_owned();
    while !others.is_empty() {
        for (id, member) in &others {
            match tokio::time::timeout_at(by, from(pool, &inbox, **id, member, at_least)).await {
                Ok(Ok(file)) => return put(shelf, file).await,
                Ok(Err(status)) => last = format!("{id}: {}", status.message()),
                Err(_) => return Err(last),
            }
        }
        if tokio::time::timeout_at(by, tokio::time::sleep(PAUSE)).await.is_err() {
            break;
        }
    }
    Err(last)
}

async fn from(
    pool: &Pool,
    inbox: &Inbox,
    id: NodeId,
    member: &Member,
    at_least: LogId,
) -> Result<SnapshotFile, Status> {
    let partly = inbox.partly().await?;
    let held = partly.map(|(_, sum)| wire::SnapshotHeld { ballot: None, chunks: sum.chunks, checksum: sum.checksum });
    let query = wire::SnapshotQuery {
        at_least: Some(convert::to_log_id(&at_least)),
        partly: partly.and_then(|(last, _)| last).as_ref().map(convert::to_log_id),
        held,
    };
    let mut client = pool.client(id, pool.lanes(id, member).bulk);
    let request = stamp(pool.owner(), id, query);
    let asked = tokio::time::timeout(PEER_CALL_TIMEOUT, client.fetch_snapshot(request)).await;
    let mut parts = asked.map_err(|_| Status::deadline_exceeded("no answer in time"))??.into_inner();
    tracing::info!(from = %id, "taking a snapshot from a member, because none of this node's own reads");
    let Received { file, .. } = inbox.receive(&mut parts).await?;
    if file.meta().last_log_id < Some(at_least) {
        return Err(Status::failed_precondition("its snapshot does not reach this node's log"));
    }
    Ok(file)
}

/// Reads it back and gives it its place.
async fn put(shelf: &Shelf, file: SnapshotFile) -> Result<SnapshotFile, String> {
    let shelf = shelf.clone();
    let put = blocking(move || shelf.put(&file).inspect_err(|_| Shelf::discard(&file))).await;
    put.map_err(|error| error.to_string())
}

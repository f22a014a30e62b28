//! A leader that is low on room hands leadership to a voter that is not.
//!
//! Voters are asked; the one that is least behind and has room is told to take over. Where none has, this node leads on: a
//! cluster without a leader could not even say that it is full.

use std::time::Duration;

use futures::future::join_all;
use openraft::Raft;
use proto::raft::v1 as wire;
use types::NodeId;

use crate::apply::Applier;
use crate::machine::Machine;
use crate::peer::{self, Pool};
use crate::status::Status;
use crate::type_config::TypeConfig;

/// How long a voter may take to say whether it has room.
const ANSWER: Duration = Duration::from_secs(1);
/// How soon it is tried again.
const PAUSE: Duration = Duration::from_secs(2);
/// A voter that is further behind does not take over.
const BEHIND_MAX: u64 = 1_000;

/// Finds a voter with room and hands over to it. Ends after a while in any case, so that not every look at the disk asks.
pub(crate) async fn hand_over<M: Machine>(raft: &Raft<TypeConfig, Applier<M>>, pool: &Pool, status: &Status) {
    let others = status.members.voters.iter().filter(|id| **id != status.node);
    let asked = others.filter_map(|id| {
        let (behind, member) = (status.lag.get(id).copied().flatten()?, status.members.get(*id)?);
        (behind <= BEHIND_MAX).then_some(async move { has_room(pool, *id, member).await.then_some((behind, *id)) })
    });
    let found = join_all(asked).await.into_iter().flatten().min();
    if let Some((_, to)) = found {
        tracing::warn!(%to, "this node is low on room and hands leadership over");
        if let Err(error) = raft.trigger().transfer_leader(to.0).await {
            tracing::warn!(%error, "leadership was not handed over");
        }
    }
    tokio::time::sleep(PAUSE).await;
}

async fn has_room(pool: &Pool, id: NodeId, member: &crate::member::Member) -> bool {
    let mut client = pool.client(id, pool.lanes(id, member).control);
    let asked = client.room(peer::stamp(pool.owner(), id, wire::RoomRequest {}));
    matches!(tokio::time::timeout(ANSWER, asked).await, Ok(Ok(reply)) if !reply.get_ref().low)
}

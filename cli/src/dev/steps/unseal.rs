//! Step 2: every node opens its seal, and then has an authority that may sign.

use std::time::Duration;

use proto::cluster::v1::{GetSealStatusRequest, UnsealRequest};

use super::super::fault::Fault;
use super::super::report::Found;
use super::super::stage::Stage;
use super::super::status;
use super::super::wait::{Asked, until};

/// An authority is generated, published and activated within a few ticks of the leader.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn run(stage: &mut Stage, is_first_run: bool) -> Result<Found, Fault> {
    let mut seals = Vec::new();
    for node in &stage.nodes {
        let seal = stage.client_of(node)?.seal();
        let mut status = seal.status(GetSealStatusRequest {}).await?;
        if status.sealed {
            status = seal.unseal(UnsealRequest::default()).await?;
        }
        Fault::check(!status.sealed && status.initialized, || format!("{} is still sealed", node.name))?;
        seals.push(status.seal_type);
    }
    // Later, new authorities wait until agents know of them: what must hold now is that somebody can sign.
    if is_first_run {
        authorities(stage).await?;
    }
    seals.sort();
    seals.dedup();
    let (count, kind) = (stage.nodes.len(), seals.join(", "));
    Ok(Found::Held(format!("{count} of {count} unsealed ({kind} seal: for development only)")))
}

async fn authorities(stage: &mut Stage) -> Result<(), Fault> {
    until(PATIENCE, async || {
        stage.check()?;
        Ok(match status::ask(stage.client()?).await {
            Asked::Yes(status) => status::without_authority(&status).map_or(Asked::Yes(()), Asked::NotYet),
            Asked::NotYet(why) => Asked::NotYet(why),
        })
    })
    .await
}

//! Step 2: every node has opened its seal. The file seal opens by itself when a node starts.

use chancery_client::proto::cluster::v1::{GetSealStatusRequest, UnsealRequest};

use super::super::fault::Fault;
use super::super::report::Found;
use super::super::stage::Stage;

pub(crate) async fn run(stage: &mut Stage) -> Result<Found, Fault> {
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
    seals.sort();
    seals.dedup();
    let (count, kind) = (stage.nodes.len(), seals.join(", "));
    Ok(Found::Held(format!("{count} of {count} unsealed ({kind} seal: for development only)")))
}

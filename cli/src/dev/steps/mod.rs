//! The steps of the tour, one file a step. Each does something that a user could do, and checks what came of it.

pub(crate) mod audit;
pub(crate) mod cluster;
pub(crate) mod create;
pub(crate) mod decrypt;
pub(crate) mod encrypt;
pub(crate) mod failover;
mod load;
pub(crate) mod mtls;
pub(crate) mod refuse;
pub(crate) mod register;
pub(crate) mod rewrap;
pub(crate) mod rotate;
pub(crate) mod schedule;
pub(crate) mod unseal;

use chancery_client::proto::kms::v1::{GetKeyRequest, Key};

use super::fault::Fault;
use super::stage::Stage;

/// The key that the tour uses.
pub(crate) const KEY: &str = "namespaces/default/keys/orders";
const PARENT: &str = "namespaces/default";
/// Short enough that the tour sees a scheduled rotation.
const PERIOD_S: i64 = 5;

async fn key(stage: &Stage) -> Result<Key, Fault> {
    Ok(stage.client()?.keys().get(GetKeyRequest { name: KEY.to_owned() }).await?)
}

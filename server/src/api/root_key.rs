//! `SealService`, what replaces the cluster's root key: an entry that says it is wanted, or no longer. The rest the members
//! do by themselves (`rekey.rs`); who it waits for is a question to state.

use audit::Detail;
use proto::cluster::v1 as wire;
use state::{Command, Reply, State};
use types::{Action, Reason, Refusal};

use super::macros::request_fields;
use crate::core::StateView;
use crate::request::authn::Caller;
use crate::request::mutation::{self, Mutation};
use crate::request::query::{self, Query};
use crate::request::target::Target;
use crate::seal::Quorum;
use crate::wire::time;

impl Mutation for wire::RekeyRequest {
    const ACTION: Action = Action::Rekey;
    type Answer = wire::RootKey;
    request_fields!();

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    fn command(&self, _desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        let quorum = self.shamir.as_ref().map(Quorum::from_wire).transpose()?;
        let quorum = quorum.map(|quorum| serde_json::to_vec(&quorum)).transpose();
        let quorum = quorum.map_err(|error| Refusal::new(Reason::Internal, error.to_string()))?;
        Ok(Command::BeginRekey { quorum })
    }

    fn answer(&self, desk: &mutation::Desk<'_>, _reply: &Reply) -> Result<wire::RootKey, Refusal> {
        Ok(root_key(desk.state))
    }
}

impl Mutation for wire::CancelRekeyRequest {
    const ACTION: Action = Action::CancelRekey;
    type Answer = wire::RootKey;
    request_fields!();

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    fn command(&self, _desk: &mutation::Desk<'_>) -> Result<Command, Refusal> {
        Ok(Command::CancelRekey)
    }

    fn answer(&self, desk: &mutation::Desk<'_>, _reply: &Reply) -> Result<wire::RootKey, Refusal> {
        Ok(root_key(desk.state))
    }
}

impl Query for wire::GetRootKeyRequest {
    const ACTION: Action = Action::GetRootKey;
    type Answer = wire::RootKey;

    fn target(&self, _state: &StateView, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    async fn answer(self, desk: &query::Desk<'_>) -> Result<(wire::RootKey, Detail), Refusal> {
        Ok((root_key(&desk.state), Detail::new()))
    }
}

fn root_key(state: &State) -> wire::RootKey {
    let staged = state.staged_root().map(|staged| wire::StagedRootKey {
        epoch: staged.epoch,
        requested_by: staged.by.to_string(),
        request_time: time::timestamp(staged.since),
        new_shares: staged.quorum.is_some(),
        confirmed: staged.confirmed.iter().map(|node| node.0).collect(),
        waiting_for: state.root_waits_for().map(|node| node.0).collect(),
    });
    wire::RootKey {
        epoch: state.root_epoch(),
        active_time: state.root_keys().and_then(|row| row.since).and_then(time::timestamp),
        staged,
    }
}

//! What an admin may change about the cluster as a whole; the rpcs are `ClusterService`'s, in `cluster.rs`.

use proto::cluster::v1 as wire;
use state::{Command, Reply, State};
use types::{Action, Reason, Refusal};

use super::macros::request_fields;
use crate::request::authn::Caller;
use crate::request::mutation::{Desk, Mutation};
use crate::request::target::Target;
use crate::wire::time;

impl Mutation for wire::SetLeaseRequest {
    const ACTION: Action = Action::SetLease;
    type Answer = wire::SetLeaseResponse;
    request_fields!();

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    fn command(&self, _desk: &Desk<'_>) -> Result<Command, Refusal> {
        let lease = self.lease.as_ref().ok_or_else(|| {
            Refusal::new(
                Reason::InvalidArgument,
                "`lease` is missing: say how long a node may serve without its leader",
            )
        })?;
        Ok(Command::SetLease { length: time::millis("lease", lease)? })
    }

    fn answer(&self, desk: &Desk<'_>, _reply: &Reply) -> Result<wire::SetLeaseResponse, Refusal> {
        let settings = desk.state.settings();
        Ok(wire::SetLeaseResponse {
            lease: Some(time::duration(settings.lease)),
            lease_before: settings.lease_before.map(time::duration),
        })
    }
}

impl Mutation for wire::ResetTimeRequest {
    const ACTION: Action = Action::ResetTime;
    type Answer = wire::ResetTimeResponse;
    request_fields!();

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    fn command(&self, _desk: &Desk<'_>) -> Result<Command, Refusal> {
        Ok(Command::ResetTime)
    }

    fn answer(&self, desk: &Desk<'_>, _reply: &Reply) -> Result<wire::ResetTimeResponse, Refusal> {
        Ok(wire::ResetTimeResponse { state_time: time::timestamp(desk.state.time()) })
    }
}

impl Mutation for wire::ConfirmTimeRequest {
    const ACTION: Action = Action::ConfirmTime;
    type Answer = wire::ConfirmTimeResponse;
    request_fields!();

    fn target(&self, _caller: &Caller) -> Result<Target, Refusal> {
        Ok(Target::Cluster)
    }

    fn command(&self, _desk: &Desk<'_>) -> Result<Command, Refusal> {
        let to = self.to.as_ref().map(|to| time::time("to", to)).transpose()?.ok_or_else(|| {
            let text = "`to` is missing: say up to when the step went that you have looked at";
            Refusal::new(Reason::InvalidArgument, text)
        })?;
        Ok(Command::ConfirmTime { to })
    }

    fn answer(&self, desk: &Desk<'_>, _reply: &Reply) -> Result<wire::ConfirmTimeResponse, Refusal> {
        Ok(wire::ConfirmTimeResponse { state_time: time::timestamp(desk.state.time()) })
    }
}

/// Why nothing is destroyed now, for `cluster status`.
pub(super) fn time_unconfirmed(state: &State) -> Option<wire::TimeStep> {
    let step = state.time_unconfirmed()?;
    Some(wire::TimeStep { from: time::timestamp(step.from), to: time::timestamp(step.to) })
}

/// Why nothing is rotated or cleaned up now, for `cluster status`.
pub(super) fn time_held(state: &State) -> Option<wire::TimeHeld> {
    state.time_held().map(|held| wire::TimeHeld {
        from: time::timestamp(held.from),
        to: time::timestamp(held.to),
        agreed: Some(time::duration(held.agreed)),
        needed: Some(time::duration(types::limits::TIME_AGREED_FOR)),
    })
}

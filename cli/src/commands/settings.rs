//! `chancery cluster lease`, `cluster time-reset` and `cluster time-confirm`, and what `cluster status` says of them.

use chancery_client::proto::cluster::v1::{
    ClusterStatus, ConfirmTimeRequest, GetStatusRequest, ResetTimeRequest, SetLeaseRequest, TimeHeld as WireHeld,
    TimeStep,
};
use clap::Subcommand;
use serde::Serialize;
use types::{Millis, Reason};

use crate::context::Context;
use crate::failure::Failure;
use crate::output::Show;
use crate::values::{duration, from_wire_duration, to_wire_duration};
use crate::views::{EnrolledView, at, length, rfc3339, seconds};

/// The verbs of `cluster lease`.
#[derive(Subcommand, Debug)]
pub(crate) enum LeaseCommand {
    /// How long a node may serve without its leader
    Show,
    /// Change it: longer in advance of trouble, for whoever would rather serve an old state than none
    ///
    /// A disable or a revocation then waits as long for a node that is away. A node that is cut off already keeps the lease
    /// that it has.
    Set {
        /// 5s to 24h; a cluster begins with 30s
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        length: Millis,
    },
}

/// The settings of a cluster, as `cluster status` and `cluster lease` print them.
#[derive(Serialize, Debug)]
pub(crate) struct SettingsView {
    lease: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_before: Option<String>,
    #[serde(skip)]
    in_words: String,
    #[serde(skip)]
    usual: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_held: Option<HeldView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_unconfirmed: Option<StepView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recovered_operators: Vec<EnrolledView>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    peer_unseal: bool,
}

#[derive(Serialize, Debug)]
struct HeldView {
    from: Option<String>,
    to: Option<String>,
    agreed: Option<String>,
    needed: Option<String>,
    #[serde(skip)]
    text: String,
}

#[derive(Serialize, Debug)]
struct StepView {
    from: Option<String>,
    to: Option<String>,
    #[serde(skip)]
    text: String,
}

impl SettingsView {
    pub(crate) fn of(wire: &ClusterStatus) -> Self {
        let (lease, before) = (wire.lease.as_ref(), wire.lease_before.as_ref());
        let in_words = match before {
            None => format!("node lease: {}", length(lease)),
            Some(_) => {
                format!("node lease: {} (a node that is away may still hold one of {})", length(lease), length(before))
            }
        };
        Self {
            lease: seconds(lease),
            lease_before: seconds(before),
            in_words,
            usual: before.is_none() && lease.map(from_wire_duration) == Some(types::limits::NODE_LEASE_DEFAULT),
            time_held: wire.time_held.as_ref().map(HeldView::of),
            time_unconfirmed: wire.time_unconfirmed.as_ref().map(StepView::of),
            peer_unseal: wire.peer_unseal,
            recovered_operators: wire.recovered_operators.iter().cloned().map(EnrolledView::from).collect(),
        }
    }

    /// What is out of the ordinary, a line each.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let lease = Some(self.in_words.clone()).filter(|_| !self.usual && self.lease.is_some());
        let held = self.time_held.iter().map(|held| held.text.clone());
        let step = self.time_unconfirmed.iter().map(|step| step.text.clone());
        let peers = self.peer_unseal.then(|| "peer unseal: on (a voter that restarts opens by itself)".to_owned());
        lease
            .into_iter()
            .chain(held)
            .chain(step)
            .chain(peers)
            .chain(self.recovered_operators.iter().filter_map(not_vouched_for))
            .collect()
    }
}

/// An admin whom no admin has enrolled.
fn not_vouched_for(operator: &EnrolledView) -> Option<String> {
    let recovery = operator.recovered.as_ref()?;
    let name = &operator.name;
    Some(format!(
        "{name} is admin by {}: `chancery operator revoke` it if nobody knows why; if all do, an admin who is none by a seal enrols it again, \
         `chancery operator enroll`",
        recovery.words()
    ))
}

impl Show for SettingsView {
    fn text(&self) -> String {
        self.in_words.clone()
    }
}

impl HeldView {
    fn of(wire: &WireHeld) -> Self {
        let text = format!(
            "time is held: it went from {} to {} at once, nothing is rotated by schedule, destroyed or cleaned up until a majority of the \
             clocks has agreed for {} ({} so far)",
            at(wire.from.as_ref()),
            at(wire.to.as_ref()),
            length(wire.needed.as_ref()),
            length(wire.agreed.as_ref()),
        );
        Self {
            from: rfc3339(wire.from.as_ref()),
            to: rfc3339(wire.to.as_ref()),
            agreed: seconds(wire.agreed.as_ref()),
            needed: seconds(wire.needed.as_ref()),
            text,
        }
    }
}

impl StepView {
    fn of(wire: &TimeStep) -> Self {
        let text = format!(
            "state time went from {} to {} in steps of more than an hour: nothing that waits for its destruction is destroyed until \
             `chancery cluster time-confirm`, or `time-reset` if the clocks were wrong",
            at(wire.from.as_ref()),
            at(wire.to.as_ref()),
        );
        Self { from: rfc3339(wire.from.as_ref()), to: rfc3339(wire.to.as_ref()), text }
    }
}

/// Runs a verb of `cluster lease`.
pub(crate) async fn lease(command: LeaseCommand, context: &Context) -> Result<(), Failure> {
    let cluster = context.client().await?.cluster();
    let view = match command {
        LeaseCommand::Show => SettingsView::of(&cluster.status(GetStatusRequest {}).await?),
        LeaseCommand::Set { length } => {
            let request = SetLeaseRequest { lease: Some(to_wire_duration(length)), ..SetLeaseRequest::default() };
            let set = cluster.set_lease(request).await?;
            let (lease, lease_before) = (set.lease, set.lease_before);
            SettingsView::of(&ClusterStatus { lease, lease_before, ..ClusterStatus::default() })
        }
    };
    context.print(&view)
}

#[derive(Serialize)]
struct ResetView {
    state_time: Option<String>,
}

impl Show for ResetView {
    fn text(&self) -> String {
        format!("state time is {} again", self.state_time.as_deref().unwrap_or("set"))
    }
}

/// Runs `cluster time-reset`.
pub(crate) async fn time_reset(context: &Context) -> Result<(), Failure> {
    let answer = context.client().await?.cluster().reset_time(ResetTimeRequest::default()).await;
    let answer =
        answer.map_err(|error| Failure::from(error).hint_for(Reason::PreconditionFailed, "chancery cluster status"))?;
    context.print(&ResetView { state_time: rfc3339(answer.state_time.as_ref()) })
}

#[derive(Serialize)]
struct ConfirmView {
    state_time: Option<String>,
}

impl Show for ConfirmView {
    fn text(&self) -> String {
        match &self.state_time {
            Some(time) => format!("state time {time} is confirmed"),
            None => "there is nothing to confirm".to_owned(),
        }
    }
}

/// Runs `cluster time-confirm`.
pub(crate) async fn time_confirm(context: &Context) -> Result<(), Failure> {
    let cluster = context.client().await?.cluster();
    let Some(step) = cluster.status(GetStatusRequest {}).await?.time_unconfirmed else {
        return context.print(&ConfirmView { state_time: None });
    };
    let request = ConfirmTimeRequest { to: step.to, ..ConfirmTimeRequest::default() };
    let answer = cluster.confirm_time(request).await;
    let answer =
        answer.map_err(|error| Failure::from(error).hint_for(Reason::PreconditionFailed, "chancery cluster status"))?;
    context.print(&ConfirmView { state_time: rfc3339(answer.state_time.as_ref()) })
}

#[cfg(test)]
mod tests {
    use chancery_client::proto::cluster::v1::{Operator, Recovery};

    use super::*;

    #[test]
    fn what_is_out_of_the_ordinary_is_said_and_nothing_else() {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let usual = ClusterStatus { lease: seconds(30), ..ClusterStatus::default() };
        assert_eq!(SettingsView::of(&usual).warnings(), Vec::<String>::new());
        let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let held = WireHeld { from: time(0), to: time(172_800), agreed: seconds(60), needed: seconds(600) };
        let recovered = |name: &str, through: &str| Operator {
            name: name.to_owned(),
            recovery: Some(Recovery {
                recover_time: time(0),
                node: 1,
                slot: 2,
                opened_by: "shamir, shares 1, 3".to_owned(),
                through: through.to_owned(),
            }),
            ..Operator::default()
        };
        let trouble = ClusterStatus {
            lease: seconds(30),
            lease_before: seconds(86_400),
            time_held: Some(held),
            time_unconfirmed: Some(TimeStep { from: time(0), to: time(172_800) }),
            recovered_operators: vec![recovered("operators/eve", ""), recovered("operators/mal", "operators/eve")],
            ..usual
        };
        expect_test::expect![[r#"
            node lease: 30s (a node that is away may still hold one of 1d)
            time is held: it went from 1970-01-01T00:00Z to 1970-01-03T00:00Z at once, nothing is rotated by schedule, destroyed or cleaned up until a majority of the clocks has agreed for 10m (1m so far)
            state time went from 1970-01-01T00:00Z to 1970-01-03T00:00Z in steps of more than an hour: nothing that waits for its destruction is destroyed until `chancery cluster time-confirm`, or `time-reset` if the clocks were wrong
            operators/eve is admin by seal 2 of node-1 (shamir, shares 1, 3) at 1970-01-01T00:00:00Z: `chancery operator revoke` it if nobody knows why; if all do, an admin who is none by a seal enrols it again, `chancery operator enroll`
            operators/mal is admin by operators/eve, who is one by seal 2 of node-1 (shamir, shares 1, 3) at 1970-01-01T00:00:00Z: `chancery operator revoke` it if nobody knows why; if all do, an admin who is none by a seal enrols it again, `chancery operator enroll`"#]]
        .assert_eq(&SettingsView::of(&trouble).warnings().join("\n"));
    }
}

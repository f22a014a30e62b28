//! `chancery seal peer-unseal` and `chancery seal approve`: members that open one another.

use chancery_client::proto::cluster::v1::{
    ApproveUnsealRequest, CancelApprovalRequest, GetStatusRequest, SetPeerUnsealRequest,
};
use clap::{Args, Subcommand};
use serde::Serialize;
use types::Reason;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::Show;
use crate::views::rfc3339;

/// The verbs of `seal peer-unseal`.
#[derive(Subcommand, Clone, Copy, Debug)]
pub(crate) enum Switch {
    /// Whether it is on
    Show,
    /// Switch it on
    On,
    /// Switch it off: a voter that restarts waits for somebody again
    Off,
}

/// Arguments of `seal approve`.
#[derive(Args, Debug)]
pub(crate) struct ApproveArgs {
    /// Number of the voter
    node: u64,
    /// Take back an approval that the voter has not used
    #[arg(long)]
    cancel: bool,
}

#[derive(Serialize)]
struct SwitchView {
    peer_unseal: bool,
}

impl Show for SwitchView {
    fn text(&self) -> String {
        format!("peer unseal: {}", if self.peer_unseal { "on" } else { "off" })
    }
}

#[derive(Serialize)]
struct ApprovedView {
    node: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expire_time: Option<String>,
}

impl Show for ApprovedView {
    fn text(&self) -> String {
        let Self { node, expire_time } = self;
        match expire_time {
            Some(until) => format!("node-{node} gets the root key once when it asks before {until}"),
            None => format!("node-{node} has used its approval already"),
        }
    }
}

#[derive(Serialize)]
struct CancelledView {
    node: u64,
    approved: bool,
}

impl Show for CancelledView {
    fn text(&self) -> String {
        format!("node-{} waits for somebody to unseal it", self.node)
    }
}

/// Runs a verb of `seal peer-unseal`.
pub(crate) async fn switch(switch: Switch, context: &Context) -> Result<(), Failure> {
    let client = context.client().await?;
    let set = async |on| {
        let request = SetPeerUnsealRequest { on, ..SetPeerUnsealRequest::default() };
        client.seal().set_peer_unseal(request).await.map(|set| set.on)
    };
    let peer_unseal = match switch {
        Switch::Show => client.cluster().status(GetStatusRequest {}).await?.peer_unseal,
        Switch::On => set(true).await?,
        Switch::Off => set(false).await?,
    };
    context.print(&SwitchView { peer_unseal })
}

/// Runs `seal approve`.
pub(crate) async fn approve(args: ApproveArgs, context: &Context) -> Result<(), Failure> {
    if args.cancel {
        return cancel(args.node, context).await;
    }
    let request = ApproveUnsealRequest { node: args.node, ..ApproveUnsealRequest::default() };
    let approved = context
        .client()
        .await?
        .seal()
        .approve_unseal(request)
        .await
        .map_err(|error| Failure::from(error).hint_for(Reason::NotFound, "chancery cluster status"))?;
    context.print(&ApprovedView { node: args.node, expire_time: rfc3339(approved.expire_time.as_ref()) })
}

async fn cancel(node: u64, context: &Context) -> Result<(), Failure> {
    let request = CancelApprovalRequest { node, ..CancelApprovalRequest::default() };
    context.client().await?.seal().cancel_approval(request).await?;
    context.print(&CancelledView { node, approved: false })
}

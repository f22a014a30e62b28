//! `chancery seal`: node by node, for a seal is a node's own. The root key behind all of them is in `root_key.rs`, what
//! changes a node's seals in `slots.rs`.

use std::path::PathBuf;

use chancery_client::proto::cluster::v1::seal_service_client::SealServiceClient;
use chancery_client::proto::cluster::v1::{GetSealStatusRequest, SealRequest, SealSlot, SealStatus, UnsealRequest};
use chancery_client::{Address, Client, Error};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::init::admin_channel;
use super::peers;
use super::root_key::{self, RekeyArgs, ReshareArgs};
use super::slots::{self, AddArgs, DropArgs};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, of_one_node};
use crate::output::{Format, Show as _, Table, note};
use crate::passphrase;
use crate::views::List;
use crate::views::Row;

/// The verbs of `seal`.
#[derive(Subcommand, Debug)]
pub(crate) enum SealCommand {
    /// Whether each node is sealed, what opens it, and which root key is active
    Status(Where),
    /// Unseal each node that is sealed
    Unseal(UnsealArgs),
    /// Seal one node: keys leave its memory and it counts as down
    Seal(Where),
    /// Add a seal to each node: any of a node's seals opens it
    Add(AddArgs),
    /// Drop a seal of one node; never its last
    Drop(DropArgs),
    /// Let a voter that restarts get the root key from the leader, with nobody there; off until it is switched on
    ///
    /// With it on, a node's disk that is put back into the network at the node's own address within an hour opens by itself,
    /// whoever put it there. Nodes whose seal opens by itself need it not.
    #[command(subcommand)]
    PeerUnseal(peers::Switch),
    /// Let one voter that is sealed get the root key from the leader, once, within an hour
    ///
    /// For one that was away for more than an hour, or asks from another address; peer unseal must be on.
    Approve(peers::ApproveArgs),
    /// Replace the root key of the cluster while it serves
    Rekey(RekeyArgs),
    /// Make new shares and replace the root key: old shares never open the new one
    Reshare(ReshareArgs),
}

/// Which nodes.
#[derive(Args, Debug)]
pub(crate) struct Where {
    /// A node's admin socket instead of its API
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Arguments of `seal unseal`.
#[derive(Args, Debug)]
pub(crate) struct UnsealArgs {
    #[command(flatten)]
    at: Where,
    /// File of mode 0600 whose first line is the passphrase of the seal; asked for when left out
    #[arg(long, value_name = "FILE")]
    seal_passphrase_file: Option<PathBuf>,
    /// File of mode 0600 whose first line is a share of a shamir seal; asked for when left out. Once for each share
    #[arg(long, value_name = "FILE", conflicts_with = "seal_passphrase_file")]
    share_file: Option<PathBuf>,
}

#[derive(Serialize)]
pub(crate) struct NodeSeal {
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    initialized: Option<bool>,
    #[serde(skip_serializing_if = "String::is_empty")]
    seal_type: String,
    /// Shares that wait there, and how many it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    shares: Option<[u32; 2]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    slots: Vec<Slot>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    exit: Option<Exit>,
}

/// One of a node's seals.
#[derive(Serialize)]
struct Slot {
    slot: u32,
    seal_type: String,
    /// How many of how many shares open it.
    #[serde(skip_serializing_if = "Option::is_none")]
    shares: Option<[u32; 2]>,
}

impl Slot {
    fn text(&self) -> String {
        let Self { slot, seal_type, shares } = self;
        match shares {
            Some([needed, made]) => format!("{slot} {seal_type} ({needed} of {made})"),
            None => format!("{slot} {seal_type}"),
        }
    }
}

impl Row for NodeSeal {
    fn table() -> Table {
        Table::new(["ADDRESS", "NODE", "STATE", "SEALS"])
    }

    fn add(&self, table: &mut Table) {
        let state = match (&self.error, self.sealed, self.initialized) {
            (Some(error), _, _) => error.clone(),
            (None, _, Some(false)) => "not initialized".to_owned(),
            (None, Some(true), _) => match self.shares {
                Some([given, needed]) => format!("sealed, {given} of {needed} shares"),
                None => "sealed".to_owned(),
            },
            (None, _, _) => "unsealed".to_owned(),
        };
        let node = self.node.map_or_else(|| "-".to_owned(), |node| format!("node-{node}"));
        let seals: Vec<String> = self.slots.iter().map(Slot::text).collect();
        // A node that has no seal yet says which one it is set to take.
        let seals = if seals.is_empty() { self.seal_type.clone() } else { seals.join(", ") };
        table.row([self.address.clone(), node, state, seals]);
    }
}

/// One node to speak to.
enum Node {
    Api(Address, Client),
    Socket(PathBuf, SealServiceClient<tonic::transport::Channel>),
}

/// Runs a verb.
pub(crate) async fn run(command: SealCommand, context: &Context) -> Result<(), Failure> {
    match command {
        SealCommand::Status(at) => {
            let mut rows = Vec::new();
            for node in &mut nodes(&at, context).await? {
                let status = node.status().await;
                rows.push(NodeSeal::new(node.name(), status));
            }
            if at.socket.is_none()
                && context.format() == Format::Table
                && let Ok(client) = context.client().await
                && let Some(key) = root_key::current(&client).await
            {
                note(&key.text());
            }
            finish(context, rows)
        }
        SealCommand::Add(args) => slots::add(args, context).await,
        SealCommand::PeerUnseal(switch) => peers::switch(switch, context).await,
        SealCommand::Approve(args) => peers::approve(args, context).await,
        SealCommand::Drop(args) => slots::drop(args, context).await,
        SealCommand::Rekey(args) => root_key::rekey(args, context).await,
        SealCommand::Reshare(args) => root_key::reshare(args, context).await,
        SealCommand::Unseal(args) => unseal(args, context).await,
        SealCommand::Seal(at) => seal(&at, context).await,
    }
}

async fn unseal(args: UnsealArgs, context: &Context) -> Result<(), Failure> {
    let (mut rows, mut passphrase, mut share) = (Vec::new(), None, None);
    for node in &mut nodes(&args.at, context).await? {
        let status = match node.status().await {
            Ok(status) if status.sealed => status,
            other => {
                rows.push(NodeSeal::new(node.name(), other));
                continue;
            }
        };
        // A file that was named is sent whatever the node says: one without a seal yet may not know its type.
        // With several seals the share is asked for only when there is no passphrase to ask for, or its file was named.
        let takes = |kind: &str| status.seal_type.split(", ").any(|one| one == kind);
        let wanted = args.seal_passphrase_file.is_some() || (args.share_file.is_none() && takes("passphrase"));
        if wanted && passphrase.is_none() {
            let asked = passphrase::existing(args.seal_passphrase_file.as_deref(), "passphrase of the seal: ");
            passphrase = Some(asked.map_err(|why| Failure::new(Exit::Denied, why))?);
        }
        if (args.share_file.is_some() || (takes("shamir") && !wanted)) && share.is_none() {
            let asked = passphrase::existing(args.share_file.as_deref(), "share of the seal: ");
            share = Some(asked.map_err(|why| Failure::new(Exit::Denied, why))?);
        }
        // Each node gets what is for its own seals: another may have been asked for before.
        let words = passphrase.as_ref().filter(|_| wanted).map(|words| words.expose().to_vec()).unwrap_or_default();
        let text = share.as_ref().filter(|_| !wanted && (args.share_file.is_some() || takes("shamir")));
        let text = text.map(|text| String::from_utf8_lossy(text.expose()).into_owned()).unwrap_or_default();
        rows.push(NodeSeal::new(node.name(), node.unseal(words, text).await));
    }
    finish(context, rows)
}

async fn seal(at: &Where, context: &Context) -> Result<(), Failure> {
    let mut nodes = nodes(at, context).await?;
    let [node] = nodes.as_mut_slice() else {
        let message = "sealing is for one node at a time, and several addresses are known";
        return Err(Failure::new(Exit::Usage, message).hint("--addr HOST:PORT of the node"));
    };
    let sealed = node.seal().await?;
    finish(context, vec![NodeSeal::new(node.name(), Ok(sealed))])
}

async fn nodes(at: &Where, context: &Context) -> Result<Vec<Node>, Failure> {
    if let Some(socket) = &at.socket {
        return Ok(vec![Node::Socket(socket.clone(), SealServiceClient::new(admin_channel(socket).await?))]);
    }
    let client = context.client().await?;
    let members = context.members(&client).await;
    Ok(members.into_iter().map(|(address, client)| Node::Api(address, client)).collect())
}

/// Prints the rows, and fails when a node could not be asked or stayed sealed for a reason.
pub(super) fn finish(context: &Context, rows: Vec<NodeSeal>) -> Result<(), Failure> {
    let total = rows.len();
    let exits: Vec<Exit> = rows.iter().filter_map(|row| row.exit).collect();
    context.print(&List(rows))?;
    let Some(exit) = exit_of(&exits) else { return Ok(()) };
    note("");
    Err(Failure::new(exit, format!("{} of {total} nodes did not do it", exits.len())))
}

/// One that may answer later is worth a retry; otherwise it is what the first said. None when all did it.
fn exit_of(failed: &[Exit]) -> Option<Exit> {
    failed.iter().find(|exit| **exit == Exit::Unavailable).or(failed.first()).copied()
}

impl NodeSeal {
    pub(super) fn new(address: String, status: Result<SealStatus, Error>) -> Self {
        match status {
            Ok(status) => Self {
                address,
                node: (status.node != 0).then_some(status.node),
                sealed: Some(status.sealed),
                initialized: Some(status.initialized),
                shares: (status.shares_needed > 0).then_some([status.shares_given, status.shares_needed]),
                seal_type: status.seal_type,
                slots: status.slots.into_iter().map(Slot::from).collect(),
                error: None,
                exit: None,
            },
            Err(error) => Self {
                address,
                node: None,
                sealed: None,
                initialized: None,
                seal_type: String::new(),
                shares: None,
                slots: Vec::new(),
                error: Some(of_one_node(&error)),
                exit: Some(Failure::from(error).exit()),
            },
        }
    }
}

impl From<SealSlot> for Slot {
    fn from(slot: SealSlot) -> Self {
        let shares = (slot.shares_made > 0).then_some([slot.shares_needed, slot.shares_made]);
        Self { slot: slot.slot, seal_type: slot.seal_type, shares }
    }
}

impl Node {
    fn name(&self) -> String {
        match self {
            Self::Api(address, _) => address.to_string(),
            Self::Socket(path, _) => path.display().to_string(),
        }
    }

    async fn status(&mut self) -> Result<SealStatus, Error> {
        match self {
            Self::Api(_, client) => client.seal().status(GetSealStatusRequest {}).await,
            Self::Socket(_, node) => answered(node.get_status(GetSealStatusRequest {}).await),
        }
    }

    async fn unseal(&mut self, passphrase: Vec<u8>, share: String) -> Result<SealStatus, Error> {
        let request = UnsealRequest { passphrase, share };
        match self {
            Self::Api(_, client) => client.seal().unseal(request).await,
            Self::Socket(_, node) => answered(node.unseal(request).await),
        }
    }

    async fn seal(&mut self) -> Result<SealStatus, Error> {
        match self {
            Self::Api(_, client) => client.seal().seal(SealRequest {}).await,
            Self::Socket(_, node) => answered(node.seal(SealRequest {}).await),
        }
    }
}

fn answered<A>(answer: Result<tonic::Response<A>, tonic::Status>) -> Result<A, Error> {
    answer.map(tonic::Response::into_inner).map_err(|status| Error::from_status(&status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_work_later_is_worth_a_retry() {
        assert_eq!(exit_of(&[]), None);
        assert_eq!(exit_of(&[Exit::Denied, Exit::Denied]), Some(Exit::Denied));
        assert_eq!(exit_of(&[Exit::Denied, Exit::Invalid]), Some(Exit::Denied));
        assert_eq!(exit_of(&[Exit::Denied, Exit::Unavailable]), Some(Exit::Unavailable));
    }
}

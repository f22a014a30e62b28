//! `chancery seal`: node by node, for a seal is a node's own.

use std::path::PathBuf;

use chancery_client::proto::cluster::v1::seal_service_client::SealServiceClient;
use chancery_client::proto::cluster::v1::{GetSealStatusRequest, SealRequest, SealStatus, UnsealRequest};
use chancery_client::{Address, Client, Error};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::init::admin_channel;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, of_one_node};
use crate::output::{Table, note};
use crate::passphrase;
use crate::views::List;
use crate::views::Row;

/// The verbs of `seal`.
#[derive(Subcommand, Debug)]
pub(crate) enum SealCommand {
    /// Whether each node is sealed
    Status(Where),
    /// Unseal each node that is sealed
    Unseal(UnsealArgs),
    /// Seal one node: keys leave its memory and it counts as down
    Seal(Where),
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
struct NodeSeal {
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
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Row for NodeSeal {
    fn table() -> Table {
        Table::new(["ADDRESS", "NODE", "STATE", "SEAL"])
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
        table.row([self.address.clone(), node, state, self.seal_type.clone()]);
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
            finish(context, rows)
        }
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
        let wanted = args.seal_passphrase_file.is_some() || status.seal_type == "passphrase";
        if wanted && passphrase.is_none() {
            let asked = passphrase::existing(args.seal_passphrase_file.as_deref(), "passphrase of the seal: ");
            passphrase = Some(asked.map_err(|why| Failure::new(Exit::Denied, why))?);
        }
        let words = passphrase.as_ref().map(|words| words.expose().to_vec()).unwrap_or_default();
        if (args.share_file.is_some() || status.seal_type == "shamir") && share.is_none() {
            let asked = passphrase::existing(args.share_file.as_deref(), "share of the seal: ");
            share = Some(asked.map_err(|why| Failure::new(Exit::Denied, why))?);
        }
        let text = share.as_ref().map(|text| String::from_utf8_lossy(text.expose()).into_owned()).unwrap_or_default();
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
fn finish(context: &Context, rows: Vec<NodeSeal>) -> Result<(), Failure> {
    let failed = rows.iter().filter(|row| row.error.is_some()).count();
    let total = rows.len();
    context.print(&List(rows))?;
    if failed == 0 {
        return Ok(());
    }
    note("");
    Err(Failure::new(Exit::Unavailable, format!("{failed} of {total} nodes did not do it")))
}

impl NodeSeal {
    fn new(address: String, status: Result<SealStatus, Error>) -> Self {
        match status {
            Ok(status) => Self {
                address,
                node: (status.node != 0).then_some(status.node),
                sealed: Some(status.sealed),
                initialized: Some(status.initialized),
                shares: (status.shares_needed > 0).then_some([status.shares_given, status.shares_needed]),
                seal_type: status.seal_type,
                error: None,
            },
            Err(error) => Self {
                address,
                node: None,
                sealed: None,
                initialized: None,
                seal_type: String::new(),
                shares: None,
                error: Some(of_one_node(&error)),
            },
        }
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

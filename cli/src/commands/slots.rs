//! `chancery seal add` and `chancery seal drop`: the seals of a node, any of which opens it.

use std::path::PathBuf;

use chancery_client::api::request_id;
use chancery_client::proto::cluster::v1::add_seal_request::Seal;
use chancery_client::proto::cluster::v1::{AddSealRequest, DropSealRequest, FileSeal, PassphraseSeal, Pkcs11Seal};
use clap::{Args, ValueEnum};
use types::limits::SEAL_SHARES_MAX;

use super::root_key::write_shares;
use super::seal::{NodeSeal, finish};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Format, note};
use crate::passphrase;

/// Arguments of `seal add`.
#[derive(Args, Debug)]
pub(crate) struct AddArgs {
    /// What is to open the nodes as well
    #[arg(long = "type", value_name = "TYPE")]
    kind: Kind,
    /// File of mode 0600 whose first line is the new passphrase; asked for when left out
    #[arg(long, value_name = "FILE")]
    seal_passphrase_file: Option<PathBuf>,
    /// New folder for the shares, one file each: give every file to somebody else and delete it here
    #[arg(long, value_name = "DIR", required_if_eq("kind", "shamir"))]
    dir: Option<PathBuf>,
    /// How many shares are made
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(2..=i64::from(SEAL_SHARES_MAX)))]
    shares: u8,
    /// How many of them open a node
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=i64::from(SEAL_SHARES_MAX)))]
    threshold: u8,
}

/// The seals that can be added.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Kind {
    /// Shares, some of which have to meet
    Shamir,
    /// A passphrase of at least 12 characters
    Passphrase,
    /// A key in the token that each node's configuration names under `[seal.pkcs11]`
    Pkcs11,
    /// A key file beside the data: for development only
    File,
}

/// Arguments of `seal drop`.
#[derive(Args, Debug)]
pub(crate) struct DropArgs {
    /// The number of the seal on that node, as `seal status` lists it
    slot: u32,
}

/// Adds a seal to every node that is known, or to those that `--addr` names.
pub(crate) async fn add(args: AddArgs, context: &Context) -> Result<(), Failure> {
    let client = context.client().await?;
    let seal = match args.kind {
        Kind::File => Seal::File(FileSeal {}),
        Kind::Pkcs11 => Seal::Pkcs11(Pkcs11Seal {}),
        Kind::Passphrase => {
            let words = passphrase::new(args.seal_passphrase_file.as_deref(), "new passphrase of the seal: ");
            let words = words.map_err(|why| Failure::new(Exit::Denied, why))?;
            Seal::Passphrase(PassphraseSeal { passphrase: words.expose().to_vec() })
        }
        Kind::Shamir => {
            if args.threshold > args.shares {
                let message = format!("{} of {} shares can never meet", args.threshold, args.shares);
                return Err(Failure::new(Exit::Usage, message).hint("--threshold no larger than --shares"));
            }
            let cluster = client.trust().statement().cluster_id;
            let (public, texts) = server::new_shares(cluster, args.threshold, args.shares)
                .map_err(|fault| Failure::new(Exit::Invalid, fault.to_string()))?;
            let dir = args.dir.unwrap_or_default();
            write_shares(&dir, &texts)?;
            if context.format() == Format::Table {
                note(&format!("shares → {}: hand each to somebody else, then delete the folder", dir.display()));
            }
            Seal::Shamir(public)
        }
    };
    let request = AddSealRequest { seal: Some(seal), request_id: request_id() };
    let mut rows = Vec::new();
    for (address, node) in context.members(&client).await {
        rows.push(NodeSeal::new(address.to_string(), node.seal().add(request.clone()).await));
    }
    finish(context, rows)
}

/// Drops a seal of one node.
pub(crate) async fn drop(args: DropArgs, context: &Context) -> Result<(), Failure> {
    let client = context.client().await?;
    let members = context.members(&client).await;
    let [(address, node)] = members.as_slice() else {
        let message = "seals are numbered by each node for itself, and several addresses are known";
        return Err(Failure::new(Exit::Usage, message).hint("--addr HOST:PORT of the node"));
    };
    let request = DropSealRequest { slot: args.slot, request_id: request_id() };
    let status = node.seal().drop(request).await?;
    finish(context, vec![NodeSeal::new(address.to_string(), Ok(status))])
}

//! `chancery operator recover`: an admin when none is left, on proof of a node's seal, over that node's own socket.

use std::path::PathBuf;

use chancery_client::Error;
use chancery_client::identity::Folder;
use chancery_client::proto::cluster::v1::cluster_service_client::ClusterServiceClient;
use chancery_client::proto::cluster::v1::seal_service_client::SealServiceClient;
use chancery_client::proto::cluster::v1::{GetSealStatusRequest, RecoverOperatorRequest, SealStatus};
use clap::Args;
use crypto::SecretBytes;
use types::{Millis, OperatorName, Reason};

use super::init::{FormedBy, KeyProtection, admin_channel, keep};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Format, line, note};
use crate::passphrase;
use crate::values::{duration, to_wire_duration};
use crate::views::EnrolledView;

/// Arguments of `operator recover`.
#[derive(Args, Debug)]
pub(crate) struct RecoverArgs {
    /// A name that no operator has or had: lowercase letters, digits and hyphens
    name: OperatorName,
    /// Data folder of an unsealed node on this machine, whose admin.sock is used
    #[arg(long, value_name = "DIR", required_unless_present = "socket")]
    dir: Option<PathBuf>,
    /// The admin socket itself
    #[arg(long, value_name = "PATH", conflicts_with = "dir")]
    socket: Option<PathBuf>,
    /// File of mode 0600 whose first line is the passphrase of the node's seal; asked for when left out
    #[arg(long, value_name = "FILE")]
    seal_passphrase_file: Option<PathBuf>,
    /// File of mode 0600 whose first line is a share of the node's seal, once for each share; asked for when left out
    #[arg(long, value_name = "FILE", conflicts_with = "seal_passphrase_file")]
    share_file: Vec<PathBuf>,
    /// The enrolment ends after this time, at most 365d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    ttl: Option<Millis>,
    #[command(flatten)]
    key: KeyProtection,
}

/// Makes the key in the identity folder and has its public half enrolled.
pub(crate) async fn run(args: RecoverArgs, context: &Context) -> Result<(), Failure> {
    let socket = args.socket.clone().or_else(|| args.dir.as_ref().map(|dir| dir.join("admin.sock")));
    let channel = admin_channel(&socket.unwrap_or_default()).await?;
    let mut seal = SealServiceClient::new(channel.clone());
    let folder = Folder::create(context.identity_folder()?)?;
    if let Some(profile) = folder.profile()? {
        let message = format!("`{}` is {} already", folder.path().display(), profile.name);
        return Err(Failure::new(Exit::Conflict, message).hint("--identity with a new folder"));
    }
    let status = seal.get_status(GetSealStatusRequest {}).await.map_err(|status| refused(&status))?.into_inner();
    if status.sealed {
        let message = "this node is sealed: an operator is recovered in a cluster that runs";
        return Err(Failure::new(Exit::Unavailable, message).hint("chancery seal unseal"));
    }
    let (passphrase, shares) = proof(&args, &status)?;
    let signer = args.key.key_in(&folder, context)?;
    let request = RecoverOperatorRequest {
        operator_id: args.name.to_string(),
        spki: signer.spki_der(),
        ttl: args.ttl.map(to_wire_duration),
        passphrase: passphrase.expose().to_vec(),
        shares: shares.iter().map(|share| String::from_utf8_lossy(share.expose()).into_owned()).collect(),
        request_id: chancery_client::api::request_id(),
    };
    let answer = seal.recover_operator(request).await.map_err(|status| refused(&status))?.into_inner();
    let operator = answer.operator.unwrap_or_default();
    let formed = FormedBy {
        cluster_id: answer.cluster_id,
        cluster_key_hash: answer.cluster_key_hash,
        operator: operator.name.clone(),
    };
    keep(&folder, &formed, context, &mut ClusterServiceClient::new(channel)).await?;
    let view = EnrolledView::from(operator);
    if context.format() != Format::Table {
        return context.print(&view);
    }
    line(&format!("enrolled {} as admin until {} → {}", view.name, view.until(), folder.path().display()))?;
    note(
        "every node has written it down and `chancery cluster status` says it until an admin who is none by a seal enrols it again, or it is revoked;",
    );
    note("whoever has seen enough shares to do this could open a node: make new ones, `chancery seal reshare`");
    Ok(())
}

/// What the node's seal asks for; nothing for one that asks for nothing.
fn proof(args: &RecoverArgs, status: &SealStatus) -> Result<(SecretBytes, Vec<SecretBytes>), Failure> {
    let ask = |file: Option<&std::path::Path>, prompt: &str| {
        passphrase::existing(file, prompt).map_err(|why| Failure::new(Exit::Denied, why))
    };
    let nothing = || SecretBytes::from_vec(Vec::new());
    if !args.share_file.is_empty() {
        let shares = args.share_file.iter().map(|file| ask(Some(file), ""));
        return Ok((nothing(), shares.collect::<Result<_, _>>()?));
    }
    let has = |kind: &str| status.slots.iter().any(|slot| slot.seal_type == kind);
    if args.seal_passphrase_file.is_none() && (has("file") || has("pkcs11")) {
        return Ok((nothing(), Vec::new()));
    }
    if args.seal_passphrase_file.is_some() || has("passphrase") {
        return Ok((ask(args.seal_passphrase_file.as_deref(), "passphrase of the seal: ")?, Vec::new()));
    }
    let needed = status.slots.iter().map(|slot| slot.shares_needed).find(|needed| *needed > 0).unwrap_or(0);
    let shares = (1..=needed).map(|number| ask(None, &format!("share {number} of {needed}: ")));
    Ok((nothing(), shares.collect::<Result<_, _>>()?))
}

fn refused(status: &tonic::Status) -> Failure {
    Failure::from(Error::from_status(status))
        .hint_for(Reason::AlreadyExists, "another name, or a new folder for the key: --identity")
        .hint_for(Reason::Sealed, "chancery seal unseal")
}

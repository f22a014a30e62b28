//! `chancery seal rekey` and `chancery seal reshare`: another root key, and other shares, for the whole cluster.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chancery_client::proto::cluster::v1::{CancelRekeyRequest, GetRootKeyRequest, RekeyRequest, RootKey, ShamirSeal};
use chancery_client::{Client, private_file};
use clap::Args;
use crypto::SecretBytes;
use serde::Serialize;
use types::{ClusterId, Reason};

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Format, Show, note};
use crate::views::rfc3339;

/// How often the cluster is asked how far it has come.
const ASKING: Duration = Duration::from_millis(200);
/// How long a command waits for the members when none is known to be away.
const PATIENCE: Duration = Duration::from_secs(30);

/// Arguments of `seal rekey`.
#[derive(Args, Debug)]
pub(crate) struct RekeyArgs {
    /// Give up a root key that is on its way
    #[arg(long, conflicts_with = "no_wait")]
    cancel: bool,
    /// Return as soon as it is on its way; `seal status` says how far it has come
    #[arg(long)]
    no_wait: bool,
}

/// Arguments of `seal reshare`.
#[derive(Args, Debug)]
pub(crate) struct ReshareArgs {
    /// New folder for the new shares, one file each: give every file to somebody else and delete it here
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// How many shares are made
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(2..=i64::from(types::limits::SEAL_SHARES_MAX)))]
    shares: u8,
    /// How many of them open a node
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=i64::from(types::limits::SEAL_SHARES_MAX)))]
    threshold: u8,
    /// Return as soon as the root key that they open is on its way
    #[arg(long)]
    no_wait: bool,
}

/// A root key as it is printed.
#[derive(Serialize)]
pub(crate) struct RootKeyView {
    epoch: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    active_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    staged: Option<StagedView>,
}

#[derive(Serialize)]
struct StagedView {
    epoch: u32,
    requested_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_time: Option<String>,
    new_shares: bool,
    confirmed: Vec<u64>,
    waiting_for: Vec<u64>,
}

impl From<RootKey> for RootKeyView {
    fn from(key: RootKey) -> Self {
        let staged = key.staged.map(|staged| StagedView {
            epoch: staged.epoch,
            requested_by: staged.requested_by,
            request_time: rfc3339(staged.request_time.as_ref()),
            new_shares: staged.new_shares,
            confirmed: staged.confirmed,
            waiting_for: staged.waiting_for,
        });
        Self { epoch: key.epoch, active_time: rfc3339(key.active_time.as_ref()), staged }
    }
}

impl Show for RootKeyView {
    fn text(&self) -> String {
        let active = match &self.active_time {
            Some(since) => format!("root key {} is the active one since {since}", self.epoch),
            None => format!("root key {} is the active one", self.epoch),
        };
        match &self.staged {
            None => active,
            Some(staged) => format!("{active}\n{}", staged.text()),
        }
    }
}

impl StagedView {
    fn text(&self) -> String {
        let shares = if self.new_shares { " with new shares" } else { "" };
        let waits = match nodes(&self.waiting_for).as_str() {
            "" => "every member has it".to_owned(),
            names => format!("waits for {names}"),
        };
        format!("root key {}{shares} is on its way, wanted by {}: {waits}", self.epoch, self.requested_by)
    }
}

/// `seal rekey`.
pub(crate) async fn rekey(args: RekeyArgs, context: &Context) -> Result<(), Failure> {
    let client = context.client().await?;
    if args.cancel {
        let cancelled = client.seal().cancel_rekey(CancelRekeyRequest::default()).await?;
        return context.print(&RootKeyView::from(cancelled));
    }
    let wanted = client.seal().rekey(RekeyRequest::default()).await?;
    if args.no_wait {
        return context.print(&RootKeyView::from(wanted));
    }
    context.print(&RootKeyView::from(until_active(&client, wanted).await?))
}

/// `seal reshare`. The shares are made here and lie in their files before the cluster hears of them: an answer that is lost
/// loses no share, and no share is ever sent.
pub(crate) async fn reshare(args: ReshareArgs, context: &Context) -> Result<(), Failure> {
    if args.threshold > args.shares {
        let message = format!("{} of {} shares can never meet", args.threshold, args.shares);
        return Err(Failure::new(Exit::Usage, message).hint("--threshold no larger than --shares"));
    }
    let client = context.client().await?;
    let cluster = client.trust().statement().cluster_id;
    let shamir = make_shares(&args, cluster)?;
    let request = RekeyRequest { shamir: Some(shamir), ..RekeyRequest::default() };
    let wanted = client.seal().rekey(request).await.map_err(|error| {
        let hint = about_shares(error.reason());
        Failure::from(error).hint(hint)
    })?;
    if context.format() == Format::Table {
        note(&format!(
            "new shares → {}: hand each to somebody else, then delete the folder; the old ones count until root key {} \
             is the active one",
            args.dir.display(),
            wanted.staged.as_ref().map_or(wanted.epoch, |staged| staged.epoch)
        ));
    }
    if args.no_wait {
        return context.print(&RootKeyView::from(wanted));
    }
    context.print(&RootKeyView::from(until_active(&client, wanted).await?))
}

/// What becomes of new shares when the call failed for that reason. Nobody waits for shares that open nothing; but whether the
/// cluster waits is not known where no node has decided.
const fn about_shares(reason: Option<Reason>) -> &'static str {
    match reason {
        Some(
            Reason::InvalidArgument
            | Reason::PermissionDenied
            | Reason::CredentialRejected
            | Reason::PreconditionFailed
            | Reason::LimitExceeded,
        ) => "the shares that were just made open nothing: delete them, and make others next time",
        _ => {
            "the cluster may have begun: keep the old shares and the new ones until `chancery seal status` says which count"
        }
    }
}

/// How far the root key is, for `seal status`; none when nobody answers that, as on a sealed cluster.
pub(crate) async fn current(client: &Client) -> Option<RootKeyView> {
    client.seal().root_key(GetRootKeyRequest {}).await.ok().map(RootKeyView::from)
}

fn make_shares(args: &ReshareArgs, cluster: ClusterId) -> Result<ShamirSeal, Failure> {
    let (public, texts) = server::new_shares(cluster, args.threshold, args.shares)
        .map_err(|fault| Failure::new(Exit::Invalid, fault.to_string()))?;
    write_shares(&args.dir, &texts)?;
    Ok(public)
}

/// Writes each share to a file of its own in a folder that is not there yet, or is empty.
pub(crate) fn write_shares(dir: &Path, texts: &[SecretBytes]) -> Result<(), Failure> {
    let refused = |error: &dyn std::fmt::Display| Failure::new(Exit::Denied, error.to_string());
    private_file::create_folder(dir).map_err(|error| refused(&error))?;
    if dir.read_dir().map_err(|error| refused(&error))?.next().is_some() {
        let message = format!("`{}` is not empty", dir.display());
        return Err(Failure::new(Exit::Conflict, message).hint("name a folder that is not there yet"));
    }
    for (number, text) in (1..).zip(texts) {
        let line = SecretBytes::from_vec([text.expose(), b"\n"].concat());
        let path = dir.join(format!("share-{number}.txt"));
        private_file::write_new(&path, line.expose()).map_err(|error| refused(&error))?;
    }
    Ok(())
}

/// Waits until it is the active one, and says on the way for whom it waits.
async fn until_active(client: &Client, wanted: RootKey) -> Result<RootKey, Failure> {
    let Some(staged) = wanted.staged.as_ref() else { return Ok(wanted) };
    let (epoch, started) = (staged.epoch, Instant::now());
    let mut told = Vec::new();
    loop {
        let now = client.seal().root_key(GetRootKeyRequest {}).await?;
        let Some(staged) = now.staged.as_ref().filter(|staged| staged.epoch == epoch) else {
            if now.epoch >= epoch {
                return Ok(now);
            }
            return Err(Failure::new(Exit::Conflict, format!("root key {epoch} was given up meanwhile")));
        };
        if staged.waiting_for != told && !staged.waiting_for.is_empty() && started.elapsed() > Duration::from_secs(2) {
            told.clone_from(&staged.waiting_for);
            note(&format!("waiting for {}", nodes(&told)));
        }
        if started.elapsed() >= PATIENCE {
            let names = nodes(&staged.waiting_for);
            let message =
                format!("root key {epoch} is on its way and waits for {names}; root key {} counts on", now.epoch);
            return Err(Failure::new(Exit::Unavailable, message).hint(
                "start and unseal what it waits for, or remove it from the cluster: the change then goes on by itself; \
                 `chancery seal rekey --cancel` gives it up",
            ));
        }
        tokio::time::sleep(ASKING).await;
    }
}

fn nodes(numbers: &[u64]) -> String {
    let names: Vec<String> = numbers.iter().map(|number| format!("node-{number}")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_deleted_only_when_the_cluster_has_refused_them() {
        for refused in [Reason::InvalidArgument, Reason::PermissionDenied, Reason::PreconditionFailed] {
            assert!(about_shares(Some(refused)).contains("delete them"), "{refused:?}");
        }
        // No answer, or one that says nothing of whether it was done.
        for unknown in [None, Some(Reason::NoQuorum), Some(Reason::Sealed), Some(Reason::Internal)] {
            assert!(about_shares(unknown).contains("keep the old shares and the new ones"), "{unknown:?}");
        }
    }

    #[test]
    fn whom_a_root_key_waits_for_is_said_by_name() {
        let view = |waiting_for: Vec<u64>| RootKeyView {
            epoch: 1,
            active_time: None,
            staged: Some(StagedView {
                epoch: 2,
                requested_by: "operators/root".to_owned(),
                request_time: None,
                new_shares: true,
                confirmed: vec![1],
                waiting_for,
            }),
        };
        assert_eq!(
            view(vec![2, 3]).text(),
            "root key 1 is the active one\n\
             root key 2 with new shares is on its way, wanted by operators/root: waits for node-2, node-3"
        );
        assert!(view(Vec::new()).text().ends_with("every member has it"));
    }
}

//! `chancery svid`: the identity of this process, as any workload gets it.

use std::path::{Path, PathBuf};

use chancery_client::private_file;
use chancery_client::workload::{X509Svid, socket_path, watch_x509};
use clap::{Args, Subcommand};
use serde::Serialize;
use types::Time;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Show};
use crate::values::now;

const DEFAULT_SOCKET: &str = "unix:///run/chancery/agent.sock";

/// The verbs of `svid`.
#[derive(Subcommand, Debug)]
pub(crate) enum SvidCommand {
    /// Fetch the certificates of this process once
    Fetch(FetchArgs),
    /// Print every change of them, and write the files again each time
    Watch(FetchArgs),
}

/// Arguments of `svid fetch` and `svid watch`.
#[derive(Args, Debug)]
pub(crate) struct FetchArgs {
    /// Write svid.pem, key.pem and bundle.pem into this folder, each replaced in one step, mode 0600
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
    /// The identity with this hint instead of the default one
    #[arg(long, value_name = "TEXT")]
    hint: Option<String>,
    /// Address of the agent's socket
    #[arg(long, value_name = "ADDRESS", env = "SPIFFE_ENDPOINT_SOCKET", default_value = DEFAULT_SOCKET)]
    socket: String,
}

#[derive(Serialize)]
struct SvidView {
    spiffe_id: String,
    hint: String,
    expire_time: String,
    written_to: Option<PathBuf>,
    #[serde(skip)]
    left: String,
}

impl Show for SvidView {
    fn text(&self) -> String {
        let files = self.written_to.as_ref();
        let files = files.map(|dir| format!(" → {}/{{svid,key,bundle}}.pem (key 0600)", dir.display()));
        format!("{}, {} left{}", self.spiffe_id, self.left, files.unwrap_or_default())
    }
}

/// Runs a verb.
pub(crate) async fn run(command: SvidCommand, context: &Context) -> Result<(), Failure> {
    match command {
        SvidCommand::Fetch(args) => fetch(&args, context).await,
        SvidCommand::Watch(args) => watch(&args, context).await,
    }
}

async fn fetch(args: &FetchArgs, context: &Context) -> Result<(), Failure> {
    let first = async { watch_x509(&socket_path(&args.socket)?).await?.next().await };
    let state = tokio::time::timeout(context.timeout(), first)
        .await
        .map_err(|_| Failure::new(Exit::Unavailable, "the agent did not answer in time"))??
        .unwrap_or_default();
    for svid in chosen(&state, args)? {
        context.print(&show(svid, args)?)?;
    }
    Ok(())
}

async fn watch(args: &FetchArgs, context: &Context) -> Result<(), Failure> {
    let mut states = watch_x509(&socket_path(&args.socket)?).await?;
    while let Some(state) = states.next().await? {
        for svid in chosen(&state, args)? {
            output::print_item(context.format(), &show(svid, args)?)?;
        }
    }
    Err(Failure::new(Exit::Unavailable, "the agent ended the stream").hint("check that `chancery agent` runs"))
}

/// The identities that were asked for: all to be shown, one to be written.
fn chosen<'a>(state: &'a [X509Svid], args: &FetchArgs) -> Result<Vec<&'a X509Svid>, Failure> {
    let mut chosen: Vec<&X509Svid> =
        state.iter().filter(|svid| args.hint.as_ref().is_none_or(|hint| svid.hint == *hint)).collect();
    if args.write.is_some() {
        chosen.truncate(1); // the first is the default identity
    }
    if chosen.is_empty() {
        return Err(Failure::new(Exit::NotFound, "this process has no such identity").hint("chancery entry list"));
    }
    Ok(chosen)
}

fn show(svid: &X509Svid, args: &FetchArgs) -> Result<SvidView, Failure> {
    if let Some(folder) = &args.write {
        write(svid, folder)?;
    }
    Ok(SvidView {
        spiffe_id: svid.spiffe_id.clone(),
        hint: svid.hint.clone(),
        expire_time: svid.expires.to_rfc3339(),
        written_to: args.write.clone(),
        left: left(svid.expires, now()),
    })
}

/// Writes the three files, the key first: a reader that sees a new certificate finds its key.
fn write(svid: &X509Svid, folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)
        .map_err(|error| Failure::new(Exit::Failed, format!("`{}` could not be made: {error}", folder.display())))?;
    let key = Zeroizing::new(pem::encode(&pem::Pem::new("PRIVATE KEY", svid.key.expose())));
    private_file::write(&folder.join("key.pem"), key.as_bytes())?;
    private_file::write(&folder.join("svid.pem"), certificates(&svid.chain).as_bytes())?;
    private_file::write(&folder.join("bundle.pem"), certificates(&svid.bundle).as_bytes())?;
    Ok(())
}

fn certificates(certificates: &[Vec<u8>]) -> String {
    certificates.iter().map(|der| pem::encode(&pem::Pem::new("CERTIFICATE", der.as_slice()))).collect()
}

/// How long a certificate holds, to the minute: `59m`.
fn left(expires: Time, now: Time) -> String {
    expires.since(now).to_string()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use crypto::SecretBytes;

    use super::*;

    #[test]
    fn three_files_are_written_and_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let svid = |byte| X509Svid {
            spiffe_id: "spiffe://td/ns/a/b".to_owned(),
            chain: vec![vec![byte], vec![byte + 1]],
            key: SecretBytes::from_vec(vec![byte]),
            bundle: vec![vec![byte]],
            hint: String::new(),
            expires: Time(60_000),
        };
        let id = folder.path().join("id");
        write(&svid(1), &id).expect("writes");
        write(&svid(5), &id).expect("replaces");
        let read = |name: &str| pem::parse_many(std::fs::read(id.join(name)).expect("reads")).expect("PEM");
        assert_eq!(read("svid.pem").iter().map(|pem| pem.contents()).collect::<Vec<_>>(), [[5], [6]]);
        assert_eq!((read("key.pem")[0].tag(), read("key.pem")[0].contents()), ("PRIVATE KEY", &[5][..]));
        assert_eq!(read("bundle.pem").len(), 1);
        let mode = std::fs::metadata(id.join("key.pem")).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(left(Time(3_600_000), Time(30_000)), "59m");
    }
}

//! `chancery svid`: the identity of this process, as any workload gets it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chancery_client::workload::{WorkloadError, X509Svid, X509Svids, socket_path, watch_x509};
use chancery_client::{Error, private_file};
use clap::{Args, Subcommand};
use serde::Serialize;
use tonic::Code;
use types::{Reason, Time};
use zeroize::Zeroizing;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Show, note};
use crate::values::now;

const DEFAULT_SOCKET: &str = "unix:///run/chancery/agent.sock";

/// An entry reaches its agent within milliseconds, and a certificate follows.
const ENTRY_PATIENCE: Duration = Duration::from_secs(2);
/// The first pause before the agent is asked again; it doubles while nothing listens.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

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
    let socket = socket_path(&args.socket)?;
    let (_, state) = tokio::time::timeout(context.timeout(), open(&socket))
        .await
        .map_err(|_| Failure::new(Exit::Unavailable, "the agent did not answer in time"))??;
    for svid in chosen(&state, args)? {
        context.print(&show(svid, args)?)?;
    }
    Ok(())
}

async fn watch(args: &FetchArgs, context: &Context) -> Result<(), Failure> {
    let socket = socket_path(&args.socket)?;
    let (mut states, mut state) = open(&socket).await?;
    loop {
        for svid in chosen(&state, args)? {
            output::print_item(context.format(), &show(svid, args)?)?;
        }
        let lost = match states.next().await {
            Ok(Some(next)) => {
                state = next;
                continue;
            }
            Ok(None) => "the agent ended the stream".to_owned(),
            // Without the reason: a broken connection has none, and the nearest one would mislead.
            Err(WorkloadError::Refused(Error::Refused { refusal, code })) if is_broken(code) => refusal.message,
            Err(error) if is_lost(&error) => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        note(&format!("note: {lost}; connecting again"));
        (states, state) = open_again(&socket).await?;
    }
}

/// Opens the stream and reads its first state. An entry that was just made takes a moment to reach the agent, and an
/// agent that has just started a moment to learn of its entries: a refusal counts only when it lasts.
async fn open(socket: &Path) -> Result<(X509Svids, Vec<X509Svid>), WorkloadError> {
    let start = Instant::now();
    loop {
        match open_once(socket).await {
            Err(WorkloadError::Refused(error))
                if error.reason() == Some(Reason::PermissionDenied) && start.elapsed() < ENTRY_PATIENCE =>
            {
                tokio::time::sleep(PAUSE_MIN).await;
            }
            opened => return opened,
        }
    }
}

async fn open_once(socket: &Path) -> Result<(X509Svids, Vec<X509Svid>), WorkloadError> {
    let mut states = watch_x509(socket).await?;
    let first = states.next().await?.unwrap_or_default();
    Ok((states, first))
}

/// Opens the stream again, for as long as it takes an agent to come back.
async fn open_again(socket: &Path) -> Result<(X509Svids, Vec<X509Svid>), WorkloadError> {
    let mut pause = PAUSE_MIN;
    loop {
        tokio::time::sleep(pause).await;
        match open(socket).await {
            Err(error) if is_lost(&error) => pause = (pause * 2).min(PAUSE_MAX),
            opened => return opened,
        }
    }
}

fn is_broken(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal)
}

/// Whether it is about reaching the agent, not about what the agent says: a broken connection has no reason of ours.
fn is_lost(error: &WorkloadError) -> bool {
    match error {
        WorkloadError::NoAgent { .. } => true,
        WorkloadError::Refused(Error::Refused { code, .. }) => is_broken(*code),
        WorkloadError::Refused(_) | WorkloadError::Address(_) | WorkloadError::Malformed(_) => false,
    }
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
    fn an_agent_that_is_gone_is_waited_for_and_one_that_refuses_is_not() {
        let said = |status: tonic::Status| WorkloadError::Refused(Error::from_status(&status));
        let gone = WorkloadError::NoAgent { path: "/a.sock".into(), source: std::io::ErrorKind::NotFound.into() };
        for lost in [gone, said(tonic::Status::unavailable("restarting")), said(tonic::Status::unknown("broken"))] {
            assert!(is_lost(&lost), "{lost}");
        }
        for kept in [said(tonic::Status::permission_denied("no")), WorkloadError::Malformed("x".to_owned())] {
            assert!(!is_lost(&kept), "{kept}");
        }
    }

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

//! `dev-workload`: what the two programs of the tour do. Not for people: it says what happened as lines of JSON.
//!
//! The program knows nothing but the agent's socket and whom it wants to speak to. Who it is itself, the agent tells.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chancery_client::mtls::{self, Mutual};
use chancery_client::workload::{WorkloadError, X509Svid, watch_x509};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use types::{Reason, SpiffeId};

use super::fault::Fault;
use super::report::say;
use super::wait::{Asked, until};
use crate::commands::server::stdin_closed;
use crate::exit::Exit;
use crate::failure::Failure;

/// An entry reaches the agent within milliseconds, a first certificate follows.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest message of the other side.
const MESSAGE_BYTES_MAX: u64 = 4_096;

/// Arguments of `dev-workload`.
#[derive(Args, Debug)]
pub(crate) struct WorkloadArgs {
    /// The agent's socket
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand, Debug)]
enum Part {
    /// Fetch an identity, once
    Fetch,
    /// Accept one connection of that workload
    Serve {
        #[arg(value_parser = SpiffeId::parse)]
        peer: SpiffeId,
    },
    /// Connect to that workload
    Call {
        #[arg(value_parser = SpiffeId::parse)]
        peer: SpiffeId,
        address: SocketAddr,
    },
}

/// What it says on stdout, one line each.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Said {
    /// It has an identity.
    Identity { spiffe_id: String },
    /// It listens there.
    Listening { address: SocketAddr },
    /// It has spoken with somebody, who sent these words.
    Met { peer: String, heard: String },
    /// The agent gave it nothing.
    Refused { reason: String },
}

pub(crate) async fn run(args: WorkloadArgs) -> Result<(), Failure> {
    let failed = |fault: Fault| Failure::new(Exit::Failed, fault.to_string());
    tokio::select! {
        done = play(args) => done.map_err(failed),
        () = stdin_closed() => Err(Failure::new(Exit::Failed, "its standard input closed")),
    }
}

async fn play(args: WorkloadArgs) -> Result<(), Fault> {
    match args.part {
        Part::Fetch => match fetch(&args.socket).await {
            Ok(svid) => tell(&Said::Identity { spiffe_id: svid.spiffe_id }),
            Err(WorkloadError::Refused(error)) => {
                let reason = error.reason().unwrap_or(Reason::Internal);
                tell(&Said::Refused { reason: reason.as_str().to_owned() })
            }
            Err(error) => Err(error.into()),
        },
        Part::Serve { peer } => {
            let svid = registered(&args.socket).await?;
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            tell(&Said::Listening { address: listener.local_addr()? })?;
            let (tcp, _) = listener.accept().await?;
            converse(mtls::accept(&svid, &peer, tcp).await?, &svid.spiffe_id).await
        }
        Part::Call { peer, address } => {
            let svid = registered(&args.socket).await?;
            let tcp = TcpStream::connect(address).await?;
            converse(mtls::connect(&svid, &peer, tcp).await?, &svid.spiffe_id).await
        }
    }
}

/// Fetches once; the answer is the agent's.
async fn fetch(socket: &Path) -> Result<X509Svid, WorkloadError> {
    let svids = watch_x509(socket).await?.next().await?;
    let first = svids.and_then(|svids| svids.into_iter().next());
    first.ok_or_else(|| WorkloadError::Malformed("the agent sent none".to_owned()))
}

/// Fetches until the registration has reached the agent.
async fn registered(socket: &Path) -> Result<X509Svid, Fault> {
    let svid = until(PATIENCE, async || match fetch(socket).await {
        Ok(svid) => Ok(Asked::Yes(svid)),
        Err(error @ WorkloadError::Refused(_)) => Ok(Asked::NotYet(error.to_string())),
        Err(error) => Err(error.into()),
    });
    let svid = svid.await?;
    tell(&Said::Identity { spiffe_id: svid.spiffe_id.clone() })?;
    Ok(svid)
}

/// Says who we are and hears what the other says, so that both know the handshake was accepted.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(mutual: Mutual<S>, own_id: &str) -> Result<(), Fault> {
    let Mutual { mut stream, peer } = mutual;
    stream.write_all(format!("this is {own_id}").as_bytes()).await?;
    stream.shutdown().await?;
    let mut heard = String::new();
    (&mut stream).take(MESSAGE_BYTES_MAX).read_to_string(&mut heard).await?;
    tell(&Said::Met { peer: peer.to_string(), heard })
}

fn tell(said: &Said) -> Result<(), Fault> {
    say(&serde_json::to_string(said)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_one_line_that_reads_back() {
        let table = [
            Said::Identity { spiffe_id: "spiffe://td/ns/default/a".to_owned() },
            Said::Listening { address: ([127, 0, 0, 1], 1).into() },
            Said::Met { peer: "spiffe://td/ns/default/b".to_owned(), heard: "two\nlines".to_owned() },
            Said::Refused { reason: "PERMISSION_DENIED".to_owned() },
        ];
        for said in table {
            let line = serde_json::to_string(&said).expect("encodes");
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(serde_json::from_str::<Said>(&line).expect("reads"), said);
        }
    }

    #[tokio::test]
    async fn both_sides_hear_the_other_out() {
        let (one, other) = tokio::io::duplex(64);
        let id = SpiffeId::parse("spiffe://td.test/ns/default/a").expect("an id");
        let talk = |stream| converse(Mutual { stream, peer: id.clone() }, "spiffe://td.test/ns/default/a");
        let (first, second) = tokio::join!(talk(one), talk(other));
        assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    }
}

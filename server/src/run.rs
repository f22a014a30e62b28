//! A node from start to stop: bind, find out what the folder says, serve.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chancery_client::tls::{AnySelfSigned, CertificateSlot, Identity};
use crypto::sign::P256Signer;
use futures::future::BoxFuture;
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use types::{Reason, Refusal};

use crate::api::{admin_routes, api_routes};
use crate::config::{Config, SealKind};
use crate::folder::{Folder, FolderError};
use crate::formation::Brought;
use crate::membership::{Membership, check_not_removed};
use crate::node::{Node, Parts, Phase};
use crate::{clock, formation, health, join, net, peer_unseal, seal};

pub(crate) const IDENTITY_FILE: &str = "identity.key";
const ADMIN_SOCKET: &str = "admin.sock";
const RAFT_FOLDER: &str = "raft";
/// How long calls that are under way may take to end when the node stops.
const LAST_CALLS: Duration = Duration::from_secs(3);
/// Where the bound addresses are written, for whoever let the node take free ports.
const ADDRESSES_FILE: &str = "addresses.json";

/// Why a node stopped or did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A port or socket cannot be used.
    #[error("{0}")]
    Network(#[from] io::Error),
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The identity key is damaged or TLS cannot be set up.
    #[error("{0}")]
    Setup(String),
    /// The node could not join or open.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The node stopped itself: a write or sync failed, and nothing more may be acknowledged.
    #[error("the node has stopped: {0}")]
    Failed(String),
    /// Serving failed.
    #[error("serving failed: {0}")]
    Serving(#[from] tonic::transport::Error),
}

/// Runs a node until `stop`. With a join token, an empty folder joins that token's cluster; a folder that belongs to a
/// cluster already ignores it.
///
/// # Errors
/// When the folder, the ports, the token or the seal cannot be used; the text says what to do.
pub async fn run(config: Config, join_token: Option<String>, stop: CancellationToken) -> Result<(), RunError> {
    boxed(config, join_token, stop).await
}

/// As a pointer, so that the whole node is compiled once, here: an async function becomes code where it is awaited, which
/// is in every binary.
fn boxed(
    config: Config,
    join_token: Option<String>,
    stop: CancellationToken,
) -> BoxFuture<'static, Result<(), RunError>> {
    Box::pin(run_here(config, join_token, stop))
}

async fn run_here(config: Config, join_token: Option<String>, stop: CancellationToken) -> Result<(), RunError> {
    crypto::tls::install_provider();
    let folder = Folder::open(&config.data_dir)?;
    check_not_removed(&folder)??;
    let membership = Membership::read(&folder)?;
    let (signer, identity) = identity(&folder)?;
    let api = net::bind("api", config.api.listen).await?;
    let peer = net::bind("peer", config.peer.listen).await?;
    let health = net::bind("health", config.health.listen).await?;
    let api_address = advertised("api", config.api.advertise.as_ref(), &api)?;
    let peer_address = advertised("peer", config.peer.advertise.as_ref(), &peer)?;
    let bound = serde_json::json!({ "api": api_address, "peer": peer_address, "health": health.local_addr()? });
    folder.write_json(ADDRESSES_FILE, &bound)?;
    let phase = membership.map_or(Phase::Empty, |membership| found(&folder, membership));
    let opens_by_itself = !matches!(Opens::of(&config, &folder), Opens::WhenAsked);
    let parts = Parts {
        opens_by_itself,
        config,
        folder,
        signer,
        identity,
        api_address,
        peer_address,
        peer_listener: Arc::new(peer),
        stop,
    };
    let node = Node::new(parts, phase);
    let serving = serve(Arc::clone(&node), api, health);
    let opening = open(&node, join_token);
    tokio::pin!(serving);
    let served = tokio::select! {
        served = &mut serving => served,
        opened = opening => match opened {
            Ok(()) => until_stopped(&node, serving.as_mut()).await,
            Err(refusal) => Err(refusal.into()),
        },
    };
    node.stop.cancel();
    if let Ok(core) = node.core() {
        core.close().await;
    }
    served
}

/// Serves until the node is stopped, then lets calls end for a moment; a failed log ends the node as well.
async fn until_stopped(
    node: &Arc<Node>,
    mut serving: std::pin::Pin<&mut impl Future<Output = Result<(), RunError>>>,
) -> Result<(), RunError> {
    tokio::select! {
        served = &mut serving => return served,
        () = node.stop.cancelled() => {}
    }
    // Streams end by themselves when the node stops; a caller that holds a connection open does not hold the node.
    match tokio::time::timeout(LAST_CALLS, serving).await {
        Ok(served) => served,
        Err(_) => Ok(()),
    }
    .and_then(|()| node.failure().map_or(Ok(()), |why| Err(RunError::Failed(why))))
}

/// A folder that knows its cluster holds a sealed node; one without seal and log was cut off after its admission and
/// still has to be given the root key.
fn found(folder: &Folder, membership: Membership) -> Phase {
    let has = |name: &str| folder.join(name).exists();
    if has(seal::SEAL_FILE) || has(RAFT_FOLDER) { Phase::Sealed(membership) } else { Phase::Admitted(membership) }
}

/// The node's identity key: made at the first start, never replaced.
fn identity(folder: &Folder) -> Result<(P256Signer, Identity), RunError> {
    let setup = |error: &dyn std::fmt::Display| RunError::Setup(error.to_string());
    let signer = match folder.read_private(IDENTITY_FILE)? {
        Some(pkcs8) => {
            let pkcs8 = crypto::SecretBytes::from_vec(pkcs8);
            P256Signer::from_pkcs8(pkcs8.expose())
                .map_err(|_| setup(&format!("`{}` is damaged", folder.join(IDENTITY_FILE).display())))?
        }
        None => {
            let signer = P256Signer::generate();
            folder.write_private(IDENTITY_FILE, signer.to_pkcs8().expose())?;
            signer
        }
    };
    let identity = Identity::self_signed(&signer, "chancery node", clock::now()).map_err(|error| setup(&error))?;
    Ok((signer, identity))
}

fn advertised(what: &str, given: Option<&String>, listener: &TcpListener) -> io::Result<String> {
    let bound = listener.local_addr()?;
    match given {
        Some(address) => Ok(address.clone()),
        None if bound.ip().is_unspecified() => Err(io::Error::other(format!(
            "nobody reaches this node under {bound}: set `{what}.advertise` to the host and port that others use \
             (--{what}-advertise), or `{what}.listen` to one address"
        ))),
        None => Ok(bound.to_string()),
    }
}

/// What it takes to open a node at its start.
enum Opens {
    /// Nothing.
    ByItself,
    /// The passphrase in that file.
    WithPassphrase(PathBuf),
    /// Somebody has to come.
    WhenAsked,
}

impl Opens {
    /// By the seals that the node has; before it has any, by the one that it is to take.
    fn of(config: &Config, folder: &Folder) -> Self {
        let record = seal::read(folder).ok().flatten();
        let has = |kind: &str| record.as_ref().is_some_and(|record| record.has(kind));
        let (by_itself, passphrase) = match (&record, config.seal) {
            (Some(_), _) => (has("file") || has("pkcs11") && config.token.is_some(), has("passphrase")),
            // A node that was just admitted is sealed for those who hold the shares, without them.
            (None, SealKind::File | SealKind::Shamir | SealKind::Pkcs11) => (true, false),
            (None, SealKind::Passphrase) => (false, true),
        };
        match &config.passphrase_file {
            _ if by_itself => Self::ByItself,
            Some(path) if passphrase => Self::WithPassphrase(path.clone()),
            _ => Self::WhenAsked,
        }
    }
}

/// Joins if asked to, and unseals if the seal can do so by itself.
async fn open(node: &Arc<Node>, join_token: Option<String>) -> Result<(), Refusal> {
    if let Some(token) = join_token {
        join::redeem(node, &token).await?;
    }
    if !matches!(node.phase(), Phase::Empty) {
        node.sealed_port.start(node).await.map_err(|error| formation::internal(&error))?;
    }
    if matches!(node.phase(), Phase::Empty) {
        tracing::info!("this node belongs to no cluster yet: run `chancery init`, or start it with a join token");
        return Ok(());
    }
    let passphrase = match Opens::of(&node.config, &node.folder) {
        Opens::ByItself => crypto::SecretBytes::from_vec(Vec::new()),
        Opens::WithPassphrase(path) => formation::read_passphrase(&path)?,
        Opens::WhenAsked => {
            tracing::info!("this node is sealed: run `chancery seal unseal`");
            tokio::spawn(peer_unseal::ask(Arc::clone(node)));
            return Ok(());
        }
    };
    // The seal opens by itself: whoever started the process has unsealed it.
    let opened = formation::unseal(node, Brought::Passphrase(passphrase), types::Principal::LocalAdmin).await;
    match opened {
        // A token may be away for a while, and one that is asked over and over with a wrong PIN locks itself.
        Err(refusal) if waits_for_token(node, &refusal) => {
            tracing::error!(%refusal, "this node stays sealed: `chancery seal unseal` on its machine asks the token again");
            node.waits_for_somebody();
            tokio::spawn(peer_unseal::ask(Arc::clone(node)));
            Ok(())
        }
        opened => opened,
    }
}

fn waits_for_token(node: &Node, refusal: &Refusal) -> bool {
    let record = seal::read(&node.folder).ok().flatten();
    let asks = record.map_or(node.config.seal == SealKind::Pkcs11, |record| record.has("pkcs11"));
    asks && refusal.reason == Reason::UnsealFailed
}

async fn serve(node: Arc<Node>, api: TcpListener, health_listener: TcpListener) -> Result<(), RunError> {
    let stop = node.stop.clone();
    let tasks = tokio::join!(serve_api(Arc::clone(&node), api), serve_admin(Arc::clone(&node)), async {
        health::serve(health_listener, Arc::clone(&node), stop.clone()).await.map_err(RunError::from)
    },);
    tasks.0.and(tasks.1).and(tasks.2)
}

async fn serve_api(node: Arc<Node>, listener: TcpListener) -> Result<(), RunError> {
    let setup = |error: &dyn std::fmt::Display| RunError::Setup(error.to_string());
    let slot: Arc<CertificateSlot> = Arc::clone(&node.certificate);
    let tls = chancery_client::tls::server_config(slot, AnySelfSigned::optional()).map_err(|error| setup(&error))?;
    let routes = api_routes(&node).map_err(|error| setup(&error))?;
    let incoming = net::incoming(listener, Arc::new(tls), node.stop.clone());
    server().add_routes(routes).serve_with_incoming_shutdown(incoming, node.stop.clone().cancelled_owned()).await?;
    Ok(())
}

/// The local admin socket: whoever may open the file, the owner of the data folder, may form the cluster.
async fn serve_admin(node: Arc<Node>) -> Result<(), RunError> {
    let path = node.folder.join(ADMIN_SOCKET);
    // The folder is locked for this process, so a socket that lies there is a dead one's.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let routes = admin_routes(&node);
    let incoming = UnixListenerStream::new(listener);
    server().add_routes(routes).serve_with_incoming_shutdown(incoming, node.stop.clone().cancelled_owned()).await?;
    let _ = std::fs::remove_file(&path);
    Ok(())
}

/// The bounds that every listener has.
fn server() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .max_concurrent_streams(Some(types::limits::STREAMS_PER_CONNECTION_MAX))
        .timeout(types::limits::REQUEST_TIMEOUT.to_std())
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .http2_max_pending_accept_reset_streams(Some(64))
}

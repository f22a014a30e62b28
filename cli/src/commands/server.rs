//! `chancery server`: runs a node until it is told to stop.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;

use chancery_client::token::JoinToken;
use clap::{Args, ValueEnum};
use server::config::{Config, Listener, LogFormat, LogSettings, SealKind, SealSettings, Settings};
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_memory;

/// Arguments of `server`; each is also a setting of the file and, as CHANCERY_…, of the environment.
#[derive(Args, Debug)]
pub(crate) struct ServerArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// File of mode 0600 with a join token of `chancery cluster token --for node`; for the first start only
    #[arg(long, value_name = "FILE")]
    join: Option<PathBuf>,
    /// Join without a vote: the node answers reads and uses of keys, and votes once `chancery cluster promote` says so
    #[arg(long, requires = "join")]
    learner: bool,
    /// End when standard input closes, so that a node never outlives whoever started it
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
    /// What is logged, for example info or warn,raft=debug
    #[arg(long, value_name = "FILTER")]
    log_level: Option<String>,
    /// Shape of the log on stderr
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogShape>,
}

/// Where a node is: its folder, its addresses, its seal.
#[derive(Args, Debug)]
pub(crate) struct NodeArgs {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the node keeps everything
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    ports: Ports,
    /// What wraps the root key on this node's disk; `file`, whose key lies beside the data and which is for development, if
    /// neither this nor the configuration says otherwise
    #[arg(long, value_name = "TYPE")]
    seal: Option<Seal>,
    /// File of mode 0600 with the passphrase of the seal; without it the node waits for `chancery seal unseal`
    #[arg(long, value_name = "FILE")]
    seal_passphrase_file: Option<PathBuf>,
}

/// Where the ports listen and how others reach them.
#[derive(Args, Debug)]
pub(crate) struct Ports {
    /// Address of the API
    #[arg(long, value_name = "IP:PORT")]
    api_listen: Option<SocketAddr>,
    /// How clients reach the API
    #[arg(long, value_name = "HOST:PORT")]
    api_advertise: Option<String>,
    /// Address of the peer port
    #[arg(long, value_name = "IP:PORT")]
    peer_listen: Option<SocketAddr>,
    /// How members reach the peer port
    #[arg(long, value_name = "HOST:PORT")]
    peer_advertise: Option<String>,
    /// Address of health and metrics
    #[arg(long, value_name = "IP:PORT")]
    health_listen: Option<SocketAddr>,
}

/// The seals there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Seal {
    /// A key file beside the data: for development only
    File,
    /// A passphrase through argon2id
    Passphrase,
    /// A key split into shares, some of which have to meet
    Shamir,
    /// A key in the token that the configuration names under `[seal.pkcs11]`
    Pkcs11,
}

/// Shapes of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum LogShape {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Runs the node.
pub(crate) async fn run(args: ServerArgs) -> Result<(), Failure> {
    private_memory::keep()?;
    let until_stdin_closes = args.until_stdin_closes;
    let join = args.join.as_deref().map(super::agent::read_token).transpose()?;
    let format = args.log_format.map(|shape| match shape {
        LogShape::Text => LogFormat::Text,
        LogShape::Json => LogFormat::Json,
    });
    let log = LogSettings { level: args.log_level, format };
    let mut config = args.node.load(Settings { log, ..Settings::default() })?;
    config.join_as_learner = args.learner;
    let shape = match config.log_format {
        LogFormat::Text => LogShape::Text,
        LogFormat::Json => LogShape::Json,
    };
    start_logging(&config.log_level, shape)?;
    let (signal, stop) = (stop_signal(until_stdin_closes)?, CancellationToken::new());
    let told = stop.clone();
    tokio::spawn(async move {
        signal.await;
        told.cancel();
    });
    let token = match join {
        Some(token) => Some(encoded(&token)?),
        None => None,
    };
    server::run(config, token, stop).await.map_err(|error| Failure::new(Exit::Failed, error.to_string()))
}

/// The node redeems the whole text; it is parsed before so that a damaged one is refused here.
fn encoded(token: &JoinToken) -> Result<String, Failure> {
    let text = token.encode().map_err(|error| Failure::new(Exit::Invalid, error.to_string()))?;
    Ok(text.as_str().to_owned())
}

/// Starts logging to stderr. Values of secret types print redacted wherever they turn up.
pub(crate) fn start_logging(filter: &str, shape: LogShape) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| Failure::new(Exit::Usage, format!("`{filter}` is not a log filter: {error}")))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr);
    let started = match shape {
        LogShape::Text => builder.try_init(),
        LogShape::Json => builder.json().try_init(),
    };
    started.map_err(|error| Failure::new(Exit::Failed, format!("logging could not be started: {error}")))
}

/// Resolves when the process is told to stop: SIGTERM, Ctrl-C, or standard input closing where that was asked for.
pub(crate) fn stop_signal(until_stdin_closes: bool) -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let failed = |error| Failure::new(Exit::Failed, format!("signals cannot be received: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = stdin_closed(), if until_stdin_closes => {}
        }
    })
}

/// Resolves when nobody can write to standard input any more.
pub(crate) async fn stdin_closed() {
    let (mut stdin, mut ignored) = (tokio::io::stdin(), [0; 64]);
    while stdin.read(&mut ignored).await.is_ok_and(|got| got > 0) {}
}

impl NodeArgs {
    /// The settings: file, then environment, then these flags and `more`.
    pub(crate) fn load(self, more: Settings) -> Result<Config, Failure> {
        let file = self.config.clone();
        Config::load(file.as_deref(), self.settings().overridden_by(more)).map_err(|error| {
            Failure::new(Exit::Usage, error.to_string()).hint("deploy/conf has an example of every setting")
        })
    }

    /// The flags as settings, which override file and environment.
    fn settings(self) -> Settings {
        let Ports { api_listen, api_advertise, peer_listen, peer_advertise, health_listen } = self.ports;
        let kind = self.seal.map(|seal| match seal {
            Seal::File => SealKind::File,
            Seal::Passphrase => SealKind::Passphrase,
            Seal::Shamir => SealKind::Shamir,
            Seal::Pkcs11 => SealKind::Pkcs11,
        });
        Settings {
            data_dir: self.data_dir,
            api: Listener { listen: api_listen, advertise: api_advertise },
            peer: Listener { listen: peer_listen, advertise: peer_advertise },
            health: Listener { listen: health_listen, advertise: None },
            seal: SealSettings { kind, passphrase_file: self.seal_passphrase_file, ..SealSettings::default() },
            ..Settings::default()
        }
    }
}

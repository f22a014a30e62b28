//! `chancery agent`: reads its settings and runs the agent of this host until it is told to stop.

use std::path::{Path, PathBuf};

use chancery_client::private_file;
use chancery_client::token::JoinToken;
use clap::Args;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// Arguments of `agent`.
#[derive(Args, Debug)]
pub(crate) struct AgentArgs {
    /// Where the agent keeps its key and enrolment
    #[arg(long, value_name = "DIR", env = "CHANCERY_AGENT_DIR", default_value = "/var/lib/chancery-agent")]
    data_dir: PathBuf,
    /// Where workloads connect
    #[arg(long, value_name = "PATH", env = "CHANCERY_AGENT_SOCKET", default_value = "/run/chancery/agent.sock")]
    socket: PathBuf,
    /// File of mode 0600 with a join token of `chancery cluster token --for agent`; for the first start only
    #[arg(long, value_name = "FILE")]
    join_token_file: Option<PathBuf>,
    /// End when standard input closes, so that an agent never outlives whoever started it
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
    /// What is logged, for example info or warn,agent=debug
    #[arg(long, value_name = "FILTER", env = "CHANCERY_LOG_LEVEL", default_value = "info")]
    log_level: String,
}

/// Runs the agent until it is told to stop.
pub(crate) async fn run(args: AgentArgs, context: &Context) -> Result<(), Failure> {
    crate::private_memory::keep()?;
    super::server::start_logging(&args.log_level, super::server::LogShape::Text)?;
    let join_token = args.join_token_file.as_deref().map(read_token).transpose()?;
    let config = agent::Config {
        data_dir: args.data_dir,
        socket_path: args.socket,
        endpoints: context.addresses().to_vec(),
        join_token,
    };
    let stop = super::server::stop_signal(args.until_stdin_closes)?;
    agent::run(config, stop).await.map_err(|error| Failure::new(Exit::Failed, error.to_string()))
}

/// Reads a join token from a file that nobody else may read.
pub(crate) fn read_token(path: &Path) -> Result<JoinToken, Failure> {
    let content = Zeroizing::new(private_file::read(path)?);
    let text = std::str::from_utf8(&content)
        .map_err(|_| Failure::new(Exit::Invalid, format!("`{}` holds no join token", path.display())))?;
    JoinToken::parse(text)
        .map_err(|error| Failure::new(Exit::Invalid, error.to_string()).hint("chancery cluster token --out FILE"))
}

//! What an agent is started with.

use std::path::PathBuf;

use chancery_client::Address;
use chancery_client::token::JoinToken;

/// Where the socket is when nothing else is said.
pub const SOCKET_PATH_DEFAULT: &str = "/run/chancery/agent.sock";

/// What an agent is started with.
#[derive(Debug)]
pub struct Config {
    /// Where its key, its enrolment and the trust document are kept: a folder of mode 0700, made when missing. Two
    /// agents cannot share one.
    pub data_dir: PathBuf,
    /// Where workloads connect; absolute.
    pub socket_path: PathBuf,
    /// API addresses of nodes to try first; may be empty: the token, the enrolment and the trust document know some.
    pub endpoints: Vec<Address>,
    /// Admits this agent, once. Not needed after the first start, and then ignored.
    pub join_token: Option<JoinToken>,
}

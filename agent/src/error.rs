//! Why the agent stopped or did not start.

use std::io;
use std::path::PathBuf;

/// Why the agent stopped or did not start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Without SO_PEERPIDFD nobody can say for sure who is calling.
    #[error(
        "this kernel cannot name the process behind a unix socket (SO_PEERPIDFD: {0}); the agent needs Linux 6.5 or later"
    )]
    Kernel(io::Error),
    /// The workload socket.
    #[error("the workload socket `{}`: {source}", path.display())]
    Socket {
        /// Where it should be.
        path: PathBuf,
        /// Why it is not.
        source: io::Error,
    },
    /// gRPC on the socket.
    #[error("the workload socket broke: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The reflection service did not take our own descriptors.
    #[error("the descriptors of the API are damaged: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// A part of the agent ended although the whole did not; a bug.
    #[error("a part of the agent ended unexpectedly; its log has more")]
    PartEnded,
}

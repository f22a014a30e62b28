//! Why the agent stopped or did not start.

use std::io;
use std::path::PathBuf;

use chancery_client::identity::IdentityError;
use chancery_client::private_file::FileError;
use chancery_client::tls::IdentityFault;
use chancery_client::token::TokenError;
use types::ClusterId;

/// Why the agent stopped or did not start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Without SO_PEERPIDFD nobody can say for sure who is calling.
    #[error(
        "this kernel cannot name the process behind a unix socket (SO_PEERPIDFD: {0}); \
         the agent needs Linux 6.5 or later"
    )]
    Kernel(io::Error),
    /// The agent's folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// The agent's key.
    #[error(transparent)]
    Key(#[from] IdentityError),
    /// The agent's certificate over its own key.
    #[error(transparent)]
    Identity(#[from] IdentityFault),
    /// The lock file in the agent's folder.
    #[error("`{}`: {source}", path.display())]
    Lock {
        /// Which file.
        path: PathBuf,
        /// Why it cannot be locked.
        source: io::Error,
    },
    /// Another agent uses the folder.
    #[error("another agent runs in `{}`: give this one a folder of its own", folder.display())]
    AlreadyRunning {
        /// Which folder.
        folder: PathBuf,
    },
    /// The first start needs a token.
    #[error(
        "this agent is not enrolled: make a join token with `chancery cluster token --for agent` and start it with that"
    )]
    NotEnrolled,
    /// The token admits a node.
    #[error("this join token admits a node, not an agent: make one with `chancery cluster token --for agent`")]
    TokenForNode,
    /// The token is no token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The cluster does not take the token.
    #[error(
        "the join token for `{name}` was refused: it has been used, has expired or was never made; \
         make a new one with `chancery cluster token --for agent`"
    )]
    TokenRejected {
        /// Whom it was for.
        name: String,
    },
    /// The token belongs to another cluster than the folder.
    #[error(
        "this folder is enrolled in cluster {enrolled}, the join token is for {token}: use another folder, or no token"
    )]
    OtherCluster {
        /// Where the agent is enrolled.
        enrolled: ClusterId,
        /// Whose token was given.
        token: ClusterId,
    },
    /// The cluster's answer does not fit the token.
    #[error("the token is for `{wanted}`, the cluster enrolled `{got}`")]
    EnrolledAsOther {
        /// What the token says.
        wanted: String,
        /// What the cluster says.
        got: String,
    },
    /// The cluster cannot be used.
    #[error(transparent)]
    Cluster(#[from] chancery_client::Error),
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

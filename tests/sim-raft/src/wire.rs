//! What clients and nodes say to each other beside Raft: one question and one answer a connection.

use std::io;
use std::time::Duration;

use raft::Member;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use state::{Command, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::TcpStream;
use types::{KeyName, NodeId, OperatorName, Principal, Refusal, RequestId, TokenId};

use crate::fences::Renewal;

/// The port of the front desk.
pub(crate) const DESK_PORT: u16 = 7_443;
const FRAME_BYTES_MAX: usize = 1 << 20;

/// A question to a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Forms the cluster on this node.
    Form,
    /// A change on behalf of a client.
    Change { request: RequestId, change: Change },
    /// What a node says for itself; the leader proposes it.
    Own { actor: Principal, command: Box<Command> },
    /// A linearizable read of a key and of an operator's standing.
    Read { key: KeyName, operator: OperatorName },
    /// A change of the members.
    Members(MemberChange),
    /// Whether an operator stands, as that node knows it: answered under its lease, without asking anybody.
    Serve { operator: OperatorName },
    /// A member asks the leader for a lease.
    Renew(Renewal),
    /// The leader asks how far a node has applied; it waits for that entry for a while.
    Applied(u64),
}

/// A change that a client asks for; the desk makes a command of it, from the state at that moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Change {
    CreateKey { key: KeyName },
    Rotate { key: KeyName },
    Enrol { operator: OperatorName },
    Revoke { operator: OperatorName },
    Invite { token: TokenId },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum MemberChange {
    Learn(NodeId, Member),
    Promote(NodeId),
    Remove(NodeId),
    Transfer(NodeId),
}

/// A node's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// What `apply` said of the change.
    Applied(Result<Reply, Refusal>),
    /// What was read.
    Seen(Seen),
    /// Ask that node, if one is known. Nothing was proposed.
    NotLeader(Option<NodeId>),
    /// It may or may not have happened.
    Unknown,
    /// Done, where there is nothing more to say.
    Done,
    /// Whether the operator is revoked.
    Served { revoked: bool },
    /// A lease of that length, by that name: term and number.
    Granted(Duration, (u64, u64)),
    /// The last entry that the node has applied.
    HasApplied(u64),
}

/// A key and an operator as a read saw them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// The newest version; zero when there is no such key.
    pub(crate) version: u32,
    /// The request that made it.
    pub(crate) made_by: Option<RequestId>,
    /// Whether the operator was revoked.
    pub(crate) revoked: bool,
}

/// Asks a node and waits for its answer.
///
/// # Errors
/// No connection, or none that lasted, in time.
pub(crate) async fn ask(node: NodeId, question: &Ask, patience: Duration) -> io::Result<Answer> {
    let asked = async {
        let mut stream = TcpStream::connect((name(node), DESK_PORT)).await?;
        send(&mut stream, question).await?;
        receive(&mut stream).await
    };
    tokio::time::timeout(patience, asked).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

pub(crate) async fn send(stream: &mut TcpStream, message: &impl Serialize) -> io::Result<()> {
    let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
    stream.write_u32(u32::try_from(bytes.len()).map_err(io::Error::other)?).await?;
    stream.write_all(&bytes).await
}

pub(crate) async fn receive<T: DeserializeOwned>(stream: &mut TcpStream) -> io::Result<T> {
    let length = usize::try_from(stream.read_u32().await?).map_err(io::Error::other)?;
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::other("a frame is too long"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    postcard::from_bytes(&bytes).map_err(io::Error::other)
}

/// A node's host name.
pub(crate) fn name(node: NodeId) -> String {
    format!("node-{}", node.0)
}

//! What is said about a log: its head, and the checkpoint text that others read and sign.

use serde::{Deserialize, Serialize};
use types::ClusterId;

use crate::{Hash, LogName};

/// The first `size` records of a log, in one hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Head {
    /// Which log.
    pub log: LogName,
    /// How many records.
    pub size: u64,
    /// Their Merkle root.
    pub root: Hash,
}

/// A head in the C2SP tlog-checkpoint form: three lines, the body of a signed note.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Names the log for all time: `chancery/{cluster id}/{log}`.
    pub origin: String,
    /// How many records.
    pub size: u64,
    /// Their Merkle root.
    pub root: Hash,
}

/// The text is not a checkpoint body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a checkpoint is three lines: origin, size in decimal, root in base64")]
pub struct CheckpointError;

impl Head {
    /// The head of a log without records.
    #[must_use]
    pub fn empty(log: LogName) -> Self {
        Self { log, size: 0, root: Hash::empty_tree() }
    }

    /// The checkpoint of this head in that cluster.
    #[must_use]
    pub fn checkpoint(&self, cluster: ClusterId) -> Checkpoint {
        Checkpoint { origin: format!("chancery/{cluster}/{}", self.log), size: self.size, root: self.root }
    }
}

impl Checkpoint {
    /// Reads a body: exactly three lines, each ended by a newline, each in its one form.
    ///
    /// # Errors
    /// When it is anything else; extension lines and signatures are not taken.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.split('\n');
        let mut line = || lines.next().ok_or(CheckpointError);
        let (origin, size, root, rest) = (line()?, line()?, line()?, line()?);
        let checkpoint = Self {
            origin: origin.to_owned(),
            size: size.parse().map_err(|_| CheckpointError)?,
            root: Hash::from_base64(root).ok_or(CheckpointError)?,
        };
        let whole = !origin.is_empty() && rest.is_empty() && checkpoint.to_string() == text;
        if whole { Ok(checkpoint) } else { Err(CheckpointError) }
    }

    /// The head it states, when its origin is a log of that cluster.
    #[must_use]
    pub fn head(&self, cluster: ClusterId) -> Option<Head> {
        let log = self.origin.strip_prefix(&format!("chancery/{cluster}/"))?;
        Some(Head { log: LogName::parse(log)?, size: self.size, root: self.root })
    }
}

impl std::fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, self.root.to_base64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::NodeId;

    #[test]
    fn the_example_of_the_specification() {
        let cluster = ClusterId::from_hex("000102030405060708090a0b0c0d0e0f").expect("hex");
        let head = Head { log: LogName::Node(NodeId(1)), size: 88, root: Hash::empty_tree() };
        let text = head.checkpoint(cluster).to_string();
        assert!(include_str!("../../docs/spec/audit.md").contains(&format!("```\n{text}```")));
        let read = Checkpoint::parse(&text).expect("a checkpoint");
        assert_eq!(read.head(cluster), Some(head));
        assert_eq!(read.head(ClusterId([9; 16])), None);
        for wrong in [
            String::new(),
            text.trim_end().to_owned(),
            format!("{text}\n"),
            text.replace("\n88\n", "\n088\n"),
            text.replace("\n88\n", "\n+88\n"),
            text.replace('=', ""),
            format!("\n{}", text.split_once('\n').expect("lines").1),
        ] {
            assert_eq!(Checkpoint::parse(&wrong), Err(CheckpointError), "{wrong:?}");
        }
    }
}

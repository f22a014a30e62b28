//! What a node remembers of its cluster in files that it can read while sealed: who it is, and who the members are.

use std::collections::BTreeMap;

use raft::{Member, Members};
use serde::{Deserialize, Serialize};
use types::{ClusterId, NodeId, Reason, Refusal, SpkiHash, TrustDomain};

use crate::folder::{Folder, FolderError};

const NODE_FILE: &str = "node.json";
const MEMBERS_FILE: &str = "members.json";
const REMOVED_FILE: &str = "removed.json";

/// `node.json`: who this node is. Written once, when it has become a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Membership {
    version: u32,
    cluster: String,
    node: u64,
    /// SPIFFE IDs are made in it.
    pub trust_domain: TrustDomain,
}

/// `members.json`: who the others are, as Raft last said, and as others have said while this node is behind. Read while sealed.
#[derive(Debug, Default, Serialize, Deserialize)]
struct MembersFile {
    members: BTreeMap<u64, MemberRow>,
}

#[derive(Debug, Serialize, Deserialize)]
struct MemberRow {
    address: String,
    spki: String,
    voter: bool,
}

impl Membership {
    /// A node of that number in that cluster.
    #[must_use]
    pub(crate) fn new(cluster: ClusterId, node: NodeId, trust_domain: TrustDomain) -> Self {
        Self { version: 1, cluster: cluster.to_hex(), node: node.0, trust_domain }
    }

    /// What the folder says; `None` when the node belongs to no cluster yet.
    ///
    /// # Errors
    /// When the file is damaged.
    pub(crate) fn read(folder: &Folder) -> Result<Option<Self>, FolderError> {
        let read: Option<Self> = folder.read_json(NODE_FILE)?;
        if let Some(membership) = &read
            && (membership.version != 1 || ClusterId::from_hex(&membership.cluster).is_none())
        {
            let path = folder.join(NODE_FILE);
            return Err(chancery_client::private_file::FileError::damaged(&path, "it is not of version 1").into());
        }
        Ok(read)
    }

    /// Writes it: from now on the folder belongs to that cluster.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn write(&self, folder: &Folder) -> Result<(), FolderError> {
        folder.write_json(NODE_FILE, self)
    }

    /// The cluster.
    #[must_use]
    pub(crate) fn cluster(&self) -> ClusterId {
        ClusterId::from_hex(&self.cluster).unwrap_or(ClusterId([0; 16]))
    }

    /// This node.
    #[must_use]
    pub(crate) fn node(&self) -> NodeId {
        NodeId(self.node)
    }
}

/// `removed.json`: this folder's node was taken out of its cluster. Nothing ever removes the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Removed {
    version: u32,
    cluster: String,
    node: u64,
}

/// Notes that this node was removed: the folder never serves again.
///
/// # Errors
/// When the disk refuses.
pub(crate) fn write_removed(folder: &Folder, cluster: ClusterId, node: NodeId) -> Result<(), FolderError> {
    folder.write_json(REMOVED_FILE, &Removed { version: 1, cluster: cluster.to_hex(), node: node.0 })
}

/// Refuses the folder of a node that was removed.
///
/// # Errors
/// [`Reason::Removed`]; when the file is damaged.
pub(crate) fn check_not_removed(folder: &Folder) -> Result<Result<(), Refusal>, FolderError> {
    let removed: Option<Removed> = folder.read_json(REMOVED_FILE)?;
    let Some(Removed { cluster, node, .. }) = removed else { return Ok(Ok(())) };
    let text = format!(
        "this is the folder of {}, which was removed from cluster {cluster} and does not come back: \
         give the node an empty folder and join it as a new one, with a token of `chancery cluster token --for node`",
        NodeId(node)
    );
    Ok(Err(Refusal::new(Reason::Removed, text)))
}

/// The members as last written; none before.
///
/// # Errors
/// When the file is damaged.
pub(crate) fn read_members(folder: &Folder) -> Result<Members, FolderError> {
    let file: MembersFile = folder.read_json(MEMBERS_FILE)?.unwrap_or_default();
    let mut members = Members::default();
    for (id, row) in file.members {
        if let Some(spki) = SpkiHash::from_hex(&row.spki) {
            members.all.insert(NodeId(id), Member { address: row.address, spki });
            if row.voter {
                members.voters.insert(NodeId(id));
            }
        }
    }
    Ok(members)
}

/// Writes the members.
///
/// # Errors
/// When the disk refuses.
pub(crate) fn write_members(folder: &Folder, members: &Members) -> Result<(), FolderError> {
    let row = |(id, member): (&NodeId, &Member)| {
        let row =
            MemberRow { address: member.address.clone(), spki: member.spki.to_hex(), voter: members.is_voter(*id) };
        (id.0, row)
    };
    folder.write_json(MEMBERS_FILE, &MembersFile { members: members.all.iter().map(row).collect() })
}

/// Whether that is a `node.json`: a door for `fuzz/`.
#[cfg(fuzzing)]
#[must_use]
pub fn is_node_file(folder: &std::path::Path, bytes: &[u8]) -> bool {
    let folder = in_folder(folder, NODE_FILE, bytes);
    matches!(Membership::read(&folder), Ok(Some(membership)) if membership.cluster().to_hex() == membership.cluster)
}

/// How many members a `members.json` names: a door for `fuzz/`.
#[cfg(fuzzing)]
#[must_use]
pub fn members_of_file(folder: &std::path::Path, bytes: &[u8]) -> Option<usize> {
    let folder = in_folder(folder, MEMBERS_FILE, bytes);
    let members = read_members(&folder).ok()?;
    assert!(members.voters.iter().all(|voter| members.all.contains_key(voter)), "a voter who is no member");
    Some(members.all.len())
}

#[cfg(fuzzing)]
#[expect(clippy::expect_used, reason = "without a folder nothing can be tried")]
fn in_folder(folder: &std::path::Path, name: &str, bytes: &[u8]) -> Folder {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(folder.join(name));
    std::io::Write::write_all(&mut file.expect("opens"), bytes).expect("writes");
    Folder::open(folder).expect("opens")
}

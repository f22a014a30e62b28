//! What the kernel says about a process, as selectors: uid, gid and supplementary groups, path and SHA-256 of the
//! executable. A property that cannot be read is absent, so a selector on it matches nothing.
//!
//! What this cannot see: processes of one uid may trace one another or hand one another their sockets, so a path or a
//! hash tells programs of one uid apart only as far as that uid does not attack itself. Specified in
//! `docs/spec/workload-api.md`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use ca::Selector;
use tokio::sync::Semaphore;
use types::limits::EXECUTABLE_HASHING_MAX;

use crate::executable::Hashes;
use crate::peer::{FileId, Peer};

/// Why a process gets nothing. Each ends its streams.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttestError {
    #[error("the process has ended")]
    Ended,
    #[error("the process has become another program or user since it connected; connect again")]
    Changed,
    #[error("the process could not be looked at: {0}")]
    Io(#[from] io::Error),
}

/// Whether anybody asks for the hash of executables: hashing is the only costly part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Depth {
    /// User, groups and path.
    Cheap,
    /// The hash too.
    WithHash,
}

/// Attests processes; remembers the hashes of executables.
#[derive(Clone, Debug)]
pub(crate) struct Attestor {
    hashes: Arc<Hashes>,
    hashing: Arc<Semaphore>,
}

impl Attestor {
    pub(crate) fn new() -> Self {
        Self { hashes: Arc::default(), hashing: Arc::new(Semaphore::new(EXECUTABLE_HASHING_MAX)) }
    }

    /// What holds for the process now. Everything was read while it lived.
    ///
    /// # Errors
    /// When it has ended, is no longer what it was, or the kernel does not say.
    pub(crate) async fn attest(&self, peer: &Arc<Peer>, depth: Depth) -> Result<BTreeSet<Selector>, AttestError> {
        let permit = match depth {
            Depth::Cheap => None,
            Depth::WithHash => Some(Arc::clone(&self.hashing).acquire_owned().await.map_err(io::Error::other)?),
        };
        let (peer, hashes) = (Arc::clone(peer), Arc::clone(&self.hashes));
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            read(&peer, depth, &hashes)
        });
        reading.await.map_err(io::Error::other)?
    }
}

fn read(peer: &Peer, depth: Depth, hashes: &Hashes) -> Result<BTreeSet<Selector>, AttestError> {
    let facts = facts(peer, depth, hashes);
    // The order matters: only a process alive after the last read owned its pid during all of them.
    if peer.is_alive() { facts } else { Err(AttestError::Ended) }
}

fn facts(peer: &Peer, depth: Depth, hashes: &Hashes) -> Result<BTreeSet<Selector>, AttestError> {
    let proc = Path::new("/proc").join(peer.pid().to_string());
    let status = Credentials::parse(&std::fs::read_to_string(proc.join("status"))?)
        .ok_or_else(|| io::Error::other("its status has no user and group"))?;
    if status.uid != peer.uid() {
        return Err(AttestError::Changed);
    }
    let mut facts: BTreeSet<_> = status.groups.into_iter().map(Selector::UnixGid).collect();
    facts.insert(Selector::UnixUid(status.uid));
    // An agent without privileges may not look at the programs of other users; then path and hash are unknown.
    let program = match File::open(proc.join("exe")) {
        Ok(program) => program,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            tracing::debug!(pid = peer.pid(), "no right to see the executable, so path and sha256 are unknown");
            return Ok(facts);
        }
        Err(error) => return Err(error.into()),
    };
    let metadata = program.metadata()?;
    let id = FileId { device: metadata.dev(), inode: metadata.ino() };
    if !peer.still_runs(id) {
        return Err(AttestError::Changed);
    }
    facts.extend(path_of(&proc, id).map(Selector::UnixPath));
    if depth == Depth::WithHash {
        facts.extend(hashes.sha256(program)?.map(Selector::UnixSha256));
    }
    Ok(facts)
}

/// The path of the executable, if it names that very file from where the agent stands. A deleted file has none, and
/// neither has one in another mount namespace, whose owner could call it what they like.
fn path_of(proc: &Path, id: FileId) -> Option<String> {
    let path = std::fs::read_link(proc.join("exe")).ok()?;
    let named = std::fs::symlink_metadata(&path).ok()?;
    let same = FileId { device: named.dev(), inode: named.ino() } == id;
    let text = path.to_str().filter(|_| same)?;
    // Only what a selector can say: the parser knows the one spelling of a path.
    match Selector::parse(&format!("unix:path:{text}")) {
        Ok(Selector::UnixPath(path)) => Some(path),
        _ => None,
    }
}

/// User and groups as `/proc/{pid}/status` shows them (proc_pid_status(5)).
#[derive(PartialEq, Eq, Debug)]
struct Credentials {
    /// Effective.
    uid: u32,
    /// The effective one and the supplementary ones.
    groups: BTreeSet<u32>,
}

impl Credentials {
    fn parse(status: &str) -> Option<Self> {
        // `Uid:` and `Gid:` hold the real, effective, saved and file system id. The process chooses its `Name:`, but
        // the kernel escapes line breaks in it, and it comes before these.
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let effective = |name: &str| field(name)?.split_whitespace().nth(1)?.parse::<u32>().ok();
        let mut groups: BTreeSet<u32> =
            field("Groups:")?.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        groups.insert(effective("Gid:")?);
        Some(Self { uid: effective("Uid:")?, groups })
    }
}

/// Whether that is a `status` which can be read: a door for `fuzz/`.
#[cfg(fuzzing)]
pub(crate) fn has_credentials(status: &str) -> bool {
    Credentials::parse(status).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected() -> (tokio::net::UnixStream, Arc<Peer>) {
        let (one, other) = tokio::net::UnixStream::pair().expect("a pair");
        (other, Arc::new(Peer::of(&one).expect("a peer")))
    }

    #[tokio::test]
    async fn this_process_is_what_it_is() {
        let (_other, peer) = connected();
        let attestor = Attestor::new();
        let facts = attestor.attest(&peer, Depth::WithHash).await.expect("attested");
        let program = std::env::current_exe().expect("a path");
        let bytes = std::fs::read(&program).expect("reads");
        for fact in [
            Selector::UnixUid(rustix::process::geteuid().as_raw()),
            Selector::UnixGid(rustix::process::getegid().as_raw()),
            Selector::UnixPath(program.to_str().expect("text").to_owned()),
            Selector::UnixSha256(crypto::hash::sha256(&bytes)),
        ] {
            assert!(facts.contains(&fact), "{fact} is not in {facts:?}");
        }
        let cheap = attestor.attest(&peer, Depth::Cheap).await.expect("attested");
        assert!(!cheap.iter().any(|fact| matches!(fact, Selector::UnixSha256(_))));
    }

    #[test]
    fn status_lines_are_read_exactly() {
        let status = "Name:\tx\nUid:\t1\t1000\t2\t3\nGid:\t4\t50\t6\t7\nGroups:\t8 50 9 \n";
        let read = Credentials::parse(status).expect("parses");
        assert_eq!(read, Credentials { uid: 1000, groups: [8, 9, 50].into() });
        for broken in
            ["", "Uid:\t1\nGid:\t1\t1\nGroups:\n", "Uid:\t1\t1\nGid:\t1\t1\n", "Uid:\t1\t-1\nGid:\t1\t1\nGroups:\n"]
        {
            assert_eq!(Credentials::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_path_that_names_another_file_is_no_path() {
        let proc = Path::new("/proc/self");
        let metadata = std::fs::metadata("/proc/self/exe").expect("reads");
        let id = FileId { device: metadata.dev(), inode: metadata.ino() };
        assert!(path_of(proc, id).is_some());
        assert_eq!(path_of(proc, FileId { device: id.device, inode: id.inode + 1 }), None);
    }
}

//! The one folder in which a development cluster keeps everything, and what it remembers of itself between runs.
//!
//! ```text
//! dev.json            ports and what was made, so that the next run finds it
//! node-1/ …           the nodes' data folders          admin/    the operator's identity
//! agent/ agent.sock   the agent                        bin/      the two workloads
//! work/               what the tour encrypted          logs/     what the processes said
//! ```

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use chancery_client::private_file::{self, Lock};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::ports::Ports;
use crate::exit::Exit;
use crate::failure::Failure;

const MEMORY_FILE: &str = "dev.json";
const LOCK_FILE: &str = "dev.lock";
/// Longest path of a unix socket (unix(7): `sun_path` with its closing zero has 108 bytes).
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// The longest socket path under the folder.
const LONGEST_SOCKET: &str = "node-1/admin.sock";

/// An open folder. A temporary one is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Layout {
    root: PathBuf,
    temporary: Option<TempDir>,
    _lock: Lock,
}

/// What is remembered in `dev.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Memory {
    pub(crate) version: u32,
    /// One for each node; members know one another by them, so they stay.
    pub(crate) ports: Vec<Ports>,
    /// The id of the key `orders`, once there is one.
    pub(crate) key_id: Option<String>,
}

const VERSION: u32 = 1;

impl Layout {
    /// The named folder, made when it is missing; or a temporary one.
    pub(crate) fn open(folder: Option<&Path>, keep: bool) -> Result<Self, Failure> {
        let (root, temporary) = match folder {
            Some(folder) => (named(folder)?, None),
            None => {
                let made = tempfile::Builder::new().prefix("chancery-dev-").tempdir();
                let made = made.map_err(|error| unusable(&std::env::temp_dir(), &error))?;
                let root = made.path().to_owned();
                if keep { (made.keep(), None) } else { (root, Some(made)) }
            }
        };
        let root = root.canonicalize().map_err(|error| unusable(&root, &error))?;
        if root.join(LONGEST_SOCKET).as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            let message = format!("the path `{}` is too long for the sockets under it", root.display());
            return Err(Failure::new(Exit::Usage, message).hint("--dir with a shorter path, or a shorter TMPDIR"));
        }
        let lock = lock(&root)?;
        for inner in ["logs", "bin", "work"] {
            private_file::create_folder(&root.join(inner))?;
        }
        Ok(Self { root, temporary, _lock: lock })
    }

    /// Where everything is.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether it is removed at the end.
    pub(crate) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    pub(crate) fn path(&self, inner: &str) -> PathBuf {
        self.root.join(inner)
    }

    /// What an earlier run remembered; `None` in a new folder.
    pub(crate) fn memory(&self) -> Result<Option<Memory>, Failure> {
        let path = self.path(MEMORY_FILE);
        let content = match private_file::read(&path) {
            Ok(content) => content,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let damaged = |why: String| {
            Failure::new(Exit::Failed, format!("`{}` is damaged: {why}", path.display())).hint("another --dir")
        };
        let memory: Memory = serde_json::from_slice(&content).map_err(|error| damaged(error.to_string()))?;
        if memory.version != VERSION {
            return Err(damaged(format!("its version is {}, not {VERSION}", memory.version)));
        }
        Ok(Some(memory))
    }

    pub(crate) fn remember(&self, memory: &Memory) -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(memory).unwrap_or_default();
        Ok(private_file::write(&self.path(MEMORY_FILE), &text)?)
    }
}

impl Memory {
    pub(crate) fn new(ports: Vec<Ports>) -> Self {
        Self { version: VERSION, ports, key_id: None }
    }
}

/// A folder that is ours, empty, or not there yet.
fn named(folder: &Path) -> Result<PathBuf, Failure> {
    let unusable = |error: io::Error| unusable(folder, &error);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
    let is_ours = folder.join(MEMORY_FILE).exists();
    let is_empty = || Ok(std::fs::read_dir(folder)?.next().is_none());
    if is_ours || is_empty().map_err(unusable)? {
        return Ok(folder.to_owned());
    }
    let message = format!("`{}` is not empty and holds no development cluster", folder.display());
    Err(Failure::new(Exit::Usage, message).hint("--dir with an empty or a new folder"))
}

/// Two runs in one folder would be two owners of one cluster.
fn lock(root: &Path) -> Result<Lock, Failure> {
    let lock = Lock::take(&root.join(LOCK_FILE)).map_err(|error| unusable(root, &error))?;
    lock.ok_or_else(|| {
        let message = format!("another `chancery dev` runs in `{}`", root.display());
        Failure::new(Exit::Conflict, message).hint("stop it, or name another --dir")
    })
}

fn unusable(folder: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("the folder `{}` cannot be used: {error}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        Memory { key_id: Some("00".to_owned()), ..Memory::new(Ports::choose(1).expect("chooses")) }
    }

    #[test]
    fn a_named_folder_is_found_again_with_what_it_remembers() {
        let base = tempfile::tempdir().expect("a folder");
        let folder = base.path().join("a").join("b");
        let layout = Layout::open(Some(&folder), false).expect("makes it");
        assert_eq!(layout.memory().expect("reads"), None);
        let remembered = memory();
        layout.remember(&remembered).expect("writes");
        drop(layout);
        let layout = Layout::open(Some(&folder), false).expect("finds it");
        assert_eq!(layout.memory().expect("reads"), Some(remembered));
    }

    #[test]
    fn a_folder_with_other_things_in_it_is_refused() {
        let base = tempfile::tempdir().expect("a folder");
        std::fs::write(base.path().join("thesis.tex"), "").expect("writes");
        let refused = Layout::open(Some(base.path()), false).expect_err("not ours").to_string();
        assert!(refused.contains("is not empty and holds no development cluster"), "{refused}");
    }

    #[test]
    fn one_run_at_a_time() {
        let base = tempfile::tempdir().expect("a folder");
        let first = Layout::open(Some(base.path()), false).expect("opens");
        first.remember(&memory()).expect("writes");
        let second = Layout::open(Some(base.path()), false).expect_err("locked");
        assert_eq!(second.exit(), Exit::Conflict);
        drop(first);
        Layout::open(Some(base.path()), false).expect("free again");
    }

    #[test]
    fn a_temporary_folder_is_removed_unless_it_is_kept() {
        let layout = Layout::open(None, false).expect("makes one");
        let root = layout.root().to_owned();
        assert!(layout.is_temporary() && root.exists());
        drop(layout);
        assert!(!root.exists());
        let layout = Layout::open(None, true).expect("makes one");
        let root = layout.root().to_owned();
        drop(layout);
        assert!(root.exists());
        std::fs::remove_dir_all(root).expect("removes");
    }

    #[test]
    fn a_path_too_long_for_sockets_is_refused_before_anything_starts() {
        let base = tempfile::tempdir().expect("a folder");
        let refused = Layout::open(Some(&base.path().join("x".repeat(100))), false).expect_err("too long").to_string();
        assert!(refused.contains("too long for the sockets"), "{refused}");
    }
}

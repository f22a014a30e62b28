//! What this crate takes from the system it runs on: sockets, files, threads for work that blocks, and chance.
//!
//! The rest of the crate reaches them through here only, so that the simulation (`--cfg chancery_sim`, tests/sim-raft)
//! runs the same code over a network, disks and a scheduler of its own. There is no logic here.

#[cfg(not(chancery_sim))]
mod real {
    use std::io;
    use std::path::Path;

    pub(crate) use std::fs;

    pub(crate) use openraft::impls::TokioRuntime as Runtime;
    pub(crate) use tokio::net::{TcpListener, TcpStream};

    /// Runs work that blocks off the async threads.
    pub(crate) async fn blocking<T: Send + 'static>(
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
    }

    /// Syncs a folder: a new or removed name in it is on the disk only after that. Blocks.
    pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
        fs::File::open(folder)?.sync_all()
    }
}

#[cfg(not(chancery_sim))]
pub(crate) use real::{Runtime, TcpListener, TcpStream, blocking, fs, sync_folder};

#[cfg(chancery_sim)]
pub(crate) use crate::simulation::system::{Runtime, TcpListener, TcpStream, blocking, fs, sync_folder};

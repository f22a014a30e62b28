//! What this crate takes from the system it runs on: sockets, files, threads for work that blocks, and chance.
//!
//! The rest of the crate reaches them through here only, so that the simulation (`--cfg chancery_sim`, tests/sim-raft)
//! runs the same code over a network, disks and a scheduler of its own. Nothing here knows of Raft.

#[cfg(not(chancery_sim))]
mod real {
    use std::io;
    use std::path::Path;

    pub(crate) use std::fs;

    pub(crate) use openraft::impls::TokioRuntime as Runtime;
    pub(crate) use tokio::net::{TcpListener, TcpStream};
    use tokio::runtime::RuntimeFlavor;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::AbortOnDropHandle;

    /// A scheduler of a member's own, so that whatever else the process does keeps no heartbeat waiting. It ends with this,
    /// or with the scheduler that it was made on.
    ///
    /// One thread: what follows from one message is done one after the other anyway, and a second thread is only woken for
    /// nothing. What blocks goes elsewhere: [`blocking`], [`in_place`]; reads of
    /// entries that have left the log's cache do not yet.
    #[derive(Debug)]
    pub(crate) struct Threads {
        handle: tokio::runtime::Handle,
        ended: CancellationToken,
    }

    impl Threads {
        pub(crate) fn start(name: &str) -> io::Result<Self> {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            let own = builder.worker_threads(1).thread_name(name).enable_all().build()?;
            let (handle, own) = (own.handle().clone(), Owned(Some(own)));
            let ended = CancellationToken::new();
            let end = ended.clone();
            tokio::spawn(async move {
                let _own = own;
                end.cancelled().await;
            });
            Ok(Self { handle, ended })
        }

        /// Does work there, with all that it spawns.
        pub(crate) async fn run<T: Send + 'static>(
            &self,
            work: impl Future<Output = T> + Send + 'static,
        ) -> io::Result<T> {
            AbortOnDropHandle::new(self.handle.spawn(work)).await.map_err(io::Error::other)
        }
    }

    impl Drop for Threads {
        fn drop(&mut self) {
            self.ended.cancel();
        }
    }

    /// Not waited for when it is dropped, which may be done by a task.
    struct Owned(Option<tokio::runtime::Runtime>);

    impl Drop for Owned {
        fn drop(&mut self) {
            if let Some(own) = self.0.take() {
                own.shutdown_background();
            }
        }
    }

    /// Runs work that blocks off the async threads.
    pub(crate) async fn blocking<T: Send + 'static>(
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
    }

    /// Does what takes long where it is, while another thread takes over what waits here.
    pub(crate) fn in_place<T>(work: impl FnOnce() -> T) -> T {
        match tokio::runtime::Handle::current().runtime_flavor() {
            RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
            _ => work(),
        }
    }

    /// Syncs a folder: a new or removed name in it is on the disk only after that. Blocks.
    pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
        fs::File::open(folder)?.sync_all()
    }
}

#[cfg(not(chancery_sim))]
pub(crate) use real::{Runtime, TcpListener, TcpStream, Threads, blocking, fs, in_place, sync_folder};

#[cfg(chancery_sim)]
pub(crate) use crate::simulation::system::{
    Runtime, TcpListener, TcpStream, Threads, blocking, fs, in_place, sync_folder,
};

//! The unix socket that workloads open: bound without taking another agent's place, open to every uid, removed at the
//! end. Each accepted connection carries the process behind it, or is closed.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tonic::transport::server::Connected;
use types::limits::{WORKLOAD_CONNECTIONS_MAX, WORKLOAD_CONNECTIONS_PER_UID_MAX};

use crate::authority::MendAuthority;
use crate::peer::{FileId, Peer};

/// How long to wait when no connection can be accepted, for example because file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bound socket; its file is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    _file: SocketFile,
    places: Arc<Places>,
}

#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    id: FileId,
}

impl Socket {
    /// Binds the socket, making its folder when that is missing.
    ///
    /// # Errors
    /// When somebody listens there already, something else stands in the way, or others could replace the socket.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let folder = path
            .parent()
            .filter(|folder| folder.is_absolute())
            .ok_or_else(|| io::Error::other(format!("the socket path `{}` is not absolute", path.display())))?;
        fs::create_dir_all(folder)?;
        check_folder(folder)?;
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(path)?;
                UnixListener::bind(path)?
            }
            bound => bound?,
        };
        let metadata = fs::symlink_metadata(path)?;
        let file = SocketFile { path: path.to_owned(), id: FileId { device: metadata.dev(), inode: metadata.ino() } };
        // Workloads of any uid connect; who they are is asked of the kernel, not of the file mode.
        fs::set_permissions(path, Permissions::from_mode(0o777))?;
        Ok(Self { listener, _file: file, places: Arc::default() })
    }

    /// The next connection of a process that the kernel names. Others are closed with a word in the log.
    pub(crate) async fn accept(&self) -> Connection {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let peer = match Peer::of(&stream) {
                Ok(peer) => Arc::new(peer),
                Err(error) => {
                    tracing::warn!(%error, "closing a connection: the kernel does not say whose it is");
                    continue;
                }
            };
            match self.places.take(peer.uid()) {
                Some(place) => return Connection { stream: MendAuthority::new(stream), peer, _place: place },
                None => tracing::warn!(uid = peer.uid(), "closing a connection: too many are open"),
            }
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours =
            fs::symlink_metadata(&self.path).is_ok_and(|now| FileId { device: now.dev(), inode: now.ino() } == self.id);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the socket file stays behind");
        }
    }
}

/// Whoever may write the folder could put a socket of their own there and pose as the agent.
fn check_folder(folder: &Path) -> io::Result<()> {
    let metadata = fs::metadata(folder)?;
    let owner = metadata.uid();
    let sticky = metadata.mode() & 0o1000 != 0;
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        let text = format!("the socket folder `{}` belongs to uid {owner}; use one of your own", folder.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    if metadata.mode() & 0o022 != 0 && !sticky {
        let text = format!("others may write the socket folder `{}`: chmod go-w it", folder.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(())
}

/// Removes a socket file that nobody listens on.
fn remove_stale(path: &Path) -> io::Result<()> {
    let in_the_way = |what: &str| {
        let text = format!("`{}` is in the way: {what}", path.display());
        Err(io::Error::new(io::ErrorKind::AddrInUse, text))
    };
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return in_the_way("it is not a socket; remove it or use another path");
    }
    match StdUnixStream::connect(path) {
        Ok(_) => in_the_way("an agent listens there already"),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => in_the_way(&format!("whether anybody listens there cannot be told ({error})")),
    }
}

/// A connection and the process that made it.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: MendAuthority<UnixStream>,
    peer: Arc<Peer>,
    _place: Place,
}

impl Connected for Connection {
    type ConnectInfo = Arc<Peer>;

    fn connect_info(&self) -> Arc<Peer> {
        Arc::clone(&self.peer)
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How many connections each uid has open.
#[derive(Default, Debug)]
struct Places(Mutex<BTreeMap<u32, usize>>);

/// One connection's place among them.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    uid: u32,
}

impl Places {
    fn take(self: &Arc<Self>, uid: u32) -> Option<Place> {
        let mut open = self.lock();
        let total: usize = open.values().sum();
        let own = open.get(&uid).copied().unwrap_or_default();
        if total >= WORKLOAD_CONNECTIONS_MAX || own >= WORKLOAD_CONNECTIONS_PER_UID_MAX {
            return None;
        }
        open.insert(uid, own + 1);
        Some(Place { places: Arc::clone(self), uid })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.places.lock();
        if let Some(own) = open.get_mut(&self.uid) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                open.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_file_is_replaced_and_a_living_agent_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run/agent.sock");
        let first = Socket::bind(&path).expect("binds");
        assert_eq!(fs::metadata(&path).expect("exists").mode() & 0o777, 0o777);
        let refused = Socket::bind(&path).expect_err("taken");
        assert!(refused.to_string().contains("listens there already"), "{refused}");
        drop(first);
        assert!(!path.exists());

        drop(std::os::unix::net::UnixListener::bind(&path).expect("binds"));
        assert!(path.exists(), "the standard library leaves the file behind");
        drop(Socket::bind(&path).expect("replaces it"));

        fs::write(&path, "precious").expect("writes");
        assert!(Socket::bind(&path).is_err());
        assert_eq!(fs::read(&path).expect("reads"), b"precious");
    }

    #[tokio::test]
    async fn a_file_that_took_our_place_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("agent.sock");
        let socket = Socket::bind(&path).expect("binds");
        fs::remove_file(&path).expect("removes");
        fs::write(&path, "another").expect("writes");
        drop(socket);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_folder_that_others_may_write_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).expect("changes");
        let refused = Socket::bind(&folder.path().join("agent.sock")).expect_err("refused");
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).expect("changes");
        Socket::bind(&folder.path().join("agent.sock")).expect("a sticky folder is safe");
        assert!(Socket::bind(Path::new("agent.sock")).is_err());
    }

    #[test]
    fn one_uid_cannot_shut_the_others_out() {
        let places = Arc::new(Places::default());
        let mut held: Vec<_> = (0..WORKLOAD_CONNECTIONS_PER_UID_MAX).filter_map(|_| places.take(1)).collect();
        assert_eq!(held.len(), WORKLOAD_CONNECTIONS_PER_UID_MAX);
        assert!(places.take(1).is_none());
        assert!(places.take(2).is_some());
        held.pop();
        assert!(places.take(1).is_some());
        let others: Vec<_> = (10..).map_while(|uid| places.take(uid)).collect();
        assert_eq!(held.len() + others.len(), WORKLOAD_CONNECTIONS_MAX);
        drop((held, others));
        assert!(places.lock().is_empty());
    }
}

//! The process at the other end of a unix socket, as the kernel names it. Nothing the process says is looked at.
//!
//! A pidfd (SO_PEERPIDFD, Linux 6.5) names one process for ever, where a pid may be given to another. Whatever is read
//! under `/proc/{pid}` counts only if the process behind the pidfd was still alive afterwards: then the pid was its own
//! all the while. Without that socket option there is no way to tell, so the agent does not start (fail closed).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::OnceLock;

use nix::sys::socket::{getsockopt, sockopt};
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One executable file, as long as it is held open or running.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct FileId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// The process that connected.
#[derive(Debug)]
pub(crate) struct Peer {
    pid: i32,
    uid: u32,
    pidfd: AsyncFd<OwnedFd>,
    /// The program it ran when it was first attested. One that becomes another program is a stranger.
    program: OnceLock<FileId>,
}

impl Peer {
    /// Who connected this socket. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the kernel does not say: no SO_PEERPIDFD, the process is gone, or it lives in a pid namespace that
    /// cannot be seen from here.
    pub(crate) fn of(socket: &impl AsFd) -> io::Result<Self> {
        let (pid, uid, pidfd) = identify(socket)?;
        let peer = Self { pid, uid, pidfd: watched(pidfd)?, program: OnceLock::new() };
        if peer.is_alive() { Ok(peer) } else { Err(io::Error::other("the process has ended")) }
    }

    /// Its process id; meaningful only while [`Peer::is_alive`].
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Its effective user id when it connected.
    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }

    /// Whether the process still runs: a pidfd becomes readable when it ends.
    pub(crate) fn is_alive(&self) -> bool {
        let mut fds = [PollFd::new(self.pidfd.get_ref(), PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // A failed poll proves nothing, so it counts as an end.
        matches!(rustix::event::poll(&mut fds, Some(&now)), Ok(0))
    }

    /// Waits for the end of the process.
    pub(crate) async fn ended(&self) {
        while self.is_alive() {
            match self.pidfd.readable().await {
                Ok(mut ready) if self.is_alive() => ready.clear_ready(),
                _ => return,
            }
        }
    }

    /// Whether this is the program it ran when it was first attested; the first answer is always yes.
    pub(crate) fn still_runs(&self, program: FileId) -> bool {
        *self.program.get_or_init(|| program) == program
    }
}

/// Whether this kernel can name the peer of a socket at all.
///
/// # Errors
/// What the kernel answered.
pub(crate) fn probe() -> io::Result<()> {
    let (one, _other) = StdUnixStream::pair()?;
    identify(&one).map(drop)
}

#[expect(
    deprecated,
    reason = "what replaces it is unsafe code, for types whose descriptor may change; an OwnedFd keeps its own"
)]
fn watched(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}

fn identify(socket: &impl AsFd) -> io::Result<(i32, u32, OwnedFd)> {
    let pidfd = getsockopt(socket, sockopt::PeerPidfd)?;
    let credentials = getsockopt(socket, sockopt::PeerCredentials)?;
    if credentials.pid() <= 0 {
        return Err(io::Error::other("the process lives in a pid namespace that the agent cannot see into"));
    }
    Ok((credentials.pid(), credentials.uid(), pidfd))
}

#[cfg(test)]
impl Peer {
    /// A child of this test, as if it had connected.
    pub(crate) fn of_child(child: &std::process::Child) -> Self {
        let pid = rustix::process::Pid::from_child(child);
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("a pidfd");
        let uid = rustix::process::geteuid().as_raw();
        let pid = pid.as_raw_nonzero().get();
        Self { pid, uid, pidfd: watched(pidfd).expect("registers"), program: OnceLock::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn the_peer_of_a_pair_is_this_process() {
        let (one, _other) = tokio::net::UnixStream::pair().expect("a pair");
        let peer = Peer::of(&one).expect("a peer");
        assert_eq!(peer.pid(), i32::try_from(std::process::id()).expect("a pid"));
        assert_eq!(peer.uid(), rustix::process::geteuid().as_raw());
        assert!(peer.is_alive());
    }

    #[tokio::test]
    async fn the_end_of_a_process_is_seen() {
        let mut child = Command::new("sleep").arg("600").spawn().expect("a child");
        let peer = Peer::of_child(&child);
        assert!(peer.is_alive());
        child.kill().expect("ends");
        peer.ended().await;
        assert!(!peer.is_alive());
        child.wait().expect("is reaped");
        assert!(!peer.is_alive());
    }

    #[test]
    fn a_process_that_becomes_another_program_is_noticed() {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let _inside = runtime.enter();
        let (one, _other) = tokio::net::UnixStream::pair().expect("a pair");
        let peer = Peer::of(&one).expect("a peer");
        let program = FileId { device: 1, inode: 2 };
        assert!(peer.still_runs(program));
        assert!(peer.still_runs(program));
        assert!(!peer.still_runs(FileId { device: 1, inode: 3 }));
    }
}

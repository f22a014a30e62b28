//! The processes of a development cluster: real servers and a real agent, each the same binary.
//!
//! A child ends when its standard input closes, so none outlives `dev`, however `dev` ends.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

/// One child.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// The three ports of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub(crate) api: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) health: SocketAddr,
}

impl Process {
    /// Starts `program` with its output in `log`.
    pub(crate) fn start(name: &str, program: &Path, arguments: &[OsString], log: &Path) -> io::Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::from(output.try_clone()?))
            .stderr(Stdio::from(output))
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// SIGKILL: no time to say goodbye.
    pub(crate) async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Asks it to end by closing its standard input, and kills it if it does not within five seconds.
    pub(crate) async fn stop(mut self) {
        drop(self.child.stdin.take());
        let patience = std::time::Duration::from_secs(5);
        if tokio::time::timeout(patience, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }

    /// An error that names the process and the end of its log when it has ended, which none should by itself.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("{} ended with {status}: {}", self.name, last_line(&self.log))),
            Err(error) => Err(format!("{}: {error}", self.name)),
        }
    }
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
}

impl Ports {
    /// `preferred` and the two ports after it if all are free, else free ones.
    pub(crate) fn choose(preferred: u16) -> io::Result<Self> {
        let wanted = [preferred, preferred + 1, preferred + 2].map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
        if let [Ok(api), Ok(peer), Ok(health)] = wanted {
            return Self::of(&api, &peer, &health);
        }
        // All three are held at once, so that they differ.
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        Self::of(&free()?, &free()?, &free()?)
    }

    fn of(api: &TcpListener, peer: &TcpListener, health: &TcpListener) -> io::Result<Self> {
        Ok(Self { api: api.local_addr()?, peer: peer.local_addr()?, health: health.local_addr()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_ports_are_avoided() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
        let port = taken.local_addr().expect("bound").port();
        let Some(preferred) = port.checked_sub(1) else { return };
        let ports = Ports::choose(preferred).expect("chooses");
        assert!(![ports.api.port(), ports.peer.port(), ports.health.port()].contains(&port));
    }

    #[tokio::test]
    async fn a_child_ends_when_its_input_closes() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let process = Process::start("cat", Path::new("cat"), &[], &log).expect("starts");
        let id = process.child.id().expect("runs");
        process.stop().await;
        assert!(!Path::new(&format!("/proc/{id}/exe")).exists());
    }
}

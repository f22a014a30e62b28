//! The processes of a development cluster: real servers and a real agent, each the same binary.
//!
//! A child ends when its standard input closes, so none outlives `dev`, however `dev` ends. It stands in a process group
//! of its own: Ctrl-C reaches `dev` alone, which then ends its children in order.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use super::fault::Fault;

/// How long a child may take to end in good order.
const PATIENCE: Duration = Duration::from_secs(5);

/// One child.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// A command of this binary for a child: without the user's own settings, which are for another cluster.
pub(crate) fn command(program: &Path, arguments: &[OsString]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).kill_on_drop(true).process_group(0);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text == "SPIFFE_ENDPOINT_SOCKET" || (text.starts_with("CHANCERY_") && !text.starts_with("CHANCERY_LOG_")) {
            command.env_remove(&name);
        }
    }
    command
}

impl Process {
    /// Starts `program` with its output in `log`.
    pub(crate) fn start(name: &str, program: &Path, arguments: &[OsString], log: &Path) -> io::Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let child =
            command(program, arguments).stdout(Stdio::from(output.try_clone()?)).stderr(Stdio::from(output)).spawn()?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// SIGKILL: no time to say goodbye.
    pub(crate) async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Asks it to end by closing its standard input, and kills it if it does not within five seconds.
    pub(crate) async fn stop(mut self) {
        drop(self.child.stdin.take());
        if tokio::time::timeout(PATIENCE, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }

    /// An error that names the process and the end of its log when it has ended, which none should by itself.
    pub(crate) fn check(&mut self) -> Result<(), Fault> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(Fault::new(format!("{} ended with {status}: {}", self.name, last_line(&self.log)))),
        }
    }
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_ends_when_its_input_closes() {
        let folder = tempfile::tempdir().expect("a folder");
        let process = Process::start("cat", Path::new("cat"), &[], &folder.path().join("log")).expect("starts");
        let id = process.child.id().expect("runs");
        process.stop().await;
        assert!(!Path::new(&format!("/proc/{id}/exe")).exists());
    }

    #[tokio::test]
    async fn a_child_that_ended_is_named_with_its_last_words() {
        let folder = tempfile::tempdir().expect("a folder");
        let script: Vec<OsString> = ["-c", "echo starting; echo error: port in use >&2; exit 3"].map(Into::into).into();
        let log = folder.path().join("log");
        let mut process = Process::start("node-1", Path::new("sh"), &script, &log).expect("starts");
        process.child.wait().await.expect("ends");
        let said = process.check().expect_err("ended").to_string();
        assert!(said.contains("node-1 ended with exit status: 3: error: port in use"), "{said}");
    }
}

//! Runs a workload of the tour and hears what it says.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio::time::timeout;

use super::fault::Fault;
use super::process::command;
use super::workload::Said;

/// A workload says its next line, or ends, within this time.
const PATIENCE: Duration = Duration::from_secs(20);
/// Most of what is read of its complaints.
const STDERR_BYTES_MAX: u64 = 16 * 1_024;

/// A running workload.
#[derive(Debug)]
pub(crate) struct Workload {
    name: String,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    stderr: ChildStderr,
}

impl Workload {
    /// Starts `program` as that part of the tour.
    pub(crate) fn start(program: &Path, socket: &Path, part: &[&str]) -> Result<Self, Fault> {
        let mut arguments: Vec<OsString> = vec!["dev-workload".into(), "--socket".into(), socket.into()];
        arguments.extend(part.iter().map(Into::into));
        let mut child = command(program, &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let pipes = child.stdout.take().zip(child.stderr.take());
        let (stdout, stderr) = pipes.ok_or_else(|| Fault::new("a child without pipes"))?;
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, child, lines: BufReader::new(stdout).lines(), stderr })
    }

    /// The next thing it says; an error with its own words when it ends instead.
    pub(crate) async fn hear(&mut self) -> Result<Said, Fault> {
        let line = timeout(PATIENCE, self.lines.next_line()).await;
        let line = line.map_err(|_| Fault::new(format!("{} has said nothing in time", self.name)))??;
        match line {
            Some(line) => Ok(serde_json::from_str(&line)?),
            None => Err(self.complaint().await),
        }
    }

    /// Its end, which must be a good one.
    pub(crate) async fn end(mut self) -> Result<(), Fault> {
        let status = timeout(PATIENCE, self.child.wait()).await;
        let status = status.map_err(|_| Fault::new(format!("{} does not end", self.name)))??;
        if status.success() { Ok(()) } else { Err(self.complaint().await) }
    }

    async fn complaint(&mut self) -> Fault {
        let mut words = String::new();
        let mut stderr = (&mut self.stderr).take(STDERR_BYTES_MAX);
        let _ = timeout(PATIENCE, stderr.read_to_string(&mut words)).await;
        let words = words.trim().strip_prefix("error: ").unwrap_or(words.trim());
        Fault::new(format!("{}: {}", self.name, if words.is_empty() { "it ended without a word" } else { words }))
    }
}

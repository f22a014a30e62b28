//! A server in a process of its own: this binary again. One line of JSON on its stdin asks what it has used so far, the
//! end of stdin ends it, so that it never outlives the bench.

use std::ffi::OsStr;
use std::io::{BufRead, Write};
use std::process::Stdio;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio_util::sync::CancellationToken;

use crate::Fault;
use crate::usage::Usage;

/// The parent's end.
pub(crate) struct Child {
    process: tokio::process::Child,
    asks: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts a part of this binary.
    pub(crate) fn start<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Result<Self, Fault> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn()?;
        let asks = process.stdin.take().ok_or("the child has no stdin")?;
        let answers = BufReader::new(process.stdout.take().ok_or("the child has no stdout")?).lines();
        Ok(Self { process, asks, answers })
    }

    /// Writes a line to it.
    pub(crate) async fn say(&mut self, line: &str) -> Result<(), Fault> {
        self.asks.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(self.asks.flush().await?)
    }

    /// The next line it says.
    pub(crate) async fn answer<T: DeserializeOwned>(&mut self) -> Result<T, Fault> {
        let line = self.answers.next_line().await?.ok_or("the child has ended; its reason is on stderr")?;
        Ok(serde_json::from_str(&line)?)
    }

    /// What it has used so far.
    pub(crate) async fn usage(&mut self) -> Result<Usage, Fault> {
        self.say("usage").await?;
        self.answer().await
    }

    /// Ends it and waits for it.
    pub(crate) async fn stop(self) -> Result<(), Fault> {
        let Self { mut process, asks, answers } = self;
        drop((asks, answers));
        let status = process.wait().await?;
        if status.success() { Ok(()) } else { Err(format!("the child failed: {status}").into()) }
    }
}

/// The child's end: answers on a thread of its own until stdin ends, then cancels what is returned.
pub(crate) fn answer_parent() -> CancellationToken {
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let answered = line.map_err(Fault::from).and_then(|_| Usage::now()).and_then(|usage| tell(&usage));
            if answered.is_err() {
                break;
            }
        }
        stopping.cancel();
    });
    stop
}

/// Says a line to the parent.
pub(crate) fn tell(line: &impl Serialize) -> Result<(), Fault> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(line)?)?;
    Ok(out.flush()?)
}

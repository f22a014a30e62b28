//! One node: a process, its folder, its addresses and what it printed.

use std::ffi::OsString;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use chancery_client::Address;
use rustix::process::{Pid, Signal, kill_process};

use crate::Fault;

/// Ports are taken from below the range of outgoing connections (32768 and up on Linux): those of a killed node stay
/// free until it starts again, whoever connects somewhere meanwhile.
const PORTS: std::ops::Range<u16> = 10_000..32_000;
/// A node that was told to stop and has not is ended.
const STOPS_WITHIN: Duration = Duration::from_secs(30);

/// Where and how a node runs.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its data folder.
    pub(crate) dir: PathBuf,
    /// API, peers, health.
    pub(crate) listen: [SocketAddr; 3],
    /// What stands before the program's name, for example `ip netns exec ch-1`.
    pub(crate) through: Vec<OsString>,
    /// Beside what every node is given.
    pub(crate) variables: Vec<(String, String)>,
    /// Another build of `chancery`; this program itself when there is none.
    pub(crate) program: Option<PathBuf>,
}

impl Place {
    /// On loopback, on free ports.
    pub(crate) fn on_loopback(dir: PathBuf) -> Result<Self, Fault> {
        let listen = [free_port()?, free_port()?, free_port()?];
        Ok(Self { dir, listen, through: Vec::new(), variables: Vec::new(), program: None })
    }

    /// On an address of its own.
    pub(crate) fn at(dir: PathBuf, ip: Ipv4Addr, through: Vec<OsString>) -> Self {
        let listen = [7443, 7444, 7445].map(|port| SocketAddr::new(IpAddr::V4(ip), port));
        Self { dir, listen, through, variables: Vec::new(), program: None }
    }
}

/// A node, running or not.
pub(crate) struct Node {
    place: Place,
    output: PathBuf,
    child: Option<Child>,
}

impl Node {
    pub(crate) fn new(place: Place, output: PathBuf) -> Self {
        Self { place, output, child: None }
    }

    /// Its data folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.place.dir
    }

    /// How it is run from its next start on.
    pub(crate) fn place(&mut self) -> &mut Place {
        &mut self.place
    }

    /// Where clients reach it.
    pub(crate) fn api(&self) -> Result<Address, Fault> {
        Ok(Address::parse(&self.place.listen[0].to_string())?)
    }

    /// Starts it.
    pub(crate) fn start(&mut self) -> Result<(), Fault> {
        self.start_with(&[])
    }

    /// Starts it for the first time, with a join token.
    pub(crate) fn join(&mut self, token: &str) -> Result<(), Fault> {
        let file = self.output.with_extension("token");
        chancery_client::private_file::write(&file, token.as_bytes())?;
        self.start_with(&["--join".into(), file.into()])
    }

    fn start_with(&mut self, flags: &[OsString]) -> Result<(), Fault> {
        if self.child.is_some() {
            return Err("the node runs already".into());
        }
        let output = File::options().create(true).append(true).open(&self.output)?;
        let program: Vec<OsString> = match &self.place.program {
            Some(other) => vec![other.into()],
            None => vec![std::env::current_exe()?.into(), "chancery".into()],
        };
        let mut words = self.place.through.iter().cloned().chain(program);
        let mut command = Command::new(words.next().ok_or("no program")?);
        command.args(words).args(["server", "--seal", "file", "--until-stdin-closes"]);
        for (flag, address) in ["--api-listen", "--peer-listen", "--health-listen"].iter().zip(self.place.listen) {
            command.arg(flag).arg(address.to_string());
        }
        command.arg("--data-dir").arg(&self.place.dir).args(flags);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CHANCERY_")) {
            command.env_remove(name);
        }
        command.env("CHANCERY_AUDIT_RESERVE_BYTES", "1048576");
        command.envs(self.place.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// The process's number, while it runs.
    pub(crate) fn pid(&self) -> Result<u32, Fault> {
        Ok(self.child.as_ref().ok_or("the node does not run")?.id())
    }

    /// Ends it with SIGKILL, wherever it is.
    pub(crate) fn kill(&mut self) -> Result<(), Fault> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Ends it in good order, as a supervisor does; one that does not end is an error.
    pub(crate) fn stop(&mut self) -> Result<(), Fault> {
        let Some(child) = self.child.as_mut() else { return Ok(()) };
        drop(child.stdin.take());
        let told = Instant::now();
        while told.elapsed() < STOPS_WITHIN {
            if child.try_wait()?.is_some() {
                self.child = None;
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(format!("a node that was told to stop had not after {STOPS_WITHIN:?}").into())
    }

    /// Stops it, or lets it go on.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Fault> {
        let child = self.child.as_ref().ok_or("the node does not run")?;
        Ok(kill_process(Pid::from_child(child), signal)?)
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>, Fault> {
        let Some(child) = self.child.as_mut() else { return Ok(None) };
        let status = child.try_wait()?;
        if status.is_some() {
            self.child = None;
        }
        Ok(status)
    }

    /// Whether its process is there.
    pub(crate) fn runs(&mut self) -> Result<bool, Fault> {
        self.ended()?;
        Ok(self.child.is_some())
    }

    /// The last line in which it said why it ended.
    pub(crate) fn last_words(&self) -> String {
        let text = String::from_utf8_lossy(&std::fs::read(&self.output).unwrap_or_default()).into_owned();
        let said = text.lines().rev().find(|line| line.starts_with("error: ") || line.contains("panicked at"));
        said.unwrap_or("it said nothing").to_owned()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A stopped process takes SIGKILL too.
        let _ = self.kill();
    }
}

fn free_port() -> Result<SocketAddr, Fault> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end - PORTS.start;
    // Scenarios that run at the same time begin at different places.
    let first = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(span))?;
    for _ in 0..span {
        let next = NEXT.fetch_add(1, Ordering::Relaxed) % span;
        let port = PORTS.start + u16::try_from((u32::from(first) + u32::from(next)) % u32::from(span))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err("no free port".into())
}

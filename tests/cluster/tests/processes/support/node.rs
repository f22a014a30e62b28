//! One node: a process, its folder, its ports and its log.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use chancery_client::Address;
use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, Plan, loopback, private};

/// Ports are taken from below the range of outgoing connections (32768 and up on Linux): those of a killed node stay
/// free until it starts again, whoever connects somewhere meanwhile.
const PORTS: std::ops::Range<u16> = 10_000..32_000;
/// Lines of a log that a failed test shows.
const SHOWN: usize = 25;

/// A node, running or not.
pub(crate) struct Node {
    dir: PathBuf,
    ports: [u16; 3],
    log: PathBuf,
    plan: Plan,
    child: Option<Child>,
}

/// The program under test, without the settings of whoever runs the tests.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chancery-under-test"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CHANCERY_") {
            command.env_remove(name);
        }
    }
    command
}

impl Node {
    pub(crate) fn new(folder: &Path, number: usize, plan: Plan) -> Self {
        let name = format!("node-{number}");
        let ports = [free_port(), free_port(), free_port()];
        Self { dir: folder.join(&name), ports, log: folder.join(format!("{name}.log")), plan, child: None }
    }

    /// Its data folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where clients reach it.
    pub(crate) fn api(&self) -> Address {
        loopback(self.ports[0])
    }

    /// Where its ports are, as flags.
    pub(crate) fn listens(&self) -> [String; 4] {
        let listen = |port: u16| format!("127.0.0.1:{port}");
        ["--api-listen".into(), listen(self.ports[0]), "--peer-listen".into(), listen(self.ports[1])]
    }

    /// Everything it has printed so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The process's number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("runs").id()
    }

    /// Starts it with the passphrase of the plan, if there is one.
    pub(crate) fn start(&mut self, flags: &[&str]) {
        let file = self.dir.with_extension("passphrase");
        let Some(passphrase) = self.plan.passphrase else { return self.start_sealed(flags) };
        let file = private(file, passphrase);
        let file = file.to_str().expect("text");
        self.start_sealed(&[&["--seal-passphrase-file", file], flags].concat());
    }

    /// Starts it and hands it no passphrase: with that seal it stays sealed.
    pub(crate) fn start_sealed(&mut self, flags: &[&str]) {
        assert!(self.child.is_none(), "runs already");
        let log = File::options().create(true).append(true).open(&self.log).expect("opens the log");
        let listen = |port: u16| format!("127.0.0.1:{port}");
        let mut node = command();
        let seal = match (self.plan.token, self.plan.passphrase) {
            (Some(token), _) => {
                node.env("SOFTHSM2_CONF", &token.store);
                "pkcs11"
            }
            (None, Some(_)) => "passphrase",
            (None, None) => "file",
        };
        node.arg("server");
        if let Some(token) = self.plan.token {
            node.arg("--config").arg(&token.settings);
        }
        let child = node
            .args(["--api-listen", &listen(self.ports[0]), "--peer-listen", &listen(self.ports[1])])
            .args(["--health-listen", &listen(self.ports[2])])
            .args(["--seal", seal])
            .arg("--data-dir")
            .arg(&self.dir)
            .args(flags)
            .env("CHANCERY_AUDIT_RESERVE_BYTES", "1048576")
            .env("CHANCERY_LOG_LEVEL", self.plan.log_level)
            // Held open: a node may take a closed standard input for the end of whoever started it.
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("duplicates"))
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("starts"));
    }

    /// Starts it for the first time, with a join token.
    pub(crate) fn join(&mut self, token: &str) {
        self.join_with(token, &[]);
    }

    /// The same with more flags.
    pub(crate) fn join_with(&mut self, token: &str, flags: &[&str]) {
        let file = private(self.dir.with_extension("token"), token);
        self.start(&[&["--join", file.to_str().expect("text")], flags].concat());
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("runs");
        child.kill().expect("kills");
        child.wait().expect("ends");
    }

    /// Ends it with SIGTERM; it must end well.
    pub(crate) fn stop(&mut self) {
        let child = self.child.as_ref().expect("runs");
        kill_process(Pid::from_child(child), Signal::TERM).expect("signals");
        let status = self.ended();
        assert!(status.success(), "ended with {status}:\n{}", tail(&self.log()));
    }

    /// Waits until it ends by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("runs");
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("waits") {
                return status;
            }
            if started.elapsed() > PATIENCE {
                child.kill().expect("kills");
                child.wait().expect("ends");
                panic!("did not end by itself:\n{}", tail(&self.log()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it says before it ends by itself, which must not be well.
    pub(crate) fn refuses_to_start(&mut self) -> String {
        let status = self.ended();
        assert!(!status.success(), "must not start");
        let log = self.log();
        let said = log.lines().rev().find(|line| line.starts_with("error: "));
        said.unwrap_or_else(|| panic!("no error among:\n{}", tail(&log))).to_owned()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            show(&format!("--- {}:\n{}", self.log.display(), tail(&self.log())));
        }
    }
}

fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end - PORTS.start;
    // Test binaries that run at the same time begin at different places.
    let first = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(span)).expect("in the range");
    for _ in 0..span {
        let port = PORTS.start + (first + NEXT.fetch_add(1, Ordering::Relaxed) % span) % span;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(SHOWN)..].join("\n")
}

#[expect(clippy::print_stderr, reason = "what the nodes of a failed test said")]
fn show(text: &str) {
    eprintln!("{text}");
}

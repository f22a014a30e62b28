//! A real cluster: `chancery dev` as a user starts it, in a folder of its own, ended with the test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::in_process::eventually;

/// A running `chancery dev`.
pub struct Dev {
    child: Child,
    folder: tempfile::TempDir,
    program: PathBuf,
    /// What `CHANCERY_ADDR` should be.
    addresses: String,
}

/// The program under test: only the one that `CHANCERY_BIN` names, for one that lies about may be an old one.
fn program() -> Option<PathBuf> {
    std::env::var_os("CHANCERY_BIN").map(PathBuf::from)
}

impl Dev {
    /// Starts it and waits for the end of its tour. `None`, loudly, when the program has not been built.
    pub async fn start(check: &str) -> Option<Self> {
        let Some(program) = program() else {
            crate::skipped(check, "set CHANCERY_BIN to a built `chancery`; `make interop` does");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = Command::new(&program)
            .args(["dev", "--dir"])
            .arg(folder.path())
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .expect("chancery starts");
        let stdout = child.stdout.take().expect("piped");
        // From here on the process ends with this value, whatever happens.
        let mut dev = Self { child, folder, program, addresses: String::new() };
        let addresses = tokio::task::spawn_blocking(move || addresses_in(BufReader::new(stdout)));
        let addresses = tokio::time::timeout(Duration::from_secs(120), addresses).await;
        dev.addresses = addresses.expect("the tour ends").expect("reads");
        eventually("the agent's socket is there", || async { dev.socket().exists().then_some(()) }).await;
        Some(dev)
    }

    /// The agent's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    /// The socket as clients are told of it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The first node's API, `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        self.addresses.split(',').next().expect("one at least")
    }

    /// The administrator's unencrypted key (PKCS#8 PEM), as only `dev` has it.
    #[must_use]
    pub fn admin_key(&self) -> PathBuf {
        self.folder.path().join("admin/operator.key")
    }

    /// Runs an administrator's command and returns what it printed.
    pub fn admin(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs an administrator's command that fails, and returns its exit code.
    pub fn refused(&self, arguments: &[&str]) -> i32 {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?} was not refused");
        output.status.code().expect("ends by itself")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(&self.program)
            .args(arguments)
            .env("CHANCERY_ADDR", &self.addresses)
            .env("CHANCERY_IDENTITY", self.folder.path().join("admin"))
            .env("SPIFFE_ENDPOINT_SOCKET", self.endpoint())
            .stdin(Stdio::null())
            .output()
            .expect("chancery runs")
    }

    /// Registers every process of this user, with the shortest life an SVID may have, so that rotation can be awaited.
    pub fn register_own_uid(&self, path: &str) -> String {
        let selector = format!("unix:uid:{}", rustix::process::geteuid().as_raw());
        let parent = ["--parent", "agents/dev"];
        self.admin(&[&["entry", "create", path], &parent[..], &["--selector", &selector, "--ttl", "60s"]].concat());
        format!("spiffe://dev.chancery{path}")
    }

    /// Writes `svid.pem`, `key.pem` and `bundle.pem` as the CLI does.
    pub fn fetch_files(&self, folder: &Path) {
        self.admin(&["svid", "fetch", "--write", folder.to_str().expect("text")]);
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Like Ctrl-C: `dev` then ends its nodes itself.
        let interrupted =
            rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::INT);
        if interrupted.is_err() {
            self.child.kill().ok();
        }
        self.child.wait().ok();
    }
}

/// Reads what `dev` prints until it says how another terminal reaches it; goes on reading so that it never blocks.
fn addresses_in(mut stdout: impl BufRead + Send + 'static) -> String {
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        assert!(stdout.read_line(&mut line).expect("text") > 0, "`chancery dev` ended:\n{seen}");
        seen.push_str(&line);
        if let Some(rest) = line.split("CHANCERY_ADDR=").nth(1) {
            let addresses = rest.split_whitespace().next().expect("addresses").to_owned();
            std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
            return addresses;
        }
    }
}

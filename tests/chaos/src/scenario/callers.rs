//! People and workloads with clocks of their own: the command line and an agent, each a process.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use chancery_client::identity::{Folder, Profile, Protection};
use proto::ca::v1 as ca;
use proto::cluster::v1 as wire;

use crate::Fault;
use crate::cluster::{Cluster, until};
use crate::tools::faketime;

/// What shifts a process's clock and leaves its monotonic time alone; nothing for a clock that is right.
pub(super) fn shifted(by: &str) -> Result<Vec<(String, String)>, Fault> {
    if by.is_empty() {
        return Ok(Vec::new());
    }
    let library = faketime().ok_or("libfaketime is not installed")?;
    let pairs = [("LD_PRELOAD", library), ("FAKETIME", by), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
}

/// This program as `chancery`, with that clock and without the settings of whoever runs it.
fn chancery(shift: &str) -> Result<Command, Fault> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("chancery").stdin(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CHANCERY_")) {
        command.env_remove(name);
    }
    command.envs(shifted(shift)?);
    Ok(command)
}

/// An admin of keys at the command line.
pub(super) struct Admin {
    folder: Folder,
}

impl Admin {
    /// Enrols one of that name.
    pub(super) async fn enrol(cluster: &Cluster, name: &str) -> Result<Self, Fault> {
        let folder = Folder::create(cluster.folder().join(format!("identity-{name}")))?;
        let signer = folder.create_key(&Protection::DangerousUnencrypted)?;
        let (doors, principal) = (&cluster.doors, format!("operators/{name}"));
        let request =
            wire::EnrolOperatorRequest { operator_id: name.into(), spki: signer.spki_der(), ..Default::default() };
        doors.all.operators().enrol(request).await?;
        for role in ["key-admin", "key-user"] {
            let (principal, role) = (principal.clone(), role.into());
            let binding = wire::Binding { principal, role, scope: "namespaces/default".into() };
            let request = wire::GrantRoleRequest { binding: Some(binding), ..Default::default() };
            doors.all.operators().grant_role(request).await?;
        }
        let profile = Profile {
            name: principal,
            cluster_id: doors.cluster_id,
            cluster_key_hash: doors.cluster_key_hash,
            endpoints: doors.addresses.clone(),
        };
        folder.write_profile(&profile)?;
        Ok(Self { folder })
    }

    /// Runs a command with that clock: what it printed, or why it failed.
    pub(super) fn run(&self, shift: &str, words: &[&str]) -> Result<Result<String, String>, Fault> {
        let mut command = chancery(shift)?;
        let output = command.args(words).env("CHANCERY_IDENTITY", self.folder.path()).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        Ok(if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) })
    }
}

/// An agent with one entry, for programs of this user.
pub(super) struct Agent {
    folder: PathBuf,
    child: Option<Child>,
}

impl Agent {
    /// Admits it by token, gives it an entry, and waits until a workload gets its certificate.
    pub(super) async fn join(cluster: &Cluster, name: &str) -> Result<Self, Fault> {
        let folder = cluster.folder().join(format!("agent-{name}"));
        let request = wire::CreateJoinTokenRequest {
            kind: wire::JoinTokenKind::Agent.into(),
            agent_id: name.into(),
            ..Default::default()
        };
        let token = cluster.doors.all.cluster().create_join_token(request).await?.token;
        let file = folder.with_extension("token");
        chancery_client::private_file::write(&file, token.as_bytes())?;
        let mut agent = Self { folder, child: None };
        agent.start_with("", &["--join-token-file".as_ref(), file.as_os_str()])?;
        let entries = cluster.doors.all.entries();
        until("the agent to be admitted", async || entries.create(entry(name)).await.is_ok()).await?;
        agent.serves("").await?;
        Ok(agent)
    }

    /// Starts it with that clock.
    pub(super) fn start(&mut self, shift: &str) -> Result<(), Fault> {
        self.start_with(shift, &[])
    }

    fn start_with(&mut self, shift: &str, flags: &[&OsStr]) -> Result<(), Fault> {
        let said = std::fs::File::options().create(true).append(true).open(self.folder.with_extension("log"))?;
        let mut command = chancery(shift)?;
        command.arg("agent").arg("--data-dir").arg(&self.folder).arg("--socket").arg(self.socket()).args(flags);
        self.child = Some(command.stdout(said.try_clone()?).stderr(said).spawn()?);
        Ok(())
    }

    /// Ends it.
    pub(super) fn kill(&mut self) -> Result<(), Fault> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Waits until a workload with that clock is given a certificate.
    pub(super) async fn serves(&self, shift: &str) -> Result<(), Fault> {
        let mut newest = String::new();
        let served = until("the agent to serve a workload", async || match self.fetch(shift) {
            Ok(Ok(_)) => true,
            Ok(Err(why)) => {
                newest = why;
                false
            }
            Err(fault) => {
                newest = fault.to_string();
                false
            }
        });
        let served = served.await;
        served.map_err(|error| format!("{error}: {newest}").into())
    }

    /// What a workload is given, or why nothing.
    pub(super) fn fetch(&self, shift: &str) -> Result<Result<String, String>, Fault> {
        let mut command = chancery(shift)?;
        let output = command.args(["--timeout", "3s", "svid", "fetch", "--socket"]).arg(self.socket()).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        Ok(if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) })
    }

    fn socket(&self) -> PathBuf {
        self.folder.with_extension("sock")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn entry(agent: &str) -> ca::CreateEntryRequest {
    let entry = ca::Entry {
        parent_agent: format!("agents/{agent}"),
        path: format!("/ns/default/{agent}"),
        selectors: vec![format!("unix:uid:{}", rustix::process::geteuid().as_raw())],
        ..Default::default()
    };
    ca::CreateEntryRequest {
        parent: "namespaces/default".into(),
        entry_id: agent.into(),
        entry: Some(entry),
        ..Default::default()
    }
}

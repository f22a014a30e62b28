//! `chancery dev`: a cluster of real processes in one folder, and a tour of what it does.
//!
//! It has no door of its own: it starts this binary as nodes, agent and workloads, and speaks to them as any client
//! would. What weakens safety is the choice of its keys (unencrypted) and seal (file): for development only.

mod fault;
mod launch;
mod layout;
mod ports;
mod process;
mod records;
mod report;
mod sample;
mod stage;
mod status;
mod steps;
mod tour;
mod wait;
pub(crate) mod workload;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use self::layout::{Layout, Memory};
use self::ports::Ports;
use self::report::{Reporter, Shape, Tour, say};
use self::stage::{Stage, Who};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::note;

/// How many nodes there are when nothing is said.
const NODES: u8 = 3;
/// How often it is checked, after the tour, that every process still runs.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Arguments of `dev`.
#[derive(Args, Debug)]
pub(crate) struct DevArgs {
    /// Keep everything in this folder, and find it again the next time; otherwise a temporary one
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Do not remove the temporary folder at the end
    #[arg(long, conflicts_with = "dir")]
    keep: bool,
    /// End after the tour, with code 0 only if every step held
    #[arg(long)]
    once: bool,
    /// Print the tour as one JSON document
    #[arg(long)]
    json: bool,
    /// How many nodes: 1, 3 or 5; with 1 there is no fail-over [default: 3]
    #[arg(long, value_name = "N", value_parser = node_count)]
    nodes: Option<u8>,
    /// What is encrypted, instead of README.md
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Runs the tour, then waits until it is told to end. Every process has ended when this returns.
pub(crate) async fn run(args: DevArgs) -> Result<(), Failure> {
    let ended = end_signal().map_err(|error| Failure::new(Exit::Failed, format!("no signals: {error}")))?;
    tokio::pin!(ended);
    if let Some(file) = &args.file {
        readable(file)?;
    }
    let mut stage = open(&args)?;
    let shape = if args.json { Shape::Json } else { Shape::Lines };
    introduce(&stage, &args);
    let mut reporter = Reporter::new(shape);
    let toured = tokio::select! {
        () = tour::run(&mut stage, &mut reporter, args.file.as_deref()) => true,
        () = &mut ended => false,
    };
    let outcome = match (toured, args.once) {
        (false, _) => Err(Failure::new(Exit::Failed, "ended before the tour was over")),
        (true, true) => judge(&reporter.finish(), &stage),
        (true, false) => {
            let tour = reporter.finish();
            match stage.client() {
                Ok(_) => stay(&mut stage, shape, &mut ended).await.and_then(|()| judge(&tour, &stage)),
                Err(_) => judge(&tour, &stage),
            }
        }
    };
    stage.stop().await;
    outcome
}

fn node_count(text: &str) -> Result<u8, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("a cluster of this kind has 1, 3 or 5 nodes".to_owned()),
    }
}

/// A file that cannot be read is said before anything is started.
fn readable(file: &Path) -> Result<(), Failure> {
    let cannot = |why: &dyn std::fmt::Display| {
        Failure::new(Exit::Usage, format!("`{}` cannot be read: {why}", file.display()))
            .hint("--file with another file")
    };
    let metadata = std::fs::File::open(file).and_then(|file| file.metadata()).map_err(|error| cannot(&error))?;
    if metadata.is_file() { Ok(()) } else { Err(cannot(&"it is not a file")) }
}

/// The folder, and what an earlier run left in it.
fn open(args: &DevArgs) -> Result<Stage, Failure> {
    let layout = Layout::open(args.dir.as_deref(), args.keep)?;
    let memory = match layout.memory()? {
        Some(memory) => check_count(memory, args.nodes)?,
        None => {
            let ports = Ports::choose(args.nodes.unwrap_or(NODES))
                .map_err(|error| Failure::new(Exit::Failed, format!("no ports to listen on: {error}")))?;
            let memory = Memory::new(ports);
            layout.remember(&memory)?;
            memory
        }
    };
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(Exit::Failed, format!("this program cannot be found: {error}")))?;
    Ok(Stage::new(layout, memory, program))
}

fn check_count(memory: Memory, wanted: Option<u8>) -> Result<Memory, Failure> {
    let there = memory.ports.len();
    match wanted {
        Some(wanted) if usize::from(wanted) != there => {
            let message = format!("the cluster in this folder has {there} nodes, not {wanted}");
            Err(Failure::new(Exit::Conflict, message).hint("leave `--nodes` out, or name another --dir"))
        }
        _ => Ok(memory),
    }
}

fn introduce(stage: &Stage, args: &DevArgs) {
    if args.json {
        return;
    }
    let root = stage.layout.root().display();
    match (stage.layout.is_temporary(), args.dir.is_some()) {
        (true, _) => say("chancery dev   data in a temporary folder (removed on exit; keep: --dir)"),
        (false, true) => say(&format!("chancery dev   data in {root}")),
        (false, false) => say(&format!("chancery dev   data in {root} (kept)")),
    }
}

/// What the steps came to, as an exit code.
fn judge(tour: &Tour, stage: &Stage) -> Result<(), Failure> {
    if tour.ok {
        return Ok(());
    }
    let failed = tour.steps.iter().filter(|step| step.ok == Some(false)).map(|step| format!("`{}`", step.name));
    let message = format!("{} did not hold", failed.collect::<Vec<_>>().join(", "));
    let hint = if stage.layout.is_temporary() {
        "the same with --keep, and read the logs in its folder".to_owned()
    } else {
        format!("read the logs in {}", stage.layout.path("logs").display())
    };
    Err(Failure::new(Exit::Failed, message).hint(hint))
}

/// Leaves the cluster to the user until a signal comes, or a process ends that should not.
async fn stay(stage: &mut Stage, shape: Shape, ended: &mut (impl Future<Output = ()> + Unpin)) -> Result<(), Failure> {
    let text = exports(stage);
    match shape {
        Shape::Lines => say(&text),
        Shape::Json => note(&text), // stdout holds the document alone
    }
    let mut tick = tokio::time::interval(CHECK_INTERVAL);
    loop {
        tokio::select! {
            () = &mut *ended => return Ok(()),
            _ = tick.tick() => stage.check().map_err(|fault| Failure::new(Exit::Failed, fault.to_string()))?,
        }
    }
}

/// What a second terminal needs.
fn exports(stage: &Stage) -> String {
    let bin = stage.program().parent().map(|folder| folder.display().to_string()).unwrap_or_default();
    let nodes: Vec<_> = stage.nodes.iter().map(|node| node.ports.api.to_string()).collect();
    let admin = stage.layout.path(Who::Operator.folder());
    format!(
        "In another terminal:\n  export PATH=\"{bin}:$PATH\"\n  export CHANCERY_ADDR={} CHANCERY_IDENTITY={}\n  \
         export SPIFFE_ENDPOINT_SOCKET=unix://{}\nCtrl-C stops everything.",
        nodes.join(","),
        admin.display(),
        stage.agent_socket().display()
    )
}

/// Resolves on the first signal that asks us to end.
fn end_signal() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_have_odd_counts() {
        assert_eq!([node_count("1"), node_count("3"), node_count("5")], [Ok(1), Ok(3), Ok(5)]);
        for wrong in ["0", "2", "4", "7", "three", ""] {
            assert!(node_count(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_files_are_encrypted() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(readable(&folder.path().join("none")).is_err());
        assert!(readable(folder.path()).expect_err("a folder").to_string().contains("is not a file"));
        std::fs::write(folder.path().join("a"), "a").expect("writes");
        assert!(readable(&folder.path().join("a")).is_ok());
    }

    #[test]
    fn a_kept_cluster_keeps_its_count() {
        let memory = Memory::new(Ports::choose(1).expect("chooses"));
        assert!(check_count(memory.clone(), None).is_ok());
        assert!(check_count(memory.clone(), Some(1)).is_ok());
        let refused = check_count(memory, Some(3)).expect_err("another count").to_string();
        assert!(refused.contains("has 1 nodes, not 3"), "{refused}");
    }
}

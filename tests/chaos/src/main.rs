//! Breaks real clusters and says what was lost: `chaos run`, `chaos power-cut`.
//!
//! Each scenario is a process of its own, so that one that hangs is ended, and one that must be on another network can be.
//! What a scenario needs and this machine lacks is said aloud, and the scenario counts as skipped, never as passed. The nodes
//! are this binary again, as `chaos chancery server …`: the same library call as the `chancery` program.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "figures and findings are what this program is for")]

mod cluster;
mod figures;
mod hosts;
mod node;
mod orchestra;
mod probes;
mod scenario;
mod tools;
mod verdict;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::scenario::{Order, Scenario};

/// A run ends at the first thing that keeps it from judging, and says it.
pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Real processes under real faults
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Every fault that needs no power cut: kill, cuts, pause, full disk, failed sync, clocks, damage
    Run(orchestra::Run),
    /// Loop-mounted disks that lose what was not synced
    PowerCut(orchestra::PowerCut),
    /// One scenario, in this process
    #[command(hide = true)]
    Scenario {
        scenario: Scenario,
        /// Faults injected
        #[arg(long)]
        rounds: u32,
        /// Voters
        #[arg(long)]
        nodes: usize,
        /// Of the choices that a scenario makes
        #[arg(long)]
        seed: u64,
        /// Scratch folder
        #[arg(long)]
        folder: PathBuf,
        /// Network namespaces made for it, by the part of their names before the number
        #[arg(long)]
        hosts: Option<String>,
    },
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.peek().is_some_and(|first| first == "chancery") {
        return cli::run(arguments);
    }
    crypto::tls::install_provider();
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let outcome = match arguments.part {
        Part::Run(run) => orchestra::run(&run),
        Part::PowerCut(run) => orchestra::power_cut(&run),
        Part::Scenario { scenario, rounds, nodes, seed, folder, hosts } => {
            let order = Order { rounds, nodes, seed, folder, hosts };
            runtime.block_on(scenario::play(scenario, order)).and_then(|verdict| {
                println!("{}", serde_json::to_string(&verdict)?);
                Ok(true)
            })
        }
    };
    // A thread that still checks a history must not keep it.
    runtime.shutdown_background();
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => failed(&fault),
    }
}

fn failed(fault: &Fault) -> ExitCode {
    eprintln!("error: {fault}");
    ExitCode::FAILURE
}

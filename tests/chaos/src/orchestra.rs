//! Plays scenarios one after the other, each in a process of its own, and prints the table.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;

use crate::Fault;
use crate::hosts::Hosts;
use crate::scenario::Scenario;
use crate::verdict::Verdict;

/// The short form, in the order in which it is played.
const SHORT: [Scenario; 7] = [
    Scenario::Kill,
    Scenario::OneWay,
    Scenario::Ring,
    Scenario::Pause,
    Scenario::DiskFull,
    Scenario::Eio,
    Scenario::Clocks,
];
/// What only the long form plays.
const LONG: [Scenario; 3] = [Scenario::Flap, Scenario::Alone, Scenario::Damage];
/// A scenario that takes longer is ended.
const ROUND_MAX: Duration = Duration::from_secs(90);
const FORMING_MAX: Duration = Duration::from_secs(240);

/// What to break.
#[derive(Args)]
pub(crate) struct Run {
    /// Repeat every scenario's rounds so many times, and play the long ones too; 0 is the short form
    #[arg(long, default_value_t = 0)]
    rounds: u32,
    /// Only these scenarios, with their own rounds unless --faults says otherwise
    #[arg(long, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Faults injected by each scenario, whatever it would do by itself
    #[arg(long)]
    faults: Option<u32>,
    /// Voters; a ring needs five
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Of all choices; drawn when absent, and printed
    #[arg(long)]
    seed: Option<u64>,
}

/// How often the power goes.
#[derive(Args)]
pub(crate) struct PowerCut {
    /// Cuts: of one node, of two, of three, and again
    #[arg(long, default_value_t = Scenario::PowerCut.rounds())]
    rounds: u32,
    /// Of all choices; drawn when absent, and printed
    #[arg(long)]
    seed: Option<u64>,
    /// Make every sync a lie, to see the harness find the loss
    #[arg(long)]
    lying_sync: bool,
}

/// `chaos run`. Whether everything held.
pub(crate) fn run(run: &Run) -> Result<bool, Fault> {
    let mut scenarios: Vec<Scenario> = if run.only.is_empty() { SHORT.to_vec() } else { run.only.clone() };
    if run.only.is_empty() && run.rounds > 0 {
        scenarios.extend(LONG);
    }
    let mut verdicts = Vec::new();
    for scenario in scenarios {
        let rounds = run.faults.unwrap_or_else(|| scenario.rounds() * run.rounds.max(1));
        let nodes = if scenario == Scenario::Ring { run.nodes.max(5) } else { run.nodes };
        verdicts.push(play(scenario, rounds, nodes, seed(run.seed), &[])?);
    }
    report("chaos", &verdicts)
}

/// `chaos power-cut`. Whether nothing was lost.
pub(crate) fn power_cut(run: &PowerCut) -> Result<bool, Fault> {
    let variables: &[(&str, &str)] = if run.lying_sync { &[("CHAOS_LYING_SYNC", "1")] } else { &[] };
    let verdict = play(Scenario::PowerCut, run.rounds, 3, seed(run.seed), variables)?;
    report("power-cut", &[verdict])
}

fn seed(given: Option<u64>) -> u64 {
    given.unwrap_or_else(|| u64::from_be_bytes(crypto::entropy::array()) >> 32)
}

/// Plays one scenario, or says why it cannot be played here.
fn play(
    scenario: Scenario,
    rounds: u32,
    nodes: usize,
    seed: u64,
    variables: &[(&str, &str)],
) -> Result<Verdict, Fault> {
    let name = scenario.name();
    println!("\n=== {name}: {rounds} rounds on {nodes} nodes, seed {seed}");
    // On the disk of the checkout: /tmp is memory on many machines, and syncs there cost nothing.
    let scratch = target()?;
    std::fs::create_dir_all(&scratch)?;
    let folder = tempfile::Builder::new().prefix("chaos-").tempdir_in(&scratch)?;
    let mut verdict = Verdict { scenario: name.clone(), rounds, nodes, seed, ..Verdict::default() };
    if let Some(why) = scenario.needs().iter().find_map(|need| need.missing(folder.path())) {
        println!("SKIPPED: {name}: {why}");
        verdict.skipped = Some(why);
        return Ok(verdict);
    }
    let hosts = scenario.on_hosts().then(|| Hosts::make(nodes)).transpose()?;
    let mut words = hosts.as_ref().map(Hosts::through).unwrap_or_default();
    words.push(std::env::current_exe()?.into());
    words.extend(["scenario".into(), OsString::from(&name)]);
    let options = [("--rounds", rounds.to_string()), ("--nodes", nodes.to_string()), ("--seed", seed.to_string())];
    words.extend(options.into_iter().flat_map(|(flag, value)| [flag.into(), value.into()]));
    words.extend(["--folder".into(), folder.path().join("run").into()]);
    if let Some(hosts) = &hosts {
        words.extend(["--hosts".into(), hosts.name().into()]);
    }
    let limit = FORMING_MAX + ROUND_MAX * rounds;
    let (told, started) = (folder.path().join("verdict"), Instant::now());
    match watched(&words, variables, &told, limit) {
        Ok(()) => verdict = serde_json::from_str(std::fs::read_to_string(&told)?.trim())?,
        Err(fault) => {
            verdict.seconds = started.elapsed().as_secs_f64();
            verdict.fail(fault.to_string());
        }
    }
    print(&verdict);
    unmount_under(folder.path());
    if verdict.word() == "FAILED" {
        println!("what the nodes said is kept in {}", keep(folder, &name)?.display());
    }
    Ok(verdict)
}

/// Runs a scenario's process and ends it when it takes too long. Its verdict goes to a file, its words to the terminal.
fn watched(words: &[OsString], variables: &[(&str, &str)], told: &Path, limit: Duration) -> Result<(), Fault> {
    let (program, arguments) = words.split_first().ok_or("no program")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(std::fs::File::create(told)?);
    let mut child = command.envs(variables.iter().copied()).spawn()?;
    let started = Instant::now();
    while started.elapsed() < limit {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("the scenario could not be judged: it ended with {status}").into()),
            None => std::thread::sleep(Duration::from_millis(100)),
        }
    }
    child.kill()?;
    child.wait()?;
    Err(format!("the scenario did not end within {limit:?}").into())
}

fn print(verdict: &Verdict) {
    for (name, value) in &verdict.facts {
        println!("  {name}: {value}");
    }
    for failure in &verdict.failures {
        println!("  FAILED: {failure}");
    }
    println!("--- {}: {} in {:.0} s", verdict.scenario, verdict.word(), verdict.seconds);
}

/// The table, and the same for programs in `target/NAME.json`.
fn report(name: &str, verdicts: &[Verdict]) -> Result<bool, Fault> {
    println!("\n{:<10} {:>6} {:>5} {:>8} {:>10}  result", "scenario", "rounds", "nodes", "seconds", "seed");
    for verdict in verdicts {
        let why = verdict.skipped.as_deref().map_or(String::new(), |why| format!(": {why}"));
        let Verdict { scenario, rounds, nodes, seconds, seed, .. } = verdict;
        println!("{scenario:<10} {rounds:>6} {nodes:>5} {seconds:>8.0} {seed:>10}  {}{why}", verdict.word());
    }
    let file = target()?.join(format!("{name}.json"));
    std::fs::write(&file, serde_json::to_string_pretty(verdicts)? + "\n")?;
    Ok(verdicts.iter().all(|verdict| verdict.failures.is_empty()))
}

fn target() -> Result<PathBuf, Fault> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).ok_or("the checkout has no root")?;
    Ok(root.join("target"))
}

/// What a scenario that ended badly left mounted.
fn unmount_under(folder: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let below = mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|at| Path::new(at).starts_with(folder));
    for at in below {
        let _ = crate::tools::run("umount", ["-l", at]);
    }
}

/// Keeps a failed scenario's folder, one a scenario.
fn keep(folder: tempfile::TempDir, name: &str) -> Result<PathBuf, Fault> {
    let kept = target()?.join(format!("chaos-failed-{name}"));
    let _ = std::fs::remove_dir_all(&kept);
    let from = folder.keep();
    std::fs::rename(&from, &kept)?;
    Ok(kept)
}

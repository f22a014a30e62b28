//! Plays scenarios one after the other, each in a process of its own, and prints the table.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;

use crate::Fault;
use crate::hosts::Hosts;
use crate::scenario::Scenario;
use crate::tools::OTHER;
use crate::verdict::Verdict;

/// The short form, in the order in which it is played.
const SHORT: [Scenario; 9] = [
    Scenario::Kill,
    Scenario::OneWay,
    Scenario::Ring,
    Scenario::Pause,
    Scenario::DiskFull,
    Scenario::Eio,
    Scenario::Clocks,
    Scenario::Transfer,
    Scenario::Rolling,
];
/// What only the long form plays.
const LONG: [Scenario; 6] =
    [Scenario::Stall, Scenario::Flap, Scenario::Alone, Scenario::Damage, Scenario::Away, Scenario::Upgrade];
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
    /// Voters: 1, 3 or 5. A ring takes five of three as well; what one node cannot play is skipped, and says so
    #[arg(long, default_value_t = 3, value_parser = voters)]
    nodes: usize,
    /// Another build of `chancery`, for `upgrade`
    #[arg(long)]
    other: Option<PathBuf>,
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
    /// Voters: 1, 3 or 5
    #[arg(long, default_value_t = 3, value_parser = voters)]
    nodes: usize,
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
    let other = match &run.other {
        Some(path) => Some(path.canonicalize().map_err(|error| format!("`{}`: {error}", path.display()))?),
        None => None,
    };
    let other = other.as_ref().map(|path| (OTHER, path.as_os_str()));
    let mut verdicts = Vec::new();
    for scenario in scenarios {
        let rounds = run.faults.unwrap_or_else(|| scenario.rounds() * run.rounds.max(1));
        verdicts.push(play(scenario, rounds, run.nodes, seed(run.seed), other.as_slice())?);
    }
    report("chaos", &verdicts)
}

fn voters(text: &str) -> Result<usize, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("clusters of 1, 3 and 5 nodes are played".to_owned()),
    }
}

/// `chaos power-cut`. Whether nothing was lost.
pub(crate) fn power_cut(run: &PowerCut) -> Result<bool, Fault> {
    let variables: &[(&str, &OsStr)] = if run.lying_sync { &[("CHAOS_LYING_SYNC", OsStr::new("1"))] } else { &[] };
    let verdict = play(Scenario::PowerCut, run.rounds, run.nodes, seed(run.seed), variables)?;
    report("power-cut", &[verdict])
}

fn seed(given: Option<u64>) -> u64 {
    given.unwrap_or_else(|| u64::from_be_bytes(crypto::entropy::array()) >> 32)
}

/// Plays one scenario, or says why it cannot be played here.
fn play(
    scenario: Scenario,
    rounds: u32,
    asked: usize,
    seed: u64,
    variables: &[(&str, &OsStr)],
) -> Result<Verdict, Fault> {
    let (name, voters) = (scenario.name(), scenario.voters(asked));
    let nodes = *voters.as_ref().unwrap_or(&asked);
    println!("\n=== {name}: {rounds} rounds on {nodes} nodes, seed {seed}");
    // On the disk of the checkout: /tmp is memory on many machines, and syncs there cost nothing.
    let scratch = target()?;
    std::fs::create_dir_all(&scratch)?;
    let folder = tempfile::Builder::new().prefix("chaos-").tempdir_in(&scratch)?;
    let mut verdict = Verdict { scenario: name.clone(), rounds, nodes, seed, ..Verdict::default() };
    let missing = || scenario.needs().iter().find_map(|need| need.missing(folder.path(), variables));
    if let Some(why) = voters.err().or_else(missing) {
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
fn watched(words: &[OsString], variables: &[(&str, &OsStr)], told: &Path, limit: Duration) -> Result<(), Fault> {
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

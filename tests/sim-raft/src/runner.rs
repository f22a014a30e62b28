//! The command line: one seed in this process, or many in a process each.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::bugs::{ALL, Plant};
use crate::report::{complain, say};
use crate::scripts::{self, Script};
use crate::world;

/// A seed that takes longer hangs.
const SEED_TIME_MAX: Duration = Duration::from_secs(240);
/// Each planted bug must be found within so many seeds.
const PLANT_SEEDS_MAX: u64 = 100;
/// How a script is run again.
const SCRIPT: &str = "make sim-build && target/sim/sim/sim-raft script";

const USAGE: &str = "usage: sim-raft one SEED [BUG] | script NAME SEED | many SEEDS BASE | scripts SEEDS BASE | twice SEEDS BASE | plants BASE [BUG]";

pub(crate) fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["one", seed, bug @ ..] => number(seed).and_then(|seed| one(seed, bug.first().copied())),
        ["script", name, seed] => number(seed).and_then(|seed| script(name, seed)),
        ["scripts", seeds, base] => number(seeds).and_then(|seeds| scripts(seeds, number(base)?)),
        ["many", seeds, base] => number(seeds).and_then(|seeds| many(seeds, number(base)?)),
        ["twice", seeds, base] => number(seeds).and_then(|seeds| twice(seeds, number(base)?)),
        ["plants", base] => number(base).and_then(|base| plants(base, &ALL)),
        ["plants", base, bug] => number(base).and_then(|base| plants(base, &[(bug, bug.parse()?)])),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            complain(&what);
            ExitCode::FAILURE
        }
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number; {USAGE}"))
}

/// Runs one seed here. A good one says its trace's hash and what happened, and only if it is asked to.
fn one(seed: u64, bug: Option<&str>) -> Result<(), String> {
    if std::env::var_os("SIM_LOG").is_some() {
        crate::report::log();
    }
    let plant = bug.map(str::parse::<Plant>).transpose()?;
    let ended = world::run(seed, plant, None).map_err(|what| replay(seed, &what))?;
    tell(&ended);
    Ok(())
}

/// Runs one script here.
fn script(name: &str, seed: u64) -> Result<(), String> {
    let script = Script::find(name)?;
    let ended = world::run(seed, None, Some(script))
        .map_err(|what| format!("{name}, seed {seed}: {what}\nreplay: {SCRIPT} {name} {seed}"))?;
    tell(&ended);
    Ok(())
}

fn tell(ended: &world::Ended) {
    if std::env::var_os("SIM_VERBOSE").is_some() {
        let counts: Vec<String> = ended.counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
        say(&format!("{:016x} {}", ended.trace, counts.join(", ")));
    }
}

fn replay(seed: u64, what: &str) -> String {
    format!("seed {seed}: {what}\nreplay: make sim SEEDS=1 SEED={seed}")
}

/// Runs every script under some seeds.
fn scripts(seeds: u64, base: u64) -> Result<(), String> {
    let mut bad = 0;
    for script in &scripts::ALL {
        each(base..base.saturating_add(seeds), &["script", script.name], &[], |_, ended| {
            match ended {
                Ok(said) => say(&format!("{}: {}", script.name, counts_of(&said))),
                Err(what) => {
                    bad += 1;
                    complain(what.trim_end());
                }
            }
            true
        })?;
    }
    if bad == 0 { Ok(()) } else { Err(format!("{bad} scripted runs failed")) }
}

/// Runs many seeds, one process each, as many at a time as there are cores.
fn many(seeds: u64, base: u64) -> Result<(), String> {
    let (mut bad, mut totals) = (0, BTreeMap::new());
    each(base..base.saturating_add(seeds), &["one"], &[], |seed, ended| {
        match ended {
            Ok(said) => add_up(counts_of(&said), &mut totals),
            Err(what) => {
                bad += 1;
                complain(&with_replay(seed, &what));
            }
        }
        true
    })?;
    if bad > 0 {
        return Err(format!("{bad} of {seeds} seeds failed"));
    }
    let totals: Vec<String> = totals.iter().map(|(what, count)| format!("{count} {what}")).collect();
    say(&format!("{seeds} seeds held: {}", totals.join(", ")));
    Ok(())
}

/// What a good run said, without the hash of its trace: `COUNT WHAT, COUNT WHAT`.
fn counts_of(said: &str) -> &str {
    said.trim_end().split_once(' ').map_or("", |(_, counts)| counts)
}

fn add_up(counts: &str, totals: &mut BTreeMap<String, u64>) {
    for (count, what) in counts.split(", ").filter_map(|part| part.split_once(' ')) {
        *totals.entry(what.to_owned()).or_default() += count.parse::<u64>().unwrap_or(0);
    }
}

/// A process that died without a word (a panic, a hang) gets its replay line here.
fn with_replay(seed: u64, what: &str) -> String {
    let what = what.trim_end();
    if what.contains("replay: ") { what.to_owned() } else { replay(seed, what) }
}

/// Runs each seed twice: the traces must be the same.
fn twice(seeds: u64, base: u64) -> Result<(), String> {
    let mut traces = [Vec::new(), Vec::new()];
    for round in &mut traces {
        let mut failed = None;
        each(base..base.saturating_add(seeds), &["one"], &[], |seed, ended| {
            match ended {
                Ok(said) => round.push((seed, said)),
                Err(what) => failed = Some(with_replay(seed, &what)),
            }
            true
        })?;
        if let Some(failed) = failed {
            return Err(failed);
        }
        round.sort_unstable();
    }
    let [first, second] = traces;
    match first.iter().zip(&second).find(|(one, other)| one != other) {
        None => {
            say(&format!("{seeds} seeds left the same trace twice"));
            Ok(())
        }
        Some((one, other)) => Err(format!("seed {} ran differently: {}then {}", one.0, one.1, other.1)),
    }
}

/// Runs seeds with each bug planted until one finds it.
fn plants(base: u64, bugs: &[(&str, Plant)]) -> Result<(), String> {
    let mut missed = Vec::new();
    for (name, _) in bugs {
        let mut found = None;
        each(base..base + PLANT_SEEDS_MAX, &["one"], &[*name], |seed, ended| {
            if let (Err(what), None) = (ended, &found) {
                found = Some((seed, what));
            }
            found.is_none()
        })?;
        match found {
            Some((seed, what)) => {
                let first = what.lines().find(|line| !line.is_empty()).unwrap_or_default();
                say(&format!("{name}: found by seed {seed} ({} tried): {first}", seed - base + 1));
            }
            None => missed.push(*name),
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("not found within {PLANT_SEEDS_MAX} seeds: {missed:?}")) }
}

/// Runs seeds in processes of their own and hands over how each ended, until `take` has seen enough.
fn each(
    seeds: impl Iterator<Item = u64>,
    before: &[&str],
    after: &[&str],
    mut take: impl FnMut(u64, Result<String, String>) -> bool,
) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (mut running, mut seeds, mut wants_more) = (Vec::<(u64, Child, Instant)>::new(), seeds, true);
    loop {
        while wants_more && running.len() < cores {
            let Some(seed) = seeds.next() else { break };
            let mut command = Command::new(&program);
            command.args(before).arg(seed.to_string()).args(after).env("SIM_VERBOSE", "1");
            // A backtrace would fill the pipe, which is read at the end.
            command.env("RUST_BACKTRACE", "0");
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            running.push((seed, command.spawn().map_err(|error| error.to_string())?, Instant::now()));
        }
        if running.is_empty() {
            return Ok(());
        }
        let mut still = Vec::new();
        for (seed, mut child, since) in running {
            let ended = child.try_wait().map_err(|error| error.to_string())?;
            if ended.is_none() && since.elapsed() < SEED_TIME_MAX {
                still.push((seed, child, since));
                continue;
            }
            if ended.is_none() {
                let _ = child.kill();
            }
            wants_more &= take(seed, said(child));
        }
        running = still;
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a process said, and whether it ended well.
fn said(mut child: Child) -> Result<String, String> {
    let (mut out, mut error) = (String::new(), String::new());
    let read = |pipe: Option<&mut dyn Read>, to: &mut String| {
        pipe.map_or(Ok(0), |pipe| pipe.read_to_string(to)).map_err(|error| error.to_string())
    };
    read(child.stdout.as_mut().map(|pipe| pipe as &mut dyn Read), &mut out)?;
    read(child.stderr.as_mut().map(|pipe| pipe as &mut dyn Read), &mut error)?;
    match child.wait() {
        Ok(status) if status.success() => Ok(out),
        Ok(status) => Err(if error.is_empty() { format!("it ended with {status}") } else { error }),
        Err(error) => Err(error.to_string()),
    }
}

//! `fuzz`: runs the targets, replays an input, writes the seeds. `make fuzz` builds it with coverage.

#![expect(clippy::print_stdout, reason = "a child tells its parent what became of it")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use fuzz::engine::{Target, corpus, probe, run, supervise};
use fuzz::targets;

/// Committed for each target.
const SEED_BYTES_MAX: usize = 4_096;

#[derive(Parser)]
#[command(about = "Every decoder of bytes from outside, under coverage-guided mutation")]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Names the targets.
    List,
    /// Runs the targets, each for so many seconds.
    Run {
        /// For how long each.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Where chance begins.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Some of them, by the beginning of their names; all when none is given.
        names: Vec<String>,
    },
    /// Decodes one file.
    Replay {
        /// The target.
        name: String,
        /// The input.
        file: PathBuf,
    },
    /// Makes fuzz/corpus anew: of what was found, a few kilobytes a target that cover more than what the encoders make.
    Seeds,
    /// One target, for `run`.
    #[command(hide = true)]
    Child {
        /// The target.
        name: String,
        /// For how long.
        seconds: u64,
        /// Where chance begins.
        seed: u64,
    },
}

fn main() -> ExitCode {
    match carry_out(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            supervise::say(&format!("fuzz: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn carry_out(verb: Verb) -> Result<bool, Box<dyn std::error::Error>> {
    // What decoders log of an input is put into words as well, for nobody to read.
    tracing_subscriber::fmt().with_writer(std::io::sink).init();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = supervise::Folders { seeds: root.join("corpus"), work: root.with_file_name("target").join("fuzz") };
    match verb {
        Verb::List => targets::ALL.iter().for_each(|target| println!("{}", target.name)),
        Verb::Run { seconds, seed, names } => {
            if probe::edges() == 0 {
                return Err("this build counts no edges and would search blindly: try `make fuzz`".into());
            }
            let wanted = |target: &&Target| names.is_empty() || names.iter().any(|name| target.name.starts_with(name));
            let wanted: Vec<Target> = targets::ALL.iter().filter(wanted).copied().collect();
            if wanted.is_empty() {
                return Err(format!("no target is called {names:?}: try `fuzz list`").into());
            }
            return Ok(supervise::run(&wanted, seconds, seed, &folders)?);
        }
        Verb::Replay { name, file } => run::replay(named(&name)?, &std::fs::read(file)?),
        Verb::Seeds => {
            for target in targets::ALL {
                let folder = folders.seeds.join(target.name);
                let known = corpus::read(&folder)?.into_iter().chain(corpus::read(&folders.found(target.name))?);
                let kept = run::distil(target, known.map(|(_, input)| input).collect(), SEED_BYTES_MAX);
                if folder.exists() {
                    std::fs::remove_dir_all(&folder)?;
                }
                kept.iter().try_for_each(|input| corpus::write(&folder, input).map(drop))?;
            }
            std::fs::remove_dir_all(fuzz::engine::scratch(std::process::id()))?;
        }
        Verb::Child { name, seconds, seed } => {
            let options = run::Options {
                length: Duration::from_secs(seconds),
                seed,
                seeds: folders.seeds.join(&name),
                found: folders.found(&name),
                current: folders.current(&name),
            };
            println!("{}", serde_json::to_string(&run::run(named(&name)?, &options)?)?);
        }
    }
    Ok(true)
}

fn named(name: &str) -> Result<&'static Target, String> {
    let found = targets::ALL.iter().find(|target| target.name == name);
    found.ok_or_else(|| format!("no target is called `{name}`: try `fuzz list`"))
}

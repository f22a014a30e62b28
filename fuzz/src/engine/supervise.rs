//! One process for each target, one after the other. When one dies, whatever of, its last input is kept, made shorter, and named.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::run::Summary;
use super::{Target, corpus};

/// For how long a failing input is made shorter.
const SHORTEN: Duration = Duration::from_secs(10);

/// Where things lie.
pub struct Folders {
    /// The committed seeds, a folder for each target.
    pub seeds: PathBuf,
    /// What is found and what fails; under `target/`.
    pub work: PathBuf,
}

impl Folders {
    /// What was found for a target in earlier runs.
    #[must_use]
    pub fn found(&self, target: &str) -> PathBuf {
        self.work.join("found").join(target)
    }

    /// The input that a target decodes right now.
    #[must_use]
    pub fn current(&self, target: &str) -> PathBuf {
        self.work.join(format!("current-{target}"))
    }
}

/// Runs the targets; true when none has failed.
///
/// # Errors
/// What the machine says that cannot start a process or write a file.
pub fn run(targets: &[Target], seconds: u64, seed: u64, folders: &Folders) -> std::io::Result<bool> {
    std::fs::create_dir_all(&folders.work)?;
    let mut summaries = Vec::new();
    let mut failed = Vec::new();
    say(&format!(
        "{:<20} {:>10} {:>9} {:>7} {:>7} {:>6} {:>9}",
        "target", "executions", "a second", "edges", "corpus", "new", "held KiB"
    ));
    for target in targets {
        let arguments = ["child", target.name, &seconds.to_string(), &seed.to_string()];
        let output = finished(Command::new(std::env::current_exe()?).args(arguments).stdout(Stdio::piped()))?;
        match serde_json::from_slice::<Summary>(&output.stdout) {
            Ok(summary) if output.status.success() => {
                say(&line(&summary));
                summaries.push(summary);
            }
            _ => {
                say(&format!("{:<20} FAILED: {}", target.name, output.status));
                keep(target, folders)?;
                failed.push(target.name);
            }
        }
    }
    std::fs::write(folders.work.join("fuzz.json"), serde_json::to_vec_pretty(&summaries)?)?;
    let executions: u64 = summaries.iter().map(|summary| summary.executions).sum();
    say(&format!("{} targets, {executions} executions, seed {seed}; failed: {}", targets.len(), failed.len()));
    Ok(failed.is_empty())
}

fn line(summary: &Summary) -> String {
    let Summary { name, executions, seconds, edges, corpus, found, held_bytes } = summary;
    let rate = *executions as f64 / seconds.max(0.001);
    format!("{name:<20} {executions:>10} {rate:>9.0} {edges:>7} {corpus:>7} {found:>6} {:>9}", held_bytes / 1_024)
}

/// Keeps the input at which a target died, as short as it can be made in a moment.
fn keep(target: &Target, folders: &Folders) -> std::io::Result<()> {
    let current = std::fs::read(folders.current(target.name))?;
    let Some((length, rest)) = current.split_first_chunk::<8>() else { return Ok(()) };
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let mut input = rest.get(..length).unwrap_or(rest).to_vec();
    let (deadline, scratch) = (Instant::now() + SHORTEN, folders.work.join("shorter"));
    let mut piece = input.len().div_ceil(2);
    while piece > 0 && Instant::now() < deadline {
        let mut at = 0;
        while at < input.len() && Instant::now() < deadline {
            let mut shorter = input.clone();
            shorter.drain(at..shorter.len().min(at + piece));
            if fails(target, &shorter, &scratch)? { input = shorter } else { at += piece }
        }
        piece /= 2;
    }
    let path = corpus::write(&folders.work.join("failed").join(target.name), &input)?;
    let binary = std::env::current_exe()?;
    say(&format!("  the input: {} ({} bytes)", path.display(), input.len()));
    say(&format!("  again by:  {} replay {} {}", binary.display(), target.name, path.display()));
    Ok(())
}

fn fails(target: &Target, input: &[u8], scratch: &Path) -> std::io::Result<bool> {
    std::fs::write(scratch, input)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("replay").arg(target.name).arg(scratch).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(!finished(&mut command)?.status.success())
}

/// Waits for a process, and removes what it left behind.
fn finished(command: &mut Command) -> std::io::Result<Output> {
    let child = command.spawn()?;
    let scratch = super::scratch(child.id());
    let output = child.wait_with_output();
    if scratch.exists() {
        std::fs::remove_dir_all(scratch)?;
    }
    output
}

/// Tells the person who runs it.
#[expect(
    clippy::print_stderr,
    reason = "a program for people who read what it prints; standard output is a child's summary"
)]
pub fn say(text: &str) {
    eprintln!("{text}");
}

//! The `chancery` command: what was typed, and what is printed. `server` and `agent` start the crates of that name; all
//! other commands are ordinary clients of the API, with no private door around policy and audit.
//!
//! Answers go to stdout, everything else to stderr; secrets come from files, prompts and stdin, never from arguments.

mod algorithms;
mod args;
mod commands;
mod context;
mod dev;
mod exit;
mod failure;
mod key_views;
mod namespace_views;
mod output;
mod passphrase;
mod private_memory;
mod progress;
mod receipts;
mod usage_args;
mod values;
mod views;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Cli;
use crate::exit::Exit;
use crate::failure::Failure;

/// What a shell reports for a command that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Runs the command of those arguments, the program's name first, to its exit code (docs/operate/cli.md).
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    run_all(arguments.into_iter().collect())
}

/// Not generic, so that the whole program is compiled once, here, and not in each binary that runs it.
fn run_all(arguments: Vec<OsString>) -> ExitCode {
    crypto::tls::install_provider();
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too; if the terminal is gone there is nobody to tell.
            let _gone = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8));
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Failure::new(Exit::Failed, format!("no threads to run on: {error}"))),
    };
    let outcome = runtime.block_on(interruptible(cli));
    // Not waited for: a read from a terminal may still be blocking a thread.
    runtime.shutdown_background();
    match outcome {
        Some(Ok(())) => Exit::Done.into(),
        Some(Err(failure)) => report(&failure),
        None => ExitCode::from(INTERRUPTED),
    }
}

/// Runs the command. Ctrl-C drops it, so that its temporary files are removed; long-running commands end by themselves.
async fn interruptible(cli: Cli) -> Option<Result<(), Failure>> {
    if cli.command.handles_signals() {
        return Some(commands::dispatch(cli).await);
    }
    tokio::select! {
        outcome = commands::dispatch(cli) => Some(outcome),
        _ = tokio::signal::ctrl_c() => None,
    }
}

fn report(failure: &Failure) -> ExitCode {
    if failure.exit() != Exit::Unread {
        output::note(&failure.to_string());
    }
    failure.exit().into()
}

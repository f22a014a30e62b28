//! `chancery man`: the man pages, from the same definition as the help.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};

use crate::args::Cli;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;

/// Arguments of `man`.
#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Folder to write them to, one page a command
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

/// Writes the man pages.
pub(crate) fn run(args: &ManArgs) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Failed, format!("`{}` could not be written: {error}", args.dir.display()))
    };
    std::fs::create_dir_all(&args.dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), &args.dir).map_err(failed)?;
    output::note(&format!("man pages → {}", args.dir.display()));
    Ok(())
}

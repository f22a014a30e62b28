//! What is said aloud: nothing for a good seed, one line to replay a bad one.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the output of a test program")]

/// One line of a trace or a summary.
#[cfg(chancery_sim)]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Something that went wrong.
pub(crate) fn complain(line: &str) {
    eprintln!("{line}");
}

/// Lets the crates speak, for a replay: `SIM_LOG=1`, filtered by `RUST_LOG`.
#[cfg(chancery_sim)]
pub(crate) fn log() {
    let _ = tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).try_init();
}

//! The program under test: the same library call as `chancery`, built where `cargo test` finds it.

fn main() -> std::process::ExitCode {
    cli::run(std::env::args_os())
}

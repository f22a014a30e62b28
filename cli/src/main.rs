//! The `chancery` binary: everything it does is in the library beside it, so that tests can run the same program.

fn main() -> std::process::ExitCode {
    cli::run(std::env::args_os())
}

//! The `chancery` binary: everything it does is in the library beside it, so that tests can run the same program.

/// Under load a member makes a tenth more changes a second with it: each message takes and gives back memory some hundred times.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::run(std::env::args_os())
}

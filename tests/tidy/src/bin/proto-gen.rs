//! `make proto`: writes `proto/src/gen` afresh from the `.proto` files.

use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "a command line tool")]
fn main() -> ExitCode {
    let protos = tidy::root().join("proto");
    match tidy::proto_gen::regenerate(&protos, &protos.join("src/gen")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: proto/ was not generated: {error:?}");
            ExitCode::FAILURE
        }
    }
}

//! One file a noun: its arguments, its calls, its words.

pub mod agent;
pub mod agents;
pub mod audit;
pub mod ca;
pub mod cluster;
pub mod completions;
pub mod context_pairs;
pub mod data_key;
pub mod decrypt;
pub mod encrypt;
pub mod entry;
pub mod init;
pub mod key;
pub mod man;
pub mod namespace;
pub mod operator;
pub mod pages;
pub mod rewrap;
pub mod seal;
pub mod server;
pub mod svid;
pub mod whoami;

use crate::args::{Cli, Command};
use crate::context::Context;
use crate::failure::Failure;

/// Runs the command that was typed.
pub async fn dispatch(cli: Cli) -> Result<(), Failure> {
    let context = Context::new(cli.globals);
    match cli.command {
        Command::Init(args) => init::run(args, &context).await,
        Command::Server(args) => server::run(args).await,
        Command::Agent(args) => agent::run(args, &context).await,
        Command::Key(command) => key::run(command, &context).await,
        Command::Encrypt(args) => encrypt::run(args, &context).await,
        Command::Decrypt(args) => decrypt::run(args, &context).await,
        Command::Rewrap(args) => rewrap::run(args, &context).await,
        Command::DataKey(args) => data_key::run(args, &context).await,
        Command::Namespace(command) => namespace::run(command, &context).await,
        Command::Entry(command) => entry::run(command, &context).await,
        Command::Agents(command) => agents::run(command, &context).await,
        Command::Svid(command) => svid::run(command, &context).await,
        Command::Cluster(command) => cluster::run(command, &context).await,
        Command::Operator(command) => operator::run(command, &context).await,
        Command::Seal(command) => seal::run(command, &context).await,
        Command::Audit(command) => audit::run(command, &context).await,
        Command::Ca(command) => ca::run(command, &context).await,
        Command::Bundle(command) => ca::run_bundle(command, &context).await,
        Command::Whoami => whoami::run(&context).await,
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}

//! One file a noun: its arguments, its calls, its words.

pub(crate) mod agent;
pub(crate) mod agents;
pub(crate) mod alias;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod backup_views;
pub(crate) mod ca;
pub(crate) mod cluster;
pub(crate) mod completions;
pub(crate) mod context_pairs;
pub(crate) mod data_key;
pub(crate) mod decrypt;
pub(crate) mod encrypt;
pub(crate) mod entry;
pub(crate) mod init;
pub(crate) mod key;
pub(crate) mod ledger;
pub(crate) mod mac;
pub(crate) mod man;
pub(crate) mod members;
pub(crate) mod namespace;
pub(crate) mod operator;
pub(crate) mod pages;
mod peers;
pub(crate) mod recover;
mod restore;
pub(crate) mod rewrap;
pub(crate) mod root_key;
pub(crate) mod seal;
pub(crate) mod server;
pub(crate) mod settings;
pub(crate) mod sign;
pub(crate) mod slots;
pub(crate) mod svid;
pub(crate) mod whoami;

use crate::args::{Cli, Command};
use crate::context::Context;
use crate::dev;
use crate::failure::Failure;

/// Runs the command that was typed.
pub(crate) async fn dispatch(cli: Cli) -> Result<(), Failure> {
    let context = Context::new(cli.globals);
    let done = match cli.command {
        Command::Init(args) => init::run(args, &context).await,
        Command::Server(args) => server::run(args).await,
        Command::Agent(args) => agent::run(args, &context).await,
        Command::Dev(args) => dev::run(args).await,
        Command::DevWorkload(args) => dev::workload::run(args).await,
        Command::Key(command) => key::run(command, &context).await,
        Command::Alias(command) => alias::run(command, &context).await,
        Command::Encrypt(args) => encrypt::run(args, &context).await,
        Command::Decrypt(args) => decrypt::run(args, &context).await,
        Command::Rewrap(args) => rewrap::run(args, &context).await,
        Command::DataKey(args) => data_key::run(args, &context).await,
        Command::Sign(args) => sign::run(args, &context).await,
        Command::Verify(args) => sign::run_verify(args, &context).await,
        Command::Mac(command) => mac::run(command, &context).await,
        Command::Namespace(command) => namespace::run(command, &context).await,
        Command::Entry(command) => entry::run(command, &context).await,
        Command::Agents(command) => agents::run(command, &context).await,
        Command::Svid(command) => svid::run(command, &context).await,
        Command::Cluster(command) => cluster::run(command, &context).await,
        Command::Operator(command) => operator::run(command, &context).await,
        Command::Seal(command) => seal::run(command, &context).await,
        Command::Audit(command) => audit::run(command, &context).await,
        Command::Ledger(command) => ledger::run(command, &context),
        Command::Backup(command) => backup::run(command, &context).await,
        Command::Ca(command) => ca::run(command, &context).await,
        Command::Bundle(command) => ca::run_bundle(command, &context).await,
        Command::Whoami => whoami::run(&context).await,
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    };
    if done.is_ok() {
        context.learn_members().await;
        context.footnotes();
    }
    done
}

//! The command line: one source for parsing, help, completions and man pages.

use std::path::PathBuf;

use chancery_client::Address;
use chancery_client::freshness::IndexToken;
use clap::{Args, Parser, Subcommand};
use types::{Millis, NamespaceName};

use crate::commands::{
    agent, agents, alias, audit, backup, ca, cluster, completions, data_key, decrypt, encrypt, entry, init, key,
    ledger, mac, man, namespace, operator, rewrap, seal, server, sign, svid,
};
use crate::dev;
use crate::output::Format;
use crate::values;

/// Keys, certificates and the record of what was done with them.
#[derive(Parser, Debug)]
#[command(
    name = "chancery",
    version,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 denied, 5 conflict, 6 invalid, 7 does not \
                  verify, 8 unavailable (worth a retry), 9 untrusted cluster."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// API addresses of nodes, separated by commas; otherwise the ones of the identity
    #[arg(long, global = true, env = "CHANCERY_ADDR", value_name = "HOST:PORT", value_delimiter = ',')]
    pub(crate) addr: Vec<Address>,
    /// Folder of the identity to call with; otherwise `chancery/default` in the configuration folder
    #[arg(long, global = true, env = "CHANCERY_IDENTITY", value_name = "DIR")]
    pub(crate) identity: Option<PathBuf>,
    /// Namespace of short names
    #[arg(long, global = true, env = "CHANCERY_NAMESPACE", value_name = "NAME", default_value = "default")]
    pub(crate) namespace: NamespaceName,
    /// How answers are printed
    #[arg(short, long, global = true, env = "CHANCERY_OUTPUT", value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
    /// Give up after this time, retries included
    #[arg(long, global = true, env = "CHANCERY_TIMEOUT", value_name = "DURATION", default_value = "10s",
          value_parser = values::duration)]
    pub(crate) timeout: Millis,
    /// Let a node answer a read from what it has applied, without asking the leader; stderr says how old that may be
    #[arg(long, global = true, env = "CHANCERY_STALE")]
    pub(crate) stale: bool,
    /// Answer from a state that holds this change, whichever node answers (an index from `--show-index`)
    #[arg(long, global = true, value_name = "INDEX")]
    pub(crate) after: Option<IndexToken>,
    /// Say on stderr at which index a change was made, or which one a read saw
    #[arg(long, global = true)]
    pub(crate) show_index: bool,
    /// File of mode 0600 whose first line is the passphrase of the identity's key
    #[arg(long, global = true, env = "CHANCERY_PASSPHRASE_FILE", value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// What there is to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Form a cluster on its first node
    Init(init::InitArgs),
    /// Run a node
    Server(server::ServerArgs),
    /// Run the workload agent of this host
    Agent(agent::AgentArgs),
    /// Run a whole cluster here and a tour of what it does; for development only
    Dev(dev::DevArgs),
    /// A workload of the tour; not for people
    #[command(hide = true)]
    DevWorkload(dev::workload::WorkloadArgs),
    /// Create, rotate, describe and destroy keys; use them with encrypt, sign, mac and the like
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Other names of keys, each of which can be given to another key
    #[command(subcommand)]
    Alias(alias::AliasCommand),
    /// Encrypt a file or stdin
    Encrypt(encrypt::EncryptArgs),
    /// Decrypt a file or stdin
    Decrypt(decrypt::DecryptArgs),
    /// Encrypt again under the primary version of a key
    Rewrap(rewrap::RewrapArgs),
    /// Draw a data key
    DataKey(data_key::DataKeyArgs),
    /// Sign a file or stdin
    Sign(sign::SignArgs),
    /// Check a signature
    Verify(sign::VerifyArgs),
    /// Make and check message authentication codes
    #[command(subcommand)]
    Mac(mac::MacCommand),
    /// Tenants
    #[command(subcommand)]
    Namespace(namespace::NamespaceCommand),
    /// Registrations of workloads
    #[command(subcommand)]
    Entry(entry::EntryCommand),
    /// Agents that deliver identities
    #[command(subcommand)]
    Agents(agents::AgentsCommand),
    /// The identity of this process, from the agent of this host
    #[command(subcommand)]
    Svid(svid::SvidCommand),
    /// Members of the cluster
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Operators and the roles that principals hold
    #[command(subcommand)]
    Operator(operator::OperatorCommand),
    /// Seal and unseal nodes
    #[command(subcommand)]
    Seal(seal::SealCommand),
    /// The record of what was done
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Back the cluster up, and bring it back
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    /// What a restore must not bring back
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// The X.509 authorities of the cluster
    #[command(subcommand)]
    Ca(ca::CaCommand),
    /// The trust bundle that workloads verify with
    #[command(subcommand)]
    Bundle(ca::BundleCommand),
    /// Who is calling
    Whoami,
    /// Print a completion script
    Completions(completions::CompletionsArgs),
    /// Write the man pages
    Man(man::ManArgs),
}

impl Command {
    /// Whether the command ends by itself on Ctrl-C, in good order.
    pub(crate) fn handles_signals(&self) -> bool {
        matches!(self, Self::Server(_) | Self::Agent(_) | Self::Dev(_))
    }
}

#[cfg(test)]
mod tests;

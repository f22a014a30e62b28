//! What the parts cost, each beside a bare peer of the same run: `cargo run --profile dist -p bench -- [--short | --scale KEYS | --unseal KEYS | --durable] [--etcd PATH]`.
//!
//! A ratio is better-is-higher: the peer's cost divided by ours. Costs are CPU time of the server process per operation,
//! which does not depend on who else uses the machine; wall rates stand beside them. Every figure is the median of
//! interleaved runs. Nothing here judges a figure: a machine that is slow today fails no build.
//!
//! Servers are processes of their own: this binary again, with one of the hidden subcommands.
#![expect(clippy::print_stdout, reason = "figures on stdout are what this program is for")]

mod child;
mod cluster;
mod durable;
mod echo;
mod etcd;
mod file;
mod host;
mod load;
mod node;
mod report;
mod scale;
mod signing;
mod unary;
mod unseal;
mod usage;
mod versions;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand};

/// As in `chancery`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A bench ends at the first thing that goes wrong, and says it.
pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Ratios against a bare peer of the same run
#[derive(Parser)]
struct Arguments {
    /// Fewer and shorter runs, within a minute; docs/BENCHMARKS.md stays as it is
    #[arg(long)]
    short: bool,
    /// Only what so many keys cost: pauses, start, memory; docs/BENCHMARKS.md stays as it is
    #[arg(long, value_name = "KEYS", conflicts_with = "short")]
    scale: Option<usize>,
    /// Only how long a sealed node with so many keys takes until it serves; docs/BENCHMARKS.md stays as it is
    #[arg(long, value_name = "KEYS", conflicts_with_all = ["short", "scale"])]
    unseal: Option<usize>,
    /// Only durable writes, on one node and on three; docs/BENCHMARKS.md stays as it is
    #[arg(long, conflicts_with_all = ["scale", "unseal"])]
    durable: bool,
    /// A binary of etcd to compare durable writes with
    #[arg(long, value_name = "PATH", conflicts_with_all = ["scale", "unseal"])]
    etcd: Option<PathBuf>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What this binary is when it is started by itself.
#[derive(Subcommand)]
#[command(hide = true)]
enum Part {
    /// A node
    Node {
        data_dir: PathBuf,
        /// Join token, on stdin so that no process list shows it
        #[arg(long)]
        join: bool,
    },
    /// The bare peer
    Echo { client: String },
    /// A member with many keys that says what its start took
    OpenScale { folder: PathBuf, keys: usize, index: u64 },
    /// One pass over a file
    File { pass: file::Pass, input: PathBuf, output: Option<PathBuf> },
}

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// Interleaved runs of each figure.
    pub(crate) runs: usize,
    /// How long one run of one peer is.
    pub(crate) window: Duration,
    /// Calls before the first run, so that caches and connections are warm.
    pub(crate) warm_up: usize,
    /// Bytes of the large file, and of the small one whose peak memory is compared with it.
    pub(crate) file_bytes: [u64; 2],
    /// Keys of the state whose snapshot and start are measured.
    pub(crate) keys: usize,
    /// Keys of the node that is sealed and opened again.
    pub(crate) sealed_keys: usize,
    /// Versions of the key that has many.
    pub(crate) versions: usize,
}

const MIB: u64 = 1_024 * 1_024;
const FULL: Effort = Effort {
    runs: 7,
    window: Duration::from_millis(1_500),
    warm_up: 2_000,
    file_bytes: [256 * MIB, 8 * MIB],
    keys: 1_000_000,
    sealed_keys: 100_000,
    versions: 10_000,
};
const SHORT: Effort = Effort {
    runs: 5,
    window: Duration::from_millis(250),
    warm_up: 300,
    file_bytes: [64 * MIB, 8 * MIB],
    keys: 20_000,
    sealed_keys: 2_000,
    versions: 500,
};

fn main() -> Result<(), Fault> {
    crypto::tls::install_provider();
    // As `chancery` does, so that servers and files are measured in the runtime that they have there.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let arguments = Arguments::parse();
    let outcome = runtime.block_on(async {
        match &arguments.part {
            None => match (arguments.scale, arguments.unseal) {
                (Some(keys), _) => run_part(async |folder, effort| scale::compare(folder, keys, effort).await).await,
                (_, Some(keys)) => run_part(async |folder, effort| unseal::compare(folder, keys, effort).await).await,
                (None, None) => run(&arguments).await,
            },
            Some(Part::OpenScale { folder, keys, index }) => scale::open(folder, *keys, *index).await,
            Some(Part::Node { data_dir, join }) => node::serve(data_dir.clone(), *join).await,
            Some(Part::Echo { client }) => echo::serve(client).await,
            Some(Part::File { pass, input, output }) => file::pass(*pass, input, output.as_deref()).await,
        }
    });
    // A child's thread that waits for stdin must not keep it.
    runtime.shutdown_background();
    outcome
}

/// One part by itself, with as many keys as are asked for.
async fn run_part(part: impl AsyncFn(&Path, Effort) -> Result<Vec<report::Row>, Fault>) -> Result<(), Fault> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the checkout has no root")?.join("target");
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&target)?;
    let rows = part(folder.path(), Effort { runs: 3, ..FULL }).await?;
    report::print(&rows);
    Ok(folder.close()?)
}

async fn run(arguments: &Arguments) -> Result<(), Fault> {
    let Arguments { short, durable, etcd, .. } = arguments;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the checkout has no root")?;
    let target = root.join("target");
    std::fs::create_dir_all(&target)?;
    // On the disk of the checkout: /tmp is memory on many machines, and syncs there cost nothing.
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&target)?;
    let effort = if *short { SHORT } else { FULL };
    let host = host::facts(folder.path());
    for fact in &host {
        println!("{}: {}", fact.0, fact.1);
    }

    let mut rows = Vec::new();
    if !durable {
        rows.extend(file::compare(folder.path(), effort).await?);
        rows.extend(scale::compare(folder.path(), effort.keys, effort).await?);
        rows.extend(unseal::compare(folder.path(), effort.sealed_keys, effort).await?);
        report::print(&rows);
    }
    for nodes in [1, 3] {
        let cluster = cluster::Cluster::form(&folder.path().join(format!("cluster-{nodes}")), nodes).await?;
        let mut these = Vec::new();
        if !durable {
            these.extend(unary::compare(&cluster, nodes, effort).await?);
            if nodes == 1 {
                these.extend(signing::compare(&cluster, effort).await?);
                these.extend(versions::compare(&cluster, effort).await?);
            }
        }
        these.extend(durable::compare(&cluster, nodes, folder.path(), etcd.as_deref(), effort).await?);
        cluster.stop().await?;
        report::print(&these);
        rows.append(&mut these);
    }
    folder.close()?;

    report::write_json(&target.join("bench.json"), &rows)?;
    if !short && !durable {
        report::write_markdown(&root.join("docs/BENCHMARKS.md"), &host, &rows, effort)?;
    }
    Ok(())
}

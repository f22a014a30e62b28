//! Tier B: openraft and our adapters (log store, witness, snapshots, applier, peer port with TLS) and the state machine
//! over turmoil's network and disks that forget, one seed a process (docs/RELIABILITY.md).
//!
//! `make sim SEEDS=30 [SEED=base]`. It needs `--cfg chancery_sim --cfg tokio_unstable`; without them there is nothing here
//! but a word about that, so that an ordinary build of the workspace knows nothing of it.

#[cfg(chancery_sim)]
mod bugs;
#[cfg(chancery_sim)]
mod checks;
#[cfg(chancery_sim)]
mod clients;
#[cfg(chancery_sim)]
mod clocks;
#[cfg(chancery_sim)]
mod desk;
#[cfg(chancery_sim)]
mod facts;
#[cfg(chancery_sim)]
mod faults;
#[cfg(chancery_sim)]
mod fences;
#[cfg(chancery_sim)]
mod history;
#[cfg(chancery_sim)]
mod machine;
#[cfg(chancery_sim)]
mod node;
mod report;
#[cfg(chancery_sim)]
mod runner;
#[cfg(chancery_sim)]
mod scripts;
// The lease table of the server itself.
#[cfg(chancery_sim)]
#[path = "../../../server/src/fence/table.rs"]
#[allow(dead_code, reason = "the server has sealed nodes, the simulation has not")]
mod table;
// The same rustls configurations as in raft's own tests.
#[cfg(chancery_sim)]
#[path = "../../../raft/tests/it/common/tls.rs"]
#[allow(unreachable_pub, clippy::unwrap_used, reason = "shared with raft's own tests")]
mod tls;
#[cfg(chancery_sim)]
mod wire;
#[cfg(chancery_sim)]
mod world;

use std::process::ExitCode;

#[cfg(chancery_sim)]
fn main() -> ExitCode {
    runner::main()
}

#[cfg(not(chancery_sim))]
fn main() -> ExitCode {
    report::complain("built without the simulated system: run `make sim`");
    ExitCode::FAILURE
}

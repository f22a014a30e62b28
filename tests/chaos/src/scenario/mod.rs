//! The faults. Each scenario forms a cluster, sets callers to work, breaks something again and again, and then judges every
//! answer that was given.

mod away;
mod callers;
mod clocks;
mod cuts;
mod damage;
mod disk;
mod kill;
mod pause;
mod planned;
mod power;
mod pulse;
mod schedule;
mod stage;

use std::path::PathBuf;
use std::time::Instant;

use clap::ValueEnum;

use crate::Fault;
use crate::tools::Need;
use crate::verdict::Verdict;

/// What can be broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Scenario {
    /// SIGKILL of the leader
    Kill,
    /// One node no longer hears the others, or they it
    OneWay,
    /// Five nodes, each of which hears another majority
    Ring,
    /// The leader's links come and go
    Flap,
    /// One node alone for longer than its lease
    Alone,
    /// SIGSTOP of the leader for ten seconds
    Pause,
    /// One node's disk is full
    DiskFull,
    /// Syncs of one node fail
    Eio,
    /// Syncs of one node take 300 ms longer
    Stall,
    /// Each node by another clock, callers by others
    Clocks,
    /// Nodes, agent and admin come back after thirty days
    Away,
    /// Leadership is handed on by command
    Transfer,
    /// Every node is drained, stopped and started, one after the other
    Rolling,
    /// The same, from another build of the program to this one, and back
    Upgrade,
    /// Flipped bits and cut files on one node
    Damage,
    /// Disks of one, two and three nodes lose what was not synced
    PowerCut,
}

/// How much of it.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// Faults injected.
    pub(crate) rounds: u32,
    /// Voters.
    pub(crate) nodes: usize,
    /// Of the choices that the scenario makes.
    pub(crate) seed: u64,
    /// Scratch folder.
    pub(crate) folder: PathBuf,
    /// Network namespaces made for it.
    pub(crate) hosts: Option<String>,
}

impl Order {
    /// A cluster of one node is down while the node is: whoever breaks it has to mend it before anything goes on.
    pub(crate) const fn of_one(&self) -> bool {
        self.nodes == 1
    }
}

impl Scenario {
    /// Its name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What it cannot do without.
    pub(crate) const fn needs(self) -> &'static [Need] {
        match self {
            Self::Kill | Self::Pause | Self::Damage | Self::Transfer | Self::Rolling => &[],
            Self::OneWay | Self::Ring | Self::Flap | Self::Alone => &[Need::Namespaces],
            Self::DiskFull => &[Need::Mounts],
            Self::Eio | Self::Stall => &[Need::Strace],
            Self::Clocks | Self::Away => &[Need::Faketime],
            Self::Upgrade => &[Need::AnotherBuild],
            Self::PowerCut => &[Need::LoopMounts],
        }
    }

    /// Whether each node is on a host of its own.
    pub(crate) fn on_hosts(self) -> bool {
        self.needs().contains(&Need::Namespaces)
    }

    /// On how many nodes it is played when so many are asked for: a ring needs five, and what takes a majority for granted three.
    ///
    /// # Errors
    /// Why it cannot be played on that many.
    pub(crate) fn voters(self, asked: usize) -> Result<usize, String> {
        match self {
            Self::OneWay | Self::Ring | Self::Flap | Self::Alone | Self::Transfer | Self::Rolling | Self::Upgrade
                if asked < 3 =>
            {
                Err(format!("{asked} node has no other one to be cut off from or to hand anything to"))
            }
            Self::Ring => Ok(asked.max(5)),
            _ => Ok(asked),
        }
    }

    /// Faults of the short form; the long form has so many times as many.
    pub(crate) const fn rounds(self) -> u32 {
        match self {
            Self::Kill | Self::Transfer => 20,
            Self::OneWay => 4,
            Self::Ring | Self::Pause | Self::DiskFull | Self::Eio | Self::Stall | Self::Clocks | Self::Upgrade => 2,
            Self::Flap | Self::Alone | Self::Away | Self::Rolling => 1,
            Self::Damage => 13,
            Self::PowerCut => 6,
        }
    }
}

/// Plays a scenario to its end.
pub(crate) async fn play(scenario: Scenario, order: Order) -> Result<Verdict, Fault> {
    let started = Instant::now();
    let mut verdict = Verdict {
        scenario: scenario.name(),
        rounds: order.rounds,
        nodes: order.nodes,
        seed: order.seed,
        ..Verdict::default()
    };
    verdict.fact("load before (1 and 5 min)", crate::figures::load());
    match scenario {
        Scenario::Kill => kill::play(&order, &mut verdict).await,
        Scenario::OneWay => cuts::one_way(&order, &mut verdict).await,
        Scenario::Ring => cuts::ring(&order, &mut verdict).await,
        Scenario::Flap => cuts::flap(&order, &mut verdict).await,
        Scenario::Alone => cuts::alone(&order, &mut verdict).await,
        Scenario::Pause => pause::play(&order, &mut verdict).await,
        Scenario::DiskFull => disk::full(&order, &mut verdict).await,
        Scenario::Eio => disk::eio(&order, &mut verdict).await,
        Scenario::Stall => disk::stall(&order, &mut verdict).await,
        Scenario::Clocks => clocks::play(&order, &mut verdict).await,
        Scenario::Away => away::play(&order, &mut verdict).await,
        Scenario::Transfer => planned::transfer(&order, &mut verdict).await,
        Scenario::Rolling => planned::rolling(&order, &mut verdict).await,
        Scenario::Upgrade => planned::upgrade(&order, &mut verdict).await,
        Scenario::Damage => damage::play(&order, &mut verdict).await,
        Scenario::PowerCut => power::play(&order, &mut verdict).await,
    }?;
    verdict.fact("load after (1 and 5 min)", crate::figures::load());
    verdict.seconds = started.elapsed().as_secs_f64();
    Ok(verdict)
}

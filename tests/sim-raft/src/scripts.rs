//! Directed runs: weather that is written down instead of drawn, one for each bug of openraft's past that our adapters
//! could bring back. The seed still decides delays, clients and chance.

use std::time::Duration;

use crate::facts::Facts;

/// Something that happens at its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    CrashFollower,
    CrashAll,
    StartAll,
    /// The leader and everybody else cannot reach each other.
    IsolateLeader,
    /// Nobody hears the leader; it hears everybody.
    MuteLeader,
    Heal,
    /// The log disks of all nodes are slow, in milliseconds.
    SlowDisks(u64),
    /// The log of a node that is down is lost, its witness is not.
    LoseLog,
}

/// A run that is written down.
pub(crate) struct Script {
    pub(crate) name: &'static str,
    /// How long the weather lasts, in seconds.
    pub(crate) lasts: u64,
    /// Milliseconds after the cluster was formed.
    pub(crate) acts: &'static [(u64, Act)],
    /// The administrator hands leadership on all the time.
    pub(crate) restless: bool,
    /// What must have happened, else the script has tested nothing.
    pub(crate) wants: &'static [&'static str],
    /// The violation that must be noticed; none when all must be well.
    pub(crate) refusal: Option<&'static str>,
}

/// openraft#1828: a follower that comes back when all that it needs has been purged gets a snapshot.
/// openraft#1892: a snapshot replaces a log whose end conflicts with it.
/// openraft#1802: a leader without a quorum commits nothing, whatever it has appended.
/// openraft#1747: while leadership moves, no read is answered from before a write that was acknowledged.
/// openraft#1960: appends and truncations that wait for a slow disk report in their order.
/// openraft#1500: a follower that lost what was not synced catches up by heartbeat without going back.
/// openraft#1535: a voter whose log is gone does not come back under its number.
pub(crate) const ALL: [Script; 7] = [
    Script {
        name: "a-follower-behind-a-purged-log",
        lasts: 40,
        acts: &[(0, Act::CrashFollower), (36_000, Act::StartAll)],
        restless: false,
        wants: &["snapshots installed"],
        refusal: None,
    },
    Script {
        name: "a-snapshot-over-a-conflicting-log",
        lasts: 40,
        acts: &[(0, Act::IsolateLeader), (36_000, Act::Heal)],
        restless: false,
        wants: &["snapshots installed", "elections"],
        refusal: None,
    },
    Script {
        name: "no-commit-without-a-quorum",
        lasts: 20,
        acts: &[
            (0, Act::MuteLeader),
            (2_500, Act::Heal),
            (4_500, Act::IsolateLeader),
            (7_500, Act::Heal),
            (9_500, Act::IsolateLeader),
            (10_000, Act::CrashFollower),
            (13_000, Act::StartAll),
            (13_500, Act::Heal),
        ],
        restless: false,
        wants: &["elections", "truncations"],
        refusal: None,
    },
    Script {
        name: "reads-while-leadership-moves",
        lasts: 20,
        acts: &[(5_000, Act::SlowDisks(40)), (10_000, Act::MuteLeader), (12_000, Act::Heal)],
        restless: true,
        wants: &["transfers", "reads"],
        refusal: None,
    },
    Script {
        name: "slow-disks-under-changing-leaders",
        lasts: 20,
        acts: &[
            (0, Act::SlowDisks(250)),
            (1_000, Act::IsolateLeader),
            (4_000, Act::Heal),
            (6_000, Act::MuteLeader),
            (9_000, Act::Heal),
            (11_000, Act::IsolateLeader),
            (14_000, Act::Heal),
        ],
        restless: false,
        wants: &["elections", "truncations"],
        refusal: None,
    },
    Script {
        name: "all-lose-what-was-not-synced",
        lasts: 20,
        acts: &[
            (500, Act::SlowDisks(120)),
            (2_000, Act::CrashAll),
            (4_500, Act::StartAll),
            (9_000, Act::CrashAll),
            (11_500, Act::StartAll),
        ],
        restless: false,
        wants: &["elections", "rotations"],
        refusal: None,
    },
    Script {
        name: "a-lost-log-is-refused",
        lasts: 20,
        acts: &[(2_000, Act::CrashFollower), (2_500, Act::LoseLog), (5_000, Act::StartAll)],
        restless: false,
        wants: &[],
        refusal: Some("is damaged"),
    },
];

impl Script {
    pub(crate) fn find(name: &str) -> Result<&'static Self, String> {
        static SCRIPTS: [Script; 7] = ALL;
        let found = SCRIPTS.iter().find(|script| script.name == name);
        found.ok_or_else(|| format!("there is no script `{name}`, choose one of {:?}", ALL.map(|script| script.name)))
    }

    /// Whether the run was what the script is for.
    pub(crate) fn judge(&self, facts: &Facts) -> Result<(), String> {
        let counts = facts.counts();
        match self.wants.iter().find(|wanted| counts.get(*wanted).is_none_or(|count| *count == 0)) {
            None => Ok(()),
            Some(missing) => Err(format!("{}: there were no {missing}, so it has tested nothing", self.name)),
        }
    }

    /// When an act is due, counted from the start of the weather.
    pub(crate) fn due(&self) -> impl Iterator<Item = (Duration, Act)> {
        self.acts.iter().map(|(at, act)| (Duration::from_millis(*at), *act))
    }
}

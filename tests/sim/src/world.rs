//! The simulated world: one log, several replicas that apply it, and what happens to them.

use std::collections::{BTreeMap, VecDeque};

use state::{Entry, Outcome, Proposal, State, read_snapshot, write_snapshot};
use types::{Millis, Time};

use crate::certificates::BEGINNING;
use crate::model::Model;
use crate::propose;
use crate::rng::Rng;

const REPLICAS: usize = 3;

/// How much a run did, so that a test can see that it did something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Entries applied for the first time.
    pub entries: u64,
    /// Those that were accepted.
    pub accepted: u64,
    /// Those that were refused because a decision was stale.
    pub stale: u64,
    /// Those that were answered from memory.
    pub repeated: u64,
    /// Versions made by schedule.
    pub scheduled: u64,
    /// Versions made because the one before was used so much.
    pub counted: u64,
    /// Blocks that a ceiling did not leave.
    pub exhausted: u64,
    /// Root keys that became the active one.
    pub rekeyed: u64,
    /// Keys, versions and namespaces that were destroyed once their waiting periods were over.
    pub ended: u64,
    /// Those that were given back before.
    pub given_back: u64,
    /// Pre-active versions that came into use.
    pub activated: u64,
    /// Restarts from a snapshot or from nothing.
    pub crashes: u64,
}

/// What the first replica to apply an entry saw: all others must see the same.
struct Fact {
    hash: [u8; 32],
    outcome: Outcome,
}

struct Replica {
    state: State,
    /// Entries of the log that it has applied.
    applied: usize,
    /// Its newest snapshot, and how much of the log that stands for.
    snapshot: Option<(Vec<u8>, usize)>,
}

/// Everything.
pub struct World {
    pub(crate) rng: Rng,
    /// Postcard, as a log holds it.
    log: Vec<Vec<u8>>,
    facts: Vec<Fact>,
    replicas: Vec<Replica>,
    model: Model,
    tally: Tally,
    /// True time; nobody in the world can read it.
    now: Time,
    /// How far each node's clock is ahead of true time, in milliseconds.
    pub(crate) skews: [i64; 8],
    /// The head of each node's own audit log, which it knows better than any view.
    pub(crate) audits: BTreeMap<u64, (u64, [u8; 32])>,
    /// What was proposed lately, to be proposed again.
    pub(crate) recent: VecDeque<Proposal>,
    next_index: u64,
}

impl World {
    /// A world before its first entry.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let replicas = (0..REPLICAS).map(|_| Replica { state: State::new(), applied: 0, snapshot: None }).collect();
        let skews = std::array::from_fn(|_| i64::try_from(rng.below(20_000)).unwrap_or(0) - 10_000);
        Self {
            rng,
            log: Vec::new(),
            facts: Vec::new(),
            replicas,
            model: Model::new(),
            tally: Tally::default(),
            now: BEGINNING,
            skews,
            audits: BTreeMap::new(),
            recent: VecDeque::new(),
            next_index: 1,
        }
    }

    /// Lives through that many proposals, then lets every replica catch up.
    pub(crate) fn run(mut self, steps: usize) -> Result<Tally, String> {
        for step in 0..steps {
            self.pass_time();
            let view = self.rng.place(REPLICAS);
            let view = self.view(view);
            let proposal = if step == 0 { propose::init(&mut self) } else { propose::next(&mut self, &view) };
            self.append(proposal)?;
            for _ in 0..REPLICAS {
                let replica = self.rng.place(REPLICAS);
                self.disturb(replica)?;
                let most = self.rng.below(4);
                self.advance(replica, usize::try_from(most).unwrap_or(0))?;
            }
        }
        for replica in 0..REPLICAS {
            self.advance(replica, usize::MAX)?;
        }
        // They were equal at every index, so one stands for all.
        if let Some(replica) = self.replicas.first() {
            replica.state.check()?;
            self.model.check_whole(&replica.state)?;
        }
        Ok(self.tally)
    }

    /// The clock of a node, which may be wrong.
    pub(crate) fn clock(&self, node: u64) -> Time {
        let skew = usize::try_from(node).ok().and_then(|node| self.skews.get(node)).copied().unwrap_or(0);
        Time(self.now.0.saturating_add_signed(skew))
    }

    fn view(&self, replica: usize) -> State {
        self.replicas.get(replica).map_or_else(State::new, |replica| replica.state.clone())
    }

    fn pass_time(&mut self) {
        let length = match self.rng.below(20) {
            0 => Millis::from_hours(self.rng.below(8)),
            1..=4 => Millis::from_secs(self.rng.below(900)),
            _ => Millis(self.rng.below(2_000)),
        };
        self.now = self.now.after(length);
        if self.rng.chance(3) {
            // A clock jumps, up to an hour either way; now and then one is set right.
            let node = self.rng.place(self.skews.len());
            let width = if self.rng.chance(50) { 7_200_000 } else { 2_000 };
            // And now and then all of them at once, for days: a bad source of time.
            if self.rng.chance(10) {
                let days = i64::try_from(self.rng.below(400_000_000)).unwrap_or(0) - 200_000_000;
                self.skews = self.skews.map(|skew| skew.saturating_add(days));
            }
            let jump = i64::try_from(self.rng.below(width)).unwrap_or(0) - i64::try_from(width / 2).unwrap_or(0);
            if let Some(skew) = self.skews.get_mut(node) {
                *skew = jump;
            }
        }
    }

    fn append(&mut self, proposal: Proposal) -> Result<(), String> {
        self.recent.push_back(proposal.clone());
        if self.recent.len() > 24 {
            self.recent.pop_front();
        }
        // Elections and membership changes use up indexes that `apply` never sees.
        self.next_index += if self.rng.chance(5) { 2 } else { 1 };
        let entry = Entry { index: self.next_index, proposal };
        self.log.push(postcard::to_stdvec(&entry).map_err(|error| error.to_string())?);
        Ok(())
    }

    /// A crash, a snapshot, or a snapshot from a peer.
    fn disturb(&mut self, number: usize) -> Result<(), String> {
        let peer = self.rng.place(REPLICAS);
        match self.rng.below(40) {
            0..=1 => self.take_snapshot(number),
            2 => {
                self.tally.crashes += 1;
                let Some(replica) = self.replicas.get_mut(number) else { return Ok(()) };
                let (state, applied) = restored(replica.snapshot.as_ref())?;
                (replica.state, replica.applied) = (state, applied);
                Ok(())
            }
            3 => {
                let snapshot = self.replicas.get(peer).and_then(|peer| peer.snapshot.clone());
                let Some(replica) = self.replicas.get_mut(number) else { return Ok(()) };
                if snapshot.as_ref().is_some_and(|(_, applied)| *applied > replica.applied) {
                    (replica.state, replica.applied) = restored(snapshot.as_ref())?;
                    replica.snapshot = snapshot;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn take_snapshot(&mut self, number: usize) -> Result<(), String> {
        let Some(replica) = self.replicas.get_mut(number) else { return Ok(()) };
        let mut bytes = Vec::new();
        let written = write_snapshot(&replica.state, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        });
        written.map_err(|error| error.to_string())?;
        replica.snapshot = Some((bytes, replica.applied));
        Ok(())
    }

    /// Lets a replica apply up to that many entries.
    fn advance(&mut self, number: usize, most: usize) -> Result<(), String> {
        for _ in 0..most {
            let Some(replica) = self.replicas.get_mut(number) else { return Ok(()) };
            let Some(bytes) = self.log.get(replica.applied) else { return Ok(()) };
            let entry: Entry = postcard::from_bytes(bytes).map_err(|error| error.to_string())?;
            let before = replica.state.clone();
            let outcome = replica.state.apply(&entry);
            let hash = replica.state.hash();
            match self.facts.get(replica.applied) {
                Some(fact) if fact.hash != hash => {
                    return Err(format!("replicas differ after entry {}: {:?}", entry.index, entry.proposal.command));
                }
                Some(fact) if fact.outcome != outcome => {
                    return Err(format!("replicas answer entry {} differently", entry.index));
                }
                Some(_) => {}
                None => {
                    self.model
                        .judge(&before, &entry, &outcome, &replica.state)
                        .map_err(|what| format!("entry {}: {what}\n{entry:?}\n{:?}", entry.index, outcome.reply))?;
                    if self.rng.chance(1) {
                        replica.state.check()?;
                    }
                    self.model.count(&entry, &outcome, &mut self.tally);
                    self.facts.push(Fact { hash, outcome });
                }
            }
            replica.applied += 1;
        }
        Ok(())
    }
}

/// What a process finds when it starts.
fn restored(snapshot: Option<&(Vec<u8>, usize)>) -> Result<(State, usize), String> {
    match snapshot {
        Some((bytes, applied)) => {
            let state = read_snapshot(&mut bytes.as_slice()).map_err(|error| error.to_string())?;
            Ok((state, *applied))
        }
        None => Ok((State::new(), 0)),
    }
}

//! What the simulation knows to be true: what each entry did when it was first applied, and everything that broke.
//!
//! One book is shared by all nodes of a run. It is filled from inside `apply` and read between the steps of the clock.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sim::model::Model;
use state::{Entry, Outcome, State};
use types::NodeId;

/// The book of one run; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Facts(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    applied: BTreeMap<u64, Fact>,
    /// The states after the entries that were first applied last, to compare snapshots with.
    model: Model,
    /// First applications since the last step: index and node.
    fresh: Vec<(u64, NodeId)>,
    violations: Vec<String>,
    trace: DefaultHasher,
    counts: BTreeMap<&'static str, u64>,
}

/// What the first node that applied an entry saw; all others must see the same.
#[derive(PartialEq, Eq)]
struct Fact {
    payload: u64,
    hash: [u8; 32],
    reply: u64,
}

/// A hash that is the same in every process.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

impl Facts {
    /// An entry was applied: the states around it, what was proposed, what came of it.
    pub(crate) fn applied(
        &self,
        node: NodeId,
        payload: &[u8],
        around: (&State, &State),
        entry: &Entry,
        outcome: &Outcome,
    ) {
        let (before, after) = around;
        let reply = postcard::to_stdvec(&outcome.reply).unwrap_or_default();
        let fact = Fact { payload: digest(payload), hash: after.hash(), reply: digest(&reply) };
        let mut book = self.lock();
        let index = entry.index;
        let Some(known) = book.applied.get(&index) else {
            if book.applied.last_key_value().is_some_and(|(last, _)| *last > index) {
                book.violations.push(format!("{node} applied entry {index}, which all others had skipped"));
            }
            if let Err(what) = book.model.judge(before, entry, outcome, after) {
                book.violations.push(format!("entry {index}: {what}: {:?}", entry.proposal.command));
            }
            book.trace.write(&fact.hash);
            book.trace.write_u64(index);
            book.applied.insert(index, fact);
            book.fresh.push((index, node));
            return;
        };
        if *known != fact {
            let what = match (known.payload == fact.payload, known.hash == fact.hash) {
                (false, _) => "is another entry",
                (true, false) => "gives another state",
                (true, true) => "gives another answer",
            };
            book.violations.push(format!("entry {index} {what} on {node} than where it was applied first"));
        }
    }

    /// A snapshot was loaded: its state must be the one that its last entry gave.
    pub(crate) fn loaded(&self, node: NodeId, state: &State) {
        let mut book = self.lock();
        let known = book.applied.get(&state.index()).map(|fact| fact.hash == state.hash());
        if known == Some(false) {
            book.violations.push(format!("{node} loaded a snapshot of another state at entry {}", state.index()));
        }
    }

    /// The whole of a state against everything that was ever made.
    pub(crate) fn check_whole(&self, state: &State) -> Result<(), String> {
        self.lock().model.check_whole(state)?;
        state.check()
    }

    /// First applications since this was last asked.
    pub(crate) fn take_fresh(&self) -> Vec<(u64, NodeId)> {
        std::mem::take(&mut self.lock().fresh)
    }

    /// Something that must never be.
    pub(crate) fn broken(&self, what: impl Into<String>) {
        self.lock().violations.push(what.into());
    }

    /// The first thing that broke.
    pub(crate) fn first_violation(&self) -> Option<String> {
        self.lock().violations.first().cloned()
    }

    /// Adds to the trace: two runs of one seed have the same.
    pub(crate) fn trace(&self, what: &str) {
        let mut book = self.lock();
        book.trace.write(what.as_bytes());
        if std::env::var_os("SIM_TRACE").is_some() {
            crate::report::say(what);
        }
    }

    /// The hash of everything traced.
    pub(crate) fn trace_hash(&self) -> u64 {
        self.lock().trace.finish()
    }

    /// Counts, so that a run can show that it did something.
    pub(crate) fn count(&self, what: &'static str) {
        *self.lock().counts.entry(what).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.lock().counts.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

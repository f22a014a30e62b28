//! A node's log disk: what the process has written, what a power cut would leave of it, and what happened to it in order,
//! for the simulation's checks.
//!
//! It outlives the processes that use it. A sync takes a while and makes everything written before it durable; a cut
//! leaves what was synced and, by chance, a beginning of what was not.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::EntryPayload;
use raft_log::Callback;
use types::NodeId;

use super::{chance, envelope};
use crate::codec;
use crate::log::{Ballot, Flushed, Place, Sealed};
use crate::member::Members;
use crate::type_config::members_of;

thread_local! {
    static DISKS: RefCell<BTreeMap<NodeId, Disk>> = const { RefCell::new(BTreeMap::new()) };
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// A bug that the simulation plants to see that it is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// Entries are reported as synced when they are written.
    AcknowledgeOnAppend,
    /// A vote is answered without a sync of the log or of the witness.
    VoteNotSynced,
}

/// Plants a bug, or none, in every disk.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

pub(super) fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// What happened to a log, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// An entry was written.
    Appended {
        /// Its term.
        term: u64,
        /// Its index.
        index: u64,
        /// A hash of its payload.
        digest: u64,
        /// The term of the entry before it, when this log holds or remembers that.
        previous: Option<u64>,
        /// The membership that it holds.
        members: Option<Quorums>,
    },
    /// Everything after this index was cut off; zero for everything.
    Truncated(u64),
    /// Everything up to this index was let go.
    Purged(u64),
    /// The process was told that this vote is on the disk: term, node, whether that node leads.
    VoteSaved(u64, u64, bool),
    /// The power was cut; the log ends here now.
    Cut(Option<u64>),
}

/// The groups of voters that must each have a majority.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quorums {
    /// One group, two during a change.
    pub groups: Vec<Vec<NodeId>>,
    /// Everybody.
    pub members: Members,
}

/// A node's log disk; clones share it.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    durable: Image,
    /// Written and not yet durable, oldest first.
    pending: Vec<Record>,
    /// How many records were ever written.
    written: u64,
    queue: Vec<Flush>,
    is_flushing: bool,
    fails: bool,
    slowness: Duration,
    events: Vec<Event>,
}

struct Flush {
    upto: u64,
    sync: bool,
    vote: Option<Ballot>,
    callback: Option<Flushed>,
}

/// A change to a log.
#[derive(Clone, Debug)]
pub(super) enum Record {
    Vote(Ballot),
    Append(Place, Sealed),
    Commit(Place),
    Truncate(Option<Place>),
    Purge(Place),
}

/// A log as somebody sees it.
#[derive(Clone, Default, Debug)]
pub(crate) struct Image {
    vote: Option<Ballot>,
    last: Option<Place>,
    committed: Option<Place>,
    purged: Option<Place>,
    pub(super) entries: BTreeMap<u64, (Place, Sealed)>,
}

impl Disk {
    /// The disk of that node: the same one as long as the simulation lasts.
    #[must_use]
    pub fn of(node: NodeId) -> Self {
        DISKS.with_borrow_mut(|disks| disks.entry(node).or_default().clone())
    }

    /// The power is cut: what was not synced is gone, but for a beginning of it by chance.
    pub fn cut(&self) {
        let mut contents = self.lock();
        let pending = std::mem::take(&mut contents.pending);
        let kept = usize::try_from(chance::below(pending.len() as u64 + 1)).unwrap_or(0);
        // A bug that loses votes loses every unsynced one.
        let spare = |record: &Record| !(planted(Bug::VoteNotSynced) && matches!(record, Record::Vote(_)));
        for record in pending.into_iter().take(kept).filter(spare) {
            contents.durable.follow(record);
        }
        contents.queue.clear();
        contents.is_flushing = false;
        contents.fails = false;
        let last = contents.durable.last.map(|place| place.index);
        contents.events.push(Event::Cut(last));
    }

    /// Everything on it is lost.
    pub fn wipe(&self) {
        let mut contents = self.lock();
        *contents = Contents { events: std::mem::take(&mut contents.events), ..Contents::default() };
        contents.events.push(Event::Cut(None));
    }

    /// From now on syncs fail, until the power is cut.
    pub fn fail(&self) {
        self.lock().fails = true;
    }

    /// How long a sync may take.
    pub fn slow(&self, longest: Duration) {
        self.lock().slowness = longest;
    }

    /// What happened since this was last asked.
    #[must_use]
    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.lock().events)
    }

    /// Whether this disk would still hold that entry after a power cut, or had purged it.
    #[must_use]
    pub fn holds(&self, term: u64, index: u64) -> bool {
        let contents = self.lock();
        let durable = &contents.durable;
        durable.purged.is_some_and(|purged| purged.index >= index)
            || durable.entries.get(&index).is_some_and(|(place, _)| place.term == term)
    }

    pub(super) fn image(&self) -> Image {
        self.lock().durable.clone()
    }

    pub(super) fn write(&self, record: Record, previous: Option<Place>) {
        let mut contents = self.lock();
        match &record {
            Record::Append(place, sealed) => {
                let plain = envelope::plain(&sealed.0);
                contents.events.push(Event::Appended {
                    term: place.term,
                    index: place.index,
                    digest: envelope::digest(plain),
                    previous: previous.filter(|previous| previous.index + 1 == place.index).map(|place| place.term),
                    members: quorums(plain),
                });
            }
            Record::Truncate(keep) => contents.events.push(Event::Truncated(keep.map_or(0, |place| place.index))),
            Record::Purge(upto) => contents.events.push(Event::Purged(upto.index)),
            Record::Vote(_) | Record::Commit(_) => {}
        }
        contents.pending.push(record);
        contents.written += 1;
    }

    pub(super) fn flush(&self, sync: bool, vote: Option<Ballot>, callback: Option<Flushed>) {
        let mut contents = self.lock();
        let early = planted(Bug::AcknowledgeOnAppend) && matches!(callback, Some(Flushed::Entries(..)));
        let unsynced = planted(Bug::VoteNotSynced) && vote.is_some();
        let upto = contents.written;
        let callback = if early {
            callback.into_iter().for_each(|callback| callback.send(Ok(())));
            None
        } else {
            callback
        };
        contents.queue.push(Flush { upto, sync: sync && !unsynced, vote, callback });
        if !std::mem::replace(&mut contents.is_flushing, true) {
            tokio::spawn(self.clone().work());
        }
    }

    /// Serves the queue, all that waits in one sync, and ends when it is empty.
    async fn work(self) {
        loop {
            let (batch, longest) = {
                let mut contents = self.lock();
                (std::mem::take(&mut contents.queue), contents.slowness)
            };
            let Some(upto) = batch.last().map(|flush| flush.upto) else {
                self.lock().is_flushing = false;
                return;
            };
            let sync = batch.iter().any(|flush| flush.sync);
            tokio::time::sleep(chance::within(longest)).await;
            let failed = sync && !self.lock().harden(upto);
            for Flush { vote, callback, .. } in batch {
                let result = if failed { Err(io::Error::other("the simulated disk failed")) } else { Ok(()) };
                if let (Some(Ballot(vote)), Ok(())) = (vote, &result) {
                    let saved = Event::VoteSaved(vote.leader_id.term, vote.leader_id.voted_for, vote.committed);
                    self.lock().events.push(saved);
                }
                callback.into_iter().for_each(|callback| {
                    callback.send(match &result {
                        Ok(()) => Ok(()),
                        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
                    })
                });
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    /// Makes durable what had been written by then, unless the disk fails.
    fn harden(&mut self, upto: u64) -> bool {
        if self.fails {
            return false;
        }
        let before = self.written - self.pending.len() as u64;
        let count = usize::try_from(upto.saturating_sub(before)).unwrap_or(0).min(self.pending.len());
        for record in self.pending.drain(..count).collect::<Vec<_>>() {
            self.durable.follow(record);
        }
        true
    }
}

impl Image {
    pub(crate) fn vote(&self) -> Option<&Ballot> {
        self.vote.as_ref()
    }

    pub(crate) fn last(&self) -> Option<&Place> {
        self.last.as_ref()
    }

    pub(crate) fn committed(&self) -> Option<&Place> {
        self.committed.as_ref()
    }

    pub(crate) fn purged(&self) -> Option<&Place> {
        self.purged.as_ref()
    }

    pub(super) fn follow(&mut self, record: Record) {
        match record {
            Record::Vote(ballot) => self.vote = Some(ballot),
            Record::Append(place, sealed) => {
                self.last = Some(place);
                self.entries.insert(place.index, (place, sealed));
            }
            Record::Commit(place) => self.committed = Some(place),
            Record::Truncate(keep) => {
                self.entries.split_off(&keep.map_or(0, |place| place.index + 1));
                self.last = self.last.min(keep);
            }
            Record::Purge(upto) => {
                self.entries = self.entries.split_off(&(upto.index + 1));
                self.purged = self.purged.max(Some(upto));
                self.last = self.last.max(Some(upto));
            }
        }
    }
}

fn quorums(plain: &[u8]) -> Option<Quorums> {
    let Ok(EntryPayload::Membership(membership)) = codec::decode_payload(plain) else { return None };
    let group = |ids: &std::collections::BTreeSet<u64>| ids.iter().copied().map(NodeId).collect();
    let groups = membership.get_joint_config().iter().map(group).collect();
    Some(Quorums { groups, members: members_of(&membership) })
}

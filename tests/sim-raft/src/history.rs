//! What clients asked and what they were told, and whether any single order of the requests explains it.
//!
//! A key's versions are a counter: each rotation takes the next number and reads see the last one. So the order is given
//! by the numbers, and a history is linearizable exactly if the numbers never contradict real time: no answer is lower
//! than what an earlier one had shown, none shows what had not been asked for yet, and each request has one number.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use state::State;
use types::{KeyName, NamespaceName, NodeId, OperatorName, RequestId};

use crate::desk::maker;
use crate::wire::Seen;

/// All that clients did; clones share it.
#[derive(Clone, Default)]
pub(crate) struct History(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    rotations: Vec<Rotation>,
    reads: Vec<Read>,
    revocations: Vec<(OperatorName, Duration)>,
    served: Vec<(OperatorName, NodeId, Duration, bool)>,
}

struct Rotation {
    key: KeyName,
    request: RequestId,
    asked: Duration,
    /// When and with which version it was acknowledged; more than once when it was sent again.
    told: Vec<(Duration, u32)>,
}

struct Read {
    key: KeyName,
    operator: OperatorName,
    asked: Duration,
    told: Duration,
    seen: Seen,
}

type Checked = Result<(), String>;

impl History {
    /// A rotation is asked for; the number finds it again.
    pub(crate) fn rotates(&self, key: &KeyName, request: RequestId, asked: Duration) -> usize {
        let mut book = self.lock();
        book.rotations.push(Rotation { key: key.clone(), request, asked, told: Vec::new() });
        book.rotations.len() - 1
    }

    /// It was acknowledged.
    pub(crate) fn rotated(&self, number: usize, at: Duration, version: u32) {
        if let Some(rotation) = self.lock().rotations.get_mut(number) {
            rotation.told.push((at, version));
        }
    }

    pub(crate) fn read(&self, key: &KeyName, operator: &OperatorName, asked: Duration, told: Duration, seen: Seen) {
        self.lock().reads.push(Read { key: key.clone(), operator: operator.clone(), asked, told, seen });
    }

    /// An operator's revocation was acknowledged.
    pub(crate) fn revoked(&self, operator: &OperatorName, at: Duration) {
        self.lock().revocations.push((operator.clone(), at));
    }

    /// A node said under its lease whether an operator is revoked.
    pub(crate) fn served(&self, operator: &OperatorName, node: NodeId, asked: Duration, revoked: bool) {
        self.lock().served.push((operator.clone(), node, asked, revoked));
    }

    /// Judges everything, with the state that is left in the end.
    pub(crate) fn check(&self, end: &State) -> Checked {
        let book = self.lock();
        let mut keys: BTreeMap<&KeyName, ()> = BTreeMap::new();
        keys.extend(book.rotations.iter().map(|rotation| (&rotation.key, ())));
        for key in keys.into_keys() {
            book.check_numbers(key, end)?;
            book.check_order(key)?;
        }
        book.check_revocations(end)
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Each request made at most one version, each acknowledged one is there under its number, and no version is without
    /// a request.
    fn check_numbers(&self, key: &KeyName, end: &State) -> Checked {
        let namespace = NamespaceName::default_namespace();
        let found = end.key(&namespace, key).ok_or_else(|| format!("key {key} is lost"))?;
        let mut made: BTreeMap<RequestId, u32> = BTreeMap::new();
        let mut versions = end.key_versions(&found.id, None, usize::MAX).items;
        versions.sort_unstable_by_key(|(number, _)| *number);
        let mut expected = 1;
        for (number, row) in versions {
            if number != expected {
                return Err(format!("key {key} goes from version {} to {number}", expected - 1));
            }
            expected += 1;
            let maker = maker(&row.wrapped).ok_or("a version without a maker")?;
            if let Some(other) = made.insert(maker, number) {
                return Err(format!("request {maker} made versions {other} and {number} of key {key}"));
            }
        }
        for rotation in self.rotations.iter().filter(|rotation| rotation.key == *key) {
            for (_, version) in &rotation.told {
                if made.get(&rotation.request) != Some(version) {
                    return Err(format!(
                        "request {} was told version {version} of key {key}, but made {:?}: an acknowledged write is lost",
                        rotation.request,
                        made.get(&rotation.request)
                    ));
                }
            }
        }
        Ok(())
    }

    /// Numbers and real time agree.
    fn check_order(&self, key: &KeyName) -> Checked {
        let rotations = || self.rotations.iter().filter(|rotation| rotation.key == *key);
        let reads = || self.reads.iter().filter(|read| read.key == *key);
        // Everything that was known at some moment: (when, version). A later question must not be answered with less.
        let mut known: Vec<(Duration, u32)> = rotations().flat_map(|rotation| rotation.told.iter().copied()).collect();
        known.extend(reads().map(|read| (read.told, read.seen.version)));
        known.sort_unstable();
        let mut highest = 0;
        for (_, version) in &mut known {
            highest = highest.max(*version);
            *version = highest;
        }
        let known_before = |moment: Duration| {
            let earlier = known.partition_point(|(when, _)| *when < moment);
            earlier.checked_sub(1).and_then(|last| known.get(last)).map_or(0, |(_, version)| *version)
        };
        let asked: BTreeMap<RequestId, Duration> =
            rotations().map(|rotation| (rotation.request, rotation.asked)).collect();
        for read in reads() {
            let before = known_before(read.asked);
            if read.seen.version < before {
                return Err(format!(
                    "a read of {key} asked at {:?} saw version {}, but {before} was known before",
                    read.asked, read.seen.version
                ));
            }
            let early =
                read.seen.made_by.and_then(|request| asked.get(&request)).is_some_and(|asked| *asked > read.told);
            if early {
                return Err(format!("a read of {key} saw version {} before it was asked for", read.seen.version));
            }
        }
        for rotation in rotations() {
            let before = known_before(rotation.asked);
            if let Some((_, version)) = rotation.told.iter().find(|(_, version)| *version <= before) {
                return Err(format!(
                    "a rotation of {key} asked at {:?} made version {version}, but {before} was known before",
                    rotation.asked
                ));
            }
        }
        Ok(())
    }

    /// Revoked stays revoked, for every read after it was acknowledged and in the end.
    fn check_revocations(&self, end: &State) -> Checked {
        for (operator, at) in &self.revocations {
            let late = self.reads.iter().find(|read| {
                read.operator == *operator && read.asked > *at && read.seen.version > 0 && !read.seen.revoked
            });
            if let Some(read) = late {
                return Err(format!(
                    "{operator} was revoked at {at:?} and stood again in a read asked at {:?}",
                    read.asked
                ));
            }
            let stale = self.served.iter().find(|(of, _, asked, revoked)| of == operator && asked > at && !revoked);
            if let Some((_, node, asked, _)) = stale {
                return Err(format!(
                    "{operator} was revoked at {at:?}, and {node} served the state before at {asked:?}"
                ));
            }
            if end.operator(operator).is_none_or(|row| row.revoked.is_none()) {
                return Err(format!("{operator} was revoked at {at:?} and stands in the end"));
            }
        }
        Ok(())
    }
}

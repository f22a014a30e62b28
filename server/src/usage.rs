//! The use of counted keys on this node (`docs/spec/usage.md`): spent from blocks that the cluster has handed out to it. A block is
//! fetched when the one before is half spent, so that most calls wait for nobody; what is left of it when the node stops, nobody spends.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use kms::{Key, KeyVersion, Usage, VersionUsage};
use state::{Command, Reply, State};
use tokio::sync::{Notify, mpsc};
use types::{KeyId, KeyName, NamespaceName, Reason, Refusal, Revision};

use crate::core::Core;
use crate::metrics::UsageCounters;

/// After a failure no block is asked for again for so long: callers that wait are told the same.
const PAUSE: Duration = Duration::from_millis(250);
/// Blocks that are fetched at the same time.
const FETCHES_AT_ONCE: usize = 8;
/// Keys with blocks from which on it is looked which of them are still counted.
const SHELVES: usize = 1_024;

/// A version of a key whose use is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted<'a> {
    pub(crate) namespace: &'a NamespaceName,
    pub(crate) name: &'a KeyName,
    pub(crate) key: &'a Key,
    pub(crate) version: (u32, &'a KeyVersion),
}

/// How a use was spent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Spent {
    /// Nobody was asked.
    AtOnce,
    /// A block came first: what was decided before may not hold any more.
    AfterWaiting,
}

/// Why a use was not spent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum NotSpent {
    /// By the state that was given. In a newer one the key may have its next version, or other limits.
    InThisState(Refusal),
    /// Anything else.
    Refused(Refusal),
}

/// This node's blocks.
#[derive(Debug)]
pub(crate) struct UsageDesk {
    shelves: Mutex<Shelves>,
    /// No longer than there are shelves: each is in it once at most.
    wanted: mpsc::UnboundedSender<Wanted>,
    counters: UsageCounters,
}

#[derive(Debug)]
struct Shelves {
    of: HashMap<KeyId, BTreeMap<u32, Arc<Shelf>>>,
    /// When there are so many it is looked which of them are still needed.
    tidied_at: usize,
}

/// Blocks to be fetched.
pub(crate) type Fetches = mpsc::UnboundedReceiver<Wanted>;

/// A block to be fetched.
#[derive(Debug)]
pub(crate) struct Wanted {
    namespace: NamespaceName,
    name: KeyName,
    version: u32,
    shelf: Arc<Shelf>,
}

/// What this node has of one version.
#[derive(Debug, Default)]
struct Shelf {
    block: Mutex<Block>,
    /// Told when a block has come, or none.
    fetched: Notify,
}

#[derive(Debug, Default)]
struct Block {
    /// The limits that it was handed out under: under others it is worth nothing, for the ceiling may be a lower one.
    limits: Revision,
    left: Usage,
    /// When it was new.
    whole: Usage,
    /// The most that a caller lacks who waits for the next one.
    lacking: Usage,
    /// The next one was asked for, and nobody asks for another before that has come, or none.
    fetching: bool,
    failed: Option<Failure>,
}

#[derive(Clone, Debug)]
struct Failure {
    at: Instant,
    refusal: Refusal,
    /// Of so much: less may be there.
    amount: Usage,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Taken {
    Enough,
    /// And it is time to fetch the next block.
    EnoughAndLow,
    /// Somebody has asked for the next block.
    Short,
    /// Nobody has.
    ShortAndIdle,
    /// The limits that the caller knows are not the newest.
    Outdated,
}

impl Block {
    /// Takes that much, or notes what is lacking.
    fn take(&mut self, limits: Revision, amount: Usage) -> Taken {
        if self.limits > limits {
            return Taken::Outdated;
        }
        if self.limits < limits {
            *self = Self { limits, fetching: self.fetching, ..Self::default() };
        }
        let Some(left) = self.left.minus(amount) else {
            self.lacking = self.lacking.at_least(amount.lacking(self.left));
            return if std::mem::replace(&mut self.fetching, true) { Taken::Short } else { Taken::ShortAndIdle };
        };
        self.left = left;
        if self.low() == Usage::default() || self.fetching || self.paused().is_some() {
            return Taken::Enough;
        }
        self.fetching = true;
        Taken::EnoughAndLow
    }

    /// What is to be asked for: what callers lack and nothing else, which might be refused with it; or else more of what is half spent.
    fn low(&self) -> Usage {
        if self.lacking != Usage::default() {
            return self.lacking;
        }
        let one = |left: u64, whole: u64| u64::from(left < whole.div_ceil(2));
        Usage { uses: one(self.left.uses, self.whole.uses), bytes: one(self.left.bytes, self.whole.bytes) }
    }

    /// What failed a moment ago: nobody is asked before the pause is over.
    fn paused(&self) -> Option<&Failure> {
        self.failed.as_ref().filter(|failure| failure.at.elapsed() < PAUSE)
    }

    /// Why as much, or less, was not handed out a moment ago.
    fn fault(&self, amount: Usage) -> Option<Refusal> {
        let fault = self.paused().filter(|failure| amount.minus(failure.amount).is_some());
        fault.map(|failure| failure.refusal.clone())
    }

    /// Takes what was handed out. What comes late, after the limits have changed, is worth nothing.
    fn add(&mut self, block: Usage, limits: Revision) {
        if self.limits < limits {
            *self = Self { limits, fetching: self.fetching, ..Self::default() };
        }
        if self.limits > limits {
            return;
        }
        self.left = self.left.plus(block);
        let whole = |new: u64, old: u64| if new == 0 { old } else { new };
        self.whole = Usage { uses: whole(block.uses, self.whole.uses), bytes: whole(block.bytes, self.whole.bytes) };
        (self.failed, self.lacking) = (None, Usage::default());
    }

    fn fail(&mut self, refusal: Refusal, amount: Usage) {
        self.failed = Some(Failure { at: Instant::now(), refusal, amount });
        self.lacking = Usage::default();
    }
}

impl Shelf {
    /// Lets go whoever waits: no block comes any more.
    fn close(&self) {
        let mut block = self.block();
        block.fail(Refusal::new(Reason::Sealed, "the node was sealed meanwhile"), Usage::default());
        block.fetching = false;
        drop(block);
        self.fetched.notify_waiters();
    }

    fn block(&self) -> MutexGuard<'_, Block> {
        self.block.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UsageDesk {
    /// Without any block: those of an earlier life of this node are lost.
    pub(crate) fn new(counters: UsageCounters) -> (Self, Fetches) {
        let (wanted, fetches) = mpsc::unbounded_channel();
        let shelves = Mutex::new(Shelves { of: HashMap::new(), tidied_at: SHELVES });
        (Self { shelves, wanted, counters }, fetches)
    }

    fn shelf(&self, state: &State, id: KeyId, version: u32) -> Arc<Shelf> {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        if shelves.of.len() >= shelves.tidied_at {
            let counts = |key: &Key| key.usage.is_counted() && key.destroyed.is_none();
            shelves.of.retain(|id, _| state.key_by_id(id).is_some_and(|(_, _, key)| counts(key)));
            shelves.tidied_at = shelves.of.len().saturating_mul(2).max(SHELVES);
        }
        let own = shelves.of.entry(id).or_default();
        if !own.contains_key(&version) {
            // A key is mostly used by its newest version: what is left of those before is let go.
            own.retain(|number, shelf| *number > version || Arc::strong_count(shelf) > 1);
        }
        Arc::clone(own.entry(version).or_default())
    }

    /// Spends that much of a version. It is spent whatever comes of what it is for. Whoever gives up waiting leaves the block to others.
    ///
    /// # Errors
    /// `UsageExhausted` when the ceiling does not leave it; when no block can be had, for want of a quorum say.
    pub(crate) async fn spend(&self, state: &State, of: Counted<'_>, amount: Usage) -> Result<Spent, NotSpent> {
        let Counted { namespace, name, key, version: (number, row) } = of;
        let (shelf, limits) = (self.shelf(state, key.id, number), key.usage_revision);
        let wanted = || {
            let (namespace, name) = (namespace.clone(), name.clone());
            Wanted { namespace, name, version: number, shelf: Arc::clone(&shelf) }
        };
        let mut spent = Spent::AtOnce;
        loop {
            let mut fetched = std::pin::pin!(shelf.fetched.notified());
            // From here on no word is missed.
            fetched.as_mut().enable();
            let taken = shelf.block().take(limits, amount);
            match taken {
                Taken::Enough => return Ok(spent),
                Taken::EnoughAndLow => {
                    self.fetch(wanted());
                    return Ok(spent);
                }
                Taken::Outdated => return Err(outdated()),
                Taken::ShortAndIdle => {
                    // What the ceiling does not leave by what this node knows, it does not leave: no entry is proposed for that.
                    let fault = shelf.block().fault(amount);
                    let refused = fault.map(NotSpent::Refused).or_else(|| {
                        let refusal = not_left(state, key, (number, row), amount.lacking(shelf.block().left)).err();
                        refusal.map(NotSpent::InThisState)
                    });
                    if let Some(refused) = refused {
                        shelf.block().fetching = false;
                        shelf.fetched.notify_waiters();
                        return Err(refused);
                    }
                    self.fetch(wanted());
                }
                Taken::Short => {}
            }
            fetched.await;
            spent = Spent::AfterWaiting;
            let fault = shelf.block().fault(amount);
            if let Some(refusal) = fault {
                return Err(match refusal.reason {
                    Reason::UsageExhausted | Reason::Stale => NotSpent::InThisState(refusal),
                    _ => NotSpent::Refused(refusal),
                });
            }
        }
    }

    fn fetch(&self, wanted: Wanted) {
        if let Err(mpsc::error::SendError(wanted)) = self.wanted.send(wanted) {
            // The node closes.
            wanted.shelf.close();
        }
    }

    /// Lets go whoever waits for a block; nobody fetches any more.
    fn close(&self) {
        let shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        shelves.of.values().flat_map(BTreeMap::values).for_each(|shelf| shelf.close());
    }

    /// Says the same for a moment to whoever asks next, for the newest state there is says it too.
    pub(crate) fn refuse(&self, state: &State, (key, version): (&Key, u32), amount: Usage, refusal: &Refusal) {
        self.shelf(state, key.id, version).block().fail(refusal.clone(), amount);
    }

    /// Counts a use that was refused.
    pub(crate) fn count_refused(&self) {
        self.counters.refused();
    }
}

/// Whether the ceiling leaves that much, by what a state knows: at most that, for what was handed out never comes back.
fn not_left(state: &State, key: &Key, (number, row): (u32, &KeyVersion), amount: Usage) -> Result<(), Refusal> {
    let mut known = state.usage(&key.id, number).copied().unwrap_or_else(|| VersionUsage::starting(state.time()));
    key.grant_use((number, row), &mut known, (amount, 1), state.time()).map(drop)
}

/// Fetches blocks until the node closes. Not the callers: a block that comes when its caller has gone is kept.
pub(crate) async fn run_fetches(core: Arc<Core>, mut wanted: Fetches) {
    let fetch = async |wanted: Wanted| {
        let least = wanted.shelf.block().low();
        let asked = match least {
            // Under new limits nobody has asked yet.
            Usage { uses: 0, bytes: 0 } => None,
            least => Some(ask(&core, &wanted, least).await),
        };
        match asked {
            Some(Ok((block, limits))) => wanted.shelf.block().add(block, limits),
            Some(Err(refusal)) => {
                let Wanted { namespace, name, version, .. } = &wanted;
                tracing::debug!(%namespace, key = %name, version, %refusal, "no block of a key's use could be had now");
                wanted.shelf.block().fail(refusal, least);
            }
            None => {}
        }
        wanted.shelf.block().fetching = false;
        wanted.shelf.fetched.notify_waiters();
    };
    let all = futures::stream::poll_fn(|context| wanted.poll_recv(context)).for_each_concurrent(FETCHES_AT_ONCE, fetch);
    tokio::select! {
        () = core.stop.cancelled() => {}
        () = all => {}
    }
    // Whoever asks from here on is told at once; whoever waits already, now.
    drop(wanted);
    core.usage.close();
}

/// Asks the cluster for a block; nobody is asked for what this node knows to be refused.
async fn ask(core: &Core, wanted: &Wanted, least: Usage) -> Result<(Usage, Revision), Refusal> {
    let Wanted { namespace, name, version, .. } = wanted;
    {
        let state = core.state();
        let key = state.key(namespace, name).ok_or_else(|| Refusal::not_found("key", name))?;
        let row = state.key_version(&key.id, *version).ok_or_else(|| Refusal::not_found("key version", version))?;
        state.check_open(namespace)?;
        not_left(&state, key, (*version, row), least).map_err(not_counted)?;
    }
    let (namespace, name) = (namespace.clone(), name.clone());
    let command = Command::LeaseUsage { node: core.node, namespace, name, version: *version, least };
    match core.propose_own(command).await.map_err(not_counted)? {
        Reply::Usage { block, limits } => {
            core.usage.counters.leased();
            Ok((block, limits))
        }
        _ => Err(Refusal::new(Reason::Internal, "a block was asked for and something else was answered")),
    }
}

/// The limits were taken away since somebody asked: whoever looks again need not.
fn not_counted(refusal: Refusal) -> Refusal {
    match refusal.reason {
        Reason::PreconditionFailed => changed(),
        _ => refusal,
    }
}

/// What is said when a use was counted under limits that do not hold any more.
pub(crate) fn changed() -> Refusal {
    Refusal::new(Reason::Stale, "the usage limits of the key have changed meanwhile: try again")
}

fn outdated() -> NotSpent {
    NotSpent::InThisState(changed())
}

#[cfg(test)]
mod tests {
    use kms::key::At;
    use kms::{Algorithm, Floors, KeySettings, UsageLimits, UsagePolicy, WrappedMaterial};
    use types::Time;

    use super::*;

    const BLOCK: Usage = Usage { uses: 10, bytes: u64::MAX };
    const ONE: Usage = Usage { uses: 1, bytes: 100 };
    const OLD: Revision = Revision(5);
    const NEW: Revision = Revision(9);

    fn block() -> Block {
        let mut block = Block::default();
        assert_eq!(block.take(OLD, ONE), Taken::ShortAndIdle);
        assert_eq!(block.take(OLD, Usage { uses: 1, bytes: 300 }), Taken::Short, "one asks for all");
        assert_eq!(block.low(), Usage { uses: 1, bytes: 300 });
        block.add(BLOCK, OLD);
        block.fetching = false;
        block
    }

    #[test]
    fn a_block_is_spent_once_and_the_next_is_fetched_at_half() {
        let mut block = block();
        let taken: Vec<Taken> = (0..11).map(|_| block.take(OLD, ONE)).collect();
        assert_eq!(taken[..5], [Taken::Enough; 5]);
        assert_eq!(taken[5], Taken::EnoughAndLow, "once");
        assert_eq!(taken[6..10], [Taken::Enough; 4]);
        assert_eq!(taken[10], Taken::Short);
        assert_eq!(block.low(), Usage { uses: 1, bytes: 0 }, "what nothing bounds is not asked for again");
        block.fetching = false;
        block.add(BLOCK, OLD);
        assert_eq!(block.take(OLD, Usage { uses: 11, bytes: 0 }), Taken::ShortAndIdle, "not both blocks");
        assert_eq!(block.low(), Usage { uses: 1, bytes: 0 }, "what is lacking, not all");
    }

    #[test]
    fn under_other_limits_a_block_is_worth_nothing() {
        let mut changed = block();
        assert_eq!(changed.take(NEW, ONE), Taken::ShortAndIdle);
        // One that was asked for under the old limits, and comes late.
        changed.add(BLOCK, OLD);
        assert_eq!(changed.take(NEW, ONE), Taken::Short);
        // Whoever does not know of the change is told so, and spends nothing.
        changed.add(BLOCK, NEW);
        assert_eq!(changed.take(OLD, ONE), Taken::Outdated);
        assert_eq!(changed.take(NEW, ONE), Taken::Enough);
    }

    /// The limits may be what they were before, and others in between: what was handed out under those is not spent under these.
    #[test]
    fn a_block_under_limits_that_this_node_has_not_heard_of_is_kept_for_them() {
        let mut block = block();
        block.add(BLOCK, NEW);
        assert_eq!(block.take(OLD, ONE), Taken::Outdated);
        assert_eq!(block.take(NEW, Usage { uses: 11, bytes: 0 }), Taken::ShortAndIdle, "the old one is gone");
        assert_eq!(block.take(Revision(12), ONE), Taken::Short);
        assert_eq!(block.left, Usage::default());
    }

    /// Of two respects one may be exhausted for good: that must not keep callers from the other, nor ask again at each use.
    #[test]
    fn only_what_is_lacking_is_asked_for_and_a_refusal_of_anything_is_a_pause() {
        let mut block = Block::default();
        assert_eq!(block.take(OLD, Usage { uses: 1, bytes: 100 }), Taken::ShortAndIdle);
        block.add(Usage { uses: 10, bytes: 1_000 }, OLD);
        block.fetching = false;
        assert_eq!(block.take(OLD, Usage { uses: 8, bytes: 10 }), Taken::EnoughAndLow);
        assert_eq!(block.take(OLD, Usage { uses: 1, bytes: 2_000 }), Taken::Short);
        assert_eq!(block.low(), Usage { uses: 0, bytes: 1_010 }, "no uses, which may be exhausted");
        block.fail(Refusal::new(Reason::NoQuorum, "nobody leads"), Usage { uses: 0, bytes: 1_010 });
        block.fetching = false;
        assert_eq!(block.take(OLD, Usage { uses: 1, bytes: 10 }), Taken::Enough, "not yet");
    }

    #[tokio::test]
    async fn whoever_waits_is_let_go_when_the_node_closes() {
        let usage = UsagePolicy { ceiling: UsageLimits { uses: Some(100), bytes: None }, ..UsagePolicy::default() };
        let (settings, floors) = (
            KeySettings { usage, ..KeySettings::default() },
            Floors { rotation: types::Millis::ZERO, waiting_period: types::Millis::ZERO },
        );
        let (material, at) = (WrappedMaterial::secret(vec![1]), At { now: Time(1), revision: OLD });
        let made = Key::create(KeyId([1; 16]), Algorithm::Aes256Gcm, settings, floors, material, at);
        let (key, row) = made.expect("a key");
        let (namespace, name) = (NamespaceName::default_namespace(), KeyName::parse("orders").expect("a name"));
        let counted = Counted { namespace: &namespace, name: &name, key: &key, version: (1, &row) };
        let (desk, fetches) = UsageDesk::new(UsageCounters::default());
        let state = State::new();
        let mut waits = std::pin::pin!(desk.spend(&state, counted, ONE));
        assert!(futures::poll!(waits.as_mut()).is_pending(), "nobody fetches");
        drop(fetches);
        desk.close();
        let sealed = |spent: Result<Spent, NotSpent>| {
            assert!(matches!(&spent, Err(NotSpent::Refused(why)) if why.reason == Reason::Sealed), "{spent:?}");
        };
        sealed(waits.await);
        sealed(desk.spend(&state, counted, ONE).await);
        desk.shelf(&state, key.id, 1).block().failed = None;
        sealed(desk.spend(&state, counted, ONE).await);
    }

    #[test]
    fn after_a_failure_there_is_a_pause() {
        let mut block = block();
        assert_eq!(block.take(OLD, Usage { uses: 5, bytes: 0 }), Taken::Enough);
        let refusal = Refusal::new(Reason::NoQuorum, "nobody leads");
        block.fail(refusal.clone(), ONE);
        assert_eq!(
            (block.fault(ONE), block.fault(Usage::once(99))),
            (Some(refusal), None),
            "of less nobody has said anything"
        );
        block.fail(Refusal::new(Reason::NoQuorum, "nobody leads"), Usage::once(0));
        assert_eq!(block.take(OLD, ONE), Taken::Enough, "what is there is spent, and nobody is asked");
        block.failed = block.failed.take().map(|it| Failure { at: it.at.checked_sub(PAUSE).unwrap_or(it.at), ..it });
        assert_eq!(block.fault(ONE), None);
        assert_eq!(block.take(OLD, ONE), Taken::EnoughAndLow);
    }
}

//! Keeps the certificates that workloads want: one for each entry, shared by every process that matches it, asked for
//! when the first one comes and renewed for as long as one goes on using it.
//!
//! One task owns everything and publishes a new [`View`] on each change. It decides nothing about who gets what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use types::limits::ISSUANCES_MAX;
use types::{Millis, Time};

use crate::clock;
use crate::slot::Slot;
use crate::svid::{Request, Svid};
use crate::upstream::{Content, Snapshot, Upstream, UpstreamError};
use crate::view::View;

/// The wall clock is read again after this long at most: it jumps, for example when a laptop wakes.
const NAP_MAX: Millis = Millis::from_secs(15);

/// Names of entries that a process matches and wants now.
pub(crate) type Wanted = BTreeSet<Arc<str>>;

/// What an issuance came to.
struct Outcome {
    entry: Arc<str>,
    content: Content,
    result: Result<Svid, UpstreamError>,
}

/// The task's state.
pub(crate) struct Keeper<U> {
    upstream: Arc<U>,
    snapshots: mpsc::Receiver<Snapshot>,
    wanted: mpsc::Receiver<Wanted>,
    view: watch::Sender<Arc<View>>,
    snapshot: Option<Arc<Snapshot>>,
    slots: BTreeMap<Arc<str>, Slot>,
    issuing: JoinSet<Outcome>,
}

impl<U: Upstream> Keeper<U> {
    pub(crate) fn new(
        upstream: Arc<U>,
        snapshots: mpsc::Receiver<Snapshot>,
        wanted: mpsc::Receiver<Wanted>,
        view: watch::Sender<Arc<View>>,
    ) -> Self {
        Self { upstream, snapshots, wanted, view, snapshot: None, slots: BTreeMap::new(), issuing: JoinSet::new() }
    }

    /// Runs until nobody is left to send it anything.
    pub(crate) async fn run(mut self) {
        loop {
            let nap = self.nap(clock::now());
            tokio::select! {
                snapshot = self.snapshots.recv() => match snapshot {
                    Some(snapshot) => self.take_snapshot(snapshot, clock::now()),
                    None => return,
                },
                wanted = self.wanted.recv() => match wanted {
                    Some(wanted) => self.want(wanted, clock::now()),
                    None => return,
                },
                Some(outcome) = self.issuing.join_next() => self.take_outcome(outcome, clock::now()),
                () = tokio::time::sleep(nap) => {}
            }
            self.proceed(clock::now());
        }
    }

    fn take_snapshot(&mut self, snapshot: Snapshot, now: Time) {
        let contents: BTreeMap<&str, &Content> =
            snapshot.registrations().iter().map(|entry| (&*entry.name, &entry.content)).collect();
        self.slots.retain(|name, _| contents.contains_key(&**name));
        for (name, slot) in &mut self.slots {
            if let Some(content) = contents.get(&**name) {
                slot.reconsider(content, snapshot.anchors(), now);
            }
        }
        self.snapshot = Some(Arc::new(snapshot));
    }

    fn want(&mut self, wanted: Wanted, now: Time) {
        let Some(snapshot) = &self.snapshot else { return };
        for entry in snapshot.registrations().iter().filter(|entry| wanted.contains(&entry.name)) {
            let slot = self.slots.entry(Arc::clone(&entry.name)).or_insert_with(|| Slot::new(&entry.content));
            slot.want(now);
        }
    }

    fn take_outcome(&mut self, outcome: Result<Outcome, tokio::task::JoinError>, now: Time) {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                // Which entry it was is lost, so all are asked about again.
                tracing::error!(%error, "an issuance broke off");
                self.slots.values_mut().for_each(|slot| slot.broke_off(now));
                return;
            }
        };
        // The entry, its content or the bundle may have changed while the cluster signed.
        let (Some(slot), Some(snapshot)) = (self.slots.get_mut(&outcome.entry), &self.snapshot) else { return };
        if let Err(error) = &outcome.result {
            tracing::warn!(entry = &*outcome.entry, %error, "no certificate");
        }
        slot.settle(&outcome.content, outcome.result, snapshot.anchors(), now);
    }

    /// Lets time pass, starts what is due, and shows the result.
    fn proceed(&mut self, now: Time) {
        self.slots.retain(|_, slot| slot.pass(now));
        let room = ISSUANCES_MAX.saturating_sub(self.issuing.len());
        for (name, slot) in self.slots.iter_mut().filter(|(_, slot)| slot.is_due(now)).take(room) {
            let content = slot.start();
            let (upstream, entry) = (Arc::clone(&self.upstream), Arc::clone(name));
            self.issuing.spawn(async move {
                let result = issue(&*upstream, &entry, content.clone()).await;
                Outcome { entry, content, result }
            });
        }
        self.show();
    }

    fn show(&self) {
        let certificates: BTreeMap<_, _> =
            self.slots.iter().map(|(name, slot)| (Arc::clone(name), slot.shown())).collect();
        let next = View { snapshot: self.snapshot.clone(), certificates };
        self.view.send_if_modified(|view| {
            let changed = !view.is_same(&next);
            if changed {
                *view = Arc::new(next);
            }
            changed
        });
    }

    fn nap(&self, now: Time) -> Duration {
        let next = self.slots.values().filter_map(Slot::next_moment).min().unwrap_or(Time::NEVER);
        // At least a little: what is due but finds no room waits for an outcome, not for the clock.
        next.since(now).clamp(Millis(20), NAP_MAX).to_std()
    }
}

async fn issue<U: Upstream>(upstream: &U, entry: &str, content: Content) -> Result<Svid, UpstreamError> {
    let request = Request::new(content);
    let issued = upstream.issue(entry, request.csr()?).await?;
    let [spread] = crypto::entropy::array::<1>();
    request.finish(issued, clock::now(), spread)
}

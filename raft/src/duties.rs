//! What a member does beside Raft: the witness follows the log, snapshots are taken when the log has grown, the log is
//! purged below the older of two snapshots that were read back, the disk is looked at, the status is published.
//!
//! One task, one loop; it decides nothing about the order of entries.

use std::sync::Arc;
use std::time::Duration;

use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::apply::Applier;
use crate::erase::Erasing;
use crate::handover::hand_over;
use crate::log::LogStore;
use crate::machine::Machine;
use crate::peer::Pool;
use crate::room::{Gauge, Room};
use crate::snapshot::Shelf;
use crate::status::{Role, Status};
use crate::system::blocking;
use crate::type_config::TypeConfig;

/// How often, at most, it is said how far the log is: every entry moves it several times, and whoever watches is woken
/// each time. Who leads and who is a member is said at once.
const PACE: Duration = Duration::from_millis(20);

/// The loop and what it works on.
pub(crate) struct Duties<M: Machine> {
    pub(crate) raft: Raft<TypeConfig, Applier<M>>,
    pub(crate) log: LogStore,
    pub(crate) shelf: Shelf,
    pub(crate) status: watch::Sender<Arc<Status>>,
    pub(crate) pool: Pool,
    pub(crate) gauge: Gauge,
    pub(crate) interval: Duration,
    pub(crate) room_interval: Duration,
    pub(crate) snapshot_log_bytes_min: u64,
    pub(crate) erasing: Arc<Erasing>,
    pub(crate) stop: CancellationToken,
}

/// After so long the next snapshot waits no more for half the size of the last one: a start has little to apply again, and
/// under load the disk is not busy with snapshots alone.
const SNAPSHOT_PAUSE: Duration = Duration::from_secs(60);
/// It waits longer after one that takes longer at this pace, in bytes a second: two may pass while one is being sent, or the
/// log that belongs to it is gone before it has arrived.
const SNAPSHOT_PACE: u64 = 4 * 1_024 * 1_024;

/// How far the log had grown when the last snapshot was taken, and when; and what the next one waits for.
struct Growth {
    since: u64,
    at: Instant,
    /// In bytes, half of the last snapshot.
    half: u64,
}

impl Growth {
    /// Whether the log, having grown to `appended`, wants a snapshot, if at least `least` bytes are wanted for one.
    fn is_enough(&self, appended: u64, least: u64, now: Instant) -> bool {
        let grown = appended.saturating_sub(self.since);
        let pause = SNAPSHOT_PAUSE.max(Duration::from_secs(self.half / (SNAPSHOT_PACE / 2)));
        grown >= least && (grown >= self.half || now.saturating_duration_since(self.at) >= pause)
    }
}

impl<M: Machine> Duties<M> {
    /// Runs until it is stopped.
    pub(crate) async fn run(self) {
        let (mut server, mut metrics) = (self.raft.server_metrics(), self.raft.metrics());
        let mut tick = tokio::time::interval(self.interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut look = tokio::time::interval(self.room_interval);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut handing_over = None;
        // What is on the disk at the start was not covered by a snapshot in this process: count it as growth.
        let mut growth = Growth { since: 0, ..self.grown_from_here().await };
        let held = self.log.last_index();
        let mut snapshot = metrics.borrow_watched().snapshot;
        loop {
            self.publish();
            let next = Instant::now() + PACE;
            let moved = async {
                tokio::time::sleep_until(next).await;
                metrics.changed().await
            };
            tokio::select! {
                () = self.stop.cancelled() => return self.last_word().await,
                // An end of Raft may be seen before the order to stop is.
                changed = server.changed() => if changed.is_err() { return self.last_word().await },
                changed = moved => if changed.is_err() { return self.last_word().await },
                _ = look.tick() => self.look(&mut handing_over).await,
                _ = tick.tick() => {
                    self.follow().await;
                    self.snapshot_if_grown(&mut growth, held).await;
                    self.erase_if_wanted().await;
                }
            }
            let newest = metrics.borrow_watched().snapshot;
            if newest != snapshot {
                snapshot = newest;
                growth = self.grown_from_here().await;
                self.purge().await;
            }
        }
    }

    /// However it ended, the witness sees the end of the log: one that is cut while the node is down is noticed.
    async fn last_word(&self) {
        self.follow().await;
        self.log.write_out();
        self.publish();
    }

    fn publish(&self) {
        let metrics = self.raft.metrics();
        let mut status = Status::from_metrics(&metrics.borrow_watched());
        status.room = self.gauge.room();
        if let Some(failure) = self.log.failure() {
            status.role = Role::Stopped;
            status.failure = Some(format!("the log or the witness could not be written: {failure}"));
        }
        self.status.send_if_modified(|current| {
            let changed = **current != status;
            if changed {
                *current = Arc::new(status);
            }
            changed
        });
    }

    /// Looks at the disk; a leader that is low on room tries to hand over, one attempt at a time.
    async fn look(&self, handing_over: &mut Option<JoinHandle<()>>) {
        let gauge = self.gauge.clone();
        let room = match blocking(move || gauge.look()).await {
            Ok(room) => room,
            Err(error) => {
                tracing::warn!(%error, "the disk of the log cannot be looked at");
                return;
            }
        };
        let status = Arc::clone(&self.status.borrow());
        let trying = handing_over.as_ref().is_some_and(|attempt| !attempt.is_finished());
        if room != Room::Enough && status.role == Role::Leader && !trying {
            let (raft, pool) = (self.raft.clone(), self.pool.clone());
            *handing_over = Some(tokio::spawn(async move { hand_over(&raft, &pool, &status).await }));
        }
    }

    /// A witness that cannot be written is a disk that cannot be trusted: the node stops.
    async fn follow(&self) {
        let log = self.log.clone();
        if let Err(error) = blocking(move || log.follow()).await {
            tracing::error!(%error, "the witness was not written; this node stops");
            self.publish();
            if let Err(error) = self.raft.shutdown().await {
                tracing::error!(%error, "raft did not shut down");
            }
        }
    }

    /// Also when one was found damaged: two have to be there. `held` is where the log ended when this member started.
    async fn snapshot_if_grown(&self, growth: &mut Growth, held: u64) {
        // What a snapshot costs the disk is not taken from an election: this node may have just started, with much log. That
        // somebody leads shows in what has been committed since; the leader of the stored vote may be gone.
        {
            let status = self.status.borrow();
            if status.role != Role::Leader && status.committed <= Some(held) {
                return;
            }
        }
        let appended = self.log.appended_bytes();
        if !growth.is_enough(appended, self.snapshot_log_bytes_min, Instant::now()) && !self.shelf.has_lost_one() {
            return;
        }
        // A snapshot lets the log go, but is not written into the last of the room; it is asked for again.
        let (shelf, gauge) = (self.shelf.clone(), self.gauge.clone());
        let fits = blocking(move || Ok(gauge.fits(shelf.newest()?.map_or(Ok(0), |file| file.bytes())?))).await;
        if !fits.unwrap_or(false) {
            return;
        }
        // Counted from here even if it fails, so that a full disk is not hammered.
        (growth.since, growth.at) = (appended, Instant::now());
        if let Err(error) = self.raft.trigger().snapshot().await {
            tracing::debug!(%error, "no snapshot was triggered");
        }
    }

    async fn grown_from_here(&self) -> Growth {
        let shelf = self.shelf.clone();
        let size = blocking(move || shelf.newest()?.map_or(Ok(0), |file| file.bytes())).await.unwrap_or(0);
        Growth { since: self.log.appended_bytes(), at: Instant::now(), half: size / 2 }
    }

    /// Two steps: the file that holds what is to go is closed, and once the log is purged past its end it is gone, as are
    /// damaged snapshots that were set aside.
    ///
    /// Nothing is begun while the next snapshot does not fit: what was destroyed is never served, so it can wait.
    async fn erase_if_wanted(&self) {
        if !self.erasing.is_wanted() {
            return;
        }
        let (shelf, gauge) = (self.shelf.clone(), self.gauge.clone());
        let lacks = blocking(move || {
            gauge.look()?;
            Ok(gauge.lacks(shelf.newest()?.map_or(Ok(0), |file| file.bytes())?))
        });
        // A disk that cannot be looked at is one of which nothing is known.
        let lacks = lacks.await.unwrap_or(Some(0));
        self.erasing.found_room(lacks);
        let done = if self.erasing.wants_closing() {
            if lacks.is_some() {
                return;
            }
            self.log.close_file().await.map(|file| self.erasing.closed(file))
        } else {
            let purged = self.log.purged().map(|place| place.index);
            let Some(upto) = purged.and_then(|purged| self.erasing.goes_with(purged)) else { return };
            let shelf = self.shelf.clone();
            match blocking(move || shelf.drop_damaged()).await {
                Ok(()) => self.log.settle().await.map(|()| self.erasing.erased(upto)),
                Err(error) => Err(error),
            }
        };
        if let Err(error) = done {
            tracing::warn!(%error, "what is to be erased is still on the disk");
        }
    }

    async fn purge(&self) {
        let shelf = self.shelf.clone();
        match blocking(move || shelf.purgeable()).await {
            Ok(Some(upto)) => {
                if let Err(error) = self.raft.trigger().purge_log(upto).await {
                    tracing::debug!(%error, "the log was not purged");
                }
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "the snapshots could not be read back; the log is kept"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_waits_for_half_of_the_last_or_a_minute() {
        let at = Instant::now();
        let growth = Growth { since: 100, at, half: 50 };
        let soon = at + SNAPSHOT_PAUSE / 2;
        assert!(!growth.is_enough(149, 10, soon));
        assert!(growth.is_enough(150, 10, soon));
        assert!(!growth.is_enough(150, 51, soon), "a small snapshot is no reason for many");
        let later = at + SNAPSHOT_PAUSE;
        assert!(growth.is_enough(110, 10, later));
        assert!(!growth.is_enough(109, 10, later), "nor is time alone");
        let large = Growth { since: 0, at, half: 120 * SNAPSHOT_PACE };
        assert!(!large.is_enough(10, 10, later));
        assert!(large.is_enough(10, 10, at + 4 * SNAPSHOT_PAUSE), "a large one waits as long as it takes to send");
    }
}

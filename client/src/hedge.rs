//! Asking several nodes for one answer: one after another as they fail, and the next one early when the ones that were
//! asked are slow (a hedge), so that a node that hangs costs its callers a moment and not a deadline.
//!
//! What any node may answer equally well is hedged as soon as it is slow, which follows from how fast answers have been. A
//! change is hedged late, when its node has been silent for a second: it carries its request id, so the second copy is
//! answered as the first is and changes nothing more. What concerns the answering node is never hedged. Hedges are rationed: a cluster that is slow because it is loaded must not be asked everything twice.

use std::future::Future;
use std::iter::Peekable;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::sleep;

/// A hedge waits this many times as long as answers have taken on average.
const SLOW: u32 = 8;
/// Never sooner: below this the network's own jitter would hedge.
const DELAY_MIN: Duration = Duration::from_millis(30);
/// Never later, and as long as nothing has been measured.
const DELAY_MAX: Duration = Duration::from_millis(500);
/// A change waits this long, however fast answers are: its second copy costs the leader another decision.
const SILENCE: Duration = Duration::from_secs(1);
/// Answers it takes to earn a hedge.
const ANSWERS_PER_HEDGE: u64 = 20;
/// Hedges that can be saved up, and that a new client starts with.
const HEDGES_MAX: u64 = 10;

/// How fast answers come, and how many hedges are left. Shared by all calls of a client.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Moving average in microseconds; zero until there is one.
    average: AtomicU64,
    /// In answers: a hedge costs [`ANSWERS_PER_HEDGE`].
    saved: AtomicU64,
    /// The shortest delay and the longest.
    bounds: (Duration, Duration),
}

impl Pace {
    /// Of calls that change nothing.
    pub(crate) const fn of_reads() -> Self {
        Self::within(DELAY_MIN, DELAY_MAX)
    }

    /// Of changes.
    pub(crate) const fn of_changes() -> Self {
        Self::within(SILENCE, SILENCE)
    }

    const fn within(min: Duration, max: Duration) -> Self {
        let saved = AtomicU64::new(HEDGES_MAX * ANSWERS_PER_HEDGE);
        Self { average: AtomicU64::new(0), saved, bounds: (min, max) }
    }

    /// How long the next answer may take before another node is asked as well.
    fn delay(&self) -> Duration {
        let (min, max) = self.bounds;
        match self.average.load(Ordering::Relaxed) {
            0 => max,
            average => Duration::from_micros(average).saturating_mul(SLOW).clamp(min, max),
        }
    }

    /// An answer came; calls at the same time may overwrite one another's share of the average.
    fn answered(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let average = match self.average.load(Ordering::Relaxed) {
            0 => took,
            average => average - average / 8 + took / 8,
        };
        self.average.store(average.max(1), Ordering::Relaxed);
        let earned = |saved: u64| Some((saved + 1).min(HEDGES_MAX * ANSWERS_PER_HEDGE));
        let _ = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earned);
    }

    /// Takes a hedge from what was saved.
    fn may_hedge(&self) -> bool {
        let spend = |saved: u64| saved.checked_sub(ANSWERS_PER_HEDGE);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

/// Candidates who are asked in order, each when the one before has failed; with a pace, also when it is slow. Whoever is
/// still being asked when the race is dropped is asked no longer.
pub(crate) struct Race<'a, I: Iterator, U> {
    candidates: Peekable<I>,
    pace: Option<&'a Pace>,
    asked: FuturesUnordered<U>,
}

impl<'a, I, U, C, T, V> Race<'a, I, U>
where
    I: Iterator<Item = U>,
    U: Future<Output = (C, Duration, Result<T, V>)>,
{
    /// A race of questions, each of which is put when its turn comes. They say who was asked and how long it took.
    pub(crate) fn new(questions: I, pace: Option<&'a Pace>) -> Self {
        Self { candidates: questions.peekable(), pace, asked: FuturesUnordered::new() }
    }

    /// Whether somebody who was asked has not answered yet.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    /// The next result; `None` when all have been asked and have failed.
    pub(crate) async fn next(&mut self) -> Option<(C, Result<T, V>)> {
        loop {
            if self.asked.is_empty() {
                self.asked.push(self.candidates.next()?);
            }
            let patience = match (self.pace, self.candidates.peek()) {
                (Some(pace), Some(_)) => Some(pace.delay()),
                _ => None,
            };
            let slow = async {
                match patience {
                    Some(patience) => sleep(patience).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some((candidate, took, result)) = self.asked.next() => {
                    if let (Ok(_), Some(pace)) = (&result, self.pace) {
                        pace.answered(took);
                    }
                    return Some((candidate, result));
                }
                () = slow => {
                    if self.pace.is_some_and(Pace::may_hedge) {
                        self.asked.extend(self.candidates.next());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::time::{Instant, timeout};

    use super::*;

    const HANGS: Duration = Duration::from_secs(3_600);

    /// Candidates by how long they take; `true` answers. Who won, who was asked, and how long it all took.
    async fn asked(pace: Option<&Pace>, of: &[(Duration, bool)]) -> (Option<usize>, Vec<usize>, Duration) {
        let (order, started) = (Mutex::new(Vec::new()), Instant::now());
        let questions = of.iter().enumerate().map(|(at, (takes, answers))| {
            let order = &order;
            async move {
                order.lock().expect("no panic").push(at);
                let _ = timeout(*takes, std::future::pending::<()>()).await;
                (at, *takes, if *answers { Ok(()) } else { Err(()) })
            }
        });
        let mut race = Race::new(questions, pace);
        let mut won = None;
        while let Some((at, result)) = race.next().await {
            if result.is_ok() {
                won = Some(at);
                break;
            }
        }
        drop(race);
        (won, order.into_inner().expect("no panic"), started.elapsed())
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_is_followed_by_the_next_at_once() {
        let pace = Pace::of_reads();
        let (won, order, took) = asked(Some(&pace), &[(ms(1), false), (ms(1), false), (ms(1), true)]).await;
        assert_eq!((won, order), (Some(2), vec![0, 1, 2]));
        assert!(took < ms(10), "{took:?}");
        let (won, order, _) = asked(Some(&pace), &[(ms(1), false), (ms(1), false)]).await;
        assert_eq!((won, order), (None, vec![0, 1]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_hangs_costs_a_moment() {
        let pace = Pace::of_reads();
        let (won, _, took) = asked(Some(&pace), &[(HANGS, true), (ms(1), true)]).await;
        assert_eq!(won, Some(1));
        assert!(took < DELAY_MAX + ms(10), "{took:?}");
        // Once answers are known to be fast, the moment is short.
        for _ in 0..50 {
            asked(Some(&pace), &[(ms(1), true)]).await;
        }
        let (won, _, took) = asked(Some(&pace), &[(HANGS, true), (ms(1), true)]).await;
        assert_eq!(won, Some(1));
        assert!(took < DELAY_MIN + ms(10), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_waits_a_second_for_a_silent_node_and_no_sooner() {
        let pace = Pace::of_changes();
        for _ in 0..50 {
            // However fast the others were: a decision and a sync may take their time.
            let (won, order, _) = asked(Some(&pace), &[(SILENCE - ms(1), true), (ms(1), true)]).await;
            assert_eq!((won, order), (Some(0), vec![0]));
        }
        let (won, order, took) = asked(Some(&pace), &[(HANGS, true), (HANGS, true), (ms(1), true)]).await;
        assert_eq!((won, order), (Some(2), vec![0, 1, 2]));
        assert!(took < 2 * SILENCE + ms(10), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_counts_whoever_was_asked_first() {
        let (won, order, _) = asked(Some(&Pace::of_reads()), &[(DELAY_MAX + ms(5), true), (HANGS, true)]).await;
        assert_eq!((won, order), (Some(0), vec![0, 1]));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_pace_nobody_is_asked_early() {
        let (won, order, took) = asked(None, &[(HANGS, true), (ms(1), true)]).await;
        assert_eq!((won, order, took >= HANGS), (Some(0), vec![0], true));
    }

    #[tokio::test(start_paused = true)]
    async fn hedges_run_out_and_are_earned_again() {
        let pace = Pace::of_reads();
        let slow = [(ms(5_000), true), (HANGS, true)];
        let mut hedged = 0;
        for _ in 0..40 {
            hedged += asked(Some(&pace), &slow).await.1.len() - 1;
        }
        // What it began with, and one for each twenty answers since.
        assert_eq!(hedged, 11);
        for _ in 0..ANSWERS_PER_HEDGE {
            asked(Some(&pace), &[(ms(1), true)]).await;
        }
        assert_eq!(asked(Some(&pace), &slow).await.1, vec![0, 1]);
    }
}

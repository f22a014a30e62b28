//! How long no write is acknowledged, to the millisecond: callers that write without a pause, each turning to another node
//! first, and the moments of their answers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chancery_client::Client;
use proto::kms::v1 as kms;
use tokio::task::JoinHandle;

use crate::Fault;
use crate::cluster::Doors;

/// The writers at work.
pub(super) struct Pulse {
    beats: Arc<Beats>,
    writers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Beats {
    stop: AtomicBool,
    count: AtomicU64,
    times: Mutex<Vec<Instant>>,
    errors: Mutex<Vec<String>>,
}

impl Pulse {
    pub(super) async fn start(doors: &Doors) -> Result<Self, Fault> {
        let (beats, mut writers) = (Arc::new(Beats::default()), Vec::new());
        for first in 0..doors.each.len() {
            writers.push(tokio::spawn(write(Arc::clone(&beats), doors.another(first).await?)));
        }
        Ok(Self { beats, writers })
    }

    /// The longest time without an answer between those two moments.
    pub(super) fn longest(&self, from: Instant, to: Instant) -> Duration {
        let mut times = self.beats.times.lock().unwrap_or_else(PoisonError::into_inner).clone();
        times.retain(|time| *time > from && *time < to);
        times.sort_unstable();
        let ends = times.iter().copied().chain([to]);
        let begins = std::iter::once(from).chain(times.iter().copied());
        begins.zip(ends).map(|(begin, end)| end - begin).max().unwrap_or_default()
    }

    /// Ends the writing; what callers were refused.
    pub(super) async fn stop(self) -> Result<Vec<String>, Fault> {
        self.beats.stop.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.await?;
        }
        Ok(std::mem::take(&mut *self.beats.errors.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

async fn write(beats: Arc<Beats>, client: Client) {
    while !beats.stop.load(Ordering::Relaxed) {
        let number = beats.count.fetch_add(1, Ordering::Relaxed);
        let request = kms::CreateKeyRequest {
            parent: "namespaces/default".into(),
            key_id: format!("pulse-{number}"),
            ..Default::default()
        };
        match client.keys().create(request).await {
            Ok(_) => beats.times.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now()),
            Err(error) => beats.errors.lock().unwrap_or_else(PoisonError::into_inner).push(error.to_string()),
        }
    }
}

//! The simulated side of `crate::system`: turmoil's sockets and files, blocking work done in place after a while, and
//! openraft's runtime with seeded chance.

use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;

use futures::FutureExt;
use openraft::OptionalSend;
use openraft::rt::AsyncRuntime;
use openraft::rt::deterministic_rng::DeterministicRng;

use super::chance;
use super::disk::{Bug, planted};

pub(crate) use turmoil::fs::shim::std::fs;
pub(crate) use turmoil::net::{TcpListener, TcpStream};

type Tokio = openraft::impls::TokioRuntime;
type Seeded = DeterministicRng<Tokio>;

/// Blocking work takes up to this long.
const WORK_MAX: Duration = Duration::from_millis(3);

/// Tokio, with chance that the seed decides wherever a task was spawned.
#[derive(Debug)]
pub(crate) struct Runtime(Tokio);

/// There are no threads: everything runs where it is awaited.
#[derive(Debug)]
pub(crate) struct Threads;

impl Threads {
    pub(crate) fn start(_: &str) -> io::Result<Self> {
        Ok(Self)
    }

    pub(crate) async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
        Ok(work.await)
    }
}

/// Does the work.
pub(crate) fn in_place<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Does the work in place, after a while in which the node may crash.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::time::sleep(chance::within(WORK_MAX)).await;
    work()
}

/// Syncs a folder.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    if planted(Bug::VoteNotSynced) && fs::exists(folder.join("settled")) {
        return Ok(());
    }
    fs::sync_dir(folder)
}

impl AsyncRuntime for Runtime {
    type JoinError = <Tokio as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <Tokio as AsyncRuntime>::Sleep;
    type Instant = <Tokio as AsyncRuntime>::Instant;
    type TimeoutError = <Tokio as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <Tokio as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <Seeded as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <Tokio as AsyncRuntime>::Mpsc;
    type Watch = <Tokio as AsyncRuntime>::Watch;
    type Oneshot = <Tokio as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        Tokio::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        Tokio::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        Tokio::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        Tokio::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        Tokio::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        Tokio::is_panic(join_error)
    }

    #[expect(clippy::expect_used, reason = "the future is ready at once")]
    fn thread_rng() -> Self::ThreadLocalRng {
        let drawn = Seeded::scope(chance::bits(), async { Seeded::thread_rng() });
        drawn.now_or_never().expect("drawing does not wait")
    }

    fn new(threads: usize) -> Self {
        Self(Tokio::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

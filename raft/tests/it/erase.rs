//! Erasing: what was written before an entry is in no file of the member any more, whatever the log was doing meanwhile.
#![expect(clippy::unwrap_used, reason = "a test: what fails should stop it")]

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use crate::common::{Known, SOON, Seat, files};
use raft::{ChangeError, Config, Envelope, FileKind, Machine, Members, RaftHandle, Role, Tampered, Watermarks};

/// What is not to be found in any file afterwards.
const SECRET: &[u8] = b"wrapped-bytes-of-a-destroyed-version";

/// Seals nothing, so that the files can be searched.
struct Clear;

impl Envelope for Clear {
    fn seal(&self, _: FileKind, _: &[u8], plain: &[u8]) -> Vec<u8> {
        plain.to_vec()
    }

    fn open(&self, _: FileKind, _: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Tampered> {
        Ok(sealed.to_vec())
    }
}

/// Holds the last payload only, and how many there were.
#[derive(Default)]
struct Last(Arc<(u64, Vec<u8>)>);

impl Machine for Last {
    type Snapshot = Arc<(u64, Vec<u8>)>;

    fn apply(&mut self, _: u64, payload: &[u8]) -> Vec<u8> {
        self.0 = Arc::new((self.0.0 + 1, payload.to_vec()));
        Vec::new()
    }

    fn applied_members(&mut self, _: u64, _: &Members) {}

    fn snapshot(&self) -> Self::Snapshot {
        Arc::clone(&self.0)
    }

    fn write_snapshot(last: &Self::Snapshot, out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        out(&last.0.to_be_bytes())?;
        out(&last.1)
    }

    fn read_snapshot(&mut self, input: &mut dyn Read) -> io::Result<()> {
        let (mut count, mut last) = ([0; 8], Vec::new());
        input.read_exact(&mut count)?;
        input.read_to_end(&mut last)?;
        self.0 = Arc::new((u64::from_be_bytes(count), last));
        Ok(())
    }
}

async fn open(seat: &Seat) -> RaftHandle<Last> {
    open_with(seat, seat.config()).await
}

async fn open_with(seat: &Seat, config: Config) -> RaftHandle<Last> {
    let peering = seat.peering(&Known::of([seat]));
    RaftHandle::open(config, Last::default(), Arc::new(Clear), peering).await.unwrap()
}

async fn propose(handle: &RaftHandle<Last>, payload: &[u8]) -> u64 {
    handle.propose(payload.to_vec(), SOON).await.unwrap().index
}

/// The files under a folder that hold the secret.
fn holding(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for path in files(folder) {
        if path.is_dir() {
            found.extend(holding(&path));
        } else if std::fs::read(&path).unwrap().windows(SECRET.len()).any(|window| window == SECRET) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_before_an_erasure_is_on_the_disk_after_it() {
    let seat = Seat::new(1).await;
    let handle = open(&seat).await;
    handle.initialize(seat.member(), SOON).await.unwrap();
    let mut status = handle.watch_status();
    tokio::time::timeout(SOON, status.wait_for(|status| status.role == Role::Leader)).await.unwrap().unwrap();

    propose(&handle, b"before").await;
    propose(&handle, SECRET).await;
    handle.trigger_snapshot(SOON).await.unwrap();
    let upto = propose(&handle, b"the secret is gone from the state").await;
    // In the log, and in a snapshot; another that was damaged and set aside.
    let (log, snapshots) = (seat.log_folder(), seat.config().folder.join("snapshots"));
    assert!(!holding(&log).is_empty() && !holding(&snapshots).is_empty());
    std::fs::write(snapshots.join("1-1.damaged"), SECRET).unwrap();

    // The log goes on meanwhile: what is appended after the file was closed must not keep it.
    let writer = {
        let handle = handle.clone();
        tokio::spawn(async move {
            for _ in 0..400 {
                propose(&handle, b"after").await;
                tokio::task::yield_now().await;
            }
        })
    };
    let ticking = {
        let handle = handle.clone();
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(std::time::Duration::from_millis(100));
            while handle.propose(b"tick".to_vec(), SOON).await.is_ok() {
                tick.tick().await;
            }
        })
    };
    let erased = handle.erase(upto, 3 * SOON).await.unwrap();
    assert!(erased >= upto);
    assert_eq!(holding(seat.folder.path()), Vec::<String>::new());
    assert!(handle.erase(upto, SOON).await.unwrap() >= upto, "asked again, it says so at once");

    writer.await.unwrap();
    ticking.abort();
    let _ = ticking.await;
    let count = handle.state().state.0;
    handle.shutdown().await;
    let again = open(&seat).await;
    let mut views = again.watch_state();
    tokio::time::timeout(SOON, views.wait_for(|view| view.state.0 >= count)).await.unwrap().unwrap();
    assert_eq!(holding(seat.folder.path()), Vec::<String>::new());
    again.shutdown().await;
}

/// A disk that has room for no further snapshot keeps what was destroyed until it has: neither is a file of the log filled up nor a
/// snapshot written into what is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_waits_for_room_and_says_so() {
    let seat = Seat::new(1).await;
    let full = Config { watermarks: Watermarks { low: u64::MAX / 2, enough: u64::MAX / 2, none: 0 }, ..seat.config() };
    let handle = open_with(&seat, full).await;
    handle.initialize(seat.member(), SOON).await.unwrap();
    let mut status = handle.watch_status();
    tokio::time::timeout(SOON, status.wait_for(|status| status.role == Role::Leader)).await.unwrap().unwrap();
    let vital = async |payload: &[u8]| handle.propose_vital(payload.to_vec(), SOON).await.unwrap().index;
    vital(SECRET).await;
    let upto = vital(b"the secret is gone from the state").await;
    let bytes = || files(&seat.log_folder()).iter().map(|path| std::fs::metadata(path).unwrap().len()).sum::<u64>();
    let before = bytes();
    for _ in 0..2 {
        let refused = handle.erase(upto, SOON).await.unwrap_err();
        assert!(matches!(refused, ChangeError::NoRoom { lacks } if lacks > 1 << 40), "{refused}");
    }
    assert_eq!(bytes(), before, "nothing was written");
    assert_eq!(handle.status().snapshot, None);
    assert!(!holding(&seat.log_folder()).is_empty());
    handle.shutdown().await;

    let handle = open(&seat).await;
    let ticking = {
        let handle = handle.clone();
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(std::time::Duration::from_millis(50));
            loop {
                let _ = handle.propose(b"tick".to_vec(), SOON).await;
                tick.tick().await;
            }
        })
    };
    assert!(handle.erase(upto, 3 * SOON).await.unwrap() >= upto, "with room it is done");
    assert_eq!(holding(seat.folder.path()), Vec::<String>::new());
    ticking.abort();
    let _ = ticking.await;
    handle.shutdown().await;
}

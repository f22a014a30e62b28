//! Disks that fail, and how few syncs many records need.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

use super::*;
use crate::audit_store::disk::LogFile;

/// A disk over the real one that counts, fails and holds back.
#[derive(Default)]
struct Faulty {
    syncs: Arc<AtomicU64>,
    plan: Arc<Plan>,
}

#[derive(Default)]
struct Plan {
    /// The next sync fails.
    sync_fails: AtomicU64,
    /// The next writes fail after half of their bytes.
    writes_fail: AtomicU64,
    /// Cutting fails.
    cut_fails: AtomicU64,
    /// New files cannot be made.
    creates_fail: AtomicU64,
    /// Syncs wait while this is true.
    held: Mutex<bool>,
    released: Condvar,
    /// Syncs that have begun.
    begun: AtomicU64,
}

struct FaultyFile {
    file: Box<dyn LogFile>,
    syncs: Arc<AtomicU64>,
    plan: Arc<Plan>,
}

/// Uses up one of the failures that are left.
fn strikes(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl Plan {
    fn hold(&self) {
        *self.held.lock().expect("a lock") = true;
    }

    fn release(&self) {
        *self.held.lock().expect("a lock") = false;
        self.released.notify_all();
    }
}

impl Disk for Faulty {
    fn create(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        if strikes(&self.plan.creates_fail) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = RealDisk.create(path)?;
        Ok(Box::new(FaultyFile { file, syncs: self.syncs.clone(), plan: self.plan.clone() }))
    }

    fn open(&self, path: &Path, len: u64) -> io::Result<Box<dyn LogFile>> {
        let file = RealDisk.open(path, len)?;
        Ok(Box::new(FaultyFile { file, syncs: self.syncs.clone(), plan: self.plan.clone() }))
    }

    fn publish(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.publish(from, to)
    }
}

impl LogFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if strikes(&self.plan.writes_fail) {
            self.file.append(&bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.plan.begun.fetch_add(1, Ordering::SeqCst);
        let held = self.plan.held.lock().expect("a lock");
        drop(self.plan.released.wait_while(held, |held| *held).expect("a lock"));
        self.syncs.fetch_add(1, Ordering::SeqCst);
        if strikes(&self.plan.sync_fails) {
            return Err(io::Error::other("injected"));
        }
        self.file.sync()
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        if strikes(&self.plan.cut_fails) {
            return Err(io::Error::other("injected"));
        }
        self.file.cut(len)
    }
}

fn faulty(dir: &Path, segment_bytes: u64) -> (AuditStore, Arc<AtomicU64>, Arc<Plan>) {
    let disk = Faulty::default();
    let (syncs, plan) = (disk.syncs.clone(), disk.plan.clone());
    (open_on(Arc::new(disk), dir, &[], segment_bytes).expect("opens"), syncs, plan)
}

#[tokio::test(flavor = "multi_thread")]
async fn many_records_share_a_sync_and_none_is_told_before_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, syncs, plan) = faulty(dir.path(), u64::MAX);
    let (before, begun) = (syncs.load(Ordering::SeqCst), plan.begun.load(Ordering::SeqCst));
    plan.hold();
    let told = Arc::new(AtomicU64::new(0));
    let append = |n| {
        let (store, told) = (store.clone(), told.clone());
        tokio::spawn(async move {
            let position = store.append(event(n)).await.expect("recorded");
            told.fetch_add(1, Ordering::SeqCst);
            position.index
        })
    };
    let mut appends = vec![append(0)];
    while plan.begun.load(Ordering::SeqCst) == begun {
        tokio::task::yield_now().await;
    }
    // The first waits for its sync; a thousand more gather behind it, and nobody has been told.
    appends.extend((1..=1_000).map(append));
    while store.shared.logs[&LOG].queued() < 1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!((told.load(Ordering::SeqCst), store.head(LOG).map(|head| head.size)), (0, Some(0)));
    plan.release();
    let mut indices = Vec::new();
    for append in appends {
        indices.push(append.await.expect("ends"));
    }
    indices.sort_unstable();
    assert_eq!(indices, (0..=1_000).collect::<Vec<_>>(), "each its own number");
    assert_eq!(syncs.load(Ordering::SeqCst) - before, 2, "one sync for the first, one for all the others");
}

#[tokio::test]
async fn nothing_is_acknowledged_after_a_failed_sync() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, _, plan) = faulty(dir.path(), u64::MAX);
    fill(&store, 0, 3).await;
    plan.sync_fails.store(1, Ordering::SeqCst);
    let refused = store.append(event(3)).await.expect_err("the sync failed");
    assert!(refused.why.contains("sync failed: injected"), "{refused}");
    // The disk is well again, but what the failed sync dropped nobody knows: the log stays closed until restart.
    for n in 3..6 {
        store.append(event(n)).await.expect_err("still refused");
    }
    assert_eq!(store.head(LOG).map(|head| head.size), Some(3), "nothing to anchor beyond what is durable");
    assert_eq!(store.records(LOG, 0, 10).await.expect("reads").len(), 3, "nothing to read either");
    let refusal = types::Refusal::from(refused);
    assert_eq!(refusal.reason, types::Reason::AuditUnavailable);
    assert!(!refusal.message.contains("injected"));
    store
        .append_cluster(0, vec![cluster_leaf(0)])
        .await
        .expect("queued")
        .recorded()
        .await
        .expect("the other log goes on");
    let head = store.head(LOG).expect("held");
    drop(store);
    let store = open(dir.path(), &[head]).expect("opens after a restart");
    assert!(store.head(LOG).is_some_and(|head| head.size >= 3));
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers_by_itself() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, _, plan) = faulty(dir.path(), u64::MAX);
    fill(&store, 0, 3).await;
    assert_eq!(store.reserve_left_bytes(), RESERVE_BYTES);
    plan.writes_fail.store(1, Ordering::SeqCst);
    fill(&store, 3, 1).await;
    assert_eq!(store.reserve_left_bytes(), RESERVE_BYTES / 2, "the reserve made room");
    plan.writes_fail.store(3, Ordering::SeqCst);
    for _ in 0..2 {
        let refused = store.append(event(9)).await.expect_err("no room");
        assert!(refused.why.contains("write failed"), "{refused}");
    }
    assert_eq!(store.reserve_left_bytes(), 0, "spent before anything was refused");
    fill(&store, 4, 4).await;
    let head = store.head(LOG).expect("held");
    assert!(store.verify(LOG, Vec::new()).await.expect("reads").is_sound());
    drop(store);
    assert_eq!(open(dir.path(), &[head]).expect("opens").head(LOG), Some(head));
}

#[tokio::test]
async fn half_a_write_that_cannot_be_cut_off_ends_the_log() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, _, plan) = faulty(dir.path(), u64::MAX);
    fill(&store, 0, 3).await;
    // With a failing cut not even the reserve is tried.
    plan.writes_fail.store(1, Ordering::SeqCst);
    plan.cut_fails.store(1, Ordering::SeqCst);
    store.append(event(3)).await.expect_err("no room, no cut");
    store.append(event(3)).await.expect_err("the end of the file is not known");
    let head = store.head(LOG).expect("held");
    drop(store);
    let store = open(dir.path(), &[head]).expect("the half is cut at the next start");
    fill(&store, 3, 1).await;
}

#[tokio::test]
async fn when_the_next_file_cannot_be_begun_this_one_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, _, plan) = faulty(dir.path(), 1_000);
    plan.creates_fail.store(20, Ordering::SeqCst);
    fill(&store, 0, 20).await;
    assert_eq!(files(dir.path()).len(), 1);
    fill(&store, 20, 20).await;
    assert!(files(dir.path()).len() > 1, "and the next one is begun when there is room");
    let head = store.head(LOG).expect("held");
    assert!(store.verify(LOG, Vec::new()).await.expect("reads").is_sound());
    drop(store);
    assert_eq!(open_small(dir.path(), &[head], 1_000).expect("opens").head(LOG), Some(head));
}

/// By hand: `mount -t tmpfs -o size=4m tmpfs DIR`, then run with `--ignored` and `CHANCERY_SMALL_DISK=DIR`.
#[tokio::test]
#[ignore = "needs a file system of 4 MiB, mounted at CHANCERY_SMALL_DISK"]
async fn a_disk_that_is_really_full_refuses_after_the_reserve_and_recovers() {
    let disk = std::env::var("CHANCERY_SMALL_DISK").expect("CHANCERY_SMALL_DISK names the mounted folder");
    let dir = tempfile::tempdir_in(&disk).expect("a folder");
    let filler = dir.path().join("filler");
    std::fs::write(&filler, vec![0; 512 * 1_024]).expect("fills");
    let store = AuditStore::open(dir.path(), NODE, &[], RESERVE_BYTES).expect("opens");
    assert_eq!(store.reserve_left_bytes(), RESERVE_BYTES);
    let long = Text::clipped(&"x".repeat(2_000));
    let mut recorded = 0;
    while store.append(Event { resource: long.clone(), ..event(0) }).await.is_ok() {
        recorded += 1;
        assert!(recorded < 4_000, "4 MiB are never full");
    }
    assert_eq!(store.reserve_left_bytes(), 0, "spent before anything was refused");
    assert!(recorded * 2_000 > RESERVE_BYTES, "{recorded} records fitted");
    std::fs::remove_file(filler).expect("makes room");
    store.append(event(0)).await.expect("goes on by itself");
    let head = store.head(LOG).expect("held");
    assert_eq!(head.size, recorded + 1);
    assert!(store.verify(LOG, Vec::new()).await.expect("reads").is_sound());
    drop(store);
    assert_eq!(open(dir.path(), &[head]).expect("opens").head(LOG), Some(head));
}

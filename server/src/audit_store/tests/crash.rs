//! What a crash, a bad disk or a hand leaves behind, cut and flipped at every byte.

use std::io;

use super::*;
use crate::audit_store::disk::LogFile;

/// The real disk without its syncs: what recovery decides does not rest on them, and thousands of them take long.
struct Unsynced;

struct UnsyncedFile(std::fs::File);

impl Disk for Unsynced {
    fn create(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        Ok(Box::new(UnsyncedFile(std::fs::File::create(path)?)))
    }

    fn open(&self, path: &Path, len: u64) -> io::Result<Box<dyn LogFile>> {
        let mut file = UnsyncedFile(std::fs::OpenOptions::new().append(true).open(path)?);
        file.cut(len)?;
        Ok(Box::new(file))
    }

    fn publish(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }
}

impl LogFile for UnsyncedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut self.0, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

/// A log of ten records in one file; heads after five and ten.
struct Written {
    bytes: Vec<u8>,
    five: Head,
    ten: Head,
    /// Where the frame of record i begins.
    starts: Vec<usize>,
}

async fn written() -> Written {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path(), &[]).expect("opens");
    let mut starts = Vec::new();
    let mut heads = Vec::new();
    for n in 0..10 {
        starts.push(std::fs::metadata(&files(dir.path())[0]).expect("a file").len() as usize);
        fill(&store, n, 1).await;
        heads.push(store.head(LOG).expect("held"));
    }
    drop(store);
    let bytes = std::fs::read(&files(dir.path())[0]).expect("reads");
    Written { bytes, five: heads[4], ten: heads[9], starts }
}

/// Opens a log whose one file has this content. Only the log itself: the index is no part of this.
fn open_bytes(dir: &Path, bytes: &[u8], anchored: &Head) -> Result<(Head, u64), OpenError> {
    let path = crate::audit_store::files::path_of(dir, 0);
    std::fs::create_dir_all(dir).expect("a folder");
    // Made anew: some file systems sync a file that is truncated and written again.
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, bytes).expect("writes");
    let recovered = crate::audit_store::recover::recover(&Unsynced, dir, anchored)?;
    assert_eq!(std::fs::metadata(&path).expect("a file").len(), recovered.len);
    Ok((recovered.tail.frontier.head(LOG), recovered.cut_bytes))
}

#[tokio::test]
async fn cut_at_every_byte_it_keeps_what_is_whole_or_refuses_what_is_missing() {
    let Written { bytes, five, starts, .. } = written().await;
    let dir = tempfile::tempdir().expect("a folder");
    for cut in 0..=bytes.len() {
        let whole = starts.iter().skip(1).chain([&bytes.len()]).filter(|end| **end <= cut).count() as u64;
        match open_bytes(dir.path(), &bytes[..cut], &five) {
            Ok((head, cut_bytes)) => {
                assert!(whole >= 5, "cut at {cut}");
                assert_eq!(head.size, whole, "cut at {cut}");
                let end = starts.get(whole as usize).copied().unwrap_or(bytes.len());
                assert_eq!(cut_bytes as usize, cut - end);
            }
            Err(OpenError::Shorter { held, anchored: 5, .. }) => assert!(held == whole && whole < 5, "cut at {cut}"),
            Err(OpenError::Damaged { index, .. }) => assert!(index == whole && whole < 5, "cut at {cut}"),
            Err(other) => panic!("cut at {cut}: {other}"),
        }
    }
}

#[tokio::test]
async fn a_flipped_byte_is_damage_unless_it_can_be_a_torn_write() {
    let Written { bytes, five, ten, starts } = written().await;
    let dir = tempfile::tempdir().expect("a folder");
    let last = starts[9];
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x04;
        let record = starts.iter().filter(|start| **start <= at).count().saturating_sub(1) as u64;
        match open_bytes(dir.path(), &flipped, &five) {
            // Nobody vouches for the last record: no anchor, and no later write says that it was durable.
            Ok((head, _)) => assert!(at >= last && head.size == 9, "byte {at}"),
            Err(OpenError::Damaged { index, .. }) => assert!(at < last && index == record, "byte {at}"),
            Err(other) => panic!("byte {at}: {other}"),
        }
        assert!(open_bytes(dir.path(), &flipped, &ten).is_err(), "byte {at}: everything was anchored");
    }
}

#[tokio::test]
async fn zeros_after_the_end_are_cut_and_a_log_that_lost_everything_is_refused() {
    let Written { bytes, ten, .. } = written().await;
    let dir = tempfile::tempdir().expect("a folder");
    let padded = [&bytes[..], &[0; 4_096]].concat();
    assert_eq!(open_bytes(dir.path(), &padded, &ten).expect("opens"), (ten, 4_096));
    let empty = tempfile::tempdir().expect("a folder");
    let refused = open(empty.path(), &[ten]).expect_err("an empty folder");
    assert!(matches!(refused, OpenError::Shorter { held: 0, anchored: 10, .. }), "{refused}");
    assert!(refused.to_string().contains("join under a new id"), "{refused}");
}

#[tokio::test]
async fn files_that_do_not_follow_one_another_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open_small(dir.path(), &[], 2_000).expect("opens");
    fill(&store, 0, 40).await;
    let head = store.head(LOG).expect("held");
    drop(store);
    let all = files(dir.path());
    assert!(all.len() >= 4);
    let saved: Vec<Vec<u8>> = all.iter().map(|file| std::fs::read(file).expect("reads")).collect();
    let early = Head { size: 1, root: audit::leaf_hash(&event(0).into_record(LOG, 0).to_leaf()), log: LOG };

    // The first, one in the middle, and the last file gone.
    for (gone, anchored) in [(0, early), (1, early), (all.len() - 1, head)] {
        std::fs::remove_file(&all[gone]).expect("removes");
        assert!(open_small(dir.path(), &[anchored], 2_000).is_err(), "file {gone}");
        std::fs::write(&all[gone], &saved[gone]).expect("restores");
    }
    // A record at the end of a closed file cut off: nothing torn, for the next file was begun after it.
    std::fs::write(&all[1], &saved[1][..saved[1].len() - 1]).expect("cuts");
    assert!(matches!(open_small(dir.path(), &[early], 2_000), Err(OpenError::Damaged { .. })));
    std::fs::write(&all[1], &saved[1]).expect("restores");
    // A file half begun when the power went.
    std::fs::write(all[0].with_extension("tmp"), b"half a header").expect("writes");
    let store = open_small(dir.path(), &[head], 2_000).expect("opens");
    assert!(!all[0].with_extension("tmp").exists());
    fill(&store, 40, 1).await;
}

/// A start took longer with every change that was ever recorded.
#[tokio::test]
async fn a_start_reads_only_the_newest_file_of_the_cluster_log() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open_small(dir.path(), &[], 2_000).expect("opens");
    let leaf = |n: u64| event(n).into_record(LogName::Cluster, n).to_leaf();
    for n in 0..40 {
        store.append_cluster(n, vec![leaf(n)]).await.expect("taken").recorded().await.expect("recorded");
    }
    drop(store);
    let all = files_of(dir.path(), LogName::Cluster);
    assert!(all.len() >= 4);
    std::fs::write(&all[1], b"edited").expect("writes");
    let store = open_small(dir.path(), &[], 2_000).expect("opens");
    store.append_cluster(40, vec![leaf(40)]).await.expect("taken").recorded().await.expect("goes on");
    assert!(store.verify(LogName::Cluster, Vec::new()).await.is_err(), "whoever verifies reads all of it");
}

#[tokio::test]
async fn an_edit_while_the_node_runs_is_found_by_reading_and_by_verifying() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path(), &[]).expect("opens");
    fill(&store, 0, 10).await;
    let path = &files(dir.path())[0];
    let bytes = std::fs::read(path).expect("reads");
    let mut wrong = bytes.clone();
    let at = wrong.windows(12).position(|window| window == b"\"at_ms\":1004").expect("record 4");
    wrong[at + 11] = b'5';
    std::fs::write(path, &wrong).expect("edits");
    for error in [
        store.verify(LOG, Vec::new()).await.expect_err("found"),
        store.records(LOG, 4, 1).await.map(drop).expect_err("found"),
    ] {
        assert!(error.to_string().contains("damaged at record 4"), "{error}");
    }
    assert_eq!(store.records(LOG, 0, 4).await.expect("reads").len(), 4);
}

//! Every byte of a recorded log cut, flipped and zeroed: either everything that was acknowledged is there, or the log is
//! refused and left as it is.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use openraft::RaftLogReader;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use types::{ClusterId, NodeId};

use crate::config::Config;
use crate::log;
use crate::suite_test::Clear;
use crate::type_config::{Entry, EntryPayload, LogId, Payload, Vote, log_id};

/// The files of a log's folder.
type Files = BTreeMap<OsString, Vec<u8>>;

/// A log with its witness, and what must be found in it.
struct Recorded {
    files: Files,
    witness: Vec<u8>,
    vote: Vote,
    entries: Vec<Entry>,
}

fn config(folder: &Path) -> Config {
    // Several files, so that closed ones are damaged too.
    Config { log_chunk_bytes: 640, ..Config::new(ClusterId([1; 16]), NodeId(1), folder) }
}

fn entry(term: u64, index: u64) -> Entry {
    let length = usize::try_from(index * 7 % 31).unwrap();
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(Payload(vec![0xa5; length])) }
}

/// Records votes, entries, a truncation, a hint of what is committed and a purge. The witness has seen entries up to
/// `witnessed`, or all.
async fn record(witnessed: Option<u64>) -> Recorded {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let mut store = log::open(&config, Arc::new(Clear)).unwrap();
    store.save_vote(&Vote::new(1, 1)).await.unwrap();
    store.blocking_append((0..9).map(|index| entry(1, index))).await.unwrap();
    store.follow().unwrap();
    store.truncate_after(Some(log_id(1, 5))).await.unwrap();
    let vote = Vote::new(2, 2);
    store.save_vote(&vote).await.unwrap();
    for index in 6..20 {
        store.blocking_append([entry(2, index)]).await.unwrap();
        if witnessed == Some(index) {
            break;
        }
    }
    store.save_committed(Some(log_id(2, 8))).await.unwrap();
    store.purge(log_id(1, 3)).await.unwrap();
    store.follow().unwrap();
    let seen = fs::read(&config.witness).unwrap();
    if let Some(from) = witnessed {
        for index in from + 1..20 {
            store.blocking_append([entry(2, index)]).await.unwrap();
        }
    }
    drop(store);
    let last = witnessed.unwrap_or(19);
    let entries = (4..=last).map(|index| entry(if index < 6 { 1 } else { 2 }, index)).collect();
    Recorded { files: read_all(&config.log_folder()), witness: seen, vote, entries }
}

fn read_all(folder: &Path) -> Files {
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_owned(), fs::read(path).unwrap())
    };
    fs::read_dir(folder).unwrap().map(read).collect()
}

/// Opens the files and says what became of them.
async fn open(recorded: &Recorded, files: &Files, damage: &str) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    fs::create_dir_all(config.log_folder()).unwrap();
    for (name, bytes) in files {
        fs::write(config.log_folder().join(name), bytes).unwrap();
    }
    fs::write(&config.witness, &recorded.witness).unwrap();
    let mut store = match log::open(&config, Arc::new(Clear)) {
        Ok(store) => store,
        Err(_) => {
            assert_eq!(&read_all(&config.log_folder()), files, "{damage}: a refused log is left as it is");
            return Outcome::Refused;
        }
    };
    assert_eq!(store.read_vote().await.unwrap(), Some(recorded.vote), "{damage}: the vote");
    let (first, last) = (recorded.entries[0].log_id.index, recorded.entries[recorded.entries.len() - 1].log_id.index);
    let held = store.try_get_log_entries(first..=last).await.unwrap();
    assert_eq!(held, recorded.entries, "{damage}: what was acknowledged");
    let end = store.get_log_state().await.unwrap().last_log_id;
    assert!(end >= recorded.entries.last().map(|entry| entry.log_id), "{damage}: {end:?}");
    let beyond: Vec<LogId> = store.try_get_log_entries(last + 1..).await.unwrap().iter().map(|e| e.log_id).collect();
    let expected: Vec<LogId> = (last + 1..).take(beyond.len()).map(|index| log_id(2, index)).collect();
    assert_eq!(beyond, expected, "{damage}: nothing is skipped");
    Outcome::Opened
}

#[derive(PartialEq, Eq, Debug)]
enum Outcome {
    Opened,
    Refused,
}

/// Damages each file at each byte in each way; how often it was opened and refused.
async fn damage_everything(recorded: &Recorded) -> (usize, usize) {
    type Damage = fn(&mut Vec<u8>, usize);
    let ways: [(&str, Damage, usize); 5] = [
        ("cut", |bytes, at| bytes.truncate(at), 1),
        ("bit flipped", |bytes, at| bytes[at] ^= 1 << (at % 8), 1),
        ("zeroed to the end", |bytes, at| bytes[at..].fill(0), 1),
        ("eight bytes zeroed", |bytes, at| bytes.iter_mut().skip(at).take(8).for_each(|byte| *byte = 0), 3),
        ("cut and zeroed after", |bytes, at| bytes[at / 2..at].fill(0), 5),
    ];
    let mut counts = (0, 0);
    for (name, bytes) in recorded.files.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        for (way, damage, every) in ways {
            for at in (0..bytes.len()).step_by(every) {
                let mut files = recorded.files.clone();
                damage(files.get_mut(name).unwrap(), at);
                match open(recorded, &files, &format!("{way} at {at} of {}", name.display())).await {
                    Outcome::Opened => counts.0 += 1,
                    Outcome::Refused => counts.1 += 1,
                }
            }
        }
        let mut files = recorded.files.clone();
        files.remove(name);
        open(recorded, &files, &format!("without {}", name.display())).await;
    }
    counts
}

#[tokio::test]
async fn damage_at_any_byte_is_found_or_harmless() {
    let recorded = record(None).await;
    assert_eq!(open(&recorded, &recorded.files, "nothing").await, Outcome::Opened);
    assert!(recorded.files.values().filter(|bytes| !bytes.is_empty()).count() >= 2, "more than one file");
    let (opened, refused) = damage_everything(&recorded).await;
    assert!(refused > 1_000 && opened < refused / 10, "{opened} opened, {refused} refused");
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_what_was_witnessed_before_it_is_there() {
    let recorded = record(Some(12)).await;
    assert_eq!(open(&recorded, &recorded.files, "nothing").await, Outcome::Opened);
    let (opened, refused) = damage_everything(&recorded).await;
    assert!(opened > 100 && refused > 500, "{opened} opened, {refused} refused");
}

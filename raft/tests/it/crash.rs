//! Goal: a member that is killed at any sync, rename or removal opens again with everything it had acknowledged; one whose
//! sync fails acknowledges nothing more; a short write loses nothing that was acknowledged.
//!
//! strace kills or fails the k-th call of a child, which is this test program again ([`child`]). Calls are counted for
//! each thread: the log's syncs are all made by one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers"
)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the child speaks to its parent, and a skipped test says so"
)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{Book, Known, SOON, Seat, leads, lines};
use raft::{OpenError, RaftHandle};

const FOLDER: &str = "CHANCERY_CRASH_FOLDER";
/// No child makes more calls of one kind in one thread.
const CALLS_MAX: usize = 400;

async fn open(seat: &Seat, folder: &Path) -> Result<RaftHandle<Book>, OpenError> {
    let mut config = seat.config();
    config.folder = folder.join("raft");
    config.witness = folder.join("raft.witness");
    config.witness_interval = Duration::from_millis(100);
    seat.open_with(config, &Known::of([seat])).await
}

fn say(word: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{word}").unwrap();
    out.flush().unwrap();
}

/// Not a test of its own: what the other tests run in a process that may die. Without its folder it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let seat = Seat::new(1).await;
    let work = async {
        let handle = open(&seat, Path::new(&folder)).await.map_err(|error| error.to_string())?;
        let worked = work(&seat, &handle).await;
        if worked.is_err() {
            // Whatever the disk says from now on proves nothing.
            for n in 0..3 {
                if handle.propose(format!("late {n}").into_bytes(), SOON).await.is_ok() {
                    say("ack late");
                }
            }
        }
        handle.shutdown().await;
        worked
    };
    match work.await {
        Ok(()) => say("done"),
        Err(why) => say(&format!("failed {why}")),
    }
}

/// Lines with snapshots and purges between them.
async fn work(seat: &Seat, handle: &RaftHandle<Book>) -> Result<(), String> {
    handle.initialize(seat.member(), SOON).await.map_err(|error| error.to_string())?;
    for n in 0..12 {
        handle.propose(format!("line {n}").into_bytes(), SOON).await.map_err(|error| error.to_string())?;
        say(&format!("ack line {n}"));
        if n % 4 == 3 {
            // One that fails leaves the older one: no reason to stop.
            let _ = handle.trigger_snapshot(Duration::from_secs(2)).await;
        }
    }
    Ok(())
}

/// What a child said, and what strace saw.
struct Ran {
    acknowledged: Vec<String>,
    done: bool,
    trace: String,
}

fn run(folder: &Path, wrapper: &[String]) -> Ran {
    let trace = folder.join("trace");
    let mut command = Command::new(&wrapper[0]);
    command.args(&wrapper[1..]);
    if wrapper[0] == "strace" {
        command.args(["-o", trace.to_str().unwrap(), "--"]);
    }
    command.arg(std::env::current_exe().unwrap()).args(["--exact", "crash::child", "--nocapture", "--test-threads=1"]);
    let output = command.env(FOLDER, folder).stdin(Stdio::null()).stderr(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let acknowledged = said.lines().filter_map(|line| Some(line.split_once("ack ")?.1.to_owned())).collect();
    let done = said.lines().any(|line| line == "done");
    Ran { acknowledged, done, trace: std::fs::read_to_string(trace).unwrap_or_default() }
}

/// Opens the folder again; `None` when it is refused.
async fn reopened(folder: &Path) -> Option<Vec<String>> {
    let seat = Seat::new(1).await;
    let handle = open(&seat, folder).await.ok()?;
    if handle.is_initialized().await.unwrap() {
        leads(&handle).await;
        handle.propose(b"after".to_vec(), SOON).await.unwrap();
    }
    let held = lines(&handle);
    handle.shutdown().await;
    Some(held)
}

fn holds_all(held: &[String], ran: &Ran, what: &str) {
    assert!(held.starts_with(&ran.acknowledged), "{what}: {:?} of {held:?}", ran.acknowledged);
}

fn injected(call: &str, fault: &str) -> Vec<String> {
    let words = ["strace", "-f", "-qq", "-s", "16", "-e"].map(str::to_owned).into_iter();
    words.chain([format!("trace={call},write"), "-e".to_owned(), format!("inject={call}:{fault}")]).collect()
}

/// Whether a tool is there and works; says loudly when not.
fn can(tool: &str, arguments: &[&str]) -> bool {
    let worked = Command::new(tool).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let works = worked.is_ok_and(|status| status.success());
    if !works {
        eprintln!("SKIPPED: `{tool}` cannot be used here");
    }
    works
}

/// Kills the child at its k-th call, for every k until it gets through.
async fn killed_at_each(call: &str) {
    if !can("strace", &["-qq", "-o", "/dev/null", "true"]) {
        return;
    }
    for k in 1..CALLS_MAX {
        let folder = tempfile::tempdir().unwrap();
        let ran = run(folder.path(), &injected(call, &format!("signal=SIGKILL:when={k}")));
        let what = format!("killed at {call} {k}");
        let held = reopened(folder.path()).await.unwrap_or_else(|| panic!("{what}: it does not open again"));
        holds_all(&held, &ran, &what);
        if ran.done {
            assert_eq!(ran.acknowledged.len(), 12, "{what}");
            assert!(k > 1, "`{call}` was never called");
            eprintln!("killed at each of {} calls of {call}", k - 1);
            return;
        }
    }
    panic!("more than {CALLS_MAX} calls of `{call}`");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_fdatasync_nothing_acknowledged_is_lost() {
    killed_at_each("fdatasync").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_fsync_nothing_acknowledged_is_lost() {
    killed_at_each("fsync").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_rename_nothing_acknowledged_is_lost() {
    killed_at_each("rename").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_removal_nothing_acknowledged_is_lost() {
    killed_at_each("unlink").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_after_a_sync_that_failed() {
    if !can("strace", &["-qq", "-o", "/dev/null", "true"]) {
        return;
    }
    for k in 1..CALLS_MAX {
        let folder = tempfile::tempdir().unwrap();
        let ran = run(folder.path(), &injected("fdatasync", &format!("error=EIO:when={k}")));
        let what = format!("EIO at fdatasync {k}");
        // The one line whose own sync came before may still be told.
        let after = ran.trace.split_once("(INJECTED)").map_or(0, |(_, after)| after.matches("\"ack ").count());
        assert!(after <= 1, "{what}: {after} acknowledged after it");
        assert!(!ran.acknowledged.iter().any(|line| line == "late"), "{what}: it went on");
        let held = reopened(folder.path()).await.unwrap_or_else(|| panic!("{what}: it does not open again"));
        holds_all(&held, &ran, &what);
        if ran.done {
            assert!(k > 12, "each line has its sync");
            return;
        }
    }
    panic!("more than {CALLS_MAX} syncs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_claimed_and_not_done_is_found() {
    if !can("strace", &["-qq", "-o", "/dev/null", "true"]) {
        return;
    }
    let mut refused = 0;
    for k in 1..CALLS_MAX {
        let folder = tempfile::tempdir().unwrap();
        // Four bytes are said to be written and are not.
        let ran = run(folder.path(), &injected("writev", &format!("retval=4:when={k}")));
        match reopened(folder.path()).await {
            Some(held) => holds_all(&held, &ran, &format!("short write {k}")),
            None => refused += 1,
        }
        if !ran.trace.contains("(INJECTED)") {
            assert!(refused > 0, "no write was claimed");
            return;
        }
    }
    panic!("more than {CALLS_MAX} writes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_write_and_a_death_lose_nothing_acknowledged() {
    if !can("prlimit", &["--fsize=1000000", "true"]) {
        return;
    }
    // The write that passes the limit is cut short, the next one kills.
    for limit in (150..1_200).step_by(35) {
        let folder = tempfile::tempdir().unwrap();
        let ran = run(folder.path(), &["prlimit".to_owned(), format!("--fsize={limit}")]);
        let held = reopened(folder.path()).await.unwrap_or_else(|| panic!("limit {limit}: it does not open again"));
        holds_all(&held, &ran, &format!("limit {limit}"));
    }
}

//! Step 8: two programs get names: copies of this binary, each with its own name at the end, so that path and hash
//! differ from everything else that runs here.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use chancery_client::proto::ca::v1::{CreateEntryRequest, Entry, GetEntryRequest, UpdateEntryRequest};
use prost_types::Duration;
use types::Reason;

use super::super::fault::Fault;
use super::super::report::Found;
use super::super::sample::sha256_of;
use super::super::stage::Stage;
use super::PARENT;
use super::cluster::AGENT;

/// The two workloads.
pub(crate) const WORKLOADS: [&str; 2] = ["frontend", "backend"];
const TTL_S: i64 = 3_600;

pub(crate) async fn run(stage: &mut Stage) -> Result<Found, Fault> {
    let mut made = 0;
    for name in WORKLOADS {
        let program = program(stage, name);
        let (binary, copy) = (stage.program().clone(), program.clone());
        let sha256 = tokio::task::spawn_blocking(move || copy_with_name(&binary, &copy, name)).await??;
        let selectors = vec![
            format!("unix:uid:{}", rustix::process::geteuid().as_raw()),
            format!("unix:sha256:{}", hex::encode(sha256)),
            format!("unix:path:{}", program.display()),
        ];
        made += usize::from(register(stage, name, selectors).await?);
    }
    let found = if made == 0 { ", found again" } else { "" };
    let names = WORKLOADS.join(", ");
    Ok(Found::Held(format!("{names} by uid + sha256 and path of their binaries{found}")))
}

/// Where the copy lies.
pub(crate) fn program(stage: &Stage, name: &str) -> PathBuf {
    stage.layout.path("bin").join(name)
}

/// The SPIFFE ID of a workload.
pub(crate) fn spiffe_id(name: &str) -> String {
    format!("spiffe://dev.chancery/ns/default/{name}")
}

/// An ELF loader ignores what follows the last section. The copy replaces an older one by name, never in place: that
/// one may run.
fn copy_with_name(binary: &Path, copy: &Path, name: &str) -> Result<[u8; 32], Fault> {
    let temporary = copy.with_extension("new");
    let _ = std::fs::remove_file(&temporary);
    let mut input = std::fs::File::open(binary)?;
    let mut output = OpenOptions::new().write(true).create_new(true).mode(0o700).open(&temporary)?;
    std::io::copy(&mut input, &mut output)?;
    output.write_all(name.as_bytes())?;
    drop(output);
    std::fs::rename(&temporary, copy)?;
    sha256_of(copy)
}

/// Registers the workload, or corrects what an older build registered; whether anything had to be done.
async fn register(stage: &Stage, name: &str, selectors: Vec<String>) -> Result<bool, Fault> {
    let entries = stage.client()?.entries();
    let full_name = format!("{PARENT}/entries/{name}");
    let wanted = Entry {
        parent_agent: format!("agents/{AGENT}"),
        path: format!("/ns/default/{name}"),
        selectors,
        svid_ttl: Some(Duration { seconds: TTL_S, nanos: 0 }),
        ..Entry::default()
    };
    let (entry, is_new) = match entries.get(GetEntryRequest { name: full_name.clone() }).await {
        Ok(entry) if is_same(&entry, &wanted) => (entry, false),
        Ok(entry) => {
            let entry = Some(Entry { name: full_name, etag: entry.etag, ..wanted });
            (entries.update(UpdateEntryRequest { entry, ..UpdateEntryRequest::default() }).await?, true)
        }
        Err(error) if error.reason() == Some(Reason::NotFound) => {
            let request = CreateEntryRequest {
                parent: PARENT.to_owned(),
                entry_id: name.to_owned(),
                entry: Some(wanted),
                ..CreateEntryRequest::default()
            };
            (entries.create(request).await?, true)
        }
        Err(error) => return Err(error.into()),
    };
    Fault::check(entry.spiffe_id == spiffe_id(name), || format!("{name} was named {}", entry.spiffe_id))?;
    Ok(is_new)
}

/// Whether an entry says what is wanted; selectors have no order.
fn is_same(entry: &Entry, wanted: &Entry) -> bool {
    let sorted = |entry: &Entry| {
        let mut selectors = entry.selectors.clone();
        selectors.sort();
        selectors
    };
    sorted(entry) == sorted(wanted)
        && (&entry.parent_agent, &entry.path, &entry.svid_ttl) == (&wanted.parent_agent, &wanted.path, &wanted.svid_ttl)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;

    use super::*;

    #[test]
    fn two_copies_differ_and_still_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let original = Path::new("/bin/true").canonicalize().expect("a program");
        let copies: Vec<_> = WORKLOADS
            .iter()
            .map(|name| {
                let copy = folder.path().join(name);
                let hash = copy_with_name(&original, &copy, name).expect("copies");
                assert_eq!(hash, copy_with_name(&original, &copy, name).expect("copies again"));
                (copy, hash)
            })
            .collect();
        let mut hashes: Vec<_> = copies.iter().map(|(_, hash)| *hash).collect();
        hashes.push(sha256_of(&original).expect("reads"));
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 3);
        assert!(copies.iter().all(|(copy, _)| runs(copy)));
    }

    fn runs(program: &Path) -> bool {
        loop {
            let mut command = std::process::Command::new(program);
            command.arg0("true"); // some systems' `true` asks for its name
            match command.status() {
                // Another test has just forked and holds our file for a moment (execve(2): ETXTBSY).
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                status => return status.expect("starts").success(),
            }
        }
    }

    #[test]
    fn an_entry_is_the_same_in_any_order_of_selectors() {
        let wanted = Entry { selectors: vec!["b".to_owned(), "a".to_owned()], ..Entry::default() };
        let held = Entry { selectors: vec!["a".to_owned(), "b".to_owned()], etag: "r1".to_owned(), ..wanted.clone() };
        assert!(is_same(&held, &wanted));
        assert!(!is_same(&Entry { selectors: vec!["a".to_owned()], ..held.clone() }, &wanted));
        assert!(!is_same(&Entry { path: "/ns/default/x".to_owned(), ..held }, &wanted));
    }
}

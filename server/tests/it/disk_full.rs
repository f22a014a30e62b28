//! A node on a disk that fills up, and on one that is read-only: what is refused, what goes on, and that it comes back by
//! itself. On small file systems of their own, where they can be mounted.
#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{Cluster, until};
use chancery_client::Client;
use proto::kms::v1 as kms;
use server::config::SealKind;
use types::Reason;

const PATIENCE: Duration = Duration::from_secs(60);
const MIB: u64 = 1_024 * 1_024;

/// A file system of its own, gone when it is dropped.
struct SmallDisk {
    mount: tempfile::TempDir,
}

impl SmallDisk {
    fn new(mib: u64) -> Option<Self> {
        let mount = tempfile::tempdir().expect("a folder");
        let size = format!("size={mib}m");
        let mounted = mount_command(&["-t", "tmpfs", "-o", &size, "tmpfs"], mount.path());
        if !mounted {
            eprintln!("SKIPPED: a tmpfs cannot be mounted here; run as root");
            return None;
        }
        Some(Self { mount })
    }

    fn path(&self) -> &Path {
        self.mount.path()
    }

    /// Leaves so much free space, to within some pages.
    fn fill_up_to(&self, left: u64) {
        let stat = rustix::fs::statvfs(self.path()).expect("looks");
        let free = stat.f_bavail * stat.f_frsize;
        let mut filler = File::options().create(true).append(true).open(self.path().join("filler")).expect("opens");
        // The last write may find less room than was counted.
        let _ = filler.write_all(&vec![1; usize::try_from(free.saturating_sub(left)).expect("fits")]);
    }

    fn make_room(&self) {
        std::fs::remove_file(self.path().join("filler")).expect("removes");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn mount_command(arguments: &[&str], at: &Path) -> bool {
    let mounted = Command::new("mount").args(arguments).arg(at).stderr(Stdio::null()).status();
    mounted.is_ok_and(|status| status.success())
}

async fn create(client: &Client, key: &str) -> Result<(), Option<Reason>> {
    let create =
        kms::CreateKeyRequest { parent: "namespaces/default".into(), key_id: key.into(), ..Default::default() };
    client.keys().create(create).await.map(drop).map_err(|error| error.reason())
}

async fn encrypt(client: &Client, key: &str) -> Result<(), Option<Reason>> {
    let request = kms::EncryptRequest {
        name: format!("namespaces/default/keys/{key}"),
        plaintext: b"a line of a book".to_vec(),
        ..Default::default()
    };
    client.crypto().encrypt(request).await.map(drop).map_err(|error| error.reason())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_disk_refuses_changes_and_goes_on_with_the_rest_while_the_reserve_lasts() {
    let Some(disk) = SmallDisk::new(320) else { return };
    let folder = tempfile::tempdir_in(disk.path()).expect("a folder");
    let mut cluster = Cluster::form_under(folder, 1, SealKind::File).await;
    let client = cluster.hasty_client().await;
    for key in ["orders", "stolen"] {
        create(&client, key).await.expect("creates");
    }

    disk.fill_up_to(40 * MIB);
    until("changes to be refused", PATIENCE, || async { create(&client, "more").await == Err(Some(Reason::DiskFull)) })
        .await;
    encrypt(&client, "orders").await.expect("cryptography goes on");
    let disable = kms::DisableKeyRequest { name: "namespaces/default/keys/stolen".into(), ..Default::default() };
    client.keys().disable(disable).await.expect("a right is taken away, room or not");
    assert_eq!(encrypt(&client, "stolen").await, Err(Some(Reason::KeyDisabled)));

    // Nothing is left: records live from the reserve, and when that is spent the node gives up its lease.
    disk.fill_up_to(0);
    let mut answered = 0;
    let refused = loop {
        match encrypt(&client, "orders").await {
            Ok(()) => answered += 1,
            Err(reason) => break reason,
        }
        assert!(answered < 100_000, "the reserve has an end");
        if answered % 500 == 0 {
            // What the search index and others give back meanwhile is not for the records.
            disk.fill_up_to(0);
        }
    };
    assert!(answered > 100, "{answered} were answered from the reserve");
    assert!(matches!(refused, Some(Reason::AuditUnavailable | Reason::LeaseExpired)), "{refused:?}");
    // What it says without a lease would have to be recorded too, so it is asked elsewhere.
    until("the lease to be given up", PATIENCE, || async {
        cluster.metrics(0).await.contains("chancery_node_lease 0")
    })
    .await;

    disk.make_room();
    until("cryptography to go on", PATIENCE, || async { encrypt(&client, "orders").await.is_ok() }).await;
    until("changes to be taken", PATIENCE, || async { create(&client, "after").await.is_ok() }).await;
    cluster.stop(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_read_only_folder_is_said_to_be_one() {
    let Some(disk) = SmallDisk::new(320) else { return };
    let folder = tempfile::tempdir_in(disk.path()).expect("a folder");
    let mut cluster = Cluster::form_under(folder, 1, SealKind::File).await;
    cluster.stop(0).await;
    // Refused while any process has a file open for writing: also one that another test starts, until it has become that.
    until("the disk to be read-only", PATIENCE, || async { mount_command(&["-o", "remount,ro"], disk.path()) }).await;
    let error = cluster.start_and_fail(0).await;
    assert!(error.contains("read-only file system") && error.contains("mount it read-write"), "{error}");
    assert!(mount_command(&["-o", "remount,rw"], disk.path()), "remounts");
    cluster.start(0).await;
    cluster.caught_up(0).await;
    cluster.stop(0).await;
}

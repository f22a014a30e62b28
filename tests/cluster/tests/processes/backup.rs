//! Backups as an admin makes, checks and restores them, with the program alone.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use proto::kms::v1 as kms;

use crate::support::{Cluster, Node, Plan, command, create_key, private, until};

pub(crate) struct Bench {
    pub(crate) cluster: Cluster,
    pub(crate) identity: PathBuf,
    pub(crate) backup: PathBuf,
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

pub(crate) fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("json")
}

impl Bench {
    /// A cluster of one node that knows a recipient, with a key, and a backup of it.
    async fn new() -> Self {
        Self::with("").await
    }

    /// The same, and more in the configuration of the node.
    pub(crate) async fn with(settings: &str) -> Self {
        let mut cluster = Cluster::form(Plan::of(1)).await;
        let (identity, backup) = (cluster.scratch().join("identity.txt"), cluster.scratch().join("one.chybackup"));
        let drawn = json(&cluster.cli(&cluster.root, &["backup", "keygen", "--out", text(&identity), "-o", "json"]));
        let recipient = drawn["recipient"].as_str().expect("a recipient").to_owned();
        let config = private(
            cluster.scratch().join("chancery.toml"),
            &format!("backup.recipients = [\"{recipient}\"]\n{settings}"),
        );
        cluster.nodes[0].stop();
        cluster.nodes[0].start(&["--config", text(&config)]);
        let client = cluster.client().await;
        until("the node to serve", async || {
            client
                .keys()
                .list(kms::ListKeysRequest { parent: "namespaces/default".into(), ..Default::default() })
                .await
                .is_ok()
        })
        .await;
        create_key(&client, "orders").await;
        Self { cluster, identity, backup }
    }

    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        self.cluster.cli(&self.cluster.root, arguments)
    }

    fn verify(&self, more: &[&str]) -> Option<i32> {
        self.cli(&[&["backup", "verify", text(&self.backup)], more].concat()).status.code()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_made_checked_and_restored_from_the_command_line() {
    let bench = Bench::new().await;
    let (backup, identity) = (text(&bench.backup), text(&bench.identity));
    let client = bench.cluster.client().await;
    let name = "namespaces/default/keys/orders".to_owned();
    let sealed = client
        .crypto()
        .encrypt(kms::EncryptRequest { name, plaintext: b"attack at dawn".to_vec(), ..Default::default() })
        .await
        .expect("encrypts")
        .ciphertext;
    let made = json(&bench.cli(&["backup", "create", "--out", backup, "-o", "json"]));
    assert_eq!((made["keys"].as_u64(), made["generation"].as_u64()), (Some(1), Some(1)));
    check_exit_codes(&bench);

    let mut heir = Node::new(bench.cluster.scratch(), 9, Plan::of(1));
    let listens = heir.listens();
    let mut restore = vec!["backup", "restore", "--backup", backup, "--age-identity", identity, "-o", "json"];
    restore.extend(["--data-dir", text(heir.dir())].iter().copied().chain(listens.iter().map(String::as_str)));
    let restored = loop_kills(&bench, &restore, heir.dir());
    assert_eq!((restored["generation"].as_u64(), restored["namespaces_quarantined"].as_u64()), (Some(2), Some(1)));
    assert_eq!(bench.cli(&restore).status.code(), Some(5), "it is not written over");

    let Bench { mut cluster, .. } = bench;
    cluster.nodes[0].kill();
    heir.start(&[]);
    let api = heir.api().to_string();
    let released = ["--addr", &api, "namespace", "release", "default"];
    until("the restored node to take the release", async || cluster.cli(&cluster.root, &released).status.success())
        .await;
    let ciphertext = private(cluster.scratch().join("sealed.chy"), "");
    std::fs::write(&ciphertext, sealed).expect("writes");
    let decrypt = ["--addr", &api, "decrypt", "--in", text(&ciphertext)];
    until("the old ciphertext to open", async || {
        let opened = cluster.cli(&cluster.root, &decrypt);
        opened.status.success() && opened.stdout == b"attack at dawn"
    })
    .await;
    heir.stop();
}

/// What a script can tell apart.
fn check_exit_codes(bench: &Bench) {
    let identity = text(&bench.identity);
    assert_eq!(bench.verify(&[]), Some(0));
    assert_eq!(bench.verify(&["--age-identity", identity]), Some(0));
    let stranger = bench.cluster.scratch().join("stranger.txt");
    assert!(bench.cli(&["backup", "keygen", "--out", text(&stranger)]).status.success());
    assert_eq!(bench.verify(&["--age-identity", text(&stranger)]), Some(4));
    assert_eq!(bench.verify(&["--cluster-key", &"07".repeat(32)]), Some(9));
    let whole = std::fs::read(&bench.backup).expect("reads");
    let mut changed = whole.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    std::fs::write(&bench.backup, &changed).expect("writes");
    assert_eq!(bench.verify(&[]), Some(7));
    std::fs::write(&bench.backup, &whole[..whole.len() - 1]).expect("writes");
    assert_eq!(bench.verify(&[]), Some(7));
    std::fs::write(&bench.backup, &whole).expect("writes");
    let listed = json(&bench.cli(&["backup", "list", "--dir", text(bench.cluster.scratch()), "-o", "json"]));
    assert_eq!(listed["backups"].as_array().map(Vec::len), Some(1));
}

/// How many files there are below a folder, which others change meanwhile.
fn files_in(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files_in(&entry.path()) } else { 1 }).sum()
}

/// Kills the restore once it has written one file, two, three, until it is through before: each leaves nothing, or the whole.
fn loop_kills(bench: &Bench, restore: &[&str], data: &Path) -> serde_json::Value {
    let temporary = data.with_file_name(".node-9.restoring");
    for attempt in 0.. {
        let mut child = command()
            .args(restore)
            .args(["--identity", text(&bench.cluster.root.folder())])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        while child.try_wait().expect("is asked").is_none() && files_in(&temporary) < attempt {
            std::thread::yield_now();
        }
        // One that has ended by then cannot be killed any more.
        let _ = child.kill();
        let output = child.wait_with_output().expect("ends");
        if output.status.success() {
            assert!(data.join("node.json").exists());
            return json(&output);
        }
        if data.exists() {
            // It was killed after the last rename: a whole one all the same.
            for name in ["node.json", "members.json", "identity.key", "seal.json", "raft", "raft.witness", "audit"] {
                assert!(data.join(name).exists(), "{name} after kill {attempt}");
            }
            std::fs::remove_dir_all(data).expect("removes");
        }
    }
    unreachable!("one attempt succeeds")
}

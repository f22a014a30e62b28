//! Nodes that do not start, and what they say: settings, ports, folders, seals.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use chancery_client::Address;
use expect_test::{Expect, expect};
use proto::kms::v1::GetKeyRequest;
use types::Reason;

use crate::support::{Cluster, Node, Plan, command, private, refusal, until};

/// Exit code of a command line or configuration that cannot be understood (docs/operate/cli.md).
const USAGE: i32 = 2;

/// What the program printed before it ended, with the paths and ports of this run taken out.
fn said(output: &Output, folder: &Path) -> String {
    let text = String::from_utf8(output.stderr.clone()).expect("text");
    text.replace(folder.to_str().expect("text"), "DIR")
}

#[test]
fn a_typo_in_the_configuration_names_its_line_and_what_was_expected() {
    let folder = tempfile::tempdir().expect("a folder");
    let file =
        private(folder.path().join("chancery.toml"), "data_dir = \"/nowhere\"\n\n[api]\nlisen = \"127.0.0.1:0\"\n");
    let output = command().arg("server").arg("--config").arg(file).output().expect("runs");
    assert_eq!(output.status.code(), Some(USAGE));
    let said = said(&output, folder.path());
    for part in ["`DIR/chancery.toml`", "line 4", "`lisen`", "`listen`", "`advertise`", "deploy/conf"] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn settings_that_do_not_fit_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |flags: &[&str], variable: Option<(&str, &str)>| {
        let output = command().arg("server").args(flags).envs(variable).output().expect("runs");
        assert_eq!(output.status.code(), Some(USAGE), "{flags:?}");
        said(&output, folder.path())
    };
    let data_dir = folder.path().join("data");
    let data_dir = ["--data-dir", data_dir.to_str().expect("text")];
    let text = run(&data_dir, Some(("CHANCERY_API_LISTEN", "here")));
    assert!(text.contains("`CHANCERY_API_LISTEN`"), "{text}");
    let text = run(&data_dir, Some(("CHANCERY_SEAL_TYPE", "wax")));
    assert!(text.contains("`CHANCERY_SEAL_TYPE`") && text.contains("`passphrase`"), "{text}");
    let text = run(&data_dir, Some(("CHANCERY_LOG_LEVEL", "lo ud=!")));
    assert!(text.contains("log filter"), "{text}");
    let text = run(&[], None);
    assert!(text.contains("--data-dir") && text.contains("CHANCERY_DATA_DIR"), "{text}");
    let text = run(&["--config", "/nowhere/chancery.toml"], None);
    assert!(text.contains("`/nowhere/chancery.toml`"), "{text}");
    assert!(!folder.path().join("data").exists(), "nothing was made");
}

#[test]
fn a_port_in_use_is_named_with_the_setting_that_changes_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let held = TcpListener::bind("127.0.0.1:0").expect("binds");
    let taken = held.local_addr().expect("bound").to_string();
    for port in ["api", "peer", "health"] {
        let mut node = command();
        node.arg("server").arg("--data-dir").arg(folder.path().join("data"));
        for other in ["api", "peer", "health"] {
            let address = if other == port { taken.as_str() } else { "127.0.0.1:0" };
            node.arg(format!("--{other}-listen")).arg(address);
        }
        let output = node.env("CHANCERY_LOG_LEVEL", "off").output().expect("runs");
        assert_eq!(output.status.code(), Some(1));
        let expected = format!(
            "error: the {port} port {taken} is in use: stop what listens there, or set `{port}.listen` to another\n"
        );
        assert_eq!(said(&output, folder.path()), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_passphrase_opens_nothing_and_a_sealed_node_says_that_it_is() {
    let plan = Plan { passphrase: Some("correct horse battery staple"), ..Plan::of(1) };
    let mut cluster = Cluster::form(plan).await;
    let client = cluster.client().await;
    cluster.nodes[0].stop();
    let wrong = private(cluster.scratch().join("wrong"), "correct horse battery stable\n");
    cluster.nodes[0].start_sealed(&["--seal-passphrase-file", wrong.to_str().expect("text")]);
    let said = cluster.nodes[0].refuses_to_start();
    assert_eq!(said, "error: the seal does not open: wrong passphrase, or a damaged seal file (UNSEAL_FAILED)");

    cluster.nodes[0].start_sealed(&[]);
    let keys = client.keys();
    let get = || keys.get(GetKeyRequest { name: "namespaces/default/keys/orders".into() });
    until("the sealed node to answer", async || get().await.is_err_and(|error| error.reason() == Some(Reason::Sealed)))
        .await;
    let told = cluster.cli(&cluster.root, &["key", "list"]);
    assert_eq!(told.status.code(), Some(8));
    let text = String::from_utf8(told.stderr).expect("text");
    assert_eq!(text, "error: the node is sealed (SEALED); retrying will not help\n  try: chancery seal unseal\n");
    let short = proto::cluster::v1::UnsealRequest::default();
    assert_eq!(refusal(client.seal().unseal(short).await).0, Reason::InvalidArgument);
}

#[test]
fn an_identity_with_a_passphrase_does_not_open_with_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let [right, wrong] =
        ["right", "wrong"].map(|name| private(folder.path().join(name), &format!("{name} passphrase\n")));
    let key_new = |passphrase: &Path| {
        let mut command = command();
        command.args(["operator", "key", "new", "--identity"]).arg(folder.path().join("identity"));
        command.arg("--passphrase-file").arg(passphrase).output().expect("runs")
    };
    assert!(key_new(&right).status.success());
    assert!(key_new(&right).status.success(), "the key is read again");
    let output = key_new(&wrong);
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(said(&output, folder.path()), "error: the passphrase is wrong, or the key file was changed\n");
}

/// Two clusters of one node each; the first node's folder is then mixed up with the second's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_with_parts_of_another_cluster_is_refused() {
    let (mut one, mut two) = (Cluster::form(Plan::of(1)).await, Cluster::form(Plan::of(1)).await);
    one.nodes[0].stop();
    two.nodes[0].stop();
    let (mine, theirs) = (one.nodes[0].dir().to_owned(), two.nodes[0].dir().to_owned());
    let (my_id, their_id) = (one.id, two.id);

    let mut refused = |said: Expect| {
        one.nodes[0].start(&[]);
        let text = one.nodes[0].refuses_to_start();
        let text = text.replace(&my_id.to_hex(), "MINE").replace(&their_id.to_hex(), "THEIRS");
        said.assert_eq(&without_what_is_missing(&text.replace(mine.to_str().expect("text"), "DIR")));
    };
    swapped(&mine, &theirs, &["seal.json", "seal.key"], || {
        refused(expect!["error: seal.json belongs to cluster THEIRS, this data folder to MINE (ALREADY_INITIALIZED)"])
    });
    // All that is ours is the log, and their root key does not open it.
    swapped(&mine, &theirs, &["seal.json", "seal.key", "node.json"], || {
        refused(expect![
            "error: `DIR/raft.witness` does not open: the record does not open: it was damaged, moved here from elsewhere, or sealed under another key; the data folder belongs to another node or cluster, or the storage key is not the one it was written under (INTERNAL)"
        ])
    });
    swapped(&mine, &theirs, &["raft", "raft.witness"], || {
        refused(expect![
            "error: `DIR/raft.witness` does not open: the record does not open: it was damaged, moved here from elsewhere, or sealed under another key; the data folder belongs to another node or cluster, or the storage key is not the one it was written under (INTERNAL)"
        ])
    });
    // No log at all: a voter that forgot its votes.
    std::fs::rename(mine.join("raft"), mine.join("raft.away")).expect("renames");
    refused(expect![
        "error: the raft log in `DIR/raft/log` is damaged: WHAT IS MISSING; keep the folder for inspection and let this node rejoin under a new id (INTERNAL)"
    ]);
    std::fs::remove_dir_all(mine.join("raft")).ok();
    std::fs::rename(mine.join("raft.away"), mine.join("raft")).expect("renames");

    one.nodes[0].start(&[]);
    let client = one.client().await;
    one.all_vote(&client).await;
}

/// The witness follows the log once a second, so whether the vote or the end of the log is missed first depends on how long
/// the cluster ran.
fn without_what_is_missing(text: &str) -> String {
    let parts = text.split_once(" is damaged: it").and_then(|(head, rest)| Some((head, rest.split_once(';')?.1)));
    parts.map_or_else(|| text.to_owned(), |(head, tail)| format!("{head} is damaged: WHAT IS MISSING;{tail}"))
}

/// Runs `check` while the two folders have exchanged some of their files.
fn swapped(mine: &Path, theirs: &Path, names: &[&str], check: impl FnOnce()) {
    let swap = || {
        for name in names {
            let (mine, theirs, aside) = (mine.join(name), theirs.join(name), mine.join("aside"));
            std::fs::rename(&mine, &aside).expect("renames");
            std::fs::rename(&theirs, &mine).expect("renames");
            std::fs::rename(&aside, &theirs).expect("renames");
        }
    };
    swap();
    check();
    swap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_in_use_or_open_to_others_is_refused() {
    let mut cluster = Cluster::form(Plan::of(1)).await;
    let folder = cluster.nodes[0].dir().to_owned();
    let second = || {
        let mut node = command();
        node.arg("server").arg("--data-dir").arg(&folder).env("CHANCERY_LOG_LEVEL", "off");
        node.args(["--api-listen", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"]);
        let output = node.output().expect("runs");
        assert_eq!(output.status.code(), Some(1));
        said(&output, &folder)
    };
    assert_eq!(second(), "error: the data folder `DIR` is in use by another process\n");
    cluster.nodes[0].stop();
    let chmod = |name: &str, mode| {
        std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(mode)).expect("chmod");
    };
    chmod("identity.key", 0o644);
    let loose = "has mode 0644, so others could read or change it: run chmod 0600 on it";
    assert_eq!(second(), format!("error: `DIR/identity.key` {loose}\n"));
    chmod("identity.key", 0o600);
    chmod("", 0o755);
    let loose = "has mode 0755, so others could read or change it: run chmod 0700 on it";
    assert_eq!(second(), format!("error: `DIR` {loose}\n"));
}

/// A node that was never told of a cluster says what to do next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_cluster_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut node = Node::new(folder.path(), 1, Plan::of(1));
    node.start(&[]);
    let address: Address = node.api();
    let operator = crate::support::Operator::new(&folder.path().join("operator"), "operators/root");
    let config = chancery_client::Config {
        endpoints: vec![address],
        identity: operator.identity(),
        cluster_key_hash: types::SpkiHash([7; 32]),
        trust_cache: None,
        deadline: std::time::Duration::from_secs(5),
    };
    until("the node to say that it has no cluster", async || {
        let outcome = chancery_client::Client::connect(config.clone()).await;
        outcome.is_err_and(|error| error.reason() == Some(Reason::NotInitialized))
    })
    .await;
    node.stop();
}

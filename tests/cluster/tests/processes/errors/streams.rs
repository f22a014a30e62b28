//! Files through the command line: what does not verify to its last byte is not written at all.

use std::path::Path;

use expect_test::expect;

use crate::support::{Cluster, Plan, create_key, private};

/// Exit code of data that does not verify (docs/operate/cli.md).
const UNVERIFIED: i32 = 7;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_leaves_nothing_behind() {
    let cluster = Cluster::form(Plan::of(1)).await;
    create_key(&cluster.client().await, "orders").await;
    let folder = cluster.scratch().join("files");
    chancery_client::private_file::create_folder(&folder).expect("a folder");
    let clear = "all of it or nothing\n".repeat(10_000);
    private(folder.join("clear"), &clear);
    let [in_clear, in_sealed, in_opened] =
        ["clear", "sealed", "opened"].map(|name| folder.join(name).to_str().expect("text").to_owned());
    let context = ["--context", "tenant=acme"];
    let encrypt = [&["encrypt", "orders", "--in", &in_clear, "--out", &in_sealed], &context[..]].concat();
    let done = cluster.cli(&cluster.root, &encrypt);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let sealed = std::fs::read(folder.join("sealed")).expect("reads");

    let segment = 65_536 + 16;
    // At the border of a segment, in the middle of one, without the last byte, after the header, in it, and nothing.
    for kept in [232 + segment, 232 + 2 * segment, 100_000, sealed.len() - 1, 232, 90, 0] {
        std::fs::write(folder.join("damaged"), &sealed[..kept]).expect("writes");
        refused(&cluster, &folder, &context, &format!("cut after {kept}"));
    }
    for at in [0, 6, 60, 95, 300, sealed.len() - 1] {
        let mut damaged = sealed.clone();
        damaged[at] ^= 1;
        std::fs::write(folder.join("damaged"), damaged).expect("writes");
        refused(&cluster, &folder, &context, &format!("byte {at} changed"));
    }
    std::fs::write(folder.join("damaged"), [&sealed[..], b"x"].concat()).expect("writes");
    refused(&cluster, &folder, &context, "one byte more");
    std::fs::write(folder.join("damaged"), &sealed).expect("writes");
    let said = refused(&cluster, &folder, &["--context", "tenant=evil"], "another context");
    expect![[r#"
        error: ciphertext or context does not verify (INVALID_CIPHERTEXT); nothing was written
          try: the `--namespace` of its key, and the same `--context` that was given to encrypt
    "#]]
    .assert_eq(&said);

    let decrypt = [&["decrypt", "--in", &in_sealed, "--out", &in_opened], &context[..]].concat();
    assert!(cluster.cli(&cluster.root, &decrypt).status.success());
    assert_eq!(std::fs::read(folder.join("opened")).expect("reads"), clear.as_bytes());
}

/// `decrypt` of the file `damaged`, to a file and to standard output: neither gets a byte.
#[track_caller]
fn refused(cluster: &Cluster, folder: &Path, context: &[&str], case: &str) -> String {
    let (damaged, out) = (folder.join("damaged"), folder.join("out"));
    let (damaged, out) = (damaged.to_str().expect("text"), out.to_str().expect("text"));
    let before = listing(folder);
    let to_file = cluster.cli(&cluster.root, &[&["decrypt", "--in", damaged, "--out", out], context].concat());
    let said = String::from_utf8(to_file.stderr).expect("text");
    assert_eq!(to_file.status.code(), Some(UNVERIFIED), "{case}: {said}");
    assert!(said.contains("nothing was written"), "{case}: {said}");
    assert_eq!(listing(folder), before, "{case}");
    let to_stdout = cluster.cli(&cluster.root, &[&["decrypt", "--in", damaged], context].concat());
    assert_eq!(to_stdout.status.code(), Some(UNVERIFIED), "{case}");
    assert!(to_stdout.stdout.is_empty(), "{case}: {} bytes on stdout", to_stdout.stdout.len());
    said
}

fn listing(folder: &Path) -> Vec<std::ffi::OsString> {
    let entries = std::fs::read_dir(folder).expect("lists");
    let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
    names.sort();
    names
}

//! The audit log of real nodes: one record a request, heads anchored by Raft, an index that may be lost, edits that are
//! found.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use audit::{Hash, Head, LogName, Report, verify_log};
use chancery_client::Client;
use proto::audit::v1 as wire;
use proto::kms::v1 as kms;
use types::Reason;

use crate::support::{Cluster, Plan, create_key, files_under, refusal, until};

/// Records that one summary of the search index stands for (docs/spec/audit.md §5).
const SUMMARISED: u64 = 256;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_of_a_cluster_leaves_one_record_whichever_node_takes_it() {
    let cluster = Cluster::form(Plan::of(3)).await;
    let root = cluster.client_of(0).await;
    create_key(&root, "orders").await;
    let worker = cluster.enrol("worker", None).await;
    cluster.grant(&worker, "key-user", "namespaces/default").await;
    cluster.grant(&worker, "key-admin", "namespaces/default").await;
    let rounds = 4;
    for node in 0..3 {
        let client = cluster.client_to(&worker, &[node]).await;
        for _ in 0..rounds {
            work(&client).await;
        }
    }
    // A change's record is made with it, and is in each node's file a moment later.
    until("the records of the changes", async || {
        let found = search(&root, "operators/worker").await;
        found.iter().filter(|record| record.log == "cluster").count() >= 3 * rounds
    })
    .await;
    let mut tally = Tally::default();
    for node in 0..3 {
        let client = cluster.client_of(node).await;
        let own = format!("node-{}", node + 1);
        tally.add(search(&client, "operators/worker").await, node == 0);
        until("the node's head to be anchored", async || {
            let heads = client.audit().heads(wire::GetHeadsRequest {}).await.expect("heads");
            size(&heads.anchored, &own) >= tally.newest
        })
        .await;
        for log in ["cluster", own.as_str()] {
            let report = verified(&client, log).await;
            assert!(report.is_sound(), "{log} of node {}: {report:?}", node + 1);
            assert!(report.head.size > 0, "{log} is empty");
        }
    }
    let checked = cluster.cli(&cluster.root, &["audit", "verify"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    // Three requests in each round are done, two are denied and two fail; two of the seven are changes, and of these
    // the one that was decided against stands in the leader's own log.
    let requests = 3 * rounds;
    assert_eq!(tally.outcomes, [3 * requests, 2 * requests, 2 * requests], "allow, deny, fail: {tally:?}");
    assert_eq!(tally.places.len(), 7 * requests, "no record is told twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_index_that_was_deleted_or_damaged_loses_nothing() {
    let mut cluster = Cluster::form(Plan::of(1)).await;
    let client = cluster.client().await;
    let key = create_key(&client, "orders").await;
    let worker = cluster.enrol("worker", None).await;
    cluster.grant(&worker, "key-user", "namespaces/default").await;
    let busy = cluster.client_to(&worker, &[0]).await;
    let needle = cluster.enrol("needle", None).await;
    let rare = cluster.client_to(&needle, &[0]).await;
    rare.keys().get(kms::GetKeyRequest { name: key.clone() }).await.expect_err("may not");
    let encrypt = kms::EncryptRequest { name: key.clone(), plaintext: b"x".to_vec(), ..Default::default() };
    for _ in 0..2 * SUMMARISED {
        busy.crypto().encrypt(encrypt.clone()).await.expect("encrypts");
    }
    rare.keys().get(kms::GetKeyRequest { name: key.clone() }).await.expect_err("may not");
    let expected = search(&client, "operators/needle").await;
    assert_eq!(expected.len(), 2);
    let all = search(&client, "operators/worker").await;
    assert_eq!(all.len() as u64, 2 * SUMMARISED);

    let audit = cluster.nodes[0].dir().join("audit");
    let ways: [fn(&Path); 3] = [
        |index| std::fs::remove_dir_all(index).expect("deletes"),
        |index| overwrite(index, |bytes| bytes.fill(0xa5)),
        |index| overwrite(index, |bytes| bytes.iter_mut().step_by(97).for_each(|byte| *byte ^= 0x10)),
    ];
    for (way, damage) in ways.into_iter().enumerate() {
        until("the index to be there", async || index(&audit).is_some()).await;
        cluster.nodes[0].stop();
        damage(&index(&audit).expect("an index"));
        cluster.nodes[0].start(&[]);
        cluster.all_vote(&client).await;
        assert_eq!(search(&client, "operators/needle").await, expected, "way {way}");
        assert_eq!(search(&client, "operators/worker").await, all, "way {way}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_record_is_found_by_reading_by_verifying_and_at_the_next_start() {
    for log in ["cluster", "node-1"] {
        let mut cluster = Cluster::form(Plan::of(1)).await;
        let client = cluster.client().await;
        let key = create_key(&client, "orders").await;
        for _ in 0..3 {
            client.keys().get(kms::GetKeyRequest { name: key.clone() }).await.expect("is there");
            client
                .keys()
                .rotate(kms::RotateKeyRequest { name: key.clone(), ..Default::default() })
                .await
                .expect("rotates");
        }
        let audit = cluster.nodes[0].dir().join("audit");
        let files = files_under(&audit.join(log));
        let [file] = files.as_slice() else { panic!("one file, not {files:?}") };
        let mut bytes = std::fs::read(file).expect("reads");
        // The text of an early record, not a length or a checksum: what somebody with something to hide would change.
        let (from, to) = (b"operators/root", b"operators/r00t");
        let at = bytes.windows(from.len()).position(|window| window == from).expect("root did something");
        bytes[at..at + to.len()].copy_from_slice(to);
        std::fs::write(file, bytes).expect("writes");

        let request = wire::ListRecordsRequest { log: log.into(), page_size: 1_000, ..Default::default() };
        let (reason, text) = refusal(client.audit().list(request).await);
        assert_eq!(reason, Reason::Internal);
        assert!(
            text.contains(&format!("audit log `{log}` is damaged at record ")) && text.contains("does not verify"),
            "{text}"
        );
        let checked = cluster.cli(&cluster.root, &["audit", "verify"]);
        assert!(!checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));

        cluster.nodes[0].stop();
        cluster.nodes[0].start(&[]);
        let said = cluster.nodes[0].refuses_to_start();
        assert!(
            said.contains(&format!("audit log `{log}` is damaged at record ")) && said.contains("does not verify"),
            "{said}"
        );
    }
}

/// Seven requests: three are done (one changes something), two are denied (one would change something), two fail.
async fn work(client: &Client) {
    let (key, other) = ("namespaces/default/keys/orders", "namespaces/default/keys/other");
    let encrypt =
        |name: &str, plaintext: Vec<u8>| kms::EncryptRequest { name: name.into(), plaintext, ..Default::default() };
    let ciphertext = client.crypto().encrypt(encrypt(key, b"x".to_vec())).await.expect("encrypts").ciphertext;
    let rotate = kms::RotateKeyRequest { name: key.into(), ..Default::default() };
    client.keys().rotate(rotate).await.expect("rotates");
    client.keys().get(kms::GetKeyRequest { name: key.into() }).await.expect("is there");

    client.keys().get(kms::GetKeyRequest { name: other.into() }).await.expect_err("is not there");
    let elsewhere =
        kms::CreateKeyRequest { parent: "namespaces/elsewhere".into(), key_id: "mine".into(), ..Default::default() };
    client.keys().create(elsewhere).await.expect_err("may not");

    client.crypto().encrypt(encrypt(key, vec![0; 64 * 1_024 + 1])).await.expect_err("is too long");
    let mut ciphertext = ciphertext;
    *ciphertext.last_mut().expect("not empty") ^= 1;
    let decrypt = kms::DecryptRequest { parent: "namespaces/default".into(), ciphertext, ..Default::default() };
    client.crypto().decrypt(decrypt).await.expect_err("does not verify");
}

/// What was found, without telling a record of the cluster's log once for each node that holds it.
#[derive(Debug, Default)]
struct Tally {
    outcomes: [usize; 3],
    places: BTreeSet<(String, u64)>,
    /// The number of the newest record of the node that was asked last.
    newest: u64,
}

impl Tally {
    fn add(&mut self, records: Vec<wire::Record>, with_cluster: bool) {
        self.newest = 0;
        for record in records {
            if record.log != "cluster" {
                self.newest = self.newest.max(record.index + 1);
            } else if !with_cluster {
                continue;
            }
            let outcomes = ["allow", "deny", "fail"];
            let outcome = outcomes.iter().position(|outcome| **outcome == record.outcome).expect("an outcome");
            self.outcomes[outcome] += 1;
            assert!(self.places.insert((record.log.clone(), record.index)), "{record:?} was told twice");
        }
    }
}

/// Every record of a principal, as the node finds them.
async fn search(client: &Client, principal: &str) -> Vec<wire::Record> {
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let request =
            wire::SearchRequest { principal: principal.into(), page_size: 200, page_token, ..Default::default() };
        let page = client.audit().search(request).await.expect("searches");
        found.extend(page.records);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}

/// Reads a whole log and verifies it against every head that the node tells.
async fn verified(client: &Client, log: &str) -> Report {
    let heads = client.audit().heads(wire::GetHeadsRequest {}).await.expect("heads");
    let heads: Vec<Head> = heads.held.iter().chain(&heads.anchored).map(head).collect();
    let mut leaves = Vec::new();
    loop {
        let start_index = leaves.len() as u64;
        let request = wire::ListRecordsRequest { log: log.into(), start_index, page_size: 1_000 };
        let page = client.audit().list(request).await.expect("lists");
        if page.records.is_empty() {
            break;
        }
        leaves.extend(page.records.into_iter().map(|record| record.leaf));
        if leaves.len() as u64 >= page.log_size {
            break;
        }
    }
    verify_log(LogName::parse(log).expect("a log"), &leaves, &heads)
}

fn head(head: &wire::Head) -> Head {
    let log = LogName::parse(&head.log).expect("a log");
    Head { log, size: head.size, root: Hash(head.root.as_slice().try_into().expect("32 bytes")) }
}

fn size(heads: &[wire::Head], log: &str) -> u64 {
    heads.iter().filter(|head| head.log == log).map(|head| head.size).max().unwrap_or(0)
}

/// The folder of the search index, once sled has written something there.
fn index(audit: &Path) -> Option<PathBuf> {
    let folders = std::fs::read_dir(audit).expect("lists").map(|entry| entry.expect("an entry").path());
    let mut found =
        folders.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("index-")));
    found.next().filter(|index| !files_under(index).is_empty())
}

fn overwrite(index: &Path, change: impl Fn(&mut [u8])) {
    for file in files_under(index) {
        let mut bytes = std::fs::read(&file).expect("reads");
        change(&mut bytes);
        std::fs::write(&file, bytes).expect("writes");
    }
}

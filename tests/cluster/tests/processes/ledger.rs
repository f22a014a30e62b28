//! A cluster that is lost after something was destroyed, and comes back: with the ledger that stays destroyed and all namespaces are
//! open at once, without one everything is in quarantine.

use std::path::{Path, PathBuf};

use proto::cluster::v1 as wire;
use proto::kms::v1 as kms;

use crate::backup::{Bench, json, text};
use crate::support::{Node, Plan, create_key, until};

const SOME: &[u8] = b"attack at dawn";

async fn encrypt(bench: &Bench, name: &str) -> Vec<u8> {
    let client = bench.cluster.client().await;
    let request = kms::EncryptRequest { name: name.into(), plaintext: SOME.to_vec(), ..Default::default() };
    client.crypto().encrypt(request).await.expect("encrypts").ciphertext
}

fn restore(bench: &Bench, number: usize, ledger: Option<&Path>) -> (Node, std::process::Output) {
    let heir = Node::new(bench.cluster.scratch(), number, Plan::of(1));
    let (listens, identity) = (heir.listens(), text(&bench.identity));
    let mut order =
        vec!["backup", "restore", "--backup", text(&bench.backup), "--age-identity", identity, "-o", "json"];
    order.extend(["--data-dir", text(heir.dir())]);
    order.extend(listens.iter().map(String::as_str));
    if let Some(ledger) = ledger {
        order.extend(["--ledger", text(ledger)]);
    }
    let output = bench.cli(&order);
    (heir, output)
}

/// A ledger of which a line was changed, one that begins with another key, and one whose last write was cut off.
fn copies(place: &Path, told: &str) -> [PathBuf; 3] {
    let changed = told.replacen("\"whole\":true", "\"whole\":false", 1);
    let forged = told.replacen("\"spki\":\"30", "\"spki\":\"31", 1);
    let torn = format!("{told}half a line");
    [("changed", changed), ("forged", forged), ("torn", torn)].map(|(name, text)| {
        let path = place.join(format!("{name}.ledger"));
        std::fs::write(&path, text).expect("writes");
        path
    })
}

/// A key is destroyed at once, and an operator revoked.
fn take_away(bench: &Bench) {
    for command in [
        &["namespace", "update", "default", "--waiting-period-floor", "0s"][..],
        &["key", "update", "orders", "--waiting-period", "0s"],
        &["key", "disable", "orders"],
        &["key", "destroy", "orders"],
        &["operator", "revoke", "carol"],
    ] {
        let done = bench.cli(command);
        assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
        assert!(!String::from_utf8_lossy(&done.stderr).contains("keeps no ledger"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_destroyed_after_the_backup_stays_destroyed_and_the_rest_is_open_at_once() {
    let place = tempfile::tempdir().expect("a folder");
    let ledger = place.path().join("chancery.ledger");
    let mut bench = Bench::with(&format!("ledger.file = \"{}\"\n", text(&ledger))).await;
    let client = bench.cluster.client().await;
    let (gone, kept) = ("namespaces/default/keys/orders".to_owned(), create_key(&client, "kept").await);
    let (gone_sealed, kept_sealed) = (encrypt(&bench, &gone).await, encrypt(&bench, &kept).await);
    let carol = bench.cluster.enrol("carol", None).await;
    bench.cluster.grant(&carol, "key-user", "namespaces/default").await;
    until("the ledger to begin", async || ledger.exists()).await;
    let old = place.path().join("old.ledger");
    std::fs::copy(&ledger, &old).expect("copies");
    let made = json(&bench.cli(&["backup", "create", "--out", text(&bench.backup), "-o", "json"]));
    assert_eq!(made["generation"].as_u64(), Some(1));

    // After the backup.
    take_away(&bench);
    let told = std::fs::read_to_string(&ledger).expect("reads");
    assert!(told.contains("\"destroyed\"") && told.contains("\"operator_revoked\""), "{told}");
    let verify =
        |path: &Path, more: &[&str]| bench.cli(&[&["ledger", "verify", text(path)], more].concat()).status.code();
    assert_eq!(verify(&ledger, &[]), Some(0));
    assert_eq!(verify(&ledger, &["--cluster-key", &"07".repeat(32)]), Some(9));
    let [changed, forged, torn] = copies(place.path(), &told);
    assert_eq!(verify(&changed, &[]), Some(7));

    // The cluster is lost.
    bench.cluster.nodes[0].kill();
    std::fs::remove_dir_all(bench.cluster.nodes[0].dir()).expect("removes");

    let (heir, refused) = restore(&bench, 5, Some(&forged));
    assert_eq!(refused.status.code(), Some(9), "{}", String::from_utf8_lossy(&refused.stderr));
    assert!(!heir.dir().exists(), "nothing half done");
    for (number, ledger, reason) in
        [(6, None, "without a ledger"), (7, Some(&old), "older than the backup"), (8, Some(&changed), "damaged")]
    {
        let restored = json(&restore(&bench, number, ledger.map(|path| path.as_path())).1);
        assert_eq!(restored["namespaces_quarantined"].as_u64(), Some(1), "{reason}");
        assert!(restored["quarantine_reason"].as_str().is_some_and(|text| text.contains(reason)), "{restored}");
    }
    let (mut heir, restored) = restore(&bench, 9, Some(&torn));
    let restored = json(&restored);
    assert_eq!(restored["namespaces_quarantined"].as_u64(), Some(0), "{restored}");
    assert!(restored["kept_back_by_ledger"].as_u64().is_some_and(|kept| kept >= 3), "{restored}");

    heir.start(&[]);
    bench.cluster.nodes = vec![heir];
    let client = bench.cluster.client().await;
    let decrypt = async |ciphertext: &[u8]| {
        let (parent, ciphertext) = ("namespaces/default".into(), ciphertext.to_vec());
        client.crypto().decrypt(kms::DecryptRequest { parent, ciphertext, ..Default::default() }).await
    };
    until("what was kept to open, with nobody's release", async || {
        decrypt(&kept_sealed).await.is_ok_and(|answer| answer.plaintext == SOME)
    })
    .await;
    let refused = decrypt(&gone_sealed).await.expect_err("it stays destroyed");
    assert_eq!(refused.reason(), Some(types::Reason::KeyDestroyed), "{refused}");
    let operators = client.operators().list(wire::ListOperatorsRequest::default()).await.expect("lists").operators;
    let carol = operators.iter().find(|operator| operator.name == "operators/carol").expect("is known");
    assert!(carol.revoked, "{carol:?}");
    bench.cluster.nodes[0].stop();
}

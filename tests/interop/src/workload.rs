//! Workloads written with other people's libraries: each fetches its SVID at a socket and sees a rotation pushed.

use std::process::Stdio;
use std::time::Duration;

use spiffe::{TrustDomain, X509Source, X509Svid};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

use crate::in_process::eventually;

/// A pushed rotation must come within this time; SVIDs of the shortest life renew after half a minute.
const ROTATION: Duration = Duration::from_secs(60);

/// rust-spiffe: `X509Source` holds the identity and follows it.
pub async fn rust_spiffe(endpoint: &str, id: &str, rotate: impl AsyncFnOnce()) {
    let source = source(endpoint).await;
    let first = source.svid().expect("an svid");
    assert_eq!(first.spiffe_id().to_string(), id);
    let mut updates = source.updated();
    rotate().await;
    let rotated = async {
        loop {
            let svid = source.svid().expect("an svid");
            if leaf(&svid) != leaf(&first) {
                return svid;
            }
            updates.changed().await.expect("updates go on");
        }
    };
    let second = tokio::time::timeout(ROTATION, rotated).await.expect("a rotation is pushed");
    assert_eq!(second.spiffe_id(), first.spiffe_id());
    let domain = TrustDomain::new(first.spiffe_id().trust_domain_name()).expect("a name");
    let bundle = source.try_bundle_for_trust_domain(&domain).expect("the bundle of its own trust domain");
    assert!(!bundle.authorities().is_empty());
    source.shutdown().await;
}

/// Connects rust-spiffe; the entry may still be on its way to the agent.
pub async fn source(endpoint: &str) -> X509Source {
    eventually("rust-spiffe has an identity", || async {
        let builder = X509Source::builder().endpoint(endpoint);
        tokio::time::timeout(Duration::from_secs(2), builder.build()).await.ok()?.ok()
    })
    .await
}

/// The leaf certificate, DER.
#[must_use]
pub fn leaf(svid: &X509Svid) -> &[u8] {
    svid.cert_chain().first().expect("a chain has a leaf").as_bytes()
}

/// py-spiffe: `WorkloadApiClient.stream_x509_contexts` in a Python of its own.
pub async fn py_spiffe(endpoint: &str, id: &str, rotate: impl AsyncFnOnce()) {
    let Some(python) = crate::python::interpreter("py-spiffe") else { return };
    let mut child = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/watch_svid.py"))
        .env("SPIFFE_ENDPOINT_SOCKET", endpoint)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("python starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let first = line(&mut lines).await;
    assert!(first.contains(&format!("\"spiffe_id\": \"{id}\"")), "{first}");
    rotate().await;
    loop {
        let next = line(&mut lines).await;
        if serial(&next) != serial(&first) {
            break;
        }
    }
    drop(child.stdin.take());
    assert!(child.wait().await.expect("ends").success());
}

async fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    let next = tokio::time::timeout(ROTATION, lines.next_line()).await.expect("python has news");
    let line = next.expect("reads").expect("python goes on");
    assert!(line.contains("\"key_matches\": true"), "{line}");
    line
}

fn serial(line: &str) -> &str {
    line.split("\"serial\": \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a serial")
}

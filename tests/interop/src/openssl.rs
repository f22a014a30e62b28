//! The OpenSSL command line over the three files that a workload has: `svid.pem`, `key.pem`, `bundle.pem`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use spiffe::{TrustDomain, X509Source};

use crate::workload::leaf;

/// Whether there is an OpenSSL to ask; says so when not.
#[must_use]
pub fn is_there() -> bool {
    let there = Command::new("openssl").arg("version").output().is_ok_and(|output| output.status.success());
    if !there {
        crate::skipped("openssl", "the `openssl` command is not installed");
    }
    there
}

/// Writes what the Workload API sent as PEM. OpenSSL itself converts it, so it reads our DER chain, key and bundle.
pub fn write_files(source: &X509Source, folder: &Path) {
    let svid = source.svid().expect("an svid");
    let domain = TrustDomain::new(svid.spiffe_id().trust_domain_name()).expect("a name");
    let bundle = source.try_bundle_for_trust_domain(&domain).expect("a bundle");
    std::fs::write(folder.join("svid.pem"), openssl(&["x509", "-inform", "DER"], leaf(&svid))).expect("writes");
    let key = openssl(&["pkey", "-inform", "DER"], svid.private_key().as_bytes());
    std::fs::write(folder.join("key.pem"), key).expect("writes");
    let roots = bundle.authorities().iter().map(|root| openssl(&["x509", "-inform", "DER"], root.as_bytes()));
    std::fs::write(folder.join("bundle.pem"), roots.collect::<Vec<_>>().concat()).expect("writes");
}

/// `openssl verify` accepts the chain for both TLS roles, and refuses it under another bundle.
pub fn verify(folder: &Path) {
    for purpose in ["sslclient", "sslserver"] {
        let output = Command::new("openssl")
            .args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile", "bundle.pem", "svid.pem"])
            .current_dir(folder)
            .output()
            .expect("openssl runs");
        assert!(output.status.success(), "{purpose}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let alone = Command::new("openssl")
        .args(["verify", "-no-CAfile", "-no-CApath", "-no-CAstore", "svid.pem"])
        .current_dir(folder)
        .output()
        .expect("openssl runs");
    assert!(!alone.status.success(), "nothing verifies without a bundle");
}

/// `s_server` and `s_client` shake hands, each demanding and checking the other's certificate.
pub fn mutual_tls(folder: &Path) {
    let server = Command::new("openssl")
        .args(["s_server", "-accept", "127.0.0.1:0", "-naccept", "1", "-tls1_3", "-Verify", "2"])
        .args(["-verify_return_error", "-cert", "svid.pem", "-key", "key.pem", "-CAfile", "bundle.pem", "-rev"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .stdin(Stdio::piped())
        .spawn()
        .expect("openssl runs");
    let mut server = Ended(server);
    let mut lines = BufReader::new(server.0.stdout.take().expect("piped")).lines();
    let address = lines
        .find_map(|line| line.expect("text").strip_prefix("ACCEPT ").map(str::to_owned))
        .expect("the server says where it listens");
    let mut client = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-tls1_3", "-verify_return_error", "-verify", "2", "-quiet"])
        .args(["-cert", "svid.pem", "-key", "key.pem", "-CAfile", "bundle.pem"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map(Ended)
        .expect("openssl runs");
    // `-rev` sends each line back reversed: data went both ways under the handshake that both sides checked.
    let mut stdin = client.0.stdin.take().expect("piped");
    stdin.write_all(b"yrecnahc\n").expect("writes");
    let mut answer = String::new();
    BufReader::new(client.0.stdout.take().expect("piped")).read_line(&mut answer).expect("reads");
    assert_eq!(answer.trim(), "chancery", "both sides checked the other and exchanged a line");
}

/// A child that does not outlive its test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl runs");
    child.stdin.take().expect("piped").write_all(input).expect("writes");
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

//! Third-party clients against `chancery dev`: three server processes and an agent, as a user has them.
#![allow(clippy::expect_used, clippy::print_stderr, reason = "a test fails by panicking and says what it did")]

use std::process::Command;

use interop::dev::Dev;
use interop::{aliases, openssl, python, workload, workspace};

/// One cluster for all: starting one takes longer than asking it.
#[tokio::test]
async fn third_party_clients_work_with_a_real_cluster() {
    let Some(dev) = Dev::start("third-party clients against `chancery dev`").await else { return };
    let id = dev.register_own_uid("/ns/default/interop");
    workload::rust_spiffe(&dev.endpoint(), &id, async || ()).await;
    workload::py_spiffe(&dev.endpoint(), &id, async || ()).await;
    let files = tempfile::tempdir().expect("a folder");
    dev.fetch_files(files.path());
    aliases::typed(&dev, files.path());
    if openssl::is_there() {
        openssl::verify(files.path());
        openssl::mutual_tls(files.path());
        openssl::keys(&dev, files.path());
        grpcio_encrypts_and_decrypts(&dev, files.path());
    }
}

/// grpcio needs the node's certificate to chain to the bundle and to name the address: our own clients look at
/// neither.
fn grpcio_encrypts_and_decrypts(dev: &Dev, files: &std::path::Path) {
    let Some(python) = python::interpreter("grpcio") else { return };
    // Whoever holds the enrolled key is the operator; the certificate around it is the caller's own affair.
    let certificate = Command::new("openssl")
        .args(["req", "-x509", "-new", "-subj", "/CN=root", "-days", "1", "-out", "operator.pem", "-key"])
        .arg(dev.admin_key())
        .current_dir(files)
        .output()
        .expect("openssl runs");
    assert!(certificate.status.success(), "{}", String::from_utf8_lossy(&certificate.stderr));
    dev.admin(&["key", "create", "interop"]);
    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/encrypt_file.py"))
        .arg(workspace().join("proto"))
        .args([dev.address(), "bundle.pem", "operator.pem"])
        .arg(dev.admin_key())
        .arg("namespaces/default/keys/interop")
        .arg(workspace().join("README.md"))
        .current_dir(files)
        .output()
        .expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    eprintln!("grpcio: {}", String::from_utf8_lossy(&output.stdout));
}

//! The independent reader, `decode.py`, opens every vector and refuses every tampering. Where Python 3 or its package
//! `cryptography` is missing, the test says so past the output capture of the test harness.
#![expect(clippy::expect_used, reason = "helpers of tests fail as tests do")]

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output},
};

use vectors::folder;

fn decode(vectors: &Path) -> Output {
    let script = folder().join("decode.py");
    Command::new("python3").arg("-B").arg(script).arg(vectors).output().expect("python3 runs")
}

fn available(test: &str) -> bool {
    let probe = Command::new("python3").args(["-c", "import cryptography"]).output();
    let found = probe.is_ok_and(|output| output.status.success());
    if !found {
        let line = format!("\nSKIPPED {test}: needs python3 with `cryptography` (pip install cryptography)\n");
        std::io::stderr().write_all(line.as_bytes()).expect("writes");
    }
    found
}

#[test]
fn the_python_reader_opens_every_vector_and_refuses_every_tampering() {
    if available("the_python_reader_opens_every_vector_and_refuses_every_tampering") {
        let output = decode(&folder().join("vectors.json"));
        let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{said}{error}");
        assert!(said.contains("opened 14 vectors, refused 21 bad ones"), "{said}");
    }
}

/// The reader is able to fail: with one value changed it does.
#[test]
fn the_python_reader_notices_a_wrong_vector() {
    if !available("the_python_reader_notices_a_wrong_vector") {
        return;
    }
    let good = std::fs::read_to_string(folder().join("vectors.json")).expect("reads");
    let set: vectors::Set = serde_json::from_str(&good).expect("parses");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("vectors.json");
    let example = set.vectors.first().expect("a vector");
    let ciphertext = example.ciphertext.as_deref().expect("inline");
    let other = |text: &str| format!("{}{}", &text[..text.len() - 2], if text.ends_with("00") { "01" } else { "00" });
    for value in [&example.prk, &example.info_enc, &example.key, &example.d, ciphertext] {
        std::fs::write(&path, good.replace(value, &other(value))).expect("writes");
        let output = decode(&path);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.starts_with("unary: "), "{value}: {error}");
    }
    // A bad vector that is in truth good: the reader opens it, and says that it should not have.
    let mut turned = set.clone();
    let bad = turned.refused.first_mut().expect("a bad one");
    bad.ciphertext = Some(ciphertext.to_owned());
    (bad.namespace, bad.context, bad.aad) = (example.namespace.clone(), example.context.clone(), example.aad.clone());
    turned.vectors.truncate(1);
    std::fs::write(&path, serde_json::to_vec(&turned).expect("plain data")).expect("writes");
    let output = decode(&path);
    assert!(String::from_utf8_lossy(&output.stderr).contains("not refused"), "{output:?}");
}

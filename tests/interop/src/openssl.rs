//! The OpenSSL command line over the three files that a workload has: `svid.pem`, `key.pem`, `bundle.pem`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use spiffe::{TrustDomain, X509Source};

use crate::dev::Dev;
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

/// What docs/operate/keys.md tells a user to type: keys of ours sign and OpenSSL verifies with their public halves; OpenSSL encrypts
/// to one and ours decrypts.
pub fn keys(dev: &Dev, folder: &Path) {
    let path = |name: &str| folder.join(name).display().to_string();
    let (message, other, signature, pem) = (path("message"), path("other"), path("signature"), path("public.pem"));
    // Longer than one call carries: its digest is signed.
    std::fs::write(&message, vec![7; 100_000]).expect("writes");
    std::fs::write(&other, vec![8; 100_000]).expect("writes");
    let pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"];
    for (algorithm, hash, options) in [
        ("ecdsa-p256-sha-256", "-sha256", &[][..]),
        ("ecdsa-p384-sha-384", "-sha384", &[]),
        ("rsa-pss-2048-sha-256", "-sha256", &pss),
        ("rsa-pss-4096-sha-512", "-sha512", &pss),
        ("rsa-pkcs1-3072-sha-256", "-sha256", &[]),
    ] {
        dev.admin(&["key", "create", algorithm, "--algorithm", algorithm]);
        dev.admin(&["sign", algorithm, "--in", &message, "--out", &signature]);
        dev.admin(&["key", "public-key", algorithm, "--out", &pem]);
        let checks = |file: &str| {
            let arguments = [&["dgst", hash][..], options, &["-verify", &pem, "-signature", &signature, file]].concat();
            Command::new("openssl").args(arguments).output().expect("openssl runs").status.success()
        };
        assert!(checks(&message) && !checks(&other), "{algorithm}");
        let verify = |file: &str| {
            ["verify", algorithm, "--version", "1", "--signature", &signature, "--in", file].map(String::from)
        };
        dev.admin(&verify(&message).each_ref().map(String::as_str));
        assert_eq!(dev.refused(&verify(&other).each_ref().map(String::as_str)), 7, "{algorithm}");
    }
    let short = path("short");
    std::fs::write(&short, b"a message").expect("writes");
    dev.admin(&["key", "create", "ed25519", "--algorithm", "ed25519"]);
    dev.admin(&["sign", "ed25519", "--in", &short, "--out", &signature]);
    dev.admin(&["key", "public-key", "ed25519", "--out", &pem]);
    openssl(&["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", &pem, "-sigfile", &signature, "-in", &short], &[]);

    dev.admin(&["key", "create", "letters", "--algorithm", "rsa-oaep-3072-sha-256"]);
    dev.admin(&["key", "public-key", "letters", "--out", &pem]);
    let padding = ["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256"];
    let encrypt = [&["pkeyutl", "-encrypt", "-pubin", "-inkey", &pem][..], &padding, &["-in", &short]].concat();
    let letter = path("letter");
    std::fs::write(&letter, openssl(&encrypt, &[])).expect("writes");
    assert_eq!(dev.admin(&["decrypt", "--key", "letters", "--version", "1", "--in", &letter]), "a message");

    dev.admin(&["key", "create", "cookies", "--algorithm", "hmac-sha-256"]);
    let mac = dev.admin(&["mac", "generate", "cookies", "--in", &short]);
    dev.admin(&["mac", "verify", "cookies", "--version", "1", "--in", &short, "--mac-base64", mac.trim()]);
    assert_eq!(
        dev.refused(&["mac", "verify", "cookies", "--version", "1", "--in", &other, "--mac-base64", mac.trim()]),
        6
    );
    assert_eq!(
        dev.refused(&["mac", "verify", "cookies", "--version", "1", "--in", &pem, "--mac-base64", mac.trim()]),
        7
    );
    assert_eq!(dev.refused(&["sign", "cookies", "--in", &short]), 5, "it is for MACs");
    assert_eq!(dev.refused(&["sign", "cookies", "--in", &message]), 5, "however long it is");
    assert_eq!(dev.refused(&["sign", "ed25519", "--digest", ""]), 6, "nothing is no digest");
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

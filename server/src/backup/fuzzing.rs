//! Doors for `fuzz/` to backups: what is around them can be made to hold, so that what is inside is reached. Only with `--cfg fuzzing`.

use crypto::recipients::{Identity, Recipient, seal};
use crypto::sign::P256Signer;
use std::io::Write as _;

use super::manifest::Manifest;
use super::{END, MAGIC, SIGNATURE_BYTES_MAX, statement};

/// A manifest, written again.
#[must_use]
pub fn manifest(bytes: &[u8]) -> Option<Vec<u8>> {
    Manifest::parse(bytes).ok().and_then(|manifest| manifest.to_bytes().ok())
}

/// A manifest of a cluster whose key is that one.
#[must_use]
pub fn write_manifest(key: &P256Signer, recipient: &Recipient) -> Vec<u8> {
    let manifest = Manifest {
        cluster_id: "01".repeat(16),
        trust_domain: types::TrustDomain::parse("example.org").expect("a name"),
        generation: 1,
        cluster_spki: super::hex(&key.spki_der()),
        index: 7,
        term: 1,
        state_time_ms: 1,
        created_time_ms: 2,
        node: 1,
        state_version: 1,
        root_epochs: vec![1],
        namespaces: 0,
        keys: 0,
        audit_leaves: 0,
        recipients: vec![recipient.to_string()],
        build: "fuzz".to_owned(),
    };
    manifest.to_bytes().expect("encodes")
}

/// A backup with that manifest and that body, signed by that key.
#[must_use]
pub fn signed(manifest: &[u8], body: &[u8], key: &P256Signer) -> Vec<u8> {
    let front = [&MAGIC[..], &(manifest.len() as u32).to_be_bytes(), manifest].concat();
    let digests = [crypto::hash::sha256(&front), crypto::hash::sha256(body)].concat();
    let hashes = [&digests[..], &(body.len() as u64).to_be_bytes()].concat();
    let mut signature = key.sign(&statement(&hashes));
    let length = signature.len() as u8;
    signature.resize(SIGNATURE_BYTES_MAX, 0);
    [&front[..], body, &hashes, &[length], &signature, &END].concat()
}

/// A backup whose sealed body is a head with these bytes and then `rest`, as it stands.
#[must_use]
pub fn sealed(manifest: &[u8], head: &[u8], rest: &[u8], key: &P256Signer, identity: &Identity) -> Vec<u8> {
    let front = [&MAGIC[..], &(manifest.len() as u32).to_be_bytes(), manifest].concat();
    let head = [&crypto::hash::sha256(&front)[..], head].concat();
    let mut sealing = seal(&[identity.recipient()], Vec::new()).expect("seals");
    for part in [&(head.len() as u32).to_be_bytes()[..], &head, &[0; 4], rest] {
        sealing.write_all(part).expect("seals");
    }
    signed(manifest, &sealing.finish().expect("seals"), key)
}

//! What a node reads from its folder, from operators' files and from callers.

use std::path::PathBuf;
use std::sync::OnceLock;

use ::crypto::recipients::Identity;
use ::server::fuzzing as door;
use ::state::{State, write_snapshot};

use super::{piece, pieces, signer, text};
use crate::engine::Target;

/// A file of the audit log, from the first byte on.
pub(super) const AUDIT_FILE: Target = Target::new("server-audit-file", audit_file, || {
    vec![
        door::write_audit_file(&[]),
        door::write_audit_file(&[b"one", b"two, longer"]),
        door::write_audit_file(&[&b"one"[..]; 6]),
    ]
})
.tokens(&[b"\xc5\xa7", b"\xc5\xa7\x00\x00\x00\x03"]);

/// What is in its header and in the search index, behind a digest that is right.
pub(super) const AUDIT_HEADER: Target = Target::new("server-audit-header", audit_header, || {
    let file = door::write_audit_file(&[]);
    vec![
        file[12..file.len() - 32].to_vec(),
        [&[0; 5][..], &[7; 32]].concat(),
        [&[0, 0, 1, 1, b'a', 1, 3, 0, 0][..], &[7; 32]].concat(),
    ]
});

/// Page tokens, which callers give back.
pub(super) const AUDIT_TOKEN: Target =
    Target::new("server-audit-token", audit_token, || vec![door::write_page_token().into_bytes()])
        .tokens(&[b"_", b"-", b"=", b"A"]);

/// A backup as it lies in a file.
pub(super) const BACKUP: Target = Target::new("server-backup", backup, || {
    let manifest = manifest();
    vec![door::signed(&manifest, b"body", &signer()), manifest]
})
.tokens(&[b"CHYBKUP\x01", b"CHYBEND\x01", b"\"recipients\": [", b"\"cluster_spki\": \"", b"\"index\": "]);

/// What is sealed in it, with seal, signature and manifest as they should be: head, state, records.
pub(super) const BACKUP_BODY: Target = Target::new("server-backup-body", backup_body, || {
    let mut state = Vec::new();
    write_snapshot(&State::new(), &mut |bytes| {
        state.extend_from_slice(bytes);
        Ok(())
    })
    .unwrap();
    let section = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes, &[0; 4]].concat();
    let head = [&[1, 0, 0, 0, 1][..], &[5; 32], &[0]].concat();
    let leaf = [&3_u32.to_be_bytes()[..], b"one"].concat();
    vec![
        [pieces(&[&head]), section(&state), section(&leaf)].concat(),
        [pieces(&[&head]), section(&[]), section(&[])].concat(),
    ]
})
.spare_bytes(8 << 20);

/// `seal.json`, `node.json`, `members.json`.
pub(super) const SEAL: Target = Target::new("server-folder", folder_files, || {
    let node = br#"{"version":1,"cluster":"01010101010101010101010101010101","node":1,"trust_domain":"example.org"}"#;
    let members =
        format!(r#"{{"members":{{"1":{{"address":"127.0.0.1:7444","spki":"{}","voter":true}}}}}}"#, "07".repeat(32));
    let seals = door::write_seal_records(folder()).into_iter().map(|seal| [&[0][..], &seal].concat());
    seals.chain([[&[1][..], node].concat(), [&[2][..], members.as_bytes()].concat()]).collect()
})
.tokens(&[
    b"\"next_slot\":4294967295",
    b"\"epoch\":4294967295",
    b"\"staged\":{",
    b"\"slots\":[",
    b"\"type\":\"file\"",
    b"\"type\":\"shamir\"",
    b"\"threshold\":255",
])
.spare_bytes(4 << 20);

/// A share as its holder types it.
pub(super) const SHARE: Target =
    Target::new("server-share", share, || vec![door::write_share(), b"chs1.".to_vec()]).tokens(&[b"chs1.", b"_", b"="]);

/// Requests of callers on their way to commands.
pub(super) const WIRE: Target = Target::new("server-request", request, || {
    let texts = [
        "namespaces/default",
        "namespaces/a/keys/b",
        "namespaces/a/entries/b",
        "agents/a",
        "operators/root",
        "node-1",
        "cluster",
    ];
    let texts = texts.iter().map(|text| [&[9], text.as_bytes()].concat());
    let times = [&b"\x08\x01\x10\x80\x80\x80\x01"[..], b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f"];
    let requests = (0..9).flat_map(|which| times.map(|time| [&[which][..], time].concat()));
    let nested =
        (0..9).map(|which| [&[which][..], b"\x0a\x08operator\x12\x06\x0a\x01a\x12\x01b\x1a\x02\x08\x01"].concat());
    texts.chain(requests).chain(nested).collect()
})
.tokens(&[
    b"namespaces/",
    b"/keys/",
    b"/entries/",
    b"operators/",
    b"spiffe://example.org/ns/a/b",
    b"key-admin",
    b"cluster",
]);

/// What the state machine told another node's proposer.
pub(super) const REPLY: Target =
    Target::new("server-reply", reply, || vec![vec![0, 0], vec![0, 1, 7], vec![1, 3, 2, b'n', b'o']]);

fn folder() -> &'static std::path::Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(super::scratch)
}

fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(Identity::generate)
}

fn manifest() -> Vec<u8> {
    static MANIFEST: OnceLock<Vec<u8>> = OnceLock::new();
    MANIFEST.get_or_init(|| door::write_manifest(&signer(), &identity().recipient())).clone()
}

fn audit_file(input: &[u8]) {
    if let Some(again) = door::audit_file(input) {
        assert!(input.starts_with(&again), "a second encoding of a header or a frame");
    }
}

fn audit_header(input: &[u8]) {
    if let (whole, Some(again)) = door::audit_header(input) {
        assert_eq!(whole, again, "a second encoding of a header");
    }
    if let Some((once, twice)) = door::summary(input) {
        assert_eq!(once, twice);
    }
}

fn audit_token(input: &[u8]) {
    let _ = text(input).map(door::page_token);
}

fn backup(input: &[u8]) {
    if let Some(again) = door::manifest(input) {
        assert_eq!(door::manifest(&again), Some(again));
    }
    let path = folder().join("backup");
    std::fs::write(&path, input).unwrap();
    let Ok(inspected) = ::server::backup::inspect(&path, &mut |_| {}) else { return };
    assert_eq!(inspected.bytes, input.len() as u64);
    if inspected.check_pinned(::ca::spki_hash(&signer().spki_der())).is_ok() {
        // Whatever the signature, it is by that key: what it is about was signed.
        assert_eq!(inspected.body_sha256, ::crypto::hash::sha256(b"body"), "a body that nobody signed");
    }
}

fn backup_body(input: &[u8]) {
    let (head, rest) = piece(input);
    let path = folder().join("sealed");
    std::fs::write(&path, door::sealed(&manifest(), head, rest, &signer(), identity())).unwrap();
    let verified = ::server::backup::verify(&path, std::slice::from_ref(identity()), None, &mut |_| {});
    assert!(verified.is_err(), "a backup of no cluster verifies");
}

fn folder_files(input: &[u8]) {
    let Some((which, bytes)) = input.split_first() else { return };
    match which % 3 {
        0 => {
            if let Some(again) = door::seal_record(folder(), bytes) {
                assert_eq!(door::seal_record(folder(), &again), Some(again));
            }
        }
        1 => drop(door::is_node_file(folder(), bytes)),
        _ => drop(door::members_of_file(folder(), bytes)),
    }
}

fn share(input: &[u8]) {
    assert!(!text(input).is_some_and(door::is_share), "a share that nobody handed out");
}

fn request(input: &[u8]) {
    if let Some((which, bytes)) = input.split_first() {
        let _ = door::request(*which, bytes);
    }
}

fn reply(input: &[u8]) {
    if let Ok(reply) = door::reply(input) {
        let written = postcard::to_stdvec(&Ok::<_, ::types::Refusal>(reply.clone())).unwrap();
        assert_eq!(door::reply(&written), Ok(reply));
    }
}

//! What is decoded, crate by crate, and what must hold of it. Each target is one line in [`ALL`].
//!
//! A decoder is here when its bytes come from outside of a trust boundary (a caller, a process on the machine, another member, somebody's file) or
//! from a disk. What is only read after a cipher's tag has held is here as well where the format is ours: a bug there is one step away.

#[cfg(fuzzing)]
mod agent;
mod audit;
mod ca;
mod client;
mod crypto;
mod kms;
mod proto;
#[cfg(fuzzing)]
mod raft;
#[cfg(fuzzing)]
mod server;
mod server_config;
mod state;
mod types;

use crate::engine::Target;

/// Every target, in the order in which they run.
pub const ALL: &[Target] = &[
    types::NAMES,
    types::SPIFFE_ID,
    types::PRINCIPAL,
    crypto::AGE_FILE,
    crypto::AGE_TEXT,
    crypto::SEALED_BOX,
    crypto::SHARES,
    crypto::PRIVATE_KEY,
    kms::CIPHERTEXT,
    kms::STREAM,
    kms::ENVELOPE,
    kms::WRAPPED,
    kms::SIGNATURE,
    kms::PAIRS,
    ca::REQUEST,
    ca::CERTIFICATE,
    ca::PEER,
    ca::BUNDLE,
    ca::TEXT,
    audit::LEAF,
    audit::CHECKPOINT,
    audit::PROOF,
    audit::LEDGER,
    state::PROPOSAL,
    state::SNAPSHOT,
    client::TOKEN,
    client::TRUST,
    client::KEY_FILE,
    client::TEXT,
    proto::MESSAGE,
    #[cfg(fuzzing)]
    agent::AUTHORITY,
    #[cfg(fuzzing)]
    agent::CLUSTER,
    #[cfg(fuzzing)]
    raft::PAYLOAD,
    #[cfg(fuzzing)]
    raft::MESSAGE,
    #[cfg(fuzzing)]
    raft::FILES,
    #[cfg(fuzzing)]
    server::AUDIT_FILE,
    #[cfg(fuzzing)]
    server::AUDIT_HEADER,
    #[cfg(fuzzing)]
    server::AUDIT_TOKEN,
    #[cfg(fuzzing)]
    server::BACKUP,
    #[cfg(fuzzing)]
    server::BACKUP_BODY,
    #[cfg(fuzzing)]
    server::SEAL,
    #[cfg(fuzzing)]
    server::SHARE,
    #[cfg(fuzzing)]
    server::WIRE,
    #[cfg(fuzzing)]
    server::REPLY,
    server_config::CONFIG,
];

/// Text, or nothing to do.
fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}

/// The seeds of a target whose inputs are texts.
fn texts(of: &[&str]) -> Vec<Vec<u8>> {
    of.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// A piece of an input, by a length in its first two bytes; what is there when the input is shorter.
fn piece(input: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, rest)) = input.split_first_chunk::<2>() else { return (&[], &[]) };
    rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()))
}

/// Pieces as [`piece`] takes them.
fn pieces(of: &[&[u8]]) -> Vec<u8> {
    of.iter().flat_map(|piece| [&(piece.len() as u16).to_be_bytes(), *piece].concat()).collect()
}

/// Where files lie that are written for each input.
#[cfg(fuzzing)]
fn scratch() -> std::path::PathBuf {
    use std::os::unix::fs::DirBuilderExt as _;
    let folder = crate::engine::scratch(std::process::id());
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(&folder).unwrap();
    folder
}

/// A key that is nobody's and the same in every run, so that committed seeds verify.
fn signer() -> ::crypto::sign::P256Signer {
    ::crypto::sign::P256Signer::from_pkcs8(include_bytes!("nobody.pk8")).expect("the file beside this one is a key")
}

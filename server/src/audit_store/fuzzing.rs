//! Doors for `fuzz/` to the files of the audit log, the index and page tokens. Only with `--cfg fuzzing`.

use audit::{Frontier, LogName};

use super::frame::{self, Header, Tail};
use super::search::{self, Query};
use super::summary::Summary;

/// A file of the audit log: the header and the frames that verify, written again.
#[must_use]
pub fn audit_file(bytes: &[u8]) -> Option<Vec<u8>> {
    let (header, length) = Header::read(bytes)?;
    let (mut again, mut tail, mut writer) = (header.to_bytes(), header.tail.clone(), header.tail);
    let mut rest = bytes.get(length..)?;
    while let Some(frame) = tail.take(rest) {
        writer.push(frame.synced, frame.leaf, &mut again);
        rest = rest.get(frame.len..)?;
    }
    // What a start asks of a tail that does not verify.
    let _ = frame::proves_durable(&tail.chain, rest, tail.frontier.size());
    Some(again)
}

/// The beginning of such a file with that body and the digest that belongs to it, and what it is when written again.
#[must_use]
pub fn audit_header(body: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut bytes = b"CHYAUD01".to_vec();
    bytes.extend_from_slice(&(body.len() as u32).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes.extend_from_slice(&crypto::hash::sha256(&bytes));
    let again = Header::read(&bytes).map(|(header, _)| header.to_bytes());
    (bytes, again)
}

/// A file with these leaves.
#[must_use]
pub fn write_audit_file(leaves: &[&[u8]]) -> Vec<u8> {
    let mut frontier = Frontier::new();
    frontier.push(b"before");
    let mut tail = Tail { chain: [7; 32], frontier };
    let mut out = Header { log: LogName::Cluster, tail: tail.clone() }.to_bytes();
    for (synced, leaf) in (1..).zip(leaves) {
        tail.push(synced, leaf, &mut out);
    }
    out
}

/// A page token by a caller who searches for everything, and whether it is one.
#[must_use]
pub fn page_token(text: &str) -> bool {
    search::is_token(text, &Query::default())
}

/// A token that is one.
#[must_use]
pub fn write_page_token() -> String {
    search::some_token(&Query::default())
}

/// A block's summary in the index, with the digest that belongs to it; written again.
#[must_use]
pub fn summary(body: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let again = |bytes: &[u8]| {
        Summary::from_bytes(b"place", &super::summary::with_digest(b"place", bytes)).map(|read| read.to_bytes(b"place"))
    };
    let once = again(body)?;
    let twice = again(once.get(32..)?)?;
    Some((once, twice))
}

//! How records stand in a file: header, frames and the hash chain over them, docs/spec/audit.md §5. No I/O.

use audit::{Frontier, Hash, LogName, leaf_hash};
use serde::{Deserialize, Serialize};
use types::limits::AUDIT_LEAF_BYTES_MAX;

const MAGIC: &[u8; 8] = b"CHYAUD01";
/// No leaf holds these bytes: it is ASCII.
pub(super) const FRAME_MAGIC: [u8; 2] = [0xc5, 0xa7];
/// Magic, length and synced count before the leaf.
pub(super) const FRAME_HEAD_BYTES: usize = 2 + 4 + 8;
/// The chain hash after the leaf.
pub(super) const CHAIN_BYTES: usize = 32;
/// A header's body is a name, a hash and at most 64 hashes.
const HEADER_BODY_BYTES_MAX: usize = 4_096;
const CHAIN_DOMAIN: &[u8] = b"chancery audit chain v1";

/// Links every frame to all before it.
pub(super) type Chain = [u8; CHAIN_BYTES];

/// Where a log ends: all that is needed to append.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Tail {
    pub(super) chain: Chain,
    pub(super) frontier: Frontier,
}

/// What a file begins with: which log, and the tail of everything before the file.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) log: LogName,
    pub(super) tail: Tail,
}

#[derive(Serialize, Deserialize)]
struct HeaderBody {
    log: String,
    tail: Tail,
}

/// The first bytes of a frame.
pub(super) struct FrameHead {
    pub(super) leaf_bytes: usize,
    pub(super) synced: u64,
}

/// A frame that verifies.
pub(super) struct Frame<'a> {
    pub(super) leaf: &'a [u8],
    pub(super) synced: u64,
    /// What the next frame links to.
    pub(super) chain: Chain,
    /// Bytes from its magic to the end of its chain hash.
    pub(super) len: usize,
}

impl Tail {
    /// Appends the frame of a leaf to `out`.
    pub(super) fn push(&mut self, synced: u64, leaf: &[u8], out: &mut Vec<u8>) {
        let hash = leaf_hash(leaf);
        self.chain = link(&self.chain, synced, hash);
        self.frontier.append(hash);
        out.extend_from_slice(&FRAME_MAGIC);
        // A leaf is shorter than 64 KiB; the writer has refused every other.
        out.extend_from_slice(&u32::try_from(leaf.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(&synced.to_be_bytes());
        out.extend_from_slice(leaf);
        out.extend_from_slice(&self.chain);
    }

    /// Takes the first frame of `bytes`; `None` when it does not verify.
    pub(super) fn take<'a>(&mut self, bytes: &'a [u8]) -> Option<Frame<'a>> {
        let frame = read(&self.chain, bytes)?;
        self.chain = frame.chain;
        self.frontier.push(frame.leaf);
        Some(frame)
    }
}

impl Header {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let body = HeaderBody { log: self.log.to_string(), tail: self.tail.clone() };
        // Strings and hashes into a Vec: postcard has nothing to refuse.
        let body = postcard::to_stdvec(&body).unwrap_or_default();
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(&crypto::hash::sha256(&bytes));
        bytes
    }

    /// The header and its length in bytes; `None` when it does not verify.
    pub(super) fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_be_bytes(*len)).ok().filter(|len| *len <= HEADER_BODY_BYTES_MAX)?;
        let (body, rest) = rest.split_at_checked(len)?;
        let (digest, rest) = rest.split_first_chunk::<32>()?;
        let whole = bytes.len() - rest.len();
        if crypto::hash::sha256(bytes.get(..whole - 32)?) != *digest {
            return None;
        }
        let HeaderBody { log, tail } = postcard::from_bytes(body).ok()?;
        let header = Self { log: LogName::parse(&log)?, tail };
        // Postcard leaves what follows, and takes numbers in more than one form: a header has one.
        (header.to_bytes() == bytes.get(..whole)?).then_some((header, whole))
    }

    /// No header is longer.
    pub(super) const BYTES_MAX: usize = MAGIC.len() + 4 + HEADER_BODY_BYTES_MAX + 32;
}

impl FrameHead {
    pub(super) fn read(bytes: &[u8; FRAME_HEAD_BYTES]) -> Option<Self> {
        let rest = bytes.strip_prefix(&FRAME_MAGIC)?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let leaf_bytes = usize::try_from(u32::from_be_bytes(*len)).ok().filter(|len| *len <= AUDIT_LEAF_BYTES_MAX)?;
        Some(Self { leaf_bytes, synced: u64::from_be_bytes(*rest.first_chunk()?) })
    }
}

/// The next link of the chain.
pub(super) fn link(before: &Chain, synced: u64, leaf: Hash) -> Chain {
    let mut hash = crypto::hash::Sha256::new();
    hash.update(CHAIN_DOMAIN);
    hash.update(before);
    hash.update(&synced.to_be_bytes());
    hash.update(&leaf.0);
    hash.finish()
}

/// The first frame of `bytes`, linked to what stands before it; `None` when it does not verify.
pub(super) fn read<'a>(before: &Chain, bytes: &'a [u8]) -> Option<Frame<'a>> {
    let (head, rest) = bytes.split_first_chunk::<FRAME_HEAD_BYTES>()?;
    let FrameHead { leaf_bytes, synced } = FrameHead::read(head)?;
    let (leaf, rest) = rest.split_at_checked(leaf_bytes)?;
    let chain = *rest.first_chunk::<CHAIN_BYTES>()?;
    let len = FRAME_HEAD_BYTES + leaf_bytes + CHAIN_BYTES;
    (link(before, synced, leaf_hash(leaf)) == chain).then_some(Frame { leaf, synced, chain, len })
}

/// Whether `bytes`, which follow on `before` and do not begin with a good frame, hold one further on that was written
/// when more than `index` records were durable.
///
/// The chain hash before a frame stands right before its magic, so a frame can be verified wherever it is found; only
/// when that very hash is the damaged one is it computed from what it stands for.
pub(super) fn proves_durable(before: &Chain, bytes: &[u8], index: u64) -> bool {
    let proves = |frame: Frame<'_>| frame.synced > index;
    let found = bytes.windows(CHAIN_BYTES + FRAME_MAGIC.len()).enumerate().any(|(at, window)| {
        let Some((before, magic)) = window.split_first_chunk::<CHAIN_BYTES>() else { return false };
        magic == FRAME_MAGIC && bytes.get(at + CHAIN_BYTES..).and_then(|rest| read(before, rest)).is_some_and(proves)
    });
    found || behind_damaged_link(before, bytes).is_some_and(proves)
}

/// The second frame, when of the first nothing but the chain hash is wrong.
fn behind_damaged_link<'a>(before: &Chain, bytes: &'a [u8]) -> Option<Frame<'a>> {
    let (head, rest) = bytes.split_first_chunk::<FRAME_HEAD_BYTES>()?;
    let FrameHead { leaf_bytes, synced } = FrameHead::read(head)?;
    let (leaf, rest) = rest.split_at_checked(leaf_bytes)?;
    read(&link(before, synced, leaf_hash(leaf)), rest.get(CHAIN_BYTES..)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back_and_every_flipped_byte_is_found() {
        let mut tail = Tail::default();
        for leaf in [b"a", b"b", b"c"] {
            tail.push(0, leaf, &mut Vec::new());
        }
        let header = Header { log: LogName::Node(types::NodeId(7)), tail };
        let bytes = header.to_bytes();
        let followed = [&bytes[..], b"frames"].concat();
        assert_eq!(Header::read(&followed), Some((header, bytes.len())));
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            assert_eq!(Header::read(&wrong), None, "byte {at}");
            assert_eq!(Header::read(&bytes[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn a_header_has_one_encoding() {
        let good = Header { log: LogName::Cluster, tail: Tail::default() }.to_bytes();
        let body = &good[MAGIC.len() + 4..good.len() - 32];
        let with_digest = |body: &[u8]| {
            let start = [&MAGIC[..], &u32::try_from(body.len()).expect("short").to_be_bytes(), body].concat();
            Header::read(&[&start[..], &crypto::hash::sha256(&start)].concat())
        };
        assert!(with_digest(body).is_some());
        // Something follows the body; the length of the log's name stands in two bytes instead of one.
        assert_eq!(with_digest(&[body, &[0]].concat()), None);
        assert_eq!(with_digest(&[&[0x87, 0x00], &body[1..]].concat()), None);
    }

    #[test]
    fn frames_read_back_and_every_flipped_byte_is_found() {
        let (mut writer, mut bytes) = (Tail::default(), Vec::new());
        for (synced, leaf) in [(0, "one"), (0, "two"), (2, "three")] {
            writer.push(synced, leaf.as_bytes(), &mut bytes);
        }
        let mut reader = Tail::default();
        let one = reader.take(&bytes).expect("a frame").len;
        for at in 0..one {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0x10;
            assert!(Tail::default().take(&wrong).is_none(), "byte {at}");
            assert!(
                proves_durable(&Chain::default(), &wrong, 1),
                "byte {at}: the third frame says that two were durable"
            );
            assert!(!proves_durable(&Chain::default(), &wrong, 2));
        }
        assert_eq!(reader.take(&bytes[one..]).map(|frame| frame.leaf.to_vec()), Some(b"two".to_vec()));
        assert!(!proves_durable(&Chain::default(), &[], 0));
    }
}

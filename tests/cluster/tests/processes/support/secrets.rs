//! The keys of a node with the passphrase seal, opened as docs/spec/seal.md says, by code that shares nothing with the node's.

use std::path::Path;

use crypto::password::{self, Params};
use crypto::{Secret, SecretBytes, kdf, sealed_box, wrap};

use super::Needles;

/// What the passphrase opens.
pub(crate) struct NodeKeys {
    seal: Secret<32>,
    root: SecretBytes,
    cluster: Vec<u8>,
    epoch: [u8; 4],
}

impl NodeKeys {
    /// Opens the first slot of a `seal.json`, and of it the newest root key.
    pub(crate) fn open(folder: &Path, passphrase: &str) -> Self {
        let seal = std::fs::read(folder.join("seal.json")).expect("reads");
        let seal: serde_json::Value = serde_json::from_slice(&seal).expect("JSON");
        let slot = &seal["slots"][0];
        let newest = slot["roots"].as_array().and_then(|roots| roots.last()).expect("a root key");
        let bytes = |value: &serde_json::Value| hex::decode(value.as_str().expect("a text")).expect("hex");
        let number = |value: &serde_json::Value| {
            value.as_u64().and_then(|number| u32::try_from(number).ok()).expect("a small number")
        };
        let cost = &slot["parameters"]["argon2id"];
        let params = Params::new(number(&cost["memory_kib"]), number(&cost["iterations"]), number(&cost["lanes"]));
        let salt: [u8; 16] = bytes(&cost["salt"]).try_into().expect("16 bytes");
        let key = password::derive(passphrase.as_bytes(), &salt, params.expect("in bounds"));
        let (cluster, epoch) = (bytes(&seal["cluster"]), number(&newest["epoch"]).to_be_bytes());
        let aad = [b"chancery seal v1".as_slice(), &cluster, &epoch, &bytes(&newest["id"])].concat();
        let root = sealed_box::open(&key, &aad, &bytes(&newest["sealed"])).expect("the passphrase opens the seal");
        Self { seal: key, root, cluster, epoch }
    }

    /// The keys that stay in memory while the node is open.
    pub(crate) fn add_kept(&self, needles: &mut Needles) {
        needles.add("the root key", self.root.expose());
        needles.add("the storage key", self.derived("storage").expose());
        needles.add("a seal's private key", self.seal.expose());
    }

    /// Those that are derived from the root key for single uses.
    pub(crate) fn add_derived(&self, needles: &mut Needles) {
        for label in ["authority", "audit"] {
            needles.add(&format!("the {label} key"), self.derived(label).expose());
        }
    }

    fn derived(&self, label: &str) -> Secret<32> {
        kdf::extract_sha512(b"chancery root v1", self.root.expose()).expand(&[label.as_bytes()])
    }

    /// Finds the key of the namespace `default` where it lies wrapped.
    pub(crate) fn namespace_key(&self, haystacks: &[&[u8]]) -> SecretBytes {
        let label = b"chancery namespace key v1".as_slice();
        let aad = [label, &self.cluster, &self.epoch, &default_namespace()].concat();
        unwrapped_somewhere(haystacks, self.root.expose(), &aad, &[32])
    }
}

/// What the material of an algorithm looks like: its stored number (docs/spec/keys.md), how long it may be, and where in it the
/// secret is that everything hangs on.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    number: u8,
    lengths: &'static [usize],
    secret: (usize, usize),
}

impl Shape {
    /// 32 bytes.
    pub(crate) const AES: Self = Self { number: 0, lengths: &[32], secret: (0, 32) };
    /// PKCS#8 of RFC 8410 §7: the seed.
    pub(crate) const ED25519: Self = Self { number: 5, lengths: &[48], secret: (16, 48) };
    /// PKCS#8 of RFC 5915: the scalar.
    pub(crate) const P256: Self = Self { number: 6, lengths: &[138], secret: (36, 68) };
    /// PKCS#8 of RFC 8017: some of the first prime.
    pub(crate) const RSA: Self =
        Self { number: 8, lengths: &[1_213, 1_214, 1_215, 1_216, 1_217, 1_218, 1_219], secret: (600, 664) };
}

/// Adds the material of a version, found where it lies wrapped: as a whole, and the secret in it in both orders of bytes, since
/// libraries keep large numbers the other way round.
pub(crate) fn add_material(
    needles: &mut Needles,
    haystacks: &[&[u8]],
    namespace_key: &SecretBytes,
    (key_id, version): (&str, u32),
    shape: Shape,
) {
    let key_id = hex::decode(key_id).expect("hex");
    let label = b"chancery key material v1".as_slice();
    let aad = [label, &default_namespace(), &key_id, &version.to_be_bytes(), &[shape.number]].concat();
    let material = unwrapped_somewhere(haystacks, namespace_key.expose(), &aad, shape.lengths);
    let name = format!("version {version} of a key of algorithm {}", shape.number);
    needles.add(&name, material.expose());
    let (from, to) = shape.secret;
    let mut secret = material.expose()[from..to].to_vec();
    needles.add(&format!("{name}, its secret"), &secret);
    secret.reverse();
    needles.add(&format!("{name}, its secret turned round"), &secret);
}

fn default_namespace() -> Vec<u8> {
    [7_u32.to_be_bytes().as_slice(), b"default"].concat()
}

/// Tries every place that could be a wrapped key of one of the lengths: `1 | salt (32) | ciphertext | tag (16)`.
fn unwrapped_somewhere(haystacks: &[&[u8]], key: &[u8], aad: &[u8], lengths: &[usize]) -> SecretBytes {
    /// What is looked at first: of the shortest, all.
    const BEGINNING: usize = 32 + wrap::OVERHEAD_BYTES;
    let key: &[u8; 32] = key.try_into().expect("32 bytes");
    let mut tried = std::collections::HashSet::new();
    for haystack in haystacks {
        let begins = haystack.iter().enumerate().filter(|(_, byte)| **byte == wrap::FORMAT);
        for (at, _) in begins {
            let Some(beginning) = haystack.get(at..at + BEGINNING) else { break };
            // Random bytes hold hardly a zero; most of memory holds many.
            if beginning.iter().filter(|byte| **byte == 0).count() > 4 {
                continue;
            }
            // The whole of it: of a copy that was freed, only the beginning may be left.
            let longest = lengths.iter().max().map_or(0, |length| length + wrap::OVERHEAD_BYTES);
            if !tried.insert(&haystack[at..haystack.len().min(at + longest)]) {
                continue;
            }
            let places = lengths.iter().filter_map(|length| haystack.get(at..at + length + wrap::OVERHEAD_BYTES));
            if let Some(secret) = places.filter_map(|place| wrap::unwrap(key, aad, place).ok()).next() {
                return secret;
            }
        }
    }
    panic!("the wrapped key is nowhere: {}", aad.escape_ascii());
}

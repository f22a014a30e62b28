//! The inputs of the vectors and the files made from them: the same bytes every time.

use kms::{Algorithm, Binding, EncryptionContext, KeyMaterial, StreamEncryptor, encrypt, envelope};
use types::{KeyId, NamespaceName};

use crate::{
    Bad, Files, Set, Vector,
    by_hand::{self, Head, SEGMENT},
    counting,
};

/// A ciphertext longer than this has a file of its own.
const INLINE_BYTES_MAX: usize = 1_024;

const KEY_ID: [u8; 16] = [0x11; 16];
const VERSION: u32 = 7;

struct Case {
    name: &'static str,
    algorithm: Algorithm,
    kind: Kind,
    key_id: [u8; 16],
    version: u32,
    namespace: &'static str,
    context: &'static [(&'static str, &'static str)],
    aad: Vec<u8>,
    plaintext: Plaintext,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Unary,
    Stream,
    EnvelopeFile,
}

enum Plaintext {
    Inline(Vec<u8>),
    Counting(usize),
}

/// Makes every file: the vectors by `kms`, their intermediate values and the bad ones by hand.
#[must_use]
pub fn generate() -> Files {
    let mut files = Files::new();
    let vectors = cases().iter().map(|case| vector(case, &mut files)).collect();
    let refused = bad(&mut files);
    let set = Set { specification: "docs/spec/ciphertext.md".to_owned(), vectors, refused };
    let mut json = serde_json::to_vec_pretty(&set).expect("plain data");
    json.push(b'\n');
    files.insert("vectors.json".to_owned(), json);
    files
}

fn cases() -> Vec<Case> {
    use Kind::{EnvelopeFile, Stream, Unary};
    use Plaintext::{Counting, Inline};
    let case = |name, kind, context, aad: &[u8], plaintext| Case {
        name,
        algorithm: Algorithm::Aes256Gcm,
        kind,
        key_id: KEY_ID,
        version: VERSION,
        namespace: "default",
        context,
        aad: aad.to_vec(),
        plaintext,
    };
    let unary = Case {
        key_id: std::array::from_fn(|i| 0x10 + u8::try_from(i).expect("small")),
        version: 3,
        namespace: "payments",
        ..case("unary", Unary, &[("tenant", "acme"), ("purpose", "card")], b"row 7", Inline(b"attack at dawn".to_vec()))
    };
    let chacha = |case| Case { algorithm: Algorithm::ChaCha20Poly1305, ..case };
    vec![
        unary,
        case("unary-empty", Unary, &[], b"", Inline(Vec::new())),
        Case { version: u32::MAX, ..case("unary-last-version", Unary, &[("a", "")], b"", Inline(vec![0; 32])) },
        // Sorted by bytes: upper case before lower, and both spellings of é after all of ASCII.
        case(
            "unary-utf-8-context",
            Unary,
            &[("\u{e9}", "composed"), ("b", "1"), ("B", "2"), ("e\u{301}", "decomposed")],
            &[0xff, 0x00],
            Inline("Grüße".as_bytes().to_vec()),
        ),
        case("stream-empty", Stream, &[("file", "a")], b"", Inline(Vec::new())),
        case("stream-short", Stream, &[("file", "a")], b"", Inline(b"one short segment".to_vec())),
        case("stream-one-full-segment", Stream, &[], b"aad", Counting(SEGMENT)),
        case("stream-two-segments", Stream, &[], b"aad", Counting(SEGMENT + 1)),
        case("envelope-file-empty", EnvelopeFile, &[("path", "/etc/motd")], b"", Inline(Vec::new())),
        case("envelope-file", EnvelopeFile, &[("path", "/etc/motd")], b"aad", Inline(b"a small file\n".to_vec())),
        case("envelope-file-two-segments", EnvelopeFile, &[], b"", Counting(SEGMENT + 100)),
        chacha(case("unary-chacha20", Unary, &[("tenant", "acme")], b"row 7", Inline(b"attack at dawn".to_vec()))),
        chacha(case("stream-chacha20", Stream, &[("file", "a")], b"", Inline(b"one short segment".to_vec()))),
        chacha(case(
            "envelope-file-chacha20",
            EnvelopeFile,
            &[("path", "/a")],
            b"",
            Inline(b"a small file\n".to_vec()),
        )),
    ]
}

fn vector(case: &Case, files: &mut Files) -> Vector {
    let Case { name, algorithm, kind, key_id, version, namespace, context, aad, plaintext } = case;
    let (material, salt) = (material(), salt(name));
    let pairs: Vec<_> = context.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let clear = match plaintext {
        Plaintext::Inline(bytes) => bytes.clone(),
        Plaintext::Counting(len) => counting(*len),
    };
    let (sealed, wrapped) = made_by_kms(case, &clear, salt);

    let mut sorted = pairs.clone();
    sorted.sort();
    let d = by_hand::digest(namespace, &sorted, aad, wrapped.as_deref());
    let flags = match kind {
        Kind::Unary => 0,
        Kind::Stream => 1,
        Kind::EnvelopeFile => 3,
    };
    let keyed_by = if *kind == Kind::EnvelopeFile { data_key() } else { material };
    let suite = if *algorithm == Algorithm::ChaCha20Poly1305 { 2 } else { 1 };
    let values = Head::new(flags, *key_id, *version, salt).of_suite(suite).derive(&keyed_by, &d);
    let (ciphertext, ciphertext_file) = place(name, sealed, files);
    Vector {
        name: (*name).to_owned(),
        namespace: (*namespace).to_owned(),
        context: pairs,
        aad: hex::encode(aad),
        material: hex::encode(material),
        key_id: hex::encode(key_id),
        version: *version,
        salt: hex::encode(salt),
        data_key: wrapped.map(|_| hex::encode(data_key())),
        plaintext: matches!(plaintext, Plaintext::Inline(_)).then(|| hex::encode(&clear)),
        plaintext_counting: matches!(plaintext, Plaintext::Counting(_)).then_some(clear.len()),
        d: hex::encode(d),
        prk: hex::encode(values.prk),
        info_enc: hex::encode(values.info_enc),
        info_commit: hex::encode(values.info_commit),
        key: hex::encode(values.key),
        commitment: hex::encode(values.commitment),
        ciphertext,
        ciphertext_file,
    }
}

/// The ciphertext, and the wrapped data key of an envelope file.
fn made_by_kms(case: &Case, clear: &[u8], salt: [u8; 32]) -> (Vec<u8>, Option<Vec<u8>>) {
    let material = KeyMaterial::new(KeyId(case.key_id), case.version, case.algorithm, &material());
    let material = material.expect("locks");
    let namespace = NamespaceName::parse(case.namespace).expect("a name");
    let context = EncryptionContext::new(case.context.iter().copied()).expect("a context");
    let binding = Binding::new(&namespace, &context, &case.aad).expect("a binding");
    let mut out = Vec::new();
    let (mut encryptor, wrapped) = match case.kind {
        Kind::Unary => return (encrypt(&material, &binding, salt, clear).expect("short"), None),
        Kind::Stream => (StreamEncryptor::new(&material, &binding, salt, &mut out).expect("encrypts"), None),
        Kind::EnvelopeFile => {
            let data_key = crypto::Secret::from_bytes(data_key());
            let wrapped = encrypt(&material, &binding, wrapping_salt(), data_key.expose()).expect("short");
            let encryptor = envelope::encrypt_file(&data_key, &wrapped, &binding, salt, &mut out).expect("wrapped");
            (encryptor, Some(wrapped))
        }
    };
    encryptor.update(clear, &mut out).expect("room");
    encryptor.finish(&mut out).expect("room");
    (out, wrapped)
}

/// Ciphertexts that a writer never makes, with commitments and tags that verify unless `why` says otherwise.
fn bad(files: &mut Files) -> Vec<Bad> {
    let mut list = Vec::new();
    let mut add = |name: &str, why: &str, context: &[(&str, &str)], sealed: Vec<u8>| {
        let (ciphertext, ciphertext_file) = place(name, sealed, files);
        list.push(Bad {
            name: name.to_owned(),
            why: why.to_owned(),
            namespace: "default".to_owned(),
            context: context.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            aad: String::new(),
            material: hex::encode(material()),
            ciphertext,
            ciphertext_file,
        });
    };
    let head = |flags| Head::new(flags, KEY_ID, VERSION, salt("bad"));
    add("magic", "another magic", &[], unary(&Head { magic: *b"CHCX", ..head(0) }, &[], b"x"));
    add("suite-0", "an unknown suite", &[], unary(&Head { suite: 0, ..head(0) }, &[], b"x"));
    add("suite-3", "an unknown suite", &[], unary(&Head { suite: 3, ..head(0) }, &[], b"x"));
    add("flags-2", "bit 1 without bit 0", &[], unary(&head(2), &[], b"x"));
    add("flags-4", "an unknown flag", &[], unary(&head(4), &[], b"x"));
    add("flags-129", "an unknown flag beside a known one", &[], unary(&head(129), &[], b"x"));
    add("version-0", "versions start at 1", &[], unary(&Head { version: 0, ..head(0) }, &[], b"x"));
    add("unary-too-long", "a unary plaintext has at most 65,536 bytes", &[], unary(&head(0), &[], &counting(65_537)));
    let pairs = [("a", "1"), ("a", "1")];
    add("context-twice", "a context key is given twice", &pairs, unary(&head(0), &pairs, b"x"));
    let pairs = [("b", "1"), ("a", "2")];
    add("context-unsorted", "D was made from unsorted pairs", &pairs, unary(&head(0), &pairs, b"x"));
    let pairs = [("", "1")];
    add("context-empty-key", "a context key is empty", &pairs, unary(&head(0), &pairs, b"x"));

    let d = by_hand::digest("default", &[], b"", None);
    let values = head(0).derive(&material(), &d);
    let body = by_hand::seal_unary(1, &values.key, b"x");
    add("commitment", "the commitment is to another key; the tag is right", &[], head(0).with_body(&[0; 32], &body));

    let full = counting(SEGMENT);
    let stream = |segments: &[&[u8]]| {
        let values = head(1).derive(&material(), &d);
        head(1).with_body(&values.commitment, &by_hand::seal_segments(1, &values.key, segments))
    };
    add("stream-empty-last", "an empty last segment after another", &[], stream(&[&full, b""]));
    add("stream-short-inner", "an inner segment that is not full", &[], stream(&[b"short", b"last"]));
    add("stream-no-segment", "there is no last segment", &[], stream(&[]));
    bad_envelopes(&mut add);
    list
}

fn bad_envelopes(add: &mut impl FnMut(&str, &str, &[(&str, &str)], Vec<u8>)) {
    let inner = |flags, version| Head::new(flags, KEY_ID, version, wrapping_salt());
    let file = |wrapped: &[u8]| {
        let head = Head::new(3, KEY_ID, VERSION, salt("bad"));
        let values = head.derive(&data_key(), &by_hand::digest("default", &[], b"", Some(wrapped)));
        let body = [by_hand::lp(wrapped), by_hand::seal_segments(1, &values.key, &[b"x"])].concat();
        head.with_body(&values.commitment, &body)
    };
    let other_version = unary(&inner(0, VERSION + 1), &[], &data_key());
    add("envelope-version", "the wrapped data key names another version", &[], file(&other_version));
    let other_key = unary(&Head { key_id: [0x22; 16], ..inner(0, VERSION) }, &[], &data_key());
    add("envelope-key", "the wrapped data key names another key", &[], file(&other_key));
    let other_suite = unary(&inner(0, VERSION).of_suite(2), &[], &data_key());
    add("envelope-suite", "the wrapped data key is of another suite", &[], file(&other_suite));
    let long = unary(&inner(0, VERSION), &[], &counting(64));
    add("envelope-long", "the wrapped data key is not 138 bytes long", &[], file(&long));
    add("envelope-none", "there is no wrapped data key", &[], file(b""));
    let d = by_hand::digest("default", &[], b"", None);
    let values = inner(1, VERSION).derive(&material(), &d);
    let body = by_hand::seal_segments(1, &values.key, &[&data_key()]);
    let as_stream = inner(1, VERSION).with_body(&values.commitment, &body);
    add("envelope-stream", "the wrapped data key is a stream, though of 138 bytes", &[], file(&as_stream));
}

/// A unary ciphertext under whatever head and pairs.
fn unary(head: &Head, pairs: &[(&str, &str)], plaintext: &[u8]) -> Vec<u8> {
    let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let values = head.derive(&material(), &by_hand::digest("default", &pairs, b"", None));
    head.with_body(&values.commitment, &by_hand::seal_unary(head.suite, &values.key, plaintext))
}

/// In the JSON if it is short, else in a file.
fn place(name: &str, sealed: Vec<u8>, files: &mut Files) -> (Option<String>, Option<String>) {
    if sealed.len() <= INLINE_BYTES_MAX {
        return (Some(hex::encode(sealed)), None);
    }
    let file = format!("data/{name}.bin");
    files.insert(file.clone(), sealed);
    (None, Some(file))
}

fn material() -> [u8; 32] {
    std::array::from_fn(|i| 0x40 + u8::try_from(i).expect("small"))
}

fn data_key() -> [u8; 32] {
    [0xda; 32]
}

fn wrapping_salt() -> [u8; 32] {
    [0x5a; 32]
}

/// The first vector is the worked example of the specification; every other has a salt of its own.
fn salt(name: &str) -> [u8; 32] {
    match name {
        "unary" => std::array::from_fn(|i| 0x80 + u8::try_from(i).expect("small")),
        other => crypto::hash::sha256(other.as_bytes()),
    }
}

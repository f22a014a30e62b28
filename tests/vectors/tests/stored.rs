//! The stored vectors are exactly what `kms` makes, and `kms` opens and refuses them as it should.
//!
//! `REGENERATE_VECTORS=1 cargo test -p vectors` writes them anew. A changed vector is a changed format: it needs a new suite
//! or magic and a line in the changelog.
#![expect(clippy::expect_used, reason = "helpers of tests fail as tests do")]

use kms::{
    Algorithm, Binding, Ciphertext, EncryptionContext, EnvelopeHeader, KeyMaterial, Kind, StreamDecryptor, Suite,
    decrypt,
};
use types::{NamespaceName, Refusal};
use vectors::{Bad, Set, by_hand, bytes, cases, ciphertext, counting, folder};

fn stored() -> Set {
    serde_json::from_slice(&std::fs::read(folder().join("vectors.json")).expect("reads")).expect("parses")
}

#[test]
fn the_stored_files_are_what_kms_makes() {
    let files = cases::generate();
    if std::env::var_os("REGENERATE_VECTORS").is_some() {
        for (name, content) in &files {
            std::fs::write(folder().join(name), content).expect("writes");
        }
    }
    for (name, content) in &files {
        let stored = std::fs::read(folder().join(name)).expect(name);
        assert!(stored == *content, "`{name}` differs from what is made now: the format has changed");
    }
    let data = std::fs::read_dir(folder().join("data")).expect("reads").count();
    assert_eq!(data + 1, files.len(), "a file in data/ belongs to no vector");
}

/// `kms` and the derivation by hand agree on every byte of every ciphertext, not only on those that open.
#[test]
fn every_vector_follows_from_its_values_by_hand() {
    for vector in stored().vectors {
        let sealed = ciphertext(vector.ciphertext.as_ref(), vector.ciphertext_file.as_ref());
        let key: [u8; 32] = bytes(&vector.key).try_into().expect("32 bytes");
        let clear = vector.plaintext.as_deref().map_or_else(|| counting(vector.plaintext_counting.unwrap_or(0)), bytes);
        let suite = if vector.name.ends_with("chacha20") { 2 } else { 1 };
        let body = match sealed[5] {
            0 => by_hand::seal_unary(suite, &key, &clear),
            1 => by_hand::seal_segments(suite, &key, &by_hand::segments(&clear)),
            _ => [&sealed[90..232], &by_hand::seal_segments(suite, &key, &by_hand::segments(&clear))].concat(),
        };
        let flags = [suite, sealed[5]];
        let (id, version, salt) = (bytes(&vector.key_id), vector.version.to_be_bytes(), bytes(&vector.salt));
        let expected = [b"CHCY", &flags[..], &id, &version, &salt, &bytes(&vector.commitment), &body].concat();
        assert!(sealed == expected, "{}", vector.name);
    }
}

#[test]
fn kms_opens_every_vector() {
    let set = stored();
    for vector in &set.vectors {
        let sealed = ciphertext(vector.ciphertext.as_ref(), vector.ciphertext_file.as_ref());
        let opened = open(&vector.namespace, &vector.context, &vector.aad, &vector.material, &sealed);
        let clear = vector.plaintext.as_deref().map_or_else(|| counting(vector.plaintext_counting.unwrap_or(0)), bytes);
        assert!(opened.expect(&vector.name) == clear, "{}", vector.name);
    }
    assert_eq!(set.vectors.len(), 14);
}

#[test]
fn kms_refuses_every_bad_vector() {
    let set = stored();
    let opens = |bad: &&Bad| {
        let sealed = ciphertext(bad.ciphertext.as_ref(), bad.ciphertext_file.as_ref());
        open(&bad.namespace, &bad.context, &bad.aad, &bad.material, &sealed).is_ok()
    };
    let opened: Vec<_> = set.refused.iter().filter(opens).map(|bad| (&bad.name, &bad.why)).collect();
    assert_eq!(opened, []);
    assert_eq!(set.refused.len(), 21);
}

/// A client refuses these before it asks the service to decrypt anything.
#[test]
fn a_bad_envelope_is_refused_by_its_header_alone() {
    let set = stored();
    let envelopes: Vec<_> = set.refused.iter().filter(|bad| bad.name.starts_with("envelope-")).collect();
    assert_eq!(envelopes.len(), 6);
    for bad in envelopes {
        let sealed = ciphertext(bad.ciphertext.as_ref(), bad.ciphertext_file.as_ref());
        let head = &sealed[..sealed.len().min(kms::envelope::ENVELOPE_HEADER_BYTES)];
        assert!(EnvelopeHeader::parse(head).is_err(), "{}: {}", bad.name, bad.why);
    }
}

#[test]
fn the_worked_example_of_the_specification_is_the_first_vector() {
    let page = folder().join("../../docs/spec/ciphertext.md");
    let page: String = std::fs::read_to_string(page).expect("reads").split_whitespace().collect();
    let set = stored();
    let example = set.vectors.first().expect("a vector");
    assert_eq!(example.name, "unary");
    let sealed = example.ciphertext.as_deref().expect("inline");
    for (what, value) in [
        ("material", example.material.as_str()),
        ("D", &example.d),
        ("prk", &example.prk),
        ("infoenc", &example.info_enc),
        ("infocommit", &example.info_commit),
        ("key", &example.key),
        ("commitment", &example.commitment),
        ("body", &sealed[180..]),
        ("ciphertext", sealed),
    ] {
        assert!(page.contains(&format!("{what}{value}")), "{what} is not on the page");
    }
}

/// Opens a ciphertext of any kind as a client with this material would.
fn open(
    namespace: &str,
    pairs: &[(String, String)],
    aad: &str,
    material: &str,
    sealed: &[u8],
) -> Result<Vec<u8>, Refusal> {
    let namespace = NamespaceName::parse(namespace).expect("a name");
    let (context, aad) = (EncryptionContext::new(pairs.iter().cloned())?, bytes(aad));
    let binding = Binding::new(&namespace, &context, &aad)?;
    let parsed = Ciphertext::parse(sealed)?;
    let (id, version) = (parsed.header.key_id, parsed.header.version);
    let material: [u8; 32] = bytes(material).try_into().expect("32 bytes");
    let algorithm = match parsed.header.suite {
        Suite::Aes256Gcm => Algorithm::Aes256Gcm,
        Suite::ChaCha20Poly1305 => Algorithm::ChaCha20Poly1305,
    };
    let material = KeyMaterial::new(id, version, algorithm, &material).expect("locks");
    match parsed.header.kind {
        Kind::Unary => decrypt(&material, &binding, &parsed).map(|clear| clear.expose().to_vec()),
        Kind::Stream => drain(StreamDecryptor::new(&material, &binding, &parsed.header)?, parsed.body),
        Kind::EnvelopeFile => {
            let (head, segments) = sealed.split_at(sealed.len().min(kms::envelope::ENVELOPE_HEADER_BYTES));
            let envelope = EnvelopeHeader::parse(head)?;
            let data_key = decrypt(&material, &binding, &Ciphertext::parse(envelope.wrapped_data_key())?)?;
            let data_key = crypto::Secret::from_slice(data_key.expose()).expect("32 bytes");
            drain(envelope.decryptor(&data_key, &binding)?, segments)
        }
    }
}

fn drain(mut decryptor: StreamDecryptor, body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::new();
    decryptor.update(body, &mut out)?;
    decryptor.finish(&mut out)?;
    Ok(out)
}

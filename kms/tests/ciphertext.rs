//! Ciphertext v1 from outside: what goes in comes out, and nothing else does.
#![expect(clippy::expect_used, reason = "helpers of tests fail as tests do")]

use kms::{
    Algorithm, Binding, Ciphertext, EncryptionContext, EnvelopeHeader, HEADER_BYTES, KeyMaterial, StreamDecryptor,
    StreamEncryptor, decrypt, encrypt, envelope, re_encrypt,
};
use proptest::prelude::*;
use types::{KeyId, NamespaceName, Reason, Refusal, limits::SEGMENT_BYTES, limits::UNARY_PLAINTEXT_BYTES_MAX};

const SALT: [u8; 32] = [3; 32];
const SEALED: usize = SEGMENT_BYTES + 16;

fn material(id: u8, version: u32, byte: u8) -> KeyMaterial {
    KeyMaterial::new(KeyId([id; 16]), version, Algorithm::Aes256Gcm, &[byte; 32]).expect("locks")
}

/// Runs `f` with a binding of these parts.
fn bound<T>(ns: &str, pairs: &[(&str, &str)], aad: &[u8], f: impl FnOnce(&Binding<'_>) -> T) -> T {
    let context = EncryptionContext::new(pairs.iter().copied()).expect("a context");
    let namespace = NamespaceName::parse(ns).expect("a name");
    f(&Binding::new(&namespace, &context, aad).expect("a binding"))
}

fn in_default<T>(f: impl FnOnce(&Binding<'_>) -> T) -> T {
    bound("default", &[("tenant", "acme")], b"aad", f)
}

fn open(material: &KeyMaterial, binding: &Binding<'_>, bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    decrypt(material, binding, &Ciphertext::parse(bytes)?).map(|plaintext| plaintext.expose().to_vec())
}

fn stream(plaintext: &[u8], piece: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encryptor = in_default(|b| StreamEncryptor::new(&material(1, 1, 9), b, SALT, &mut out)).expect("encrypts");
    for piece in plaintext.chunks(piece) {
        encryptor.update(piece, &mut out).expect("room");
    }
    encryptor.finish(&mut out).expect("room");
    out
}

fn open_stream(bytes: &[u8], piece: usize) -> Result<Vec<u8>, Refusal> {
    let Ciphertext { header, body } = Ciphertext::parse(bytes)?;
    let decryptor = in_default(|b| StreamDecryptor::new(&material(1, 1, 9), b, &header))?;
    drain(decryptor, body, piece)
}

fn drain(mut decryptor: StreamDecryptor, body: &[u8], piece: usize) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::new();
    for piece in body.chunks(piece) {
        decryptor.update(piece, &mut out)?;
    }
    decryptor.finish(&mut out)?;
    Ok(out)
}

/// One answer for everything: which check failed does not show.
#[track_caller]
fn unverified<T: std::fmt::Debug>(result: Result<T, Refusal>, what: &str) {
    let refusal = result.expect_err(what);
    assert_eq!(refusal.reason, Reason::InvalidCiphertext, "{what}");
    assert_eq!(refusal.message, "ciphertext or context does not verify", "{what}");
}

#[test]
fn a_unary_ciphertext_opens_only_as_it_was_made() {
    let key = material(1, 1, 9);
    let sealed = in_default(|b| encrypt(&key, b, SALT, b"plaintext")).expect("encrypts");
    assert_eq!(in_default(|b| open(&key, b, &sealed)).expect("opens"), b"plaintext");
    for (ns, pairs, aad) in [
        ("other", &[("tenant", "acme")][..], &b"aad"[..]),
        ("default", &[("tenant", "acmf")], b"aad"),
        ("default", &[("tenanu", "acme")], b"aad"),
        ("default", &[], b"aad"),
        ("default", &[("tenant", "acme"), ("x", "")], b"aad"),
        ("default", &[("tenant", "acme")], b""),
        ("default", &[("tenant", "acme")], b"aae"),
    ] {
        unverified(bound(ns, pairs, aad, |b| open(&key, b, &sealed)), &format!("{ns} {pairs:?} {aad:?}"));
    }
    for (what, other) in [
        ("another key id", material(2, 1, 9)),
        ("another version", material(1, 2, 9)),
        ("other material", material(1, 1, 8)),
    ] {
        unverified(in_default(|b| open(&other, b, &sealed)), what);
    }
}

/// A header rewritten to name another key or version does not open under that one's material, even if the material is the
/// same: the header is in the derivation, not only compared.
#[test]
fn swapped_key_and_version_are_refused() {
    let sealed = in_default(|b| encrypt(&material(1, 1, 9), b, SALT, b"plaintext")).expect("encrypts");
    let mut other_key = sealed.clone();
    other_key[6..22].fill(2);
    unverified(in_default(|b| open(&material(2, 1, 9), b, &other_key)), "key");
    let mut other_version = sealed.clone();
    other_version[25] = 2;
    unverified(in_default(|b| open(&material(1, 2, 9), b, &other_version)), "version");
    let mut other_kind = sealed;
    other_kind[5] = 1;
    unverified(open_stream(&other_kind, SEALED), "unary read as a stream");
}

#[test]
fn every_flipped_bit_every_cut_and_every_trailing_byte_is_refused() {
    let key = material(1, 1, 9);
    let sealed = in_default(|b| encrypt(&key, b, SALT, b"plaintext")).expect("encrypts");
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut bad = sealed.clone();
            bad[at] ^= 1 << bit;
            unverified(in_default(|b| open(&key, b, &bad)), &format!("bit {bit} of byte {at}"));
        }
        unverified(in_default(|b| open(&key, b, &sealed[..at])), &format!("cut at {at}"));
    }
    unverified(in_default(|b| open(&key, b, &[&sealed[..], b"x"].concat())), "trailing byte");
}

#[test]
fn a_unary_message_is_bounded() {
    let key = material(1, 1, 9);
    let longest = vec![1; UNARY_PLAINTEXT_BYTES_MAX];
    let sealed = in_default(|b| encrypt(&key, b, SALT, &longest)).expect("encrypts");
    assert_eq!(in_default(|b| open(&key, b, &sealed)).expect("opens"), longest);
    let refusal = in_default(|b| encrypt(&key, b, SALT, &[longest, vec![1]].concat())).expect_err("too long");
    assert_eq!(refusal.reason, Reason::LimitExceeded);
}

#[test]
fn re_encryption_moves_a_message_to_another_version_and_context() {
    let (old, new) = (material(1, 1, 9), material(1, 2, 8));
    let sealed = in_default(|b| encrypt(&old, b, SALT, b"plaintext")).expect("encrypts");
    bound("default", &[], b"", |to| {
        let ciphertext = Ciphertext::parse(&sealed).expect("parses");
        let moved = in_default(|from| re_encrypt((&old, from), &ciphertext, (&new, to), [4; 32])).expect("moves");
        assert_eq!(open(&new, to, &moved).expect("opens"), b"plaintext");
        unverified(re_encrypt((&old, to), &ciphertext, (&new, to), [4; 32]), "the old context is checked");
    });
}

#[test]
fn streams_of_every_shape_come_back_and_do_not_depend_on_the_pieces() {
    for len in [0, 1, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, 2 * SEGMENT_BYTES, 3 * SEGMENT_BYTES + 5] {
        let plaintext: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).expect("small")).collect();
        let whole = stream(&plaintext, usize::MAX);
        assert_eq!(whole.len(), HEADER_BYTES + len + 16 * len.div_ceil(SEGMENT_BYTES).max(1), "{len}");
        for piece in [1_000, SEGMENT_BYTES, SEGMENT_BYTES + 1] {
            assert_eq!(stream(&plaintext, piece), whole, "{len} in pieces of {piece}");
        }
        for piece in [999, SEALED, SEALED + 1, usize::MAX] {
            assert_eq!(open_stream(&whole, piece).expect("opens"), plaintext, "{len} in pieces of {piece}");
        }
    }
}

#[test]
fn segments_cut_moved_or_repeated_are_refused() {
    let whole = stream(&vec![7; 3 * SEGMENT_BYTES], usize::MAX);
    let (head, body) = whole.split_at(HEADER_BYTES);
    let [a, b, c] = [&body[..SEALED], &body[SEALED..2 * SEALED], &body[2 * SEALED..]];
    assert_eq!(open_stream(&[head, a, b, c].concat(), SEALED).expect("opens").len(), 3 * SEGMENT_BYTES);
    let orders: [&[&[u8]]; 9] = [&[], &[a], &[a, b], &[b, c], &[c], &[a, c], &[b, a, c], &[a, a, b, c], &[a, b, c, c]];
    for (at, order) in orders.iter().enumerate() {
        unverified(open_stream(&[head, &order.concat()].concat(), SEALED), &format!("order {at}"));
    }
    unverified(open_stream(&[head, a, b, c, b"x"].concat(), SEALED), "trailing byte");
    for cut in [1, 15, 16, 17, SEALED - 1, SEALED + 1] {
        unverified(open_stream(&whole[..whole.len() - cut], SEALED), &format!("{cut} bytes cut off"));
    }
    for at in (0..HEADER_BYTES).chain([HEADER_BYTES, HEADER_BYTES + SEALED, whole.len() - 1]) {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        unverified(open_stream(&bad, usize::MAX), &format!("byte {at}"));
    }
}

/// What was handed out before the damage is genuine; nothing is handed out after it, not even if fed again.
#[test]
fn a_decryptor_stays_shut_after_damage() {
    let mut bad = stream(&vec![7; 3 * SEGMENT_BYTES], usize::MAX);
    bad[HEADER_BYTES + SEALED + 5] ^= 1;
    let Ciphertext { header, body } = Ciphertext::parse(&bad).expect("parses");
    let mut decryptor = in_default(|b| StreamDecryptor::new(&material(1, 1, 9), b, &header)).expect("begins");
    let mut out = Vec::new();
    unverified(decryptor.update(body, &mut out), "damaged segment");
    assert_eq!(out, vec![7; SEGMENT_BYTES]);
    unverified(decryptor.update(&body[SEALED..], &mut out), "fed again");
    unverified(decryptor.finish(&mut out), "finished");
    assert_eq!(out.len(), SEGMENT_BYTES);
}

struct File {
    wrapped: Vec<u8>,
    bytes: Vec<u8>,
}

fn envelope_file(plaintext: &[u8]) -> File {
    let data_key = crypto::Secret::from_bytes([5; 32]);
    let wrapped = in_default(|b| encrypt(&material(1, 1, 9), b, SALT, data_key.expose())).expect("wraps");
    let mut bytes = Vec::new();
    let mut encryptor =
        in_default(|b| envelope::encrypt_file(&data_key, &wrapped, b, [6; 32], &mut bytes)).expect("begins");
    encryptor.update(plaintext, &mut bytes).expect("room");
    encryptor.finish(&mut bytes).expect("room");
    File { wrapped, bytes }
}

/// As a client does: parse, have the data key decrypted, open the segments.
fn open_file(bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    let too_short = || Refusal::new(Reason::InvalidCiphertext, "ciphertext or context does not verify");
    let (head, body) = bytes.split_at_checked(envelope::ENVELOPE_HEADER_BYTES).ok_or_else(too_short)?;
    let header = EnvelopeHeader::parse(head)?;
    in_default(|b| {
        let data_key = open(&material(1, 1, 9), b, header.wrapped_data_key())?;
        let data_key = crypto::Secret::from_slice(&data_key).ok_or_else(too_short)?;
        drain(header.decryptor(&data_key, b)?, body, 10_000)
    })
}

#[test]
fn an_envelope_file_comes_back_and_every_byte_before_the_segments_counts() {
    let plaintext = vec![7; SEGMENT_BYTES + 9];
    let File { wrapped, bytes } = envelope_file(&plaintext);
    assert_eq!(wrapped.len(), envelope::WRAPPED_BYTES);
    assert_eq!(open_file(&bytes).expect("opens"), plaintext);
    for at in (0..envelope::ENVELOPE_HEADER_BYTES).chain([bytes.len() - 1]) {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        unverified(open_file(&bad), &format!("byte {at}"));
    }
    for cut in [0, 89, 90, 94, 231, 232, 240, bytes.len() - 1] {
        unverified(open_file(&bytes[..cut]), &format!("cut at {cut}"));
    }
    unverified(open_file(&[&bytes[..], b"x"].concat()), "trailing byte");
}

/// The wrapped data key enters D: another valid wrapping of the same data key does not open the file.
#[test]
fn another_wrapping_of_the_same_data_key_is_refused() {
    let File { wrapped, mut bytes } = envelope_file(b"plaintext");
    let again = in_default(|b| encrypt(&material(1, 1, 9), b, [8; 32], &[5; 32])).expect("wraps");
    assert_eq!(again.len(), wrapped.len());
    bytes[94..232].copy_from_slice(&again);
    unverified(open_file(&bytes), "other wrapping");
}

#[test]
fn only_a_wrapped_32_byte_key_begins_a_file() {
    let data_key = crypto::Secret::from_bytes([5; 32]);
    let long = in_default(|b| encrypt(&material(1, 1, 9), b, SALT, &[5; 64])).expect("wraps");
    for wrapped in [&long[..], b"", &stream(&[5; 32], 32)] {
        let mut out = Vec::new();
        let begun = in_default(|b| envelope::encrypt_file(&data_key, wrapped, b, SALT, &mut out));
        unverified(begun, "not a wrapped data key");
        assert!(out.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_encrypted_is_decrypted(
        byte: u8, version in 1_u32.., salt: [u8; 32], plaintext in prop::collection::vec(any::<u8>(), 0..2_000),
        pairs in prop::collection::btree_map(".{1,8}", ".{0,8}", 0..5), aad in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let key = material(byte, version, byte);
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        bound("ns", &pairs, &aad, |b| {
            let sealed = encrypt(&key, b, salt, &plaintext).expect("encrypts");
            assert_eq!(open(&key, b, &sealed).expect("opens"), plaintext);
        });
    }

    #[test]
    fn streams_in_any_pieces_come_back(
        len in 0_usize..200_000, write in 1_usize..100_000, read in 1_usize..100_000,
    ) {
        let plaintext: Vec<u8> = (0..len).map(|i| u8::try_from(i % 253).expect("small")).collect();
        prop_assert_eq!(open_stream(&stream(&plaintext, write), read).expect("opens"), plaintext);
    }

    #[test]
    fn noise_is_refused_and_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..400), kind in 0_u8..4) {
        for (place, byte) in bytes.iter_mut().zip([b'C', b'H', b'C', b'Y', 1, kind]) {
            *place = byte;
        }
        let key = material(1, 1, 9);
        prop_assert!(in_default(|b| open(&key, b, &bytes)).is_err());
        prop_assert!(open_stream(&bytes, 100).is_err());
        prop_assert!(open_file(&bytes).is_err());
    }
}

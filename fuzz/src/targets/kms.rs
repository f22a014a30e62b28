//! Ciphertext v1 and what stands beside it. A ciphertext that opens is the one that encrypting again gives, byte for byte: so a changed one
//! that opened would be found, and so would a second encoding of the same.

use std::sync::OnceLock;

use ::crypto::{Secret, SecretBytes};
use ::kms::envelope::{ENVELOPE_HEADER_BYTES, encrypt_file};
use ::kms::wrapping::{self, UnderNamespace, UnderRoot};
use ::kms::{
    Algorithm, Binding, Ciphertext, EncryptionContext, EnvelopeHeader, HEADER_BYTES, KeyMaterial, Kind, Labels,
    StreamDecryptor, StreamEncryptor, ToSign,
};
use ::types::{ClusterId, KeyId, NamespaceName};

use super::{piece, pieces, text};
use crate::engine::Target;

const HEADER_TOKENS: &[&[u8]] =
    &[b"CHCY\x01\x00", b"CHCY\x01\x01", b"CHCY\x01\x03", b"CHCY\x02\x00", b"\x00\x00\x00\x8a", &[0x10; 16]];

/// One message.
pub(super) const CIPHERTEXT: Target = Target::new("kms-ciphertext", ciphertext, || {
    let made = materials()
        .iter()
        .map(|material| with_binding(|binding| ::kms::encrypt(material, binding, [8; 32], b"attack at dawn").unwrap()));
    made.chain([vector("unary-too-long.bin").chunks(200).next().unwrap().to_vec()]).collect()
})
.tokens(HEADER_TOKENS);

/// Segments; the first byte says where the pieces are cut that a caller hands over.
pub(super) const STREAM: Target = Target::new("kms-stream", stream, || {
    materials()
        .iter()
        .flat_map(|material| {
            [&b""[..], b"attack at dawn"].map(|plain| with_cut(7, &streamed(material, plain, [8; 32])))
        })
        .collect()
})
.tokens(HEADER_TOKENS);

/// Files under a data key.
pub(super) const ENVELOPE: Target = Target::new("kms-envelope", envelope, || {
    materials()
        .iter()
        .map(|material| with_cut(9, &file(material, b"attack at dawn")))
        .chain([with_cut(0, &vector("envelope-file-two-segments.bin")[..600])])
        .collect()
})
.tokens(HEADER_TOKENS);

/// Keys as state and disk hold them.
pub(super) const WRAPPED: Target = Target::new("kms-wrapped", wrapped, || {
    let namespace = namespace();
    vec![
        wrapping::wrap_namespace_key(&ROOT, PLACE, &namespace, [1; 32], &[2; 32]),
        wrapping::wrap_cluster_key(&ROOT, PLACE, [1; 32], &SecretBytes::from_vec(vec![5; 138])),
        wrapping::wrap_material(&ROOT, under(&namespace), [1; 32], &[9; 32]),
    ]
});

/// Signatures and public keys by whoever asks for a verification.
pub(super) const SIGNATURE: Target = Target::new("kms-signature", signature, || {
    let made = pairs().iter().enumerate();
    made.map(|(at, pair)| [&[at as u8][..], &pieces(&[&pair.public, &pair.signature])].concat()).collect()
});

/// Contexts and labels: pairs of texts.
pub(super) const PAIRS: Target = Target::new("kms-pairs", pairs_of_texts, || {
    vec![pieces(&[b"tenant", b"acme", b"purpose", b"card"]), pieces(&[b"", b"x"]), pieces(&[b"a", b"", b"a", b"b"])]
});

const ROOT: [u8; 32] = [3; 32];
const PLACE: UnderRoot = UnderRoot { cluster: ClusterId([4; 16]), epoch: 1 };

fn namespace() -> NamespaceName {
    NamespaceName::parse("payments").unwrap()
}

fn under(namespace: &NamespaceName) -> UnderNamespace<'_> {
    UnderNamespace { namespace, key_id: KeyId([6; 16]), version: 4, algorithm: Algorithm::Aes256Gcm }
}

fn materials() -> &'static [KeyMaterial; 2] {
    static MATERIALS: OnceLock<[KeyMaterial; 2]> = OnceLock::new();
    let of = |algorithm| KeyMaterial::new(KeyId([0x10; 16]), 3, algorithm, &[0x40; 32]).unwrap();
    MATERIALS.get_or_init(|| [of(Algorithm::Aes256Gcm), of(Algorithm::ChaCha20Poly1305)])
}

fn with_binding<T>(act: impl FnOnce(&Binding<'_>) -> T) -> T {
    let context = EncryptionContext::new([("tenant", "acme"), ("purpose", "card")]).unwrap();
    let namespace = namespace();
    act(&Binding::new(&namespace, &context, b"row 7").unwrap())
}

fn vector(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/data").join(name);
    std::fs::read(path).unwrap()
}

fn with_cut(cut: u8, bytes: &[u8]) -> Vec<u8> {
    [&[cut][..], bytes].concat()
}

/// The salt as it stands in a header.
fn salt(input: &[u8]) -> [u8; 32] {
    input[26..58].try_into().unwrap()
}

fn ciphertext(input: &[u8]) {
    let Ok(parsed) = Ciphertext::parse(input) else { return };
    assert_eq!(parsed.body.len(), input.len() - HEADER_BYTES);
    assert!(parsed.header.version >= 1);
    for material in materials() {
        with_binding(|binding| {
            if let Ok(plain) = ::kms::decrypt(material, binding, &parsed) {
                let again = ::kms::encrypt(material, binding, salt(input), plain.expose()).unwrap();
                assert_eq!(again, input, "a ciphertext that nobody made, or a second encoding of one");
            }
        });
    }
}

fn streamed(material: &KeyMaterial, plain: &[u8], salt: [u8; 32]) -> Vec<u8> {
    let mut out = Vec::new();
    with_binding(|binding| {
        let mut encryptor = StreamEncryptor::new(material, binding, salt, &mut out).unwrap();
        encryptor.update(plain, &mut out).unwrap();
        encryptor.finish(&mut out).unwrap();
    });
    out
}

/// Hands the body over in two pieces.
fn opened(mut decryptor: StreamDecryptor, cut: u8, body: &[u8]) -> Option<Vec<u8>> {
    let (first, second) = body.split_at(usize::from(cut).min(body.len()));
    let mut plain = Vec::new();
    decryptor.update(first, &mut plain).ok()?;
    decryptor.update(second, &mut plain).ok()?;
    decryptor.finish(&mut plain).ok()?;
    Some(plain)
}

fn stream(input: &[u8]) {
    let Some((cut, input)) = input.split_first() else { return };
    let Ok(parsed) = Ciphertext::parse(input) else { return };
    for material in materials() {
        let begun = with_binding(|binding| StreamDecryptor::new(material, binding, &parsed.header));
        let Some(plain) = begun.ok().and_then(|decryptor| opened(decryptor, *cut, parsed.body)) else { continue };
        assert_eq!(parsed.header.kind, Kind::Stream);
        assert_eq!(
            streamed(material, &plain, salt(input)),
            input,
            "a stream that nobody made, or a second encoding of one"
        );
    }
}

fn file(material: &KeyMaterial, plain: &[u8]) -> Vec<u8> {
    with_binding(|binding| {
        let wrapped = ::kms::encrypt(material, binding, [8; 32], &[7; 32]).unwrap();
        remade(&wrapped, plain, [6; 32])
    })
}

fn remade(wrapped: &[u8], plain: &[u8], salt: [u8; 32]) -> Vec<u8> {
    let mut out = Vec::new();
    with_binding(|binding| {
        let mut encryptor = encrypt_file(&Secret::from_bytes([7; 32]), wrapped, binding, salt, &mut out).unwrap();
        encryptor.update(plain, &mut out).unwrap();
        encryptor.finish(&mut out).unwrap();
    });
    out
}

fn envelope(input: &[u8]) {
    let Some((cut, input)) = input.split_first() else { return };
    let Some((head, body)) = input.split_at_checked(ENVELOPE_HEADER_BYTES) else { return };
    let Ok(header) = EnvelopeHeader::parse(head) else { return };
    assert_eq!(header.header().kind, Kind::EnvelopeFile);
    let begun = with_binding(|binding| header.decryptor(&Secret::from_bytes([7; 32]), binding));
    if let Some(plain) = begun.ok().and_then(|decryptor| opened(decryptor, *cut, body)) {
        assert_eq!(
            remade(header.wrapped_data_key(), &plain, salt(input)),
            input,
            "a file that nobody made, or a second encoding of one"
        );
    }
}

fn wrapped(input: &[u8]) {
    let namespace = namespace();
    let salt = input.get(1..33).and_then(|salt| salt.try_into().ok()).unwrap_or_default();
    if let Ok(key) = wrapping::unwrap_namespace_key(&ROOT, PLACE, &namespace, input) {
        assert_eq!(wrapping::wrap_namespace_key(&ROOT, PLACE, &namespace, salt, key.expose()), input);
    }
    if let Ok(pkcs8) = wrapping::unwrap_cluster_key(&ROOT, PLACE, input) {
        assert_eq!(wrapping::wrap_cluster_key(&ROOT, PLACE, salt, &pkcs8), input);
    }
    if wrapping::unwrap_material(&ROOT, under(&namespace), input).is_ok() {
        assert_eq!(wrapping::wrap_material(&ROOT, under(&namespace), salt, &[9; 32]), input);
    }
}

struct Pair {
    algorithm: Algorithm,
    public: Vec<u8>,
    signature: Vec<u8>,
}

const MESSAGE: &[u8] = b"pay 100 to alice";
const OTHER: &[u8] = b"pay 900 to alice";

fn pairs() -> &'static [Pair] {
    static PAIRS: OnceLock<Vec<Pair>> = OnceLock::new();
    PAIRS.get_or_init(|| {
        let signing = Algorithm::ALL
            .iter()
            .filter(|algorithm| algorithm.signature_scheme().is_ok() && !algorithm.is_slow_to_make());
        signing
            .filter_map(|algorithm| {
                let pair = algorithm.key_type()?.generate().ok()?;
                let material = KeyMaterial::new(KeyId([1; 16]), 1, *algorithm, pair.private.expose()).ok()?;
                let signature = ::kms::sign(&material, ToSign::Message(MESSAGE)).ok()?;
                Some(Pair { algorithm: *algorithm, public: pair.public.clone(), signature })
            })
            .collect()
    })
}

fn signature(input: &[u8]) {
    let Some((which, rest)) = input.split_first() else { return };
    let ((public, rest), pairs) = (piece(rest), pairs());
    let (signature, digest) = (piece(rest).0, piece(rest).1);
    let pair = &pairs[usize::from(*which) % pairs.len()];
    if ::kms::verify(pair.algorithm, public, ToSign::Message(MESSAGE), signature).is_ok() {
        // Whose key it is does not matter: no signature is of two messages.
        assert!(::kms::verify(pair.algorithm, public, ToSign::Message(OTHER), signature).is_err());
    }
    let _ = ::kms::verify(pair.algorithm, public, ToSign::Digest(digest), signature);
    if let Some(jwk) = ::kms::public::to_jwk(pair.algorithm, public, "k") {
        serde_json::from_str::<serde_json::Value>(&jwk).unwrap();
    }
    assert!(::kms::public::to_pem(public).starts_with("-----BEGIN PUBLIC KEY-----\n"));
}

fn pairs_of_texts(mut input: &[u8]) {
    let mut pairs = Vec::new();
    while !input.is_empty() && pairs.len() < 100 {
        let (key, rest) = piece(input);
        let (value, rest) = piece(rest);
        input = rest;
        let (Some(key), Some(value)) = (text(key), text(value)) else { return };
        pairs.push((key, value));
    }
    let backwards = pairs.iter().rev().copied();
    if let Ok(context) = EncryptionContext::new(pairs.iter().copied()) {
        // Whatever the order, one context: its encoding is what ciphertexts are bound to.
        assert!(context.iter().zip(context.iter().skip(1)).all(|(one, next)| one.0 < next.0));
        assert_eq!(
            EncryptionContext::new(backwards.clone()).as_ref().map(|again| again.iter().collect::<Vec<_>>()),
            Ok(context.iter().collect())
        );
        assert_eq!(context.iter().count(), pairs.len(), "a repeated key was taken");
    }
    if let Ok(labels) = Labels::new(pairs.iter().copied()) {
        labels.check().unwrap();
        assert!(labels.len() <= pairs.len());
    }
}

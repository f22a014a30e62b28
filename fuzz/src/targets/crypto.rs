//! What is sealed to somebody, split among several, or a key.

use std::io::{Read as _, Write as _};
use std::sync::OnceLock;

use ::crypto::asymmetric::KeyType;
use ::crypto::recipients::{self, Identity, Recipient};
use ::crypto::shamir::{self, Share};
use ::crypto::sign::P256Signer;
use ::crypto::{Secret, sealed_box};

use super::{text, texts};
use crate::engine::Target;

/// Backups as age files, by whoever has the recipient's public key.
pub(super) const AGE_FILE: Target = Target::new("crypto-age-file", age_file, age_seeds).tokens(&[
    b"age-encryption.org/v1\n",
    b"-> X25519 ",
    b"-> scrypt ",
    b"--- ",
    b"\n-> a-grease ",
]);

/// Identities and recipients as people paste them.
pub(super) const AGE_TEXT: Target = Target::new("crypto-age-text", age_text, || {
    texts(&[IDENTITY, "# a comment\nAGE-SECRET-KEY-1", &identity().recipient().to_string(), "age1"])
})
.tokens(&[b"AGE-SECRET-KEY-1", b"age1", b"\n", b"# "]);

/// Root keys as they are sealed.
pub(super) const SEALED_BOX: Target = Target::new("crypto-sealed-box", open_box, || {
    let public = sealed_box::public_of(&Secret::from_bytes([7; 32])).unwrap();
    vec![sealed_box::seal(&public, b"here", &[9; 32]).unwrap()]
});

/// Shares in any number and order.
pub(super) const SHARES: Target = Target::new("crypto-shares", shares, || {
    let split = shamir::split(&Secret::from_bytes([5; 32]), 2, 3).unwrap();
    let all = split.iter().flat_map(|share| [&[share.index][..], share.value.expose()].concat());
    vec![[2].into_iter().chain(all).collect()]
});

/// Private keys of every kind.
pub(super) const PRIVATE_KEY: Target = Target::new("crypto-private-key", private_key, || {
    let pairs = [KeyType::Ed25519, KeyType::P256, KeyType::P384, KeyType::Rsa2048];
    let made = pairs.into_iter().filter_map(|kind| kind.generate().ok());
    made.map(|pair| pair.private.expose().to_vec()).chain([include_bytes!("nobody.pk8").to_vec()]).collect()
});

/// Of nobody.
const IDENTITY: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";

fn identity() -> &'static Identity {
    static IDENTITIES: OnceLock<Vec<Identity>> = OnceLock::new();
    let all = IDENTITIES.get_or_init(|| Identity::parse_all(IDENTITY).unwrap());
    &all[0]
}

fn age_seeds() -> Vec<Vec<u8>> {
    let sealed = |content: &[u8]| {
        let mut sealing = recipients::seal(&[identity().recipient()], Vec::new()).unwrap();
        sealing.write_all(content).unwrap();
        sealing.finish().unwrap()
    };
    vec![sealed(b""), sealed(b"a backup's body"), b"age-encryption.org/v1\n-> scrypt bm9ib2R5 22\n--- AA\n".to_vec()]
}

fn age_file(input: &[u8]) {
    let Ok(mut opened) = recipients::open(input, std::slice::from_ref(identity())) else { return };
    let mut content = Vec::new();
    if opened.read_to_end(&mut content).is_ok() {
        assert!(content.len() < input.len());
    }
}

fn age_text(input: &[u8]) {
    let Some(text) = text(input) else { return };
    if let Ok(recipient) = Recipient::parse(text) {
        assert_eq!(Recipient::parse(&recipient.to_string()).unwrap().to_string(), recipient.to_string());
    }
    if let Ok(identities) = Identity::parse_all(text) {
        assert!(!identities.is_empty() && identities.len() <= text.len() / 70 + 1);
        for identity in &identities {
            let line = identity.to_line();
            let again = Identity::parse_all(std::str::from_utf8(line.expose()).unwrap()).unwrap();
            assert_eq!(again[0].recipient().to_string(), identity.recipient().to_string());
        }
    }
}

fn open_box(input: &[u8]) {
    if let Ok(secret) = sealed_box::open(&Secret::from_bytes([7; 32]), b"here", input) {
        assert_eq!(secret.expose(), [9; 32], "a box that nobody sealed");
        assert!(sealed_box::open(&Secret::from_bytes([7; 32]), b"there", input).is_err());
    }
}

fn shares(input: &[u8]) {
    let Some((threshold, rest)) = input.split_first() else { return };
    let of = |chunk: &[u8]| {
        let (index, value) = chunk.split_first().unwrap();
        Share { index: *index, value: Secret::from_slice(value).unwrap() }
    };
    let given: Vec<Share> = rest.chunks_exact(33).map(of).collect();
    let backwards: Vec<Share> = rest.chunks_exact(33).rev().map(of).collect();
    let (one, other) = (shamir::combine(*threshold, &given), shamir::combine(*threshold, &backwards));
    assert_eq!(one.is_ok(), other.is_ok(), "the order of shares matters");
    if let (Ok(one), Ok(other)) = (one, other) {
        assert_eq!(one.expose(), other.expose(), "the order of shares matters");
    }
}

fn private_key(input: &[u8]) {
    if let Ok(signer) = P256Signer::from_pkcs8(input) {
        assert_eq!(signer.to_pkcs8().expose(), input, "another encoding of a key");
        let signature = signer.sign(b"message");
        ::crypto::sign::verify_p256_spki(&signer.spki_der(), b"message", &signature).unwrap();
    }
    for kind in [KeyType::Ed25519, KeyType::P256, KeyType::P384, KeyType::Rsa2048, KeyType::Rsa3072] {
        if let Ok(public) = kind.public_of(input) {
            assert!(public.len() <= ::kms::public::PUBLIC_BYTES_MAX);
        }
    }
}

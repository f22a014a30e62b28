//! What the SDK, operators and agents are handed: tokens, trust documents, key files, addresses.

use ::crypto::{Secret, SecretBytes};
use ::types::{ClusterId, NodeId, SpkiHash, Time, TokenId, TrustDomain};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery_client::Address;
use chancery_client::freshness::IndexToken;
use chancery_client::identity::{Protection, open_key, seal_key};
use chancery_client::token::{JoinToken, TokenKind};
use chancery_client::trust::{self, Statement, TrustDocument, TrustedNode};
use prost::Message as _;

use super::{signer, text, texts};
use crate::engine::Target;

/// Join tokens: what stands in them, with a checksum that is right.
pub(super) const TOKEN: Target = Target::new("client-token", token, || {
    let token = |kind, endpoint| JoinToken {
        cluster_id: ClusterId([1; 16]),
        kind,
        endpoints: vec![Address::parse(endpoint).unwrap()],
        cluster_key_hash: SpkiHash([2; 32]),
        id: TokenId([3; 16]),
        secret: Secret::from_bytes([4; 32]),
        expires: Time(1_795_358_000_000),
    };
    let inside = |token: JoinToken| {
        let bytes = URL_SAFE_NO_PAD.decode(&token.encode().unwrap().as_str()[5..]).unwrap();
        bytes[..bytes.len() - 4].to_vec()
    };
    vec![inside(token(TokenKind::Node, "127.0.0.1:7443")), inside(token(TokenKind::Node, "[::1]:7443"))]
})
.tokens(&[b"localhost:7443", b"[::1]", b"\x80\x00", b":443"]);

/// What a server that is not trusted yet hands out.
pub(super) const TRUST: Target = Target::new("client-trust", trust_document, || {
    let document = trust::sign(&statement(), &signer());
    vec![document.encode_to_vec(), statement().encode()]
});

/// Private key files, up to where a passphrase would be needed.
pub(super) const KEY_FILE: Target = Target::new("client-key-file", key_file, || {
    let plain = seal_key(&signer(), &Protection::DangerousUnencrypted).unwrap();
    let cheap =
        ::crypto::password::Params::new(8, 1, 1).or_else(|_| ::crypto::password::Params::new(19_456, 2, 1)).unwrap();
    let sealed =
        seal_key(&signer(), &Protection::Passphrase(&SecretBytes::from_vec(b"words".to_vec()), cheap)).unwrap();
    vec![plain.as_bytes().to_vec(), sealed.as_bytes().to_vec()]
})
.tokens(&[
    b"-----BEGIN ",
    b"PRIVATE KEY-----",
    b"CHANCERY ENCRYPTED ",
    b"-----END ",
    b"\n",
    b"\r\n",
    b"Proc-Type: 4,ENCRYPTED\n\n",
]);

/// Addresses, index tokens, socket paths.
pub(super) const TEXT: Target = Target::new("client-text", words, || {
    texts(&[
        "127.0.0.1:7443",
        "[::1]:7443,node.example",
        "node.example:443",
        "unix:///run/a.sock",
        "18446744073709551615",
        "[fe80::1%1]:1",
    ])
})
.tokens(&[b"[", b"]", b":", b",", b"::", b"unix:", b"//", b"+1", b"%"])
.bytes_max(600);

fn token(input: &[u8]) {
    let digest = ::crypto::hash::sha256(input);
    let whole = [input, &digest[..4]].concat();
    for encoded in [URL_SAFE_NO_PAD.encode(whole), String::from_utf8_lossy(input).into_owned()] {
        let text = format!("chy1.{encoded}");
        if let Ok(token) = JoinToken::parse(&text) {
            assert_eq!(token.encode().unwrap().as_str(), text.trim(), "a second encoding of a token");
        }
    }
}

fn statement() -> Statement {
    Statement {
        cluster_id: ClusterId([1; 16]),
        generation: 1,
        sequence: 7,
        nodes: vec![TrustedNode {
            node: NodeId(1),
            spki: SpkiHash([2; 32]),
            api_address: Address::parse("127.0.0.1:7443").unwrap(),
        }],
        trust_domain: TrustDomain::parse("example.org").unwrap(),
        x509_authorities: vec![vec![3; 40]],
    }
}

fn trust_document(input: &[u8]) {
    if let Ok(statement) = Statement::decode(input) {
        assert_eq!(Statement::decode(&statement.encode()).as_ref().ok(), Some(&statement));
    }
    let Ok(wire) = ::proto::cluster::v1::TrustDocument::decode(input) else { return };
    let ours = ::ca::spki_hash(&signer().spki_der());
    if let Ok(document) = TrustDocument::verify(wire, ours) {
        assert_eq!(*document.statement(), statement(), "a statement that nobody signed");
        assert!(TrustDocument::verify(document.wire().clone(), SpkiHash([0; 32])).is_err());
    }
}

fn key_file(input: &[u8]) {
    let asked = std::cell::Cell::new(false);
    let nobody = || {
        asked.set(true);
        Err("nobody is asked".to_owned())
    };
    if let Ok(key) = open_key(input, &nobody) {
        assert!(!asked.get());
        let written = seal_key(&key, &Protection::DangerousUnencrypted).unwrap();
        assert_eq!(open_key(written.as_bytes(), &nobody).unwrap().spki_der(), key.spki_der());
    }
}

fn words(input: &[u8]) {
    let Some(text) = text(input) else { return };
    if let Ok(address) = Address::parse(text) {
        assert_eq!(Address::parse(address.as_str()).as_ref(), Ok(&address));
        assert!(!address.host().is_empty());
    }
    if let Ok(list) = Address::parse_list(text) {
        let joined = list.iter().map(Address::as_str).collect::<Vec<_>>().join(",");
        assert_eq!(Address::parse_list(&joined), Ok(list));
    }
    if let Ok(token) = text.parse::<IndexToken>() {
        assert_eq!(token.to_string().parse(), Ok(token));
    }
    if let Ok(path) = chancery_client::workload::socket_path(text) {
        assert!(path.is_absolute());
    }
}

//! Refusals of trust documents, and the cache's memory.

use types::{ClusterId, NodeId, TrustDomain};

use super::*;
use crate::Address;

fn statement(sequence: u64) -> Statement {
    Statement {
        cluster_id: ClusterId([7; 16]),
        generation: 1,
        sequence,
        nodes: vec![TrustedNode {
            node: NodeId(1),
            spki: SpkiHash([1; 32]),
            api_address: Address::parse("127.0.0.1:7443").expect("an address"),
        }],
        trust_domain: TrustDomain::parse("dev.chancery").expect("a domain"),
        x509_authorities: vec![vec![1, 2, 3]],
    }
}

fn pin(key: &P256Signer) -> SpkiHash {
    ca::spki_hash(&key.spki_der())
}

#[test]
fn what_the_cluster_key_signs_is_read_back() {
    let key = P256Signer::generate();
    let document = TrustDocument::verify(sign(&statement(5), &key), pin(&key)).expect("verifies");
    assert_eq!(document.statement(), &statement(5));
    assert_eq!(document.pins().collect::<Vec<_>>(), [SpkiHash([1; 32])]);
    document.check_lists(SpkiHash([1; 32])).expect("is listed");
    assert!(matches!(document.check_lists(SpkiHash([2; 32])), Err(TrustError::ServerNotListed(_))));
}

#[test]
fn another_cluster_and_every_changed_byte_are_refused() {
    let (key, other) = (P256Signer::generate(), P256Signer::generate());
    let good = sign(&statement(5), &key);
    assert!(matches!(TrustDocument::verify(good.clone(), pin(&other)), Err(TrustError::OtherCluster { .. })));
    // A forger that keeps the cluster's public key beside its own signature.
    let forged = wire::TrustDocument { cluster_spki: key.spki_der(), ..sign(&statement(9), &other) };
    assert!(matches!(TrustDocument::verify(forged, pin(&key)), Err(TrustError::BadSignature)));
    for at in 0..good.statement.len() {
        let mut bad = good.clone();
        bad.statement[at] ^= 1;
        assert!(matches!(TrustDocument::verify(bad, pin(&key)), Err(TrustError::BadSignature)), "byte {at}");
    }
}

#[test]
fn a_signed_document_still_has_to_be_well_formed() {
    let key = P256Signer::generate();
    let no_nodes = Statement { nodes: Vec::new(), ..statement(1) };
    let too_many = Statement { x509_authorities: vec![Vec::new(); 17], ..statement(1) };
    for bad in [no_nodes, too_many] {
        assert!(matches!(TrustDocument::verify(sign(&bad, &key), pin(&key)), Err(TrustError::Malformed(_))));
    }
}

#[test]
fn the_cache_refuses_what_is_older_and_keeps_what_is_newer() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = TrustCache::at(folder.path().join("trust.json"));
    let key = P256Signer::generate();
    let document = |statement: Statement| TrustDocument::verify(sign(&statement, &key), pin(&key)).expect("verifies");

    assert!(cache.load(pin(&key)).expect("no file is no error").is_none());
    cache.store(&document(statement(5)), pin(&key)).expect("stores");
    cache.store(&document(statement(5)), pin(&key)).expect("the same again is fine");
    assert!(matches!(cache.store(&document(statement(4)), pin(&key)), Err(TrustError::Older { .. })));
    let restored = Statement { generation: 2, ..statement(1) };
    cache.store(&document(restored), pin(&key)).expect("a later generation is newer whatever its sequence");
    let loaded = cache.load(pin(&key)).expect("loads").expect("is there");
    assert_eq!(loaded.statement().order(), (2, 1));
    assert!(matches!(cache.load(SpkiHash([0; 32])), Err(TrustError::OtherCluster { .. })));
}

#[test]
fn a_damaged_cache_is_an_error_and_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = TrustCache::at(folder.path().join("trust.json"));
    crate::private_file::write(cache.path(), b"{").expect("writes");
    let key = P256Signer::generate();
    assert!(matches!(cache.load(pin(&key)), Err(TrustError::Cache(_))));
    let document = TrustDocument::verify(sign(&statement(5), &key), pin(&key)).expect("verifies");
    assert!(cache.store(&document, pin(&key)).is_err());
    assert!(cache.path().exists());
}

//! Makes the certificates that the simulation uses, and proves that the stored ones are what the simulation thinks.

use ca::{Authority, Serial, generate_authority};
use crypto::sign::P256Signer;
use sim::certificates::{AUTHORITIES, TRUST_DOMAIN, ends_at, made_at};
use types::{NodeId, TrustDomain};

#[test]
#[ignore = "writes testdata; run it only to make new certificates"]
fn make_certificates() {
    let domain = TrustDomain::parse(TRUST_DOMAIN).expect("a name");
    for number in 0..16 {
        let serial = Serial::from_random(crypto::entropy::array());
        let made =
            generate_authority(NodeId(1), &domain, &P256Signer::generate(), serial, made_at(number)).expect("made");
        let path = format!("{}/testdata/authority-{number:02}.der", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, made.der()).expect("written");
    }
}

#[test]
fn the_stored_ones_are_authorities_of_the_right_age() {
    let domain = TrustDomain::parse(TRUST_DOMAIN).expect("a name");
    for (number, der) in AUTHORITIES.iter().enumerate() {
        let authority =
            Authority::generated(NodeId(1), der.to_vec(), &domain, made_at(number)).expect("passes the lint");
        assert_eq!(authority.not_after, ends_at(number), "authority {number}");
    }
}

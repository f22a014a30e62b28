//! Each test breaks one rule and nothing else. Names start with the number of the SPIFFE point they hold.

use crypto::sign::P256Signer;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyUsagePurpose, SanType,
};
use types::limits::{SVID_BACKDATE, SVID_TTL_DEFAULT};

use super::*;
use crate::keys::Signing;
use crate::testkit::{NOW, Office, extension, serial, uri, uris_der};
use crate::{generate_authority, profile};

/// Lints an SVID that is right but for `spoil`; returns the rule it breaks.
fn broken(spoil: impl FnOnce(&mut CertificateParams)) -> Result<(), &'static str> {
    let office = Office::new("example.org");
    let workload = P256Signer::generate();
    check(&office, &workload, office.forge(&workload, spoil))
}

fn check(office: &Office, workload: &P256Signer, der: Vec<u8>) -> Result<(), &'static str> {
    let entry = &office.entry(&[], SVID_TTL_DEFAULT);
    let (spki, issuer) = (&workload.spki_der(), &office.facts());
    let expected = SvidExpected { spki, entry, grant: office.grant(), issuer, now: NOW };
    svid(der, &expected).map(|_| ()).map_err(|failure| failure.rule)
}

/// Lints an authority that is right but for `spoil`.
fn broken_authority(spoil: impl FnOnce(&mut CertificateParams)) -> Result<(), &'static str> {
    let signer = P256Signer::generate();
    let key = Signing::new(&signer);
    let mut params = CertificateParams::default();
    params.serial_number = Some(serial().as_bytes().to_vec().into());
    params.distinguished_name = crate::issue::authority_name(types::NodeId(1), &key);
    params.not_before = profile::x509_time(NOW.before(SVID_BACKDATE));
    params.not_after = profile::x509_time(NOW.after(AUTHORITY_LIFE));
    params.subject_alt_names = vec![uri("spiffe://example.org")];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.key_identifier_method = KeyIdMethod::PreSpecified(key.key_identifier());
    params.use_authority_key_identifier_extension = true;
    spoil(&mut params);
    let der = params.self_signed(&key).expect("encodes").der().to_vec();
    let trust_domain = TrustDomain::parse("example.org").expect("a name");
    authority(&der, &trust_domain).map(|_| ()).map_err(|failure| failure.rule)
}

#[test]
fn what_is_not_spoiled_passes() {
    assert_eq!(broken(|_| ()), Ok(()));
    assert_eq!(broken_authority(|_| ()), Ok(()));
}

#[test]
fn p05_p11_only_the_canonical_spelling_is_issued() {
    assert_eq!(broken(|p| p.subject_alt_names = vec![uri("spiffe://EXAMPLE.org/ns/pay/api")]), Err("SPIFFE-ID §2.4"));
    assert_eq!(broken(|p| p.subject_alt_names = vec![uri("spiffe://example.org/ns/pay/%61pi")]), Err("SPIFFE-ID §2"));
    assert_eq!(broken(|p| p.subject_alt_names = vec![uri("https://example.org/ns/pay/api")]), Err("SPIFFE-ID §2"));
}

#[test]
fn p13_p19_an_authority_names_its_trust_domain_without_a_path() {
    for wrong in ["spiffe://example.org/", "spiffe://example.org/ca", "spiffe://other.org"] {
        assert_eq!(broken_authority(|p| p.subject_alt_names = vec![uri(wrong)]), Err("X509-SVID §3.1"), "{wrong}");
    }
    assert_eq!(broken_authority(|p| p.subject_alt_names.push(uri("spiffe://example.org"))), Err("X509-SVID §3.1"));
    assert_eq!(broken_authority(|p| p.subject_alt_names.clear()), Err("X509-SVID §2"));
    let dns = SanType::DnsName("ca.example".to_owned().try_into().expect("ASCII"));
    assert_eq!(broken_authority(|p| p.subject_alt_names.push(dns)), Err("identities §3"));
}

#[test]
fn p14_the_id_and_the_key_are_signed_by_the_authority() {
    let (office, workload) = (Office::new("example.org"), P256Signer::generate());
    let good = office.forge(&workload, |_| ());
    assert_eq!(check(&office, &P256Signer::generate(), good.clone()), Err("X509-SVID §2"), "another key");
    // An office of the same name has the same issuer name only if its key is the same; the signature is checked as well.
    let other = Office::new("example.org");
    assert_eq!(check(&office, &workload, other.forge(&workload, |_| ())), Err("RFC 5280 §4.1.2.4"));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(check(&office, &workload, bad).is_err(), "byte {at}");
    }
}

#[test]
fn p16_an_svid_has_exactly_one_uri() {
    assert_eq!(broken(|p| p.subject_alt_names.clear()), Err("X509-SVID §2"));
    assert_eq!(broken(|p| p.subject_alt_names.push(uri("spiffe://example.org/ns/pay/b"))), Err("X509-SVID §2"));
    assert_eq!(broken(|p| p.subject_alt_names.push(uri("https://example.org"))), Err("X509-SVID §2"));
}

#[test]
fn p17_a_workloads_id_has_a_path() {
    assert_eq!(broken(|p| p.subject_alt_names = vec![uri("spiffe://example.org")]), Err("X509-SVID §5.2"));
}

#[test]
fn p18_with_an_empty_subject_the_names_are_critical() {
    let names = uris_der(&["spiffe://example.org/ns/pay/api"]);
    let swap = |critical| {
        let names = names.clone();
        broken(move |p| {
            p.subject_alt_names.clear();
            p.custom_extensions.push(extension(17, critical, &names));
        })
    };
    assert_eq!(swap(true), Ok(()));
    assert_eq!(swap(false), Err("RFC 5280 §4.2.1.6"));
    assert_eq!(broken(|p| p.distinguished_name.push(rcgen::DnType::CommonName, "api")), Err("identities §4"));
}

#[test]
fn p19_an_authority_may_sign_and_says_so() {
    assert_eq!(broken_authority(|p| p.is_ca = IsCa::ExplicitNoCa), Err("X509-SVID §4.1"));
    assert_eq!(broken_authority(|p| p.is_ca = IsCa::NoCa), Err("X509-SVID §4.1"));
    assert_eq!(broken_authority(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), Err("identities §3"));
    assert_eq!(broken_authority(|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(1))), Err("identities §3"));
    let only_crl = |p: &mut CertificateParams| p.key_usages = vec![KeyUsagePurpose::CrlSign];
    assert_eq!(broken_authority(only_crl), Err("X509-SVID §4.3"));
    let eku = |p: &mut CertificateParams| p.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    assert_eq!(broken_authority(eku), Err("identities §3"));
}

#[test]
fn p21_a_leaf_is_no_authority() {
    assert_eq!(broken(|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))), Err("X509-SVID §4.1"));
}

#[test]
fn p22_key_usage_is_present_and_critical() {
    assert_eq!(broken(|p| p.key_usages.clear()), Err("X509-SVID §4.3"));
    assert_eq!(broken_authority(|p| p.key_usages.clear()), Err("X509-SVID §4.3"));
    let soft = |bits: &'static [u8]| {
        move |p: &mut CertificateParams| {
            p.key_usages.clear();
            p.custom_extensions.push(extension(15, false, bits));
        }
    };
    assert_eq!(broken(soft(&[0x03, 0x02, 0x07, 0x80])), Err("X509-SVID §4.3"));
    assert_eq!(broken_authority(soft(&[0x03, 0x02, 0x01, 0x06])), Err("X509-SVID §4.3"));
}

#[test]
fn p23_a_leaf_signs_handshakes_and_nothing_else() {
    use KeyUsagePurpose as U;
    for extra in [U::KeyCertSign, U::CrlSign, U::KeyEncipherment, U::KeyAgreement, U::ContentCommitment] {
        assert_eq!(broken(|p| p.key_usages.push(extra)), Err("X509-SVID §4.3"));
    }
    assert_eq!(broken(|p| p.key_usages = vec![U::KeyAgreement]), Err("X509-SVID §4.3"));
}

#[test]
fn p24_both_tls_purposes_and_no_other() {
    use ExtendedKeyUsagePurpose as P;
    assert_eq!(broken(|p| p.extended_key_usages.clear()), Err("X509-SVID §4.4"));
    for wrong in [vec![P::ServerAuth], vec![P::ClientAuth], vec![P::ServerAuth, P::ClientAuth, P::CodeSigning]] {
        assert_eq!(broken(|p| p.extended_key_usages = wrong), Err("X509-SVID §4.4"));
    }
}

#[test]
fn p27_name_constraints_are_never_written() {
    let constraints = || rcgen::NameConstraints {
        permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("example.org".to_owned())],
        excluded_subtrees: Vec::new(),
    };
    assert_eq!(broken_authority(|p| p.name_constraints = Some(constraints())), Err("identities §2"));
    assert_eq!(broken(|p| p.custom_extensions.push(extension(32, false, &[0x30, 0]))), Err("identities §2"));
}

#[test]
fn p91_names_and_key_ids_lead_to_the_right_authority() {
    assert_eq!(broken(|p| p.use_authority_key_identifier_extension = false), Err("identities §2"));
    assert_eq!(broken(|p| p.key_identifier_method = KeyIdMethod::PreSpecified(vec![1; 20])), Err("identities §2"));
    assert_eq!(broken(|p| p.is_ca = IsCa::NoCa), Err("identities §2"), "no subject key id");
    let nameless = |p: &mut CertificateParams| {
        p.distinguished_name = rcgen::DistinguishedName::new();
        p.distinguished_name.push(rcgen::DnType::CommonName, "node-1");
    };
    assert_eq!(broken_authority(nameless), Err("identities §3"));
    let name = |seed: u8| {
        let trust_domain = TrustDomain::parse("example.org").expect("a name");
        let (key, serial) = (P256Signer::generate(), crate::Serial::from_random([seed; 32]));
        let made = generate_authority(types::NodeId(1), &trust_domain, &key, serial, NOW).expect("a certificate");
        Facts::read(made.der()).expect("reads").subject
    };
    assert_ne!(name(1), name(1), "successive authorities of one node differ in name");
}

#[test]
fn invariant_8_nothing_outlives_its_policy_or_its_issuer() {
    let at = |time: Time| profile::x509_time(time);
    assert_eq!(broken(|p| p.not_after = at(NOW.after(Millis(SVID_TTL_DEFAULT.0 + 60_000)))), Err("invariant 8"));
    assert_eq!(broken(|p| p.not_after = at(NOW.after(AUTHORITY_LIFE).after(Millis(1_000)))), Err("invariant 8"));
    assert_eq!(broken(|p| p.not_before = at(NOW.before(Millis::from_hours(2)))), Err("invariant 8"));
    assert_eq!(broken(|p| p.not_before = at(NOW.after(Millis(1_000)))), Err("RFC 5280 §4.1.2.5"));
    assert_eq!(broken(|p| p.not_after = at(NOW)), Err("RFC 5280 §4.1.2.5"));
    let long = |p: &mut CertificateParams| p.not_after = at(NOW.after(Millis::from_days(8)));
    assert_eq!(broken_authority(long), Err("invariant 8"));
}

#[test]
fn invariant_13_nothing_outside_the_namespace() {
    for outside in [
        "spiffe://example.org/ns/other/api",
        "spiffe://example.org/ns/pay",
        "spiffe://example.org/chancery/node/1",
        "spiffe://other.org/ns/pay/api",
    ] {
        assert_eq!(broken(|p| p.subject_alt_names = vec![uri(outside)]), Err("invariant 13"), "{outside}");
    }
    let sibling = uri("spiffe://example.org/ns/pay/other");
    assert_eq!(
        broken(|p| p.subject_alt_names = vec![sibling]),
        Err("identities §4"),
        "the namespace's, not the entry's"
    );
    let name = |text: &str| SanType::DnsName(text.to_owned().try_into().expect("ASCII"));
    assert_eq!(broken(|p| p.subject_alt_names.push(name("api.pay.example"))), Err("identities §4"), "not the entry's");
    let address = SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
    assert_eq!(broken(|p| p.subject_alt_names.push(address)), Err("identities §4"));
}

#[test]
fn serial_numbers_are_long_and_positive() {
    for wrong in [vec![1], vec![0], vec![0x7f; 15], vec![0x7f; 21]] {
        assert_eq!(broken(|p| p.serial_number = Some(wrong.into())), Err("RFC 5280 §4.1.2.2"));
    }
}

#[test]
fn anything_but_exactly_one_certificate_is_refused() {
    let (office, workload) = (Office::new("example.org"), P256Signer::generate());
    let good = office.forge(&workload, |_| ());
    assert_eq!(check(&office, &workload, [&good[..], &good[..]].concat()), Err("RFC 5280 §4"));
    assert_eq!(check(&office, &workload, Vec::new()), Err("RFC 5280 §4"));
    let twice = |p: &mut CertificateParams| p.custom_extensions.push(extension(19, true, &[0x30, 0]));
    assert_eq!(broken(twice), Err("RFC 5280 §4"), "basic constraints twice");
}

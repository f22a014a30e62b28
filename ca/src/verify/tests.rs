//! Peers that must not be believed, one broken rule each. Names start with the number of the SPIFFE point they hold.

use crypto::sign::P256Signer;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use types::Millis;
use types::limits::SVID_TTL_DEFAULT;

use super::*;
use crate::Bundle;
use crate::keys::Signing;
use crate::testkit::{NOW, Office, extension, serial, uri};

fn verify(chain: &[&[u8]], bundles: &Bundles, now: Time) -> Result<SpiffeId, PeerRefusal> {
    let chain: Vec<_> = chain.iter().map(|der| CertificateDer::from(*der)).collect();
    verify_peer(&chain, bundles, now)
}

/// What `verify_peer` says to a leaf that is right but for `spoil`.
fn spoiled(spoil: impl FnOnce(&mut CertificateParams)) -> Result<SpiffeId, PeerRefusal> {
    let office = Office::new("example.org");
    let leaf = office.forge(&P256Signer::generate(), spoil);
    verify(&[&leaf], &office.bundle().into(), NOW)
}

#[test]
fn what_we_issue_is_believed() {
    let office = Office::new("example.org");
    let issued = office.issue(&P256Signer::generate());
    let bundles = office.bundle().into();
    assert_eq!(verify(&[issued.certificate.der()], &bundles, NOW), Ok(office.id()));
    assert_eq!(verify(&[issued.certificate.der(), &office.authority.certificate], &bundles, NOW), Ok(office.id()));
}

#[test]
fn p11_p12_ids_are_folded_and_bounded() {
    let folded = spoiled(|p| p.subject_alt_names = vec![uri("SPIFFE://Example.ORG/ns/pay/A")]);
    assert_eq!(folded.expect("folds").to_string(), "spiffe://example.org/ns/pay/A");
    let long = format!("spiffe://example.org/{}", "a".repeat(2_048));
    let refused = spoiled(|p| p.subject_alt_names = vec![uri(&long)]);
    assert_eq!(refused, Err(PeerRefusal::NotASpiffeId(SpiffeIdError::TooLong)));
}

#[test]
fn p16_exactly_one_uri() {
    let second = uri("spiffe://example.org/ns/pay/b");
    assert_eq!(spoiled(|p| p.subject_alt_names.push(second)), Err(PeerRefusal::NotOneUri(2)));
    assert_eq!(spoiled(|p| p.subject_alt_names.push(uri("https://a.example"))), Err(PeerRefusal::NotOneUri(2)));
    assert_eq!(spoiled(|p| p.subject_alt_names.clear()), Err(PeerRefusal::NotOneUri(0)));
    let name = rcgen::SanType::DnsName("any.example".to_owned().try_into().expect("ASCII"));
    assert!(spoiled(|p| p.subject_alt_names.push(name)).is_ok(), "other kinds of names are free");
}

#[test]
fn p17_a_workload_has_a_path() {
    let refused = spoiled(|p| p.subject_alt_names = vec![uri("spiffe://example.org")]);
    assert!(matches!(refused, Err(PeerRefusal::NoPath(_))), "{refused:?}");
    let slash = spoiled(|p| p.subject_alt_names = vec![uri("spiffe://example.org/")]);
    assert_eq!(slash, Err(PeerRefusal::NotASpiffeId(SpiffeIdError::EmptySegment)));
}

#[test]
fn p20_p25_a_signing_certificate_never_authenticates() {
    let office = Office::new("example.org");
    let bundles = office.bundle().into();
    let authority: &[u8] = &office.authority.certificate;
    assert_eq!(verify(&[authority], &bundles, NOW), Err(PeerRefusal::SigningCertificate));
    let ca = |p: &mut CertificateParams| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(spoiled(ca), Err(PeerRefusal::SigningCertificate));
    for usage in [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign] {
        assert_eq!(spoiled(|p| p.key_usages.push(usage)), Err(PeerRefusal::SigningCertificate));
    }
}

#[test]
fn p22_p24_usages_must_allow_tls_authentication() {
    use ExtendedKeyUsagePurpose as P;
    assert_eq!(spoiled(|p| p.key_usages.clear()), Err(PeerRefusal::WrongUsage));
    assert_eq!(spoiled(|p| p.key_usages = vec![KeyUsagePurpose::KeyAgreement]), Err(PeerRefusal::WrongUsage));
    assert_eq!(spoiled(|p| p.extended_key_usages = vec![P::ServerAuth]), Err(PeerRefusal::WrongUsage));
    assert_eq!(spoiled(|p| p.extended_key_usages = vec![P::ClientAuth]), Err(PeerRefusal::WrongUsage));
    assert!(spoiled(|p| p.extended_key_usages.clear()).is_ok(), "a foreign SVID may leave it out");
    let extra = spoiled(|p| p.extended_key_usages.push(P::EmailProtection));
    assert!(extra.is_ok(), "a foreign SVID may have more");
}

#[test]
fn p25_dates_are_checked() {
    let office = Office::new("example.org");
    let (issued, bundles) = (office.issue(&P256Signer::generate()), office.bundle().into());
    let at = |now| verify(&[issued.certificate.der()], &bundles, now);
    assert_eq!(at(issued.not_before), Ok(office.id()));
    assert_eq!(at(issued.not_before.before(Millis(1_000))), Err(PeerRefusal::NotValidYet));
    assert_eq!(at(issued.not_after), Ok(office.id()));
    assert_eq!(at(issued.not_after.after(Millis(1_000))), Err(PeerRefusal::Expired));
}

#[test]
fn p25_every_flipped_byte_is_noticed() {
    let office = Office::new("example.org");
    let (issued, bundles) = (office.issue(&P256Signer::generate()), office.bundle().into());
    for at in 0..issued.certificate.der().len() {
        let mut bad = issued.certificate.der().to_vec();
        bad[at] ^= 1;
        assert!(verify(&[&bad], &bundles, NOW).is_err(), "byte {at}");
    }
}

#[test]
fn p25_unknown_critical_extensions_are_refused() {
    let critical = |p: &mut CertificateParams| p.custom_extensions.push(extension(99, true, &[5, 0]));
    assert!(matches!(spoiled(critical), Err(PeerRefusal::Untrusted(..) | PeerRefusal::Malformed(_))));
    assert!(spoiled(|p| p.custom_extensions.push(extension(99, false, &[5, 0]))).is_ok());
}

#[test]
fn p26_only_the_leafs_own_trust_domain_vouches_for_it() {
    let (ours, theirs) = (Office::new("example.org"), Office::new("partner.org"));
    let bundles = Bundles::new([ours.bundle(), theirs.bundle()]);
    let workload = P256Signer::generate();
    assert_eq!(verify(&[theirs.issue(&workload).certificate.der()], &bundles, NOW), Ok(theirs.id()));
    // The partner's authority signs one of our names: against the union of the roots this verifies.
    let crossed = theirs.forge(&workload, |p| p.subject_alt_names = vec![uri("spiffe://example.org/ns/pay/api")]);
    let union = Bundle { roots: [ours.bundle().roots, theirs.bundle().roots].concat(), ..ours.bundle() };
    assert_eq!(verify(&[&crossed], &union.into(), NOW), Ok(ours.id()), "nothing else is wrong with it");
    let refused = verify(&[&crossed, &theirs.authority.certificate], &bundles, NOW);
    assert!(
        matches!(&refused, Err(PeerRefusal::Untrusted(domain, _)) if domain.as_str() == "example.org"),
        "{refused:?}"
    );
}

#[test]
fn p26_a_trust_domain_without_a_bundle_is_unknown() {
    let (ours, theirs) = (Office::new("example.org"), Office::new("partner.org"));
    let leaf = theirs.issue(&P256Signer::generate());
    let refused = verify(&[leaf.certificate.der()], &ours.bundle().into(), NOW);
    assert_eq!(refused, Err(PeerRefusal::UnknownTrustDomain(theirs.trust_domain)));
}

#[test]
fn p43_an_empty_bundle_trusts_nobody() {
    let office = Office::new("example.org");
    let leaf = office.issue(&P256Signer::generate());
    let empty = Bundle { roots: Vec::new(), ..office.bundle() };
    assert!(matches!(verify(&[leaf.certificate.der()], &empty.into(), NOW), Err(PeerRefusal::Untrusted(..))));
    let leaf_as_root = Bundle { roots: vec![leaf.certificate.der().to_vec()], ..office.bundle() };
    assert!(verify(&[leaf.certificate.der()], &leaf_as_root.into(), NOW).is_err(), "a leaf is no root");
}

#[test]
fn chains_have_bounds() {
    let office = Office::new("example.org");
    let (issued, bundles) = (office.issue(&P256Signer::generate()), office.bundle().into());
    assert_eq!(verify(&[], &bundles, NOW), Err(PeerRefusal::NoCertificate));
    let long = vec![issued.certificate.der(); PEER_CHAIN_MAX + 1];
    assert_eq!(verify(&long, &bundles, NOW), Err(PeerRefusal::ChainTooLong));
    assert!(matches!(verify(&[b"nonsense"], &bundles, NOW), Err(PeerRefusal::Malformed(_))));
}

/// A foreign trust domain with a root and an intermediate, which `spoil` changes.
fn through_intermediate(spoil: impl FnOnce(&mut CertificateParams)) -> Result<SpiffeId, PeerRefusal> {
    let keys = [P256Signer::generate(), P256Signer::generate(), P256Signer::generate()];
    let [root, middle, workload] = keys.each_ref().map(Signing::new);
    let ca = |name: &str| {
        let mut params = CertificateParams::default();
        params.serial_number = Some(serial().as_bytes().to_vec().into());
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.subject_alt_names = vec![uri("spiffe://foreign.org")];
        params
    };
    let (root_params, mut middle_params) = (ca("root"), ca("middle"));
    spoil(&mut middle_params);
    let root_der = root_params.self_signed(&root).expect("encodes");
    let middle_der =
        middle_params.signed_by(&middle, &rcgen::Issuer::from_params(&root_params, &root)).expect("encodes");
    let mut leaf = crate::profile::leaf(serial().as_bytes(), NOW, NOW.after(SVID_TTL_DEFAULT), Vec::new());
    leaf.subject_alt_names = vec![uri("spiffe://foreign.org/w")];
    let leaf_der = leaf.signed_by(&workload, &rcgen::Issuer::from_params(&middle_params, &middle)).expect("encodes");
    let bundle = Bundle {
        trust_domain: TrustDomain::parse("foreign.org").expect("a name"),
        sequence: 1,
        refresh_hint: Millis(0),
        roots: vec![root_der.der().to_vec()],
    };
    verify(&[leaf_der.der(), middle_der.der()], &bundle.into(), NOW)
}

#[test]
fn p09_p19_intermediates_are_signers_of_the_same_trust_domain() {
    assert!(through_intermediate(|_| ()).is_ok());
    assert!(through_intermediate(|p| p.subject_alt_names.clear()).is_ok(), "no id at all is allowed");
    assert!(through_intermediate(|p| p.subject_alt_names = vec![uri("spiffe://foreign.org/")]).is_ok(), "tolerated");
    let refused = |spoil: fn(&mut CertificateParams)| {
        let refused = through_intermediate(spoil);
        assert!(matches!(refused, Err(PeerRefusal::Untrusted(..))), "{refused:?}");
    };
    refused(|p| p.subject_alt_names = vec![uri("spiffe://foreign.org/w")]);
    refused(|p| p.subject_alt_names = vec![uri("spiffe://example.org")]);
    refused(|p| p.subject_alt_names.push(uri("spiffe://foreign.org")));
    refused(|p| p.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    refused(|p| p.key_usages.clear());
    refused(|p| p.is_ca = IsCa::ExplicitNoCa);
}

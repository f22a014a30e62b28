//! Profiles as reviewed text, and what others say about them.

use std::fmt::Write as _;
use std::process::Command;

use expect_test::{Expect, expect};
use types::limits::SVID_TTL_DEFAULT;
use types::{AgentName, Revision};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;
use crate::testkit::{NOW, Office, dns, requested, serial};
use crate::{EntrySpec, Selector, Step};

#[test]
fn p18_p21_p22_p23_p24_the_profile_of_an_svid() {
    let office = Office::new("example.org");
    let entry = office.entry(&["api.pay.example", "pay.example"], SVID_TTL_DEFAULT);
    let workload = P256Signer::generate();
    let issued = svid(&office, &entry, &workload, NOW).expect("issues");
    check_profile(
        issued.certificate.der(),
        expect![[r#"
        issuer: O=Chancery, CN=node-1, serialNumber=(key id)
        subject: 
        serial: 20 bytes
        validity: -60 s to 3600 s from now
        authority key id: 20 bytes
        alternative names: URI(spiffe://example.org/ns/pay/api), DNSName(api.pay.example), DNSName(pay.example) (critical)
        key usage: Digital Signature (critical)
        extended key usage: server true, client true
        subject key id: 20 bytes
        basic constraints: CA false, path length None (critical)
    "#]],
    );
    assert_eq!((issued.not_before, issued.not_after), (Time(NOW.0 - 60_000), Time(NOW.0 + 3_600_000)));
}

#[test]
fn p13_p19_p91_the_profile_of_an_authority() {
    check_profile(
        &Office::new("example.org").authority.certificate,
        expect![[r#"
        issuer: O=Chancery, CN=node-1, serialNumber=(key id)
        subject: O=Chancery, CN=node-1, serialNumber=(key id)
        serial: 20 bytes
        validity: -60 s to 604800 s from now
        authority key id: 20 bytes
        alternative names: URI(spiffe://example.org)
        key usage: Key Cert Sign, CRL Sign (critical)
        subject key id: 20 bytes
        basic constraints: CA true, path length Some(0) (critical)
    "#]],
    );
}

#[test]
fn the_profile_of_a_node() {
    let office = Office::new("example.org");
    let identity = P256Signer::generate();
    let (dns_names, addresses) = ([dns("node-1.example")], [IpAddr::from([127, 0, 0, 1])]);
    let issued = office.issuer(NOW).node(&node_order(&identity, &dns_names, &addresses)).expect("issues");
    check_profile(
        issued.certificate.der(),
        expect![[r#"
        issuer: O=Chancery, CN=node-1, serialNumber=(key id)
        subject: CN=node-1
        serial: 20 bytes
        validity: -60 s to 86400 s from now
        authority key id: 20 bytes
        alternative names: DNSName(node-1.example), IPAddress(7f:00:00:01)
        key usage: Digital Signature (critical)
        extended key usage: server true, client true
        subject key id: 20 bytes
        basic constraints: CA false, path length None (critical)
    "#]],
    );
    assert_eq!(crate::spki_hash_of_cert(issued.certificate.der()).expect("reads"), spki_hash(&identity.spki_der()));
}

#[test]
fn a_node_without_a_name_gets_no_certificate() {
    let office = Office::new("example.org");
    let refused = office.issuer(NOW).node(&node_order(&P256Signer::generate(), &[], &[]));
    assert!(matches!(refused, Err(IssueError::Refused(r)) if r.reason == Reason::InvalidArgument));
}

#[test]
fn p90_a_p384_key_is_certified() {
    let office = Office::new("example.org");
    let csr = include_str!("../testdata/p384.csr.b64").trim();
    let csr = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, csr).expect("base64");
    let key = RequestedKey::from_csr(&csr).expect("a good request");
    let entry = office.entry(&[], SVID_TTL_DEFAULT);
    let order = SvidOrder { entry: &entry, grant: office.grant(), key: &key, serial: serial(), now: NOW };
    let issued = office.issuer(NOW).svid(&order).expect("issues");
    let chain = [issued.certificate.der().into()];
    assert_eq!(crate::verify_peer(&chain, &office.bundle().into(), NOW), Ok(office.id()));
}

#[test]
fn only_an_active_authority_with_its_own_key_issues() {
    let mut office = Office::new("example.org");
    let new = |office: &Office, now| Issuer::new(&office.authority, &office.signer, now).map(|_| ());
    let refused = |result| matches!(result, Err(IssueError::Refused(Refusal { reason: Reason::NoAuthority, .. })));
    let last = office.authority.signs_until();
    assert!(new(&office, last.before(Millis(1))).is_ok());
    assert!(refused(new(&office, last)), "too old for its SVIDs to end in time");
    let other = P256Signer::generate();
    assert!(matches!(Issuer::new(&office.authority, &other, NOW), Err(IssueError::Fault(Fault::KeyMismatch))));
    office.authority.advance(Step::Drain, NOW, 2).expect("drains");
    assert!(refused(new(&office, NOW)));
}

#[test]
fn invariant_8_the_longest_svid_still_ends_before_its_issuer() {
    let office = Office::new("example.org");
    let entry = office.entry(&[], SVID_TTL_MAX);
    let last = office.authority.signs_until().before(Millis(1));
    let issued = svid(&office, &entry, &P256Signer::generate(), last).expect("issues");
    assert!(issued.not_after <= office.authority.not_after);
    assert!(issued.not_after.since(last) > Millis(SVID_TTL_MAX.0 - 1_000), "and is not cut short either");
    assert_eq!(SVID_TTL_MAX.0, AUTHORITY_LIFE.0 / 6);
}

#[test]
fn invariant_13_a_grant_that_was_taken_back_counts_at_once() {
    let mut office = Office::new("example.org");
    let entry = office.entry(&["api.pay.example"], SVID_TTL_DEFAULT);
    office.suffixes.clear();
    let refused = svid(&office, &entry, &P256Signer::generate(), NOW);
    assert!(matches!(refused, Err(IssueError::Refused(r)) if r.reason == Reason::OutsideNamespace));
}

#[test]
fn p12_the_longest_id_is_issued_whole() {
    let office = Office::new("example.org");
    let path = format!("/ns/pay/{}", "a".repeat(2_048 - "spiffe://example.org/ns/pay/".len()));
    let spec = EntrySpec {
        spiffe_id: office.trust_domain.workload(&path).expect("an id"),
        parent: AgentName::parse("node-1").expect("a name"),
        selectors: [Selector::UnixUid(0)].into(),
        svid_ttl: SVID_TTL_DEFAULT,
        dns_names: Vec::new(),
        hint: String::new(),
    };
    let entry = Entry::new(spec, office.grant(), NOW, Revision(1)).expect("an entry");
    let issued = svid(&office, &entry, &P256Signer::generate(), NOW).expect("issues");
    let chain = [issued.certificate.der().into()];
    let id = crate::verify_peer(&chain, &office.bundle().into(), NOW).expect("verifies");
    assert_eq!(id.to_string().len(), 2_048);
}

#[test]
fn openssl_verifies_what_we_issue() {
    let office = Office::new("example.org");
    let issued = office.issue(&P256Signer::generate());
    let identity = P256Signer::generate();
    let addresses = [IpAddr::from([127, 0, 0, 1])];
    let node = office.issuer(NOW).node(&node_order(&identity, &[dns("localhost")], &addresses)).expect("issues");
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, der: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, crate::bundle::certificate_pem(der)).expect("writes");
        path
    };
    let root = write("root.pem", &office.authority.certificate);
    for (name, der) in [("svid.pem", issued.certificate.der()), ("node.pem", node.certificate.der())] {
        for purpose in ["sslserver", "sslclient"] {
            let leaf = write(name, der);
            let mut openssl = Command::new("openssl");
            openssl.args(["verify", "-x509_strict", "-check_ss_sig", "-purpose", purpose, "-attime"]);
            let Ok(output) =
                openssl.arg(NOW.as_unix_seconds().to_string()).arg("-CAfile").arg(&root).arg(leaf).output()
            else {
                return skipped();
            };
            assert!(output.status.success(), "{name} {purpose}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

#[expect(clippy::print_stderr, reason = "a test that cannot run says so")]
fn skipped() {
    eprintln!("SKIPPED: openssl is not installed, so nobody but us has looked at these certificates");
}

fn svid(office: &Office, entry: &Entry, workload: &P256Signer, now: Time) -> Result<Issued, IssueError> {
    let key = &requested(workload);
    let order = SvidOrder { entry, grant: office.grant(), key, serial: serial(), now };
    Issuer::new(&office.authority, &office.signer, now)?.svid(&order)
}

fn node_order<'a>(identity: &'a P256Signer, dns_names: &'a [DnsName], addresses: &'a [IpAddr]) -> NodeOrder<'a> {
    let ttl = Millis::from_hours(24);
    NodeOrder { node: NodeId(1), identity, dns_names, addresses, ttl, serial: serial(), now: NOW }
}

/// Compares what a certificate says, in words, with a text to be reviewed. Keys, serial numbers and signatures are left out.
fn check_profile(der: &[u8], expected: Expect) {
    let (_, certificate) = X509Certificate::from_der(der).expect("parses");
    let seconds = i64::try_from(NOW.as_unix_seconds()).expect("fits");
    let unique = certificate.issuer().to_string();
    let unique = unique.rsplit('=').next().expect("a serialNumber");
    let mut text = String::new();
    let mut line = |words: String| writeln!(text, "{}", words.replace(unique, "(key id)")).expect("writes");
    line(format!("issuer: {}", certificate.issuer()));
    line(format!("subject: {}", certificate.subject()));
    line(format!("serial: {} bytes", certificate.tbs_certificate.raw_serial().len()));
    let validity = certificate.validity();
    let (from, until) = (validity.not_before.timestamp() - seconds, validity.not_after.timestamp() - seconds);
    line(format!("validity: {from} s to {until} s from now"));
    for extension in certificate.extensions() {
        let critical = if extension.critical { " (critical)" } else { "" };
        line(format!("{}{critical}", words(extension.parsed_extension())));
    }
    expected.assert_eq(&text);
}

fn words(extension: &ParsedExtension<'_>) -> String {
    match extension {
        ParsedExtension::SubjectAlternativeName(names) => {
            let names: Vec<_> = names.general_names.iter().map(GeneralName::to_string).collect();
            format!("alternative names: {}", names.join(", "))
        }
        ParsedExtension::KeyUsage(usage) => format!("key usage: {usage}"),
        ParsedExtension::ExtendedKeyUsage(usage) => {
            format!("extended key usage: server {}, client {}", usage.server_auth, usage.client_auth)
        }
        ParsedExtension::BasicConstraints(basic) => {
            format!("basic constraints: CA {}, path length {:?}", basic.ca, basic.path_len_constraint)
        }
        ParsedExtension::SubjectKeyIdentifier(id) => format!("subject key id: {} bytes", id.0.len()),
        ParsedExtension::AuthorityKeyIdentifier(id) => {
            format!("authority key id: {} bytes", id.key_identifier.as_ref().map_or(0, |id| id.0.len()))
        }
        other => format!("{other:?}"),
    }
}

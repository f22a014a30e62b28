//! Requests, certificates and bundles: DER and JSON by people who want to be believed.

use std::sync::OnceLock;

use ::ca::{
    Authority, Bundle, Bundles, DnsName, Entry, EntrySpec, Grant, Issuer, RequestedKey, Selector, Serial, Step,
    SvidOrder, certificate_request, generate_authority, self_signed, verify_peer,
};
use ::types::limits::SVID_TTL_DEFAULT;
use ::types::{AgentName, NamespaceName, NodeId, Revision, SpiffeId, Time, TrustDomain};

use super::{signer, text, texts};
use crate::engine::Target;

/// PKCS#10 by a workload's agent.
pub(super) const REQUEST: Target =
    Target::new("ca-request", request, || vec![certificate_request(&signer()).unwrap()]).tokens(DER);

/// Certificates of members, authorities, agents; one or several in a row.
pub(super) const CERTIFICATE: Target = Target::new("ca-certificate", certificate, || {
    let own = self_signed(&signer(), "operators/root", Time(60_000), Time(120_000)).unwrap();
    vec![own.clone(), office().authority.certificate.clone(), [own.clone(), own].concat()]
})
.tokens(DER);

/// A chain by whoever presents an SVID: the only check that a peer has to pass.
pub(super) const PEER: Target =
    Target::new("ca-peer", peer, || vec![office().svid.clone(), office().authority.certificate.clone()]).tokens(DER);

/// The bundle document of another trust domain.
pub(super) const BUNDLE: Target = Target::new("ca-bundle", bundle, || {
    vec![office().bundle.to_json().unwrap().into_bytes(), br#"{"keys":[]}"#.to_vec(), br#"{"keys":[{"kty":"EC","use":"x509-svid","x5c":[""]}],"spiffe_sequence":18446744073709551615,"spiffe_refresh_hint":18446744073709551615}"#.to_vec()]
})
.tokens(&[b"\"spiffe_refresh_hint\":", b"\"spiffe_sequence\":", b"\"x5c\":[", b"\"use\":\"x509-svid\"", b"\"kty\":\"EC\"", b"[[[[", b"{\"a\":"]);

/// DNS names, selectors and paths of registrations.
pub(super) const TEXT: Target = Target::new("ca-text", registration, || {
    texts(&[
        "pay.example",
        "*.pay.example",
        "unix:uid:1000",
        "unix:path:/usr/bin/api",
        "unix:sha256:00",
        "/ns/pay/api",
        "xn--bcher-kva.example",
    ])
})
.tokens(&[b"unix:uid:", b"unix:gid:", b"unix:path:", b"unix:sha256:", b"*.", b".", b"-", b"xn--", b"/ns/pay/"])
.bytes_max(600);

const DER: &[&[u8]] = &[
    b"\x30\x82",
    b"\x30\x80",
    b"\x02\x01",
    b"\x03\x02\x05\xa0",
    b"\x06\x03\x55\x1d\x11",
    b"\xa3\x82",
    b"\x86\x10spiffe://a/ns/b",
    b"\x01\x01\xff",
    b"\x04\x00",
];

struct Office {
    bundle: Bundle,
    authority: Authority,
    svid: Vec<u8>,
}

const NOW: Time = Time(1_795_358_000_000);

/// One authority and one SVID by it.
fn office() -> &'static Office {
    static OFFICE: OnceLock<Office> = OnceLock::new();
    OFFICE.get_or_init(|| {
        let domain = TrustDomain::parse("example.org").unwrap();
        let namespace = NamespaceName::parse("pay").unwrap();
        let (key, serial) = (signer(), |byte| Serial::from_random([byte; 32]));
        let certificate = generate_authority(NodeId(1), &domain, &key, serial(1), NOW).unwrap().into_der();
        let mut authority = Authority::generated(NodeId(1), certificate, &domain, NOW).unwrap();
        authority.advance(Step::Publish, NOW, 1).unwrap();
        authority.advance(Step::Activate, NOW, 1).unwrap();
        let grant = Grant { trust_domain: &domain, namespace: &namespace, dns_suffixes: &[] };
        let spec = EntrySpec {
            spiffe_id: domain.workload("/ns/pay/api").unwrap(),
            parent: AgentName::parse("node-1").unwrap(),
            selectors: [Selector::UnixUid(1000)].into(),
            svid_ttl: SVID_TTL_DEFAULT,
            dns_names: Vec::new(),
            hint: String::new(),
        };
        let entry = Entry::new(spec, grant, NOW, Revision(1)).unwrap();
        let requested = RequestedKey::from_csr(&certificate_request(&key).unwrap()).unwrap();
        let order = SvidOrder { entry: &entry, grant, key: &requested, serial: serial(2), now: NOW };
        let svid = Issuer::new(&authority, &key, NOW).unwrap().svid(&order).unwrap().certificate.der().to_vec();
        Office { bundle: Bundle::of_authorities(domain, 7, [&authority]), authority, svid }
    })
}

fn request(input: &[u8]) {
    let Ok(key) = RequestedKey::from_csr(input) else { return };
    let spki = key.spki_der();
    assert!(input.windows(spki.len()).any(|part| part == spki), "a key that is not in the request");
    assert!(RequestedKey::from_csr(&[input, &[0]].concat()).is_err(), "something follows");
}

fn certificate(input: &[u8]) {
    let one = ::ca::spki_hash_of_cert(input);
    if let Ok(split) = ::ca::keys::split_certificates(input) {
        let whole: Vec<u8> = split.iter().flat_map(|(der, _)| der.clone()).collect();
        assert_eq!(whole, input, "a certificate that is not what stood there");
        assert_eq!(one.is_ok(), split.len() == 1);
    }
    let domain = TrustDomain::parse("example.org").unwrap();
    if let Ok(facts) = ::ca::lint::authority(input, &domain) {
        assert_eq!(one.ok(), Some(facts.key));
        // An authority signs itself, and nobody has its key: only what we made is one.
        assert_eq!(facts.key, office().authority.key, "an authority that nobody made");
    }
    if let Ok(authority) = Authority::generated(NodeId(1), input.to_vec(), &domain, NOW) {
        assert_eq!(authority.certificate, input);
    }
}

fn peer(input: &[u8]) {
    let bundles = Bundles::new([office().bundle.clone()]);
    let (leaf, rest) = ::ca::keys::split_certificates(input)
        .ok()
        .filter(|all| !all.is_empty())
        .map_or((input, &[][..]), |all| input.split_at(all[0].0.len()));
    let chain = [leaf.to_vec().into(), rest.to_vec().into()];
    let chain = if rest.is_empty() { &chain[..1] } else { &chain[..] };
    if let Ok(id) = verify_peer(chain, &bundles, NOW) {
        assert_eq!(id.to_string(), "spiffe://example.org/ns/pay/api", "a peer whom nobody certified");
        assert!(verify_peer(chain, &bundles, Time(0)).is_err() && verify_peer(chain, &bundles, Time::NEVER).is_err());
        assert!(verify_peer(chain, &Bundles::new([]), NOW).is_err());
    }
}

fn bundle(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let domain = TrustDomain::parse("example.org").unwrap();
    let Ok(bundle) = Bundle::from_json(domain.clone(), text) else { return };
    let _ = Bundles::new([bundle.clone()]);
    assert_eq!(bundle.trust_domain, domain);
    // What can be written is read as the same roots in the same order.
    if let Ok(written) = bundle.to_json() {
        let again = Bundle::from_json(domain, &written).unwrap();
        assert_eq!((again.roots, again.sequence), (bundle.roots, bundle.sequence));
    }
}

fn registration(input: &[u8]) {
    let Some(text) = text(input) else { return };
    if let Ok(name) = DnsName::parse(text) {
        assert_eq!(DnsName::parse(&name.to_string()).as_ref(), Ok(&name));
    }
    if let Ok(selector) = Selector::parse(text) {
        assert_eq!(Selector::parse(&selector.to_string()).as_ref(), Ok(&selector));
    }
    let domain = TrustDomain::parse("example.org").unwrap();
    let parent = AgentName::parse("node-1").unwrap();
    let list = [text.to_owned()];
    if let Ok(spec) =
        EntrySpec::parse(&domain, text, parent.clone(), &["unix:uid:1".to_owned()], SVID_TTL_DEFAULT, &[], "")
    {
        let namespace = NamespaceName::parse("pay").unwrap();
        let grant = Grant { trust_domain: &domain, namespace: &namespace, dns_suffixes: &[] };
        // Invariant 13.
        let owned = SpiffeId::parse(&format!("spiffe://example.org{text}")).is_ok_and(|id| id.is_owned_by(&namespace));
        assert!(Entry::new(spec, grant, NOW, Revision(1)).is_err() || owned);
    }
    let _ = EntrySpec::parse(&domain, "/ns/pay/api", parent, &list, SVID_TTL_DEFAULT, &list, text);
}

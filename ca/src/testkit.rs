//! What the tests of this crate share: a small issuing office at a fixed time, and a forge that makes every wrong
//! certificate a test wants, because the issuing code itself cannot.

use crypto::sign::P256Signer;
use rcgen::{CertificateParams, CustomExtension, KeyIdMethod, SanType};
use types::limits::{SVID_BACKDATE, SVID_TTL_DEFAULT};
use types::{AgentName, Millis, NamespaceName, NodeId, Revision, SpiffeId, Time, TrustDomain};

use crate::keys::Signing;
use crate::parsed::Facts;
use crate::{
    Authority, Bundle, DnsName, Entry, EntrySpec, Grant, Issued, Issuer, RequestedKey, Selector, Serial, Step,
    SvidOrder, certificate_request, generate_authority, profile,
};

/// 2026-11-22T14:33:20Z.
pub(crate) const NOW: Time = Time(1_795_358_000_000);

/// One trust domain with one active authority and one namespace, `pay`.
pub(crate) struct Office {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) namespace: NamespaceName,
    pub(crate) suffixes: Vec<DnsName>,
    pub(crate) signer: P256Signer,
    pub(crate) authority: Authority,
}

impl Office {
    pub(crate) fn new(trust_domain: &str) -> Self {
        let trust_domain = TrustDomain::parse(trust_domain).expect("a trust domain");
        let signer = P256Signer::generate();
        let certificate = generate_authority(NodeId(1), &trust_domain, &signer, serial(), NOW).expect("a certificate");
        let mut authority =
            Authority::generated(NodeId(1), certificate.into_der(), &trust_domain, NOW).expect("an authority");
        authority.advance(Step::Publish, NOW, 1).expect("publishes");
        authority.advance(Step::Activate, NOW, 1).expect("activates");
        let namespace = NamespaceName::parse("pay").expect("a name");
        Self { trust_domain, namespace, suffixes: vec![dns("pay.example")], signer, authority }
    }

    pub(crate) fn grant(&self) -> Grant<'_> {
        let Self { trust_domain, namespace, suffixes, .. } = self;
        Grant { trust_domain, namespace, dns_suffixes: suffixes }
    }

    pub(crate) fn id(&self) -> SpiffeId {
        self.trust_domain.workload("/ns/pay/api").expect("an id")
    }

    pub(crate) fn entry(&self, dns_names: &[&str], svid_ttl: Millis) -> Entry {
        let spec = EntrySpec {
            spiffe_id: self.id(),
            parent: AgentName::parse("node-1").expect("a name"),
            selectors: [Selector::UnixUid(1000)].into(),
            svid_ttl,
            dns_names: dns_names.iter().map(|name| dns(name)).collect(),
            hint: String::new(),
        };
        Entry::new(spec, self.grant(), NOW, Revision(1)).expect("an entry")
    }

    pub(crate) fn issuer(&self, now: Time) -> Issuer<'_> {
        Issuer::new(&self.authority, &self.signer, now).expect("an issuer")
    }

    pub(crate) fn issue(&self, workload: &P256Signer) -> Issued {
        let entry = &self.entry(&[], SVID_TTL_DEFAULT);
        let key = &requested(workload);
        let order = SvidOrder { entry, grant: self.grant(), key, serial: serial(), now: NOW };
        self.issuer(NOW).svid(&order).expect("an SVID")
    }

    pub(crate) fn facts(&self) -> Facts {
        Facts::read(&self.authority.certificate).expect("reads")
    }

    pub(crate) fn bundle(&self) -> Bundle {
        Bundle::of_authorities(self.trust_domain.clone(), 7, [&self.authority])
    }

    /// A certificate over the workload's key, signed by the authority, right but for what `spoil` does to it.
    pub(crate) fn forge(&self, workload: &P256Signer, spoil: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let key = Signing::new(&self.signer);
        let mut issuer = CertificateParams::default();
        issuer.distinguished_name = crate::issue::authority_name(NodeId(1), &key);
        issuer.key_identifier_method = KeyIdMethod::PreSpecified(key.key_identifier());
        let mut params = self.svid_params(workload);
        spoil(&mut params);
        let issuer = rcgen::Issuer::new(issuer, key);
        params.signed_by(&Signing::new(workload), &issuer).expect("encodes").der().to_vec()
    }

    fn svid_params(&self, workload: &P256Signer) -> CertificateParams {
        let id = Signing::new(workload).key_identifier();
        let (from, until) = (NOW.before(SVID_BACKDATE), NOW.after(SVID_TTL_DEFAULT));
        let mut params = profile::leaf(serial().as_bytes(), from, until, id);
        params.use_authority_key_identifier_extension = true;
        params.subject_alt_names.push(uri(&self.id().to_string()));
        params
    }
}

pub(crate) fn dns(name: &str) -> DnsName {
    DnsName::parse(name).expect("a DNS name")
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.to_owned().try_into().expect("ASCII"))
}

pub(crate) fn serial() -> Serial {
    Serial::from_random(crypto::entropy::array())
}

pub(crate) fn requested(workload: &P256Signer) -> RequestedKey {
    RequestedKey::from_csr(&certificate_request(workload).expect("encodes")).expect("a good request")
}

/// An extension with the criticality that `rcgen` would not give it.
pub(crate) fn extension(id: u64, critical: bool, content: &[u8]) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, id], content.to_vec());
    extension.set_criticality(critical);
    extension
}

/// DER of alternative names (RFC 5280 §4.2.1.6) that are all URIs.
pub(crate) fn uris_der(uris: &[&str]) -> Vec<u8> {
    let names: Vec<u8> = uris.iter().flat_map(|uri| tagged(0x86, uri.as_bytes())).collect();
    tagged(0x30, &names)
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).ok().filter(|length| *length < 0x80).expect("short");
    [&[tag, length], content].concat()
}

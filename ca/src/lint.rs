//! Our own SPIFFE lint. It reads the finished DER afresh, believes nothing the issuing code says, and holds every
//! certificate against the profile of `docs/spec/identities.md`, which is narrower than what the specifications allow.
//! General linters are no oracle here: `openssl verify` takes two URI names and CA leaves alike.
//!
//! [`Linted`] can be made nowhere else, and issuance returns nothing else: what has not passed cannot leave.

use std::net::IpAddr;

use types::limits::{AUTHORITY_LIFE, SPIFFE_ID_BYTES_MAX, SVID_BACKDATE, SVID_TTL_MAX};
use types::{Millis, SpiffeId, SpkiHash, Time, TrustDomain};

use crate::entry::{Entry, Grant};
use crate::keys::{key_identifier, spki_hash};
use crate::parsed::{Facts, KeyKind, Names, usage};

/// A certificate that passed the lint, DER.
#[derive(Clone, PartialEq, Eq)]
pub struct Linted(Vec<u8>);

impl Linted {
    /// The certificate, DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// The certificate, DER.
    #[must_use]
    pub fn into_der(self) -> Vec<u8> {
        self.0
    }
}

impl std::fmt::Debug for Linted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Linted({} bytes)", self.0.len())
    }
}

/// Which rule a certificate breaks.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{detail} (rule {rule})")]
pub struct LintFailure {
    /// The rule: a section of `docs/spec/identities.md`, or the SPIFFE document it comes from.
    pub rule: &'static str,
    /// What is wrong.
    pub detail: String,
}

/// What is worth keeping of an authority certificate that passed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthorityFacts {
    /// SHA-256 of its SPKI.
    pub key: SpkiHash,
    /// When it begins.
    pub not_before: Time,
    /// When it ends.
    pub not_after: Time,
}

/// What an X.509-SVID must be.
pub(crate) struct SvidExpected<'a> {
    pub(crate) spki: &'a [u8],
    pub(crate) entry: &'a Entry,
    pub(crate) grant: Grant<'a>,
    pub(crate) issuer: &'a Facts,
    pub(crate) now: Time,
}

/// What a node's server certificate must be.
pub(crate) struct NodeExpected<'a> {
    pub(crate) spki: &'a [u8],
    pub(crate) dns_names: &'a [String],
    pub(crate) addresses: &'a [IpAddr],
    pub(crate) issuer: &'a Facts,
    pub(crate) now: Time,
}

/// Holds an authority certificate against its profile.
///
/// # Errors
/// The first rule that it breaks.
pub fn authority(der: &[u8], trust_domain: &TrustDomain) -> Result<AuthorityFacts, LintFailure> {
    let facts = read(der)?;
    encoding(&facts)?;
    ensure(facts.key_kind == KeyKind::P256, "identities §3", "an authority's key is P-256")?;
    ensure(!facts.subject_is_empty && facts.issuer == facts.subject, "RFC 5280 §4.1.2.6", "it is not self-issued")?;
    ensure(
        facts.subject_serial_number,
        "identities §3",
        "its subject has no serialNumber, so successive authorities would share a name",
    )?;
    ensure(facts.is_signed_by(&facts.spki), "X509-SVID §5.1", "it is not signed by its own key")?;
    let basic = facts.basic.as_ref().ok_or_else(|| failure("X509-SVID §4.1", "basic constraints are missing"))?;
    ensure(basic.is_ca, "X509-SVID §4.1", "cA is not set")?;
    ensure(basic.critical, "RFC 5280 §4.2.1.9", "basic constraints are not critical")?;
    ensure(basic.path_length == Some(0), "identities §3", "the path length is not 0")?;
    key_usage(&facts, usage::KEY_CERT_SIGN | usage::CRL_SIGN)?;
    ensure(facts.purposes.is_none(), "identities §3", "an authority has no extended key usage")?;
    let names = names(&facts)?;
    ensure(
        names.uris == [trust_domain.id().to_string()],
        "X509-SVID §3.1",
        "its one URI is not the trust domain's id",
    )?;
    ensure(
        names.dns.is_empty() && names.addresses.is_empty() && names.others == 0,
        "identities §3",
        "an authority has no other alternative name",
    )?;
    key_ids(&facts, &facts)?;
    lifetime(&facts, AUTHORITY_LIFE)?;
    Ok(AuthorityFacts { key: spki_hash(&facts.spki), not_before: facts.not_before, not_after: facts.not_after })
}

/// Lints an authority certificate that was just made.
pub(crate) fn authority_certificate(der: Vec<u8>, trust_domain: &TrustDomain) -> Result<Linted, LintFailure> {
    authority(&der, trust_domain)?;
    Ok(Linted(der))
}

/// Lints an X.509-SVID that was just made.
pub(crate) fn svid(der: Vec<u8>, expected: &SvidExpected<'_>) -> Result<Linted, LintFailure> {
    let SvidExpected { spki, entry, grant, issuer, now } = expected;
    let facts = read(&der)?;
    leaf(&facts, issuer, spki)?;
    ensure(facts.subject_is_empty, "identities §4", "an SVID's subject is empty")?;
    let names = names(&facts)?;
    ensure(names.critical, "RFC 5280 §4.2.1.6", "the subject is empty, so the alternative names must be critical")?;
    svid_names(names, entry, *grant)?;
    let ttl = entry.spec().svid_ttl.min(SVID_TTL_MAX);
    lifetime(&facts, ttl)?;
    dates(&facts, *now, ttl)?;
    Ok(Linted(der))
}

/// Lints a node's server certificate that was just made.
pub(crate) fn node(der: Vec<u8>, expected: &NodeExpected<'_>) -> Result<Linted, LintFailure> {
    let NodeExpected { spki, dns_names, addresses, issuer, now } = expected;
    let facts = read(&der)?;
    leaf(&facts, issuer, spki)?;
    let names = names(&facts)?;
    ensure(names.uris.is_empty(), "identities §5", "a node's certificate names no workload")?;
    ensure(
        names.dns == *dns_names && names.addresses == *addresses && names.others == 0,
        "identities §5",
        "its names are not the node's",
    )?;
    lifetime(&facts, SVID_TTL_MAX)?;
    dates(&facts, *now, SVID_TTL_MAX)?;
    Ok(Linted(der))
}

fn svid_names(names: &Names, entry: &Entry, grant: Grant<'_>) -> Result<(), LintFailure> {
    let [uri] = names.uris.as_slice() else {
        return Err(failure("X509-SVID §2", format!("it has {} URI names, not one", names.uris.len())));
    };
    ensure(uri.len() <= SPIFFE_ID_BYTES_MAX, "SPIFFE-ID §2.3", "the id is too long")?;
    let id = SpiffeId::parse(uri).map_err(|why| failure("SPIFFE-ID §2", why))?;
    ensure(id.to_string() == *uri, "SPIFFE-ID §2.4", "the id is not in its canonical spelling")?;
    ensure(!id.path().is_empty(), "X509-SVID §5.2", "a workload's id has a path")?;
    ensure(!is_reserved(&id), "invariant 13", "ids under /chancery are never issued")?;
    grant.check_id(&id).map_err(|refusal| failure("invariant 13", refusal.message))?;
    ensure(id == *entry.spiffe_id(), "identities §4", "the id is not the entry's")?;
    let wanted = &entry.spec().dns_names;
    ensure(
        names.dns.iter().eq(wanted.iter().map(crate::DnsName::as_str)),
        "identities §4",
        "DNS names are not the entry's",
    )?;
    grant.check_dns_names(wanted).map_err(|refusal| failure("invariant 13", refusal.message))?;
    ensure(names.addresses.is_empty() && names.others == 0, "identities §4", "an SVID names only a URI and DNS names")
}

fn is_reserved(id: &SpiffeId) -> bool {
    id.path() == "/chancery" || id.path().starts_with("/chancery/")
}

/// What every leaf of ours has in common.
fn leaf(facts: &Facts, issuer: &Facts, spki: &[u8]) -> Result<(), LintFailure> {
    encoding(facts)?;
    ensure(facts.spki == spki, "X509-SVID §2", "it certifies another key")?;
    ensure(matches!(facts.key_kind, KeyKind::P256 | KeyKind::P384), "identities §4", "a leaf key is P-256 or P-384")?;
    ensure(facts.issuer == issuer.subject, "RFC 5280 §4.1.2.4", "its issuer is not the authority's subject")?;
    ensure(facts.is_signed_by(&issuer.spki), "X509-SVID §2", "it is not signed by the authority")?;
    ensure(facts.basic.as_ref().is_none_or(|basic| !basic.is_ca), "X509-SVID §4.1", "a leaf is no authority")?;
    key_usage(facts, usage::DIGITAL_SIGNATURE)?;
    let purposes = facts.purposes.as_ref().ok_or_else(|| failure("X509-SVID §4.4", "extended key usage is missing"))?;
    ensure(
        purposes.server && purposes.client && !purposes.others,
        "X509-SVID §4.4",
        "extended key usage is not exactly serverAuth and clientAuth",
    )?;
    key_ids(facts, issuer)?;
    ensure(facts.not_after <= issuer.not_after, "invariant 8", "it outlives its issuer")
}

/// What every certificate of ours has in common.
fn encoding(facts: &Facts) -> Result<(), LintFailure> {
    ensure(facts.signed_with_p256, "identities §2", "it is not signed with ECDSA P-256 and SHA-256")?;
    let positive = facts.serial.first().is_some_and(|first| (1..0x80).contains(first));
    ensure(
        positive && (16..=20).contains(&facts.serial.len()),
        "RFC 5280 §4.1.2.2",
        "the serial number is not a positive number of 16 to 20 bytes",
    )?;
    match facts.other_extensions.first() {
        // Name constraints above all: rustls and pyca refuse every chain that has one for URIs.
        Some(oid) => Err(failure("identities §2", format!("extension {oid} is not in any profile of ours"))),
        None => Ok(()),
    }
}

fn key_usage(facts: &Facts, bits: u16) -> Result<(), LintFailure> {
    let usage = facts.usage.as_ref().ok_or_else(|| failure("X509-SVID §4.3", "key usage is missing"))?;
    ensure(usage.critical, "X509-SVID §4.3", "key usage is not critical")?;
    ensure(usage.bits == bits, "X509-SVID §4.3", format!("key usage bits are {:#b}, not {bits:#b}", usage.bits))
}

fn key_ids(facts: &Facts, issuer: &Facts) -> Result<(), LintFailure> {
    let own = key_identifier(&facts.point);
    ensure(facts.subject_key_id.as_ref() == Some(&own), "identities §2", "the subject key id is not its key's")?;
    let issuers = key_identifier(&issuer.point);
    ensure(
        facts.authority_key_id.as_ref() == Some(&issuers),
        "identities §2",
        "the authority key id is not its issuer's",
    )
}

fn lifetime(facts: &Facts, life: Millis) -> Result<(), LintFailure> {
    ensure(facts.not_before < facts.not_after, "RFC 5280 §4.1.2.5", "it ends before it begins")?;
    // One second: the encoding rounds both ends down.
    let longest = Millis(life.0.saturating_add(SVID_BACKDATE.0).saturating_add(1_000));
    let is = facts.not_after.since(facts.not_before);
    ensure(is <= longest, "invariant 8", format!("it lives for {is}, longer than {life}"))
}

fn dates(facts: &Facts, now: Time, ttl: Millis) -> Result<(), LintFailure> {
    ensure(facts.not_before <= now && now < facts.not_after, "RFC 5280 §4.1.2.5", "it is not valid now")?;
    ensure(facts.not_after <= now.after(ttl), "invariant 8", "it outlives its policy")
}

fn names(facts: &Facts) -> Result<&Names, LintFailure> {
    facts.names.as_ref().ok_or_else(|| failure("X509-SVID §2", "it has no alternative name"))
}

fn read(der: &[u8]) -> Result<Facts, LintFailure> {
    Facts::read(der).map_err(|why| failure("RFC 5280 §4", why))
}

fn ensure(holds: bool, rule: &'static str, detail: impl Into<String>) -> Result<(), LintFailure> {
    if holds { Ok(()) } else { Err(failure(rule, detail.into())) }
}

fn failure(rule: &'static str, detail: impl ToString) -> LintFailure {
    LintFailure { rule, detail: detail.to_string() }
}

#[cfg(test)]
mod tests;

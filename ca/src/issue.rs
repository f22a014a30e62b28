//! Issuance: authority certificates, X.509-SVIDs and node server certificates, each to the profile of
//! `docs/spec/identities.md` and each through the lint before it is returned.
//!
//! Who may ask is decided before; keys, serial numbers and time are handed in. An [`Issuer`] exists only for an authority
//! that may sign now.

use std::net::IpAddr;

use crypto::sign::P256Signer;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, IsCa, KeyIdMethod, KeyUsagePurpose,
    PublicKeyData, SanType, SerialNumber,
};
use types::limits::{AUTHORITY_LIFE, SVID_BACKDATE, SVID_TTL_MAX};
use types::{Millis, NodeId, Reason, Refusal, Time, TrustDomain};

use crate::keys::Signing;
use crate::lint::{self, Linted, NodeExpected, SvidExpected};
use crate::parsed::Facts;
use crate::{Authority, AuthorityState, DnsName, Entry, Fault, RequestedKey, Serial, entry::Grant, profile, spki_hash};

/// X.520 serialNumber.
const SERIAL_NUMBER: &[u64] = &[2, 5, 4, 5];

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// An answer for the caller.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A fault of ours.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A certificate that may leave.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate. Its issuer is a root of the bundle, so it is the whole chain.
    pub certificate: Linted,
    /// Its serial number, for the audit record.
    pub serial: Serial,
    /// When it begins, [`SVID_BACKDATE`] in the past.
    pub not_before: Time,
    /// When it ends.
    pub not_after: Time,
}

/// An X.509-SVID to be issued.
#[derive(Clone, Copy, Debug)]
pub struct SvidOrder<'a> {
    /// Whose identity.
    pub entry: &'a Entry,
    /// What the entry's namespace owns at this moment: it may have shrunk since the entry was made.
    pub grant: Grant<'a>,
    /// The workload's public key.
    pub key: &'a RequestedKey,
    /// Random.
    pub serial: Serial,
    /// The later of state time and the node's clock.
    pub now: Time,
}

/// A node's server certificate to be issued: for clients that check a chain and a name; ours check the key.
#[derive(Clone, Copy, Debug)]
pub struct NodeOrder<'a> {
    /// Which node; its common name.
    pub node: NodeId,
    /// The node's identity key, the same one that its peers have pinned.
    pub identity: &'a P256Signer,
    /// Host names that clients use.
    pub dns_names: &'a [DnsName],
    /// Addresses that clients use.
    pub addresses: &'a [IpAddr],
    /// Life, at most [`SVID_TTL_MAX`].
    pub ttl: Millis,
    /// Random.
    pub serial: Serial,
    /// The later of state time and the node's clock.
    pub now: Time,
}

/// Makes the certificate of a new authority over a key that its voter just drew: self-signed, [`AUTHORITY_LIFE`] long.
///
/// # Errors
/// [`Fault`] when it cannot be encoded or fails the lint.
pub fn generate_authority(
    node: NodeId,
    trust_domain: &TrustDomain,
    signer: &P256Signer,
    serial: Serial,
    now: Time,
) -> Result<Linted, Fault> {
    let key = Signing::new(signer);
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
    params.distinguished_name = authority_name(node, &key);
    params.not_before = profile::x509_time(now.before(SVID_BACKDATE));
    params.not_after = profile::x509_time(now.after(AUTHORITY_LIFE));
    params.subject_alt_names = vec![SanType::URI(ia5(&trust_domain.id().to_string())?)];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.key_identifier_method = KeyIdMethod::PreSpecified(key.key_identifier());
    params.use_authority_key_identifier_extension = true;
    let der = params.self_signed(&key)?.der().to_vec();
    Ok(lint::authority_certificate(der, trust_domain)?)
}

/// An authority with its key, at a moment when it may sign.
pub struct Issuer<'a> {
    rcgen: rcgen::Issuer<'static, Signing<'a>>,
    facts: Facts,
}

impl<'a> Issuer<'a> {
    /// Joins an authority's record with its private key.
    ///
    /// # Errors
    /// `NoAuthority` when it may not sign at `now`; a fault when the key is not the certificate's.
    pub fn new(authority: &Authority, signer: &'a P256Signer, now: Time) -> Result<Self, IssueError> {
        if authority.state != AuthorityState::Active || now >= authority.signs_until() {
            let message =
                format!("this node's authority is {} and may not sign now, try another node", authority.state);
            return Err(Refusal::new(Reason::NoAuthority, message).into());
        }
        if spki_hash(&signer.spki_der()) != authority.key {
            return Err(Fault::KeyMismatch.into());
        }
        let facts = Facts::read(&authority.certificate).map_err(Fault::Parse)?;
        let key = Signing::new(signer);
        let mut params = CertificateParams::default();
        // The lint compares the issuer bytes of every leaf with the subject bytes of this certificate.
        params.distinguished_name = authority_name(authority.node, &key);
        params.key_identifier_method = KeyIdMethod::PreSpecified(key.key_identifier());
        Ok(Self { rcgen: rcgen::Issuer::new(params, key), facts })
    }

    /// Issues an X.509-SVID for an entry's id to a key: P-256 or P-384, an empty subject, one URI name.
    ///
    /// # Errors
    /// `OutsideNamespace` when the namespace no longer owns what the entry names; a fault when the lint fails.
    pub fn svid(&self, order: &SvidOrder<'_>) -> Result<Issued, IssueError> {
        let SvidOrder { entry, grant, key, serial, now } = *order;
        grant.check_id(entry.spiffe_id())?;
        grant.check_dns_names(&entry.spec().dns_names)?;
        let (not_before, not_after) = self.dates(now, entry.spec().svid_ttl);
        let mut params = self.leaf(serial, not_before, not_after, key.key_identifier());
        params.subject_alt_names.push(SanType::URI(ia5(&entry.spiffe_id().to_string())?));
        for name in &entry.spec().dns_names {
            params.subject_alt_names.push(SanType::DnsName(ia5(name.as_str())?));
        }
        let der = self.sign(&params, key)?;
        let expected = SvidExpected { spki: key.spki_der(), entry, grant, issuer: &self.facts, now };
        let certificate = lint::svid(der, &expected).map_err(Fault::Lint)?;
        Ok(Issued { certificate, serial, not_before, not_after })
    }

    /// Issues a node's server certificate over its identity key: no SPIFFE ID, the names that clients dial.
    ///
    /// # Errors
    /// `InvalidArgument` when no name is given; a fault when the lint fails.
    pub fn node(&self, order: &NodeOrder<'_>) -> Result<Issued, IssueError> {
        let NodeOrder { node, identity, dns_names, addresses, ttl, serial, now } = *order;
        if dns_names.is_empty() && addresses.is_empty() {
            let message = "a node's certificate needs a DNS name or an address";
            return Err(Refusal::new(Reason::InvalidArgument, message).into());
        }
        let key = Signing::new(identity);
        let (not_before, not_after) = self.dates(now, ttl);
        let mut params = self.leaf(serial, not_before, not_after, key.key_identifier());
        params.distinguished_name.push(DnType::CommonName, node.to_string());
        for name in dns_names {
            params.subject_alt_names.push(SanType::DnsName(ia5(name.as_str())?));
        }
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        let der = self.sign(&params, &key)?;
        let dns_names: Vec<_> = dns_names.iter().map(DnsName::to_string).collect();
        let spki = &identity.spki_der();
        let expected = NodeExpected { spki, dns_names: &dns_names, addresses, issuer: &self.facts, now };
        let certificate = lint::node(der, &expected).map_err(Fault::Lint)?;
        Ok(Issued { certificate, serial, not_before, not_after })
    }

    /// Invariant 8: nothing outlives its policy's TTL, a sixth of an authority's life, or its issuer.
    fn dates(&self, now: Time, ttl: Millis) -> (Time, Time) {
        let life = ttl.min(SVID_TTL_MAX);
        (whole(now.before(SVID_BACKDATE)), whole(now.after(life).min(self.facts.not_after)))
    }

    fn leaf(&self, serial: Serial, not_before: Time, not_after: Time, key_identifier: Vec<u8>) -> CertificateParams {
        let mut params = profile::leaf(serial.as_bytes(), not_before, not_after, key_identifier);
        params.use_authority_key_identifier_extension = true;
        params
    }

    fn sign(&self, params: &CertificateParams, key: &impl PublicKeyData) -> Result<Vec<u8>, Fault> {
        Ok(params.signed_by(key, &self.rcgen)?.der().to_vec())
    }
}

impl std::fmt::Debug for Issuer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Issuer({}, redacted)", spki_hash(&self.facts.spki))
    }
}

/// The serialNumber attribute makes the name of every authority differ from its predecessor's: path building looks
/// issuers up by name, and picks the wrong one among equals.
pub(crate) fn authority_name(node: NodeId, key: &Signing<'_>) -> DistinguishedName {
    let unique: String = key.key_identifier().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Chancery");
    name.push(DnType::CommonName, node.to_string());
    // X.520 gives serialNumber the type PrintableString; hexadecimal always fits it.
    if let Ok(unique) = rcgen::string::PrintableString::try_from(unique) {
        name.push(DnType::CustomDnType(SERIAL_NUMBER.to_vec()), DnValue::PrintableString(unique));
    }
    name
}

fn ia5(text: &str) -> Result<Ia5String, Fault> {
    Ok(Ia5String::try_from(text)?)
}

/// X.509 counts whole seconds.
fn whole(time: Time) -> Time {
    Time(time.as_unix_seconds().saturating_mul(1_000))
}

#[cfg(test)]
mod tests;

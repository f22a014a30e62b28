//! The facts of a certificate, read afresh from its DER. Lint and verification judge these and nothing else, so neither
//! can be fooled by what the issuing code believes it wrote.

use std::net::IpAddr;

use types::Time;
use x509_parser::der_parser::asn1_rs::{Any, Oid};
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName, ParsedExtension};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_SIG_ECDSA_WITH_SHA256, OID_X509_SERIALNUMBER,
};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

/// Key usage bits (RFC 5280 §4.2.1.3), as the parser numbers them.
pub(crate) mod usage {
    pub(crate) const DIGITAL_SIGNATURE: u16 = 1;
    pub(crate) const KEY_CERT_SIGN: u16 = 1 << 5;
    pub(crate) const CRL_SIGN: u16 = 1 << 6;
}

/// The kinds of public key that we issue for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KeyKind {
    P256,
    P384,
    /// Anything else; foreign authorities may have it, nothing of ours may.
    Other,
}

/// Subject alternative names by kind.
#[derive(Default, Debug)]
pub(crate) struct Names {
    pub(crate) critical: bool,
    pub(crate) uris: Vec<String>,
    pub(crate) dns: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
    /// Names of any other kind.
    pub(crate) others: usize,
}

/// Key usage.
#[derive(Debug)]
pub(crate) struct Usage {
    pub(crate) critical: bool,
    pub(crate) bits: u16,
}

/// Extended key usage: the two TLS purposes, and whether there is any other.
#[derive(Debug)]
pub(crate) struct Purposes {
    pub(crate) server: bool,
    pub(crate) client: bool,
    pub(crate) others: bool,
}

/// Basic constraints.
#[derive(Debug)]
pub(crate) struct Basic {
    pub(crate) critical: bool,
    pub(crate) is_ca: bool,
    pub(crate) path_length: Option<u32>,
}

/// What one certificate says.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) serial: Vec<u8>,
    /// DER of the names, compared byte by byte as path building does.
    pub(crate) issuer: Vec<u8>,
    pub(crate) subject: Vec<u8>,
    pub(crate) subject_is_empty: bool,
    /// The serialNumber attribute of the subject (X.520), not the certificate's own.
    pub(crate) subject_serial_number: bool,
    pub(crate) not_before: Time,
    pub(crate) not_after: Time,
    pub(crate) key_kind: KeyKind,
    pub(crate) spki: Vec<u8>,
    pub(crate) point: Vec<u8>,
    pub(crate) names: Option<Names>,
    pub(crate) usage: Option<Usage>,
    pub(crate) purposes: Option<Purposes>,
    pub(crate) basic: Option<Basic>,
    pub(crate) subject_key_id: Option<Vec<u8>>,
    pub(crate) authority_key_id: Option<Vec<u8>>,
    /// Extensions we never write, by object identifier.
    pub(crate) other_extensions: Vec<String>,
    /// Both signature algorithm fields say ecdsa-with-SHA256, without parameters, and the wrapping is DER.
    pub(crate) signed_with_p256: bool,
    pub(crate) signed_part: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

impl Facts {
    /// Reads exactly one X.509 v3 certificate in which no extension is malformed or repeated.
    pub(crate) fn read(der: &[u8]) -> Result<Self, String> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let tbs = &certificate.tbs_certificate;
        if !rest.is_empty() {
            return Err("bytes follow the certificate".to_owned());
        }
        if tbs.version != X509Version::V3 {
            return Err("it is not version 3".to_owned());
        }
        let ecdsa = |algorithm: &AlgorithmIdentifier<'_>| {
            algorithm.algorithm == OID_SIG_ECDSA_WITH_SHA256 && algorithm.parameters.is_none()
        };
        let signature: &[u8] = &certificate.signature_value.data;
        let mut facts = Self {
            serial: tbs.raw_serial().to_vec(),
            issuer: tbs.issuer.as_raw().to_vec(),
            subject: tbs.subject.as_raw().to_vec(),
            subject_is_empty: tbs.subject.iter().next().is_none(),
            subject_serial_number: tbs.subject.iter_by_oid(&OID_X509_SERIALNUMBER).next().is_some(),
            not_before: time(tbs.validity.not_before.timestamp()),
            not_after: time(tbs.validity.not_after.timestamp()),
            key_kind: key_kind(&tbs.subject_pki),
            spki: tbs.subject_pki.raw.to_vec(),
            point: tbs.subject_pki.subject_public_key.data.to_vec(),
            names: None,
            usage: None,
            purposes: None,
            basic: None,
            subject_key_id: None,
            authority_key_id: None,
            other_extensions: Vec::new(),
            signed_with_p256: ecdsa(&tbs.signature) && is_wrapped(der, tbs.as_ref(), ECDSA_SHA256, signature),
            signed_part: tbs.as_ref().to_vec(),
            signature: signature.to_vec(),
        };
        let mut seen = Vec::new();
        for extension in tbs.extensions() {
            if seen.contains(&&extension.oid) {
                return Err(format!("extension {} is repeated", extension.oid));
            }
            seen.push(&extension.oid);
            facts.take(&extension.oid, extension.critical, extension.parsed_extension())?;
        }
        Ok(facts)
    }

    /// Whether the certificate was signed by that P-256 key.
    pub(crate) fn is_signed_by(&self, spki: &[u8]) -> bool {
        self.signed_with_p256 && crypto::sign::verify_p256_spki(spki, &self.signed_part, &self.signature).is_ok()
    }

    fn take(&mut self, oid: &Oid<'_>, critical: bool, extension: &ParsedExtension<'_>) -> Result<(), String> {
        match extension {
            ParsedExtension::SubjectAlternativeName(names) => {
                self.names = Some(read_names(critical, &names.general_names)?);
            }
            ParsedExtension::KeyUsage(usage) => self.usage = Some(Usage { critical, bits: usage.flags }),
            ParsedExtension::ExtendedKeyUsage(purposes) => self.purposes = Some(read_purposes(purposes)),
            ParsedExtension::BasicConstraints(basic) => {
                self.basic = Some(Basic { critical, is_ca: basic.ca, path_length: basic.path_len_constraint });
            }
            ParsedExtension::SubjectKeyIdentifier(id) => self.subject_key_id = Some(id.0.to_vec()),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                self.authority_key_id = id.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            ParsedExtension::ParseError { .. } | ParsedExtension::Unparsed => {
                return Err(format!("extension {oid} is malformed"));
            }
            _ => self.other_extensions.push(oid.to_string()),
        }
        Ok(())
    }
}

/// ecdsa-with-SHA256 and ecdsa-with-SHA384 as DER AlgorithmIdentifiers (RFC 5758 §3.2: no parameters).
pub(crate) const ECDSA_SHA256: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
pub(crate) const ECDSA_SHA384: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];

/// Whether a signed document (certificate or request) is wrapped in exactly one way: `SEQUENCE { signed part, algorithm,
/// BIT STRING }` in DER. The signature does not cover the wrapping, and the parser is lenient about it.
pub(crate) fn is_wrapped(der: &[u8], signed_part: &[u8], algorithm: &[u8], signature: &[u8]) -> bool {
    let bits = tagged(0x03, &[&[0], signature].concat());
    der == tagged(0x30, &[signed_part, algorithm, &bits].concat())
}

/// One DER value.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut der = vec![tag];
    match significant.as_slice() {
        [] => der.push(0),
        [short @ ..0x80] => der.push(*short),
        // At most eight bytes, for that is what a usize has.
        long => {
            der.push(0x80 | long.len() as u8);
            der.extend_from_slice(long);
        }
    }
    der.extend_from_slice(content);
    der
}

/// The kind of a public key. The curve is named (RFC 5480 §2.1.1) and the point uncompressed; all else is `Other`.
pub(crate) fn key_kind(spki: &SubjectPublicKeyInfo<'_>) -> KeyKind {
    let point = spki.subject_public_key.data.as_ref();
    if spki.algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY || point.first() != Some(&4) {
        return KeyKind::Other;
    }
    let curve = spki.algorithm.parameters.as_ref().and_then(|any: &Any<'_>| any.as_oid().ok());
    match (curve, point.len()) {
        (Some(curve), 65) if curve == OID_EC_P256 => KeyKind::P256,
        (Some(curve), 97) if curve == OID_NIST_EC_P384 => KeyKind::P384,
        _ => KeyKind::Other,
    }
}

fn time(seconds: i64) -> Time {
    Time(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000))
}

fn read_names(critical: bool, names: &[GeneralName<'_>]) -> Result<Names, String> {
    let mut read = Names { critical, ..Names::default() };
    for name in names {
        match name {
            GeneralName::URI(uri) => read.uris.push((*uri).to_owned()),
            GeneralName::DNSName(name) => read.dns.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => read.addresses.push(address(bytes).ok_or("an IP address is malformed")?),
            GeneralName::Invalid(..) => return Err("an alternative name is malformed".to_owned()),
            _ => read.others += 1,
        }
    }
    Ok(read)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn read_purposes(purposes: &ExtendedKeyUsage<'_>) -> Purposes {
    let ExtendedKeyUsage {
        any,
        server_auth,
        client_auth,
        code_signing,
        email_protection,
        time_stamping,
        ocsp_signing,
        other,
    } = purposes;
    Purposes {
        server: *server_auth,
        client: *client_auth,
        others: *any || *code_signing || *email_protection || *time_stamping || *ocsp_signing || !other.is_empty(),
    }
}

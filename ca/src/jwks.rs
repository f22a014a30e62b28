//! The SPIFFE bundle document: a JWK set (RFC 7517) with two parameters of its own (Trust Domain and Bundle §4; X509-SVID
//! §6.1). Writing is strict, reading passes over what it does not know.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use types::limits::{BUNDLE_REFRESH_HINT, MESSAGE_BYTES_MAX};
use types::{Millis, TrustDomain};

use crate::bundle::is_root;
use crate::parsed::{Facts, KeyKind};
use crate::{Bundle, Fault};

/// The one use we write and read; JWT authorities come with JWT-SVIDs.
const X509_SVID: &str = "x509-svid";

#[derive(Serialize)]
struct Document {
    keys: Vec<Key>,
    spiffe_sequence: u64,
    /// Whole seconds.
    spiffe_refresh_hint: u64,
}

#[derive(Serialize)]
struct Key {
    kty: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
    crv: &'static str,
    x: String,
    y: String,
    x5c: [String; 1],
}

/// What is read of a document. A repeated parameter is refused; unknown ones are allowed (§4.1).
#[derive(Deserialize)]
struct Received {
    keys: Vec<serde_json::Value>,
    spiffe_sequence: Option<u64>,
    spiffe_refresh_hint: Option<u64>,
}

/// What is read of one key.
#[derive(Deserialize)]
struct ReceivedKey {
    kty: String,
    #[serde(rename = "use")]
    usage: String,
    x5c: Vec<String>,
}

pub(crate) fn write(bundle: &Bundle) -> Result<String, Fault> {
    let document = Document {
        keys: bundle.roots.iter().map(|root| key(root)).collect::<Result<_, _>>()?,
        spiffe_sequence: bundle.sequence,
        spiffe_refresh_hint: bundle.refresh_hint.0 / 1_000,
    };
    serde_json::to_string_pretty(&document).map_err(fault)
}

pub(crate) fn read(trust_domain: TrustDomain, json: &str) -> Result<Bundle, Fault> {
    if json.len() > MESSAGE_BYTES_MAX {
        return Err(fault(format!("it is longer than {MESSAGE_BYTES_MAX} bytes")));
    }
    let document: Received = serde_json::from_str(json).map_err(fault)?;
    Ok(Bundle {
        trust_domain,
        sequence: document.spiffe_sequence.unwrap_or(0),
        refresh_hint: document.spiffe_refresh_hint.map_or(BUNDLE_REFRESH_HINT, Millis::from_secs),
        roots: document.keys.into_iter().filter_map(root).collect(),
    })
}

fn key(root: &[u8]) -> Result<Key, Fault> {
    let facts = Facts::read(root).map_err(fault)?;
    let crv = match facts.key_kind {
        KeyKind::P256 => "P-256",
        KeyKind::P384 => "P-384",
        KeyKind::Other => return Err(fault("a root's key is neither P-256 nor P-384")),
    };
    // An uncompressed point is 04 ‖ x ‖ y, x and y of the same length (SEC 1 §2.3.3).
    let coordinates = facts.point.get(1..).unwrap_or_default();
    let (x, y) = coordinates.split_at(coordinates.len() / 2);
    Ok(Key {
        kty: "EC",
        usage: X509_SVID,
        crv,
        x: URL_SAFE_NO_PAD.encode(x),
        y: URL_SAFE_NO_PAD.encode(y),
        x5c: [STANDARD.encode(root)],
    })
}

/// The root that a key carries, when it is one: of another use, of an unknown type, or without a usable certificate it is
/// passed over, and the rest of the document still counts (§4.2). Only the first certificate counts (X509-SVID §6.1).
fn root(value: serde_json::Value) -> Option<Vec<u8>> {
    let ReceivedKey { kty, usage, x5c } = serde_json::from_value(value).ok()?;
    if usage != X509_SVID || !matches!(kty.as_str(), "EC" | "RSA" | "OKP") {
        return None;
    }
    STANDARD.decode(x5c.first()?).ok().filter(|der| is_root(der))
}

fn fault(why: impl ToString) -> Fault {
    Fault::Bundle(why.to_string())
}

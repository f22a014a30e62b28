//! The public half of a version, for whoever verifies or encrypts without us: PEM (RFC 7468) and JWK (RFC 7517). DER SubjectPublicKeyInfo
//! is what is stored.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use crypto::asymmetric::{self, KeyType, SignatureScheme};
use crypto::hash::HashFunction;
use pem::{EncodeConfig, LineEnding, Pem};

use crate::{Algorithm, Primitive};

/// Longest SubjectPublicKeyInfo: RSA of 4,096 bits has 550 bytes.
pub const PUBLIC_BYTES_MAX: usize = 600;

/// `-----BEGIN PUBLIC KEY-----`, lines ended by a line feed.
#[must_use]
pub fn to_pem(spki: &[u8]) -> String {
    pem::encode_config(&Pem::new("PUBLIC KEY", spki), EncodeConfig::new().set_line_ending(LineEnding::LF))
}

/// One JSON object, its members sorted. `kid` must not hold what JSON escapes: resource names do not. None for a key without a public
/// half, or one that is malformed.
#[must_use]
pub fn to_jwk(algorithm: Algorithm, spki: &[u8], kid: &str) -> Option<String> {
    let (alg, usage) = names(algorithm)?;
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let point = |curve: &str, bytes: usize| {
        let (x, y) = spki.len().checked_sub(2 * bytes).and_then(|at| spki.get(at..))?.split_at_checked(bytes)?;
        Some(format!(r#""crv":"{curve}","kid":"{kid}","kty":"EC","use":"{usage}","x":"{}","y":"{}""#, text(x), text(y)))
    };
    let rest = match algorithm.key_type()? {
        KeyType::P256 => point("P-256", 32)?,
        KeyType::P384 => point("P-384", 48)?,
        KeyType::Ed25519 => {
            let x = spki.last_chunk::<32>()?;
            format!(r#""crv":"Ed25519","kid":"{kid}","kty":"OKP","use":"{usage}","x":"{}""#, text(x))
        }
        KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => {
            let (n, e) = asymmetric::rsa_numbers(spki)?;
            format!(r#""e":"{}","kid":"{kid}","kty":"RSA","n":"{}","use":"{usage}""#, text(&e), text(&n))
        }
    };
    Some(format!(r#"{{"alg":"{alg}",{rest}}}"#))
}

/// `alg` (RFC 7518, RFC 8037) and `use`.
fn names(algorithm: Algorithm) -> Option<(&'static str, &'static str)> {
    let alg = match algorithm.primitive() {
        Primitive::Sign(_, SignatureScheme::Ed25519) => "EdDSA",
        Primitive::Sign(_, SignatureScheme::EcdsaP256) => "ES256",
        Primitive::Sign(_, SignatureScheme::EcdsaP384) => "ES384",
        Primitive::Sign(_, SignatureScheme::RsaPss(HashFunction::Sha256)) => "PS256",
        Primitive::Sign(_, SignatureScheme::RsaPss(HashFunction::Sha384)) => "PS384",
        Primitive::Sign(_, SignatureScheme::RsaPss(HashFunction::Sha512)) => "PS512",
        Primitive::Sign(_, SignatureScheme::RsaPkcs1(HashFunction::Sha256)) => "RS256",
        Primitive::Sign(_, SignatureScheme::RsaPkcs1(HashFunction::Sha384)) => "RS384",
        Primitive::Sign(_, SignatureScheme::RsaPkcs1(HashFunction::Sha512)) => "RS512",
        Primitive::Oaep(_) => return Some(("RSA-OAEP-256", "enc")),
        Primitive::Encrypt(_) | Primitive::Mac(_) => return None,
    };
    Some((alg, "sig"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037 appendix A.2: the public key of RFC 8032 test 1.
    #[test]
    fn the_key_of_rfc_8037() {
        let prefix = hex::decode("302a300506032b6570032100").expect("hex");
        let key = hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").expect("hex");
        let spki = [prefix, key].concat();
        let expected = r#"{"alg":"EdDSA","crv":"Ed25519","kid":"k","kty":"OKP","use":"sig","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        assert_eq!(to_jwk(Algorithm::Ed25519, &spki, "k").as_deref(), Some(expected));
        let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
        assert_eq!(to_pem(&spki), pem);
    }

    /// The members of a JWK are what the DER holds: coordinates at its end, modulus and exponent in it.
    #[test]
    fn a_jwk_is_the_key_that_the_der_is() {
        let member = |jwk: &str, name: &str| {
            let rest = jwk.split_once(&format!("\"{name}\":\""))?.1;
            rest.split_once('"').map(|(value, _)| value.to_owned())
        };
        let bytes = |jwk: &str, name: &str| {
            member(jwk, name).map(|text| URL_SAFE_NO_PAD.decode(text).expect("base64url")).unwrap_or_default()
        };
        for (algorithm, kty, crv, alg, usage) in [
            (Algorithm::EcdsaP256Sha256, "EC", "P-256", "ES256", "sig"),
            (Algorithm::EcdsaP384Sha384, "EC", "P-384", "ES384", "sig"),
            (Algorithm::RsaPss2048Sha256, "RSA", "", "PS256", "sig"),
            (Algorithm::RsaPss3072Sha256, "RSA", "", "PS256", "sig"),
            (Algorithm::RsaPkcs12048Sha256, "RSA", "", "RS256", "sig"),
            (Algorithm::RsaOaep2048Sha256, "RSA", "", "RSA-OAEP-256", "enc"),
        ] {
            let public = crate::NewMaterial::draw(algorithm).expect("draws").public;
            let jwk = to_jwk(algorithm, &public, "k").expect("has one");
            for (name, expected) in [("kty", kty), ("crv", crv), ("alg", alg), ("use", usage)] {
                assert_eq!(member(&jwk, name).unwrap_or_default(), expected, "{jwk}");
            }
            if kty == "EC" {
                let point = [vec![4], bytes(&jwk, "x"), bytes(&jwk, "y")].concat();
                assert!(public.ends_with(&point), "{jwk}");
            } else {
                let (n, e) = (bytes(&jwk, "n"), bytes(&jwk, "e"));
                // Both are integers of DER, the first with a zero before its highest bit.
                let end = [&[0], &n[..], &[2, 3], &e].concat();
                assert!(public.ends_with(&end) && e == [1, 0, 1], "{jwk}");
            }
        }
        let names: Vec<_> =
            Algorithm::ALL.iter().filter_map(|algorithm| names(*algorithm)).map(|(alg, _)| alg).collect();
        let expected = "EdDSA ES256 ES384 PS256 PS256 PS512 RS256 RS256 RS512 RSA-OAEP-256 RSA-OAEP-256 RSA-OAEP-256";
        assert_eq!(names.join(" "), expected);
    }

    #[test]
    fn every_algorithm_with_a_public_half_has_both() {
        for algorithm in Algorithm::ALL.iter().filter(|algorithm| algorithm.key_type() != Some(KeyType::Rsa4096)) {
            let public = crate::NewMaterial::draw(*algorithm).expect("draws").public;
            let jwk = to_jwk(*algorithm, &public, "k");
            assert_eq!(jwk.is_some(), algorithm.key_type().is_some(), "{algorithm}");
            assert_eq!(public.is_empty(), algorithm.key_type().is_none(), "{algorithm}");
            assert!(public.len() <= PUBLIC_BYTES_MAX, "{algorithm}: {}", public.len());
            if let Some(jwk) = jwk {
                assert!(jwk.contains(r#""alg":""#) && jwk.contains(r#""kid":"k""#), "{jwk}");
                assert_eq!(to_jwk(*algorithm, &public[..public.len() / 8], "k"), None, "{algorithm}");
            }
        }
    }
}

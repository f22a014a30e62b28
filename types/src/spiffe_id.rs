//! SPIFFE IDs and trust domains (SPIFFE-ID §2): parsed once, well formed from then on.

use serde::{Deserialize, Serialize};

use crate::NamespaceName;
use crate::limits::{SPIFFE_ID_BYTES_MAX, TRUST_DOMAIN_BYTES_MAX};

/// Which rule of SPIFFE-ID §2 a text breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpiffeIdError {
    /// Longer than 2,048 bytes, or a trust domain longer than 255.
    TooLong,
    /// The scheme is not `spiffe`.
    WrongScheme,
    /// The trust domain is empty.
    MissingTrustDomain,
    /// A trust domain holds only lowercase letters, digits, dots, hyphens and underscores: no user, port or escape.
    BadTrustDomainCharacter,
    /// A path holds only letters, digits, dots, hyphens and underscores: no escape, query or fragment.
    BadPathCharacter,
    /// A segment is empty; this includes a trailing slash.
    EmptySegment,
    /// A segment is `.` or `..`.
    DotSegment,
    /// The id of a workload needs a path.
    MissingPath,
}

impl std::fmt::Display for SpiffeIdError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TooLong => "a SPIFFE ID has at most 2048 bytes and a trust domain at most 255",
            Self::WrongScheme => "a SPIFFE ID starts with `spiffe://`",
            Self::MissingTrustDomain => "the trust domain is missing",
            Self::BadTrustDomainCharacter => {
                "a trust domain may hold only lowercase letters, digits, dots, hyphens and underscores"
            }
            Self::BadPathCharacter => {
                "a path may hold only letters, digits, dots, hyphens and underscores between its slashes"
            }
            Self::EmptySegment => "a path segment is empty, or the path ends with a slash",
            Self::DotSegment => "a path segment may not be `.` or `..`",
            Self::MissingPath => "the SPIFFE ID of a workload needs a path",
        })
    }
}

impl std::error::Error for SpiffeIdError {}

/// The name of a trust domain: lowercase, at most 255 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustDomain(std::sync::Arc<str>);

/// A SPIFFE ID, with or without a path: `spiffe://{trust domain}{path}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId {
    domain: TrustDomain,
    /// Empty, or `/a/b`.
    path: std::sync::Arc<str>,
}

impl TrustDomain {
    /// Parses a bare trust domain name such as `example.org`. Uppercase is folded (§2.4), never emitted.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, SpiffeIdError> {
        if text.is_empty() {
            return Err(SpiffeIdError::MissingTrustDomain);
        }
        if text.len() > TRUST_DOMAIN_BYTES_MAX {
            return Err(SpiffeIdError::TooLong);
        }
        let folded = text.to_ascii_lowercase();
        let good = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
        if !folded.bytes().all(good) {
            return Err(SpiffeIdError::BadTrustDomainCharacter);
        }
        Ok(Self(folded.into()))
    }

    /// The bare name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trust domain's own SPIFFE ID: no path. Authorities carry it (X509-SVID §3.1).
    #[must_use]
    pub fn id(&self) -> SpiffeId {
        SpiffeId { domain: self.clone(), path: "".into() }
    }

    /// The id of a workload in this trust domain.
    ///
    /// # Errors
    /// When the path breaks a rule, is empty, or the whole is too long to issue.
    pub fn workload(&self, path: &str) -> Result<SpiffeId, SpiffeIdError> {
        check_path(path)?;
        if path.is_empty() {
            return Err(SpiffeIdError::MissingPath);
        }
        let id = SpiffeId { domain: self.clone(), path: path.into() };
        if id.to_string().len() > SPIFFE_ID_BYTES_MAX {
            return Err(SpiffeIdError::TooLong);
        }
        Ok(id)
    }
}

impl SpiffeId {
    /// Parses `spiffe://{trust domain}{path}`; scheme and trust domain are folded to lowercase.
    ///
    /// # Errors
    /// The first rule of SPIFFE-ID §2 that the text breaks.
    pub fn parse(text: &str) -> Result<Self, SpiffeIdError> {
        if text.len() > SPIFFE_ID_BYTES_MAX {
            return Err(SpiffeIdError::TooLong);
        }
        let scheme = text.get(.."spiffe://".len()).ok_or(SpiffeIdError::WrongScheme)?;
        if !scheme.eq_ignore_ascii_case("spiffe://") {
            return Err(SpiffeIdError::WrongScheme);
        }
        let rest = text.get("spiffe://".len()..).unwrap_or_default();
        let slash = rest.find('/').unwrap_or(rest.len());
        let (domain, path) = rest.split_at(slash);
        let domain = TrustDomain::parse(domain)?;
        check_path(path)?;
        Ok(Self { domain, path: path.into() })
    }

    /// The trust domain it belongs to.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// The path, empty or starting with a slash.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether a namespace owns it: its path lies strictly under `/ns/{ns}/` (invariant 13).
    #[must_use]
    pub fn is_owned_by(&self, ns: &NamespaceName) -> bool {
        self.path
            .strip_prefix("/ns/")
            .and_then(|rest| rest.strip_prefix(ns.as_str()))
            .and_then(|rest| rest.strip_prefix('/'))
            .is_some_and(|rest| !rest.is_empty())
    }

    /// The namespace segment of `/ns/{ns}/…`, when it has that shape.
    #[must_use]
    pub fn namespace(&self) -> Option<NamespaceName> {
        let (ns, rest) = self.path.strip_prefix("/ns/")?.split_once('/')?;
        (!rest.is_empty()).then(|| NamespaceName::parse(ns).ok())?
    }
}

/// SPIFFE-ID §2.2: segments of `[a-zA-Z0-9.-_]`, none empty, none `.` or `..`.
fn check_path(path: &str) -> Result<(), SpiffeIdError> {
    if path.is_empty() {
        return Ok(());
    }
    let Some(rest) = path.strip_prefix('/') else {
        return Err(SpiffeIdError::BadPathCharacter);
    };
    for segment in rest.split('/') {
        match segment {
            "" => return Err(SpiffeIdError::EmptySegment),
            "." | ".." => return Err(SpiffeIdError::DotSegment),
            _ => {}
        }
        if !segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) {
            return Err(SpiffeIdError::BadPathCharacter);
        }
    }
    Ok(())
}

impl std::fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "spiffe://{}{}", self.domain, self.path)
    }
}

impl std::fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for TrustDomain {
    type Error = SpiffeIdError;
    fn try_from(text: String) -> Result<Self, SpiffeIdError> {
        Self::parse(&text)
    }
}

impl From<TrustDomain> for String {
    fn from(domain: TrustDomain) -> Self {
        domain.0.as_ref().to_owned()
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = SpiffeIdError;
    fn try_from(text: String) -> Result<Self, SpiffeIdError> {
        Self::parse(&text)
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, why: SpiffeIdError) {
        assert_eq!(SpiffeId::parse(text), Err(why), "{text}");
    }

    #[test]
    fn p01_the_scheme_is_spiffe() {
        for text in ["http://td/a", "spiffe:/td/a", "spiffe", "", "spiffé://td/a"] {
            refused(text, SpiffeIdError::WrongScheme);
        }
    }

    #[test]
    fn p02_the_trust_domain_is_not_empty() {
        refused("spiffe:///a", SpiffeIdError::MissingTrustDomain);
        refused("spiffe://", SpiffeIdError::MissingTrustDomain);
    }

    #[test]
    fn p03_no_query_and_no_fragment_even_when_empty() {
        for text in ["spiffe://td/a?", "spiffe://td/a#", "spiffe://td/a?b=c", "spiffe://td/a#b"] {
            refused(text, SpiffeIdError::BadPathCharacter);
        }
        refused("spiffe://td?", SpiffeIdError::BadTrustDomainCharacter);
    }

    #[test]
    fn p04_no_user_and_no_port() {
        for text in ["spiffe://u@td/x", "spiffe://td:80/x", "spiffe://td:/x"] {
            refused(text, SpiffeIdError::BadTrustDomainCharacter);
        }
    }

    #[test]
    fn p05_p06_the_host_is_plain_text() {
        refused("spiffe://t%64/x", SpiffeIdError::BadTrustDomainCharacter);
        refused("spiffe://[::1]/x", SpiffeIdError::BadTrustDomainCharacter);
        assert!(SpiffeId::parse("spiffe://10.0.0.1/x").is_ok());
        assert!(SpiffeId::parse("spiffe://a_b-c.d/x").is_ok());
    }

    #[test]
    fn p07_p10_segments_are_plain_text_and_case_sensitive() {
        refused("spiffe://td/a%41", SpiffeIdError::BadPathCharacter);
        refused("spiffe://td/a b", SpiffeIdError::BadPathCharacter);
        refused("spiffe://td/ä", SpiffeIdError::BadPathCharacter);
        assert_ne!(SpiffeId::parse("spiffe://td/a"), SpiffeId::parse("spiffe://td/A"));
    }

    #[test]
    fn p08_p09_no_empty_dot_or_trailing_segment() {
        refused("spiffe://td//a", SpiffeIdError::EmptySegment);
        refused("spiffe://td/a/", SpiffeIdError::EmptySegment);
        refused("spiffe://td/", SpiffeIdError::EmptySegment);
        refused("spiffe://td/./a", SpiffeIdError::DotSegment);
        refused("spiffe://td/a/..", SpiffeIdError::DotSegment);
        assert!(SpiffeId::parse("spiffe://td/.../a").is_ok());
    }

    #[test]
    fn p11_scheme_and_domain_fold_to_lowercase() {
        let id = SpiffeId::parse("SPIFFE://Example.ORG/A").expect("parses");
        assert_eq!(id.to_string(), "spiffe://example.org/A");
    }

    #[test]
    fn p12_bounds() {
        let longest = format!("spiffe://td/{}", "a".repeat(2_048 - "spiffe://td/".len()));
        assert!(SpiffeId::parse(&longest).is_ok());
        refused(&format!("{longest}a"), SpiffeIdError::TooLong);
        assert!(TrustDomain::parse(&"a".repeat(255)).is_ok());
        assert_eq!(TrustDomain::parse(&"a".repeat(256)), Err(SpiffeIdError::TooLong));
    }

    #[test]
    fn a_namespace_owns_only_what_is_strictly_under_its_path() {
        let ns = NamespaceName::parse("pay").expect("a name");
        let owned = |path: &str| SpiffeId::parse(&format!("spiffe://td{path}")).expect("an id").is_owned_by(&ns);
        assert!(owned("/ns/pay/api"));
        for path in ["", "/ns/pay", "/ns/payx/api", "/ns/other/api", "/chancery/node", "/NS/pay/api"] {
            assert!(!owned(path), "{path}");
        }
    }
}

//! Names, ids and principals: what every request carries.

use ::types::{
    Action, AgentName, AliasName, ClusterId, EntryName, KeyId, KeyName, NamespaceName, OperatorName, Principal, Reason,
    RequestId, Role, SpiffeId, SpkiHash, TrustDomain,
};

use super::{text, texts};
use crate::engine::Target;

/// A name is its text, by every door.
pub(super) const NAMES: Target =
    Target::new("types-names", names, || texts(&["default", "a", "pay-2", "a--b", "-a", "A", "a_b"])).bytes_max(200);

/// The SPIFFE ID specification, §2.
pub(super) const SPIFFE_ID: Target = Target::new("types-spiffe-id", spiffe_id, || {
    texts(&[
        "spiffe://example.org/ns/pay/api",
        "spiffe://example.org",
        "example.org",
        "spiffe://a/b/../c",
        "SPIFFE://a/%41",
        "/ns/pay/x",
    ])
})
.tokens(&[b"spiffe://", b"/ns/", b"..", b"//", b"%2f", b"example.org", b"@", b":443", b"?", b"#"]);

/// Principals, ids and closed sets.
pub(super) const PRINCIPAL: Target = Target::new("types-principal", principal, || {
    texts(&[
        "operators/root",
        "agents/node-1",
        "nodes/1",
        "nodes/18446744073709551615",
        "local-admin",
        "seal",
        "spiffe://example.org/ns/pay/api",
        "0192d3c4-5e6f-7a8b-9c0d-1e2f3a4b5c6d",
        "000102030405060708090a0b0c0d0e0f",
        "key-admin",
        "node-7",
    ])
})
.tokens(&[b"operators/", b"agents/", b"nodes/", b"urn:uuid:", b"{", b"}", b"-", b"+", b"0", b"node-"])
.bytes_max(300);

macro_rules! same_by_every_door {
    ($text:expr, $($name:ty),*) => {$(
        let parsed = <$name>::parse($text);
        let read: Result<$name, _> = postcard::from_bytes(&postcard::to_stdvec($text).unwrap());
        assert_eq!(parsed.is_ok(), read.is_ok(), "{:?}", $text);
        if let Ok(name) = parsed {
            assert_eq!(name.as_str(), $text);
            assert_eq!(Some(name), read.ok());
            assert!($text.len() <= 63 && $text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'));
        }
    )*};
}

fn names(input: &[u8]) {
    if let Some(text) = text(input) {
        same_by_every_door!(text, NamespaceName, KeyName, AliasName, EntryName, OperatorName, AgentName);
    }
}

fn spiffe_id(input: &[u8]) {
    let Some(text) = text(input) else { return };
    if let Ok(domain) = TrustDomain::parse(text) {
        assert_eq!(TrustDomain::parse(domain.as_str()), Ok(domain.clone()));
        assert_eq!(SpiffeId::parse(&domain.id().to_string()), Ok(domain.id()));
    }
    let domain = TrustDomain::parse("example.org").unwrap();
    let ids = [SpiffeId::parse(text), domain.workload(text)];
    for id in ids.into_iter().flatten() {
        let written = id.to_string();
        assert!(written.len() <= 2_048, "{written}");
        assert_eq!(SpiffeId::parse(&written).as_ref(), Ok(&id));
        let path = id.path();
        assert!(
            path.is_empty()
                || path.starts_with('/') && path.split('/').skip(1).all(|part| !["", ".", ".."].contains(&part))
        );
        // Invariant 13: whoever owns it, its path says so.
        if let Some(namespace) = id.namespace() {
            assert!(id.is_owned_by(&namespace) && path.starts_with(&format!("/ns/{namespace}/")));
        }
    }
}

fn principal(input: &[u8]) {
    let Some(text) = text(input) else { return };
    if let Some(principal) = Principal::parse(text) {
        assert_eq!(principal.to_string(), text);
    }
    if let Some(id) = RequestId::parse(text) {
        assert_eq!(RequestId::parse(&id.to_string()), Some(id));
        assert_eq!(id.0[6] >> 4, 7);
    }
    assert!(ClusterId::from_hex(text).is_none_or(|id| id.to_hex() == text));
    assert!(KeyId::from_hex(text).is_none_or(|id| id.to_hex() == text));
    assert!(SpkiHash::from_hex(text).is_none_or(|hash| hash.to_hex() == text));
    assert!(Role::parse(text).is_none_or(|role| role.as_str() == text));
    assert!(Action::parse(text).is_none_or(|action| action.as_str() == text));
    assert!(Reason::parse(text).is_none_or(|reason| reason.as_str() == text));
    assert!(::audit::LogName::parse(text).is_none_or(|log| log.to_string() == text));
    assert!(::audit::Text::parse(text).is_ok() == (::audit::Text::clipped(text).as_str() == text));
}

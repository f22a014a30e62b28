//! Resource names (AIP-122): parsed into checked parts.

use types::name::NameError;
use types::{AgentName, AliasName, EntryName, KeyName, NamespaceName, OperatorName, Reason, Refusal};

fn malformed(given: &str, shape: &str) -> Refusal {
    let given: String = given.chars().take(200).collect();
    Refusal::new(Reason::InvalidArgument, format!("`{given}` is not a resource name of the form {shape}"))
}

/// A name that breaks the rules for names.
#[must_use]
pub(crate) fn refused(error: NameError) -> Refusal {
    Refusal::new(Reason::InvalidArgument, error.to_string())
}

/// `namespaces/{ns}`.
///
/// # Errors
/// When it has another shape.
pub(crate) fn namespace(name: &str) -> Result<NamespaceName, Refusal> {
    let ns = name.strip_prefix("namespaces/").ok_or_else(|| malformed(name, "namespaces/{namespace}"))?;
    NamespaceName::parse(ns).map_err(refused)
}

/// `namespaces/{ns}/keys/{key}`.
///
/// # Errors
/// When it has another shape.
pub(crate) fn key(name: &str) -> Result<(NamespaceName, KeyName), Refusal> {
    let (ns, key) = child(name, "keys", "namespaces/{namespace}/keys/{key}")?;
    Ok((ns, KeyName::parse(key).map_err(refused)?))
}

/// `namespaces/{ns}/aliases/{alias}`.
///
/// # Errors
/// When it has another shape.
pub(crate) fn alias(name: &str) -> Result<(NamespaceName, AliasName), Refusal> {
    let (ns, alias) = child(name, "aliases", "namespaces/{namespace}/aliases/{alias}")?;
    Ok((ns, AliasName::parse(alias).map_err(refused)?))
}

/// What a call may name a key by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum KeyOrAlias {
    /// Its own name.
    Key(NamespaceName, KeyName),
    /// Another one, which may be given to another key.
    Alias(NamespaceName, AliasName),
}

/// `namespaces/{ns}/keys/{key}` or `namespaces/{ns}/aliases/{alias}`.
///
/// # Errors
/// When it has another shape.
pub(crate) fn key_or_alias(name: &str) -> Result<KeyOrAlias, Refusal> {
    if name.split('/').nth(2) == Some("aliases") {
        return alias(name).map(|(ns, alias)| KeyOrAlias::Alias(ns, alias));
    }
    key(name).map(|(ns, key)| KeyOrAlias::Key(ns, key))
}

/// `namespaces/{ns}/entries/{entry}`.
///
/// # Errors
/// When it has another shape.
pub(crate) fn entry(name: &str) -> Result<(NamespaceName, EntryName), Refusal> {
    let (ns, entry) = child(name, "entries", "namespaces/{namespace}/entries/{entry}")?;
    Ok((ns, EntryName::parse(entry).map_err(refused)?))
}

/// `agents/{id}`.
///
/// # Errors
/// When it has another shape.
pub(crate) fn agent(name: &str) -> Result<AgentName, Refusal> {
    let id = name.strip_prefix("agents/").ok_or_else(|| malformed(name, "agents/{agent}"))?;
    AgentName::parse(id).map_err(refused)
}

/// `operators/{name}`.
///
/// # Errors
/// When it has another shape.
pub(crate) fn operator(name: &str) -> Result<OperatorName, Refusal> {
    let id = name.strip_prefix("operators/").ok_or_else(|| malformed(name, "operators/{operator}"))?;
    OperatorName::parse(id).map_err(refused)
}

fn child<'a>(name: &'a str, kind: &str, shape: &str) -> Result<(NamespaceName, &'a str), Refusal> {
    let mut parts = name.split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("namespaces"), Some(ns), Some(found), Some(id), None) if found == kind => {
            Ok((NamespaceName::parse(ns).map_err(refused)?, id))
        }
        _ => Err(malformed(name, shape)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_shape() {
        let (ns, name) = key("namespaces/default/keys/orders").expect("parses");
        assert_eq!((ns.as_str(), name.as_str()), ("default", "orders"));
        for wrong in [
            "",
            "orders",
            "namespaces/default",
            "namespaces/default/keys/",
            "namespaces//keys/orders",
            "namespaces/default/entries/orders",
            "namespaces/default/keys/orders/versions/1",
            "/namespaces/default/keys/orders",
            "namespaces/DEFAULT/keys/orders",
        ] {
            assert_eq!(key(wrong).map_err(|r| r.reason), Err(Reason::InvalidArgument), "{wrong}");
            assert!(key_or_alias(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_is_named_by_its_name_or_by_an_alias() {
        let of = |text: &str| match key_or_alias(text) {
            Ok(KeyOrAlias::Key(ns, key)) => Some(format!("{ns} key {key}")),
            Ok(KeyOrAlias::Alias(ns, alias)) => Some(format!("{ns} alias {alias}")),
            Err(_) => None,
        };
        assert_eq!(of("namespaces/pay/keys/orders").as_deref(), Some("pay key orders"));
        assert_eq!(of("namespaces/pay/aliases/orders").as_deref(), Some("pay alias orders"));
        // A key of that name is a key.
        assert_eq!(of("namespaces/pay/keys/aliases").as_deref(), Some("pay key aliases"));
        for wrong in ["namespaces/pay/aliases", "namespaces/pay/aliases/", "namespaces/pay/aliases/a/b", "aliases/a"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}

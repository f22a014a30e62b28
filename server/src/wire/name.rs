//! Resource names (AIP-122): parsed into checked parts.

use types::name::NameError;
use types::{AgentName, EntryName, KeyName, NamespaceName, OperatorName, Reason, Refusal};

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
        }
    }
}

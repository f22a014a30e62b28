//! Every endpoint of the API beside the action that policy decides and audit records for it.

use std::collections::BTreeSet;
use std::fmt::Write;

use prost::Message;
use types::Action;
use types::action::ActionKind;

/// Packages that only members call, on the peer port, where the connection's pinned key is the authorization.
const MEMBERS_ONLY: &[&str] = &["chancery.raft.v1", "chancery.member.v1"];

/// Every `Service.Method` that a client may call, by package.
///
/// # Errors
/// A descriptor set that does not decode: the generated code is damaged.
pub fn of_the_api() -> Result<BTreeSet<(String, String)>, prost::DecodeError> {
    let set = prost_types::FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET)?;
    let mut found = BTreeSet::new();
    for file in set.file.iter().filter(|f| f.package().starts_with("chancery.") && !MEMBERS_ONLY.contains(&f.package()))
    {
        for service in &file.service {
            let methods = service.method.iter().map(|m| format!("{}.{}", service.name(), m.name()));
            found.extend(methods.map(|name| (file.package().to_owned(), name)));
        }
    }
    Ok(found)
}

/// The table: each endpoint with the kind of its action, then the endpoints that have none, then the actions without an endpoint.
///
/// # Errors
/// As [`of_the_api`].
pub fn table() -> Result<String, prost::DecodeError> {
    let endpoints = of_the_api()?;
    let mut text = String::new();
    // Writing to a String cannot fail.
    for (package, name) in &endpoints {
        let kind = match Action::parse(name).map(Action::kind) {
            Some(ActionKind::Read) => "read",
            Some(ActionKind::Use) => "use",
            Some(ActionKind::Mutate) => "mutate",
            None => "NO ACTION",
        };
        let _ = writeln!(text, "{package:<20} {name:<36} {kind}");
    }
    let _ = writeln!(text, "\nactions without an endpoint:");
    for action in Action::ALL.iter().filter(|a| !endpoints.iter().any(|(_, name)| name == a.as_str())) {
        let _ = writeln!(text, "{action:?} = {}", action.as_str());
    }
    Ok(text)
}

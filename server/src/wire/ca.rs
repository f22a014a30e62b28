//! Entries, agents, authorities and the bundle, to and from the wire.

use ca::authority::{Authority, AuthorityState};
use proto::ca::v1 as wire;
use state::{EntryBody, State, rows};
use types::{AgentName, EntryName, NamespaceName, Refusal, limits};

use super::cluster::etag;
use super::time::{duration, millis, timestamp};

/// `namespaces/{ns}/entries/{entry}`.
#[must_use]
pub(crate) fn entry(state: &State, ns: &NamespaceName, name: &EntryName, entry: &ca::Entry) -> wire::Entry {
    let spec = entry.spec();
    wire::Entry {
        name: format!("namespaces/{ns}/entries/{name}"),
        spiffe_id: spec.spiffe_id.to_string(),
        parent_agent: format!("agents/{}", spec.parent),
        selectors: spec.selectors.iter().map(ToString::to_string).collect(),
        svid_ttl: Some(duration(spec.svid_ttl)),
        dns_names: spec.dns_names.iter().map(|name| name.as_str().to_owned()).collect(),
        hint: spec.hint.clone(),
        create_time: timestamp(entry.created()),
        etag: etag(state, entry.revision()),
        path: spec.spiffe_id.path().to_owned(),
    }
}

/// What a registration is asked to say; `ca` checks it against its namespace.
///
/// # Errors
/// When the parent is not an agent's name or the TTL is malformed.
pub(crate) fn entry_body(wire: &wire::Entry) -> Result<EntryBody, Refusal> {
    let ttl = wire.svid_ttl.as_ref().map(|ttl| millis("svid_ttl", ttl)).transpose()?;
    Ok(EntryBody {
        path: wire.path.clone(),
        parent: super::name::agent(&wire.parent_agent)?,
        selectors: wire.selectors.clone(),
        svid_ttl: ttl.unwrap_or(limits::SVID_TTL_DEFAULT),
        dns_names: wire.dns_names.clone(),
        hint: wire.hint.clone(),
    })
}

/// `agents/{id}`.
#[must_use]
pub(crate) fn agent(state: &State, name: &AgentName, row: &rows::Agent) -> wire::Agent {
    wire::Agent {
        name: format!("agents/{name}"),
        spki_sha256: row.spki.to_hex(),
        enrol_time: timestamp(row.enrolled),
        expire_time: timestamp(row.expires),
        revoked: row.revoked.is_some(),
        acknowledged_sequence: row.acknowledged,
        etag: etag(state, row.revision),
    }
}

/// One voter's authority.
#[must_use]
pub(crate) fn authority(authority: &Authority) -> wire::Authority {
    let since = authority.ended.or(authority.activated).or(authority.published).unwrap_or(authority.generated);
    wire::Authority {
        node: format!("nodes/{}", authority.node.0),
        id: authority.key.to_hex(),
        state: authority_state(authority.state).into(),
        generate_time: timestamp(authority.generated),
        state_time: timestamp(since),
        expire_time: timestamp(authority.not_after),
    }
}

const fn authority_state(state: AuthorityState) -> wire::AuthorityState {
    match state {
        AuthorityState::Generated => wire::AuthorityState::Generated,
        AuthorityState::Published => wire::AuthorityState::Published,
        AuthorityState::Active => wire::AuthorityState::Active,
        AuthorityState::Draining => wire::AuthorityState::Draining,
        AuthorityState::Retired => wire::AuthorityState::Retired,
        AuthorityState::Tainted => wire::AuthorityState::Tainted,
    }
}

//! Namespaces, operators, bindings and nodes, to and from the wire.

use proto::cluster::v1 as wire;
use state::{NamespaceSettings, State, rows};
use types::{
    Binding, Millis, NamespaceName, OperatorName, Principal, Reason, Refusal, Revision, Role, Scope, SpiffeId, limits,
};

use super::time::{duration, millis, timestamp};

/// An etag: the revision at which the caller saw a thing, in all of the cluster's lives.
#[must_use]
pub(crate) fn etag(state: &State, revision: Revision) -> String {
    format!("r{}", state.sequence_at(revision))
}

/// Refuses an etag that is not the thing's; an empty one matches everything (AIP-154).
///
/// # Errors
/// [`Reason::PreconditionFailed`] when the thing has changed.
pub(crate) fn check_etag(state: &State, given: &str, revision: Revision) -> Result<(), Refusal> {
    if given.is_empty() || given == etag(state, revision) {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::PreconditionFailed,
        "it has changed since you read it: read it again and use the new etag",
    ))
}

/// `namespaces/{ns}`.
#[must_use]
pub(crate) fn namespace(state: &State, name: &NamespaceName, row: &rows::Namespace) -> wire::Namespace {
    let (keys, entries) = state.counts(name);
    let (scheduled_destroy_time, destroy_time) = match row.life {
        rows::NamespaceLife::Open => (None, None),
        rows::NamespaceLife::DestroyScheduled(scheduled) => (timestamp(scheduled.due), None),
        rows::NamespaceLife::Destroyed { at, .. } => (None, timestamp(at)),
    };
    wire::Namespace {
        name: format!("namespaces/{name}"),
        rotation_floor: Some(duration(row.settings.rotation_floor)),
        dns_suffixes: row.settings.dns_suffixes.clone(),
        create_time: timestamp(row.created),
        etag: etag(state, row.revision),
        restore_quarantine: state.quarantine(name).map(|quarantine| wire::RestoreQuarantine {
            since: timestamp(quarantine.since),
            reason: quarantine.reason.as_str().to_owned(),
        }),
        waiting_period_floor: Some(duration(row.settings.waiting_period_floor)),
        max_keys: row.settings.keys_max,
        max_entries: row.settings.entries_max,
        keys,
        entries,
        scheduled_destroy_time,
        destroy_time,
        receipt: None,
    }
}

/// The settings that a request asks for.
///
/// # Errors
/// When a duration is malformed; `state` checks the bounds.
pub(crate) fn namespace_settings(wire: &wire::Namespace) -> Result<NamespaceSettings, Refusal> {
    let floor = wire.rotation_floor.as_ref().map(|floor| millis("rotation_floor", floor)).transpose()?;
    let waiting = wire.waiting_period_floor.as_ref().map(|floor| millis("waiting_period_floor", floor)).transpose()?;
    Ok(NamespaceSettings {
        rotation_floor: floor.unwrap_or(limits::ROTATION_FLOOR_DEFAULT),
        dns_suffixes: wire.dns_suffixes.clone(),
        waiting_period_floor: waiting.unwrap_or(limits::WAITING_PERIOD_FLOOR_DEFAULT),
        keys_max: wire.max_keys,
        entries_max: wire.max_entries,
    })
}

/// `operators/{name}`.
#[must_use]
pub(crate) fn operator(state: &State, name: &OperatorName, row: &rows::Operator) -> wire::Operator {
    wire::Operator {
        name: format!("operators/{name}"),
        spki_sha256: row.spki.to_hex(),
        enrol_time: timestamp(row.enrolled),
        expire_time: timestamp(row.expires),
        revoked: row.revoked.is_some(),
        etag: etag(state, row.revision),
        recovery: state.recovery(name).map(|recovery| wire::Recovery {
            recover_time: timestamp(recovery.at),
            node: recovery.opened.node.0,
            slot: recovery.opened.slot,
            opened_by: recovery.opened.by.clone(),
            through: recovery.through.as_ref().map(|name| format!("operators/{name}")).unwrap_or_default(),
        }),
    }
}

/// A binding as it is shown.
#[must_use]
pub(crate) fn binding(binding: &Binding) -> wire::Binding {
    wire::Binding {
        principal: binding.principal.to_string(),
        role: binding.role.to_string(),
        scope: binding.scope.to_string(),
    }
}

/// A binding as it is asked for.
///
/// # Errors
/// When principal, role or scope are not what may be bound.
pub(crate) fn parse_binding(wire: Option<&wire::Binding>) -> Result<Binding, Refusal> {
    let refused = |text: String| Refusal::new(Reason::InvalidArgument, text);
    let wire = wire.ok_or_else(|| refused("`binding` is missing".to_owned()))?;
    let principal = if wire.principal.starts_with("operators/") {
        Principal::Operator(super::name::operator(&wire.principal)?)
    } else {
        let id = SpiffeId::parse(&wire.principal).map_err(|error| {
            refused(format!("`{}` is neither operators/{{name}} nor a SPIFFE ID: {error}", wire.principal))
        })?;
        Principal::Workload(id)
    };
    let role = Role::parse(&wire.role).ok_or_else(|| {
        let known = Role::ALL.map(Role::as_str).join(", ");
        refused(format!("`{}` is not a role: use one of {known}", wire.role))
    })?;
    let scope = match wire.scope.as_str() {
        "cluster" => Scope::Cluster,
        scope => Scope::Namespace(super::name::namespace(scope)?),
    };
    Ok(Binding { principal, role, scope })
}

/// When an enrolment that is asked for now ends: within [`limits::ENROLMENT_MAX`], which is also the default.
///
/// # Errors
/// When it is longer or none at all.
pub(crate) fn enrolment(ttl: Option<&prost_types::Duration>) -> Result<Millis, Refusal> {
    match ttl.map(|ttl| millis("ttl", ttl)).transpose()? {
        None => Ok(limits::ENROLMENT_MAX),
        Some(ttl) if ttl > Millis::ZERO && ttl <= limits::ENROLMENT_MAX => Ok(ttl),
        Some(_) => Err(Refusal::new(
            Reason::InvalidArgument,
            format!("`ttl` of an enrolment must be more than zero and at most {}", limits::ENROLMENT_MAX),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_go_there_and_back() {
        for (principal, scope) in [("operators/alice", "cluster"), ("spiffe://td/ns/a/b", "namespaces/pay")] {
            let given = wire::Binding { principal: principal.into(), role: "key-user".into(), scope: scope.into() };
            assert_eq!(binding(&parse_binding(Some(&given)).expect("parses")), given);
        }
    }

    #[test]
    fn nobody_but_operators_and_workloads_is_bound() {
        for (principal, role, scope) in [
            ("agents/a", "admin", "cluster"),
            ("nodes/1", "admin", "cluster"),
            ("operators/alice", "root", "cluster"),
            ("operators/alice", "admin", "everywhere"),
        ] {
            let given = wire::Binding { principal: principal.into(), role: role.into(), scope: scope.into() };
            assert_eq!(parse_binding(Some(&given)).map_err(|r| r.reason), Err(Reason::InvalidArgument));
        }
        assert!(parse_binding(None).is_err());
    }

    #[test]
    fn an_etag_matches_its_revision_or_is_empty() {
        let state = State::new();
        assert!(check_etag(&state, "", Revision(7)).is_ok());
        assert!(check_etag(&state, &etag(&state, Revision(7)), Revision(7)).is_ok());
        let other = check_etag(&state, "r6", Revision(7));
        assert_eq!(other.map_err(|r| r.reason), Err(Reason::PreconditionFailed));
    }
}

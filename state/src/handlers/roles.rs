//! Who holds which role where. The last admin keeps the admin role, or nobody could ever grant it again.

use types::limits::BINDINGS_MAX;
use types::{Binding, OperatorName, Principal, Reason, Refusal, Role, Scope};

use super::{checks, peer_unseal, vouching};
use crate::command::Reply;
use crate::outcome::Effect;
use crate::rows::{Granted, Withdrawn};
use crate::turn::{Handled, Turn, refuse};

pub(crate) fn grant(turn: &mut Turn<'_>, binding: &Binding) -> Handled {
    check_holder(turn, binding)?;
    check_scope(turn, binding)?;
    if turn.state.binding_table().contains(binding) {
        return refuse(Reason::AlreadyExists, format!("`{}` has the role already", binding.principal));
    }
    checks::room("role bindings", turn.state.binding_table().len(), BINDINGS_MAX)?;
    let granted = Granted { at: turn.now, revision: turn.revision };
    turn.state.put_binding(binding.clone(), granted);
    vouching::granted(turn, binding);
    changed(turn, binding);
    describe(turn, binding);
    Ok(Reply::Done)
}

pub(crate) fn revoke(turn: &mut Turn<'_>, binding: &Binding) -> Handled {
    if !turn.state.binding_table().contains(binding) {
        let message = format!("`{}` does not have the role `{}` there", binding.principal, binding.role);
        return refuse(Reason::NotFound, message);
    }
    if let (Principal::Operator(name), Role::Admin) = (&binding.principal, binding.role) {
        check_not_last_admin(turn, name)?;
    }
    remove(turn, binding);
    describe(turn, binding);
    Ok(Reply::Done)
}

/// Takes a binding away and moves the revisions that decisions under it rested on.
pub(crate) fn remove(turn: &mut Turn<'_>, binding: &Binding) {
    if turn.state.remove_binding(binding) {
        turn.withdraw(Withdrawn::Role(binding.clone()));
        if binding.role == Role::Admin {
            peer_unseal::end_those_of(turn, &binding.principal);
        }
        changed(turn, binding);
    }
}

/// Refuses to touch the only operator that could undo it.
pub(crate) fn check_not_last_admin(turn: &Turn<'_>, name: &OperatorName) -> Result<(), Refusal> {
    let mut admins = turn.state.active_admins(turn.now);
    match (admins.next(), admins.next()) {
        (Some(only), None) if only == name => refuse(
            Reason::PreconditionFailed,
            format!("`operators/{name}` is the last admin, make another admin first"),
        ),
        _ => Ok(()),
    }
}

/// Only operators and workloads of this cluster are ever bound, and only operators administer.
fn check_holder(turn: &Turn<'_>, binding: &Binding) -> Result<(), Refusal> {
    match &binding.principal {
        Principal::Operator(name) => match turn.state.operator(name) {
            Some(row) if row.revoked.is_none() => Ok(()),
            _ => Err(Refusal::not_found("operator", name)),
        },
        Principal::Workload(_) if binding.role == Role::Admin => {
            refuse(Reason::InvalidArgument, "the role `admin` is for operators, give a workload a smaller one")
        }
        Principal::Workload(id) if turn.state.trust_domain() != Some(id.trust_domain()) => {
            refuse(Reason::InvalidArgument, format!("`{id}` is not of this cluster's trust domain"))
        }
        Principal::Workload(id) if id.path().is_empty() => {
            refuse(Reason::InvalidArgument, format!("`{id}` is no workload: its path is empty"))
        }
        Principal::Workload(_) => Ok(()),
        Principal::Agent(_)
        | Principal::Node(_)
        | Principal::LocalAdmin
        | Principal::JoinToken
        | Principal::Seal
        | Principal::Unauthenticated => refuse(
            Reason::InvalidArgument,
            format!("`{}` holds no roles, name an operator or a workload", binding.principal),
        ),
    }
}

fn check_scope(turn: &Turn<'_>, binding: &Binding) -> Result<(), Refusal> {
    match &binding.scope {
        Scope::Cluster => Ok(()),
        Scope::Namespace(_) if binding.role == Role::Admin => {
            refuse(Reason::InvalidArgument, "the role `admin` holds in the whole cluster, use the scope `cluster`")
        }
        Scope::Namespace(name) if !turn.state.namespace_table().contains(name) => {
            Err(Refusal::not_found("namespace", name))
        }
        Scope::Namespace(_) => Ok(()),
    }
}

fn changed(turn: &mut Turn<'_>, binding: &Binding) {
    match &binding.scope {
        Scope::Cluster => turn.bump_global(),
        Scope::Namespace(name) => turn.bump_namespace(name),
    }
    turn.effect(Effect::PrincipalChanged(binding.principal.clone()));
}

fn describe(turn: &mut Turn<'_>, binding: &Binding) {
    turn.fact_text("holder", &binding.principal.to_string());
    turn.fact_text("role", binding.role.as_str());
}

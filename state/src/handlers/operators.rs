//! People and automation: enrolled by the hash of their key, for a year at most, revoked by one entry.

use types::limits::{BINDINGS_MAX, OPERATORS_MAX, RECOVERY_ROOM};
use types::{Binding, OperatorName, Principal, Reason, Refusal, Role, Scope, SpkiHash, Time};

use super::{checks, peer_unseal, roles, vouching};
use crate::command::{Command, Reply};
use crate::outcome::Effect;
use crate::rows::{Granted, Operator, Recovery, Withdrawn};
use crate::turn::{Handled, Turn, refuse};

/// Enrols a new operator, prolongs one with the key it has, or gives a revoked or expired one a new key.
pub(crate) fn enrol(turn: &mut Turn<'_>, name: &OperatorName, spki: SpkiHash, expires: Time) -> Handled {
    let principal = Principal::Operator(name.clone());
    checks::enrolment(expires, turn.now)?;
    checks::fresh_spki(turn.state, &spki, &principal)?;
    let old = turn.state.operator_table().get(name).cloned();
    match &old {
        None => checks::room("operators", turn.state.operator_table().len(), OPERATORS_MAX)?,
        Some(old) if old.revoked.is_none() && old.expires > turn.now && old.spki != spki => {
            return refuse(
                Reason::AlreadyExists,
                format!("operator `{name}` is enrolled with another key, revoke it first or choose another name"),
            );
        }
        Some(_) => {}
    }
    // Whoever counts and stays who it was is made nothing by this.
    let stands = old.as_ref().is_some_and(|old| old.spki == spki && old.revoked.is_none() && old.expires > turn.now);
    match old {
        Some(old) if old.spki != spki => {
            turn.state.put_spent(old.spki, principal.clone());
            turn.withdraw(Withdrawn::Operator(name.clone(), old.spki));
        }
        Some(old) if expires < old.expires => turn.withdraw(Withdrawn::OperatorLimited(name.clone(), spki, expires)),
        _ => {}
    }
    if !stands {
        // What was over stays over: nobody gives an approval again by prolonging who gave it.
        peer_unseal::end_those_of(turn, &principal);
    }
    let row = Operator { spki, enrolled: turn.now, expires, revoked: None, revision: turn.revision };
    turn.state.put_operator(name.clone(), row);
    vouching::enrolled(turn, name, stands);
    turn.bump_global();
    turn.effect(Effect::PrincipalChanged(principal));
    turn.fact_text("spki_sha256", &spki.to_hex());
    turn.fact_text("expires", &expires.to_rfc3339());
    Ok(Reply::Done)
}

/// Enrols an admin whom no admin vouches for: somebody has opened the seal of a node. Nothing that there is changes: the name
/// must be one that nobody has had, and so must the key.
pub(crate) fn recover(turn: &mut Turn<'_>, command: &Command) -> Handled {
    let Command::RecoverOperator { name, spki, expires, opened, root_epoch } = command else {
        return refuse(Reason::Internal, "not a recovery");
    };
    let (spki, expires) = (*spki, *expires);
    let principal = Principal::Operator(name.clone());
    let binding = Binding { principal: principal.clone(), role: Role::Admin, scope: Scope::Cluster };
    turn.fact_text("seal", &format!("seal {} of nodes/{}: {}", opened.slot, opened.node.0, opened.by));
    turn.fact_count("root_epoch", u64::from(*root_epoch));
    if *root_epoch != turn.state.root_epoch() {
        // What opened it may be what was just replaced.
        let text = format!("root key {root_epoch} is not the active one any more: bring what opens the seal again");
        return refuse(Reason::PreconditionFailed, text);
    }
    if let Some(row) = turn.state.operator_table().get(name) {
        // Asked again with the key that it was enrolled with: whoever asks may not have had the answer.
        let again = row.spki == spki && row.revoked.is_none() && turn.state.recovery(name).is_some();
        if again && turn.state.binding_table().contains(&binding) {
            turn.fact_count("changed", 0);
            return Ok(Reply::Done);
        }
        return refuse(
            Reason::AlreadyExists,
            format!("there is an operator `{name}` already, or was: a seal enrols a new one, choose another name"),
        );
    }
    checks::enrolment(expires, turn.now)?;
    checks::fresh_spki(turn.state, &spki, &principal)?;
    checks::room("operators", turn.state.operator_table().len(), OPERATORS_MAX + RECOVERY_ROOM)?;
    checks::room("role bindings", turn.state.binding_table().len(), BINDINGS_MAX + RECOVERY_ROOM)?;
    let (now, revision) = (turn.now, turn.revision);
    turn.state.put_operator(name.clone(), Operator { spki, enrolled: now, expires, revoked: None, revision });
    turn.state.put_binding(binding, Granted { at: now, revision });
    turn.state.put_recovery(name.clone(), Recovery { at: now, opened: opened.clone(), through: None, revision });
    turn.bump_global();
    turn.effect(Effect::PrincipalChanged(principal));
    turn.effect(Effect::OperatorRecovered { name: name.clone(), opened: opened.clone() });
    turn.fact_text("spki_sha256", &spki.to_hex());
    turn.fact_text("expires", &expires.to_rfc3339());
    turn.fact_text("role", Role::Admin.as_str());
    Ok(Reply::Done)
}

/// Revokes an operator and takes its roles, so that a later enrolment under the name starts with none.
pub(crate) fn revoke(turn: &mut Turn<'_>, name: &OperatorName) -> Handled {
    let Some(row) = turn.state.operator_table().get(name).cloned() else {
        return Err(Refusal::not_found("operator", name));
    };
    if row.revoked.is_some() {
        return refuse(Reason::PreconditionFailed, format!("operator `{name}` is revoked already"));
    }
    let principal = Principal::Operator(name.clone());
    roles::check_not_last_admin(turn, name)?;
    turn.state.put_spent(row.spki, principal.clone());
    turn.withdraw(Withdrawn::Operator(name.clone(), row.spki));
    let now = turn.now;
    turn.state.put_operator(name.clone(), Operator { revoked: Some(now), revision: turn.revision, ..row });
    turn.state.remove_recovery(name);
    peer_unseal::end_those_of(turn, &principal);
    let bindings: Vec<_> = turn.state.bindings_of(&principal).cloned().collect();
    for binding in &bindings {
        roles::remove(turn, binding);
    }
    turn.bump_global();
    turn.effect(Effect::PrincipalChanged(principal));
    turn.fact_count("roles_removed", u64::try_from(bindings.len()).unwrap_or(u64::MAX));
    Ok(Reply::Done)
}

//! People and automation: enrolled by the hash of their key, for a year at most, revoked by one entry.

use types::limits::OPERATORS_MAX;
use types::{OperatorName, Principal, Reason, Refusal, SpkiHash, Time};

use super::{checks, roles};
use crate::command::Reply;
use crate::outcome::Effect;
use crate::rows::{Operator, Withdrawn};
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
    match old {
        Some(old) if old.spki != spki => {
            turn.state.put_spent(old.spki, principal.clone());
            turn.withdraw(Withdrawn::Operator(name.clone(), old.spki));
        }
        Some(old) if expires < old.expires => turn.withdraw(Withdrawn::OperatorLimited(name.clone(), spki, expires)),
        _ => {}
    }
    let row = Operator { spki, enrolled: turn.now, expires, revoked: None, revision: turn.revision };
    turn.state.put_operator(name.clone(), row);
    turn.bump_global();
    turn.effect(Effect::PrincipalChanged(principal));
    turn.fact_text("spki_sha256", &spki.to_hex());
    turn.fact_text("expires", &expires.to_rfc3339());
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
    let bindings: Vec<_> = turn.state.bindings_of(&principal).cloned().collect();
    for binding in &bindings {
        roles::remove(turn, binding);
    }
    turn.bump_global();
    turn.effect(Effect::PrincipalChanged(principal));
    turn.fact_count("roles_removed", u64::try_from(bindings.len()).unwrap_or(u64::MAX));
    Ok(Reply::Done)
}

//! Who is an admin because of a seal, and who may say that this is in order (`docs/spec/seal.md`).
//!
//! A recovered admin can make others, and they more: all of them are marked, and no word of theirs takes a mark away. Whoever is an
//! admin without a seal can be neither made nor taken over by them, so the mark goes only by the word of somebody who was there before.

use types::{Binding, OperatorName, Principal, Role, Scope};

use crate::rows::Recovery;
use crate::turn::Turn;

/// An operator was enrolled, or prolonged: `stands` when it counted before, with the same key.
pub(crate) fn enrolled(turn: &mut Turn<'_>, name: &OperatorName, stands: bool) {
    let Principal::Operator(_) = turn.actor else { return };
    if marked(turn).is_none() {
        turn.state.remove_recovery(name);
    } else if !stands && turn.state.bindings_of(&Principal::Operator(name.clone())).any(is_admin) {
        // An enrolment that was over leaves its roles where they were.
        mark(turn, name);
    }
}

/// A role was granted.
pub(crate) fn granted(turn: &mut Turn<'_>, binding: &Binding) {
    if let Principal::Operator(name) = &binding.principal
        && is_admin(binding)
    {
        mark(turn, name);
    }
}

fn is_admin(binding: &Binding) -> bool {
    binding.role == Role::Admin && binding.scope == Scope::Cluster
}

/// Whoever a marked one makes an admin is marked; an older mark stays as it is.
fn mark(turn: &mut Turn<'_>, name: &OperatorName) {
    let Some((through, opened)) = marked(turn) else { return };
    if turn.state.recovery(name).is_some() {
        return;
    }
    turn.fact_text("recovered_through", through.as_str());
    let row = Recovery { at: turn.now, opened, through: Some(through), revision: turn.revision };
    turn.state.put_recovery(name.clone(), row);
}

/// Who asks, and by which seal it is an admin; none for one without a mark.
fn marked(turn: &Turn<'_>) -> Option<(OperatorName, crate::command::OpenedSeal)> {
    let Principal::Operator(name) = turn.actor else { return None };
    turn.state.recovery(name).map(|row| (name.clone(), row.opened.clone()))
}

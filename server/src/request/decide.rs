//! Where requests meet policy: the question is put together from applied state, the answer becomes a refusal or nothing.

use policy::{Facts, Question, Resource};
use types::{Action, Binding, Principal, Reason, Refusal};

use super::target::Target;
use crate::core::StateView;

/// Whether `principal` may do that to `target`, as the state knows both.
///
/// # Errors
/// `PERMISSION_DENIED`, or `NOT_FOUND` when the caller may not even know that the target exists.
pub(crate) fn decide(state: &StateView, principal: &Principal, action: Action, target: &Target) -> Result<(), Refusal> {
    let bindings: Vec<&Binding> = state.bindings_of(principal).collect();
    let resource = match target {
        Target::Cluster => Resource::cluster(),
        Target::Namespace(ns) | Target::Key(ns, _) | Target::Alias(ns, _) | Target::Aliased(ns, ..) => {
            Resource::in_namespace(ns)
        }
        Target::Entry(ns, name) => match state.entry(ns, name) {
            Some(entry) => Resource::entry(ns, entry.parent()),
            None => Resource::in_namespace(ns),
        },
        Target::Agent(name) => Resource::agent(name),
        Target::Operator(_) => Resource::cluster(),
    };
    let question = Question { principal, action, resource, facts: Facts { bindings: &bindings } };
    let decision = policy::decide(&question);
    if *target == Target::Cluster && !decision.is_allowed() {
        // Everybody who is enrolled knows that the cluster exists: there is nothing to hide behind "not found".
        let text = "you may not do this, ask an admin for a role that allows it";
        return Err(Refusal::new(Reason::PermissionDenied, text));
    }
    let (kind, name) = shown(target);
    decision.check(kind, &name)
}

/// How a target is spoken of in a refusal.
fn shown(target: &Target) -> (&'static str, String) {
    match target {
        Target::Cluster => ("the", "cluster".to_owned()),
        Target::Namespace(ns) => ("namespace", ns.to_string()),
        Target::Key(_, key) => ("key", key.to_string()),
        Target::Entry(_, entry) => ("entry", entry.to_string()),
        Target::Agent(agent) => ("agent", agent.to_string()),
        Target::Operator(operator) => ("operator", operator.to_string()),
        Target::Alias(_, alias) => ("alias", alias.to_string()),
        // Whoever may not know is told what is said of a key of that name.
        Target::Aliased(_, alias, _) => ("key", alias.to_string()),
    }
}

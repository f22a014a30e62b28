//! The answer to a question: a verdict, what it rests on, and whether the caller may know that the thing exists. It reads no state.

use types::{Binding, NamespaceName, Principal, Reason, Refusal, Role, Scope};

use crate::roles::{self, AGENT, EVERYBODY, JOIN_TOKEN, LOCAL_ADMIN, NODE, SEAL};
use crate::{Question, Resource};

/// Yes or no.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It may.
    Allow,
    /// It may not.
    Deny,
}

/// What an answer rests on, for the audit record and for `whoami`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// A role, where it holds.
    Role(Role, Scope),
    /// What the principal is, whatever its roles.
    Kind,
    /// Nothing grants it.
    NoGrant,
    /// It is another agent's or another node's.
    NotItsOwn,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// Yes or no.
    pub verdict: Verdict,
    /// Why.
    pub why: Why,
    /// Whether the principal may know that the resource exists.
    pub visible: bool,
    /// The namespace whose revision the answer rests on, besides the global one.
    pub rests_on: Option<NamespaceName>,
}

/// Answers a question. What nothing grants is denied.
#[must_use]
pub fn decide(question: &Question<'_>) -> Decision {
    let (verdict, why) = match judge(question) {
        Ok(why) => (Verdict::Allow, why),
        Err(why) => (Verdict::Deny, why),
    };
    let visible = verdict == Verdict::Allow || visible(question);
    Decision { verdict, why, visible, rests_on: question.resource.namespace.cloned() }
}

/// Whether the principal may know that the resource exists. If not, "not there" and "not allowed" must look the same
/// (invariant 10).
///
/// An agent or node sees its own. Everybody else sees what a role lets it do something with; in the cluster as a whole,
/// only what a role of cluster scope covers.
#[must_use]
pub fn visible(question: &Question<'_>) -> bool {
    let Question { principal, resource, .. } = question;
    match principal {
        Principal::Agent(name) => resource.agent == Some(name),
        Principal::Node(_) => true,
        Principal::Operator(_) | Principal::Workload(_) => held(question).next().is_some(),
        Principal::LocalAdmin | Principal::JoinToken | Principal::Unauthenticated | Principal::Seal => false,
    }
}

impl Decision {
    /// Whether the answer is yes.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self.verdict, Verdict::Allow)
    }

    /// The refusal to answer with: in the words of "not found" when the caller may not know better.
    ///
    /// # Errors
    /// `NotFound` or `PermissionDenied` when the answer is no.
    pub fn check(&self, kind: &str, name: &impl std::fmt::Display) -> Result<(), Refusal> {
        match self {
            Self { verdict: Verdict::Allow, .. } => Ok(()),
            Self { visible: false, .. } => Err(Refusal::not_found(kind, name)),
            Self { visible: true, .. } => Err(Refusal::new(
                Reason::PermissionDenied,
                format!("you may not do this to {kind} `{name}`, ask an admin for a role that allows it"),
            )),
        }
    }
}

/// The reason to allow, or the reason to deny.
fn judge(question: &Question<'_>) -> Result<Why, Why> {
    let Question { principal, action, resource, .. } = question;
    let is_enrolled = !matches!(
        principal,
        Principal::LocalAdmin | Principal::JoinToken | Principal::Unauthenticated | Principal::Seal
    );
    if is_enrolled && EVERYBODY.contains(action) {
        return Ok(Why::Kind);
    }
    match principal {
        Principal::Operator(_) | Principal::Workload(_) => held(question)
            .find(|binding| roles::actions(binding.role).contains(action))
            .map(|binding| Why::Role(binding.role, binding.scope.clone()))
            .ok_or(Why::NoGrant),
        Principal::Agent(name) => own(AGENT.contains(action), resource.agent == Some(name)),
        // Only a report is a node's word on itself; the leader moves every authority and rotates every key.
        Principal::Node(id) => {
            let own_or_shared = resource.node == Some(*id) || *action != types::Action::ReportNode;
            own(NODE.contains(action), own_or_shared)
        }
        Principal::JoinToken => own(JOIN_TOKEN.contains(action), true),
        Principal::Unauthenticated => Err(Why::NoGrant),
        Principal::LocalAdmin => own(LOCAL_ADMIN.contains(action), true),
        Principal::Seal => own(SEAL.contains(action), true),
    }
}

fn own(offered: bool, is_own: bool) -> Result<Why, Why> {
    match (offered, is_own) {
        (true, true) => Ok(Why::Kind),
        (true, false) => Err(Why::NotItsOwn),
        (false, _) => Err(Why::NoGrant),
    }
}

/// The principal's own roles that hold where the resource is.
fn held<'a>(question: &Question<'a>) -> impl Iterator<Item = &'a Binding> {
    let Question { principal, resource, facts, .. } = *question;
    let bindings = facts.bindings.iter().copied();
    bindings.filter(move |binding| {
        binding.principal == *principal && is_sound(binding) && covers(&binding.scope, &resource)
    })
}

/// Admin binds cluster-wide and only operators; state refuses anything else, and so does this.
fn is_sound(binding: &Binding) -> bool {
    let is_operator = matches!(binding.principal, Principal::Operator(_));
    binding.role != Role::Admin || (is_operator && binding.scope == Scope::Cluster)
}

fn covers(scope: &Scope, resource: &Resource<'_>) -> bool {
    match scope {
        Scope::Cluster => true,
        Scope::Namespace(name) => resource.namespace == Some(name),
    }
}

#[cfg(test)]
mod tests {
    use types::{Action, OperatorName, SpiffeId};

    use super::*;
    use crate::Facts;

    fn operator(name: &str) -> Principal {
        Principal::Operator(OperatorName::parse(name).expect("a name"))
    }

    fn namespace(name: &str) -> NamespaceName {
        NamespaceName::parse(name).expect("a name")
    }

    #[track_caller]
    fn check(
        principal: &Principal,
        action: Action,
        resource: Resource<'_>,
        bindings: &[&Binding],
        why: Result<Why, Why>,
    ) {
        let decision = decide(&Question { principal, action, resource, facts: Facts { bindings } });
        let expected = why.clone().unwrap_or_else(|why| why);
        assert_eq!((decision.is_allowed(), decision.why), (why.is_ok(), expected));
    }

    #[test]
    fn another_principals_role_is_not_mine() {
        let binding = Binding { principal: operator("bob"), role: Role::Admin, scope: Scope::Cluster };
        check(
            &operator("bob"),
            Action::Seal,
            Resource::cluster(),
            &[&binding],
            Ok(Why::Role(Role::Admin, Scope::Cluster)),
        );
        check(&operator("eve"), Action::Seal, Resource::cluster(), &[&binding], Err(Why::NoGrant));
    }

    #[test]
    fn an_unsound_admin_role_grants_nothing() {
        let ns = namespace("pay");
        let workload = Principal::Workload(SpiffeId::parse("spiffe://td/ns/pay/api").expect("an id"));
        let narrow =
            Binding { principal: operator("bob"), role: Role::Admin, scope: Scope::Namespace(namespace("pay")) };
        let machine = Binding { principal: workload.clone(), role: Role::Admin, scope: Scope::Cluster };
        check(&operator("bob"), Action::GetKey, Resource::in_namespace(&ns), &[&narrow], Err(Why::NoGrant));
        check(&workload, Action::GetKey, Resource::in_namespace(&ns), &[&machine], Err(Why::NoGrant));
    }

    #[test]
    fn not_there_and_not_allowed_look_the_same() {
        let (pay, other) = (namespace("pay"), namespace("other"));
        let bob = operator("bob");
        let binding =
            Binding { principal: bob.clone(), role: Role::KeyEncrypter, scope: Scope::Namespace(pay.clone()) };
        let ask = |ns| {
            let resource = Resource::in_namespace(ns);
            let bindings = &[&binding];
            decide(&Question { principal: &bob, action: Action::Decrypt, resource, facts: Facts { bindings } })
        };
        let denied = ask(&pay).check("key", &"orders").expect_err("no right to decrypt");
        assert_eq!(denied.reason, Reason::PermissionDenied);
        assert_eq!(ask(&other).check("key", &"orders"), Err(Refusal::not_found("key", &"orders")));
    }
}

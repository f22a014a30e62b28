//! Who is behind a key, whether it still counts, and which roles it holds.

use std::ops::Bound;

use types::{AgentName, Binding, OperatorName, Principal, Role, Scope, SpkiHash, Time};

use super::page::{Page, page};
use crate::State;
use crate::rows::{Agent, Granted, Operator, Recovery};

/// Why a key recognises nobody. Callers hear only that the credential was rejected; the audit record says which.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unrecognised {
    /// It was never enrolled.
    #[error("the key is not enrolled")]
    Unknown,
    /// It was revoked or replaced.
    #[error("the key was revoked or replaced")]
    Revoked,
    /// Its enrolment has ended.
    #[error("the key's enrolment has expired")]
    Expired,
}

impl State {
    /// The operator, agent or node that a key belongs to at `now`: the later of state time and the node's own clock.
    ///
    /// # Errors
    /// Why it recognises nobody.
    pub fn principal_by_spki(&self, spki: &SpkiHash, now: Time) -> Result<Principal, Unrecognised> {
        let Some(principal) = self.indexes().spkis.get(spki) else {
            let spent = self.spent_table().contains(spki);
            return Err(if spent { Unrecognised::Revoked } else { Unrecognised::Unknown });
        };
        self.check_standing(principal, now).map(|()| principal.clone())
    }

    /// Whether an operator, agent or node still counts at `now`. Long-lived connections ask again.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check_standing(&self, principal: &Principal, now: Time) -> Result<(), Unrecognised> {
        let (revoked, expires) = match principal {
            Principal::Operator(name) => {
                let row = self.operator(name).ok_or(Unrecognised::Unknown)?;
                (row.revoked, row.expires)
            }
            Principal::Agent(name) => {
                let row = self.agent(name).ok_or(Unrecognised::Unknown)?;
                (row.revoked, row.expires)
            }
            Principal::Node(id) => {
                self.node(*id).ok_or(Unrecognised::Unknown)?;
                (None, Time::NEVER)
            }
            Principal::Workload(_)
            | Principal::LocalAdmin
            | Principal::JoinToken
            | Principal::Seal
            | Principal::Unauthenticated => return Err(Unrecognised::Unknown),
        };
        match revoked {
            Some(_) => Err(Unrecognised::Revoked),
            None if now >= expires => Err(Unrecognised::Expired),
            None => Ok(()),
        }
    }

    /// An operator, whatever its status.
    #[must_use]
    pub fn operator(&self, name: &OperatorName) -> Option<&Operator> {
        self.operator_table().get(name)
    }

    /// On proof of which seal an operator was enrolled, as long as no admin has revoked it or enrolled it again.
    #[must_use]
    pub fn recovery(&self, name: &OperatorName) -> Option<&Recovery> {
        self.recovery_table().get(name)
    }

    /// The operators that may administer at `now` because of a seal and of nobody else.
    pub fn recovered_admins(&self, now: Time) -> impl Iterator<Item = &OperatorName> {
        let recovered = self.recovery_table().iter().map(|(name, _)| name);
        recovered.filter(move |name| self.check_standing(&Principal::Operator((*name).clone()), now).is_ok())
    }

    /// Operators by name, whatever their status.
    #[must_use]
    pub fn operators(
        &self,
        after: Option<&OperatorName>,
        size: usize,
    ) -> Page<(&OperatorName, &Operator), OperatorName> {
        page(self.operator_table().range(after_key(after)), size, |(name, _)| (*name).clone())
    }

    /// An agent, whatever its status.
    #[must_use]
    pub fn agent(&self, name: &AgentName) -> Option<&Agent> {
        self.agent_table().get(name)
    }

    /// Agents by name, whatever their status.
    #[must_use]
    pub fn agents(&self, after: Option<&AgentName>, size: usize) -> Page<(&AgentName, &Agent), AgentName> {
        page(self.agent_table().range(after_key(after)), size, |(name, _)| (*name).clone())
    }

    /// The roles of a principal.
    pub fn bindings_of(&self, principal: &Principal) -> impl Iterator<Item = &Binding> {
        // Bindings are ordered by principal first, then by role and scope: these are its lowest.
        let first = Binding { principal: principal.clone(), role: Role::Admin, scope: Scope::Cluster };
        let principal = principal.clone();
        let bindings = self.binding_table().range(first..).map(|(binding, _)| binding);
        bindings.take_while(move |binding| binding.principal == principal)
    }

    /// All bindings, by principal.
    #[must_use]
    pub fn bindings(&self, after: Option<&Binding>, size: usize) -> Page<(&Binding, &Granted), Binding> {
        page(self.binding_table().range(after_key(after)), size, |(binding, _)| (*binding).clone())
    }

    /// Whether anybody may administer at `now`; otherwise only a seal can make an admin.
    #[must_use]
    pub fn has_admin(&self, now: Time) -> bool {
        self.active_admins(now).next().is_some()
    }

    /// The operators that may administer at `now`.
    pub(crate) fn active_admins(&self, now: Time) -> impl Iterator<Item = &OperatorName> {
        let admins = self.binding_table().iter().filter(|(binding, _)| binding.role == Role::Admin);
        admins.filter_map(move |(binding, _)| match &binding.principal {
            Principal::Operator(name) if self.check_standing(&binding.principal, now).is_ok() => Some(name),
            _ => None,
        })
    }
}

/// Everything after a key, or everything.
pub(crate) fn after_key<K: Clone>(after: Option<&K>) -> (Bound<K>, Bound<K>) {
    (after.cloned().map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}

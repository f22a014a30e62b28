//! What a handler works with: the state, who asks, and what goes into the record of it.

use audit::Detail;
use types::{NamespaceName, Principal, Reason, Refusal, Revision, Time};

use crate::State;
use crate::command::Reply;
use crate::outcome::Effect;
use crate::rows::Withdrawn;

/// A handler's answer. It first checks everything and then writes, so a refusal has changed nothing.
pub(crate) type Handled = Result<Reply, Refusal>;

/// One entry being applied.
pub(crate) struct Turn<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) actor: &'a Principal,
    /// State time, by which deadlines are judged.
    pub(crate) now: Time,
    /// The leader's clock, or state time where that is later: it goes on while half of the members are away, and state time does not.
    pub(crate) reading: Time,
    /// The entry's index: the revision of everything it changes.
    pub(crate) revision: Revision,
    pub(crate) effects: Vec<Effect>,
    /// Facts for the audit record. Never a secret, never wrapped material.
    pub(crate) detail: Detail,
}

impl Turn<'_> {
    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(crate) fn fact_count(&mut self, name: &'static str, count: u64) {
        self.detail = std::mem::take(&mut self.detail).count(name, count);
    }

    pub(crate) fn fact_text(&mut self, name: &'static str, text: &str) {
        self.detail = std::mem::take(&mut self.detail).text(name, text);
    }

    /// Something was taken away that a restore must not bring back.
    pub(crate) fn withdraw(&mut self, what: Withdrawn) {
        self.state.withdraw(self.revision, self.now, what);
    }

    /// A principal's status, a role of cluster scope or a node has changed: every decision made before is void.
    pub(crate) fn bump_global(&mut self) {
        self.state.progress_mut().global = self.revision;
    }

    /// Settings or bindings of the namespace have changed: decisions about it are void.
    pub(crate) fn bump_namespace(&mut self, name: &NamespaceName) {
        let Some(mut row) = self.state.namespace_table().get(name).cloned() else { return };
        row.revision = self.revision;
        self.state.put_namespace(name.clone(), row);
        self.effect(Effect::NamespaceChanged(name.clone()));
    }

    /// Nodes or roots have changed.
    pub(crate) fn bump_trust(&mut self) {
        self.state.progress_mut().trust = self.revision;
        self.effect(Effect::TrustChanged);
    }

    /// Roots have changed.
    pub(crate) fn bump_bundle(&mut self) {
        self.state.progress_mut().bundle = self.revision;
        self.effect(Effect::BundleChanged);
        self.bump_trust();
    }
}

/// A refusal in a handler.
pub(crate) fn refuse<T>(reason: Reason, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(reason, message))
}

/// A hash as records show it.
pub(crate) fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

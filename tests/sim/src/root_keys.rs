//! Root keys as the model sees them: one on its way at a time, active only when every member has the very key that was
//! named, and nothing left wrapped under the one before.

use std::collections::BTreeSet;

use state::{Command, State};
use types::{NodeId, RootId};

/// What was accepted.
#[derive(Debug, Default)]
pub(crate) struct RootModel {
    active: u32,
    staged: Option<Staged>,
}

#[derive(Debug, Default)]
struct Staged {
    id: Option<RootId>,
    /// Who has said so since the key was named.
    confirmed: BTreeSet<NodeId>,
}

/// Wrapped bytes that say under which root key: the simulation's stand-in for a wrapped key.
#[must_use]
pub fn wrapped_under(epoch: u32, random: [u8; 44]) -> Vec<u8> {
    [epoch.to_be_bytes().as_slice(), &random].concat()
}

impl RootModel {
    /// The cluster was formed.
    pub(crate) fn form(&mut self) {
        self.active = 1;
    }

    /// Follows an accepted command.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn follow(&mut self, command: &Command, before: &State) -> Result<(), String> {
        let next = self.active.saturating_add(1);
        match (command, &mut self.staged) {
            (Command::BeginRekey { .. }, staged @ None) => *staged = Some(Staged::default()),
            (Command::CancelRekey, staged @ Some(_)) => *staged = None,
            (Command::StageRoot { epoch, id }, Some(staged)) if *epoch == next => {
                let has_it = before.nodes().find(|(node, _)| staged.confirmed.contains(node));
                if let Some((node, _)) = has_it {
                    return Err(format!("{node} has confirmed a root key, and another took its place"));
                }
                *staged = Staged { id: Some(*id), confirmed: BTreeSet::new() };
            }
            (Command::ConfirmRoot { node, epoch, id }, Some(staged)) if *epoch == next && staged.id == Some(*id) => {
                staged.confirmed.insert(*node);
            }
            (Command::ActivateRoot { epoch, id, .. }, Some(staged)) if *epoch == next && staged.id == Some(*id) => {
                let without = before.nodes().find(|(node, _)| !staged.confirmed.contains(node));
                if let Some((node, _)) = without {
                    return Err(format!("root key {epoch} became the active one and {node} has not got it"));
                }
                (self.active, self.staged) = (next, None);
            }
            (command, staged) => return Err(format!("{command:?} was accepted, on its way was {staged:?}")),
        }
        Ok(())
    }

    /// Everything that a root key wraps is wrapped under the active one.
    ///
    /// # Errors
    /// What is not: it would be lost when the members forget the one before.
    pub(crate) fn check(&self, after: &State) -> Result<(), String> {
        let Some(cluster) = after.cluster() else { return Ok(()) };
        if after.root_epoch() != self.active {
            return Err(format!("root key {} is the active one and should be {}", after.root_epoch(), self.active));
        }
        let namespaces = after.namespace_keys().map(|(name, row)| (name.to_string(), &row.kek_wrapped));
        for (what, wrapped) in namespaces.chain([("the cluster key".to_owned(), &cluster.key_wrapped)]) {
            if !wrapped.starts_with(&self.active.to_be_bytes()) {
                return Err(format!("`{what}` is not wrapped under root key {}", self.active));
            }
        }
        Ok(())
    }
}

//! Which key each alias stands for, followed apart from the state's own rows.

use std::collections::BTreeMap;

use state::{Command, State};
use types::{AliasName, KeyName, NamespaceName};

type Judged = Result<(), String>;

/// The aliases that there are to be.
#[derive(Debug, Default)]
pub(crate) struct AliasModel {
    keys: BTreeMap<(NamespaceName, AliasName), KeyName>,
}

impl AliasModel {
    /// Follows an accepted command: another namespace's alias of that name is another.
    pub(crate) fn follow(&mut self, command: &Command, after: &State) -> Judged {
        match command {
            Command::CreateAlias { namespace, name, key } => {
                let old = self.keys.insert((namespace.clone(), name.clone()), key.clone());
                ensure!(old.is_none(), "alias {namespace}/{name} was made over another");
                check_target(namespace, key, after)
            }
            Command::UpdateAlias { namespace, name, key } => {
                let held = self.keys.get_mut(&(namespace.clone(), name.clone())).ok_or("an alias that nobody made")?;
                *held = key.clone();
                check_target(namespace, key, after)
            }
            Command::DeleteAlias { namespace, name } => {
                let held = self.keys.remove(&(namespace.clone(), name.clone()));
                ensure!(held.is_some(), "alias {namespace}/{name} was taken away twice");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Each stands for the key that it was last given to, and there is no other.
    pub(crate) fn check(&self, state: &State) -> Judged {
        for ((namespace, name), key) in &self.keys {
            let row = state.alias(namespace, name).ok_or_else(|| format!("alias {namespace}/{name} is lost"))?;
            ensure!(row.key == *key, "alias {namespace}/{name} stands for {}, not for {key}", row.key);
            ensure!(state.key(namespace, key).is_some(), "alias {namespace}/{name} stands for no key");
        }
        let listed: usize = state.namespaces().map(|(ns, _)| state.aliases(ns, None, usize::MAX).items.len()).sum();
        ensure!(listed == self.keys.len(), "{listed} aliases are listed, {} were made", self.keys.len());
        Ok(())
    }
}

fn check_target(namespace: &NamespaceName, key: &KeyName, after: &State) -> Judged {
    let row = after.key(namespace, key).ok_or("an alias for a key that there is not")?;
    ensure!(row.destroyed.is_none(), "an alias for a key that was destroyed");
    Ok(())
}

//! One file for each kind of command. A handler checks everything first and writes last; what it may assume is that the
//! entry is fresh, its actor may propose it and its decision binds.

pub(crate) mod agents;
pub(crate) mod aliases;
pub(crate) mod authorities;
mod checks;
pub(crate) mod destroy;
pub(crate) mod entries;
pub(crate) mod formation;
pub(crate) mod keys;
pub(crate) mod members;
pub(crate) mod namespace_ends;
pub(crate) mod namespaces;
pub(crate) mod nodes;
pub(crate) mod operators;
pub(crate) mod peer_unseal;
pub(crate) mod restore;
pub(crate) mod roles;
pub(crate) mod root_keys;
pub(crate) mod settings;
pub(crate) mod tokens;
pub(crate) mod usage;
mod vouching;

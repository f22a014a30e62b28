//! The services of the API. Each method is a [`Query`](crate::request::query::Query) or a
//! [`Mutation`](crate::request::mutation::Mutation) and nothing else: who may call, under which lease, how it is recorded
//! and forwarded is the same for all and lives in `request/`.

mod agents;
mod aliases;
mod audit;
mod authorities;
mod backups;
mod cluster;
mod crypto;
mod entries;
mod health;
mod init;
mod key_ends;
mod keys;
mod macros;
mod members;
mod namespaces;
mod operators;
mod peer_unseal;
mod removal;
mod root_key;
mod routes;
mod seal;
mod settings;
mod signing;
mod slots;
mod svid;

pub(crate) use cluster::hello;
pub(crate) use keys::{draw_for, next_version};
pub(crate) use members::hand_over;
pub(crate) use removal::close_audit;
pub(crate) use routes::{admin_routes, api_routes, forwarded};
pub(crate) use svid::{own_active, with_issuer};

use std::sync::Arc;

use crate::node::Node;

/// Every service of the API: each is implemented for this, in the file named after it.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) node: Arc<Node>,
}

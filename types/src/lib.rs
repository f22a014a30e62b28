//! The nouns that two or more crates share: ids, names, time, SPIFFE IDs, principals, actions, roles, refusals and
//! every limit.
//!
//! What is here is checked when it is made ("parse, don't validate"): a value of one of these types is well formed
//! wherever it turns up. Nothing here performs I/O, reads a clock or draws randomness.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod action;
pub mod id;
pub mod limits;
pub mod name;
pub mod principal;
pub mod refusal;
pub mod revision;
pub mod role;
pub mod spiffe_id;
pub mod time;

pub use action::Action;
pub use id::{ClusterId, KeyId, NodeId, RequestId, RootId, SpkiHash, TokenId};
pub use name::{AgentName, AliasName, EntryName, KeyName, NameError, NamespaceName, OperatorName};
pub use principal::Principal;
pub use refusal::{Reason, Refusal};
pub use revision::{Basis, Generation, Revision, Sequence};
pub use role::{Binding, Role, Scope};
pub use spiffe_id::{SpiffeId, SpiffeIdError, TrustDomain};
pub use time::{Millis, Time};

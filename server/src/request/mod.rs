//! The way of a request, each stage a type: `Wire → Authenticated → Decided → Admitted → Applied → Answered`.
//!
//! A [`Query`](query::Query) reads or uses and is answered by any node; a [`Mutation`](mutation::Mutation) becomes one
//! log entry and is carried out by the leader, to which a follower forwards it; a [`Relayed`](relay::Relayed) query goes
//! to a member that can answer it. None can be answered without a
//! decision and a record: the stages have no other way through.

pub(crate) mod authn;
pub(crate) mod decide;
pub(crate) mod freshness;
pub(crate) mod mutation;
pub(crate) mod query;
pub(crate) mod record;
pub(crate) mod relay;
pub(crate) mod strangers;
pub(crate) mod target;

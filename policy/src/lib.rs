//! One question, one answer: may this principal do this to that? Default deny (invariant 10).
//!
//! [`decide`] is a function of what it is given: it knows no state, no network and no clock. Who the principal is, and
//! that it still counts, `authn` has established before; what the answer rested on is in the [`Decision`], so that `apply`
//! can tell when it no longer binds. Policy documents (Cedar) come behind the same function; today roles do.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod decide;
mod question;
pub mod roles;

pub use decide::{Decision, Verdict, Why, decide, visible};
pub use question::{Facts, Question, Resource};

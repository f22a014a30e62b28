//! Who a workload is, and the paper that says so: registration entries and selectors, authorities and their life, issuance,
//! our own SPIFFE lint, trust bundles, and `verify_peer`, the only check of a peer that presents an SVID.
//!
//! What is written here is specified in `docs/spec/identities.md`. This crate opens no socket and no file, reads no clock
//! and draws no randomness: time, serial numbers and keys are arguments. It decides nothing about who may ask; `policy`
//! and `state` do.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod authority;
pub mod bundle;
pub mod csr;
pub mod cycle;
pub mod dns;
pub mod entry;
pub mod fault;
pub mod issue;
mod jwks;
pub mod keys;
pub mod lint;
mod parsed;
mod profile;
pub mod selector;
pub mod selfsigned;
pub mod serial;
#[cfg(test)]
mod testkit;
pub mod tls;
pub mod verify;

pub use authority::{Authority, AuthorityState, Step};
pub use bundle::{Bundle, Bundles, certificate_pem};
pub use csr::{RequestedKey, certificate_request};
pub use cycle::{Due, Holder, Knowledge, check_activation, check_holder, what_is_due};
pub use dns::DnsName;
pub use entry::{Entry, EntrySpec, Grant};
pub use fault::Fault;
pub use issue::{IssueError, Issued, Issuer, NodeOrder, SvidOrder, generate_authority};
pub use keys::{Signing, spki_hash, spki_hash_of_cert};
pub use lint::{LintFailure, Linted};
pub use selector::Selector;
pub use selfsigned::self_signed;
pub use serial::Serial;
pub use tls::{Accept, BundleSource, SpiffeVerifier};
pub use verify::{PeerRefusal, verify_peer};

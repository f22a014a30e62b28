//! The Rust SDK: connect to a cluster, fail over between its nodes, retry with the same request id, and encrypt files of
//! any size under data keys.
//!
//! Also here, because every end of a connection needs them: TLS identities and verifiers that pin keys, join tokens, the
//! trust document, and the folders that hold an identity. It decides nothing about who may do what: nodes do.

pub mod api;
pub mod envelope;
pub mod freshness;
pub mod identity;
pub mod ledger;
pub mod mtls;
pub mod private_file;
pub mod signing;
pub mod tls;
pub mod token;
pub mod trust;
pub mod workload;

mod address;
mod bootstrap;
mod client;
mod error;
mod hedge;
mod retry;

/// The messages that the methods of [`api`] take and give.
pub use proto;

pub use address::{API_PORT, Address, AddressError};
pub use ca::certificate_request;
pub use client::{Answer, Client, Config, Stream};
pub use error::{ERROR_DOMAIN, Error, Tried};

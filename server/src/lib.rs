//! The node

pub mod audit_store;

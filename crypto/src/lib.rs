//! The only direct user of cryptographic primitives

//! The Rust SDK

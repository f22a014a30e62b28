//! Third-party clients against ours: rust-spiffe, py-spiffe, OpenSSL and grpcio. The checks here are the same for an
//! agent over an authority in this process (`tests/in_process.rs`) and for the real cluster (`tests/dev_cluster.rs`).
//!
//! A tool that is missing skips its check loudly; with `CHANCERY_INTEROP_REQUIRED=1`, as `make interop` sets it,
//! it fails.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and a skipped one must say so"
)]

pub mod aliases;
pub mod dev;
pub mod in_process;
pub mod openssl;
pub mod python;
pub mod workload;

/// Says that a check did not run; fails when it has to.
pub fn skipped(check: &str, why: &str) {
    assert!(std::env::var_os("CHANCERY_INTEROP_REQUIRED").is_none(), "{check} cannot run: {why}");
    eprintln!("SKIPPED: {check}: {why}");
}

/// The folder of the whole workspace.
#[must_use]
pub fn workspace() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace is there")
}

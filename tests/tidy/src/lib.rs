//! The house rules, as functions from a tree of files to the places that break them; `tests/house.rs` runs them on this workspace.
//!
//! Each rule is tested against a planted violation beside its code, so that none can pass because it looks at nothing. What clippy and
//! rustc already enforce is not repeated here, except where a macro hides it from them. It also generates the Rust of `proto/`.

use std::path::{Path, PathBuf};

pub mod layers;
pub mod lengths;
pub mod lints;
pub mod pages;
pub mod proto_gen;
pub mod proto_redact;
pub mod tree;
pub mod words;

/// The root folder of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

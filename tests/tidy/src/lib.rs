//! The house rules as code.

use std::path::{Path, PathBuf};

pub mod proto_gen;
pub mod proto_redact;

/// The root folder of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

//! Generates the Rust of every `.proto` under `proto/`: messages, clients, servers and one descriptor set for reflection.
//!
//! Pure Rust (protox parses, prost writes), so neither a build script nor `protoc` stands between a clone and a build: the result is
//! checked in under `proto/src/gen` and `tests/house.rs` proves it fresh. It does not decide the module tree: `proto/src/lib.rs` does.

use std::io;
use std::path::{Path, PathBuf};

use crate::proto_redact::{debug_impl, secret_messages};

/// The name of the descriptor set inside the output folder, as gRPC reflection reads it.
pub const DESCRIPTORS: &str = "descriptors.bin";

/// prost's file for protos without a package, and what we call it: only the SPIFFE Workload API has none.
const UNNAMED: (&str, &str) = ("_.rs", "workload.rs");

/// Writes the generated files for every proto under `protos` into `out`, which must exist.
///
/// # Errors
/// A file that cannot be read or written, or a proto that does not compile (the message names file and line).
pub fn generate(protos: &Path, out: &Path) -> io::Result<()> {
    let mut compiler = compiler(protos)?;
    let descriptors = compiler.file_descriptor_set();
    let secrets = secret_messages(&compiler.descriptor_pool())?;

    tonic_prost_build::configure()
        .out_dir(out)
        .emit_rerun_if_changed(false)
        .skip_debug(secrets.iter().map(|m| format!(".{}", m.full_name())))
        .compile_fds(descriptors)?;
    for message in &secrets {
        let file = out.join(
            if message.package_name().is_empty() { "_".into() } else { message.package_name().to_owned() } + ".rs",
        );
        let code = std::fs::read_to_string(&file)? + &debug_impl(message);
        std::fs::write(&file, code)?;
    }
    if out.join(UNNAMED.0).exists() {
        std::fs::rename(out.join(UNNAMED.0), out.join(UNNAMED.1))?;
    }

    // Comments serve the reader of the Rust; reflection needs none.
    compiler.include_source_info(false);
    std::fs::write(out.join(DESCRIPTORS), compiler.encode_file_descriptor_set())
}

/// Every proto under `protos`, compiled: with imports, for reflection, and with comments, for the reader of the Rust.
///
/// # Errors
/// As [`generate`].
pub fn compiler(protos: &Path) -> io::Result<protox::Compiler> {
    let files = proto_files(protos)?;
    let mut compiler = protox::Compiler::new([protos]).map_err(io::Error::other)?;
    compiler.include_imports(true).include_source_info(true).open_files(&files).map_err(io::Error::other)?;
    Ok(compiler)
}

/// Generates into `target` as it should look, removing what is no longer generated. This is `make proto`.
///
/// # Errors
/// As [`generate`].
pub fn regenerate(protos: &Path, target: &Path) -> io::Result<()> {
    std::fs::create_dir_all(target)?;
    for entry in std::fs::read_dir(target)? {
        std::fs::remove_file(entry?.path())?;
    }
    generate(protos, target)
}

/// Every `.proto` below `root`, sorted, so that the descriptor set has one order everywhere.
fn proto_files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "proto") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREETER: &str = "syntax = \"proto3\"; package chancery.demo.v1;\n// Says hello.\nmessage Hello { string name = 1; }\n\
                           service Greeter { rpc Greet(Hello) returns (Hello); }\n";

    #[test]
    fn writes_messages_client_server_and_descriptors() {
        let (protos, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(protos.path().join("greeter.proto"), GREETER).unwrap();
        generate(protos.path(), out.path()).unwrap();

        let code = std::fs::read_to_string(out.path().join("chancery.demo.v1.rs")).unwrap();
        for part in ["/// Says hello.", "pub struct Hello", "pub mod greeter_client", "pub mod greeter_server"] {
            assert!(code.contains(part), "`{part}` is missing in:\n{code}");
        }
        let set = std::fs::read(out.path().join(DESCRIPTORS)).unwrap();
        assert!(set.windows(7).any(|w| w == b"Greeter"), "reflection must know the service");
    }

    #[test]
    fn a_broken_proto_is_named() {
        let (protos, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(protos.path().join("broken.proto"), "syntax = \"proto3\"; message {").unwrap();
        let error = format!("{:?}", generate(protos.path(), out.path()).unwrap_err());
        assert!(error.contains("broken.proto"), "{error}");
    }

    #[test]
    fn regenerate_drops_what_is_no_longer_generated() {
        let (protos, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(protos.path().join("greeter.proto"), GREETER).unwrap();
        std::fs::write(out.path().join("chancery.old.v1.rs"), "").unwrap();
        regenerate(protos.path(), out.path()).unwrap();
        assert!(!out.path().join("chancery.old.v1.rs").exists());
        assert!(out.path().join("chancery.demo.v1.rs").exists());
    }
}

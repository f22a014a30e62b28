//! Who may import whom, and who may use which third party. Direct dependencies only, as the manifests state them; `deny.toml` repeats the
//! fences for tools that know no workspace.

use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use crate::tree::Page;

/// The import table of ARCHITECTURE.md: a crate, and every crate of ours that it may import.
const TABLE: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("crypto", &["types"]),
    ("kms", &["crypto", "types"]),
    ("ca", &["crypto", "types"]),
    ("audit", &["crypto", "types"]),
    ("policy", &["types"]),
    ("state", &["kms", "ca", "audit", "crypto", "types"]),
    ("proto", &[]),
    ("raft", &["proto", "types"]),
    ("chancery-client", &["proto", "kms", "ca", "crypto", "types"]),
    ("server", &["state", "raft", "chancery-client", "proto", "policy", "audit", "kms", "ca", "crypto", "types"]),
    ("agent", &["chancery-client", "proto", "ca", "crypto", "types"]),
    ("cli", &["server", "agent", "chancery-client", "policy", "audit", "crypto", "types"]),
];

/// What a crate may import for its tests on top of the table.
const DEV: &[(&str, &[&str])] = &[("raft", &["ca", "crypto"])];

/// Third parties and the one crate that may use them directly.
const FENCES: &[(&str, &str)] = &[
    ("ring", "crypto"),
    ("aws-lc-rs", "crypto"),
    ("argon2", "crypto"),
    ("age", "crypto"),
    ("blahaj", "crypto"),
    ("cryptoki", "server"),
    ("openraft", "raft"),
    ("raft-log", "raft"),
    ("sled", "server"),
    ("rcgen", "ca"),
    ("x509-parser", "ca"),
    ("rustls-webpki", "ca"),
    ("cedar-policy", "policy"),
];

/// A workspace member as the rules see it.
#[derive(Debug)]
pub struct Member {
    /// Package name.
    pub name: String,
    /// Folder relative to the root, with `/`.
    pub folder: String,
    /// Direct dependencies: package name, and whether only tests see it.
    pub imports: Vec<(String, bool)>,
    /// The same by the names that Rust code uses for them.
    pub names: Vec<String>,
}

/// The members of the workspace at `root`.
///
/// # Errors
/// Manifests that cargo cannot read.
pub fn members(root: &Path) -> Result<Vec<Member>, String> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .map_err(|e| format!("cargo metadata: {e}"))?;
    Ok(metadata.packages.iter().map(|p| member(&metadata, p)).collect())
}

fn member(metadata: &Metadata, package: &Package) -> Member {
    let folder = package.manifest_path.parent().map(|p| p.strip_prefix(&metadata.workspace_root).unwrap_or(p));
    let imports = package.dependencies.iter().map(|d| (d.name.clone(), d.kind == DependencyKind::Development));
    Member {
        name: package.name.to_string(),
        folder: folder.map(|f| f.as_str().replace('\\', "/")).unwrap_or_default(),
        imports: imports.collect(),
        names: package.dependencies.iter().map(|d| d.rename.as_ref().unwrap_or(&d.name).replace('-', "_")).collect(),
    }
}

/// Imports that the table does not allow, and crates that it does not know.
pub fn imports(members: &[Member]) -> Vec<String> {
    let mut broken = Vec::new();
    for member in members.iter().filter(|m| !is_free(m)) {
        let Some((_, allowed)) = TABLE.iter().find(|(name, _)| *name == member.name) else {
            broken.push(format!(
                "`{}` is not in the import table; try adding it to ARCHITECTURE.md and tests/tidy/src/layers.rs",
                member.name
            ));
            continue;
        };
        for (import, dev) in member.imports.iter().filter(|(i, _)| members.iter().any(|m| m.name == *i)) {
            let dev_allowed =
                *dev && DEV.iter().any(|(name, also)| *name == member.name && also.contains(&import.as_str()));
            if !allowed.contains(&import.as_str()) && !dev_allowed && *import != member.name {
                broken.push(format!("`{}` imports `{import}`; the table allows {allowed:?}", member.name));
            }
        }
    }
    broken
}

/// Third parties used outside their fence.
pub fn fences(members: &[Member]) -> Vec<String> {
    let mut broken = Vec::new();
    for member in members.iter().filter(|m| !is_free(m)) {
        for (import, _) in &member.imports {
            if let Some((_, owner)) = FENCES.iter().find(|(name, owner)| name == import && *owner != member.name) {
                broken.push(format!("`{}` uses `{import}` directly; only `{owner}` may: call it instead", member.name));
            }
        }
    }
    broken
}

/// Dependencies that no code of the crate names: each costs build time and trust. `code` is every Rust file, generated ones too.
pub fn unused(member: &Member, code: &[Page]) -> Vec<String> {
    let own: Vec<_> = code.iter().filter(|p| p.path.starts_with(&format!("{}/", member.folder))).collect();
    let is_named =
        |name: &str| own.iter().any(|p| p.text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == name));
    let unused = member.names.iter().filter(|n| !is_named(n));
    unused.map(|n| format!("{}/Cargo.toml: `{n}` is used by no code", member.folder)).collect()
}

/// Benches, tests and fuzz targets may import anything; nothing imports them.
fn is_free(member: &Member) -> bool {
    ["bench", "fuzz"].contains(&member.folder.as_str()) || member.folder.starts_with("tests/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, folder: &str, imports: &[(&str, bool)]) -> Member {
        Member {
            name: name.into(),
            folder: folder.into(),
            imports: imports.iter().map(|(n, d)| ((*n).into(), *d)).collect(),
            names: imports.iter().map(|(n, _)| n.replace('-', "_")).collect(),
        }
    }

    fn house(extra: Member) -> Vec<Member> {
        let mut house: Vec<_> =
            TABLE.iter().filter(|(n, _)| *n != extra.name).map(|(n, _)| member(n, n, &[])).collect();
        house.push(extra);
        house
    }

    #[test]
    fn a_forbidden_import_is_found() {
        let house = house(member("state", "state", &[("types", false), ("policy", false), ("serde", false)]));
        let broken = imports(&house);
        assert_eq!(broken.len(), 1, "{broken:?}");
        assert!(broken[0].starts_with("`state` imports `policy`"), "{broken:?}");
    }

    #[test]
    fn a_test_only_import_is_an_import() {
        assert_eq!(imports(&house(member("kms", "kms", &[("ca", true)]))).len(), 1);
        assert_eq!(imports(&house(member("raft", "raft", &[("ca", false)]))).len(), 1);
        assert!(imports(&house(member("raft", "raft", &[("ca", true)]))).is_empty());
    }

    #[test]
    fn nobody_imports_a_test_crate_and_an_unknown_crate_is_named() {
        let mut members = house(member("cli", "cli", &[("sim", true)]));
        members.push(member("sim", "tests/sim", &[("state", false)]));
        members.push(member("detect", "detect", &[]));
        let broken = imports(&members);
        assert_eq!(broken.len(), 2, "{broken:?}");
        assert!(broken[0].starts_with("`cli` imports `sim`") && broken[1].starts_with("`detect` is not"), "{broken:?}");
    }

    #[test]
    fn a_third_party_outside_its_fence_is_found() {
        let members = [
            member("kms", "kms", &[("ring", false)]),
            member("crypto", "crypto", &[("ring", false)]),
            member("sim", "tests/sim", &[("ring", false)]),
        ];
        let broken = fences(&members);
        assert_eq!(broken.len(), 1, "{broken:?}");
        assert!(broken[0].contains("only `crypto` may"), "{broken:?}");
    }

    #[test]
    fn a_dependency_that_nothing_names_is_found() {
        let kms = member("kms", "kms", &[("serde", false), ("raft-log", false), ("hex", true)]);
        let page = |path: &str, text: &str| Page { path: path.into(), text: text.into() };
        let code =
            [page("kms/src/lib.rs", "use raft_log::A;\nfn hexagon() {}"), page("ca/src/lib.rs", "use hex; use serde;")];
        let found = unused(&kms, &code);
        assert_eq!(found, ["kms/Cargo.toml: `serde` is used by no code", "kms/Cargo.toml: `hex` is used by no code"]);
    }
}

//! What the rules look at: the files of the workspace, with the Rust ones parsed. It reads, and judges nothing.

use std::io;
use std::path::{Path, PathBuf};

/// Where generated code lives: measured by nobody, but it uses dependencies.
const GENERATED: &str = "proto/src/gen/";

/// One text file.
#[derive(Debug)]
pub struct Page {
    /// Relative to the root, with `/`.
    pub path: String,
    /// The whole content.
    pub text: String,
}

/// One Rust file.
pub struct Source {
    /// Relative to the root, with `/`.
    pub path: String,
    /// The whole content.
    pub text: String,
    /// Its syntax.
    pub ast: syn::File,
}

impl Source {
    /// Parses `text` as if it stood at `path`.
    ///
    /// # Errors
    /// Text that is not Rust, with the place.
    pub fn parse(path: &str, text: &str) -> Result<Self, String> {
        let ast =
            syn::parse_file(text).map_err(|e| format!("{path}:{}: does not parse: {e}", e.span().start().line))?;
        Ok(Self { path: path.to_owned(), text: text.to_owned(), ast })
    }
}

/// Every text file below `root` that ends in one of `extensions`, sorted by path.
///
/// # Errors
/// A folder or file that cannot be read.
pub fn pages(root: &Path, extensions: &[&str]) -> io::Result<Vec<Page>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = relative(root, &path);
            if path.is_dir() {
                if !is_skipped(&name) {
                    folders.push(path);
                }
            } else if extensions.iter().any(|e| path.extension().is_some_and(|x| x == *e)) {
                let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
                found.push(Page { path: name, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Every Rust file below `root` that people wrote.
///
/// # Errors
/// A file that cannot be read or parsed.
pub fn sources(root: &Path) -> Result<Vec<Source>, String> {
    let pages = pages(root, &["rs"]).map_err(|e| e.to_string())?;
    pages.iter().filter(|p| !is_generated(p)).map(|p| Source::parse(&p.path, &p.text)).collect()
}

/// Whether a generator wrote it.
pub fn is_generated(page: &Page) -> bool {
    page.path.starts_with(GENERATED)
}

/// Folders that hold nothing we wrote: builds, environments, other people's packages.
fn is_skipped(folder: &str) -> bool {
    let last = folder.rsplit('/').next().unwrap_or(folder);
    last == "target" || last.starts_with('.') || last.starts_with("__")
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .components()
        .map(|c| c.as_os_str().to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}

/// The path of a file that must exist, for rules that are handed a folder.
pub fn read(root: &Path, path: &str) -> Result<String, String> {
    let full: PathBuf = root.join(path);
    std::fs::read_to_string(&full).map_err(|e| format!("{path}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_ours_and_skips_builds_and_generated_code() {
        let folder = tempfile::tempdir().unwrap();
        for path in
            ["a/src/lib.rs", "target/x.rs", "proto/src/gen/p.rs", "proto/src/lib.rs", "fuzz/target/y.rs", ".git/z.rs"]
        {
            let full = folder.path().join(path);
            std::fs::create_dir_all(full.parent().unwrap()).unwrap();
            std::fs::write(full, "//! x").unwrap();
        }
        let found: Vec<_> = sources(folder.path()).unwrap().into_iter().map(|s| s.path).collect();
        assert_eq!(found, ["a/src/lib.rs", "proto/src/lib.rs"]);
    }

    #[test]
    fn names_the_line_that_does_not_parse() {
        let Err(error) = Source::parse("a.rs", "fn a() {}\nfn b( {}\n") else { panic!("it is not Rust") };
        assert!(error.starts_with("a.rs:2: does not parse"), "{error}");
    }
}

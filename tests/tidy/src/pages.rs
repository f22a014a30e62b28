//! That the prose is true where a machine can tell: links and mentioned documents exist, every decision is listed, and each invariant
//! of ARCHITECTURE.md names a test that exists or says "not yet".

use std::collections::BTreeSet;
use std::path::Path;

use crate::tree::Page;

/// The invariants of ARCHITECTURE.md, numbered from one.
const INVARIANTS: usize = 13;

/// Relative links of a Markdown page that lead nowhere, headings included.
pub fn links(root: &Path, page: &Page) -> Vec<String> {
    let mut broken = Vec::new();
    for (line, target) in link_targets(&page.text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
        let folder = page.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let path = if file.is_empty() { root.join(&page.path) } else { root.join(folder).join(file) };
        let has_anchor = || std::fs::read_to_string(&path).is_ok_and(|text| headings(&text).contains(anchor));
        if !path.exists() || (!anchor.is_empty() && !has_anchor()) {
            broken.push(format!("{}:{line}: `{target}` leads nowhere", page.path));
        }
    }
    broken
}

/// Mentions of pages that do not exist, in any text: `docs/….md` from the root, and names in capitals (`README.md`) at the root or beside
/// the page. A comment that names a specification is only worth the page.
pub fn mentions(root: &Path, page: &Page) -> Vec<String> {
    let folder = root.join(page.path.rsplit_once('/').map_or("", |(folder, _)| folder));
    let mut broken = Vec::new();
    for (number, line) in page.text.lines().enumerate() {
        for word in line.split(|c| !is_path(c)).map(|w| w.trim_end_matches('.')) {
            let Some(stem) = word.strip_suffix(".md") else { continue };
            let at_root = root.join(word).exists();
            let in_capitals = !stem.is_empty() && stem.chars().all(|c| c.is_ascii_uppercase() || "-_".contains(c));
            let found =
                if word.starts_with("docs/") { at_root } else { !in_capitals || at_root || folder.join(word).exists() };
            if !found {
                broken.push(format!("{}:{}: `{word}` does not exist", page.path, number + 1));
            }
        }
    }
    broken
}

/// Decisions in `docs/adr` that its README does not list. `names` are the file names of the folder.
pub fn decisions(names: &[String], readme: &str) -> Vec<String> {
    let is_decision = |n: &&String| n.ends_with(".md") && n.starts_with(|c: char| c.is_ascii_digit());
    let mut broken: Vec<_> = names
        .iter()
        .filter(is_decision)
        .filter(|n| !readme.contains(&format!("({n})")))
        .map(|n| format!("docs/adr/README.md: does not list `{n}`"))
        .collect();
    let mut numbers = BTreeSet::new();
    for name in names.iter().filter(is_decision) {
        let number: String = name.chars().take_while(char::is_ascii_digit).collect();
        if !numbers.insert(number) {
            broken.push(format!("docs/adr/{name}: its number is taken"));
        }
    }
    broken
}

/// Invariants of ARCHITECTURE.md that are missing, say neither "not yet" nor name a test, or name one that is not among `tests`.
pub fn invariants(architecture: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let mut broken = Vec::new();
    for number in 1..=INVARIANTS {
        let Some(row) = architecture.lines().find(|l| l.starts_with(&format!("| {number} |"))) else {
            broken.push(format!("ARCHITECTURE.md: invariant {number} has no row"));
            continue;
        };
        let held = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap_or_default().trim();
        let named: Vec<_> = held.split('`').skip(1).step_by(2).collect();
        for test in named.iter().filter(|t| !tests.contains(**t)) {
            broken.push(format!("ARCHITECTURE.md: invariant {number} is held by `{test}`, which is no test"));
        }
        if named.is_empty() && !held.starts_with("not yet") {
            broken.push(format!(
                "ARCHITECTURE.md: invariant {number} is held by nothing; try `held by` a test, or `not yet`"
            ));
        }
    }
    broken
}

/// Targets of `[text](target)` outside code, with their line.
fn link_targets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        // What stands between backticks is code.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("code");
        for part in prose.split("](").skip(1) {
            if let Some((target, _)) = part.split_once(')') {
                found.push((number + 1, target.trim().to_owned()));
            }
        }
    }
    found
}

/// The anchors of a page's headings, as GitHub makes them.
fn headings(text: &str) -> BTreeSet<String> {
    let anchor = |heading: &str| -> String {
        let kept = heading.trim().to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    };
    text.lines().filter(|l| l.starts_with('#')).map(|l| anchor(l.trim_start_matches('#'))).collect()
}

fn is_path(c: char) -> bool {
    c.is_ascii_alphanumeric() || "/._-".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(path: &str, text: &str) -> Page {
        Page { path: path.into(), text: text.into() }
    }

    #[test]
    fn a_dead_link_is_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("docs")).unwrap();
        std::fs::write(folder.path().join("docs/a.md"), "# The first, and `only`\n").unwrap();
        for (text, broken) in [
            ("[a](a.md)", 0),
            ("[a](../docs/a.md#the-first-and-only)", 0),
            ("[a](https://example.org/none.md) [b](mailto:a@example.org)", 0),
            ("`[a](none.md)`\n```\n[a](none.md)\n```\n", 0),
            ("[a](none.md) and [b](a.md)", 1),
            ("[a](a.md#second)", 1),
        ] {
            let found = links(folder.path(), &page("docs/b.md", text));
            assert_eq!(found.len(), broken, "{text}: {found:?}");
        }
    }

    #[test]
    fn a_mentioned_document_must_exist() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("docs/spec")).unwrap();
        std::fs::write(folder.path().join("docs/spec/seal.md"), "").unwrap();
        for (text, broken) in [
            ("// see docs/spec/seal.md §2", 0),
            ("// see docs/spec/seal.md. And docs/spec/none.md.", 1),
            ("// as PLAN.md says, and README.md, and name.md", 2),
            ("// see (docs/spec/none.md)", 1),
            ("// é docs/spec/none.md and docs/none.md", 2),
            ("// https://example.org/docs/none.md", 0),
        ] {
            let found = mentions(folder.path(), &page("a.rs", text));
            assert_eq!(found.len(), broken, "{text}: {found:?}");
        }
    }

    #[test]
    fn an_unlisted_decision_is_found() {
        let names = ["0001-sled.md", "0002-raft.md", "0002-other.md", "README.md", "template.md"].map(String::from);
        let found = decisions(&names, "[1](0001-sled.md) [2](0002-other.md)");
        assert_eq!(
            found,
            ["docs/adr/README.md: does not list `0002-raft.md`", "docs/adr/0002-other.md: its number is taken"]
        );
    }

    #[test]
    fn an_invariant_names_a_test_that_exists() {
        let tests = BTreeSet::from(["replicas_agree".to_owned()]);
        let rows = |last: &str| -> String {
            let mut rows: Vec<_> = (1..INVARIANTS).map(|n| format!("| {n} | x | not yet: why |")).collect();
            rows.push(format!("| {INVARIANTS} | y | {last} |"));
            rows.join("\n")
        };
        assert!(invariants(&rows("held by `replicas_agree`"), &tests).is_empty());
        assert_eq!(invariants(&rows("held by `replicas_agree`, `no_such_test`"), &tests).len(), 1);
        assert_eq!(invariants(&rows("held by hope"), &tests).len(), 1);
        assert_eq!(invariants("", &tests).len(), INVARIANTS);
    }
}

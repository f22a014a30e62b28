//! The house rules, on this workspace. A failure names the place and what to try.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::path::Path;

use syn::visit::{self, Visit};
use tidy::tree::{self, Source};
use tidy::{layers, lengths, lints, pages, proto_gen, proto_redact, root, words};

#[track_caller]
fn clean(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Applies a rule to every Rust file; `least` guards against a rule that looks at nothing.
#[track_caller]
fn every_source(rule: impl Fn(&Source) -> Vec<String>) {
    let sources = tree::sources(&root()).unwrap();
    assert!(sources.len() > 30, "only {} Rust files found", sources.len());
    clean(sources.iter().flat_map(rule).collect());
}

#[test]
fn crates_import_only_what_the_table_allows() {
    clean(layers::imports(&layers::members(&root()).unwrap()));
}

#[test]
fn third_parties_stay_behind_their_fence() {
    clean(layers::fences(&layers::members(&root()).unwrap()));
}

#[test]
fn every_dependency_is_used() {
    let code = tree::pages(&root(), &["rs"]).unwrap();
    clean(layers::members(&root()).unwrap().iter().flat_map(|m| layers::unused(m, &code)).collect());
}

#[test]
fn no_file_is_too_long() {
    let mut written = tree::pages(&root(), &["rs", "py", "sh", "proto"]).unwrap();
    written.retain(|p| !tree::is_generated(p));
    clean(lengths::files(&written));
}

#[test]
fn no_function_is_too_long() {
    every_source(lengths::functions);
}

#[test]
fn every_module_says_what_it_does() {
    every_source(words::module_docs);
}

#[test]
fn nothing_is_unfinished() {
    every_source(words::unfinished);
}

#[test]
fn unsafe_stays_home() {
    every_source(words::unsafe_code);
}

#[test]
fn silenced_lints_have_reasons() {
    every_source(words::silenced_without_reason);
}

#[test]
fn tests_do_not_sleep() {
    every_source(words::sleeping_tests);
}

#[test]
fn pure_crates_deny_clock_chance_and_disorder() {
    every_source(lints::bans);
}

#[test]
fn every_crate_opts_into_the_lints() {
    let members = layers::members(&root()).unwrap();
    let manifests = members.iter().map(|m| format!("{}/Cargo.toml", m.folder));
    clean(manifests.flat_map(|path| lints::opted_in(&path, &tree::read(&root(), &path).unwrap())).collect());
}

#[test]
fn the_member_list_is_a_map() {
    clean(lints::member_comments(&tree::read(&root(), "Cargo.toml").unwrap()));
}

#[test]
fn links_lead_somewhere() {
    let found = tree::pages(&root(), &["md"]).unwrap();
    assert!(found.iter().any(|p| p.path == "README.md"));
    clean(found.iter().flat_map(|p| pages::links(&root(), p)).collect());
}

#[test]
fn mentioned_documents_exist() {
    let mut found = tree::pages(&root(), &["rs", "proto", "toml", "md", "py", "sh"]).unwrap();
    found.retain(|p| !tree::is_generated(p));
    // The rule's own tests mention documents that do not exist.
    clean(
        found
            .iter()
            .filter(|p| p.path != "tests/tidy/src/pages.rs")
            .flat_map(|p| pages::mentions(&root(), p))
            .collect(),
    );
}

#[test]
fn every_decision_is_listed() {
    let folder = std::fs::read_dir(root().join("docs/adr")).unwrap();
    let names: Vec<_> = folder.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    clean(pages::decisions(&names, &tree::read(&root(), "docs/adr/README.md").unwrap()));
}

#[test]
fn invariants_name_tests_that_exist() {
    let mut tests = Tests::default();
    for source in tree::sources(&root()).unwrap() {
        tests.visit_file(&source.ast);
    }
    clean(pages::invariants(&tree::read(&root(), "ARCHITECTURE.md").unwrap(), &tests.names));
}

/// Collects the names of functions that a test harness runs.
#[derive(Default)]
struct Tests {
    names: BTreeSet<String>,
}

impl<'ast> Visit<'ast> for Tests {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if item.attrs.iter().any(|a| a.path().segments.last().is_some_and(|s| s.ident == "test")) {
            self.names.insert(item.sig.ident.to_string());
        }
        visit::visit_item_fn(self, item);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        // `proptest! { #[test] fn name(x in strategy) … }` is no Rust inside, but it says `fn name` all the same.
        if mac.path.segments.last().is_some_and(|s| s.ident == "proptest") {
            let text = mac.tokens.to_string();
            let names = text.split("fn ").skip(1).filter_map(|t| t.split([' ', '(']).next());
            self.names.extend(names.map(str::to_owned));
        }
        visit::visit_macro(self, mac);
    }
}

#[test]
fn generated_code_is_fresh() {
    let (protos, fresh) = (root().join("proto"), tempfile::tempdir().unwrap());
    proto_gen::generate(&protos, fresh.path()).unwrap();
    let (now, wanted) = (listing(&protos.join("src/gen")), listing(fresh.path()));
    for (name, bytes) in &wanted {
        let same = now.iter().any(|(n, b)| n == name && b == bytes);
        assert!(same, "proto/src/gen/{name} is stale; try `make proto`");
    }
    assert_eq!(now.len(), wanted.len(), "proto/src/gen holds files that are no longer generated; try `make proto`");

    let lib = tree::read(&root(), "proto/src/lib.rs").unwrap();
    for (name, _) in &wanted {
        assert!(lib.contains(&format!("(\"gen/{name}\")")), "proto/src/lib.rs does not include gen/{name}");
    }
}

#[test]
fn secrets_on_the_wire_are_marked() {
    let compiler = proto_gen::compiler(&root().join("proto")).unwrap();
    clean(proto_redact::unmarked_secrets(&compiler.descriptor_pool()));
}

fn listing(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())).collect()
}

//! What a Rust file must say and must not: module docs, no unfinished code, no sleeping tests, reasons for silenced lints, two places for `unsafe`.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::tree::Source;

/// The modules that may contain `unsafe`: locked memory, and the fuzzer's counters, which are in nothing that is shipped.
const UNSAFE_HOMES: [&str; 2] = ["crypto/src/locked.rs", "fuzz/src/engine/probe.rs"];

/// Where the clock is simulated: a sleep there is how long something takes, and no test waits for it.
const SIMULATED_TIME: &str = "tests/sim-raft/";

/// Macros that mark unfinished work; clippy does not see them inside other macros.
const UNFINISHED: &[&str] = &["todo", "unimplemented", "dbg"];

/// A file that does not open with `//!` docs of a sentence or more.
pub fn module_docs(source: &Source) -> Vec<String> {
    let opens = source.text.starts_with("//!") || source.text.starts_with("#!/");
    let docs: usize = source.text.lines().take_while(|l| l.starts_with("//!")).map(|l| l.len() - 3).sum();
    if opens && docs >= 20 {
        return Vec::new();
    }
    vec![format!("{}:1: does not open with `//!` docs; try saying what the module does and does not do", source.path)]
}

/// `todo!`, `unimplemented!` and `dbg!`, also inside other macros.
pub fn unfinished(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    each_pair(tokens(source), &mut |first, second| {
        if let (TokenTree::Ident(name), TokenTree::Punct(bang)) = (first, second)
            && bang.as_char() == '!'
            && UNFINISHED.iter().any(|u| name == u)
        {
            found.push(format!("{}:{}: `{name}!` is unfinished work", source.path, name.span().start().line));
        }
    });
    found
}

/// `unsafe` outside its homes.
pub fn unsafe_code(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    if !UNSAFE_HOMES.contains(&source.path.as_str()) {
        each_pair(tokens(source), &mut |first, second| {
            // `unsafe(no_mangle)` and blocks alike; the lint's name `unsafe_code` is another identifier.
            if let (TokenTree::Ident(name), TokenTree::Group(_) | TokenTree::Ident(_)) = (first, second)
                && name == "unsafe"
            {
                found.push(format!(
                    "{}:{}: `unsafe` stays in {}",
                    source.path,
                    name.span().start().line,
                    UNSAFE_HOMES.join(" and ")
                ));
            }
        });
    }
    found
}

/// `#[allow]` and `#[expect]` without a reason.
pub fn silenced_without_reason(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    each_pair(tokens(source), &mut |first, second| {
        if let (TokenTree::Ident(name), TokenTree::Group(inner)) = (first, second)
            && (name == "allow" || name == "expect")
            && inner.delimiter() == Delimiter::Parenthesis
            && names_a_lint(inner.stream())
            && !inner.stream().into_iter().any(|t| matches!(&t, TokenTree::Ident(i) if i == "reason"))
        {
            found.push(format!("{}:{}: `{name}` without a `reason`", source.path, name.span().start().line));
        }
    });
    found
}

/// Sleeps in test code that stand outside a loop: a test waits for a condition, and only sleeps between two looks at it.
pub fn sleeping_tests(source: &Source) -> Vec<String> {
    if source.path.starts_with(SIMULATED_TIME) {
        return Vec::new();
    }
    let in_test_file =
        source.path.starts_with("tests/") || source.path.contains("/tests/") || source.path.ends_with("/tests.rs");
    let mut finder = Sleeps { path: &source.path, in_test: in_test_file, in_loop: false, found: Vec::new() };
    finder.visit_file(&source.ast);
    finder.found
}

struct Sleeps<'a> {
    path: &'a str,
    in_test: bool,
    in_loop: bool,
    found: Vec<String>,
}

impl Sleeps<'_> {
    /// Visits below an item; attributes that mention `test` (`#[test]`, `#[cfg(test)]`, `#[tokio::test]`) make it test code.
    fn below(&mut self, attributes: &[syn::Attribute], visit: impl FnOnce(&mut Self)) {
        let (test, looping) = (self.in_test, self.in_loop);
        // Under a paused clock a sleep takes no time.
        let paused = attributes.iter().any(|a| mentions(a, "start_paused"));
        self.in_test = !paused && (test || attributes.iter().any(|a| mentions(a, "test")));
        self.in_loop = false;
        visit(self);
        (self.in_test, self.in_loop) = (test, looping);
    }

    fn looping(&mut self, visit: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.in_loop, true);
        visit(self);
        self.in_loop = before;
    }
}

impl<'ast> Visit<'ast> for Sleeps<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.below(&item.attrs, |s| visit::visit_item_fn(s, item));
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.below(&item.attrs, |s| visit::visit_item_mod(s, item));
    }

    fn visit_expr_loop(&mut self, expr: &'ast syn::ExprLoop) {
        self.looping(|s| visit::visit_expr_loop(s, expr));
    }

    fn visit_expr_while(&mut self, expr: &'ast syn::ExprWhile) {
        self.looping(|s| visit::visit_expr_while(s, expr));
    }

    fn visit_expr_for_loop(&mut self, expr: &'ast syn::ExprForLoop) {
        self.looping(|s| visit::visit_expr_for_loop(s, expr));
    }

    fn visit_expr_call(&mut self, expr: &'ast syn::ExprCall) {
        if let syn::Expr::Path(path) = &*expr.func
            && path.path.segments.last().is_some_and(|s| s.ident == "sleep")
            && self.in_test
            && !self.in_loop
        {
            let line = expr.span().start().line;
            self.found.push(format!(
                "{}:{line}: a test sleeps; try waiting for the condition in a loop with a deadline",
                self.path
            ));
        }
        visit::visit_expr_call(self, expr);
    }
}

fn mentions(attribute: &syn::Attribute, word: &str) -> bool {
    let in_path = attribute.path().segments.iter().any(|s| s.ident == word);
    let in_list = attribute.meta.require_list().is_ok_and(|l| contains(l.tokens.clone(), word));
    in_path || in_list
}

fn contains(tokens: TokenStream, word: &str) -> bool {
    tokens.into_iter().any(|t| match t {
        TokenTree::Ident(i) => i == word,
        TokenTree::Group(g) => contains(g.stream(), word),
        _ => false,
    })
}

/// Whether the list looks like lints (`clippy::x`, `missing_docs`), not like arguments of a function called `expect`.
fn names_a_lint(tokens: TokenStream) -> bool {
    let first: Vec<_> = tokens.into_iter().take(2).map(|t| t.to_string()).collect();
    let is_lint = |name: &str| {
        ["clippy", "rustdoc"].contains(&name)
            || name.contains('_') && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    first.first().is_some_and(|n| is_lint(n)) && first.get(1).is_none_or(|p| p == ":" || p == ",")
}

fn tokens(source: &Source) -> TokenStream {
    // Parsed once already, so it parses again; an empty stream would only hide what `sources` has reported.
    source.text.parse().unwrap_or_default()
}

/// Calls `look` with every token and its successor, at every depth.
fn each_pair(stream: TokenStream, look: &mut impl FnMut(&TokenTree, &TokenTree)) {
    let trees: Vec<_> = stream.into_iter().collect();
    for pair in trees.windows(2) {
        if let [first, second] = pair {
            look(first, second);
        }
    }
    for tree in trees {
        if let TokenTree::Group(group) = tree {
            each_pair(group.stream(), look);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&Source) -> Vec<String>, path: &str, text: &str) -> usize {
        rule(&Source::parse(path, text).unwrap()).len()
    }

    #[test]
    fn a_file_opens_with_docs() {
        for (text, broken) in [
            ("//! Says what this module does.\n", 0),
            ("use std::io;\n", 1),
            ("//! x\n", 1),
            ("\n//! Says what this module does.\n", 1),
        ] {
            assert_eq!(check(module_docs, "a.rs", text), broken, "{text}");
        }
    }

    #[test]
    fn unfinished_work_is_found_also_in_macros() {
        assert_eq!(check(unfinished, "a.rs", "fn a() { todo!() }"), 1);
        assert_eq!(check(unfinished, "a.rs", "fn a() { vec![unimplemented!(), dbg!(1)]; }"), 2);
        assert_eq!(check(unfinished, "a.rs", "// todo!()\nfn todo() -> &'static str { \"todo!()\" }"), 0);
    }

    #[test]
    fn unsafe_has_its_homes() {
        let text = "fn a() { unsafe { b() } }\nunsafe fn b() {}\n";
        assert_eq!(check(unsafe_code, "crypto/src/locked.rs", text), 0);
        assert_eq!(check(unsafe_code, "fuzz/src/engine/probe.rs", text), 0);
        assert_eq!(check(unsafe_code, "kms/src/lib.rs", text), 2);
        assert_eq!(check(unsafe_code, "fuzz/src/engine/run.rs", text), 2);
        assert_eq!(check(unsafe_code, "kms/src/lib.rs", "#![deny(unsafe_code)]"), 0);
    }

    #[test]
    fn a_silenced_lint_gives_its_reason() {
        assert_eq!(check(silenced_without_reason, "a.rs", "#[allow(clippy::panic)] fn a() {}"), 1);
        assert_eq!(check(silenced_without_reason, "a.rs", "#![expect(missing_docs)]"), 1);
        assert_eq!(check(silenced_without_reason, "a.rs", "#[expect(clippy::panic, reason = \"why\")] fn a() {}"), 0);
        assert_eq!(
            check(silenced_without_reason, "a.rs", "fn a() { b().expect(\"c\"); d().expect(some_message()); }"),
            0
        );
    }

    #[test]
    fn a_test_waits_in_a_loop() {
        let sleep = "std::thread::sleep(std::time::Duration::from_secs(1));";
        for (path, text, broken) in [
            ("a/src/a.rs", format!("fn a() {{ {sleep} }}"), 0),
            ("a/src/a.rs", format!("#[test] fn a() {{ {sleep} }}"), 1),
            ("a/src/a.rs", format!("#[cfg(test)] mod tests {{ fn a() {{ {sleep} }} }}"), 1),
            ("a/src/a.rs", format!("#[tokio::test(start_paused = true)] async fn a() {{ {sleep} }}"), 0),
            ("a/src/a.rs", format!("#[tokio::test] async fn a() {{ {sleep} }}"), 1),
            ("a/tests/a.rs", format!("fn a() {{ {sleep} }}"), 1),
            ("tests/cluster/src/a.rs", format!("fn a() {{ while !ready() {{ {sleep} }} }}"), 0),
            ("tests/cluster/src/a.rs", format!("fn a() {{ loop {{ b(); }} {sleep} }}"), 1),
        ] {
            assert_eq!(check(sleeping_tests, path, &text), broken, "{path}: {text}");
        }
    }
}

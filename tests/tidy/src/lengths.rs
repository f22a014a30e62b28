//! Files and functions that outgrew a screen. Lines are counted as they stand, comments and blanks included: that is what a reader scrolls.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::tree::{Page, Source};

/// Lines of a source file, at most.
pub const FILE_LINES_MAX: usize = 600;

/// Lines of a function from `fn` to its closing brace, at most.
pub const FUNCTION_LINES_MAX: usize = 70;

/// Files that are too long.
pub fn files(pages: &[Page]) -> Vec<String> {
    let too_long = pages.iter().map(|p| (p, p.text.lines().count())).filter(|(_, n)| *n > FILE_LINES_MAX);
    too_long
        .map(|(p, n)| format!("{}: {n} lines, at most {FILE_LINES_MAX}; try splitting along a noun", p.path))
        .collect()
}

/// Functions that are too long, tests among them.
pub fn functions(source: &Source) -> Vec<String> {
    let mut finder = Finder { path: &source.path, found: Vec::new() };
    finder.visit_file(&source.ast);
    finder.found
}

struct Finder<'a> {
    path: &'a str,
    found: Vec<String>,
}

impl Finder<'_> {
    fn check(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = signature.fn_token.span().start().line;
        let lines = block.brace_token.span.close().end().line - first + 1;
        if lines > FUNCTION_LINES_MAX {
            self.found.push(format!(
                "{}:{first}: `{}` has {lines} lines, at most {FUNCTION_LINES_MAX}; try naming its steps",
                self.path, signature.ident
            ));
        }
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.check(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.check(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.check(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A function of `lines` lines, braces included.
    fn function(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    // one more\n".repeat(lines - 2))
    }

    #[test]
    fn one_line_over_is_too_long_wherever_it_stands() {
        for (before, after) in [("", ""), ("impl A {\n", "}\n"), ("trait A {\n", "}\n"), ("mod tests {\n", "}\n")] {
            let check =
                |lines| functions(&Source::parse("a.rs", &format!("{before}{}{after}", function(lines))).unwrap());
            assert!(check(FUNCTION_LINES_MAX).is_empty());
            let found = check(FUNCTION_LINES_MAX + 1);
            assert_eq!(found.len(), 1, "in `{before}`");
            assert!(found[0].contains("`long` has 71 lines"), "{found:?}");
        }
    }

    #[test]
    fn a_file_of_601_lines_is_too_long() {
        let page = |lines: usize| Page { path: "a.rs".into(), text: "//\n".repeat(lines) };
        let found = files(&[page(FILE_LINES_MAX), page(FILE_LINES_MAX + 1)]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("601 lines"), "{found:?}");
    }
}

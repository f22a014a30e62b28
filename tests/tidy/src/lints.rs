//! That every crate is bound by the workspace's lints, every pure crate by the bans on clock, randomness and unordered maps, and that the
//! member list reads as a map.

use proc_macro2::{TokenStream, TokenTree};

use crate::tree::Source;

/// Crates without sockets, files, clock or global state.
pub const PURE: &[&str] = &["types", "crypto", "kms", "ca", "policy", "audit", "state"];

/// What each pure `lib.rs` denies.
const BANS: &str = "deny(clippy::disallowed_methods, clippy::disallowed_types)";

/// The one file of a pure crate that may draw random bytes.
const ENTROPY: &str = "crypto/src/entropy.rs";

/// A manifest without `[lints] workspace = true`.
pub fn opted_in(path: &str, manifest: &str) -> Vec<String> {
    let lints = manifest.parse::<toml::Table>().ok().and_then(|t| t.get("lints")?.get("workspace")?.as_bool());
    match lints {
        Some(true) => Vec::new(),
        _ => vec![format!("{path}: no `[lints] workspace = true`")],
    }
}

/// Members of the root manifest without a one-line comment.
pub fn member_comments(manifest: &str) -> Vec<String> {
    let members =
        manifest.lines().skip_while(|l| !l.starts_with("members = [")).skip(1).take_while(|l| !l.starts_with(']'));
    let bare = members.filter(|line| line.split_once('#').is_none_or(|(_, comment)| comment.trim().len() < 10));
    bare.map(|line| format!("Cargo.toml: `{}` has no comment saying what it is for", line.trim())).collect()
}

/// A pure `lib.rs` without the bans, or a file of a pure crate that lifts them.
pub fn bans(source: &Source) -> Vec<String> {
    let Some(name) = PURE.iter().find(|name| source.path.starts_with(&format!("{name}/src/"))) else {
        return Vec::new();
    };
    if source.path == format!("{name}/src/lib.rs") {
        let wanted = squeezed(BANS);
        let denied = source.ast.attrs.iter().any(|a| squeezed(&attribute_text(a)) == wanted);
        return if denied {
            Vec::new()
        } else {
            vec![format!("{}: a pure crate opens with `#![{BANS}]`", source.path)]
        };
    }
    let lifted = source.path != ENTROPY && mentions_a_ban(source.text.parse().unwrap_or_default());
    if lifted { vec![format!("{}: lifts a ban that only {ENTROPY} may lift", source.path)] } else { Vec::new() }
}

fn attribute_text(attribute: &syn::Attribute) -> String {
    let path = attribute.path().get_ident().map(ToString::to_string).unwrap_or_default();
    attribute.meta.require_list().map(|l| format!("{path}({})", l.tokens)).unwrap_or_default()
}

fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

fn mentions_a_ban(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|t| match t {
        TokenTree::Ident(i) => i == "disallowed_methods" || i == "disallowed_types",
        TokenTree::Group(g) => mentions_a_ban(g.stream()),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_that_does_not_opt_in_is_found() {
        assert!(opted_in("a", "[package]\n[lints]\nworkspace = true\n").is_empty());
        assert_eq!(opted_in("a", "[package]\n").len(), 1);
        assert_eq!(opted_in("a", "[lints]\nworkspace = false\n").len(), 1);
    }

    #[test]
    fn a_member_without_a_comment_is_found() {
        let manifest = "[workspace]\nmembers = [\n    \"types\",  # the nouns two crates share\n    \"crypto\",\n    \"kms\", # x\n]\n";
        let found = member_comments(manifest);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("crypto"), "{found:?}");
    }

    #[test]
    fn a_pure_crate_without_the_bans_is_found() {
        let check = |path: &str, text: &str| bans(&Source::parse(path, text).unwrap()).len();
        assert_eq!(check("kms/src/lib.rs", "//! Keys.\n"), 1);
        assert_eq!(check("kms/src/lib.rs", "//! Keys.\n#![deny(clippy::disallowed_methods)]"), 1);
        assert_eq!(check("kms/src/lib.rs", "#![deny(clippy::disallowed_methods, clippy::disallowed_types)]"), 0);
        assert_eq!(check("server/src/lib.rs", "//! The node.\n"), 0);
    }

    #[test]
    fn lifting_a_ban_is_found() {
        let lifting = "#[expect(clippy::disallowed_methods, reason = \"why\")]\nfn now() {}";
        let check = |path: &str| bans(&Source::parse(path, lifting).unwrap()).len();
        assert_eq!(check("kms/src/life.rs"), 1);
        assert_eq!(check("crypto/src/entropy.rs"), 0);
        assert_eq!(check("server/src/clock.rs"), 0);
    }
}

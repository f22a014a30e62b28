//! Selectors: what the kernel says about a process, and what an entry asks of it. Attesting is the agent's work; this is
//! only the vocabulary and the rule of matching.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use types::limits::SELECTOR_BYTES_MAX;
use types::{Reason, Refusal};

/// One attested property of a process. The text form is canonical: one property has one spelling.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Selector {
    /// `unix:uid:1000`: the effective user id.
    UnixUid(u32),
    /// `unix:gid:1000`: the effective group id.
    UnixGid(u32),
    /// `unix:path:/usr/bin/app`: the absolute path of the executable.
    UnixPath(String),
    /// `unix:sha256:{64 hex digits}`: the hash of the executable's bytes.
    UnixSha256([u8; 32]),
}

impl Selector {
    /// Parses the text form.
    ///
    /// # Errors
    /// `InvalidArgument`, saying what would be accepted.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() > SELECTOR_BYTES_MAX {
            return Err(refused(text, "it is too long"));
        }
        let (kind, value) = text
            .strip_prefix("unix:")
            .and_then(|rest| rest.split_once(':'))
            .ok_or_else(|| refused(text, "use `unix:uid:N`, `unix:gid:N`, `unix:path:/…` or `unix:sha256:…`"))?;
        match kind {
            "uid" => number(value).map(Self::UnixUid).ok_or_else(|| refused(text, "a uid is a number")),
            "gid" => number(value).map(Self::UnixGid).ok_or_else(|| refused(text, "a gid is a number")),
            "path" if is_absolute(value) => Ok(Self::UnixPath(value.to_owned())),
            "path" => Err(refused(text, "a path is absolute and has no empty, `.` or `..` part")),
            "sha256" => types::SpkiHash::from_hex(value)
                .map(|hash| Self::UnixSha256(hash.0))
                .ok_or_else(|| refused(text, "a sha256 is 64 lowercase hexadecimal digits")),
            _ => Err(refused(text, "the kinds are `uid`, `gid`, `path` and `sha256`")),
        }
    }

    /// Whether a process with `attested` properties is what `wanted` describes: it has every one of them. Nothing is
    /// wanted of nobody: an empty set matches no process.
    #[must_use]
    pub fn all_match(wanted: &BTreeSet<Self>, attested: &BTreeSet<Self>) -> bool {
        !wanted.is_empty() && wanted.is_subset(attested)
    }
}

fn refused(text: &str, hint: &str) -> Refusal {
    let shown: String = text.chars().take(120).collect();
    Refusal::new(Reason::InvalidArgument, format!("`{shown}` is not a selector: {hint}"))
}

/// A decimal number in its one canonical spelling.
fn number(text: &str) -> Option<u32> {
    let number: u32 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// A path as the kernel reports it for an executable: it never holds an empty or dotted part, so an entry that does
/// would silently match nothing.
fn is_absolute(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")))
        && !path.chars().any(char::is_control)
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnixUid(uid) => write!(f, "unix:uid:{uid}"),
            Self::UnixGid(gid) => write!(f, "unix:gid:{gid}"),
            Self::UnixPath(path) => write!(f, "unix:path:{path}"),
            Self::UnixSha256(hash) => write!(f, "unix:sha256:{}", types::SpkiHash(*hash)),
        }
    }
}

impl std::fmt::Debug for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Selector {
    type Err = Refusal;
    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Selector {
    type Error = Refusal;
    fn try_from(text: String) -> Result<Self, Refusal> {
        Self::parse(&text)
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(texts: &[&str]) -> BTreeSet<Selector> {
        texts.iter().map(|text| Selector::parse(text).expect("a selector")).collect()
    }

    #[test]
    fn one_property_has_one_spelling() {
        let hash = format!("unix:sha256:{}", "0f".repeat(32));
        for good in ["unix:uid:0", "unix:gid:4294967295", "unix:path:/usr/bin/x", "unix:path:/a b/ä", &hash] {
            assert_eq!(Selector::parse(good).expect(good).to_string(), good);
        }
        for bad in [
            "",
            "unix",
            "unix:uid",
            "unix:uid:",
            "unix:uid:01",
            "unix:uid:+1",
            "unix:uid:-1",
            "unix:uid:4294967296",
            "unix:uid: 1",
            "UNIX:uid:1",
            "unix:user:bob",
            "k8s:ns:a",
            "unix:path:bin/x",
            "unix:path:",
            "unix:path:/",
            "unix:path:/a//b",
            "unix:path:/a/../b",
            "unix:path:/a/",
            "unix:path:/./a",
            "unix:path:/a\n",
            "unix:path:/a\0",
            "unix:sha256:00",
            &hash.to_uppercase(),
            &format!("unix:sha256:{}", "0F".repeat(32)),
            &format!("unix:path:/{}", "a".repeat(SELECTOR_BYTES_MAX)),
        ] {
            assert_eq!(Selector::parse(bad).expect_err(bad).reason, Reason::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn every_wanted_property_must_be_attested() {
        let process = set(&["unix:uid:1000", "unix:gid:1000", "unix:path:/usr/bin/x"]);
        assert!(Selector::all_match(&set(&["unix:uid:1000"]), &process));
        assert!(Selector::all_match(&process, &process));
        assert!(!Selector::all_match(&set(&["unix:uid:1000", "unix:path:/usr/bin/y"]), &process));
        assert!(!Selector::all_match(&set(&["unix:uid:1001"]), &process));
        assert!(!Selector::all_match(&process, &set(&["unix:uid:1000"])));
    }

    #[test]
    fn an_empty_set_matches_nobody() {
        assert!(!Selector::all_match(&BTreeSet::new(), &set(&["unix:uid:0"])));
    }

    proptest! {
        #[test]
        fn what_parses_prints_the_same(text in "(unix:(uid|gid|path|sha256):)?[ -~]{0,70}") {
            if let Ok(selector) = Selector::parse(&text) {
                prop_assert_eq!(selector.to_string(), text);
            }
        }

        #[test]
        fn stored_selectors_come_back(uid: u32, hash: [u8; 32], path in "(/[a-z]{1,8}){1,4}") {
            let set: BTreeSet<_> =
                [Selector::UnixUid(uid), Selector::UnixSha256(hash), Selector::UnixPath(path)].into();
            let bytes = postcard::to_stdvec(&set).expect("encodes");
            prop_assert_eq!(postcard::from_bytes::<BTreeSet<Selector>>(&bytes).expect("decodes"), set);
        }
    }
}

//! The few facts a record adds to who, what and when. No fact can hold raw bytes (invariant 1).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use types::limits::{AUDIT_FACTS_MAX, AUDIT_LEAF_BYTES_MAX, AUDIT_TEXT_BYTES_MAX};

use crate::Text;

/// One fact about a call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Fact {
    /// A number: a key version, items in a batch, bytes.
    Count(u64),
    /// Text that is public to the log's readers: a state, a serial number, a SPIFFE ID.
    Text(Text),
    /// SHA-256 of something public or of high entropy, such as a certificate. A guessable value needs [`Fact::Hmac`].
    Digest([u8; 32]),
    /// HMAC-SHA-256 of a sensitive value under a key that the log's readers do not have.
    Hmac([u8; 32]),
}

/// The facts of one record by name, at most [`AUDIT_FACTS_MAX`] and the count of those that were left out.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<Text, Fact>", into = "BTreeMap<Text, Fact>")]
pub struct Detail(BTreeMap<Text, Fact>);

/// More facts than a record may hold, or a name that is too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a record holds at most {AUDIT_FACTS_MAX} facts, with names of at most {NAME_BYTES_MAX} bytes")]
pub struct DetailError;

/// Where the number of facts stands that did not fit.
const OMITTED: &str = "omitted";
/// Longest name of a fact.
const NAME_BYTES_MAX: usize = 64;
/// Every fact at its longest, the two other texts and what stands around them: a leaf never passes its bound.
const LEAF_BYTES_WORST: usize =
    (AUDIT_FACTS_MAX + 1) * (NAME_BYTES_MAX + AUDIT_TEXT_BYTES_MAX + 16) + 2 * AUDIT_TEXT_BYTES_MAX + 1_024;
const _: () = assert!(LEAF_BYTES_WORST < AUDIT_LEAF_BYTES_MAX);

impl Detail {
    /// No facts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a fact; a name that is there already gets the new fact. Past the bound it is only counted.
    ///
    /// The name is written in the code, never by a caller: snake case, at most 64 bytes.
    #[must_use]
    pub fn with(mut self, name: &'static str, fact: Fact) -> Self {
        let name = Text::clipped(name.get(..NAME_BYTES_MAX).unwrap_or(name));
        let held = self.0.keys().filter(|name| name.as_str() != OMITTED).count();
        if self.0.contains_key(&name) || held < AUDIT_FACTS_MAX {
            self.0.insert(name, fact);
        } else {
            let count = self.0.entry(Text::clipped(OMITTED)).or_insert(Fact::Count(0));
            if let Fact::Count(count) = count {
                *count = count.saturating_add(1);
            }
        }
        self
    }

    /// Adds a number.
    #[must_use]
    pub fn count(self, name: &'static str, count: u64) -> Self {
        self.with(name, Fact::Count(count))
    }

    /// Adds public text, made plain and cut to its bound.
    #[must_use]
    pub fn text(self, name: &'static str, text: &str) -> Self {
        self.with(name, Fact::Text(Text::clipped(text)))
    }

    /// The fact of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Fact> {
        self.0.get(&Text::parse(name).ok()?)
    }

    /// The facts, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Text, &Fact)> {
        self.0.iter()
    }
}

impl TryFrom<BTreeMap<Text, Fact>> for Detail {
    type Error = DetailError;
    fn try_from(facts: BTreeMap<Text, Fact>) -> Result<Self, DetailError> {
        let held = facts.keys().filter(|name| name.as_str() != OMITTED).count();
        let short = facts.keys().all(|name| name.as_str().len() <= NAME_BYTES_MAX);
        (held <= AUDIT_FACTS_MAX && short).then_some(Self(facts)).ok_or(DetailError)
    }
}

impl From<Detail> for BTreeMap<Text, Fact> {
    fn from(detail: Detail) -> Self {
        detail.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_past_the_bound_are_counted() {
        let names: Vec<&'static str> = (0..AUDIT_FACTS_MAX + 3)
            .map(|i| -> &'static str { Box::leak(format!("fact_{i:02}").into_boxed_str()) })
            .collect();
        let mut detail = Detail::new();
        for name in &names {
            detail = detail.count(name, 1);
        }
        assert_eq!(detail.iter().count(), AUDIT_FACTS_MAX + 1);
        assert_eq!(detail.get("omitted"), Some(&Fact::Count(3)));
        let replaced = detail.clone().text("fact_00", "again");
        assert_eq!(replaced.get("fact_00"), Some(&Fact::Text(Text::clipped("again"))));
        assert_eq!(replaced.get("omitted"), Some(&Fact::Count(3)));
    }

    #[test]
    fn stored_facts_are_checked_when_they_are_read() {
        let facts =
            |n: usize| (0..n).map(|i| (Text::clipped(&format!("f{i}")), Fact::Count(0))).collect::<BTreeMap<_, _>>();
        assert!(Detail::try_from(facts(AUDIT_FACTS_MAX)).is_ok());
        assert_eq!(Detail::try_from(facts(AUDIT_FACTS_MAX + 1)), Err(DetailError));
        let long = BTreeMap::from([(Text::clipped(&"n".repeat(65)), Fact::Count(0))]);
        assert_eq!(Detail::try_from(long), Err(DetailError));
    }
}

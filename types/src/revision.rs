//! Revisions: what a decision was made on, so that `apply` can tell whether it still holds (PROTOCOLS: revisions).

use serde::{Deserialize, Serialize};

use crate::Time;

/// The log index of the entry that last changed a thing; zero for what does not exist.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Revision(pub u64);

impl Revision {
    /// What a thing that does not exist is at.
    pub const NONE: Self = Self(0);
}

/// Which life of the cluster it is: 1 from `init`, one more with each restore, zero before there is a cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Generation(u64);

/// A revision that goes on growing over restores: generation · 2^40 + index. What callers see of revisions (sequences, etags,
/// read tokens) is this. Below 2^53, so that JSON readers keep it exact.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Sequence(u64);

/// A number that no generation or sequence has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfRange(u64);

/// Bits of an index in a sequence.
const INDEX_BITS: u32 = 40;
/// Bits of a generation in a sequence.
const GENERATION_BITS: u32 = 13;

impl Generation {
    /// Before there is a cluster.
    pub const NONE: Self = Self(0);
    /// What `init` begins.
    pub const FIRST: Self = Self(1);

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The life that a restore of this one opens.
    ///
    /// # Errors
    /// After 8,190 restores.
    pub fn next(self) -> Result<Self, OutOfRange> {
        Self::try_from(self.0.saturating_add(1))
    }
}

impl Sequence {
    /// The place of a revision in all of a cluster's lives. An index past 2^40 stays at the last one: at ten thousand
    /// entries a second that is after three years.
    #[must_use]
    pub fn of(generation: Generation, revision: Revision) -> Self {
        Self(generation.0 << INDEX_BITS | revision.0.min((1 << INDEX_BITS) - 1))
    }

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// In which life.
    #[must_use]
    pub const fn generation(self) -> Generation {
        Generation(self.0 >> INDEX_BITS)
    }

    /// Where in it.
    #[must_use]
    pub const fn revision(self) -> Revision {
        Revision(self.0 & ((1 << INDEX_BITS) - 1))
    }
}

impl TryFrom<u64> for Generation {
    type Error = OutOfRange;
    fn try_from(number: u64) -> Result<Self, OutOfRange> {
        if number < 1 << GENERATION_BITS { Ok(Self(number)) } else { Err(OutOfRange(number)) }
    }
}

impl From<Generation> for u64 {
    fn from(generation: Generation) -> Self {
        generation.0
    }
}

impl TryFrom<u64> for Sequence {
    type Error = OutOfRange;
    fn try_from(number: u64) -> Result<Self, OutOfRange> {
        if number < 1 << (GENERATION_BITS + INDEX_BITS) { Ok(Self(number)) } else { Err(OutOfRange(number)) }
    }
}

impl std::fmt::Display for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::fmt::Display for Sequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` is past the last generation or sequence", self.0)
    }
}

impl std::error::Error for OutOfRange {}

/// What a decision was made on. `apply` compares each part and refuses with `Reason::Stale` when one has moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Basis {
    /// Bumped by operators, agents, nodes, roles and bindings of cluster scope.
    pub global: Revision,
    /// Bumped by the settings and bindings of the namespace in question; `NONE` for cluster-wide commands.
    pub namespace: Revision,
    /// The revision of the key, entry or other resource that is changed; `NONE` when it is created.
    pub resource: Revision,
    /// The decision does not bind at or after this state time.
    pub valid_until: Time,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_grows_over_restores_and_leads_back() {
        let second = Generation::FIRST.next().expect("a second life");
        let late = Sequence::of(Generation::FIRST, Revision(u64::MAX));
        let early = Sequence::of(second, Revision(7));
        assert!(late < early, "whatever a life reached, the next one is past it");
        assert_eq!((early.generation(), early.revision()), (second, Revision(7)));
        assert_eq!(Sequence::try_from(early.get()), Ok(early));
    }

    #[test]
    fn numbers_out_of_range_are_not_taken() {
        let last = Generation::try_from((1 << 13) - 1).expect("the last");
        assert_eq!(last.next(), Err(OutOfRange(1 << 13)));
        assert!(Sequence::of(last, Revision(u64::MAX)).get() < 1 << 53);
        assert_eq!(Sequence::try_from(1 << 53), Err(OutOfRange(1 << 53)));
    }
}

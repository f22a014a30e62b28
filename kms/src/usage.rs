//! How much a version is used (`docs/spec/usage.md`): what a key says of it, and what was handed out to nodes. A node spends
//! from what was handed out to it and forgets the rest when it stops, so a version is never used for more than was handed out.

use serde::{Deserialize, Serialize};
use types::limits::{
    ROTATE_AFTER_BYTES_MIN, ROTATE_AFTER_USES_MIN, UNARY_PLAINTEXT_BYTES_MAX, USAGE_BLOCK_BYTES_MAX, USAGE_BLOCK_SHARE,
    USAGE_BLOCK_USES_MAX, USAGE_BOUND_MAX,
};
use types::{Millis, Reason, Refusal, Time};

use crate::{Algorithm, Purpose, refuse};

/// From when on a pace says when a bound will be reached.
pub const PACE_KNOWN_AFTER: Millis = Millis::from_secs(60);

/// An amount of use: how often something was encrypted, signed or authenticated, and how many bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    /// How often.
    pub uses: u64,
    /// Bytes of plaintext, message or digest, over all uses.
    pub bytes: u64,
}

/// Bounds on the use of one version; none: there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct UsageLimits {
    /// On how often.
    pub uses: Option<u64>,
    /// On how many bytes.
    pub bytes: Option<u64>,
}

/// What a key says of the use of each of its versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct UsagePolicy {
    /// The next version is due once so much of the primary one was handed out.
    pub rotate_after: UsageLimits,
    /// A version is never used for more.
    pub ceiling: UsageLimits,
}

/// What is changed about a pair of bounds; none: it stays. None within: there is none any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LimitsChange {
    /// On how often.
    pub uses: Option<Option<u64>>,
    /// On how many bytes.
    pub bytes: Option<Option<u64>>,
}

/// What is changed about a policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct UsageChange {
    /// Of what makes the next version due.
    pub rotate_after: LimitsChange,
    /// Of what is never passed.
    pub ceiling: LimitsChange,
}

/// How much of one version was handed out: a row of the replicated state. It never goes down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VersionUsage {
    /// All blocks together.
    pub granted: Usage,
    /// When the first was, in state time: what was used before, while nobody counted, is not in it.
    pub since: Time,
    /// When the last was, in state time.
    pub at: Time,
    /// How many there were.
    pub blocks: u64,
}

/// How near a version is to its ceiling.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum UsageLevel {
    /// Below four fifths.
    Low,
    /// From four fifths on.
    Warning,
    /// From nineteen twentieths on.
    Critical,
    /// All of it was handed out.
    Exhausted,
}

impl Usage {
    /// One use of so many bytes.
    #[must_use]
    pub const fn once(bytes: usize) -> Self {
        Self { uses: 1, bytes: bytes as u64 }
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self { uses: self.uses.saturating_add(other.uses), bytes: self.bytes.saturating_add(other.bytes) }
    }

    /// What is left when that much is taken away; none when it is not there.
    #[must_use]
    pub fn minus(self, other: Self) -> Option<Self> {
        let (uses, bytes) = (self.uses.checked_sub(other.uses)?, self.bytes.checked_sub(other.bytes)?);
        Some(Self { uses, bytes })
    }

    /// What that is short of this, in each respect.
    #[must_use]
    pub const fn lacking(self, there: Self) -> Self {
        Self { uses: self.uses.saturating_sub(there.uses), bytes: self.bytes.saturating_sub(there.bytes) }
    }

    /// The larger of both, in each respect.
    #[must_use]
    pub fn at_least(self, other: Self) -> Self {
        Self { uses: self.uses.max(other.uses), bytes: self.bytes.max(other.bytes) }
    }
}

impl UsageLimits {
    /// Whether it bounds nothing.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.uses.is_none() && self.bytes.is_none()
    }

    /// Whether that much is as much as one of the bounds, or more.
    #[must_use]
    pub fn is_reached_by(&self, used: Usage) -> bool {
        self.uses.is_some_and(|bound| used.uses >= bound) || self.bytes.is_some_and(|bound| used.bytes >= bound)
    }

    /// What is left up to the bounds.
    fn left(&self, used: Usage) -> Usage {
        let left = |bound: Option<u64>, used: u64| bound.map_or(u64::MAX, |bound| bound.saturating_sub(used));
        Usage { uses: left(self.uses, used.uses), bytes: left(self.bytes, used.bytes) }
    }

    fn changed(self, change: LimitsChange) -> Self {
        Self { uses: change.uses.unwrap_or(self.uses), bytes: change.bytes.unwrap_or(self.bytes) }
    }
}

impl UsageChange {
    /// Sets each bound that a policy has.
    #[must_use]
    pub fn to(policy: UsagePolicy) -> Self {
        let set = |limits: UsageLimits| LimitsChange { uses: limits.uses.map(Some), bytes: limits.bytes.map(Some) };
        Self { rotate_after: set(policy.rotate_after), ceiling: set(policy.ceiling) }
    }

    /// Whether a ceiling is set, moved or removed.
    #[must_use]
    pub const fn is_about_ceiling(&self) -> bool {
        self.ceiling.uses.is_some() || self.ceiling.bytes.is_some()
    }
}

impl UsagePolicy {
    /// Whether the use of the key's versions is counted at all.
    #[must_use]
    pub const fn is_counted(&self) -> bool {
        !self.rotate_after.is_none() || !self.ceiling.is_none()
    }

    /// With that change.
    ///
    /// # Errors
    /// As [`UsagePolicy::check`].
    pub fn changed(self, change: UsageChange, algorithm: Algorithm) -> Result<Self, Refusal> {
        let UsageChange { rotate_after, ceiling } = change;
        let changed =
            Self { rotate_after: self.rotate_after.changed(rotate_after), ceiling: self.ceiling.changed(ceiling) };
        changed.check(algorithm)?;
        Ok(changed)
    }

    /// Whether it can be kept.
    ///
    /// # Errors
    /// `InvalidArgument` for a bound of nothing, one after which a key would do little but rotate, one past the ceiling, and for a key
    /// of which nothing is counted.
    pub fn check(&self, algorithm: Algorithm) -> Result<(), Refusal> {
        let Self { rotate_after, ceiling } = self;
        if self.is_counted() && algorithm.purpose() == Purpose::AsymmetricDecrypt {
            let message =
                format!("what is encrypted to the public half of {algorithm} is not counted: it has no usage limits");
            return Err(refuse::invalid(message));
        }
        if !rotate_after.is_none()
            && let Some(most) = ceiling.bytes.filter(|most| *most < ROTATE_AFTER_BYTES_MIN)
        {
            let message = format!(
                "with a ceiling of {most} bytes a key would do little but rotate: at least {ROTATE_AFTER_BYTES_MIN}"
            );
            return Err(refuse::invalid(message));
        }
        for (what, after, least, most) in [
            ("uses", rotate_after.uses, ROTATE_AFTER_USES_MIN, ceiling.uses),
            ("bytes", rotate_after.bytes, ROTATE_AFTER_BYTES_MIN, ceiling.bytes),
        ] {
            if after.into_iter().chain(most).any(|bound| bound > USAGE_BOUND_MAX) {
                return Err(refuse::invalid(format!(
                    "a bound of more than {USAGE_BOUND_MAX} {what} bounds nothing: leave it out"
                )));
            }
            if most == Some(0) {
                return Err(refuse::invalid(format!(
                    "a ceiling of 0 {what} lets nobody use the key: disable it instead"
                )));
            }
            if let Some(after) = after.filter(|after| *after < least) {
                return Err(refuse::invalid(format!(
                    "a rotation after {after} {what} is too soon: at least after {least}"
                )));
            }
            if let Some((after, most)) = after.zip(most).filter(|(after, most)| after > most) {
                let message = format!("a rotation after {after} {what} never comes with a ceiling of {most}");
                return Err(refuse::invalid(message));
            }
        }
        Ok(())
    }

    /// Whether the next version is due: so much was handed out as it says, or so little is left up to the ceiling that the largest message may not
    /// fit, which would otherwise be refused with no rotation to follow.
    #[must_use]
    pub fn is_due(&self, used: Usage) -> bool {
        let Usage { uses, bytes } = self.ceiling.left(used);
        let used_up = uses == 0 || bytes < UNARY_PLAINTEXT_BYTES_MAX as u64;
        !self.rotate_after.is_none() && (self.rotate_after.is_reached_by(used) || used_up)
    }

    /// How near to the ceiling that is.
    #[must_use]
    pub fn level(&self, used: Usage) -> UsageLevel {
        let share = |bound: Option<u64>, used: u64| match bound {
            Some(bound) if used >= bound => UsageLevel::Exhausted,
            Some(bound) if u128::from(used) * 20 >= u128::from(bound) * 19 => UsageLevel::Critical,
            Some(bound) if u128::from(used) * 5 >= u128::from(bound) * 4 => UsageLevel::Warning,
            _ => UsageLevel::Low,
        };
        share(self.ceiling.uses, used.uses).max(share(self.ceiling.bytes, used.bytes))
    }
}

impl VersionUsage {
    /// Nothing so far.
    #[must_use]
    pub fn starting(now: Time) -> Self {
        Self { granted: Usage::default(), since: now, at: now, blocks: 0 }
    }

    /// Hands out a block to one of `nodes`: in each respect of which `least` is more than nothing a share of what is left, at least that
    /// much, and never more than the ceiling leaves. What nothing bounds comes without end, and is not counted.
    ///
    /// # Errors
    /// `UsageExhausted` when the ceiling does not leave `least`.
    pub fn grant(&mut self, policy: &UsagePolicy, least: Usage, nodes: u64, now: Time) -> Result<Usage, Refusal> {
        let UsagePolicy { rotate_after, ceiling } = policy;
        let left = ceiling.left(self.granted);
        if left.minus(least).is_none() {
            return Err(exhausted(ceiling, left, least));
        }
        // A rotation may come a little late, so its share stays the same; what the ceiling leaves shrinks.
        let share = |least: u64, left: u64, after: Option<u64>, most: u64| {
            let of = left.min(after.unwrap_or(u64::MAX));
            let share = of / USAGE_BLOCK_SHARE.saturating_mul(nodes.max(1));
            match least {
                _ if of == u64::MAX => u64::MAX,
                0 => 0,
                least => share.clamp(1, most).max(least).min(left),
            }
        };
        let block = Usage {
            uses: share(least.uses, left.uses, rotate_after.uses, USAGE_BLOCK_USES_MAX),
            bytes: share(least.bytes, left.bytes, rotate_after.bytes, USAGE_BLOCK_BYTES_MAX),
        };
        let counted = |amount: u64| if amount == u64::MAX { 0 } else { amount };
        self.granted = self.granted.plus(Usage { uses: counted(block.uses), bytes: counted(block.bytes) });
        (self.at, self.blocks) = (now, self.blocks.saturating_add(1));
        Ok(block)
    }

    /// When that much will have been handed out if it goes on as it did so far: a guess; or when the last block was, once it has. None before
    /// [`PACE_KNOWN_AFTER`] and more than two blocks for each of `nodes`, which has one before it has spent any.
    #[must_use]
    pub fn reaches(&self, limits: &UsageLimits, nodes: u64, now: Time) -> Option<Time> {
        let passed = u128::from(now.since(self.since).0);
        let known = self.blocks > nodes.saturating_mul(2) && now.since(self.since) >= PACE_KNOWN_AFTER;
        let one = |bound: Option<u64>, used: u64| match bound {
            Some(bound) if used >= bound => Some(self.at),
            Some(bound) if used > 0 && known => {
                let whole = passed.saturating_mul(u128::from(bound)) / u128::from(used);
                Some(self.since.after(Millis(u64::try_from(whole).unwrap_or(u64::MAX))))
            }
            _ => None,
        };
        let (uses, bytes) = (one(limits.uses, self.granted.uses), one(limits.bytes, self.granted.bytes));
        uses.into_iter().chain(bytes).min()
    }
}

impl UsageLevel {
    /// Its name in metrics and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Exhausted => "exhausted",
        }
    }
}

/// What is said when a ceiling leaves too little.
fn exhausted(ceiling: &UsageLimits, left: Usage, least: Usage) -> Refusal {
    let (bound, what) = if left.uses < least.uses { (ceiling.uses, "uses") } else { (ceiling.bytes, "bytes") };
    let bound = bound.unwrap_or_default();
    let message = format!(
        "this version of the key has reached its ceiling of {bound} {what}: rotate the key, or raise the ceiling"
    );
    Refusal::new(Reason::UsageExhausted, message)
}

#[cfg(test)]
#[path = "usage_tests.rs"]
mod tests;

//! What an admin may change about a key.

use serde::{Deserialize, Serialize};
use types::Millis;

use crate::{Labels, UsageChange, UsagePolicy};

/// What a key is made with.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct KeySettings {
    /// None: it does not rotate by itself.
    pub rotation_period: Option<Millis>,
    /// For people and filters.
    pub labels: Labels,
    /// Nothing of it is destroyed until this is taken back.
    pub deletion_protection: bool,
    /// From asking for a destruction to the destruction; none: 30 days, or the namespace's floor where that is longer.
    pub waiting_period: Option<Millis>,
    /// A rotation by time may come this much sooner.
    pub rotation_jitter: Millis,
    /// How much each version is used.
    pub usage: UsagePolicy,
}

/// What is changed about it; none: it stays.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct KeyChange {
    /// None within: it no longer rotates by itself.
    pub rotation_period: Option<Option<Millis>>,
    /// All of them.
    pub labels: Option<Labels>,
    /// Whether it is protected.
    pub deletion_protection: Option<bool>,
    /// For destructions that are asked for from now on.
    pub waiting_period: Option<Millis>,
    /// The lowest version that may be used.
    pub min_version: Option<u32>,
    /// Of the schedule.
    pub rotation_jitter: Option<Millis>,
    /// How much each version is used.
    pub usage: UsageChange,
}

/// What no key of a namespace may go below.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Floors {
    /// Of rotation periods.
    pub rotation: Millis,
    /// Of waiting periods.
    pub waiting_period: Millis,
}

impl KeySettings {
    /// With that schedule and nothing else.
    #[must_use]
    pub fn rotating(rotation_period: Option<Millis>) -> Self {
        Self { rotation_period, ..Self::default() }
    }
}

impl KeyChange {
    /// Whether something may be used less after it, or by fewer: lower versions not at all, or any for less. When a key rotates next is nobody's
    /// right.
    #[must_use]
    pub const fn takes_away(&self) -> bool {
        self.min_version.is_some() || self.usage.is_about_ceiling()
    }

    /// Of the schedule only.
    #[must_use]
    pub fn of_rotation(rotation_period: Option<Millis>) -> Self {
        Self { rotation_period: Some(rotation_period), ..Self::default() }
    }
}

//! What callers saw: one record a call, grouped by key.

/// Nanoseconds since the run began, on one monotonic clock of the process that called.
pub type Nanos = u64;

/// A call on a key, from before it was sent until after its answer came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// The caller: one call after the other.
    pub process: u32,
    /// When it was sent.
    pub began: Nanos,
    /// When its outcome was known.
    pub ended: Nanos,
    /// What was asked.
    pub call: Call,
    /// What came of it.
    pub outcome: Outcome,
}

/// What is asked of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// Make it, with version 1.
    Create,
    /// Make the next version.
    Rotate,
    /// Let it be used, or not.
    SetEnabled(bool),
    /// Describe it.
    Get,
    /// Encrypt or decrypt under it: answered from what a node has applied, under its lease.
    Use,
}

/// What a caller knows afterwards. Reads that failed say nothing and are not recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was done; the version is the one that was made, read or used.
    Done {
        /// Version made, read or used; of [`Call::SetEnabled`] nothing is told.
        version: u32,
        /// Only [`Call::Get`] tells.
        enabled: bool,
    },
    /// Refused: there is no such key.
    NotFound,
    /// Refused: the key is disabled.
    Disabled,
    /// Refused: the name is taken.
    Taken,
    /// No answer: it may have happened, it may happen yet, or never.
    Unknown,
}

impl Operation {
    /// Whether it changes the key when it is carried out.
    #[must_use]
    pub const fn is_write(&self) -> bool {
        matches!(self.call, Call::Create | Call::Rotate | Call::SetEnabled(_))
    }

    /// Whether it may have taken effect.
    #[must_use]
    pub const fn may_have_happened(&self) -> bool {
        matches!(self.outcome, Outcome::Done { .. } | Outcome::Unknown)
    }

    /// Whether the answer claims to be as new as everything acknowledged before the call.
    #[must_use]
    pub const fn is_linearizable(&self) -> bool {
        !matches!(self.call, Call::Use)
    }

    /// The version that was told, if one was.
    #[must_use]
    pub const fn version(&self) -> Option<u32> {
        match (self.call, self.outcome) {
            (Call::SetEnabled(_), _) => None,
            (_, Outcome::Done { version, .. }) => Some(version),
            _ => None,
        }
    }
}

//! The record of one voter's X.509 authority and the steps it may take. Its private key is not here: it never leaves the
//! node that made it. When a step is due is [`crate::cycle`]'s question; this file only knows which steps exist.

use serde::{Deserialize, Serialize};
use types::limits::{AUTHORITY_DRAINING, BUNDLE_ROOTS_MAX};
use types::{NodeId, Reason, Refusal, SpkiHash, Time, TrustDomain};

use crate::lint;

/// Where an authority is in its life. Only `Active` signs; `Published`, `Active`, `Draining` and `Tainted` are in the
/// bundle.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum AuthorityState {
    /// Its node has made it and told the cluster; nobody trusts it yet.
    Generated,
    /// In the bundle, standing by until its trust is known everywhere.
    Published,
    /// Signs.
    Active,
    /// Signs no more; its SVIDs run out.
    Draining,
    /// Out of the bundle; the record may be dropped.
    Retired,
    /// Its key may be known to others: signs no more, and leaves the bundle once its SVIDs have been issued anew.
    Tainted,
}

/// A step in an authority's life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Step {
    /// Into the bundle.
    Publish,
    /// Begin to sign.
    Activate,
    /// Stop signing.
    Drain,
    /// Out of the bundle.
    Retire,
    /// The key may be known to others.
    Taint,
}

/// One voter's authority, as every node knows it. Named by the hash of its key, which is never used twice.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Authority {
    /// The voter that holds the key.
    pub node: NodeId,
    /// SHA-256 of the key's SPKI: the authority's name.
    pub key: SpkiHash,
    /// Its self-signed certificate, DER.
    pub certificate: Vec<u8>,
    /// Where it is in its life.
    pub state: AuthorityState,
    /// When it was made known.
    pub generated: Time,
    /// When it entered the bundle.
    pub published: Option<Time>,
    /// When it began to sign.
    pub activated: Option<Time>,
    /// When it stopped signing, by draining or by taint.
    pub ended: Option<Time>,
    /// The certificate's NotAfter.
    pub not_after: Time,
    /// The bundle sequence that first held it; agents acknowledge sequences. Zero before it is published.
    pub published_sequence: u64,
}

impl Authority {
    /// Takes a certificate that a voter made for itself, after linting it afresh: whoever proposes it is not believed.
    /// Deterministic, so it may run in `apply`.
    ///
    /// # Errors
    /// `InvalidArgument` with the broken rule when it is not an authority certificate of that trust domain.
    pub fn generated(
        node: NodeId,
        certificate: Vec<u8>,
        trust_domain: &TrustDomain,
        now: Time,
    ) -> Result<Self, Refusal> {
        let facts = lint::authority(&certificate, trust_domain).map_err(|failure| {
            Refusal::new(Reason::InvalidArgument, format!("not an authority certificate: {failure}"))
        })?;
        Ok(Self {
            node,
            key: facts.key,
            certificate,
            state: AuthorityState::Generated,
            generated: now,
            published: None,
            activated: None,
            ended: None,
            not_after: facts.not_after,
            published_sequence: 0,
        })
    }

    /// Whether the bundle holds it.
    #[must_use]
    pub const fn is_in_bundle(&self) -> bool {
        use AuthorityState as S;
        matches!(self.state, S::Published | S::Active | S::Draining | S::Tainted)
    }

    /// The last moment at which it may sign, so that even the longest SVID ends before it does.
    #[must_use]
    pub const fn signs_until(&self) -> Time {
        self.not_after.before(AUTHORITY_DRAINING)
    }

    /// Takes a step. `sequence` is the bundle sequence that the step leads to, used by `Publish`.
    ///
    /// # Errors
    /// `PreconditionFailed` when the step does not follow from the state: another entry has done it, or it never may.
    pub fn advance(&mut self, step: Step, now: Time, sequence: u64) -> Result<(), Refusal> {
        use AuthorityState as S;
        match (self.state, step) {
            (S::Generated, Step::Publish) => {
                self.published = Some(now);
                self.published_sequence = sequence;
                self.state = S::Published;
            }
            (S::Published, Step::Activate) if now < self.signs_until() => {
                self.activated = Some(now);
                self.state = S::Active;
            }
            (S::Active, Step::Drain) => {
                self.ended = Some(now);
                self.state = S::Draining;
            }
            (S::Generated | S::Published | S::Draining | S::Tainted, Step::Retire) => self.state = S::Retired,
            (S::Generated | S::Published | S::Active | S::Draining, Step::Taint) => {
                self.ended = self.ended.or(Some(now));
                self.state = S::Tainted;
            }
            (state, step) => {
                let message = format!("authority `{}` is {state}, so it cannot {step} now; look at it again", self.key);
                return Err(Refusal::new(Reason::PreconditionFailed, message));
            }
        }
        Ok(())
    }
}

/// Whether the bundle has room for one more root.
///
/// # Errors
/// `LimitExceeded` when it has not.
pub fn check_room<'a>(authorities: impl IntoIterator<Item = &'a Authority>) -> Result<(), Refusal> {
    let roots = authorities.into_iter().filter(|authority| authority.is_in_bundle()).count();
    if roots < BUNDLE_ROOTS_MAX {
        return Ok(());
    }
    let message = format!("the bundle holds {BUNDLE_ROOTS_MAX} roots already, wait until a draining one retires");
    Err(Refusal::new(Reason::LimitExceeded, message))
}

impl std::fmt::Display for AuthorityState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Generated => "generated",
            Self::Published => "published",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Retired => "retired",
            Self::Tainted => "tainted",
        })
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Publish => "be published",
            Self::Activate => "be activated",
            Self::Drain => "drain",
            Self::Retire => "retire",
            Self::Taint => "be tainted",
        })
    }
}

#[cfg(test)]
mod tests;

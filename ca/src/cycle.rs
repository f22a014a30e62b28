//! When a step in an authority's life is due: a pure question to the records, asked on every tick and again by `apply`,
//! so that it makes no difference how often or by whom a step is proposed. ADR 0004 tells why the cycle is as it is.
//!
//! ```text
//! voter's own time     0          60 h         120 h        148 h    168 h
//!   n        publish → stand by → active     → drain      → retire   NotAfter
//!   n + 1                         publish    → stand by … → active …
//! ```

use std::collections::BTreeSet;

use types::limits::{AUTHORITY_ACTIVE, AUTHORITY_DRAINING, SVID_TTL_MAX};
use types::{Millis, NodeId, Reason, Refusal, SpkiHash, Time};

use crate::authority::check_room;
use crate::{Authority, AuthorityState, Step};

/// Something that ought to happen now.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Due {
    /// That voter has nothing standing by: it draws a key, seals it on its disk and proposes the certificate.
    Generate(NodeId),
    /// That authority takes that step.
    Step(SpkiHash, Step),
}

/// An agent that may hold unexpired SVIDs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holder {
    /// The highest bundle sequence that it has pushed to every attached stream; zero when it never did.
    pub acknowledged: u64,
    /// When the last SVID issued to it ends; [`Time::NEVER`] when nobody knows.
    pub live_until: Time,
}

/// What the cluster knows besides the records.
#[derive(Clone, Copy, Debug)]
pub struct Knowledge<'a> {
    /// The voters: each has an authority of its own.
    pub voters: &'a BTreeSet<NodeId>,
    /// Every agent that may hold unexpired SVIDs. Leaving one out makes activation too early; naming one too many only
    /// delays it.
    pub holders: &'a [Holder],
    /// The largest TTL that any unexpired SVID may have: of all entries, [`types::limits::SVID_TTL_DEFAULT`] while there
    /// is none. After an entry's TTL was lowered, the old value counts for as long as it lasted.
    pub svid_ttl_max: Millis,
}

/// Everything that is due, in the order in which to propose it: activations come before the drains that wait for them.
#[must_use]
pub fn what_is_due(now: Time, authorities: &[Authority], knowledge: Knowledge<'_>) -> Vec<Due> {
    use AuthorityState as S;
    let mut due = Vec::new();
    for authority in authorities {
        let step = match authority.state {
            S::Generated | S::Published if is_spent(authority, now, knowledge) => Step::Retire,
            S::Generated if check_room(authorities).is_ok() => Step::Publish,
            S::Published if check_activation(now, authority, authorities, knowledge).is_ok() => Step::Activate,
            S::Active if must_drain(now, authority, authorities, knowledge) => Step::Drain,
            S::Draining if now >= trusted_until(authority) => Step::Retire,
            S::Tainted if now >= reissued_by(authority, knowledge.svid_ttl_max) => Step::Retire,
            _ => continue,
        };
        due.push(Due::Step(authority.key, step));
    }
    // Activations first: between the two entries the voter has two that may sign rather than none.
    due.sort_by_key(|due| !matches!(due, Due::Step(_, Step::Activate)));
    let lacks_standby = |node: &&NodeId| !has(authorities, **node, |a| stands_by(a) && !is_spent(a, now, knowledge));
    due.extend(knowledge.voters.iter().filter(lacks_standby).map(|node| Due::Generate(*node)));
    due
}

/// Whether an authority may begin to sign (invariant 8). `apply` asks this again for every proposed activation.
///
/// The first of a voter's authorities begins as soon as its root is known wherever it must be; a later one also waits for
/// its predecessor's time to end. Known means: no agent can hold an SVID, or the root has been in the bundle for the
/// largest TTL in use and every agent that may hold an unexpired SVID has acknowledged it.
///
/// # Errors
/// `PreconditionFailed`, saying what it waits for.
pub fn check_activation(
    now: Time,
    authority: &Authority,
    authorities: &[Authority],
    knowledge: Knowledge<'_>,
) -> Result<(), Refusal> {
    let waits = |what: String| Err(Refusal::new(Reason::PreconditionFailed, what));
    let Some(published) = authority.published.filter(|_| authority.state == AuthorityState::Published) else {
        return waits(format!("authority `{}` is {}, not published", authority.key, authority.state));
    };
    if now >= authority.signs_until() {
        return waits(format!("authority `{}` is too old to begin, the voter makes another", authority.key));
    }
    if has(authorities, authority.node, |other| other.state == AuthorityState::Active && now < served_until(other)) {
        return waits(format!("authority `{}` stands by until its predecessor has served", authority.key));
    }
    if no_svid_can_exist(now, authorities, knowledge, published) {
        return Ok(());
    }
    let settled = published.after(knowledge.svid_ttl_max);
    if now < settled {
        return waits(format!("authority `{}` must be in the bundle until {settled} before it signs", authority.key));
    }
    match knowledge.holders.iter().filter(|holder| !knows(holder, authority, now, knowledge)).count() {
        0 => Ok(()),
        silent => waits(format!("authority `{}` waits for {silent} agents to acknowledge its root", authority.key)),
    }
}

/// Whether an agent may be issued an SVID. One that has not acknowledged a root that has settled is refused until it
/// does: so its last SVID runs out, and it can delay an activation by one TTL at most, never block it. An agent
/// acknowledges what it has pushed to every attached stream, so one without streams acknowledges at once.
///
/// # Errors
/// `PreconditionFailed`, telling the agent which sequence to acknowledge.
pub fn check_holder<'a>(
    now: Time,
    acknowledged: u64,
    authorities: impl IntoIterator<Item = &'a Authority>,
    svid_ttl_max: Millis,
) -> Result<(), Refusal> {
    let settled = |authority: &&Authority| {
        matches!(authority.state, AuthorityState::Published | AuthorityState::Active)
            && authority.published.is_some_and(|published| now >= published.after(svid_ttl_max))
    };
    let needed = authorities.into_iter().filter(settled).map(|authority| authority.published_sequence).max();
    match needed {
        Some(sequence) if sequence > acknowledged => Err(Refusal::new(
            Reason::PreconditionFailed,
            format!("this agent has acknowledged bundle {acknowledged}, push bundle {sequence} to its workloads first"),
        )),
        _ => Ok(()),
    }
}

/// When an active authority's turn is over.
fn served_until(authority: &Authority) -> Time {
    let turn = authority.activated.unwrap_or(Time::EPOCH).after(AUTHORITY_ACTIVE);
    turn.min(authority.signs_until())
}

/// An active authority hands over to its successor. When that is not ready yet, because an agent is silent, it serves on
/// rather than leave the voter without one, but never past the last moment at which its SVIDs still end before it does.
fn must_drain(now: Time, authority: &Authority, authorities: &[Authority], knowledge: Knowledge<'_>) -> bool {
    let successor = |other: &Authority| {
        let is_ready = check_activation(now, other, authorities, knowledge).is_ok();
        other.key != authority.key && (other.state == AuthorityState::Active || is_ready)
    };
    let is_voter = knowledge.voters.contains(&authority.node);
    !is_voter
        || now >= authority.signs_until()
        || (now >= served_until(authority) && has(authorities, authority.node, successor))
}

/// Until when SVIDs of an authority that signs no more may be unexpired.
fn trusted_until(authority: &Authority) -> Time {
    authority.ended.unwrap_or(Time::EPOCH).after(AUTHORITY_DRAINING).min(authority.not_after)
}

/// When everything that a tainted authority signed has been replaced by others: workloads renew at half-life, so the largest
/// TTL in use is enough. Until then its root stays, or every workload that it served would be cut off at once.
fn reissued_by(authority: &Authority, svid_ttl_max: Millis) -> Time {
    authority.ended.unwrap_or(Time::EPOCH).after(svid_ttl_max).min(trusted_until(authority))
}

/// Whether an authority that never signed is of no use any more.
fn is_spent(authority: &Authority, now: Time, knowledge: Knowledge<'_>) -> bool {
    !knowledge.voters.contains(&authority.node) || now >= authority.signs_until()
}

fn stands_by(authority: &Authority) -> bool {
    matches!(authority.state, AuthorityState::Generated | AuthorityState::Published)
}

fn has(authorities: &[Authority], node: NodeId, holds: impl Fn(&Authority) -> bool) -> bool {
    authorities.iter().any(|authority| authority.node == node && holds(authority))
}

/// Either the records prove it (nothing that ever signed can have an SVID left), or the agents do.
fn no_svid_can_exist(now: Time, authorities: &[Authority], knowledge: Knowledge<'_>, published: Time) -> bool {
    use AuthorityState as S;
    let ended = |authority: &Authority| match authority.state {
        S::Generated | S::Published | S::Retired => true,
        S::Active => now >= authority.not_after,
        S::Draining | S::Tainted => {
            authority.activated.is_none()
                || now >= authority.ended.unwrap_or(now).after(SVID_TTL_MAX).min(authority.not_after)
        }
    };
    authorities.iter().all(ended)
        || knowledge.holders.iter().all(|holder| now >= live_until(holder, published, knowledge))
}

fn knows(holder: &Holder, authority: &Authority, now: Time, knowledge: Knowledge<'_>) -> bool {
    let published = authority.published.unwrap_or(now);
    holder.acknowledged >= authority.published_sequence || now >= live_until(holder, published, knowledge)
}

/// An agent that keeps silent is issued nothing once the root has settled ([`check_holder`]), so whatever it holds ends
/// one TTL later, known or not.
fn live_until(holder: &Holder, published: Time, knowledge: Knowledge<'_>) -> Time {
    holder.live_until.min(published.after(knowledge.svid_ttl_max).after(knowledge.svid_ttl_max))
}

#[cfg(test)]
mod tests;

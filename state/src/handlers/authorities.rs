//! The voters' X.509 authorities: which may join the bundle, and which step may be taken now, are `ca`'s answers.

use ca::{Authority, AuthorityState, Step};
use types::{NodeId, Reason, Refusal, SpkiHash, Time};

use crate::command::{AuthorityStep, Reply};
use crate::outcome::Effect;
use crate::turn::{Handled, Turn, refuse};

/// A voter's next authority enters the bundle and stands by.
pub(crate) fn publish(
    turn: &mut Turn<'_>,
    node: NodeId,
    certificate: &[u8],
    generated: Time,
    not_after: Time,
) -> Handled {
    let Some(trust_domain) = turn.state.trust_domain().cloned() else {
        return refuse(Reason::NotInitialized, "the cluster has not been formed yet");
    };
    if !turn.state.node_table().contains(&node) {
        return Err(Refusal::not_found("node", &node));
    }
    let mut authority = Authority::generated(node, certificate.to_vec(), &trust_domain, turn.now)?;
    if authority.not_after != not_after || generated > not_after {
        return refuse(Reason::InvalidArgument, "the authority's times are not those of its certificate");
    }
    if turn.state.authority_table().contains(&authority.key) {
        return refuse(Reason::AlreadyExists, format!("authority `{}` was published already", authority.key));
    }
    // One that has outlived its use is in nobody's way: it is retired when it may be, and not while time is held.
    let standing_by = |other: &Authority| {
        other.node == node && other.state == AuthorityState::Published && turn.now < other.signs_until()
    };
    if let Some(other) = turn.state.authorities().find(|other| standing_by(other)) {
        let message = format!("authority `{}` of {node} stands by already", other.key);
        return refuse(Reason::PreconditionFailed, message);
    }
    if turn.now >= authority.signs_until() {
        return refuse(Reason::InvalidArgument, "the authority is too old to sign anything, make another");
    }
    ca::authority::check_room(turn.state.authorities())?;
    authority.advance(Step::Publish, turn.now, turn.state.sequence_at(turn.revision))?;
    sweep(turn);
    turn.bump_bundle();
    turn.fact_text("authority", &authority.key.to_hex());
    turn.fact_text("not_after", &not_after.to_rfc3339());
    turn.effect(Effect::AuthorityChanged(authority.key));
    turn.state.put_authority(authority);
    Ok(Reply::Done)
}

/// Drops the records of authorities whose certificates have run out: nothing can hold them any more.
fn sweep(turn: &mut Turn<'_>) {
    let gone = |authority: &&Authority| authority.state == AuthorityState::Retired && turn.now >= authority.not_after;
    let gone: Vec<SpkiHash> = turn.state.authorities().filter(gone).map(|authority| authority.key).collect();
    for key in gone {
        turn.state.remove_authority(&key);
    }
}

/// Takes a step that is due. Whoever proposes it twice, or too early, is refused, so ticks may repeat.
pub(crate) fn advance(turn: &mut Turn<'_>, key: &SpkiHash, step: AuthorityStep) -> Handled {
    let Some(mut authority) = turn.state.authority(key).cloned() else {
        return Err(Refusal::not_found("authority", key));
    };
    let step = match step {
        AuthorityStep::Activate => Step::Activate,
        AuthorityStep::Drain => Step::Drain,
        AuthorityStep::Retire => Step::Retire,
    };
    if !turn.state.authority_steps_due(turn.now).contains(&(*key, step)) {
        let message = format!("authority `{key}` is {}, and it is not time for it to {step}", authority.state);
        return refuse(Reason::NotDue, message);
    }
    let was_in_bundle = authority.is_in_bundle();
    authority.advance(step, turn.now, turn.state.sequence_at(turn.revision))?;
    if authority.is_in_bundle() != was_in_bundle {
        turn.bump_bundle();
    }
    turn.fact_text("state", &authority.state.to_string());
    turn.fact_count("node", authority.node.0);
    turn.effect(Effect::AuthorityChanged(*key));
    turn.state.put_authority(authority);
    Ok(Reply::Done)
}

/// Why authorities end before their time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// Their keys are gone with their node.
    Lost,
    /// Their keys may be known to others.
    Compromised,
}

/// Authorities that sign no more; those that never signed leave the bundle at once.
pub(crate) fn end(turn: &mut Turn<'_>, which: impl Fn(&Authority) -> bool, why: Ending) -> Result<(), Refusal> {
    let own: Vec<_> = turn.state.authorities().filter(|authority| which(authority)).cloned().collect();
    for mut authority in own {
        let step = match (authority.state, why) {
            (AuthorityState::Generated | AuthorityState::Published, _) => Step::Retire,
            (AuthorityState::Active, Ending::Lost) => Step::Drain,
            (AuthorityState::Active | AuthorityState::Draining, Ending::Compromised) => Step::Taint,
            (AuthorityState::Draining, Ending::Lost) | (AuthorityState::Retired | AuthorityState::Tainted, _) => {
                continue;
            }
        };
        let was_in_bundle = authority.is_in_bundle();
        authority.advance(step, turn.now, turn.state.sequence_at(turn.revision))?;
        if authority.is_in_bundle() != was_in_bundle {
            turn.bump_bundle();
        }
        turn.effect(Effect::AuthorityChanged(authority.key));
        turn.state.put_authority(authority);
    }
    Ok(())
}

//! Workload agents: enrolled by a token that names them, known from then on by their key, banned for good by one entry.

use types::limits::AGENTS_MAX;
use types::{AgentName, Principal, Reason, Refusal, SpkiHash, Time, TokenId};

use super::{checks, tokens};
use crate::command::{JoinKind, Reply};
use crate::outcome::Effect;
use crate::rows::{Agent, Withdrawn};
use crate::turn::{Handled, Turn, refuse};

/// Spends a token and enrols the agent it names, in place of the key that the agent had.
pub(crate) fn redeem(
    turn: &mut Turn<'_>,
    id: &TokenId,
    secret_hash: &[u8; 32],
    spki: SpkiHash,
    expires: Time,
) -> Handled {
    let token = tokens::presented(turn, id, secret_hash)?;
    let JoinKind::Agent(name) = token.kind else { return tokens::rejected() };
    let principal = Principal::Agent(name.clone());
    checks::enrolment(expires, turn.now)?;
    checks::fresh_spki(turn.state, &spki, &principal)?;
    let old = turn.state.agent(&name).cloned();
    match &old {
        None => checks::room("agents", turn.state.agent_table().len(), AGENTS_MAX)?,
        // It was banned after its token was made.
        Some(old) if old.revoked.is_some() => return tokens::rejected(),
        Some(_) => {}
    }

    turn.state.remove_token(id);
    if let Some(old) = old.filter(|old| old.spki != spki) {
        turn.state.put_spent(old.spki, principal.clone());
        turn.withdraw(Withdrawn::AgentReplaced(name.clone(), old.spki));
    }
    let row = Agent { spki, enrolled: turn.now, expires, revoked: None, acknowledged: 0, revision: turn.revision };
    turn.state.put_agent(name.clone(), row);
    turn.bump_global();
    turn.effect(Effect::PrincipalChanged(principal));
    turn.fact_text("agent", name.as_str());
    turn.fact_text("spki_sha256", &spki.to_hex());
    turn.fact_text("made_by", &token.made_by.to_string());
    Ok(Reply::Agent(name))
}

pub(crate) fn revoke(turn: &mut Turn<'_>, name: &AgentName) -> Handled {
    let Some(row) = turn.state.agent(name).cloned() else {
        return Err(Refusal::not_found("agent", name));
    };
    if row.revoked.is_some() {
        return refuse(Reason::PreconditionFailed, format!("agent `{name}` is revoked already"));
    }
    let principal = Principal::Agent(name.clone());
    turn.state.put_spent(row.spki, principal.clone());
    turn.withdraw(Withdrawn::Agent(name.clone(), row.spki));
    let now = turn.now;
    turn.state.put_agent(name.clone(), Agent { revoked: Some(now), revision: turn.revision, ..row });
    turn.bump_global();
    turn.effect(Effect::PrincipalChanged(principal));
    Ok(Reply::Done)
}

/// The agent has pushed a bundle to every attached stream; activation of an authority waits for that.
pub(crate) fn acknowledge(turn: &mut Turn<'_>, name: &AgentName, sequence: u64) -> Handled {
    let Some(row) = turn.state.agent(name).cloned() else {
        return Err(Refusal::not_found("agent", name));
    };
    if row.revoked.is_some() || turn.now >= row.expires {
        return refuse(Reason::CredentialRejected, format!("agent `{name}` is revoked or its enrolment has expired"));
    }
    if sequence > turn.state.bundle_sequence() {
        let message = format!("bundle {sequence} does not exist yet, the newest is {}", turn.state.bundle_sequence());
        return refuse(Reason::InvalidArgument, message);
    }
    // An acknowledgement that was overtaken is no error and takes nothing back.
    if sequence > row.acknowledged {
        turn.state.put_agent(name.clone(), Agent { acknowledged: sequence, ..row });
    }
    turn.fact_count("sequence", sequence);
    Ok(Reply::Done)
}

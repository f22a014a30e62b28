//! Join tokens: each admits one node or one agent, once, within its time. Whoever presents an unknown, spent or expired
//! one, or the wrong secret, gets one and the same answer, and the token stays unspent.

use types::limits::{JOIN_TOKEN_TTL_MAX, JOIN_TOKENS_MAX};
use types::{Reason, Refusal, Time, TokenId};

use super::checks;
use crate::command::{JoinKind, Reply};
use crate::describe;
use crate::rows::Token;
use crate::turn::{Handled, Turn, refuse};

/// Expired tokens that one entry clears away: more than one entry can add, so they never pile up.
const SWEPT_MAX: usize = 16;

pub(crate) fn create(
    turn: &mut Turn<'_>,
    id: TokenId,
    secret_hash: [u8; 32],
    kind: &JoinKind,
    expires: Time,
) -> Handled {
    checks::deadline("a join token", expires, turn.now, JOIN_TOKEN_TTL_MAX)?;
    if turn.state.token_table().contains(&id) {
        return refuse(Reason::AlreadyExists, "the token id is taken, draw another");
    }
    if let JoinKind::Agent(name) = kind
        && turn.state.agent(name).is_some_and(|agent| agent.revoked.is_some())
    {
        return refuse(Reason::PreconditionFailed, format!("agent `{name}` is revoked for good, choose another name"));
    }
    if let JoinKind::Replacement(old) = kind
        && turn.state.node(*old).is_none()
    {
        return Err(Refusal::not_found("node", old));
    }
    let expired = turn.state.expired_tokens(turn.now).take(SWEPT_MAX).collect::<Vec<_>>();
    checks::room("join tokens", turn.state.token_table().len().saturating_sub(expired.len()), JOIN_TOKENS_MAX)?;
    for old in &expired {
        turn.state.remove_token(old);
    }
    let row = Token { secret_hash, kind: kind.clone(), expires, made_by: turn.actor.clone() };
    turn.state.put_token(id, row);
    turn.fact_text("admits", &describe::join_kind(kind));
    turn.fact_text("expires", &expires.to_rfc3339());
    Ok(Reply::Done)
}

/// The token that was presented, if it opens anything now.
pub(crate) fn presented(turn: &Turn<'_>, id: &TokenId, secret_hash: &[u8; 32]) -> Result<Token, Refusal> {
    match turn.state.token_table().get(id) {
        // Comparing hashes of a secret in variable time says nothing about the secret.
        Some(token) if token.secret_hash == *secret_hash && turn.now < token.expires => Ok(token.clone()),
        _ => rejected(),
    }
}

/// The one answer to every bad token.
pub(crate) fn rejected<T>() -> Result<T, Refusal> {
    refuse(Reason::TokenRejected, "the join token is unknown, used or expired, ask an admin for a new one")
}

//! What ought to happen by now. Only questions: whoever leads proposes the answer as an ordinary command, and a repeat of
//! it is refused by `apply`.

use ca::Step;
use ca::cycle::{Due, Holder, Knowledge, check_holder, what_is_due};
use types::limits::{SVID_TTL_DEFAULT, SVID_TTL_MAX};
use types::{AgentName, KeyName, Millis, NamespaceName, NodeId, Refusal, SpkiHash, Time, TokenId};

use crate::State;

/// A key whose schedule is due.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RotationDue<'a> {
    /// Where.
    pub namespace: &'a NamespaceName,
    /// Which.
    pub name: &'a KeyName,
    /// Its row: `primary` is what to expect, `next_version()` what to wrap for.
    pub key: &'a kms::Key,
}

impl State {
    /// The keys that are to be rotated by now, the longest overdue first; none while time is held.
    pub fn rotations_due(&self, now: Time) -> impl Iterator<Item = RotationDue<'_>> {
        let held = self.time_held().is_some();
        let due = self.indexes().rotations.iter().take_while(move |(due, _, _)| !held && *due <= now);
        // What is quarantined is as if disabled: it is due when it is released.
        let due = due.filter(|(_, namespace, _)| self.quarantine(namespace).is_none());
        due.filter_map(|(_, namespace, name)| self.key(namespace, name).map(|key| RotationDue { namespace, name, key }))
    }

    /// When the next key is to be rotated.
    #[must_use]
    pub fn next_rotation(&self) -> Option<Time> {
        self.indexes().rotations.get_min().map(|(due, _, _)| *due)
    }

    /// The steps that authorities are to take by now, in the order in which to propose them.
    #[must_use]
    pub fn authority_steps_due(&self, now: Time) -> Vec<(SpkiHash, Step)> {
        let steps = self.authorities_due(now).into_iter();
        steps.filter_map(|due| if let Due::Step(key, step) = due { Some((key, step)) } else { None }).collect()
    }

    /// The members that are to make themselves an authority by now.
    #[must_use]
    pub fn authorities_wanted(&self, now: Time) -> Vec<NodeId> {
        let wanted = self.authorities_due(now).into_iter();
        wanted.filter_map(|due| if let Due::Generate(node) = due { Some(node) } else { None }).collect()
    }

    /// Whether an agent has acknowledged every root that it must know before it is issued another SVID.
    ///
    /// # Errors
    /// Which bundle it has to acknowledge.
    pub fn check_holder(&self, agent: &AgentName, now: Time) -> Result<(), Refusal> {
        let acknowledged = self.agent(agent).map_or(0, |agent| agent.acknowledged);
        check_holder(now, acknowledged, self.authorities(), self.svid_ttl_max(now))
    }

    /// The largest TTL that any unexpired SVID may have.
    #[must_use]
    pub fn svid_ttl_max(&self, now: Time) -> Millis {
        let registered = self.indexes().svid_ttls.get_max().map_or(SVID_TTL_DEFAULT, |(ttl, _)| *ttl);
        let lowered = self.progress().lowered_ttl.filter(|(_, until)| now < *until).map(|(ttl, _)| ttl);
        registered.max(lowered.unwrap_or(Millis::ZERO))
    }

    /// Join tokens that open nothing any more, the longest expired first; none while time is held.
    pub fn expired_tokens(&self, now: Time) -> impl Iterator<Item = TokenId> {
        let held = self.time_held().is_some();
        let expired = self.indexes().token_expiries.iter().take_while(move |(expires, _)| !held && *expires <= now);
        expired.map(|(_, id)| *id)
    }

    fn authorities_due(&self, now: Time) -> Vec<Due> {
        let authorities: Vec<_> = self.authorities().cloned().collect();
        let voters = self.voters();
        // A root that has left the bundle takes what it signed with it.
        let held = self.time_held().is_some();
        let holders = self.holders(now);
        let knowledge = Knowledge { voters: &voters, holders: &holders, svid_ttl_max: self.svid_ttl_max(now) };
        let mut due = what_is_due(now, &authorities, knowledge);
        due.retain(|due| !(held && matches!(due, Due::Step(_, Step::Retire))));
        due
    }

    /// Every agent that may hold an unexpired SVID. Issuance leaves no trace in state, so an agent in good standing always
    /// may; after its end, for as long as the longest SVID lasts.
    fn holders(&self, now: Time) -> Vec<Holder> {
        let holders = self.agent_table().iter().map(|(_, agent)| {
            let ended = agent.revoked.unwrap_or(agent.expires).min(agent.expires);
            let live_until = if ended <= now { ended.after(SVID_TTL_MAX) } else { Time::NEVER };
            Holder { acknowledged: agent.acknowledged, live_until }
        });
        holders.filter(|holder| now < holder.live_until).collect()
    }
}

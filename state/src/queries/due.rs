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

/// Something whose waiting period is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DestructionDue<'a> {
    /// A key, or one version of it.
    Key {
        /// Where.
        namespace: &'a NamespaceName,
        /// Which.
        name: &'a KeyName,
        /// None: the key as a whole.
        version: Option<u32>,
    },
    /// A namespace.
    Namespace(&'a NamespaceName),
}

impl State {
    /// The keys that are to be rotated by now, the longest overdue first; none while time is held.
    pub fn rotations_due(&self, now: Time) -> impl Iterator<Item = RotationDue<'_>> {
        let held = self.time_held().is_some();
        // What is quarantined or closed is as if disabled: it is due when it is released or restored.
        let open = self.indexes().rotations.iter().filter(|(namespace, _)| !held && self.check_open(namespace).is_ok());
        let due = open.flat_map(|(namespace, keys)| {
            keys.iter().take_while(|(due, _)| *due <= now).map(move |(due, name)| (due, namespace, name))
        });
        let mut due: Vec<_> = due.collect();
        due.sort_unstable();
        due.into_iter().filter_map(|(_, namespace, name)| {
            self.key(namespace, name).map(|key| RotationDue { namespace, name, key })
        })
    }

    /// The destructions whose waiting periods are over: of keys, versions and namespaces, each the longest overdue first. None while
    /// nobody is sure of state time.
    pub fn destructions_due(&self, now: Time) -> impl Iterator<Item = DestructionDue<'_>> {
        let sure = self.time_held().is_none() && self.time_unconfirmed().is_none();
        let indexes = self.indexes();
        let keys = indexes.key_ends.iter().take_while(move |(due, _)| sure && *due <= now).map(|(_, id)| (id, None));
        let versions = indexes.version_ends.iter().take_while(move |(due, _, _)| sure && *due <= now);
        let versions = versions.map(|(_, id, number)| (id, Some(*number)));
        let keys = keys.chain(versions).filter_map(move |(id, version)| {
            let (namespace, name, key) = self.key_by_id(id)?;
            // What is protected or quarantined since then waits for the end of that.
            let waits = key.deletion_protection || self.quarantine(namespace).is_some();
            // With the key as a whole its versions go, too.
            let with_key = version.is_some() && key.scheduled.is_some_and(|scheduled| scheduled.is_due(now));
            (!waits && !with_key).then_some(DestructionDue::Key { namespace, name, version })
        });
        let namespaces = indexes.namespace_ends.iter().take_while(move |(due, _)| sure && *due <= now);
        let namespaces = namespaces.map(|(_, name)| name).filter(|name| {
            // As above: a key that is protected holds all of it up.
            indexes.keys_of(name).protected == 0 && self.quarantine(name).is_none()
        });
        keys.chain(namespaces.map(DestructionDue::Namespace))
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

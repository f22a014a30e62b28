//! What ought to happen by now. Only questions: whoever leads proposes the answer as an ordinary command, and a repeat of
//! it is refused by `apply`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ca::Step;
use ca::cycle::{Due, Holder, Knowledge, check_holder, what_is_due};
use kms::RotationCause;
use types::limits::{SVID_TTL_DEFAULT, SVID_TTL_MAX};
use types::{AgentName, KeyName, Millis, NamespaceName, NodeId, Refusal, SpkiHash, Time, TokenId};

use crate::State;

/// A key whose next version is due.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RotationDue<'a> {
    /// Where.
    pub namespace: &'a NamespaceName,
    /// Which.
    pub name: &'a KeyName,
    /// Its row: `primary` is what to expect, `next_version()` what to wrap for.
    pub key: &'a kms::Key,
    /// By time, or by how much its primary version was used.
    pub cause: RotationCause,
}

/// When a key rotates next by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RotationForecast {
    /// By what comes first; in the past when it is overdue, none when that hangs on a use whose pace is not known yet.
    pub time: Option<Time>,
    /// By time, or by how much its primary version was used.
    pub cause: RotationCause,
    /// A guess, from how much it was used so far.
    pub estimated: bool,
    /// Why it does not rotate then, in words.
    pub waits_for: Option<String>,
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
    /// The keys that are to be rotated by now, in turn one that was used for long enough and one by schedule, of these the longest overdue
    /// first and none while time is held.
    pub fn rotations_due(&self, now: Time) -> impl Iterator<Item = RotationDue<'_>> {
        let held = self.time_held().is_some();
        // What is quarantined or closed is as if disabled: it is due when it is released or restored.
        let open = |namespace: &NamespaceName| self.check_open(namespace).is_ok();
        let used_up = self.indexes().used_up.iter().filter(move |(namespace, _)| open(namespace));
        let used_up = used_up.flat_map(|(namespace, keys)| keys.iter().map(move |name| (namespace, name)));
        let by_time = (!held).then(|| self.schedules_due(now)).into_iter().flatten();
        let by_count = used_up.map(|place| (place, RotationCause::Count));
        let by_time = by_time.map(|place| (place, RotationCause::Schedule));
        taking_turns(by_count, by_time).filter_map(|((namespace, name), cause)| {
            let key = self.key(namespace, name)?;
            // Due for both reasons, it is rotated once.
            let counted = cause == RotationCause::Schedule && key.is_used_up(self.usage(&key.id, key.primary));
            (!counted).then_some(RotationDue { namespace, name, key, cause })
        })
    }

    /// The keys whose schedules are due, the longest overdue first. However many they are, the first come at once: the next one of each
    /// namespace is looked at, not all of them.
    fn schedules_due(&self, now: Time) -> impl Iterator<Item = (&NamespaceName, &KeyName)> {
        let open = self.indexes().rotations.iter().filter(|(namespace, _)| self.check_open(namespace).is_ok());
        let mut queues: Vec<_> = open.map(|(namespace, keys)| (namespace, keys.iter())).collect();
        let heads =
            queues.iter_mut().enumerate().filter_map(|(queue, (_, keys))| keys.next().map(|next| (next, queue)));
        let mut heads: BinaryHeap<_> = heads.map(Reverse).collect();
        std::iter::from_fn(move || {
            let Reverse(((_, name), queue)) = heads.pop().filter(|Reverse(((due, _), _))| *due <= now)?;
            let (namespace, keys) = queues.get_mut(queue)?;
            heads.extend(keys.next().map(|next| Reverse((next, queue))));
            Some((*namespace, name))
        })
    }

    /// When a key rotates next by itself; none when it does not.
    #[must_use]
    pub fn rotation_forecast(&self, namespace: &NamespaceName, key: &kms::Key) -> Option<RotationForecast> {
        let (now, used) = (self.time(), self.usage(&key.id, key.primary));
        let counted = !key.usage.rotate_after.is_none() || key.is_spent(key.primary);
        if key.destroyed.is_some() || self.check_not_destroyed(namespace).is_err() || !counted && key.rotation.is_none()
        {
            return None;
        }
        let nodes = self.node_table().len() as u64;
        let by_schedule = key.rotation.map(|rotation| rotation.next_due);
        let by_count = match used {
            _ if key.is_spent(key.primary) => Some(now),
            Some(used) => {
                let bounds = [&key.usage.rotate_after, &key.usage.ceiling];
                bounds.into_iter().filter_map(|bound| used.reaches(bound, nodes, now)).min()
            }
            None => None,
        };
        // What is due by use goes first, for held time holds up schedules only.
        let sooner = by_count.is_some_and(|count| by_schedule.is_none_or(|schedule| count <= schedule));
        let (time, cause) = match by_schedule {
            Some(schedule) if !sooner && !key.is_used_up(used) => (Some(schedule), RotationCause::Schedule),
            _ => (by_count, RotationCause::Count),
        };
        let estimated = cause == RotationCause::Count && time.is_some_and(|time| time > now);
        Some(RotationForecast { time, cause, estimated, waits_for: self.rotation_waits_for(namespace, key, cause) })
    }

    fn rotation_waits_for(&self, namespace: &NamespaceName, key: &kms::Key, cause: RotationCause) -> Option<String> {
        let may = key.usable().and_then(|()| key.next_version().map(drop)).and_then(|()| self.check_open(namespace));
        match may {
            Err(refusal) => Some(refusal.message),
            Ok(()) if cause == RotationCause::Schedule && self.time_held().is_some() => Some(
                "state time has moved on too far at once: schedules wait until most clocks have agreed for a while"
                    .to_owned(),
            ),
            Ok(()) => None,
        }
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

/// One of each in turn, so that neither waits for the end of the other.
fn taking_turns<T>(mut one: impl Iterator<Item = T>, mut other: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    let mut turn = false;
    std::iter::from_fn(move || {
        turn = !turn;
        if turn { one.next().or_else(|| other.next()) } else { other.next().or_else(|| one.next()) }
    })
}

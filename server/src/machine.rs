//! The pure state machine behind Raft's door: bytes to entries, outcomes to bytes, leaves to the audit log.
//!
//! It decides nothing: `state::State::apply` does.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::Arc;

use raft::{Machine, Members};
use state::{AuditLeaf, Effect, Entry, Proposal, Reply, State};
use tokio::sync::{mpsc, watch};
use types::{NamespaceName, Reason, Refusal};

use crate::unwrapped::Unwrapped;

/// The state machine of this node.
#[derive(Debug)]
pub(crate) struct StateMachine {
    state: State,
    /// The newest version of the state machine that this node knows.
    supports: u32,
    /// The first entry that this build could not read.
    undecoded: Option<u64>,
    leaves: mpsc::UnboundedSender<AuditLeaf>,
    recorded: watch::Receiver<u64>,
    members: watch::Sender<Members>,
    unwrapped: Arc<Unwrapped>,
}

/// The state after some entry: cheap to hold, never changes.
#[derive(Debug)]
pub(crate) struct Applied {
    /// What the cluster agrees on.
    pub state: State,
    recorded: watch::Receiver<u64>,
}

/// What goes with a machine: the ends that the node holds.
#[derive(Debug)]
pub(crate) struct Ends {
    /// Leaves of the cluster's audit log in the order in which they were applied.
    pub leaves: mpsc::UnboundedReceiver<AuditLeaf>,
    /// How many leaves of the cluster's audit log are durable here.
    pub recorded: watch::Sender<u64>,
    /// The members, as applied.
    pub members: watch::Receiver<Members>,
}

impl StateMachine {
    /// A machine before its first entry, which knows the versions up to `supports`, and wipes from `unwrapped` what is destroyed.
    #[must_use]
    pub(crate) fn new(supports: u32, unwrapped: Arc<Unwrapped>) -> (Self, Ends) {
        let (leaves, leaves_out) = mpsc::unbounded_channel();
        let (recorded_in, recorded) = watch::channel(0);
        let (members, members_out) = watch::channel(Members::default());
        let machine = Self { state: State::new(), supports, undecoded: None, leaves, recorded, members, unwrapped };
        (machine, Ends { leaves: leaves_out, recorded: recorded_in, members: members_out })
    }
}

impl StateMachine {
    fn wipe_namespaces(&self, names: &BTreeSet<NamespaceName>) {
        self.unwrapped
            .wipe_namespaces(names, |key| self.state.key_by_id(key).is_some_and(|(of, _, _)| names.contains(of)));
    }
}

impl Machine for StateMachine {
    type Snapshot = Applied;

    fn apply(&mut self, index: u64, payload: &[u8]) -> Vec<u8> {
        let Some(proposal) = whole::<Proposal>(payload) else {
            // The others may be able to read it. A node that went on without it would be another cluster, and serve it.
            tracing::error!(index, "a log entry cannot be decoded: is a newer version running in this cluster?");
            self.undecoded.get_or_insert(index);
            return encode_reply(&Err(Refusal::new(Reason::Internal, "the entry could not be decoded")));
        };
        let outcome = self.state.apply(&Entry { index, proposal });
        for effect in &outcome.effects {
            match effect {
                Effect::KeyDestroyed { key, versions } => self.unwrapped.wipe(*key, versions),
                Effect::NamespaceDestroyed(name) => self.wipe_namespaces(&BTreeSet::from([name.clone()])),
                Effect::OperatorRecovered { name, opened } => tracing::warn!(
                    operator = %name,
                    entry = index,
                    "an admin was enrolled by a seal, not by an admin: seal {} of {}, {}. Revoke it if nobody knows why",
                    opened.slot,
                    opened.node,
                    opened.by,
                ),
                _ => {}
            }
        }
        if let Some(leaf) = outcome.record {
            // The receiver lives as long as the node; at shutdown a leaf is lost here and made again by replay.
            let _ = self.leaves.send(leaf);
        }
        encode_reply(&outcome.reply)
    }

    fn check(&self) -> io::Result<()> {
        if let Some(index) = self.undecoded {
            let text =
                format!("entry {index} of the log is of a kind that this build does not know: install a newer build");
            return Err(io::Error::other(text));
        }
        let version = self.state.version();
        if version <= self.supports {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "the cluster has moved to version {version} of the state machine and this build knows those up to {}: \
             install a newer build",
            self.supports
        )))
    }

    fn applied_members(&mut self, _index: u64, members: &Members) {
        self.members.send_replace(members.clone());
    }

    fn snapshot(&self) -> Applied {
        Applied { state: self.state.clone(), recorded: self.recorded.clone() }
    }

    /// A snapshot lets the log below it go, and with it the power to make audit leaves again: so it waits until every
    /// leaf that it stands for is durable.
    fn write_snapshot(applied: &Applied, out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let needed = applied.state.cluster_audit_head().size;
        let mut recorded = applied.recorded.clone();
        let waited = tokio::runtime::Handle::current().block_on(recorded.wait_for(|size| *size >= needed)).map(drop);
        waited.map_err(|_| io::Error::other("the audit log was closed before the snapshot's records were in it"))?;
        state::write_snapshot(&applied.state, out)
    }

    fn read_snapshot(&mut self, input: &mut dyn Read) -> io::Result<()> {
        self.state = state::read_snapshot(input).map_err(io::Error::other)?;
        // Whatever this node had in memory, it was not told of each entry on the way here.
        for (_, destruction) in self.state.destructions() {
            self.unwrapped.wipe(destruction.key, &destruction.versions);
        }
        let gone = self.state.namespaces().filter(|(name, _)| self.state.check_not_destroyed(name).is_err());
        self.wipe_namespaces(&gone.map(|(name, _)| name.clone()).collect());
        self.check()
    }
}

/// A value and nothing after it: bytes that are left over belong to a field that this build does not know.
pub(crate) fn whole<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    postcard::take_from_bytes(bytes).ok().filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value)
}

/// What the proposer of an entry is told, as bytes.
fn encode_reply(reply: &Result<Reply, Refusal>) -> Vec<u8> {
    postcard::to_stdvec(reply).unwrap_or_default()
}

/// What the proposer of an entry is told.
///
/// # Errors
/// The refusal that `apply` gave, or [`Reason::Internal`] for bytes that are no reply.
pub(crate) fn decode_reply(bytes: &[u8]) -> Result<Reply, Refusal> {
    postcard::from_bytes::<Result<Reply, Refusal>>(bytes)
        .unwrap_or_else(|_| Err(Refusal::new(Reason::Internal, "the state machine's reply could not be decoded")))
}

#[cfg(test)]
mod tests {
    use state::Command;
    use types::{NodeId, Principal, Time};

    use super::*;

    fn machine(supports: u32) -> (StateMachine, Ends) {
        StateMachine::new(supports, Arc::new(Unwrapped::default()))
    }

    #[test]
    fn an_entry_of_a_later_build_stops_the_node_and_says_why() {
        let (mut machine, _ends) = machine(state::VERSION_NEWEST);
        let (actor, command) = (Principal::Node(NodeId(1)), Command::ResetTime);
        let known = Proposal { actor, at: Time(1), request: None, basis: None, command };
        let mut payload = postcard::to_stdvec(&known).expect("encodes");
        machine.apply(7, &payload);
        assert!(machine.check().is_ok(), "refused, but understood");
        // The command comes last, and this one is nothing but its number.
        *payload.last_mut().expect("some bytes") = 0x7f;
        let reply = decode_reply(&machine.apply(8, &payload));
        assert_eq!(reply.map_err(|refusal| refusal.reason), Err(Reason::Internal));
        let why = machine.check().expect_err("it goes no further").to_string();
        assert!(why.contains("entry 8") && why.contains("install a newer build"), "{why}");
        machine.apply(9, &postcard::to_stdvec(&known).expect("encodes"));
        assert!(machine.check().expect_err("whatever comes next").to_string().contains("entry 8"));
    }

    #[test]
    fn a_value_with_something_after_it_is_none() {
        let bytes = postcard::to_stdvec(&Command::ResetTime).expect("encodes");
        assert_eq!(whole::<Command>(&bytes), Some(Command::ResetTime));
        assert_eq!(whole::<Command>(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(whole::<Command>(&[]), None);
    }

    #[test]
    fn a_version_that_the_build_does_not_know_stops_the_node() {
        let (machine, _ends) = machine(state::VERSION_FIRST - 1);
        let why = machine.check().expect_err("it goes no further").to_string();
        assert!(why.contains("version 1") && why.contains("up to 0"), "{why}");
    }
}

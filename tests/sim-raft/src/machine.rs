//! The replicated state machine behind Raft's door, as the server puts it there, and every entry noted.

use std::io::{self, Read};

use raft::{Machine, Members};
use state::{Entry, Proposal, Reply, State};
use types::{NodeId, Reason, Refusal};

use crate::bugs::Plant;
use crate::facts::Facts;

pub(crate) struct SimMachine {
    node: NodeId,
    state: State,
    facts: Facts,
    plant: Option<Plant>,
}

impl SimMachine {
    pub(crate) fn new(node: NodeId, facts: Facts, plant: Option<Plant>) -> Self {
        Self { node, state: State::new(), facts, plant }
    }
}

impl Machine for SimMachine {
    type Snapshot = State;

    fn apply(&mut self, index: u64, payload: &[u8]) -> Vec<u8> {
        let Ok(proposal) = postcard::from_bytes::<Proposal>(payload) else {
            self.facts.broken(format!("entry {index} does not decode"));
            return Vec::new();
        };
        let entry = Entry { index, proposal };
        let before = self.state.clone();
        let outcome = match self.plant {
            Some(Plant::DedupeOff) => {
                let mut forgetful = entry.clone();
                forgetful.proposal.request = None;
                self.state.apply(&forgetful)
            }
            Some(Plant::Diverge) if self.node == NodeId(2) && index % 97 == 0 => {
                let mut other = entry.clone();
                other.index += 1;
                self.state.apply(&other)
            }
            _ => self.state.apply(&entry),
        };
        self.facts.applied(self.node, payload, (&before, &self.state), &entry, &outcome);
        postcard::to_stdvec(&outcome.reply).unwrap_or_default()
    }

    fn applied_members(&mut self, _: u64, _: &Members) {}

    fn snapshot(&self) -> State {
        self.state.clone()
    }

    fn write_snapshot(state: &State, out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        state::write_snapshot(state, out)
    }

    fn read_snapshot(&mut self, input: &mut dyn Read) -> io::Result<()> {
        self.state = state::read_snapshot(input).map_err(io::Error::other)?;
        self.facts.loaded(self.node, &self.state);
        Ok(())
    }
}

/// What the proposer of an entry is told.
pub(crate) fn decode_reply(bytes: &[u8]) -> Result<Reply, Refusal> {
    postcard::from_bytes::<Result<Reply, Refusal>>(bytes)
        .unwrap_or_else(|_| Err(Refusal::new(Reason::Internal, "the reply does not decode")))
}

//! Members that others have named to this node, for as long as their word is newer than its own state. One that was just
//! admitted reads the log from its beginning, in which whoever leads by now is no member yet; one that was away for long does
//! not know who came since. It would refuse the leader's calls, and so never hear why it should not.
//!
//! Only who has the root key is believed, and being named opens the peer port's door to a key and no more: every call carries
//! that proof too (docs/spec/membership.md).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::member::v1::member_service_client::MemberServiceClient;
use proto::member::v1::{ListMembersRequest, ListMembersResponse, MemberName};
use raft::{Member, Members, Names};
use tonic::Response;
use types::limits::NODES_MAX;
use types::{NodeId, Reason, Refusal, SpkiHash};

use crate::core::{Core, no_leader};
use crate::join::dial;
use crate::node::Node;
use crate::vouched::{Vouched, is_by_a_holder, vouch_for};
use crate::wire::status;

/// How often a node that is out of touch asks one of the members that it knows.
const PERIOD: Duration = Duration::from_secs(2);
/// How long each may take to answer, connection and all.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sixteen members need some two kilobytes.
const ANSWER_BYTES_MAX: usize = 64 * 1_024;

/// Whom this node was told of.
#[derive(Debug)]
pub(crate) struct Introduced(Mutex<Told>);

#[derive(Debug)]
struct Told {
    /// When it was admitted, or ran last; none once it has been in touch.
    first: Members,
    /// By the member that was asked last.
    since: Members,
}

impl Introduced {
    /// Those that were members when the node was admitted, or when it ran last.
    pub(crate) fn new(first: Members) -> Self {
        Self(Mutex::new(Told { first, since: Members::default() }))
    }

    /// Whether that node was named, with that key.
    pub(crate) fn names(&self, id: NodeId, spki: &SpkiHash) -> bool {
        self.members().get(id).is_some_and(|member| member.spki == *spki)
    }

    /// Everybody who was named. A number keeps the key under which it was named first: it is never given to another node.
    pub(crate) fn members(&self) -> Members {
        let told = self.told();
        let mut members = told.first.clone();
        for (id, member) in &told.since.all {
            members.all.entry(*id).or_insert_with(|| member.clone());
        }
        members
    }

    /// What a member has answered, in the place of what another did before.
    pub(crate) fn learn(&self, members: Members) {
        self.told().since = members;
    }

    /// The node is in touch, and `own`, the members of its log, name it: from here on they are all that counts, whatever
    /// anybody has said.
    pub(crate) fn outgrow(&self, node: NodeId, own: &Members) {
        if own.get(node).is_some() {
            *self.told() = Told { first: Members::default(), since: Members::default() };
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task of one open node that asks, whenever it is out of touch.
pub(crate) struct Asking {
    pub(crate) node: Arc<Node>,
    pub(crate) core: Arc<Core>,
}

impl Asking {
    /// Runs until the node closes.
    pub(crate) async fn run(self) {
        tokio::select! {
            () = self.core.stop.cancelled() => {}
            () = self.keep_asking() => {}
        }
    }

    async fn keep_asking(&self) {
        let mut turn: usize = 0;
        loop {
            tokio::time::sleep(PERIOD).await;
            if !self.core.is_in_touch() {
                self.ask(turn).await;
                turn = turn.wrapping_add(1);
            }
        }
    }

    /// One member after the other, whoever is there.
    async fn ask(&self, turn: usize) {
        let state = self.core.state();
        let mut known = self.core.introduced.members().all;
        known.extend(self.core.raft.membership().all.clone());
        known.retain(|id, member| *id != self.core.node && !state.is_spent(&member.spki));
        let Some((id, member)) = known.iter().nth(turn % known.len().max(1)) else { return };
        match tokio::time::timeout(PATIENCE, self.members_of(*id, member)).await {
            Ok(Ok(members)) => self.core.introduced.learn(members),
            Ok(Err(refusal)) => {
                tracing::debug!(node = %id, %refusal, "a member could not be asked who the members are")
            }
            Err(_) => tracing::debug!(node = %id, "a member did not say in time who the members are"),
        }
    }

    /// What that member says, if it has the root key: it opens the door to others.
    async fn members_of(&self, id: NodeId, member: &Member) -> Result<Members, Refusal> {
        let names = Names { cluster: self.core.cluster, from: self.core.node, to: id };
        let vouched = Vouched::new(names, &self.core.keyring);
        let mut service = MemberServiceClient::with_interceptor(dial(&self.node, member)?, vouched)
            .max_decoding_message_size(ANSWER_BYTES_MAX);
        let answer = service.list_members(ListMembersRequest {}).await;
        let answer = answer.map_err(|error| status::refusal(&error).unwrap_or_else(no_leader))?;
        let back = Names { from: id, to: self.core.node, ..names };
        if !is_by_a_holder(answer.metadata(), back, &self.core.keyring) {
            return Err(Refusal::new(Reason::PermissionDenied, "the answer came without a proof of the root key"));
        }
        members(&answer.into_inner())
    }
}

/// What this node answers to a member that asks.
pub(crate) fn answer(core: &Core, to: NodeId) -> Response<ListMembersResponse> {
    let state = core.state();
    let name = |(id, node): (NodeId, &state::rows::Node)| MemberName {
        node: id.0,
        peer_address: node.info.peer_address.clone(),
        spki_sha256: node.info.spki.0.to_vec(),
    };
    let mut answer = Response::new(ListMembersResponse { members: state.nodes().map(name).collect() });
    vouch_for(&mut answer, core.node, to, &core.keyring);
    answer
}

fn members(answer: &ListMembersResponse) -> Result<Members, Refusal> {
    let unsound = || Refusal::new(Reason::InvalidArgument, "the answer names no members, or too many");
    if answer.members.is_empty() || answer.members.len() > NODES_MAX {
        return Err(unsound());
    }
    let member = |named: &MemberName| {
        let spki = SpkiHash(named.spki_sha256.as_slice().try_into().map_err(|_| unsound())?);
        Ok::<_, Refusal>((NodeId(named.node), Member { address: named.peer_address.clone(), spki }))
    };
    Ok(Members { all: answer.members.iter().map(member).collect::<Result<_, Refusal>>()?, ..Members::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn those(ids: impl IntoIterator<Item = u8>) -> Members {
        let member = |id: u8| (NodeId(id.into()), Member { address: String::new(), spki: SpkiHash([id; 32]) });
        Members { all: ids.into_iter().map(member).collect(), ..Members::default() }
    }

    #[test]
    fn they_are_known_until_the_node_is_in_touch_and_has_read_of_itself() {
        let introduced = Introduced::new(those([1, 2]));
        let knows = |id: u8| introduced.names(NodeId(id.into()), &SpkiHash([id; 32]));
        introduced.outgrow(NodeId(3), &those([1]));
        assert!(knows(2), "the node has not read of its own admission");
        introduced.learn(those([1, 4]));
        assert!(knows(2) && knows(4));
        introduced.learn(those([1, 5]));
        assert!(knows(2) && knows(5) && !knows(4), "only the last answer is kept");
        introduced.outgrow(NodeId(3), &those([1, 2, 3]));
        assert!(!knows(2) && !knows(5));
    }

    #[test]
    fn nobody_takes_the_place_of_another() {
        let introduced = Introduced::new(those([1, 2]));
        let stolen = Member { address: String::new(), spki: SpkiHash([9; 32]) };
        introduced.learn(Members { all: [(NodeId(2), stolen)].into(), ..Members::default() });
        assert!(introduced.names(NodeId(2), &SpkiHash([2; 32])));
        assert!(!introduced.names(NodeId(2), &SpkiHash([9; 32])), "another's key");
    }

    #[test]
    fn an_answer_names_some_members_and_not_too_many() {
        let named = |count: usize, bytes: usize| {
            let one = MemberName { node: 1, peer_address: "a:1".to_owned(), spki_sha256: vec![1; bytes] };
            members(&ListMembersResponse {
                members: (0..count).map(|n| MemberName { node: n as u64, ..one.clone() }).collect(),
            })
        };
        assert_eq!(named(NODES_MAX, 32).map(|found| found.all.len()).ok(), Some(NODES_MAX));
        for (count, bytes) in [(0, 32), (NODES_MAX + 1, 32), (1, 31)] {
            assert!(named(count, bytes).is_err(), "{count} of {bytes} bytes");
        }
    }
}

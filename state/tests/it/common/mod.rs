//! A small cluster to test on.
#![expect(clippy::expect_used, reason = "a test: what cannot be built should stop it")]

use state::{Command, Entry, NamespaceSettings, NodeInfo, NodeReport, Outcome, Proposal, Reply, RequestKey, State};
use types::{
    ClusterId, KeyId, Millis, NamespaceName, NodeId, OperatorName, Principal, Refusal, RequestId, SpkiHash, Time,
    TrustDomain,
};

/// When it was formed.
pub(crate) const FORMED: Time = Time(1_795_305_600_000);

/// A state, and the log index it is at.
pub(crate) struct Cluster {
    pub(crate) state: State,
    pub(crate) index: u64,
}

impl Cluster {
    pub(crate) fn formed() -> Self {
        let mut cluster = Self { state: State::new(), index: 0 };
        let formed = cluster.propose(proposal(Principal::LocalAdmin, init())).reply;
        assert_eq!(formed, Ok(Reply::Node(NodeId(1))));
        cluster
    }

    pub(crate) fn propose(&mut self, proposal: Proposal) -> Outcome {
        self.index += 1;
        self.state.apply(&Entry { index: self.index, proposal })
    }

    /// As the first operator, decided now.
    pub(crate) fn ask(&mut self, command: Command) -> Result<Reply, Refusal> {
        let basis = Some(self.state.basis(&command, Time::NEVER));
        self.propose(Proposal { basis, ..proposal(root(), command) }).reply
    }

    /// From now on keys of the default namespace that have no waiting period are destroyed at once.
    pub(crate) fn without_waiting(&mut self) {
        let name = NamespaceName::default_namespace();
        let settings = self.state.namespace(&name).expect("there is one").settings.clone();
        let settings = NamespaceSettings { waiting_period_floor: Millis::ZERO, ..settings };
        self.ask(Command::UpdateNamespace { name, settings }).expect("changed");
    }

    /// Every member reports that clock: state time goes on to it.
    pub(crate) fn reach(&mut self, clock: Time) {
        let nodes: Vec<NodeId> = self.state.nodes().map(|(node, _)| node).collect();
        nodes.into_iter().for_each(|node| self.report(node, clock));
    }

    /// One member reports that clock.
    pub(crate) fn report(&mut self, node: NodeId, clock: Time) {
        let (audit_size, audit_root, api_address) = (0, [0; 32], "127.0.0.1:7443".to_owned());
        let report = NodeReport { node, clock, audit_size, audit_root, api_address, supports: 1 };
        let reported = self.propose(proposal(Principal::Node(node), Command::ReportNode(report)));
        reported.reply.expect("a report");
    }

    /// The same with a request id.
    pub(crate) fn ask_as(&mut self, id: RequestId, body: u8, command: Command) -> Result<Reply, Refusal> {
        let basis = Some(self.state.basis(&command, Time::NEVER));
        let request = Some(RequestKey { id, body: [body; 32] });
        self.propose(Proposal { basis, request, ..proposal(root(), command) }).reply
    }
}

pub(crate) fn root() -> Principal {
    Principal::Operator(OperatorName::parse("root").expect("a name"))
}

pub(crate) fn proposal(actor: Principal, command: Command) -> Proposal {
    Proposal { actor, at: FORMED, request: None, basis: None, command }
}

pub(crate) fn request_id(at: Time, number: u16) -> RequestId {
    let mut id = [0; 16];
    id[..6].copy_from_slice(&at.0.to_be_bytes()[2..]);
    (id[6], id[8]) = (0x70, 0x80);
    id[14..].copy_from_slice(&number.to_be_bytes());
    RequestId(id)
}

pub(crate) fn init() -> Command {
    Command::Init {
        cluster: ClusterId([1; 16]),
        trust_domain: TrustDomain::parse("example.org").expect("a name"),
        cluster_spki: vec![2; 91],
        cluster_key_wrapped: vec![3; 64],
        node: NodeId(1),
        info: NodeInfo {
            spki: SpkiHash([4; 32]),
            peer_address: "127.0.0.1:7444".to_owned(),
            api_address: "127.0.0.1:7443".to_owned(),
        },
        operator: OperatorName::parse("root").expect("a name"),
        operator_spki: SpkiHash([5; 32]),
        operator_expires: FORMED.after(types::limits::ENROLMENT_MAX),
        namespace_kek_wrapped: vec![6; 64],
        namespace_id: KeyId([7; 16]),
    }
}

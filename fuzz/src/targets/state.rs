//! What is replicated. A panic in `apply` stops every member at once, so whatever can be decoded must be applied or refused.

use ::kms::{Algorithm, KeySettings, RotationCause, WrappedMaterial};
use ::state::{
    AuthorityStep, Command, Entry, EntryBody, JoinKind, NamespaceSettings, NodeInfo, NodeReport, OpenedSeal, Proposal,
    Release, RequestKey, State, read_snapshot, write_snapshot,
};
use ::types::{
    AgentName, AliasName, Binding, ClusterId, EntryName, Generation, KeyId, KeyName, Millis, NamespaceName, NodeId,
    OperatorName, Principal, RequestId, Revision, Role, RootId, Scope, SpkiHash, Time, TokenId, TrustDomain,
};

use crate::engine::Target;

/// Entries of the log, one after the other, on a cluster that has just been formed.
pub(super) const PROPOSAL: Target = Target::new("state-proposal", proposals, || {
    let each: Vec<Vec<u8>> = commands().into_iter().map(|command| encoded(&proposal(command))).collect();
    let story = commands().into_iter().take(10).flat_map(|command| encoded(&proposal(command))).collect();
    each.into_iter().chain([story]).collect()
})
.spare_bytes(2 << 20);

/// A state as snapshots and backups hold it.
pub(super) const SNAPSHOT: Target = Target::new("state-snapshot", snapshot, || {
    let mut state = formed();
    for (index, command) in (2..).zip(commands()) {
        apply(&mut state, index, proposal(command));
    }
    vec![written(&State::new()), written(&formed()), written(&state)]
})
.bytes_max(16_384)
.spare_bytes(4 << 20);

const FORMED: Time = Time(1_795_305_600_000);

fn namespace() -> NamespaceName {
    NamespaceName::default_namespace()
}

fn info() -> NodeInfo {
    NodeInfo {
        spki: SpkiHash([4; 32]),
        peer_address: "127.0.0.1:7444".to_owned(),
        api_address: "127.0.0.1:7443".to_owned(),
    }
}

fn formed() -> State {
    let command = Command::Init {
        cluster: ClusterId([1; 16]),
        trust_domain: TrustDomain::parse("example.org").unwrap(),
        cluster_spki: vec![2; 91],
        cluster_key_wrapped: vec![3; 64],
        node: NodeId(1),
        info: info(),
        operator: OperatorName::parse("root").unwrap(),
        operator_spki: SpkiHash([5; 32]),
        operator_expires: FORMED.after(::types::limits::ENROLMENT_MAX),
        namespace_kek_wrapped: vec![6; 64],
        namespace_id: KeyId([7; 16]),
    };
    let mut state = State::new();
    let proposal = Proposal { actor: Principal::LocalAdmin, at: FORMED, request: None, basis: None, command };
    state.apply(&Entry { index: 1, proposal }).reply.unwrap();
    state
}

fn proposal(command: Command) -> Proposal {
    let basis = Some(State::new().basis(&command, Time::NEVER));
    let request =
        Some(RequestKey { id: RequestId([0x01, 0x9f, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 1]), body: [8; 32] });
    let actor = match &command {
        Command::ReportNode(_)
        | Command::PublishAuthority { .. }
        | Command::StageRoot { .. }
        | Command::LeaseUsage { .. }
        | Command::SettleLease { .. } => {
            return Proposal { actor: Principal::Node(NodeId(1)), at: FORMED, request: None, basis: None, command };
        }
        Command::RedeemNodeToken { .. } | Command::RedeemAgentToken { .. } => Principal::JoinToken,
        _ => Principal::Operator(OperatorName::parse("root").unwrap()),
    };
    // The command stands in the id, so that no two are one request.
    let mut request = request;
    if let Some(request) = &mut request {
        let digest = ::crypto::hash::sha256(format!("{command:?}").as_bytes());
        request.id.0[9..].copy_from_slice(&digest[..7]);
    }
    Proposal { actor, at: FORMED, request, basis, command }
}

fn encoded(proposal: &Proposal) -> Vec<u8> {
    postcard::to_stdvec(proposal).unwrap()
}

/// One of most kinds; the first ones build on each other.
fn commands() -> Vec<Command> {
    let body = || EntryBody {
        path: "/ns/default/api".to_owned(),
        parent: AgentName::parse("node-1").unwrap(),
        selectors: vec!["unix:uid:1".to_owned()],
        svid_ttl: Millis::from_hours(1),
        dns_names: Vec::new(),
        hint: String::new(),
    };
    let root = || OperatorName::parse("root").unwrap();
    let report = NodeReport {
        node: NodeId(1),
        clock: FORMED.after(Millis::from_secs(1)),
        audit_size: 3,
        audit_root: [1; 32],
        api_address: "127.0.0.1:7443".to_owned(),
        supports: 1,
    };
    let binding = || Binding {
        principal: Principal::Operator(root()),
        role: Role::KeyAdmin,
        scope: Scope::Namespace(namespace()),
    };
    let (token, secret_hash, spki, expires) =
        (TokenId([9; 16]), [7; 32], SpkiHash([6; 32]), FORMED.after(Millis::from_hours(1)));
    let mut all = of_keys();
    all.extend([
        Command::CreateEntry { namespace: namespace(), name: EntryName::parse("api").unwrap(), body: body() },
        Command::UpdateEntry { namespace: namespace(), name: EntryName::parse("api").unwrap(), body: body() },
        Command::DeleteEntry { namespace: namespace(), name: EntryName::parse("api").unwrap() },
        Command::CreateJoinToken { id: token, secret_hash, kind: JoinKind::Node, expires },
        Command::RedeemNodeToken { token, secret_hash, info: NodeInfo { spki, ..info() }, learner: false },
        Command::CreateNamespace {
            name: NamespaceName::parse("pay").unwrap(),
            id: KeyId([8; 16]),
            settings: NamespaceSettings {
                dns_suffixes: vec!["pay.example".to_owned()],
                ..NamespaceSettings::default()
            },
            kek_wrapped: vec![6; 64],
        },
        Command::EnrolOperator { name: OperatorName::parse("bob").unwrap(), spki, expires },
        Command::GrantRole(binding()),
        Command::RevokeRole(binding()),
        Command::ReportNode(report),
        Command::RedeemAgentToken { token, secret_hash, spki, expires },
    ]);
    all.extend(rare(spki, expires));
    all.extend(waiting());
    all
}

/// The life of a key.
fn of_keys() -> Vec<Command> {
    let key = || KeyName::parse("orders").unwrap();
    let material = || WrappedMaterial::secret([&[1, 0, 0, 0, 1][..], &[2; 81]].concat());
    let settings = {
        let limits = ::kms::UsageLimits { uses: Some(5_000), bytes: Some(5_000_000) };
        let usage = ::kms::UsagePolicy { rotate_after: limits, ceiling: limits };
        KeySettings { usage, ..KeySettings::rotating(Some(Millis::from_days(1))) }
    };
    vec![
        Command::CreateKey {
            namespace: namespace(),
            name: key(),
            id: KeyId([3; 16]),
            algorithm: Algorithm::Aes256Gcm,
            settings,
            material: material(),
        },
        Command::AddKeyVersion {
            namespace: namespace(),
            name: key(),
            expect_last: 1,
            cause: RotationCause::Schedule,
            material: material(),
        },
        Command::LeaseUsage {
            node: NodeId(1),
            namespace: namespace(),
            name: key(),
            version: 1,
            least: ::kms::Usage { uses: 1, bytes: 100 },
        },
        Command::SetKeyEnabled { namespace: namespace(), name: key(), version: Some(1), enabled: false },
        Command::DestroyKey { namespace: namespace(), name: key(), version: Some(1), urgent: false },
    ]
}

/// Other names of keys, versions that are not used yet, and what waits for its destruction.
fn waiting() -> Vec<Command> {
    let (key, alias) = (|| KeyName::parse("orders").unwrap(), || AliasName::parse("current").unwrap());
    let pay = || NamespaceName::parse("pay").unwrap();
    let material = WrappedMaterial::secret([&[1, 0, 0, 0, 1][..], &[2; 81]].concat());
    vec![
        Command::CreateAlias { namespace: namespace(), name: alias(), key: key() },
        Command::UpdateAlias { namespace: namespace(), name: alias(), key: key() },
        Command::DeleteAlias { namespace: namespace(), name: alias() },
        Command::AddPreActiveVersion { namespace: namespace(), name: key(), expect_last: 2, material },
        Command::ActivateVersion { namespace: namespace(), name: key(), version: 3 },
        Command::RestoreKey { namespace: namespace(), name: key(), version: Some(1) },
        Command::CarryOutDestruction { namespace: namespace(), name: key(), version: None },
        Command::DestroyNamespace { name: pay(), waiting_period: Some(Millis::from_days(7)), urgent: true },
        Command::RestoreNamespace { name: pay() },
        Command::CarryOutNamespaceDestruction { name: pay() },
        Command::ConfirmTime { to: Time(1) },
    ]
}

fn rare(spki: SpkiHash, expires: Time) -> Vec<Command> {
    let (node, root) = (NodeId(2), OperatorName::parse("root").unwrap());
    let key = KeyName::parse("orders").unwrap();
    vec![
        Command::AckBundle { agent: AgentName::parse("node-1").unwrap(), sequence: u64::MAX },
        Command::AdvanceAuthority { authority: spki, step: AuthorityStep::Activate },
        Command::PublishAuthority {
            node: NodeId(1),
            certificate: vec![0x30, 0],
            generated: FORMED,
            not_after: expires,
        },
        Command::RemoveNode { node, audit_closed: Some(3), forced: true, compromised: true },
        Command::PromoteNode { node },
        Command::RaiseVersion { version: 1 },
        Command::SetLease { length: Millis::from_secs(10) },
        Command::SettleLease { revision: Revision(1) },
        Command::ResetTime,
        Command::OpenGeneration {
            generation: Generation::FIRST,
            backup: [1; 32],
            info: info(),
            compromised: true,
            quarantine: None,
            accounted: 0,
        },
        Command::ReleaseNamespace { name: namespace() },
        Command::ReportErasure { node: NodeId(1), upto: Revision(u64::MAX) },
        Command::SettleDeparture { node },
        Command::BeginRekey { quorum: Some(vec![1, 2]) },
        Command::StageRoot { epoch: 2, id: RootId([2; 16]) },
        Command::ConfirmRoot { node: NodeId(1), epoch: 2, id: RootId([2; 16]) },
        Command::ActivateRoot {
            epoch: 2,
            id: RootId([2; 16]),
            keks_wrapped: vec![(namespace(), vec![6; 64])],
            cluster_key_wrapped: vec![3; 64],
        },
        Command::CancelRekey,
        Command::RecoverOperator {
            name: root.clone(),
            spki,
            expires,
            opened: OpenedSeal { node: NodeId(1), slot: 1, by: "file".to_owned() },
            root_epoch: 1,
        },
        Command::SetPeerUnseal { on: true },
        Command::ApproveUnseal { node },
        Command::ReleaseRoot(Release { node, by: NodeId(1), address: "127.0.0.1".to_owned(), at_home: true }),
        Command::CancelApproval { node },
        Command::UpdateKey { namespace: namespace(), name: key, change: ::kms::KeyChange::default() },
        Command::RevokeOperator { name: root },
    ]
}

fn apply(state: &mut State, index: u64, mut proposal: Proposal) {
    // As if it had been decided on this very state: otherwise nothing that is changed would bind.
    if proposal.basis.is_some() {
        proposal.basis = Some(state.basis(&proposal.command, Time::NEVER));
    }
    let before = state.audit_frontier().size();
    let outcome = state.apply(&Entry { index, proposal });
    if let Some(record) = &outcome.record {
        assert_eq!(record.index, before);
        let read = ::audit::Record::from_leaf(&record.bytes).expect("a record that cannot be read");
        assert_eq!(read.to_leaf(), record.bytes);
    }
    assert!(outcome.reply.is_ok() || outcome.effects.is_empty(), "a refusal has effects");
}

fn proposals(input: &[u8]) {
    let (mut state, mut rest, mut index) = (formed(), input, 1);
    while let Ok((proposal, after)) = postcard::take_from_bytes::<Proposal>(rest) {
        let again = encoded(&proposal);
        assert_eq!(postcard::from_bytes::<Proposal>(&again).as_ref(), Ok(&proposal));
        index += 1;
        apply(&mut state, index, proposal);
        if after.is_empty() || after.len() == rest.len() || index > 24 {
            break;
        }
        rest = after;
    }
    if index > 1 {
        // What came about can be kept: the hash of the rows is that of the state, and what is read is the same.
        let bytes = written(&state);
        let read = read_snapshot(&mut bytes.as_slice()).expect("a state that cannot be read");
        assert_eq!(read.hash(), state.hash());
        assert_eq!(written(&read), bytes);
    }
}

fn written(state: &State) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_snapshot(state, &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })
    .unwrap();
    bytes
}

fn snapshot(input: &[u8]) {
    if let Ok(state) = read_snapshot(&mut { input }) {
        assert_eq!(read_snapshot(&mut written(&state).as_slice()).unwrap().hash(), state.hash());
        let _ = state.check();
    }
}

//! What is proposed next: mostly sensible commands about few things, so that they meet; often repeated, stale or wrong.

use kms::{Algorithm, KeyChange, KeySettings, RotationCause, VersionState, WrappedMaterial};
use state::{
    AuthorityStep, Command, DestructionDue, EntryBody, JoinKind, NamespaceSettings, NodeInfo, NodeReport, OpenedSeal,
    Proposal, Release, RequestKey, State,
};
use types::{
    AgentName, AliasName, Binding, ClusterId, EntryName, KeyId, KeyName, Millis, NamespaceName, NodeId, OperatorName,
    Principal, RequestId, Revision, Role, RootId, Scope, SpiffeId, SpkiHash, Time, TokenId, TrustDomain,
};

use crate::certificates::{AUTHORITIES, TRUST_DOMAIN, ends_at, made_at};
use crate::rng::Rng;
use crate::root_keys::wrapped_under;
use crate::usage;
use crate::world::World;

macro_rules! named {
    ($($function:ident: $name:ident = $texts:expr;)*) => {
        $(
            fn $function(rng: &mut Rng) -> $name {
                $name::parse(rng.pick::<&str>(&$texts)).unwrap_or_else(|error| unreachable!("{error}"))
            }
        )*
    };
}

named! {
    namespace: NamespaceName = ["default", "default", "pay", "ops"];
    key: KeyName = ["a", "b", "c", "orders"];
    alias: AliasName = ["a", "current", "old"];
    entry: EntryName = ["api", "web", "db"];
    agent: AgentName = ["edge-1", "edge-2", "edge-3"];
    operator: OperatorName = ["root", "bob", "eve"];
    trust_domain: TrustDomain = [TRUST_DOMAIN];
}

/// The first entry.
pub(crate) fn init(world: &mut World) -> Proposal {
    let at = world.clock(1);
    let rng = &mut world.rng;
    Proposal {
        actor: Principal::LocalAdmin,
        at,
        request: None,
        basis: None,
        command: Command::Init {
            cluster: ClusterId(rng.bytes()),
            trust_domain: trust_domain(rng),
            cluster_spki: vec![1; 91],
            cluster_key_wrapped: wrapped_under(1, rng.bytes()),
            node: NodeId(1),
            info: NodeInfo {
                spki: SpkiHash([0x11; 32]),
                peer_address: "127.0.0.1:7444".to_owned(),
                api_address: "127.0.0.1:7443".to_owned(),
            },
            operator: OperatorName::parse("root").unwrap_or_else(|_| operator(rng)),
            operator_spki: SpkiHash([0x22; 32]),
            operator_expires: at.after(types::limits::ENROLMENT_MAX),
            namespace_kek_wrapped: wrapped_under(1, rng.bytes()),
            namespace_id: KeyId(rng.bytes()),
        },
    }
}

/// Any later one, decided on `view`, which may be behind.
pub(crate) fn next(world: &mut World, view: &State) -> Proposal {
    // Now and then a leader's clock is ahead by more than an hour, by which approvals and absences end.
    let ahead = if world.rng.chance(5) { world.rng.below(6_000_000) } else { 0 };
    let at = world.clock(1).after(Millis(ahead));
    if world.rng.chance(18)
        && let Some(again) = repeated(world, view)
    {
        return again;
    }
    let command = command(world, view);
    let actor = actor(&mut world.rng, &command);
    // Clients' clocks are wrong too.
    let client = world.clock(7);
    let rng = &mut world.rng;
    let by_itself = matches!(actor, Principal::Node(_));
    let request = (!by_itself && rng.chance(85)).then(|| {
        let mut id = rng.bytes::<16>();
        for (byte, time) in id.iter_mut().zip(client.0.to_be_bytes().into_iter().skip(2)) {
            *byte = time;
        }
        id[6] = 0x70 | id[6] & 0x0f;
        id[8] = 0x80 | id[8] & 0x3f;
        RequestKey { id: RequestId(id), body: body(&command, rng) }
    });
    let decided = !matches!(actor, Principal::Node(_) | Principal::JoinToken | Principal::LocalAdmin | Principal::Seal);
    let valid = Millis::from_secs(rng.below(120));
    let basis = (decided && rng.chance(98)).then(|| view.basis(&command, view.time().after(valid)));
    Proposal { actor, at, request, basis, command }
}

/// A proposal that was made before: as it was, decided again, or with its id on another body.
fn repeated(world: &mut World, view: &State) -> Option<Proposal> {
    let place = world.rng.place(world.recent.len());
    let mut again = world.recent.get(place)?.clone();
    match world.rng.below(3) {
        0 => {}
        1 => {
            if again.basis.is_some() {
                // What is decided again is wrapped again too.
                if let Command::CreateNamespace { kek_wrapped, .. } = &mut again.command {
                    *kek_wrapped = wrapped_under(view.root_epoch(), world.rng.bytes());
                }
                again.basis = Some(view.basis(&again.command, view.time().after(Millis::from_secs(60))));
            }
        }
        _ => {
            again.command = command(world, view);
            let rng = &mut world.rng;
            again.actor = if rng.chance(50) { actor(rng, &again.command) } else { again.actor };
            let body = body(&again.command, rng);
            again.request = again.request.map(|request| RequestKey { body, ..request });
            again.basis = again.basis.map(|_| view.basis(&again.command, view.time().after(Millis::from_secs(60))));
        }
    }
    Some(again)
}

/// A new body: material is drawn per proposal, so two calls never have the same.
fn body(command: &Command, rng: &mut Rng) -> [u8; 32] {
    crypto::hash::sha256(format!("{command:?}{}", rng.bits()).as_bytes())
}

/// Who would propose it; now and then somebody who never may.
fn actor(rng: &mut Rng, command: &Command) -> Principal {
    if rng.chance(2) {
        return rng.pick(&[Principal::LocalAdmin, Principal::JoinToken, Principal::Node(NodeId(2))]).clone();
    }
    match command {
        Command::Init { .. } => Principal::LocalAdmin,
        Command::RedeemNodeToken { .. } | Command::RedeemAgentToken { .. } => Principal::JoinToken,
        Command::ReportNode(report) => Principal::Node(report.node),
        Command::PublishAuthority { node, .. }
        | Command::ReportErasure { node, .. }
        | Command::LeaseUsage { node, .. }
        | Command::ConfirmRoot { node, .. } => Principal::Node(*node),
        Command::AdvanceAuthority { .. }
        | Command::SettleLease { .. }
        | Command::SettleDeparture { .. }
        | Command::StageRoot { .. }
        | Command::ActivateRoot { .. }
        | Command::CarryOutDestruction { .. }
        | Command::CarryOutNamespaceDestruction { .. }
        | Command::AddKeyVersion { cause: RotationCause::Schedule | RotationCause::Count, .. } => {
            Principal::Node(NodeId(1))
        }
        Command::AckBundle { agent, .. } => Principal::Agent(agent.clone()),
        Command::RecoverOperator { .. } => Principal::Seal,
        Command::ReleaseRoot(release) => Principal::Node(release.by),
        _ => Principal::Operator(operator(rng)),
    }
}

fn command(world: &mut World, view: &State) -> Command {
    // Members report every second, so state time is seldom far behind theirs.
    let behind = world.clock(1).since(view.time()) > Millis::from_secs(30);
    if behind && world.rng.chance(70) {
        return report(world, view);
    }
    if view.staged_root().is_some() && world.rng.chance(40) {
        return of_root_keys(world, view);
    }
    match world.rng.below(100) {
        0..=9 => report(world, view),
        10..=52 => of_keys(world, view),
        53..=61 => of_entries(&mut world.rng),
        62..=64 => of_aliases(&mut world.rng),
        65..=78 => of_joining(world, view),
        79..=88 => of_principals(world, view),
        89..=94 => of_authorities(world, view),
        95..=96 => of_root_keys(world, view),
        97 if world.rng.chance(30) => init(world).command,
        97 if world.rng.chance(50) => of_settings(world, view),
        97 => of_members(world, view),
        _ => of_namespaces(&mut world.rng, view),
    }
}

/// One root key after the other; the steps mostly in their order.
fn of_root_keys(world: &mut World, view: &State) -> Command {
    let rng = &mut world.rng;
    let Some(staged) = view.staged_root() else {
        return Command::BeginRekey { quorum: rng.chance(20).then(|| rng.bytes::<8>().to_vec()) };
    };
    let epoch = if rng.chance(95) { staged.epoch } else { staged.epoch.saturating_add(1) };
    let Some(id) = staged.id.filter(|_| rng.chance(90)) else {
        return Command::StageRoot { epoch, id: RootId(rng.bytes()) };
    };
    let id = if rng.chance(95) { id } else { RootId(rng.bytes()) };
    let waits_for: Vec<NodeId> = view.root_waits_for().collect();
    match rng.below(20) {
        0 => Command::CancelRekey,
        1 => Command::BeginRekey { quorum: None },
        2..=16 if !waits_for.is_empty() => Command::ConfirmRoot { node: *rng.pick(&waits_for), epoch, id },
        _ => {
            let rewrapped = view.namespace_keys().map(|(name, _)| (name.clone(), wrapped_under(epoch, rng.bytes())));
            let keks_wrapped = rewrapped.collect();
            Command::ActivateRoot { epoch, id, keks_wrapped, cluster_key_wrapped: wrapped_under(epoch, rng.bytes()) }
        }
    }
}

fn of_settings(world: &mut World, view: &State) -> Command {
    let rng = &mut world.rng;
    match rng.below(6) {
        0..=1 => Command::SetLease { length: Millis(4_000 + rng.below(90_000_000)) },
        5 => {
            let step = view.time_unconfirmed().map_or(Time::EPOCH, |step| step.to);
            Command::ConfirmTime { to: step }
        }
        2 => Command::SettleLease { revision: view.settings().revision },
        _ => Command::ResetTime,
    }
}

fn report(world: &mut World, view: &State) -> Command {
    let members: Vec<NodeId> = view.nodes().map(|(id, _)| id).collect();
    let stranger = members.is_empty() || world.rng.chance(4);
    let node = if stranger { NodeId(9) } else { *world.rng.pick(&members) };
    let clock = world.clock(node.0);
    let (held, root) = world.audits.get(&node.0).copied().unwrap_or_default();
    let rng = &mut world.rng;
    // Now and then it has lost some of it, or holds something else.
    let (audit_size, audit_root) = match rng.below(20) {
        0 => (held.saturating_sub(1), rng.bytes()),
        1 => (held, rng.bytes()),
        2..=8 => (held, root),
        _ => (held + 1 + rng.below(2), rng.bytes()),
    };
    if audit_size > held {
        world.audits.insert(node.0, (audit_size, audit_root));
    }
    let rng = &mut world.rng;
    let port = 7_443 + rng.below(2);
    let (api_address, supports) = (format!("127.0.0.1:{port}"), 1 + u32::from(rng.chance(97)));
    Command::ReportNode(NodeReport { node, clock, audit_size, audit_root, api_address, supports })
}

fn of_keys(world: &mut World, view: &State) -> Command {
    let due = view.rotations_due(view.time()).next();
    let due = due.map(|due| (due.namespace.clone(), due.name.clone(), due.key.last_version, due.cause));
    let rng = &mut world.rng;
    let mut material = WrappedMaterial::secret(rng.bytes::<48>().to_vec());
    let public = rng.bytes::<44>().to_vec();
    if let Some((namespace, name, expect_last, cause)) = due
        && rng.chance(60)
    {
        if view.key(&namespace, &name).is_some_and(|key| key.algorithm.key_type().is_some()) {
            material.public = public;
        }
        return Command::AddKeyVersion { namespace, name, expect_last, cause, material };
    }
    if rng.chance(12)
        && let Some(lease) = usage::lease(rng, view)
    {
        return lease;
    }
    if rng.chance(25)
        && let Some(due) = view.destructions_due(view.time()).next()
    {
        return carried_out(due);
    }
    if rng.chance(60)
        && let Some(next) = towards_an_end(rng, view)
    {
        return next;
    }
    let (namespace, name) = (namespace(rng), key(rng));
    let pair = rng.chance(30);
    let wants_public = view.key(&namespace, &name).map_or(pair, |key| key.algorithm.key_type().is_some());
    // Now and then the wrong way round: it is refused.
    if wants_public != rng.chance(5) {
        material.public = public;
    }
    let algorithm = if pair { Algorithm::Ed25519 } else { Algorithm::Aes256Gcm };
    let rotation_period = rng.chance(50).then(|| Millis(3_300_000 + rng.below(3_600_000)));
    let last = view.key(&namespace, &name).map_or(1, |key| key.last_version);
    match rng.below(10) {
        0..=2 => {
            // Ids meet now and then, as they would only by a fault.
            let id = if rng.chance(3) { KeyId([7; 16]) } else { KeyId(rng.bytes()) };
            let settings = settings(rng, view, &namespace, rotation_period);
            Command::CreateKey { namespace, name, id, algorithm, settings, material }
        }
        3 => Command::UpdateKey { namespace, name, change: change(rng, rotation_period) },
        4 => of_ends(rng, namespace, name),
        5 => {
            let version = rng.chance(40).then(|| 1 + u32::try_from(rng.below(4)).unwrap_or(0));
            Command::SetKeyEnabled { namespace, name, version, enabled: rng.chance(70) }
        }
        _ => of_versions(rng, namespace, name, last, material),
    }
}

fn settings(rng: &mut Rng, view: &State, namespace: &NamespaceName, rotation_period: Option<Millis>) -> KeySettings {
    // Most namespaces wait longer than a run lasts, until somebody lowers that.
    let floor = view.namespace(namespace).map_or(Millis::ZERO, |row| row.settings.waiting_period_floor);
    let asks_to_wait = rng.chance(if floor > Millis(20_000) { 10 } else { 90 });
    KeySettings {
        rotation_period,
        waiting_period: asks_to_wait.then(|| Millis(rng.below(3) * 10_000)),
        deletion_protection: rng.chance(5),
        rotation_jitter: jitter(rng, rotation_period),
        usage: usage::policy(rng),
        labels: kms::Labels::default(),
    }
}

fn of_aliases(rng: &mut Rng) -> Command {
    let (namespace, name, key) = (namespace(rng), alias(rng), key(rng));
    match rng.below(10) {
        0..=4 => Command::CreateAlias { namespace, name, key },
        5..=7 => Command::UpdateAlias { namespace, name, key },
        _ => Command::DeleteAlias { namespace, name },
    }
}

fn of_versions(
    rng: &mut Rng,
    namespace: NamespaceName,
    name: KeyName,
    last: u32,
    material: WrappedMaterial,
) -> Command {
    let cause =
        *rng.pick(&[RotationCause::Operator, RotationCause::Operator, RotationCause::Schedule, RotationCause::Count]);
    let expect_last = if rng.chance(90) { last } else { last + 1 };
    if rng.chance(25) {
        let version = 1 + u32::try_from(rng.below(u64::from(last))).unwrap_or(0);
        return match rng.below(2) {
            0 => Command::ActivateVersion { namespace, name, version },
            _ => Command::AddPreActiveVersion { namespace, name, expect_last, material },
        };
    }
    Command::AddKeyVersion { namespace, name, expect_last, cause, material }
}

fn change(rng: &mut Rng, rotation_period: Option<Millis>) -> KeyChange {
    KeyChange {
        rotation_period: rng.chance(70).then_some(rotation_period),
        deletion_protection: rng.chance(20).then(|| rng.chance(30)),
        waiting_period: rng.chance(20).then(|| Millis(rng.below(3) * 10_000)),
        min_version: rng.chance(20).then(|| u32::try_from(rng.below(4)).unwrap_or(0)),
        labels: None,
        rotation_jitter: rng.chance(20).then(|| jitter(rng, rotation_period)),
        usage: if rng.chance(40) { usage::change(rng) } else { kms::UsageChange::default() },
    }
}

/// Mostly one that a period allows.
fn jitter(rng: &mut Rng, period: Option<Millis>) -> Millis {
    if period.is_none() || rng.chance(50) {
        return if rng.chance(3) { Millis(1) } else { Millis::ZERO };
    }
    Millis(rng.below(600_000))
}

/// Of a key, or one of its versions.
fn of_ends(rng: &mut Rng, namespace: NamespaceName, name: KeyName) -> Command {
    let version = rng.chance(80).then(|| 1 + u32::try_from(rng.below(4)).unwrap_or(0));
    match rng.below(10) {
        0..=1 => Command::ReportErasure { node: NodeId(1 + rng.below(3)), upto: Revision(rng.below(40)) },
        2 => Command::RestoreKey { namespace, name, version },
        3 => Command::CarryOutDestruction { namespace, name, version },
        _ => Command::DestroyKey { namespace, name, version, urgent: rng.chance(50) },
    }
}

/// The next step of some key on its way to being activated, destroyed or given back: by chance alone few would get there.
fn towards_an_end(rng: &mut Rng, view: &State) -> Option<Command> {
    if let Some(step) = view.time_unconfirmed().filter(|_| rng.chance(30)) {
        return Some(Command::ConfirmTime { to: step.to });
    }
    let held = view.all_keys().count();
    let ((namespace, name), key) = view.all_keys().nth(rng.place(held))?;
    let (namespace, name) = (namespace.clone(), name.clone());
    let soon = |rng: &mut Rng| Millis(rng.below(3) * 5_000);
    let row = view.namespace(&namespace)?;
    if row.settings.waiting_period_floor > Millis(10_000) {
        let settings = NamespaceSettings { waiting_period_floor: soon(rng), ..row.settings.clone() };
        return Some(Command::UpdateNamespace { name: namespace, settings });
    }
    if key.waiting_period > Millis(20_000) {
        let change = KeyChange { waiting_period: Some(Millis(10_000).max(soon(rng))), ..KeyChange::default() };
        return Some(Command::UpdateKey { namespace, name, change });
    }
    let last = view.key_version(&key.id, key.last_version)?;
    if rng.chance(25) && last.state != VersionState::PreActive {
        let public = vec![7; 44].into_iter().filter(|_| key.algorithm.key_type().is_some()).collect();
        let material = WrappedMaterial { wrapped: rng.bytes::<48>().to_vec(), public };
        return Some(Command::AddPreActiveVersion { namespace, name, expect_last: key.last_version, material });
    }
    let version = 1 + u32::try_from(rng.below(u64::from(key.last_version))).unwrap_or(0);
    let of_version = view.key_version(&key.id, version)?;
    let whole = rng.chance(30);
    let (named, scheduled) = if whole { (None, key.scheduled) } else { (Some(version), of_version.scheduled()) };
    if scheduled.is_some() {
        let given_back = rng.chance(50);
        return Some(match given_back {
            true => Command::RestoreKey { namespace, name, version: named },
            false => Command::CarryOutDestruction { namespace, name, version: named },
        });
    }
    if of_version.state == VersionState::PreActive && rng.chance(80) {
        return Some(Command::ActivateVersion { namespace, name, version });
    }
    if key.enabled && (whole || of_version.state == VersionState::Enabled) {
        return Some(Command::SetKeyEnabled { namespace, name, version: named, enabled: false });
    }
    Some(Command::DestroyKey { namespace, name, version: named, urgent: rng.chance(50) })
}

fn carried_out(due: DestructionDue<'_>) -> Command {
    match due {
        DestructionDue::Key { namespace, name, version } => {
            Command::CarryOutDestruction { namespace: namespace.clone(), name: name.clone(), version }
        }
        DestructionDue::Namespace(name) => Command::CarryOutNamespaceDestruction { name: name.clone() },
    }
}

fn of_entries(rng: &mut Rng) -> Command {
    let (namespace, name) = (namespace(rng), entry(rng));
    if rng.chance(20) {
        return Command::DeleteEntry { namespace, name };
    }
    let elsewhere = rng.pick(&["/ns/other/x", "/chancery/node", "/ns/default", "//", ""]).to_string();
    let path = if rng.chance(85) { format!("/ns/{namespace}/{name}") } else { elsewhere };
    let body = EntryBody {
        path,
        parent: agent(rng),
        selectors: vec![rng.pick(&["unix:uid:1000", "unix:uid:1001", "unix:path:/bin/app", "nonsense"]).to_string()],
        svid_ttl: Millis(30_000 + rng.below(7_200_000)),
        dns_names: if rng.chance(20) { vec!["db.pay.example".to_owned()] } else { Vec::new() },
        hint: String::new(),
    };
    if rng.chance(60) {
        Command::CreateEntry { namespace, name, body }
    } else {
        Command::UpdateEntry { namespace, name, body }
    }
}

fn of_joining(world: &mut World, view: &State) -> Command {
    let rng = &mut world.rng;
    // Few tokens with one secret each: they are presented again, late, or with a wrong secret.
    let number = u8::try_from(rng.below(12)).unwrap_or(0);
    let (id, secret_hash) = (TokenId([number; 16]), [if rng.chance(90) { number } else { 99 }; 32]);
    let spki = SpkiHash([u8::try_from(0x40 + rng.below(48)).unwrap_or(0); 32]);
    let expires = view.time().after(Millis(1 + rng.below(100_000_000)));
    match rng.below(10) {
        0..=3 => {
            let kind = match rng.below(20) {
                0..=5 => JoinKind::Node,
                6 => JoinKind::Replacement(NodeId(1 + rng.below(6))),
                _ => JoinKind::Agent(agent(rng)),
            };
            Command::CreateJoinToken { id, secret_hash: [number; 32], kind, expires }
        }
        4..=5 => {
            let info = NodeInfo { spki, peer_address: "a:1".to_owned(), api_address: "a:2".to_owned() };
            Command::RedeemNodeToken { token: id, secret_hash, info, learner: rng.chance(40) }
        }
        6..=7 => Command::RedeemAgentToken { token: id, secret_hash, spki, expires },
        8 => Command::RevokeAgent { name: agent(rng) },
        _ => {
            let sequence = view.bundle_sequence().saturating_sub(rng.below(2)).saturating_add(rng.below(2));
            Command::AckBundle { agent: agent(rng), sequence }
        }
    }
}

fn of_members(world: &mut World, view: &State) -> Command {
    let rng = &mut world.rng;
    let members: Vec<NodeId> = view.nodes().map(|(id, _)| id).collect();
    let node = if members.is_empty() || rng.chance(10) { NodeId(99) } else { *rng.pick(&members) };
    let anchored = view.report(node).map_or(0, |report| report.audit_size);
    match rng.below(15) {
        10 => Command::SetPeerUnseal { on: rng.chance(80) },
        11 => Command::ApproveUnseal { node },
        14 => Command::CancelApproval { node },
        12..=13 => {
            let (address, at_home) = ("10.0.0.1:9".to_owned(), rng.chance(60));
            Command::ReleaseRoot(Release { node, by: NodeId(1), address, at_home })
        }
        0..=4 => {
            let audit_closed = rng.chance(60).then(|| anchored + u64::from(rng.chance(20)));
            Command::RemoveNode { node, audit_closed, forced: rng.chance(40), compromised: rng.chance(50) }
        }
        5..=6 => Command::PromoteNode { node },
        7 => Command::SettleDeparture { node: NodeId(1 + rng.below(5)) },
        _ => Command::RaiseVersion { version: u32::try_from(1 + rng.below(3)).unwrap_or(1) },
    }
}

fn of_principals(world: &mut World, view: &State) -> Command {
    let rng = &mut world.rng;
    let spki = SpkiHash([u8::try_from(0x80 + rng.below(32)).unwrap_or(0); 32]);
    let workload = format!("spiffe://{TRUST_DOMAIN}/ns/pay/api");
    let holder = match SpiffeId::parse(&workload) {
        Ok(id) if rng.chance(30) => Principal::Workload(id),
        _ => Principal::Operator(operator(rng)),
    };
    let scope = if rng.chance(60) { Scope::Cluster } else { Scope::Namespace(namespace(rng)) };
    let binding = Binding { principal: holder, role: *rng.pick(&[Role::Admin, Role::Admin, Role::KeyUser]), scope };
    let expires = view.time().after(Millis(1 + rng.below(86_400_000)));
    match rng.below(7) {
        0 => Command::EnrolOperator { name: operator(rng), spki, expires },
        6 => {
            let by = "shamir, shares 1, 2".to_owned();
            let opened = OpenedSeal { node: NodeId(1 + rng.below(3)), slot: 1, by };
            let root_epoch = view.root_epoch() + u32::from(rng.chance(10));
            Command::RecoverOperator { name: operator(rng), spki, expires, opened, root_epoch }
        }
        1 => Command::RevokeOperator { name: operator(rng) },
        2..=3 => Command::GrantRole(binding),
        _ => Command::RevokeRole(binding),
    }
}

fn of_authorities(world: &mut World, view: &State) -> Command {
    let now: Time = view.time();
    let due = view.authority_steps_due(now).first().copied();
    let rng = &mut world.rng;
    let authorities: Vec<SpkiHash> = view.authorities().map(|authority| authority.key).collect();
    let step = *rng.pick(&[AuthorityStep::Activate, AuthorityStep::Drain, AuthorityStep::Retire]);
    match due {
        Some((authority, ca::Step::Activate)) => Command::AdvanceAuthority { authority, step: AuthorityStep::Activate },
        Some((authority, ca::Step::Drain)) => Command::AdvanceAuthority { authority, step: AuthorityStep::Drain },
        Some((authority, ca::Step::Retire)) => Command::AdvanceAuthority { authority, step: AuthorityStep::Retire },
        _ if !authorities.is_empty() && rng.chance(30) => {
            Command::AdvanceAuthority { authority: *rng.pick(&authorities), step }
        }
        _ => {
            let number = rng.place(AUTHORITIES.len());
            let certificate = rng.pick(AUTHORITIES.get(number..=number).unwrap_or(AUTHORITIES)).to_vec();
            let node = view.authorities_wanted(now).first().copied().unwrap_or(NodeId(1 + rng.below(3)));
            Command::PublishAuthority { node, certificate, generated: made_at(number), not_after: ends_at(number) }
        }
    }
}

fn of_namespaces(rng: &mut Rng, view: &State) -> Command {
    let name = namespace(rng);
    let settings = NamespaceSettings {
        rotation_floor: Millis(600_000 + rng.below(600_000)),
        dns_suffixes: if rng.chance(50) { vec!["pay.example".to_owned()] } else { Vec::new() },
        waiting_period_floor: Millis(rng.below(3) * 5_000),
        keys_max: rng.chance(20).then_some(2),
        entries_max: rng.chance(20).then_some(2),
    };
    if rng.chance(30) {
        return match rng.below(5) {
            // Mostly given back: the others have nothing to do in what is gone.
            0 => {
                let waiting_period = rng.chance(90).then(|| Millis(rng.below(4) * 5_000));
                Command::DestroyNamespace { name, waiting_period, urgent: rng.chance(50) }
            }
            1 => Command::CarryOutNamespaceDestruction { name },
            _ => {
                let closed = view.namespaces().find(|(name, _)| view.check_not_closed(name).is_err());
                Command::RestoreNamespace { name: closed.map_or(name, |(closed, _)| closed.clone()) }
            }
        };
    }
    if rng.chance(60) {
        let (id, kek_wrapped) = (KeyId(rng.bytes()), wrapped_under(view.root_epoch(), rng.bytes()));
        Command::CreateNamespace { name, id, settings, kek_wrapped }
    } else {
        Command::UpdateNamespace { name, settings }
    }
}

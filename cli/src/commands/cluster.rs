//! `chancery cluster`.

use std::path::PathBuf;

use chancery_client::private_file;
use chancery_client::proto::cluster::v1::{
    ClusterStatus, CreateJoinTokenRequest, GetStatusRequest, JoinTokenKind, NodeRole, NodeStatus,
};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use types::{AgentName, Millis, NodeId};
use zeroize::Zeroizing;

use super::{members, settings};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Show, Table};
use crate::values::{duration, from_wire_time, minute, node, now, to_wire_duration};
use crate::views::{or_dash, rfc3339};

/// The verbs of `cluster`.
#[derive(Subcommand, Debug)]
pub(crate) enum ClusterCommand {
    /// What each member is doing
    Status,
    /// Make a one-time join token
    Token(TokenArgs),
    /// Make a learner a voter, and wait until it votes
    Promote {
        /// Which, for example 4 or node-4
        #[arg(value_name = "NODE", value_parser = node)]
        node: NodeId,
    },
    /// Take a member out of the cluster for good, and wait until it is out
    ///
    /// Its number, its key and its data folder never come back. A member that is up first stops serving and anchors the end of
    /// its audit log.
    Remove {
        /// Which, for example 3 or node-3
        #[arg(value_name = "NODE", value_parser = node)]
        node: NodeId,
        /// Although it cannot be reached, so that the end of its audit log stays unknown, or although fewer voters than a
        /// majority are up without it
        #[arg(long)]
        force: bool,
        /// Somebody else may have its keys: its authority is tainted, and leaves the bundle once every certificate that it signed
        /// has been replaced
        ///
        /// This does not change the keys of the cluster, which that node had in memory while it was unsealed: rotate and
        /// destroy what it could read (docs/threat-model.md).
        #[arg(long)]
        compromised: bool,
    },
    /// Make a one-time token for a node that takes the place of another
    ///
    /// Start the new node with it: `chancery server --join FILE`. Once it votes, the old one is removed, whether it can be
    /// reached or not.
    Replace(ReplaceArgs),
    /// Move the state machine to the newest version that every member's build knows
    Upgrade,
    /// Hand leadership to another voter
    TransferLeader {
        /// Who is to lead, for example 2 or node-2; the voter that lacks the least when absent
        #[arg(value_name = "NODE", value_parser = node)]
        node: Option<NodeId>,
    },
    /// How long a node may serve without its leader
    #[command(subcommand)]
    Lease(settings::LeaseCommand),
    /// Set state time back to what most members' clocks say, after clocks that ran away
    TimeReset,
    /// Confirm that state time was right to go on by more than an hour at once
    ///
    /// So it does when nothing ran for a while, and when most clocks ran ahead. What waits for its destruction is destroyed only when
    /// somebody has said which of the two it was: this command, or `time-reset`. `cluster status` says whether one is wanted.
    TimeConfirm,
    /// Send a node's callers elsewhere and take leadership from it, before it is stopped
    Drain {
        /// Which, for example 2 or node-2
        #[arg(value_name = "NODE", value_parser = node)]
        node: NodeId,
        /// Take it back: it answers calls again, as it does after a restart
        #[arg(long)]
        undo: bool,
    },
}

/// Arguments of `cluster token`.
#[derive(Args, Debug)]
pub(crate) struct TokenArgs {
    /// Whom it admits
    #[arg(long = "for", value_name = "KIND")]
    kind: Kind,
    /// Name of the agent that it admits
    #[arg(long, value_name = "NAME", required_if_eq("kind", "agent"))]
    agent: Option<AgentName>,
    /// It is refused after this time, at most 24h
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    ttl: Millis,
    /// Write it to this file of mode 0600 instead of stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Arguments of `cluster replace`.
#[derive(Args, Debug)]
pub(crate) struct ReplaceArgs {
    /// The member that goes, for example 3 or node-3
    #[arg(value_name = "OLD", value_parser = node)]
    old: NodeId,
    /// The token is refused after this time, at most 24h
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    ttl: Millis,
    /// Write it to this file of mode 0600 instead of stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Whom a token admits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// A member of the cluster
    Node,
    /// A workload agent
    Agent,
}

#[derive(Serialize)]
struct TokenView {
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    expire_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    written_to: Option<PathBuf>,
    #[serde(skip)]
    until: String,
}

impl Show for TokenView {
    fn text(&self) -> String {
        match (&self.token, &self.written_to) {
            (_, Some(path)) => format!("join token → {} (0600), good once until {}", path.display(), self.until),
            (Some(token), None) => token.clone(),
            (None, None) => String::new(),
        }
    }
}

#[derive(Serialize)]
struct StatusView {
    cluster_id: String,
    trust_domain: String,
    leader: u64,
    term: u64,
    answered_by: u64,
    commit_index: u64,
    state_time: Option<String>,
    failures_tolerated: u32,
    state_version: u32,
    state_version_supported: u32,
    #[serde(flatten)]
    settings: settings::SettingsView,
    nodes: Vec<NodeView>,
}

#[derive(Serialize)]
struct NodeView {
    node: u64,
    role: &'static str,
    reachable: bool,
    sealed: bool,
    draining: bool,
    voter: bool,
    votes: bool,
    replaces: Option<u64>,
    applied_index: u64,
    lag: u64,
    authority_state: String,
    authority_expire_time: Option<String>,
    api_address: String,
    peer_address: String,
    spki_sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<LedgerView>,
    #[serde(skip)]
    authority: String,
}

#[derive(Serialize)]
struct LedgerView {
    index: u64,
    behind_since: Option<String>,
    reason: Option<String>,
}

/// Runs a verb.
pub(crate) async fn run(command: ClusterCommand, context: &Context) -> Result<(), Failure> {
    match command {
        ClusterCommand::Status => {
            let answer = context.client().await?.cluster().status(GetStatusRequest {}).await?;
            context.print(&StatusView::from(answer))
        }
        ClusterCommand::Token(args) => {
            let kind = match args.kind {
                Kind::Node => JoinTokenKind::Node,
                Kind::Agent => JoinTokenKind::Agent,
            };
            let request = CreateJoinTokenRequest {
                kind: kind.into(),
                agent_id: args.agent.map(|name| name.to_string()).unwrap_or_default(),
                ttl: Some(to_wire_duration(args.ttl)),
                ..CreateJoinTokenRequest::default()
            };
            token(request, args.out, context).await
        }
        ClusterCommand::Replace(args) => {
            let request = CreateJoinTokenRequest {
                kind: JoinTokenKind::Node.into(),
                replaces: args.old.0,
                ttl: Some(to_wire_duration(args.ttl)),
                ..CreateJoinTokenRequest::default()
            };
            token(request, args.out, context).await
        }
        ClusterCommand::Promote { node } => members::promote(node, context).await,
        ClusterCommand::Remove { node, force, compromised } => members::remove(node, force, compromised, context).await,
        ClusterCommand::Upgrade => members::upgrade(context).await,
        ClusterCommand::Lease(command) => settings::lease(command, context).await,
        ClusterCommand::TimeReset => settings::time_reset(context).await,
        ClusterCommand::TimeConfirm => settings::time_confirm(context).await,
        ClusterCommand::TransferLeader { node } => members::transfer_leader(node, context).await,
        ClusterCommand::Drain { node, undo } => members::drain(node, undo, context).await,
    }
}

async fn token(request: CreateJoinTokenRequest, out: Option<PathBuf>, context: &Context) -> Result<(), Failure> {
    if let Some(path) = &out {
        private_file::check_replaceable(path)?; // before a token is made that would go nowhere
    }
    let answer = context.client().await?.cluster().create_join_token(request).await?;
    let token = Zeroizing::new(answer.token);
    if let Some(path) = &out {
        private_file::write(path, format!("{}\n", token.as_str()).as_bytes())?;
    }
    context.print(&TokenView {
        token: out.is_none().then(|| token.as_str().to_owned()),
        expire_time: rfc3339(answer.expire_time.as_ref()),
        written_to: out,
        until: answer.expire_time.as_ref().map(|time| minute(from_wire_time(time))).unwrap_or_default(),
    })
}

impl From<ClusterStatus> for StatusView {
    fn from(wire: ClusterStatus) -> Self {
        Self {
            settings: settings::SettingsView::of(&wire),
            cluster_id: wire.cluster_id,
            trust_domain: wire.trust_domain,
            leader: wire.leader,
            term: wire.term,
            answered_by: wire.answered_by,
            commit_index: wire.commit_index,
            state_time: rfc3339(wire.state_time.as_ref()),
            failures_tolerated: wire.failures_tolerated,
            state_version: wire.state_version,
            state_version_supported: wire.state_version_supported,
            nodes: wire.nodes.into_iter().map(NodeView::from).collect(),
        }
    }
}

impl From<NodeStatus> for NodeView {
    fn from(wire: NodeStatus) -> Self {
        let role = match wire.role() {
            NodeRole::Leader => "leader",
            NodeRole::Follower => "follower",
            NodeRole::Learner => "learner",
            NodeRole::Candidate => "candidate",
            NodeRole::Leaving => "leaving",
            NodeRole::Unspecified => "unknown",
        };
        let left = wire.authority_expire_time.as_ref().map(|end| from_wire_time(end).since(now()));
        let authority = match left {
            Some(left) if !wire.authority_state.is_empty() => {
                format!("{}, {}h left", wire.authority_state, left.0 / 3_600_000)
            }
            _ => or_dash(&wire.authority_state),
        };
        Self {
            node: wire.node,
            role,
            reachable: wire.reachable,
            sealed: wire.sealed,
            draining: wire.draining,
            voter: wire.voter,
            votes: wire.votes,
            replaces: Some(wire.replaces).filter(|old| *old != 0),
            applied_index: wire.applied_index,
            lag: wire.lag,
            authority_expire_time: rfc3339(wire.authority_expire_time.as_ref()),
            authority_state: wire.authority_state,
            api_address: wire.api_address,
            peer_address: wire.peer_address,
            spki_sha256: wire.spki_sha256,
            ledger: wire.ledger.map(|ledger| LedgerView {
                index: ledger.index,
                behind_since: rfc3339(ledger.behind_since.as_ref()),
                reason: Some(ledger.reason).filter(|reason| !reason.is_empty()),
            }),
            authority,
        }
    }
}

impl Show for StatusView {
    fn text(&self) -> String {
        let mut table = Table::new(["NODE", "ROLE", "APPLIED", "LAG", "SEAL", "AUTHORITY"]);
        for node in &self.nodes {
            let seal = match (node.reachable, node.sealed) {
                (false, _) => "unreachable",
                (true, true) => "sealed",
                (true, false) if node.draining => "draining",
                (true, false) => "unsealed",
            };
            let said = |number: u64| if node.reachable { number.to_string() } else { or_dash("") };
            table.row([
                format!("node-{}", node.node),
                node.role.to_owned(),
                said(node.applied_index),
                said(node.lag),
                seal.to_owned(),
                node.authority.clone(),
            ]);
        }
        let healthy = self.nodes.iter().filter(|node| node.reachable && !node.sealed).count();
        let voters = self.nodes.iter().filter(|node| node.votes);
        let (all, up) =
            voters.fold((0, 0), |(all, up), node| (all + 1, up + usize::from(node.reachable && !node.sealed)));
        let needed = all / 2 + 1;
        if up < needed {
            return format!("{}\nno quorum: {up} of {all} healthy, {needed} needed", table.text());
        }
        let survives = match (self.leader, self.failures_tolerated) {
            (0, _) => "no leader, so nothing can change".to_owned(),
            (_, 0) => "survives no failure".to_owned(),
            (_, 1) => "survives 1 failure".to_owned(),
            (_, n) => format!("survives {n} failures"),
        };
        let mut text = format!("{}\n{healthy} of {} healthy: {survives}", table.text(), self.nodes.len());
        for node in &self.nodes {
            let Some(LedgerView { behind_since: Some(since), reason, .. }) = &node.ledger else { continue };
            let waits = if node.node == self.leader { ", so whatever takes a right away waits" } else { "" };
            let why = reason.as_deref().unwrap_or("it does not say why");
            text.push_str(&format!("\nledger of node-{} behind since {since}{waits}: {why}", node.node));
        }
        for warning in self.settings.warnings() {
            text.push('\n');
            text.push_str(&warning);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use chancery_client::proto::cluster::v1::LedgerStatus;

    use super::*;

    #[test]
    fn without_a_majority_the_status_says_so() {
        let node = |node, reachable| NodeStatus { node, reachable, votes: true, ..NodeStatus::default() };
        let status = ClusterStatus {
            leader: 1,
            nodes: vec![node(1, true), node(2, false), node(3, false)],
            ..ClusterStatus::default()
        };
        let text = StatusView::from(status).text();
        assert!(text.ends_with("\nno quorum: 1 of 3 healthy, 2 needed"), "{text}");
    }

    #[test]
    fn a_ledger_that_is_behind_is_a_line_of_the_status() {
        let ledger = |since: Option<i64>| LedgerStatus {
            index: 7,
            behind_since: since.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 }),
            reason: since.map(|_| "`/l`: no space left".to_owned()).unwrap_or_default(),
        };
        let node = |node, since| NodeStatus {
            node,
            reachable: true,
            votes: true,
            ledger: Some(ledger(since)),
            ..NodeStatus::default()
        };
        let status = |since| ClusterStatus { leader: 1, nodes: vec![node(1, since)], ..ClusterStatus::default() };
        assert!(!StatusView::from(status(None)).text().contains("ledger"));
        let text = StatusView::from(status(Some(1_795_305_600))).text();
        let line = text.lines().last().unwrap_or_default();
        assert!(
            line.starts_with("ledger of node-1 behind since 20") && line.contains("waits: `/l`: no space"),
            "{text}"
        );
    }

    #[test]
    fn the_status_of_three_nodes() {
        let node = |node, role: NodeRole, reachable| NodeStatus {
            node,
            role: role.into(),
            applied_index: 412,
            reachable,
            votes: true,
            authority_state: "active".to_owned(),
            ..NodeStatus::default()
        };
        let status = ClusterStatus {
            leader: 3,
            failures_tolerated: 1,
            nodes: vec![
                node(1, NodeRole::Follower, true),
                node(2, NodeRole::Follower, false),
                node(3, NodeRole::Leader, true),
            ],
            ..ClusterStatus::default()
        };
        expect_test::expect![[r#"
            NODE    ROLE      APPLIED  LAG  SEAL         AUTHORITY
            node-1  follower  412      0    unsealed     active
            node-2  follower  -        -    unreachable  active
            node-3  leader    412      0    unsealed     active
            2 of 3 healthy: survives 1 failure"#]]
        .assert_eq(&StatusView::from(status).text());
    }
}

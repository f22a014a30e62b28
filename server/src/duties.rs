//! What an open node does for itself: lease, report, authority, certificate. What it does for the cluster while it leads is
//! in `leading`. Every duty is a question to state, asked again on each tick and at each change of the members.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ca::{DnsName, NodeOrder, Serial};
use chancery_client::Address;
use crypto::sign::P256Signer;
use proto::member::v1::RenewLeaseRequest;
use raft::Members;
use state::command::NodeReport;
use state::{Command, State};
use tokio::sync::watch;
use types::{Millis, Reason, Refusal, Time, limits};

use crate::api::with_issuer;
use crate::clock;
use crate::core::{CaughtUp, Core, judging_time};
use crate::fence::{GrantName, Granted};
use crate::lease::Clocks;
use crate::leaving;
use crate::node::Node;

/// How often the questions are asked when nothing changes.
const TICK: Duration = Duration::from_millis(250);
/// A lease is renewed once this part of it has passed, or this time.
const LEASE_PART: u32 = 3;
const LEASE_RENEWED: Duration = Duration::from_secs(10);
/// How often refused calls of strangers are recorded.
const STRANGERS: Duration = Duration::from_secs(60);
/// How long a node is without a lease before it asks whether it was removed, and between two such questions.
const SHUT_OUT: Duration = Duration::from_secs(10);
/// Life of the node's own server certificate.
const SERVER_CERTIFICATE: Millis = limits::SVID_TTL_DEFAULT;

/// The task of one open node.
pub(crate) struct Duties {
    pub(crate) node: Arc<Node>,
    pub(crate) core: Arc<Core>,
    pub(crate) members: watch::Receiver<Members>,
}

/// What the task remembers between ticks.
#[derive(Default)]
struct Memory {
    reported: Option<Clocks>,
    strangers_recorded: Option<Clocks>,
    asked_for_lease: Option<Clocks>,
    lease: Option<Duration>,
    certificate_until: Time,
    certificate_of: Option<types::SpkiHash>,
    /// When it was last asked whether the others have shut this node out, or there was last no reason to ask.
    shut_out_asked: Option<Clocks>,
}

/// What this node has to say of itself: its clock, the head of its audit log, where it is, what it knows.
pub(crate) fn own_report(node: &Node, core: &Core) -> NodeReport {
    let head = core.audit_head();
    NodeReport {
        node: core.node,
        clock: clock::now(),
        audit_size: head.size,
        audit_root: head.root.0,
        api_address: node.api_address.clone(),
        supports: node.config.state_version,
    }
}

impl Duties {
    /// Runs until the node closes, or its log has stopped: that is not left to the next round, for this one may be waiting
    /// for what a stopped log will never apply, and nobody changes the members of a stopped Raft any more.
    pub(crate) async fn run(mut self) {
        let core = Arc::clone(&self.core);
        tokio::select! {
            () = core.stop.cancelled() => {}
            () = self.rounds() => {}
            why = failure(&core) => {
                tracing::error!(why, "this node's log has stopped: it ends, because it may acknowledge nothing more");
                self.node.stop.cancel();
            }
        }
    }

    /// A round at each tick and after each change of the members.
    async fn rounds(&mut self) {
        let mut memory = Memory::default();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                changed = self.members.changed() => if changed.is_err() { std::future::pending().await },
            }
            self.round(&mut memory).await;
        }
    }

    async fn round(&mut self, memory: &mut Memory) {
        if self.leaves(memory).await {
            return;
        }
        if !self.node.retired.load(Ordering::Relaxed) {
            self.keep_lease(memory).await;
        }
        let state = self.core.state();
        if !state.is_formed() {
            return;
        }
        self.report(memory).await;
        self.record_strangers(memory).await;
        self.keep_authority(&state).await;
        self.keep_server_certificate(&state, memory);
    }

    /// Whether this node is out, or on its way out. It serves nobody from the entry on that removed it, and closes when
    /// Raft does not need its vote any more. One that was away asks the others, when it has been without a lease for long.
    async fn leaves(&self, memory: &mut Memory) -> bool {
        let now = Clocks::now();
        let removed = self.node.check_not_removed(&self.core).is_err();
        if removed {
            self.core.lease.give_up();
        }
        if !removed && self.core.lease.check(now).is_ok() {
            memory.shut_out_asked = Some(now);
            return false;
        }
        let votes = self.members.borrow().is_voter(self.core.node);
        let patience = if removed { SHUT_OUT / 5 } else { SHUT_OUT };
        let asked = *memory.shut_out_asked.get_or_insert(now);
        let ask = now.boot.saturating_sub(asked.boot) >= patience;
        if ask {
            memory.shut_out_asked = Some(now);
        }
        if (removed && !votes) || (ask && leaving::is_shut_out(&self.node, &self.core).await) {
            leaving::leave(&self.node, self.core.node);
            return true;
        }
        removed
    }

    /// Renews the lease when a third of it has passed; a leader asks itself.
    async fn keep_lease(&self, memory: &mut Memory) {
        let now = Clocks::now();
        // What cannot be recorded may not be answered: a node whose disk has room serves instead.
        if self.core.audit.is_out_of_room() {
            self.core.lease.let_go();
            return;
        }
        let waits = memory.lease.map_or(Duration::ZERO, |lease| (lease / LEASE_PART).min(LEASE_RENEWED));
        let recent = memory.asked_for_lease.is_some_and(|asked| now.boot.saturating_sub(asked.boot) < waits);
        if recent && self.core.lease.check(now).is_ok() {
            return;
        }
        match self.be_granted(now).await {
            Ok((granted, caught_up)) => {
                self.core.lease.renew(now, granted, caught_up);
                memory.asked_for_lease = Some(now);
                memory.lease = Some(granted.length);
            }
            Err(refusal) => tracing::debug!(%refusal, "the lease could not be renewed now"),
        }
    }

    async fn be_granted(&self, now: Clocks) -> Result<(Granted, CaughtUp), Refusal> {
        if self.core.leads() {
            let caught_up = self.core.leads_and_caught_up().await?;
            let length = self.core.state().settings().lease.to_std();
            return Ok((Granted { length, name: GrantName::default() }, caught_up));
        }
        let granted = self.ask_for_lease(now).await?;
        Ok((granted, self.core.catch_up().await?))
    }

    async fn ask_for_lease(&self, now: Clocks) -> Result<Granted, Refusal> {
        let mut leader = self.core.leader()?;
        // The name first: whatever is left is then at least of that grant or of a later one.
        let held = self.core.lease.name();
        let left = self.core.lease.left(now).as_millis();
        let word = RenewLeaseRequest {
            applied_index: self.core.raft.state().applied,
            // Rounded up: what is left is never more than what the leader is told.
            held_ms: u64::try_from(left).unwrap_or(u64::MAX).saturating_add(1),
            held_term: held.term,
            held_grant: held.number,
            gives_back: false,
        };
        let mut request = tonic::Request::new(word);
        request.set_timeout(Duration::from_secs(2));
        let granted = leader.renew_lease(request).await;
        let granted = granted.map_err(|status| Refusal::new(Reason::NoQuorum, status.message()))?.into_inner();
        // Never more than what may be configured, whatever the leader says.
        let length = Duration::from_millis(granted.lease_ms).min(limits::NODE_LEASE_MAX.to_std());
        Ok(Granted { length, name: GrantName { term: granted.term, number: granted.grant } })
    }

    /// Anchors this node's audit head and tells its clock, once a second.
    async fn report(&self, memory: &mut Memory) {
        let now = Clocks::now();
        let interval = limits::NODE_REPORT_INTERVAL.to_std();
        if memory.reported.is_some_and(|last| now.boot.saturating_sub(last.boot) < interval) {
            return;
        }
        let report = own_report(&self.node, &self.core);
        match self.core.propose_own(Command::ReportNode(report)).await {
            Ok(_) => memory.reported = Some(now),
            Err(refusal) => tracing::debug!(%refusal, "the audit head could not be anchored now"),
        }
    }

    /// Records, once a minute, the calls that were refused before anybody was recognised.
    async fn record_strangers(&self, memory: &mut Memory) {
        let now = Clocks::now();
        let since = memory.strangers_recorded.get_or_insert(now);
        if now.boot.saturating_sub(since.boot) < STRANGERS {
            return;
        }
        memory.strangers_recorded = Some(now);
        for event in self.node.strangers.take(clock::now()) {
            if let Err(refusal) = self.core.record(event).await {
                tracing::warn!(%refusal, "refused calls could not be recorded");
            }
        }
    }

    /// Draws and publishes this node's next authority when state says that one is wanted.
    async fn keep_authority(&self, state: &State) {
        let id = self.core.node;
        if !self.core.raft.status().members.is_voter(id) || !state.authorities_wanted(state.time()).contains(&id) {
            return;
        }
        // Without a quorum the proposal would be lost, and each attempt costs a key.
        if self.core.lease.check(Clocks::now()).is_err() {
            return;
        }
        match self.publish_authority(state).await {
            // The state that was asked is older than the one that answered: an authority stands by already.
            Ok(()) => {}
            Err(refusal) if refusal.reason == Reason::PreconditionFailed => {}
            Err(refusal) => tracing::warn!(%refusal, "the next authority could not be published now"),
        }
    }

    async fn publish_authority(&self, state: &State) -> Result<(), Refusal> {
        let internal = |error: &dyn std::fmt::Display| Refusal::new(Reason::Internal, error.to_string());
        let trust_domain = state.trust_domain().ok_or_else(|| internal(&"there is no cluster"))?;
        let signer = P256Signer::generate();
        let serial = Serial::from_random(crypto::entropy::array());
        // X.509 counts whole seconds: state compares what is proposed with what the certificate says.
        let generated = Time(judging_time(state).as_unix_seconds().saturating_mul(1_000));
        let certificate = ca::generate_authority(self.core.node, trust_domain, &signer, serial, generated)
            .map_err(|fault| internal(&fault))?;
        let known = |key: &types::SpkiHash| state.authority(key).is_some();
        self.core.authority.add(&self.node.folder, signer, known).map_err(|error| internal(&error))?;
        let command = Command::PublishAuthority {
            node: self.core.node,
            certificate: certificate.into_der(),
            generated,
            not_after: generated.after(limits::AUTHORITY_LIFE),
        };
        self.core.propose_own(command).await.map(drop)
    }

    /// The API presents a certificate that foreign clients can check, as soon as this node's own authority may sign one.
    fn keep_server_certificate(&self, state: &State, memory: &mut Memory) {
        let now = judging_time(state);
        let active = crate::api::own_active(state, self.core.node).map(|authority| authority.key).ok();
        let fresh = now < memory.certificate_until && memory.certificate_of == active;
        let Some(active) = active.filter(|_| !fresh) else { return };
        let (dns_names, addresses) = self.names();
        let order = NodeOrder {
            node: self.core.node,
            identity: &self.node.signer,
            dns_names: &dns_names,
            addresses: &addresses,
            ttl: SERVER_CERTIFICATE,
            serial: Serial::from_random(crypto::entropy::array()),
            now,
        };
        let issued = with_issuer(&self.core, state, now, |issuer| issuer.node(&order));
        let presented = issued.and_then(|issued| {
            let until = issued.not_after;
            let chain = vec![issued.certificate.into_der()];
            let certified = self.node.identity.with_chain(chain);
            let certified = certified.map_err(|error| Refusal::new(Reason::Internal, error.to_string()))?;
            self.node.certificate.replace(certified);
            Ok(until)
        });
        match presented {
            // Renewed at half its life, as SVIDs are.
            Ok(until) => {
                memory.certificate_until = Time(now.0 + until.since(now).0 / 2);
                memory.certificate_of = Some(active);
            }
            Err(refusal) => tracing::warn!(%refusal, "the node's server certificate could not be renewed"),
        }
    }

    /// The names under which clients dial this node; `localhost` too where it listens on loopback.
    fn names(&self) -> (Vec<DnsName>, Vec<IpAddr>) {
        let host =
            Address::parse(&self.node.api_address).map(|address| address.host().into_owned()).unwrap_or_default();
        match host.parse::<IpAddr>() {
            Ok(address) if address.is_loopback() => (DnsName::parse("localhost").into_iter().collect(), vec![address]),
            Ok(address) => (Vec::new(), vec![address]),
            Err(_) => (DnsName::parse(&host).into_iter().collect(), Vec::new()),
        }
    }
}

/// Waits until the node's log has stopped by itself, and says why.
async fn failure(core: &Core) -> String {
    let mut status = core.raft.watch_status();
    let failed = status.wait_for(|status| status.failure.is_some()).await.map(|status| status.failure.clone());
    match failed {
        Ok(why) => why.unwrap_or_default(),
        // Nobody publishes any more: the core is closing, and the loop is told so.
        Err(_) => std::future::pending().await,
    }
}

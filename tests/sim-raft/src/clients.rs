//! What clients do: rotate keys, read them, enrol and revoke operators; retry with the same request id, sometimes by two
//! nodes at once, sometimes never. One of them administers: it forms the cluster and changes its members.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use raft::simulation::chance;
use state::{Command, Reply};
use types::{KeyName, NodeId, OperatorName, Principal, RequestId, TokenId};

use crate::clocks::Clock;
use crate::desk::{info, name};
use crate::facts::Facts;
use crate::history::History;
use crate::node::Site;
use crate::wire::{self, Answer, Ask, Change, MemberChange};

/// How long a client waits for one answer.
const PATIENCE: Duration = Duration::from_millis(2_500);
/// Keys that everybody works on, so that they meet.
pub(crate) const KEYS: [&str; 3] = ["a", "b", "c"];

/// What a client knows.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) number: u64,
    pub(crate) facts: Facts,
    pub(crate) history: History,
    pub(crate) clock: Clock,
    /// Nodes that it may ask.
    pub(crate) nodes: Vec<NodeId>,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) leader: Option<NodeId>,
    pub(crate) served: u64,
}

impl Client {
    /// Works until it is told to stop.
    pub(crate) async fn work(mut self) -> turmoil::Result {
        while !self.stop.load(Ordering::Relaxed) {
            tokio::time::sleep(chance::within(Duration::from_millis(60))).await;
            let key = key(chance::below(KEYS.len() as u64));
            match chance::below(100) {
                0..=49 => drop(self.rotate(&key).await),
                50..=74 => drop(self.read(&key).await),
                75..=91 => self.ask_standing().await,
                92..=96 => self.enrol().await,
                _ => self.revoke().await,
            }
        }
        Ok(())
    }

    /// One rotation and one read of every key, each within `by`: the cluster is alive.
    pub(crate) async fn probe(&mut self) -> Result<(), String> {
        for number in 0..KEYS.len() as u64 {
            let key = key(number);
            self.rotate(&key).await.ok_or_else(|| format!("no rotation of {key} is acknowledged"))?;
            self.read(&key).await.ok_or_else(|| format!("no read of {key} is answered"))?;
        }
        Ok(())
    }

    async fn rotate(&mut self, key: &KeyName) -> Option<u32> {
        let request = self.request_id();
        let number = self.history.rotates(key, request, now());
        let question = Ask::Change { request, change: Change::Rotate { key: key.clone() } };
        if chance::per_mille(60) {
            // The same request by another way at the same time, as an impatient proxy would send it.
            let (other, question, history) = (self.any_node(), question.clone(), self.history.clone());
            tokio::spawn(async move {
                if let Ok(Answer::Applied(Ok(Reply::Version(version)))) = wire::ask(other, &question, PATIENCE).await {
                    history.rotated(number, now(), version);
                }
            });
        }
        let version = match self.insist(&question).await {
            Some(Answer::Applied(Ok(Reply::Version(version)))) => version,
            _ => return None,
        };
        self.history.rotated(number, now(), version);
        self.facts.count("rotations");
        if chance::per_mille(50) {
            // Told, and asked again all the same: the answer was lost on its way.
            if let Some(Answer::Applied(Ok(Reply::Version(again)))) = self.insist(&question).await {
                self.history.rotated(number, now(), again);
                self.facts.count("retries of what was told");
            }
        }
        Some(version)
    }

    async fn read(&mut self, key: &KeyName) -> Option<u32> {
        let operator = operator(self.number, chance::below(self.served + 1));
        let question = Ask::Read { key: key.clone(), operator: operator.clone() };
        for _ in 0..6 {
            let asked = now();
            // Any node answers reads.
            let node = self.any_node();
            if let Ok(Answer::Seen(seen)) = wire::ask(node, &question, PATIENCE).await {
                let version = seen.version;
                self.history.read(key, &operator, asked, now(), seen);
                self.facts.count("reads");
                return Some(version);
            }
            tokio::time::sleep(chance::within(Duration::from_millis(200))).await;
        }
        None
    }

    /// Asks every node whether the operator that was revoked last stands.
    async fn ask_standing(&mut self) {
        let Some(last) = self.served.checked_sub(1) else { return };
        let operator = operator(self.number, last);
        for node in self.nodes.clone() {
            let asked = now();
            let question = Ask::Serve { operator: operator.clone() };
            if let Ok(Answer::Served { revoked }) = wire::ask(node, &question, Duration::from_millis(500)).await {
                self.history.served(&operator, node, asked, revoked);
                self.facts.count("answers under a lease");
            }
        }
    }

    async fn enrol(&mut self) {
        let change = Change::Enrol { operator: operator(self.number, self.served) };
        let request = self.request_id();
        if let Some(Answer::Applied(Ok(_))) = self.insist(&Ask::Change { request, change }).await {
            self.served += 1;
        }
    }

    async fn revoke(&mut self) {
        let Some(last) = self.served.checked_sub(1) else { return };
        let operator = operator(self.number, last);
        let request = self.request_id();
        let change = Change::Revoke { operator: operator.clone() };
        if let Some(Answer::Applied(Ok(_))) = self.insist(&Ask::Change { request, change }).await {
            self.history.revoked(&operator, now());
            self.facts.count("revocations");
            self.ask_standing().await;
            // The next one is somebody else: who is revoked may come back under another key only.
            self.served += 1;
        }
    }

    /// Asks until somebody knows, by the leader if one is known; gives up now and then.
    pub(crate) async fn insist(&mut self, question: &Ask) -> Option<Answer> {
        for attempt in 0..12 {
            let node = self.leader.take().unwrap_or_else(|| self.any_node());
            match wire::ask(node, question, PATIENCE).await {
                Ok(Answer::NotLeader(leader)) => self.leader = leader.filter(|leader| *leader != node),
                Ok(Answer::Unknown) | Err(_) => self.facts.count("unknown outcomes"),
                Ok(answer) => {
                    self.leader = Some(node);
                    return Some(answer);
                }
            }
            if attempt > 1 && chance::per_mille(60) {
                return None;
            }
            tokio::time::sleep(chance::within(Duration::from_millis(40 + 40 * attempt))).await;
        }
        None
    }

    fn any_node(&self) -> NodeId {
        let place = usize::try_from(chance::below(self.nodes.len() as u64)).unwrap_or(0);
        self.nodes.get(place).copied().unwrap_or(NodeId(1))
    }

    fn request_id(&self) -> RequestId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&chance::bits().to_be_bytes());
        id[8..].copy_from_slice(&chance::bits().to_be_bytes());
        id[..6].copy_from_slice(&self.clock.now().0.to_be_bytes()[2..]);
        id[6] = 0x70 | id[6] & 0x0f;
        id[8] = 0x80 | id[8] & 0x3f;
        RequestId(id)
    }

    // What the administrator does.

    /// Forms a cluster of the first `voters` nodes.
    pub(crate) async fn form(&mut self, sites: &[Site], voters: usize) -> Result<(), String> {
        let formed =
            self.until(|_| Some((NodeId(1), Ask::Form)), |answer| matches!(answer, Answer::Applied(Ok(_)))).await;
        formed.ok_or("the cluster was not formed")?;
        self.leader = Some(NodeId(1));
        for site in sites.iter().take(voters).skip(1) {
            self.admit(site).await?;
            if !self.promote(site.node).await {
                return Err(format!("{} was not promoted", site.node));
            }
        }
        for number in 0..KEYS.len() as u64 {
            let key = key(number);
            let request = self.request_id();
            let number = self.history.rotates(&key, request, now());
            let made = self.insist(&Ask::Change { request, change: Change::CreateKey { key } }).await;
            if !matches!(made, Some(Answer::Applied(Ok(_)))) {
                return Err(format!("a key was not made: {made:?}"));
            }
            self.history.rotated(number, now(), 1);
        }
        Ok(())
    }

    /// Invites a node, redeems its invitation and adds it as a learner.
    pub(crate) async fn admit(&mut self, site: &Site) -> Result<(), String> {
        let mut token = [0; 16];
        token[..8].copy_from_slice(&chance::bits().to_be_bytes());
        let token = TokenId(token);
        let request = self.request_id();
        let invited = self.insist(&Ask::Change { request, change: Change::Invite { token } }).await;
        if !matches!(invited, Some(Answer::Applied(Ok(_)))) {
            return Err(format!("no invitation: {invited:?}"));
        }
        let command = Command::RedeemNodeToken { token, secret_hash: [7; 32], info: info(site.node), learner: false };
        let question = Ask::Own { actor: Principal::JoinToken, command: Box::new(command) };
        let redeemed = self.insist(&question).await;
        if !matches!(redeemed, Some(Answer::Applied(Ok(Reply::Node(node)))) if node == site.node) {
            return Err(format!("{} was not admitted: {redeemed:?}", site.node));
        }
        let learnt = self.insist(&Ask::Members(MemberChange::Learn(site.node, site.member()))).await;
        matches!(learnt, Some(Answer::Done)).then_some(()).ok_or_else(|| format!("{} is no learner", site.node))
    }

    pub(crate) async fn promote(&mut self, node: NodeId) -> bool {
        matches!(self.insist(&Ask::Members(MemberChange::Promote(node))).await, Some(Answer::Done))
    }

    pub(crate) async fn remove(&mut self, node: NodeId) -> bool {
        matches!(self.insist(&Ask::Members(MemberChange::Remove(node))).await, Some(Answer::Done))
    }

    pub(crate) async fn transfer(&mut self, node: NodeId) -> bool {
        matches!(self.insist(&Ask::Members(MemberChange::Transfer(node))).await, Some(Answer::Done))
    }

    async fn until(
        &mut self,
        next: impl Fn(u64) -> Option<(NodeId, Ask)>,
        done: impl Fn(&Answer) -> bool,
    ) -> Option<Answer> {
        for attempt in 0..20 {
            let (node, question) = next(attempt)?;
            match wire::ask(node, &question, PATIENCE).await {
                Ok(answer) if done(&answer) => return Some(answer),
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        None
    }
}

pub(crate) fn key(number: u64) -> KeyName {
    let text = usize::try_from(number).ok().and_then(|number| KEYS.get(number)).copied().unwrap_or("a");
    name(text, KeyName::parse)
}

/// An operator of a client, by number.
fn operator(client: u64, number: u64) -> OperatorName {
    name(&format!("op-{client}-{number}"), OperatorName::parse)
}

/// True time.
fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

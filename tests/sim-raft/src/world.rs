//! One run of one seed: a cluster forms, lives through bad weather while clients work and members come and go, and must
//! be whole and alive when the sky has cleared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crypto::sign::P256Signer;
use raft::simulation::{Disk, chance, plant};
use raft::{Role, Status};
use turmoil::Sim;
use types::NodeId;

use crate::bugs::Plant;
use crate::checks::Checks;
use crate::clients::Client;
use crate::clocks::Clock;
use crate::facts::Facts;
use crate::faults::Faults;
use crate::history::History;
use crate::node::{Site, Windows};
use crate::scripts::Script;
use crate::tls::Identity;
use crate::wire::name;

const FORMING: Duration = Duration::from_secs(20);
const WEATHER: Duration = Duration::from_secs(20);
/// After all faults have ended, the cluster must serve everybody within this time.
const RECOVERY: Duration = Duration::from_secs(30);
const CLIENTS: u64 = 3;
const SPARES: u64 = 2;

/// How a run ended well.
pub(crate) struct Ended {
    pub(crate) trace: u64,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

/// What the administrator and the harness tell each other.
#[derive(Clone, Default)]
struct Stage {
    /// 0 forming, 1 weather, 2 calm, 3 served.
    now: Arc<AtomicU8>,
    trouble: Arc<Mutex<Option<String>>>,
}

impl Stage {
    fn is(&self, stage: u8) -> bool {
        self.now.load(Ordering::Relaxed) == stage
    }

    fn set(&self, stage: u8) {
        self.now.store(stage, Ordering::Relaxed);
    }

    fn fails(&self, what: String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct World<'a> {
    sim: Sim<'a>,
    sites: Vec<Site>,
    facts: Facts,
    history: History,
    windows: Windows,
    checks: Checks,
    faults: Faults,
    stage: Stage,
    stop: Arc<AtomicBool>,
    script: Option<&'static Script>,
}

/// Runs a seed.
///
/// # Errors
/// What was broken.
pub(crate) fn run(seed: u64, planted: Option<Plant>, script: Option<&'static Script>) -> Result<Ended, String> {
    crypto::tls::install_provider();
    chance::seed(seed);
    plant(planted.and_then(Plant::in_disk));
    let voters = match chance::below(10) {
        _ if script.is_some() => 3,
        0 => 1,
        1..=6 => 3,
        _ => 5,
    };
    let mut world = World::new(seed, voters, planted, script);
    let lived = world.form().and_then(|()| world.weather()).and_then(|()| world.recover());
    if let Some((script, refusal)) = script.and_then(|script| Some((script, script.refusal?))) {
        return match lived {
            Err(what) if what.contains(refusal) => {
                Ok(Ended { trace: world.facts.trace_hash(), counts: world.facts.counts() })
            }
            other => Err(format!("{}: it was not noticed: {other:?}", script.name)),
        };
    }
    lived?;
    script.map_or(Ok(()), |script| script.judge(&world.facts))?;
    world.judge()
}

impl World<'_> {
    fn new(seed: u64, voters: u64, planted: Option<Plant>, script: Option<&'static Script>) -> Self {
        let mut builder = turmoil::Builder::new();
        builder
            .rng_seed(seed)
            .enable_random_order()
            .simulation_duration(Duration::from_secs(600))
            .min_message_latency(Duration::from_micros(200))
            .max_message_latency(Duration::from_millis(8))
            .repair_rate(0.5)
            .tcp_capacity(1_024);
        let mut sim = builder.build();
        let (facts, history, windows) = (Facts::default(), History::default(), Windows::default());
        let sites = sites(voters + if script.is_some() { 0 } else { SPARES }, &facts, &windows, planted);
        for site in &sites {
            let site = site.clone();
            Disk::of(site.node).slow(Duration::from_millis(2));
            site.clock.drift(i64::try_from(chance::below(8_000)).unwrap_or(0) - 4_000);
            site.clock.skew(i64::try_from(chance::below(4_000)).unwrap_or(0) - 2_000);
            sim.host(name(site.node), move || site.clone().run());
        }
        let checks = Checks::new(facts.clone(), windows.clone(), sites.iter().map(|site| site.node));
        let (stage, stop) = (Stage::default(), Arc::new(AtomicBool::new(false)));
        let voters = usize::try_from(voters).unwrap_or(1);
        let client = |number| Client {
            number,
            facts: facts.clone(),
            history: history.clone(),
            clock: Clock::default(),
            nodes: sites.iter().take(voters).map(|site| site.node).collect(),
            stop: Arc::clone(&stop),
            leader: None,
            served: 0,
        };
        sim.client("admin", administer(client(0), sites.clone(), voters, stage.clone(), script));
        for number in 1..=CLIENTS {
            let (client, stage) = (client(number), stage.clone());
            sim.client(format!("client-{number}"), async move {
                while stage.is(0) {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                client.work().await
            });
        }
        let faults = Faults::new(Vec::new(), None, Duration::ZERO);
        World { sim, sites, facts, history, windows, checks, faults, stage, stop, script }
    }

    fn step(&mut self) -> Result<(), String> {
        self.sim.step().map_err(|error| format!("a host ended badly: {error}"))?;
        self.checks.step()?;
        self.stage.trouble().map_or(Ok(()), Err)
    }

    /// A step in good weather: who stopped because of an earlier fault is started again.
    fn tend(&mut self) -> Result<(), String> {
        let now = self.sim.elapsed();
        self.faults.tend(&mut self.sim, &mut self.checks, now);
        self.step()
    }

    fn form(&mut self) -> Result<(), String> {
        while self.stage.is(0) {
            self.step()?;
            if self.sim.elapsed() > FORMING {
                return Err("the cluster was not formed in time".to_owned());
            }
        }
        Ok(())
    }

    fn weather(&mut self) -> Result<(), String> {
        self.faults = Faults::new(self.sites.clone(), self.script, self.sim.elapsed());
        let end = self.sim.elapsed() + self.script.map_or(WEATHER, |script| Duration::from_secs(script.lasts));
        while self.sim.elapsed() < end {
            let now = self.sim.elapsed();
            self.faults.step(&mut self.sim, &mut self.checks, now);
            self.step()?;
        }
        self.faults.end(&mut self.sim);
        self.facts.trace("calm");
        self.stage.set(2);
        let end = self.sim.elapsed() + RECOVERY;
        while !self.stage.is(3) {
            self.tend()?;
            if self.sim.elapsed() > end {
                return Err(format!("not served within {RECOVERY:?} after all faults had ended: {}", self.describe()));
            }
        }
        Ok(())
    }

    /// Clients stop; every member must reach one state.
    fn recover(&mut self) -> Result<(), String> {
        self.stop.store(true, Ordering::Relaxed);
        let end = self.sim.elapsed() + RECOVERY;
        loop {
            self.tend()?;
            if self.whole() {
                return Ok(());
            }
            if self.sim.elapsed() > end {
                return Err(format!("the members did not reach one state within {RECOVERY:?}: {}", self.describe()));
            }
        }
    }

    /// Whether every member has applied all that was committed, and the clients are done.
    fn whole(&mut self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let last = self.checks.last_committed();
        let reached = leader
            .members
            .all
            .keys()
            .all(|node| self.windows.open(*node).is_some_and(|window| window.states.borrow().applied >= last));
        let clients_done = (1..=CLIENTS).all(|number| !self.sim.is_host_running(format!("client-{number}")));
        reached && clients_done
    }

    fn leader(&self) -> Option<Arc<Status>> {
        let windows = self.sites.iter().filter_map(|site| self.windows.open(site.node));
        let statuses = windows.map(|window| Arc::clone(&window.status.borrow()));
        statuses.filter(|status| status.role == Role::Leader).max_by_key(|status| status.term)
    }

    fn judge(self) -> Result<Ended, String> {
        let leader = self.leader().ok_or("there is no leader in the end")?;
        let states: Vec<_> = leader
            .members
            .all
            .keys()
            .filter_map(|node| self.windows.open(*node))
            .map(|window| Arc::clone(&window.states.borrow()))
            .collect();
        let Some(first) = states.first() else { return Err("there is no member in the end".to_owned()) };
        for other in &states {
            if other.applied == first.applied && other.state.hash() != first.state.hash() {
                return Err("the members ended in different states".to_owned());
            }
        }
        self.facts.check_whole(&first.state)?;
        self.history.check(&first.state)?;
        let snapshots: BTreeSet<u64> =
            self.sites.iter().filter_map(|site| self.windows.open(site.node)?.status.borrow().purged).collect();
        self.facts.trace(&format!("ended at {} {:?} {snapshots:?}", first.applied, first.state));
        Ok(Ended { trace: self.facts.trace_hash(), counts: self.facts.counts() })
    }

    fn describe(&self) -> String {
        let windows = self.sites.iter().map(|site| (site.node, self.windows.open(site.node)));
        let lines = windows.map(|(node, window)| match window {
            None => format!("{node} is down"),
            Some(window) => {
                let status = window.status.borrow();
                format!(
                    "{node} {:?} term {} leader {:?} log {:?} committed {:?} applied {:?} purged {:?} voters {:?} {}",
                    status.role,
                    status.term,
                    status.leader,
                    status.last_log,
                    status.committed,
                    status.applied,
                    status.purged,
                    status.members.voters,
                    status.failure.clone().unwrap_or_default(),
                )
            }
        });
        lines.collect::<Vec<_>>().join("; ")
    }
}

fn sites(count: u64, facts: &Facts, windows: &Windows, planted: Option<Plant>) -> Vec<Site> {
    let identities: Vec<(NodeId, Identity)> =
        (1..=count).map(|number| (NodeId(number), Identity::new(&P256Signer::generate()))).collect();
    let keys = Arc::new(identities.iter().map(|(node, identity)| (*node, identity.spki)).collect::<BTreeMap<_, _>>());
    let site = |(node, identity)| Site {
        node,
        facts: facts.clone(),
        clock: Clock::default(),
        plant: planted,
        identity,
        keys: Arc::clone(&keys),
        windows: windows.clone(),
        damage: Arc::default(),
    };
    identities.into_iter().map(site).collect()
}

/// Forms the cluster, changes its members while the weather is bad, and sees whether it serves when it is good.
async fn administer(
    mut admin: Client,
    sites: Vec<Site>,
    voters: usize,
    stage: Stage,
    script: Option<&'static Script>,
) -> turmoil::Result {
    if let Err(what) = admin.form(&sites, voters).await {
        stage.fails(what);
        return Ok(());
    }
    stage.set(1);
    let mut spares = sites.iter().skip(voters);
    let mut members: Vec<NodeId> = sites.iter().take(voters).map(|site| site.node).collect();
    while stage.is(1) {
        let restless = script.is_some_and(|script| script.restless);
        tokio::time::sleep(chance::within(Duration::from_millis(if restless { 600 } else { 3_000 }))).await;
        let place = usize::try_from(chance::below(members.len() as u64)).unwrap_or(0);
        let Some(node) = members.get(place).copied() else { continue };
        match chance::below(6) {
            _ if script.is_some() && !restless => {}
            _ if restless || chance::per_mille(400) => {
                if admin.transfer(node).await {
                    admin.facts.count("transfers");
                }
            }
            0..=3 => {
                let Some(site) = spares.next() else { continue };
                if admin.admit(site).await.is_ok() {
                    admin.facts.count("learners");
                    if admin.promote(site.node).await {
                        admin.facts.count("promotions");
                        members.push(site.node);
                    }
                }
            }
            4..=5 if members.len() > 3 => {
                members.remove(place);
                if admin.remove(node).await {
                    admin.facts.count("removals");
                }
            }
            _ => {}
        }
    }
    // Calm: everything that is asked is answered, or the harness says that it took too long. Of those that were removed nobody asks.
    admin.nodes = members;
    while admin.probe().await.is_err() {}
    stage.set(3);
    Ok(())
}

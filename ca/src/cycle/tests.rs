//! The cycle as a table of single questions, and as weeks of simulated time in which invariant 8 is judged by a model that
//! knows what every agent really holds.

use proptest::prelude::*;
use types::limits::{AUTHORITY_LIFE, AUTHORITY_STANDBY, BUNDLE_ROOTS_MAX, SVID_TTL_DEFAULT};

use super::*;
use crate::testkit::NOW;

const HOUR: Millis = Millis::from_hours(1);

fn hours(n: u64) -> Time {
    NOW.after(Millis::from_hours(n))
}

fn made(node: u64, name: u8, generated: Time) -> Authority {
    Authority {
        node: NodeId(node),
        key: SpkiHash([name; 32]),
        certificate: Vec::new(),
        state: AuthorityState::Generated,
        generated,
        published: None,
        activated: None,
        ended: None,
        not_after: generated.after(AUTHORITY_LIFE),
        published_sequence: 0,
    }
}

fn taken(mut authority: Authority, steps: &[(Step, Time)]) -> Authority {
    for (step, at) in steps {
        authority.advance(*step, *at, 10).expect("a step");
    }
    authority
}

fn published(node: u64, name: u8, at: Time) -> Authority {
    taken(made(node, name, at), &[(Step::Publish, at)])
}

fn active(node: u64, name: u8, at: Time) -> Authority {
    taken(published(node, name, at), &[(Step::Activate, at)])
}

fn due(now: Time, authorities: &[Authority], voters: &[u64], holders: &[Holder]) -> Vec<Due> {
    let voters = voters.iter().copied().map(NodeId).collect();
    what_is_due(now, authorities, Knowledge { voters: &voters, holders, svid_ttl_max: SVID_TTL_DEFAULT })
}

fn step(name: u8, step: Step) -> Due {
    Due::Step(SpkiHash([name; 32]), step)
}

const SILENT: Holder = Holder { acknowledged: 0, live_until: Time::NEVER };
const KNOWING: Holder = Holder { acknowledged: 10, live_until: Time::NEVER };

#[test]
fn the_first_start_does_not_wait() {
    assert_eq!(due(NOW, &[], &[1, 2], &[]), [Due::Generate(NodeId(1)), Due::Generate(NodeId(2))]);
    assert_eq!(due(NOW, &[made(1, 1, NOW)], &[1], &[]), [step(1, Step::Publish)]);
    assert_eq!(due(NOW, &[published(1, 1, NOW)], &[1], &[]), [step(1, Step::Activate)]);
    let second = [active(1, 1, NOW), published(1, 2, NOW)];
    assert_eq!(due(NOW, &second, &[1], &[]), [], "the stand-by waits for its turn");
    let others = [active(1, 1, NOW), published(2, 2, NOW)];
    assert_eq!(
        due(NOW, &others, &[1, 2], &[]),
        [step(2, Step::Activate), Due::Generate(NodeId(1))],
        "no agent, no SVID"
    );
}

#[test]
fn p57_activation_waits_until_every_live_agent_knows() {
    let held = [active(1, 1, NOW), published(1, 3, NOW), published(2, 2, NOW)];
    assert_eq!(due(NOW, &held, &[1, 2], &[KNOWING]), [], "an hour in the bundle first, even when all know");
    assert_eq!(due(hours(1), &held, &[1, 2], &[KNOWING]), [step(2, Step::Activate)]);
    assert_eq!(due(hours(1), &held, &[1, 2], &[KNOWING, SILENT]), [], "one does not know");
    let gone = Holder { live_until: hours(1), ..SILENT };
    assert_eq!(due(hours(1), &held, &[1, 2], &[KNOWING, gone]), [step(2, Step::Activate)], "it holds nothing any more");
    assert_eq!(due(hours(2), &held, &[1, 2], &[KNOWING, SILENT]), [step(2, Step::Activate)], "it delays, never blocks");
}

#[test]
fn a_silent_agent_is_issued_nothing_until_it_acknowledges() {
    let held = [active(1, 1, NOW), published(2, 2, NOW)];
    let check = |now, acknowledged| check_holder(now, acknowledged, &held, SVID_TTL_DEFAULT).is_ok();
    assert!(check(hours(1).before(Millis(1)), 0), "it still has time");
    assert!(!check(hours(1), 9));
    assert!(check(hours(1), 10));
    let drained = taken(held[0].clone(), &[(Step::Drain, hours(1))]);
    assert!(check_holder(hours(9), 0, &[drained], SVID_TTL_DEFAULT).is_ok(), "what signs no more is no reason");
}

#[test]
fn an_authority_serves_sixty_hours_and_hands_over() {
    let held = [active(1, 1, NOW), published(1, 2, NOW)];
    assert_eq!(due(hours(60).before(Millis(1)), &held, &[1], &[KNOWING]), []);
    assert_eq!(due(hours(60), &held, &[1], &[KNOWING]), [step(2, Step::Activate), step(1, Step::Drain)]);
    let alone = [active(1, 1, NOW)];
    assert_eq!(due(hours(60), &alone, &[1], &[KNOWING]), [Due::Generate(NodeId(1))], "better than none at all");
    assert_eq!(
        due(hours(140), &alone, &[1], &[KNOWING]),
        [step(1, Step::Drain), Due::Generate(NodeId(1))],
        "no longer"
    );
}

#[test]
fn p58_a_root_leaves_when_no_svid_of_it_can_be_valid() {
    let drained = taken(active(1, 1, NOW), &[(Step::Drain, hours(60))]);
    let held = [drained, active(1, 2, hours(60)), published(1, 3, hours(60))];
    assert_eq!(due(hours(88).before(Millis(1)), &held, &[1], &[]), []);
    assert_eq!(due(hours(88), &held, &[1], &[]), [step(1, Step::Retire)]);
}

#[test]
fn a_tainted_authority_leaves_once_all_that_it_signed_was_replaced() {
    let tainted = taken(active(1, 1, NOW), &[(Step::Taint, hours(1))]);
    let held = [tainted, active(1, 2, hours(1)), published(1, 3, hours(1))];
    // Nobody has an SVID for longer than an hour: long before a drained one would go.
    assert_eq!(due(hours(2).before(Millis(1)), &held, &[1], &[]), []);
    assert_eq!(due(hours(2), &held, &[1], &[]), [step(1, Step::Retire)]);
}

#[test]
fn after_a_week_asleep_activation_is_immediate() {
    let held = [active(1, 1, NOW), published(1, 2, NOW)];
    let woken = NOW.after(Millis::from_days(8));
    assert_eq!(
        due(woken, &held, &[1], &[SILENT]),
        [step(1, Step::Drain), step(2, Step::Retire), Due::Generate(NodeId(1))],
        "both have passed their NotAfter"
    );
    let next = [held[0].clone(), published(1, 3, woken)];
    assert!(due(woken, &next, &[1], &[SILENT]).contains(&step(3, Step::Activate)), "no SVID can be valid");
}

#[test]
fn a_removed_voters_authorities_go() {
    let held = [active(2, 1, NOW), published(2, 2, NOW), made(2, 3, NOW)];
    let removed = due(NOW, &held, &[], &[KNOWING]);
    assert_eq!(removed, [step(1, Step::Drain), step(2, Step::Retire), step(3, Step::Retire)]);
}

#[test]
fn a_full_bundle_publishes_nothing() {
    let mut held: Vec<_> = (0..BUNDLE_ROOTS_MAX as u8).map(|n| active(u64::from(n), n, NOW)).collect();
    held.push(made(99, 99, NOW));
    assert!(!due(NOW, &held, &[99], &[]).contains(&step(99, Step::Publish)));
    held[0].state = AuthorityState::Retired;
    assert!(due(NOW, &held, &[99], &[]).contains(&step(99, Step::Publish)));
}

/// What an agent really holds.
struct Agent {
    acknowledged: u64,
    /// The ends of its SVIDs.
    svids: Vec<Time>,
    silent: bool,
}

/// A cluster whose records are run by the cycle and whose agents are as good or bad as the case says.
struct Model {
    now: Time,
    voters: BTreeSet<NodeId>,
    authorities: Vec<Authority>,
    agents: Vec<Agent>,
    sequence: u64,
    names: u8,
}

impl Model {
    fn new(voters: u64, agents: usize) -> Self {
        let agents = (0..agents).map(|_| Agent { acknowledged: 0, svids: Vec::new(), silent: false }).collect();
        let voters = (1..=voters).map(NodeId).collect();
        Self { now: NOW, voters, authorities: Vec::new(), agents, sequence: 0, names: 0 }
    }

    /// One tick: what is due is done, agents acknowledge and renew.
    fn tick(&mut self, length: Millis) {
        self.now = self.now.after(length);
        // The state machine does not know what agents hold: it names every enrolled one and takes the worst.
        let holders: Vec<_> = self.agents.iter().map(|a| Holder { acknowledged: a.acknowledged, ..SILENT }).collect();
        loop {
            let voters = self.voters.clone();
            let knowledge = Knowledge { voters: &voters, holders: &holders, svid_ttl_max: SVID_TTL_DEFAULT };
            let due = what_is_due(self.now, &self.authorities, knowledge);
            if due.is_empty() {
                break;
            }
            for due in due {
                self.perform(due);
            }
        }
        assert!(self.authorities.iter().filter(|a| a.is_in_bundle()).count() <= BUNDLE_ROOTS_MAX);
        self.authorities.retain(|authority| authority.state != AuthorityState::Retired);
        self.renew();
    }

    fn perform(&mut self, due: Due) {
        match due {
            Due::Generate(node) => {
                self.names = self.names.wrapping_add(1);
                self.authorities.push(made(node.0, self.names, self.now));
            }
            Due::Step(key, step) => {
                let at = self.authorities.iter().position(|a| a.key == key).expect("an authority");
                match step {
                    Step::Activate => self.judge_activation(at),
                    Step::Retire => self.judge_retirement(at),
                    _ => {}
                }
                self.sequence += 1;
                self.authorities[at].advance(step, self.now, self.sequence).expect("what is due is allowed");
            }
        }
    }

    /// Invariant 8: whoever may be shown an SVID of this authority knows its root.
    fn judge_activation(&self, at: usize) {
        let sequence = self.authorities[at].published_sequence;
        for agent in &self.agents {
            let holds = agent.svids.iter().any(|end| *end > self.now);
            assert!(!holds || agent.acknowledged >= sequence, "an agent with a valid SVID does not know the root");
        }
    }

    /// Point 58: an SVID ends at the latest 28 hours after its authority stopped signing.
    fn judge_retirement(&self, at: usize) {
        let authority = &self.authorities[at];
        if authority.activated.is_some() {
            let ended = authority.ended.expect("it stopped");
            assert!(self.now >= ended.after(SVID_TTL_MAX) || self.now >= authority.not_after);
        }
    }

    fn renew(&mut self) {
        let signs = |a: &Authority| a.state == AuthorityState::Active && self.now < a.signs_until();
        let can_issue = self.authorities.iter().any(signs);
        for agent in &mut self.agents {
            agent.svids.retain(|end| *end > self.now);
            if agent.silent {
                // It asks for SVIDs but never says which bundle it has pushed.
            } else {
                agent.acknowledged = self.sequence;
            }
            let allowed = check_holder(self.now, agent.acknowledged, &self.authorities, SVID_TTL_DEFAULT).is_ok();
            if can_issue && allowed {
                agent.svids.push(self.now.after(SVID_TTL_DEFAULT));
            }
        }
    }

    fn is_served(&self) -> bool {
        let active = |node: &NodeId| {
            has(&self.authorities, *node, |a| a.state == AuthorityState::Active && self.now < a.signs_until())
        };
        self.voters.iter().all(active)
    }
}

#[test]
fn five_voters_run_for_two_months() {
    let mut model = Model::new(5, 3);
    model.agents[2].silent = true;
    for tick in 0..60 * 24 * 4 {
        model.tick(Millis(HOUR.0 / 4));
        assert!(tick < 12 || model.is_served(), "tick {tick}: a voter has nothing to sign with");
        for authority in &model.authorities {
            let stood_by = authority.activated.unwrap_or(model.now).since(authority.generated);
            assert!(stood_by <= Millis(AUTHORITY_STANDBY.0 + 2 * SVID_TTL_DEFAULT.0 + HOUR.0), "stood by {stood_by}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Sleeping laptops, agents that fall silent and come back, voters that come and go.
    #[test]
    fn no_authority_signs_before_it_is_known(
        events in prop::collection::vec((0u64..10, 0usize..4, any::<bool>(), 0u64..11), 1..120),
    ) {
        let mut model = Model::new(3, 4);
        for (quarters, agent, silent, voter) in events {
            model.agents[agent].silent = silent;
            match voter {
                8 => model.tick(Millis::from_hours(30)),
                9 => model.tick(Millis::from_days(8)),
                // Whoever was a voter leaves, whoever was not joins.
                10 if !model.voters.remove(&NodeId(4)) => drop(model.voters.insert(NodeId(4))),
                _ => {}
            }
            model.tick(Millis(quarters * HOUR.0 / 4));
        }
    }
}

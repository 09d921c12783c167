//! Fleets that come and go, from a seed: what must hold whatever happens.

use std::collections::{BTreeMap, BTreeSet};

use api::skein::RolloutPhase;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::facts::{Fact, Health, Link};
use super::planner::{Decision, Input, decide};
use super::settings::Settings;
use super::state::{Stage, State};
use super::tests::settings;
use super::waves::membership;

const MINUTE: u64 = 60_000;

/// A target with what it is really like.
#[derive(Clone, Debug)]
struct Target {
    name: String,
    labels: BTreeMap<String, String>,
    given: Option<String>,
    given_at: u64,
    /// What it carries out, which it gets only while it is connected.
    has: Option<String>,
    ready_at: u64,
    link: Link,
}

/// Draws numbers from a seed (xorshift64*).
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound.max(1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

struct Fleet {
    settings: Settings,
    draw: Draw,
    state: State,
    revision: String,
    command: Option<String>,
    now: u64,
    targets: Vec<Target>,
    /// Revisions that do not work, and on how many of a hundred targets.
    broken: BTreeMap<String, u64>,
    /// How many of a hundred come and go at a step.
    restless: u64,
    /// Whether some go and others come.
    changing: bool,
    born: usize,
    /// Who ever was given what.
    ever: BTreeSet<(String, String)>,
}

impl Fleet {
    fn new(spec: Value, seed: u64, count: usize) -> Self {
        let mut fleet = Self {
            settings: settings(spec),
            draw: Draw(seed | 1),
            state: State::complete("uid", "r1", 1),
            revision: "r1".to_owned(),
            command: None,
            now: MINUTE,
            targets: Vec::new(),
            broken: BTreeMap::new(),
            restless: 0,
            changing: false,
            born: 0,
            ever: BTreeSet::new(),
        };
        (0..count).for_each(|_| fleet.birth(Some("r1".to_owned())));
        fleet
    }

    fn birth(&mut self, given: Option<String>) {
        self.born += 1;
        let zone = ["a", "b", "c"][usize::try_from(self.draw.below(3)).unwrap()];
        self.targets.push(Target {
            name: format!("default/edge-{:05}", self.born),
            labels: BTreeMap::from([("zone".to_owned(), zone.to_owned())]),
            has: given.clone(),
            given,
            given_at: 0,
            ready_at: 0,
            link: Link::Up(self.now),
        });
    }

    fn fails(&self, target: &Target, revision: &str) -> bool {
        let share = self.broken.get(revision).copied().unwrap_or_default();
        let digest =
            target.name.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        digest % 100 < share
    }

    fn health(&self, target: &Target) -> Health {
        match (&target.given, &target.has) {
            (Some(given), Some(has)) if given == has && self.fails(target, has) => Health::Failed(0),
            (Some(given), Some(has)) if given == has && target.ready_at <= self.now => Health::Ready,
            _ => Health::Waiting,
        }
    }

    fn look(&self) -> Decision {
        let facts: Vec<_> = self.facts();
        let input = Input {
            settings: &self.settings,
            revision: &self.revision,
            state: &self.state,
            targets: &facts,
            command: self.command.as_deref(),
            now: self.now,
        };
        let decision = decide(input);
        assert_eq!(decision, decide(input), "the same input gives the same");
        decision
    }

    fn facts(&self) -> Vec<Fact<'_>> {
        self.targets
            .iter()
            .map(|target| Fact {
                name: &target.name,
                labels: &target.labels,
                given: target.given.as_deref(),
                given_at: target.given_at,
                health: self.health(target),
                link: target.link,
                held: false,
            })
            .collect()
    }

    /// Targets that are not ready because of what they were given since the rollout began: those that can be heard, and
    /// those that cannot but are still waited for.
    fn disturbed(&self, waves: &[usize]) -> (usize, usize) {
        let mine = |target: &Target| target.given_at >= self.state.origin && target.given_at > 0;
        // Those of later waves are on their way back from a revision before this one.
        let unready = self.targets.iter().zip(waves).filter(|(target, wave)| {
            (**wave <= self.state.wave || target.given.as_ref() == Some(&self.revision))
                && mine(target)
                && self.health(target) != Health::Ready
        });
        let (mut here, mut away) = (0, 0);
        for (target, _) in unready {
            match target.link {
                Link::Up(_) => here += 1,
                Link::Away(Some(since)) if since + self.settings.away_deadline <= self.now => {}
                Link::Away(_) | Link::Unsettled => away += 1,
            }
        }
        (here, away)
    }

    /// The hub decides until nothing more follows; every decision is checked.
    fn hub(&mut self) -> Decision {
        for _ in 0..200 {
            let decision = self.look();
            if decision.state == self.state && decision.give.is_empty() {
                return decision;
            }
            self.check(&decision);
            for gift in &decision.give {
                let target = &mut self.targets[gift.target];
                self.ever.insert((target.name.clone(), gift.revision.clone()));
                target.given = Some(gift.revision.clone());
                target.given_at = if gift.known { 0 } else { self.now };
            }
            // The hub may be killed between any two steps: nothing is remembered but this.
            self.state = decision.state;
        }
        panic!("the hub does not come to rest: {:?}", self.state)
    }

    fn check(&self, decision: &Decision) {
        assert!(
            decision.state == self.state || decision.give.is_empty(),
            "decisions are durable before effects"
        );
        let waves = membership(&self.settings.waves, &self.facts());
        let gifts: Vec<_> = decision.give.iter().filter(|gift| !gift.known).collect();
        let back = self.state.stage == Stage::RollingBack;
        for gift in &gifts {
            let target = &self.targets[gift.target];
            assert!(
                self.state.paused.is_none() && self.state.stage != Stage::Aborted,
                "nobody while it is held"
            );
            if back {
                assert_eq!(Some(&gift.revision), self.state.completed.as_ref(), "back to what was completed");
            } else {
                let in_turn = waves[gift.target] <= self.state.wave || self.state.stage == Stage::Completed;
                if !in_turn {
                    let mends = Some(&gift.revision) == self.state.completed.as_ref()
                        && self.health(target) != Health::Ready;
                    assert!(mends, "{} is of a later wave", target.name);
                    continue;
                }
                assert_eq!(gift.revision, self.revision, "only forwards");
                assert!(matches!(target.link, Link::Up(_)), "{} is away and gets nothing new", target.name);
            }
        }
        // Whoever was ready and gets something is unavailable from then on.
        let (here, away) = self.disturbed(&waves);
        let new = |at: usize| {
            let target = &self.targets[at];
            let mine = target.given_at >= self.state.origin && target.given_at > 0;
            !(mine && self.health(target) != Health::Ready)
        };
        let more = gifts
            .iter()
            .filter(|gift| new(gift.target) && matches!(self.targets[gift.target].link, Link::Up(_)));
        let more = more.count();
        let reached = waves.iter().filter(|wave| **wave <= self.state.wave).count();
        let (wave, of) = match self.state.stage {
            Stage::Rolling => (self.state.wave, reached),
            Stage::RollingBack | Stage::Aborted | Stage::Completed => {
                (self.settings.waves.len() - 1, waves.len())
            }
        };
        let most = self.settings.waves[wave].max_unavailable.floor(of).max(1);
        if more > 0 && self.state.stage == Stage::Rolling {
            let carried = self.settings.away.floor(reached);
            assert!(here + more <= most, "{here} and {more} more are unavailable, {most} may be");
            assert!(
                here + away + more <= most + carried,
                "{here} here, {away} away, {more} more, {most} may be and {carried} carried"
            );
        }
        assert!(more <= most, "{more} at once, {most} may be");
    }

    /// Time passes: links come and go, plans arrive, targets are born and die.
    fn world(&mut self) {
        self.now += MINUTE;
        for at in 0..self.targets.len() {
            let up = matches!(self.targets[at].link, Link::Up(_));
            // Whoever is away comes back sooner than others go.
            let share = if up { self.restless } else { self.restless * 5 };
            if share > 0 && self.draw.chance(share.min(90)) {
                self.targets[at].link = if up { Link::Away(Some(self.now)) } else { Link::Up(self.now) };
            }
            let takes = 1 + self.draw.below(4);
            let target = &mut self.targets[at];
            if matches!(target.link, Link::Up(_)) && target.has != target.given {
                target.has.clone_from(&target.given);
                target.ready_at = self.now + takes * MINUTE;
            }
        }
        if self.changing && self.draw.chance(10) && self.targets.len() > 2 {
            let at = usize::try_from(self.draw.below(self.targets.len() as u64)).unwrap();
            self.targets.remove(at);
            self.birth(None);
        }
    }

    fn run(&mut self, steps: usize) -> Decision {
        for _ in 0..steps {
            let before: Vec<_> =
                self.targets.iter().map(|one| (one.name.clone(), one.given.clone())).collect();
            let stage = self.state.stage;
            let decision = self.hub();
            for ((name, was), target) in before.iter().zip(&self.targets) {
                let left =
                    was.as_ref() == Some(&self.revision) && target.given.as_ref() != Some(&self.revision);
                let back = stage == Stage::RollingBack
                    || self.state.stage == Stage::RollingBack
                    || self.state.stage == Stage::Aborted;
                assert!(!left || back, "{name} went back to {:?}", target.given);
            }
            if matches!(decision.phase, RolloutPhase::Completed | RolloutPhase::Aborted) && self.restless == 0
            {
                let at_rest = self.targets.iter().all(|one| self.health(one) != Health::Waiting);
                if at_rest {
                    return decision;
                }
            }
            self.world();
        }
        self.hub()
    }

    /// Everybody is there and stays.
    fn calm(&mut self) {
        self.restless = 0;
        self.changing = false;
        let now = self.now;
        self.targets.iter_mut().for_each(|target| target.link = Link::Up(now));
    }
}

fn waves() -> impl Strategy<Value = Value> {
    let amount = prop_oneof![
        (1..20_i64).prop_map(|number| json!(number)),
        (1..=100).prop_map(|share| json!(format!("{share}%")))
    ];
    let wave =
        (0..4_usize, proptest::option::of(amount.clone()), proptest::option::of(amount.clone()), 0..3_u8);
    let wave = wave.prop_map(|(zone, edges, most, soak)| {
        let mut wave = json!({"soakTime": format!("{soak}m")});
        if let Some(zone) = ["a", "b", "c"].get(zone) {
            wave["selector"] = json!({"matchLabels": {"zone": zone}});
        }
        edges.into_iter().for_each(|edges| wave["edges"] = edges);
        most.into_iter().for_each(|most| wave["maxUnavailable"] = most);
        wave
    });
    (proptest::collection::vec(wave, 0..5), amount.clone(), amount, any::<bool>(), any::<bool>()).prop_map(
        |(mut waves, most, away, stop, abort)| {
            for (at, wave) in waves.iter_mut().enumerate() {
                wave["name"] = json!(format!("wave-{at}"));
            }
            let mut spec = json!({
                "waves": waves, "maxUnavailable": most, "away": {"max": away, "deadline": "1h"},
                "onAbort": if stop { "Stop" } else { "Rollback" },
            });
            if abort {
                spec["abortOnFailure"] = json!("20%");
            }
            spec
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_revision_that_works_reaches_everybody_however_they_come_and_go(
        spec in waves(), seed in any::<u64>(), count in 1..60_usize, restless in 0..20_u64, changing in any::<bool>(),
    ) {
        let mut fleet = Fleet::new(spec, seed, count);
        fleet.revision = "r2".to_owned();
        (fleet.restless, fleet.changing) = (restless, changing);
        fleet.run(60);
        // Superseded in the middle.
        fleet.revision = "r3".to_owned();
        fleet.run(60);
        fleet.calm();
        let decision = fleet.run(3_000);
        prop_assert_eq!(decision.phase, RolloutPhase::Completed, "{}", decision.message);
        prop_assert_eq!(decision.counts.ready, fleet.targets.len());
        prop_assert!(fleet.targets.iter().all(|target| target.has.as_deref() == Some("r3")));
    }

    #[test]
    fn a_revision_that_breaks_some_never_takes_more_than_its_budget_and_can_be_left(
        spec in waves(), seed in any::<u64>(), count in 1..60_usize, restless in 0..20_u64, share in 1..=100_u64,
    ) {
        let mut fleet = Fleet::new(spec, seed, count);
        fleet.revision = "r2".to_owned();
        fleet.broken.insert("r2".to_owned(), share);
        fleet.restless = restless;
        fleet.run(200);
        // Nobody paused it, and nobody who is merely away has failed.
        fleet.command = Some("abort".to_owned());
        fleet.run(60);
        fleet.revision = "r1".to_owned();
        fleet.calm();
        let decision = fleet.run(3_000);
        prop_assert_eq!(decision.phase, RolloutPhase::Completed, "{}", decision.message);
        prop_assert!(fleet.targets.iter().all(|target| target.has.as_deref() == Some("r1")));
    }

    #[test]
    fn a_pause_holds_whatever_happens(spec in waves(), seed in any::<u64>(), count in 1..40_usize) {
        let mut fleet = Fleet::new(spec, seed, count);
        fleet.revision = "r2".to_owned();
        fleet.restless = 5;
        fleet.run(5);
        fleet.command = Some("pause".to_owned());
        fleet.hub();
        let given: Vec<_> = fleet.targets.iter().map(|target| target.given.clone()).collect();
        let done = fleet.state.stage == Stage::Completed;
        fleet.run(100);
        let after: Vec<_> = fleet.targets.iter().map(|target| target.given.clone()).collect();
        prop_assert!(given == after);
        fleet.command = Some("resume".to_owned());
        fleet.calm();
        fleet.run(3_000);
        prop_assert!(done || fleet.state.stage == Stage::Completed);
    }
}

#[test]
fn five_thousand_edges_that_come_and_go_get_what_works_and_are_spared_what_does_not() {
    let spec = json!({
        "waves": [
            {"name": "canary", "edges": 20, "maxUnavailable": 5, "soakTime": "10m"},
            {"name": "zone-a", "selector": {"matchLabels": {"zone": "a"}}, "maxUnavailable": "5%", "soakTime": "5m"},
        ],
        "maxUnavailable": "10%", "abortOnFailure": "2%", "deadline": "30m",
        "away": {"max": "30%", "deadline": "6h"},
    });
    let mut fleet = Fleet::new(spec, 20_261_122, 5_000);
    fleet.restless = 3;
    fleet.changing = true;
    fleet.revision = "good".to_owned();
    let mut steps = 0;
    while fleet.state.completed.as_deref() != Some("good") {
        fleet.run(1);
        steps += 1;
        assert!(steps < 200, "{}", fleet.look().message);
    }
    // One in three breaks: the canaries show it, and nobody else ever sees it.
    fleet.revision = "bad".to_owned();
    fleet.broken.insert("bad".to_owned(), 33);
    fleet.run(30);
    let seen = fleet.ever.iter().filter(|(_, revision)| revision == "bad").count();
    assert!((1..=20).contains(&seen), "{seen} were given a revision that breaks");
    fleet.calm();
    fleet.run(100);
    assert_eq!(fleet.state.stage, Stage::Aborted);
    assert!(fleet.targets.iter().all(|target| target.has.as_deref() == Some("good")));
}

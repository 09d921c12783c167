//! One rule of the planner a test.

use std::collections::BTreeMap;

use api::skein::{RolloutPhase, RolloutSpec};
use serde_json::{Value, json};

use super::facts::{Fact, Health, Link};
use super::planner::{Decision, Input, decide};
use super::settings::Settings;
use super::state::{Stage, State};

const HOUR: u64 = 3_600_000;
/// Failed for as long as anybody remembers.
const FAILED: Health = Health::Failed(0);

pub(super) fn settings(spec: Value) -> Settings {
    Settings::of(&serde_json::from_value::<RolloutSpec>(spec).unwrap()).unwrap()
}

/// A fleet on paper: what is decided is done at once.
struct Paper {
    settings: Settings,
    state: State,
    revision: String,
    command: Option<String>,
    now: u64,
    targets: Vec<Target>,
}

#[derive(Clone)]
struct Target {
    name: String,
    labels: BTreeMap<String, String>,
    given: Option<String>,
    given_at: u64,
    health: Health,
    link: Link,
    held: bool,
}

impl Paper {
    /// So many targets with revision `r1`, in zones `a` and `b` in turn, of which `r2` is to be had.
    fn new(spec: Value, count: usize) -> Self {
        let target = |at: usize| Target {
            name: format!("default/edge-{at:03}"),
            labels: BTreeMap::from([("zone".to_owned(), ["a", "b"][at % 2].to_owned())]),
            given: Some("r1".to_owned()),
            given_at: 0,
            health: Health::Ready,
            link: Link::Up(1),
            held: false,
        };
        Self {
            settings: settings(spec),
            state: State::complete("uid", "r1", 1),
            revision: "r2".to_owned(),
            command: None,
            now: 100_000,
            targets: (0..count).map(target).collect(),
        }
    }

    fn look(&self) -> Decision {
        let facts: Vec<_> = self
            .targets
            .iter()
            .map(|target| Fact {
                name: &target.name,
                labels: &target.labels,
                given: target.given.as_deref(),
                given_at: target.given_at,
                health: target.health,
                link: target.link,
                held: target.held,
            })
            .collect();
        decide(Input {
            settings: &self.settings,
            revision: &self.revision,
            state: &self.state,
            targets: &facts,
            command: self.command.as_deref(),
            now: self.now,
        })
    }

    /// Decides until nothing more is decided; who gets something is on its way.
    fn settle(&mut self) -> Decision {
        for _ in 0..100 {
            let decision = self.look();
            if decision.state == self.state && decision.give.is_empty() {
                return decision;
            }
            for gift in &decision.give {
                let target = &mut self.targets[gift.target];
                target.given = Some(gift.revision.clone());
                target.given_at = if gift.known { 0 } else { self.now };
                target.health = if gift.known { target.health } else { Health::Waiting };
            }
            self.state = decision.state;
        }
        panic!("it never settles: {:?}", self.state)
    }

    /// Those on their way arrive like this.
    fn arrive(&mut self, health: Health) {
        let waiting = self.targets.iter_mut().filter(|target| target.health == Health::Waiting);
        waiting.for_each(|target| target.health = health);
    }

    fn have(&self, revision: &str) -> Vec<usize> {
        let has = |at: &usize| self.targets[*at].given.as_deref() == Some(revision);
        (0..self.targets.len()).filter(has).collect()
    }

    fn say(&mut self, command: &str) -> Decision {
        self.command = Some(command.to_owned());
        self.settle()
    }
}

#[test]
fn waves_go_in_order_and_each_only_so_far_at_a_time() {
    let zone = json!({"name": "first", "selector": {"matchLabels": {"zone": "b"}}, "maxUnavailable": 1});
    let mut paper = Paper::new(json!({"waves": [zone], "maxUnavailable": 2}), 6);
    for expected in [vec![1], vec![1, 3], vec![1, 3, 5], vec![0, 1, 2, 3, 5], vec![0, 1, 2, 3, 4, 5]] {
        let decision = paper.settle();
        assert_eq!(paper.have("r2"), expected, "{}", decision.message);
        assert_eq!(decision.phase, RolloutPhase::Progressing);
        paper.arrive(Health::Ready);
    }
    let decision = paper.settle();
    assert_eq!(decision.phase, RolloutPhase::Completed);
    assert_eq!(decision.message, "all 6 clusters are ready");
    assert_eq!(paper.state.completed.as_deref(), Some("r2"));
}

#[test]
fn a_wave_of_a_number_takes_that_many_and_the_rest_is_the_last_wave() {
    let waves = json!([{"name": "canary", "edges": "5%"}, {"name": "some", "edges": 3}]);
    let mut paper = Paper::new(json!({"waves": waves, "maxUnavailable": "100%"}), 10);
    for expected in [1, 4, 10] {
        paper.settle();
        assert_eq!(paper.have("r2").len(), expected);
        paper.arrive(Health::Ready);
    }
    assert_eq!(paper.settle().phase, RolloutPhase::Completed);
}

#[test]
fn a_wave_soaks_and_then_waits_for_a_person() {
    let waves = json!([{"name": "canary", "edges": 1, "soakTime": "1h", "gate": "Manual"}]);
    let mut paper = Paper::new(json!({"waves": waves}), 3);
    paper.settle();
    paper.arrive(Health::Ready);
    let decision = paper.settle();
    assert_eq!((decision.phase, decision.next), (RolloutPhase::Soaking, Some(paper.now + HOUR)));
    paper.now += HOUR / 2;
    // Whoever is not ready any more begins the soak anew.
    let canary = paper.have("r2")[0];
    paper.targets[canary].health = FAILED;
    assert_eq!(paper.settle().phase, RolloutPhase::Progressing);
    paper.targets[canary].health = Health::Ready;
    assert_eq!(paper.settle().next, Some(paper.now + HOUR));
    paper.now += HOUR;
    assert_eq!(paper.settle().phase, RolloutPhase::WaitingForGate);
    assert_eq!(paper.have("r2").len(), 1);
    let decision = paper.say("promote");
    assert_eq!((decision.phase, paper.have("r2").len()), (RolloutPhase::Progressing, 2));
}

#[test]
fn promotion_ends_a_soak_and_each_command_is_carried_out_once() {
    let canary = |name: &str| json!({"name": name, "edges": 1, "soakTime": "1h"});
    let mut paper = Paper::new(json!({"waves": [canary("one"), canary("two")]}), 3);
    paper.settle();
    paper.arrive(Health::Ready);
    paper.say("promote");
    paper.arrive(Health::Ready);
    let decision = paper.settle();
    assert_eq!((decision.phase, paper.state.wave), (RolloutPhase::Soaking, 1));
    assert_eq!(paper.say("promote again").phase, RolloutPhase::Progressing);
    assert_eq!(paper.state.wave, 2);
}

#[test]
fn failures_pause_and_somebody_may_go_on_with_them() {
    let mut paper = Paper::new(json!({"maxUnavailable": 3, "pauseOnFailure": 1}), 6);
    paper.settle();
    let failing = paper.have("r2")[0];
    paper.targets[failing].health = FAILED;
    paper.arrive(Health::Ready);
    let decision = paper.settle();
    assert_eq!((decision.phase, paper.have("r2").len()), (RolloutPhase::Paused, 3));
    assert!(decision.message.contains("default/edge-000"), "{}", decision.message);
    // One that failed counts as unavailable for as long as it is.
    assert_eq!(paper.say("resume").phase, RolloutPhase::Progressing);
    assert_eq!(paper.have("r2").len(), 5);
    paper.arrive(Health::Ready);
    paper.settle();
    paper.arrive(Health::Ready);
    assert_eq!(paper.settle().phase, RolloutPhase::Progressing);
    paper.targets[failing].health = Health::Ready;
    assert_eq!(paper.settle().phase, RolloutPhase::Completed);
}

#[test]
fn too_many_failures_lead_back_to_the_last_completed_revision() {
    let mut paper = Paper::new(json!({"maxUnavailable": 2, "abortOnFailure": "30%"}), 10);
    paper.settle();
    paper.arrive(Health::Ready);
    paper.settle();
    paper.arrive(FAILED);
    let decision = paper.settle();
    assert_eq!(decision.phase, RolloutPhase::RollingBack);
    // Those that failed go back at once; of those that work only as many as may be unavailable.
    assert!(paper.have("r2").len() <= 2, "{:?}", paper.have("r2"));
    for _ in 0..3 {
        paper.arrive(Health::Ready);
        paper.settle();
    }
    assert_eq!((paper.have("r1").len(), paper.settle().phase), (10, RolloutPhase::Aborted));
    assert!(paper.settle().message.contains("2 of 10 clusters failed"), "{}", paper.settle().message);
    // It can be tried again, and another revision begins by itself.
    assert_eq!(paper.say("resume").phase, RolloutPhase::Progressing);
    paper.revision = "r3".to_owned();
    paper.settle();
    assert_eq!(paper.state.stage, Stage::Rolling);
    assert_eq!(paper.have("r3").len(), 2);
}

#[test]
fn who_could_not_be_taken_back_then_is_taken_back_later() {
    let mut paper = Paper::new(json!({"maxUnavailable": "100%", "abortOnFailure": 1}), 3);
    paper.settle();
    paper.targets[0].held = true;
    paper.targets[1].health = FAILED;
    paper.arrive(Health::Ready);
    paper.settle();
    paper.arrive(Health::Ready);
    assert_eq!(paper.settle().phase, RolloutPhase::Aborted);
    assert_eq!(paper.have("r2"), [0]);
    paper.targets[0].held = false;
    paper.settle();
    assert!(paper.have("r2").is_empty());
}

#[test]
fn with_stop_everybody_keeps_what_he_has() {
    let mut paper = Paper::new(json!({"maxUnavailable": 1, "abortOnFailure": 1, "onAbort": "Stop"}), 3);
    paper.settle();
    paper.arrive(FAILED);
    assert_eq!(paper.settle().phase, RolloutPhase::Aborted);
    assert_eq!((paper.have("r2").len(), paper.have("r1").len()), (1, 2));
}

#[test]
fn who_is_away_gets_nothing_new_blocks_only_beyond_its_budget_and_not_for_ever() {
    let mut paper = Paper::new(json!({"maxUnavailable": "100%", "away": {"max": 1, "deadline": "2h"}}), 6);
    for at in [0, 1] {
        paper.targets[at].link = Link::Away(Some(paper.now));
    }
    paper.settle();
    paper.arrive(Health::Ready);
    let decision = paper.settle();
    assert_eq!((paper.have("r2"), decision.phase), (vec![2, 3, 4, 5], RolloutPhase::Progressing));
    assert!(decision.message.contains("2 are away: default/edge-000"), "{}", decision.message);
    assert_eq!((decision.counts.failed, decision.counts.away), (0, 2));
    let back = Link::Up(paper.now + 1);
    paper.targets[0].link = back;
    paper.settle();
    paper.arrive(Health::Ready);
    let decision = paper.settle();
    assert_eq!(decision.phase, RolloutPhase::Completed);
    assert_eq!(decision.message, "5 of 6 clusters are ready; 1 get the revision when they are back");
    paper.targets[1].link = back;
    paper.settle();
    assert_eq!(paper.have("r2").len(), 6);
}

#[test]
fn who_is_away_for_too_long_is_waited_for_no_more() {
    let mut paper = Paper::new(json!({"away": {"max": 0, "deadline": "2h"}}), 2);
    paper.targets[0].link = Link::Away(Some(paper.now));
    paper.settle();
    paper.arrive(Health::Ready);
    let decision = paper.settle();
    assert_eq!((decision.phase, decision.next), (RolloutPhase::Progressing, Some(paper.now + 2 * HOUR)));
    paper.now += 2 * HOUR;
    assert_eq!(paper.settle().phase, RolloutPhase::Completed);
}

#[test]
fn who_takes_too_long_while_connected_has_failed() {
    let mut paper = Paper::new(json!({"maxUnavailable": 1, "deadline": "10m", "abortOnFailure": 1}), 2);
    let decision = paper.settle();
    assert_eq!(decision.next, Some(paper.now + HOUR / 6));
    // Time away does not count.
    paper.targets[0].link = Link::Away(Some(paper.now));
    paper.now += HOUR;
    assert_eq!(paper.settle().counts.failed, 0);
    paper.targets[0].link = Link::Up(paper.now);
    assert_eq!(paper.settle().counts.failed, 0);
    paper.now += HOUR / 6;
    assert_eq!(paper.settle().phase, RolloutPhase::RollingBack);
}

#[test]
fn a_failure_counts_when_it_lasts_and_nobody_else_is_begun_meanwhile() {
    let spec = json!({"maxUnavailable": 1, "abortOnFailure": 1, "failureGrace": "30s"});
    let mut paper = Paper::new(spec, 3);
    paper.settle();
    paper.arrive(Health::Failed(paper.now));
    let decision = paper.settle();
    assert_eq!((decision.phase, decision.counts.failed), (RolloutPhase::Progressing, 0));
    assert_eq!((decision.next, paper.have("r2").len()), (Some(paper.now + 30_000), 1));
    paper.now += 30_000;
    assert_eq!(paper.settle().phase, RolloutPhase::RollingBack);
}

#[test]
fn a_pause_holds_everybody_and_outlives_a_new_revision() {
    let mut paper = Paper::new(json!({"maxUnavailable": 1}), 3);
    paper.say("pause");
    assert!(paper.have("r2").is_empty());
    paper.revision = "r3".to_owned();
    assert_eq!(paper.settle().phase, RolloutPhase::Paused);
    paper.say("resume");
    assert_eq!(paper.have("r3").len(), 1);
}

#[test]
fn a_new_revision_takes_the_place_of_one_that_is_under_way() {
    let mut paper = Paper::new(json!({"maxUnavailable": 2}), 6);
    paper.settle();
    paper.arrive(FAILED);
    paper.revision = "r3".to_owned();
    paper.settle();
    // Whoever is unavailable already may have it at once, and nobody else.
    assert_eq!((paper.have("r3"), paper.have("r2")), (vec![0, 1], vec![]));
    for _ in 0..3 {
        paper.arrive(Health::Ready);
        paper.settle();
    }
    assert_eq!(paper.state.completed.as_deref(), Some("r3"));
}

#[test]
fn who_comes_while_a_rollout_runs_has_the_last_completed_revision_until_its_turn() {
    let mut paper = Paper::new(json!({"maxUnavailable": 1}), 3);
    paper.targets[2].given = None;
    paper.targets[2].health = Health::Waiting;
    paper.settle();
    assert_eq!(paper.targets[2].given.as_deref(), Some("r1"));
    // The first rollout of all has nothing to give to those whose turn has not come.
    paper.state = State { owner: "uid".to_owned(), ..State::default() };
    paper.targets.iter_mut().for_each(|target| target.given = None);
    paper.settle();
    assert_eq!(paper.have("r2").len(), 1);
    assert_eq!(paper.targets[2].given, None);
}

#[test]
fn a_hub_that_has_just_started_passes_no_wave_before_it_has_heard_anybody() {
    let mut paper = Paper::new(json!({"waves": [{"name": "one", "edges": 1}], "away": {"max": "100%"}}), 4);
    paper.targets.iter_mut().for_each(|target| target.link = Link::Unsettled);
    paper.settle();
    assert_eq!((paper.state.wave, paper.have("r2").len()), (0, 0));
}

#[test]
fn who_is_to_be_left_alone_is() {
    let mut paper = Paper::new(json!({"maxUnavailable": "100%"}), 3);
    paper.targets[1].held = true;
    paper.settle();
    paper.arrive(Health::Ready);
    assert_eq!(paper.settle().phase, RolloutPhase::Completed);
    assert_eq!(paper.have("r2"), [0, 2]);
    paper.targets[1].held = false;
    paper.settle();
    assert_eq!(paper.have("r2").len(), 3);
}

#[test]
fn what_cannot_be_read_is_named_with_its_place() {
    let told = |spec: Value| {
        Settings::of(&serde_json::from_value::<RolloutSpec>(spec).unwrap()).unwrap_err().to_string()
    };
    let amount = "is neither a number from 1 nor a share such as 10%";
    assert_eq!(
        told(json!({"maxUnavailable": "0%"})),
        format!("spec.rollout.maxUnavailable: \"0%\" {amount}")
    );
    assert_eq!(
        told(json!({"waves": [{"name": "a", "edges": "many"}]})),
        format!("spec.rollout.waves[0].edges: \"many\" {amount}")
    );
    assert!(told(json!({"away": {"max": -1}})).contains("away.max: \"-1\" is neither a number nor"));
    assert!(told(json!({"deadline": "soon"})).contains("deadline: \"soon\" is no duration"));
    assert!(told(json!({"waves": [{"name": "a"}, {"name": "a"}]})).contains("waves[1].name"));
}

//! Whose turn it is in a rollout, for whoever asks why a cluster does not have the newest revision.

use std::collections::BTreeMap;

use api::k0rdent::MultiClusterService;
use api::skein::{RolloutPhase, RolloutStatus};
use kube::ResourceExt;

use super::engine::Engine;
use super::way::{done, open};
use crate::explain::{Standing, Step};
use crate::rollout::facts::{Fact, Health, Link};
use crate::rollout::settings::Settings;
use crate::rollout::waves::membership;
use crate::services::resolve::SetPlan;
use crate::services::target::TargetName;

impl Engine {
    /// How far the rollout of a set's MultiClusterService is with a target; nothing where there is none.
    pub(super) fn turn(
        &self,
        target: &TargetName,
        set: &SetPlan,
        object: &MultiClusterService,
    ) -> Option<Step> {
        let spec = object.spec.rollout.as_ref()?;
        let status = object.status.as_ref().and_then(|status| status.rollout.clone()).unwrap_or_default();
        let name = object.name_any();
        let settings = match Settings::of(spec) {
            Ok(settings) => settings,
            Err(error) => {
                let cure = format!("correct spec.rollout of MultiClusterService {name}");
                return Some(open("rollout", Standing::Wrong, error.to_string(), cure));
            }
        };
        let turn = Turn {
            name: &name,
            newest: self.releases.current(object).0,
            has: set.release.as_ref().and_then(|release| release.revision.as_deref()),
            wave: self.wave_of(&name, target, &settings),
            waves: settings.waves.iter().map(|wave| wave.name.as_str()).collect(),
            status,
        };
        Some(turn.step())
    }

    /// The number of the wave that a target is in.
    fn wave_of(&self, service: &str, target: &TargetName, settings: &Settings) -> usize {
        let names: Vec<_> = self.by_service.get(service).into_iter().flatten().collect();
        let shown: Vec<_> = names.iter().map(|name| format!("{}/{}", name.namespace, name.name)).collect();
        let none = BTreeMap::new();
        let labels = |name: &TargetName| self.targets.get(name).map_or(&none, |state| &state.target.labels);
        let facts: Vec<_> = names
            .iter()
            .zip(&shown)
            .map(|(name, shown)| Fact {
                name: shown,
                labels: labels(name),
                given: None,
                given_at: 0,
                health: Health::Waiting,
                link: Link::Unsettled,
                held: false,
            })
            .collect();
        let at = names.iter().position(|name| *name == target);
        at.and_then(|at| membership(&settings.waves, &facts).get(at).copied()).unwrap_or_default()
    }
}

/// What a step is told from.
struct Turn<'a> {
    /// The MultiClusterService.
    name: &'a str,
    /// The revision that it names now.
    newest: String,
    /// The revision that the target is to have.
    has: Option<&'a str>,
    /// The wave of the target, from 0.
    wave: usize,
    /// The names of all waves.
    waves: Vec<&'a str>,
    /// What the rollout is at.
    status: RolloutStatus,
}

impl Turn<'_> {
    fn step(&self) -> Step {
        let status = &self.status;
        let wave = self.named(self.wave);
        if status.revision != self.newest {
            let text = format!("revision {} has just come; {}", self.newest, self.kept());
            return open("rollout", Standing::Waiting, text, "nothing: it is about to begin");
        }
        let left = matches!(status.phase, RolloutPhase::Aborted | RolloutPhase::RollingBack);
        if self.has == Some(self.newest.as_str()) && !left {
            return done("rollout", format!("it has the newest revision {}, in {wave}", self.newest));
        }
        let since =
            status.since.as_ref().map(|since| format!(" since {}", since.0.strftime("%Y-%m-%dT%H:%M:%SZ")));
        let since = since.unwrap_or_default();
        let kept = self.kept();
        let (newest, message) = (&self.newest, &status.message);
        let waits = |text: String, cure: String| open("rollout", Standing::Waiting, text, cure);
        let command = |verb: &str| format!("skein rollout {verb} {}", self.name);
        match status.phase {
            RolloutPhase::Aborted | RolloutPhase::RollingBack => open(
                "rollout",
                Standing::Wrong,
                format!("revision {newest} was given up{since}: {message}; {kept}"),
                format!(
                    "correct it: another revision begins by itself; `{}` tries this one again",
                    command("resume")
                ),
            ),
            RolloutPhase::Paused => waits(
                format!("the rollout of revision {newest} is paused{since}: {message}; {kept}"),
                format!("`{}` goes on; its turn is in {wave}", command("resume")),
            ),
            RolloutPhase::Soaking => {
                let until = status.next.as_ref().map(|at| at.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
                let until = until.map(|at| format!(", until {at}")).unwrap_or_default();
                waits(
                    format!("{} soaks{since}{until}; its own turn is in {wave}; {kept}", self.current()),
                    format!(
                        "nothing: {} comes next by itself; `{}` does not wait",
                        self.next(),
                        command("promote")
                    ),
                )
            }
            RolloutPhase::WaitingForGate => waits(
                format!("{} waits for a person{since}; its own turn is in {wave}; {kept}", self.current()),
                format!("`{}` lets {} begin", command("promote"), self.next()),
            ),
            RolloutPhase::Progressing if self.wave > self.at() => waits(
                format!(
                    "its turn is in {wave}, which comes after {}{since}: {message}; {kept}",
                    self.current()
                ),
                "nothing, if that goes on; what has failed there is named".to_owned(),
            ),
            RolloutPhase::Progressing | RolloutPhase::Completed => waits(
                format!(
                    "{wave} has come{since}, and others are before it, or it is away or held: {message}; {kept}"
                ),
                "nothing, if others become ready (maxUnavailable) and it is connected and not held"
                    .to_owned(),
            ),
        }
    }

    /// The wave that has its turn, from 0.
    fn at(&self) -> usize {
        usize::try_from(self.status.wave_number).unwrap_or_default().saturating_sub(1)
    }

    fn current(&self) -> String {
        self.named(self.at())
    }

    fn next(&self) -> String {
        if self.at() + 1 < self.waves.len() { self.named(self.at() + 1) } else { "the end".to_owned() }
    }

    fn named(&self, wave: usize) -> String {
        let name = self.waves.get(wave).copied().unwrap_or_default();
        format!("wave {name} ({} of {})", wave + 1, self.waves.len())
    }

    fn kept(&self) -> String {
        match self.has {
            Some(has) => format!("until then it has revision {has}"),
            None => "until then it has none".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_whose_turn_has_not_come_is_told_why_and_what_comes_next() {
        let step = |phase: RolloutPhase, at: i64, has: Option<&str>| {
            let status = RolloutStatus {
                phase,
                wave_number: at,
                revision: "r2".to_owned(),
                message: "the message".to_owned(),
                ..RolloutStatus::default()
            };
            let waves = vec!["canary", "some", "rest"];
            Turn { name: "web", newest: "r2".to_owned(), has, wave: 1, waves, status }.step()
        };
        let told = |phase, at, has| {
            let step = step(phase, at, has);
            format!("{:?}: {} | {}", step.standing, step.text, step.cure.unwrap_or_default())
        };
        assert_eq!(
            told(RolloutPhase::Completed, 3, Some("r2")),
            "Done: it has the newest revision r2, in wave some (2 of 3) | "
        );
        assert_eq!(
            told(RolloutPhase::WaitingForGate, 1, Some("r1")),
            "Waiting: wave canary (1 of 3) waits for a person; its own turn is in wave some (2 of 3); until then it has \
             revision r1 | `skein rollout promote web` lets wave some (2 of 3) begin"
        );
        assert!(told(RolloutPhase::Soaking, 1, None).contains("canary (1 of 3) soaks"));
        assert!(told(RolloutPhase::Paused, 1, None).contains("paused: the message; until then it has none"));
        assert!(told(RolloutPhase::Progressing, 1, Some("r1")).contains("comes after wave canary (1 of 3)"));
        assert!(told(RolloutPhase::Progressing, 2, Some("r1")).contains("wave some (2 of 3) has come"));
        assert!(
            told(RolloutPhase::RollingBack, 1, Some("r1")).starts_with("Wrong: revision r2 was given up")
        );
    }
}

//! What must be remembered of a rollout.

use protocol::UnixMillis;
use serde::{Deserialize, Serialize};

/// What is remembered: small, whatever the size of the fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    /// UID of the MultiClusterService: one of the same name that is made anew begins anew.
    pub owner: String,
    /// The revision that is rolled out, or was.
    pub revision: String,
    /// The last revision that was completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed: Option<String>,
    /// What it is at.
    pub stage: Stage,
    /// Since when.
    pub since: UnixMillis,
    /// When the first rollout began that was not completed since: what is not ready after that is so because of us.
    pub origin: UnixMillis,
    /// The wave, from 0.
    pub wave: usize,
    /// Since when all targets of the waves so far are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<UnixMillis>,
    /// Waves before this one need neither soak nor gate, and wait for nobody who is away.
    pub promoted: usize,
    /// Whether nobody gets anything, and by whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// Failed targets with which somebody said to go on.
    pub tolerated: usize,
    /// Why the revision was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_up: Option<String>,
    /// Whether everybody is to have the last completed revision again.
    pub back: bool,
    /// The newest command that was carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handled: Option<String>,
}

/// What a rollout is at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Targets get the revision.
    #[default]
    Rolling,
    /// Targets get the last completed one again.
    RollingBack,
    /// The revision was given up.
    Aborted,
    /// All have it.
    Completed,
}

/// Who paused a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Paused {
    /// A person.
    Manually,
    /// Targets that failed.
    ByFailures,
}

/// What a person can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Nobody gets anything from now on.
    Pause,
    /// Go on; after an abort: begin again.
    Resume,
    /// Give the revision up.
    Abort,
    /// Do not wait for soak, gate, or those that are away.
    Promote,
}

impl Command {
    /// The first word of an annotation's value.
    pub fn read(text: &str) -> Option<Self> {
        match text.split_whitespace().next()? {
            "pause" => Some(Self::Pause),
            "resume" => Some(Self::Resume),
            "abort" => Some(Self::Abort),
            "promote" => Some(Self::Promote),
            _ => None,
        }
    }
}

impl State {
    /// A rollout of a revision that everybody is to have from now on, after whatever was before.
    pub fn begin(&self, revision: &str, now: UnixMillis) -> Self {
        let unfinished = self.stage != Stage::Completed && self.origin > 0;
        Self {
            owner: self.owner.clone(),
            revision: revision.to_owned(),
            completed: self.completed.clone(),
            stage: Stage::Rolling,
            since: now,
            origin: if unfinished { self.origin } else { now },
            // What failed may be cured by what is new; what a person said stays said.
            paused: self.paused.filter(|by| *by == Paused::Manually),
            handled: self.handled.clone(),
            ..Self::default()
        }
    }

    /// What everybody has already.
    pub fn complete(owner: &str, revision: &str, now: UnixMillis) -> Self {
        Self {
            owner: owner.to_owned(),
            revision: revision.to_owned(),
            completed: Some(revision.to_owned()),
            stage: Stage::Completed,
            since: now,
            origin: now,
            ..Self::default()
        }
    }

    /// The revision is given up.
    pub fn give_up(&mut self, rollback: bool, why: String, now: UnixMillis) {
        let back = rollback && self.completed.as_ref().is_some_and(|completed| *completed != self.revision);
        self.stage = if back { Stage::RollingBack } else { Stage::Aborted };
        self.since = now;
        self.back = back;
        self.done = None;
        self.paused = None;
        let nothing = if rollback && !back { "; there is no earlier revision to go back to" } else { "" };
        self.given_up = Some(why + nothing);
    }

    /// The revision that targets are to have.
    pub fn goal(&self) -> Option<&str> {
        match self.stage {
            Stage::Rolling | Stage::Completed => Some(&self.revision),
            // Whoever could not be reached then gets it later.
            Stage::RollingBack | Stage::Aborted if self.back => self.completed.as_deref(),
            Stage::RollingBack | Stage::Aborted => None,
        }
    }

    /// The revision that targets are counted by.
    pub fn sought(&self) -> Option<&str> {
        match self.stage {
            Stage::Rolling | Stage::Completed => Some(&self.revision),
            Stage::RollingBack | Stage::Aborted => self.completed.as_deref().or(Some(&self.revision)),
        }
    }
}

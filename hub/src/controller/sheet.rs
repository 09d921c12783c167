//! The conditions of one object while they are written: times of those that stay, and no condition that nobody set.

use api::conditions::{self, kind, reason, status};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Conditions that are being written.
pub(super) struct Sheet {
    conditions: Vec<Condition>,
    written: Vec<String>,
    generation: Option<i64>,
    /// The time now, in whole seconds as the API keeps it.
    pub now: Timestamp,
}

impl Sheet {
    pub(super) fn new(before: &[Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self { conditions: before.to_vec(), written: Vec::new(), generation, now }
    }

    pub(super) fn set(&mut self, type_: &str, status: &str, reason: &str, message: impl Into<String>) {
        let now = Time(self.now);
        conditions::set_condition(&mut self.conditions, type_, status, reason, message, self.generation, now);
        self.written.push(type_.to_owned());
    }

    pub(super) fn succeeded(&mut self, type_: &str, message: impl Into<String>) {
        self.set(type_, status::TRUE, reason::SUCCEEDED, message);
    }

    pub(super) fn failed(&mut self, type_: &str, message: impl Into<String>) {
        self.set(type_, status::FALSE, reason::FAILED, message);
    }

    pub(super) fn unknown(&mut self, type_: &str, message: impl Into<String>) {
        self.set(type_, status::UNKNOWN, reason::PROGRESSING, message);
    }

    /// True with this message, or False with that one.
    pub(super) fn outcome(&mut self, type_: &str, outcome: Result<&str, &str>) {
        match outcome {
            Ok(message) => self.succeeded(type_, message),
            Err(message) => self.failed(type_, message),
        }
    }

    /// Leaves a condition as it was.
    pub(super) fn keep(&mut self, type_: &str) {
        if conditions::find(&self.conditions, type_).is_some() {
            self.written.push(type_.to_owned());
        }
    }

    /// The condition as it stands.
    pub(super) fn get(&self, type_: &str) -> Option<&Condition> {
        conditions::find(&self.conditions, type_)
    }

    /// The conditions, with `Ready` as their sum.
    pub(super) fn ready(mut self, gravity: impl Fn(&Condition) -> conditions::Gravity) -> Vec<Condition> {
        self.written.push(kind::READY.to_owned());
        let mut conditions = self.finished();
        let (generation, now) = self.last();
        conditions::aggregate_ready(&mut conditions, gravity, generation, now);
        self.conditions = conditions;
        std::mem::take(&mut self.conditions)
    }

    /// The conditions, without a sum.
    pub(super) fn finish(mut self) -> Vec<Condition> {
        self.finished()
    }

    fn finished(&mut self) -> Vec<Condition> {
        let written = std::mem::take(&mut self.written);
        let mut conditions = std::mem::take(&mut self.conditions);
        conditions.retain(|condition| written.contains(&condition.type_));
        conditions
    }

    fn last(&self) -> (Option<i64>, Timestamp) {
        (self.generation, self.now)
    }
}

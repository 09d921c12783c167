//! What becomes an Event on the cluster: what somebody who works there wants to know of services and their objects.
//!
//! Only what has settled is told; what passes by is for reports. Of a dry run only what it found is told.

use std::collections::BTreeMap;

use protocol::UnixMillis;
use protocol::plan::{Removal, UnitId};
use protocol::report::{ObjectHealth, UnitState};

use super::Engine;
use super::slot::Slot;
use crate::events::{Notice, Reason, Regarding};
use crate::worker::Outcome;

/// States that are younger than this when an engine starts are told again: the run before this one may have ended
/// before it told them.
const RETOLD: UnixMillis = 10 * 60 * 1000;

/// What a unit is called in Events.
fn called(id: &UnitId) -> String {
    let slash = if id.namespace.is_empty() { "" } else { "/" };
    format!("service {}{slash}{}", id.namespace, id.name)
}

impl Slot {
    /// An Event about the unit.
    pub(super) fn notice(&self, reason: Reason, text: &str, at: UnixMillis) -> Notice {
        let left = self.leaving.then(|| self.stood.clone()).flatten();
        Notice {
            unit: self.owner.unit.clone(),
            of_object: false,
            regarding: left.unwrap_or_else(|| Regarding::unit(&self.unit)),
            reason,
            note: format!("{}: {text}", called(&self.unit.id)),
            at,
            once: false,
        }
    }

    /// An Event about one of its objects.
    pub(super) fn object_notice(&self, index: usize, reason: Reason, text: &str, at: UnixMillis) -> Notice {
        let regarding = match &self.objects[index].place {
            Some(place) => Regarding::place(place),
            None => Regarding::key(&self.entry(index).key, &self.unit.id.namespace),
        };
        Notice { of_object: true, regarding, ..self.notice(reason, text, at) }
    }

    /// What its new state is to people, who knew it in this one.
    pub(super) fn tidings(&mut self, before: UnitState, message_before: &str, at: UnixMillis) -> Vec<Notice> {
        if self.unit.is_dry_run() {
            return Vec::new();
        }
        let version = &self.unit.version;
        match self.state {
            UnitState::Deployed if before != UnitState::Deployed => {
                let (reason, text) = match self.told_deployed {
                    Some(hash) if hash == self.unit.hash => {
                        (Reason::Recovered, format!("version \"{version}\" is healthy again"))
                    }
                    Some(_) => (Reason::Upgraded, deployed(version)),
                    None => (Reason::Deployed, deployed(version)),
                };
                self.told_deployed = Some(self.unit.hash);
                vec![self.notice(reason, &text, at)]
            }
            UnitState::Failed if before != UnitState::Failed || message_before != self.message => {
                vec![self.failure(at)]
            }
            UnitState::Deployed
            | UnitState::Failed
            | UnitState::Pending
            | UnitState::Provisioning
            | UnitState::Deleting
            | UnitState::Deleted => Vec::new(),
        }
    }

    /// Why it is failed.
    fn failure(&self, at: UnixMillis) -> Notice {
        let message = &self.message;
        if self.rejected.as_ref().is_some_and(|rejected| rejected.rejection.returned) {
            return self.notice(Reason::RolledBack, message, at);
        }
        let text = format!("version \"{}\" failed: {message}", self.unit.version);
        let notice = self.notice(Reason::Failed, &text, at);
        let failed = self.objects.iter().position(|object| object.health.health == ObjectHealth::Failed);
        match failed.and_then(|index| self.objects[index].place.as_ref()) {
            // Only in the namespace of the release: there it is looked for after a restart.
            Some(place) if place.id.namespace == self.unit.id.namespace => {
                Notice { regarding: Regarding::place(place), ..notice }
            }
            Some(_) | None => notice,
        }
    }

    /// What the run before this one may not have come to tell.
    pub(super) fn retold(&mut self, now: UnixMillis) -> Vec<Notice> {
        self.told_deployed = self.deployed;
        let recent = now.saturating_sub(self.since) < RETOLD;
        if !recent || self.leaving || self.unit.is_dry_run() {
            return Vec::new();
        }
        let notice = match self.state {
            UnitState::Deployed => self.notice(Reason::Deployed, &deployed(&self.unit.version), self.since),
            UnitState::Failed => self.failure(self.since),
            UnitState::Pending | UnitState::Provisioning | UnitState::Deleting | UnitState::Deleted => {
                return Vec::new();
            }
        };
        vec![Notice { once: true, ..notice }]
    }

    /// A drift was repaired.
    pub(super) fn repaired(&self, index: usize, at: UnixMillis) -> Notice {
        let fight = self.objects[index].fight.as_ref();
        if let Some(told) = fight.and_then(|fight| fight.told()) {
            return self.object_notice(index, Reason::Contested, &told, at);
        }
        let what = fight.map_or_else(|| "was changed".to_owned(), |fight| fight.what());
        self.object_notice(index, Reason::DriftRepaired, &format!("{what} and was put back"), at)
    }

    /// An object could not be written, for a reason that somebody on the cluster can do something about.
    pub(super) fn refusal(&self, index: usize, outcome: &Outcome, at: UnixMillis) -> Option<Notice> {
        let (reason, text) = match outcome {
            Outcome::Refused(text) => (Reason::ApplyRefused, text),
            Outcome::Foreign(text) => (Reason::AdoptionRefused, text),
            Outcome::Written { .. }
            | Outcome::Failed(_)
            | Outcome::Differs(_)
            | Outcome::Would(_)
            | Outcome::Same { .. } => return None,
        };
        (!self.unit.is_dry_run()).then(|| self.object_notice(index, reason, text, at))
    }

    /// It is off the cluster, or left there without an owner.
    pub(super) fn uninstalled(&self, at: UnixMillis) -> Notice {
        let text = match self.unit.removal {
            Removal::Prune => "is uninstalled",
            Removal::Leave => "is let go: its objects stay and are looked after no more",
        };
        self.notice(Reason::Uninstalled, text, at)
    }
}

fn deployed(version: &str) -> String {
    format!("version \"{version}\" is deployed")
}

impl Engine {
    /// Tells which units wait and why, where that is news.
    pub(super) fn announce_waits(&mut self, waits: BTreeMap<UnitId, (Regarding, String, bool)>) {
        let at = self.context.clock.now();
        let before = std::mem::take(&mut self.told_waits);
        let mut notices = Vec::new();
        for (id, (regarding, text, expired)) in waits {
            if before.get(&id) != Some(&text) {
                let reason = if expired { Reason::Expired } else { Reason::Deferred };
                let (unit, note) = (id.to_string(), format!("{}: {text}", called(&id)));
                notices.push(Notice { unit, of_object: false, regarding, reason, note, at, once: true });
            }
            self.told_waits.insert(id, text);
        }
        self.events.tell(notices, None);
    }
}

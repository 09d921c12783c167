//! A unit and its objects as the engine knows them, and what follows from that. Pure: no client, no clock.

use std::borrow::Cow;
use std::sync::Arc;

use protocol::UnixMillis;
use protocol::id::Digest;
use protocol::plan::{DriftMode, HookEvent, ObjectEntry, Unit};
use protocol::policy::Leeways;
use protocol::report::{OBJECT_REPORTS_MAX, ObjectHealth, ObjectReport, UnitReport, UnitState};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fight::Fight;
use super::flap::Flap;
use super::others::Others;
use super::record::Record;
use super::rollback::Rejected;
use crate::events::Regarding;
use crate::health::Judgement;
use crate::live::Fields;
use crate::object::{ObjectId, Owner, Place};
use crate::rules::Rules;
use crate::store::{Row, TestRun, UnitRecord};
use crate::worker::Preview;

/// What is to be done about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    None,
    /// Write it.
    Write,
    /// Find out by its values whether it drifted.
    Check,
}

/// What the inventory holds about an object.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) digest: Option<Digest>,
    pub(super) fields: Option<Fields>,
    pub(super) adopted: bool,
}

/// An object of a unit.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) place: Option<Place>,
    pub(super) held: Option<Held>,
    pub(super) work: Work,
    /// The work is there because somebody changed the object.
    pub(super) drifted: bool,
    pub(super) writing: bool,
    /// What it depends on changed while a write was under way.
    pub(super) again: bool,
    /// Seen while a write was under way.
    pub(super) late: Option<(u64, Option<Fields>)>,
    /// The newest resource version seen.
    pub(super) version: u64,
    pub(super) health: Judgement,
    /// Why its pods do not run.
    pub(super) cause: Option<String>,
    /// Why it cannot be written.
    pub(super) refused: Option<String>,
    /// Why its kind cannot be watched.
    pub(super) blind: Option<Arc<str>>,
    /// What differs, where that is only reported.
    pub(super) differs: Option<String>,
    pub(super) since: UnixMillis,
    pub(super) fight: Option<Box<Fight>>,
    /// What would become of it, in a dry run.
    pub(super) preview: Option<Preview>,
}

impl Object {
    pub(super) fn new(since: UnixMillis) -> Self {
        Self {
            place: None,
            held: None,
            work: Work::Write,
            drifted: false,
            writing: false,
            again: false,
            late: None,
            version: 0,
            health: Judgement { health: ObjectHealth::NotFound, message: "is not applied yet".to_owned() },
            cause: None,
            refused: None,
            blind: None,
            differs: None,
            since,
            fight: None,
            preview: None,
        }
    }

    /// A write is over. What was seen meanwhile and is newer counts now.
    pub(super) fn write_over(&mut self, version: u64, digest: Digest) {
        self.writing = false;
        if std::mem::take(&mut self.again) {
            self.work = Work::Write;
        }
        let Some((late, fields)) = self.late.take() else { return };
        let Some(held) = &self.held else { return };
        if late > version && held.digest == Some(digest) && held.fields != fields {
            self.work = Work::Write;
            self.drifted = true;
            self.fight().changed(None, Instant::now());
        }
    }

    /// What is remembered of its repairs.
    pub(super) fn fight(&mut self) -> &mut Fight {
        self.fight.get_or_insert_with(|| Box::new(Fight::new(Instant::now())))
    }

    /// Sets the health; it is dated when it changes.
    pub(super) fn judge(&mut self, health: Judgement, now: UnixMillis) {
        if self.health.health != health.health {
            self.since = now;
        }
        if health.health == ObjectHealth::Current {
            self.cause = None;
        }
        self.health = health;
    }

    /// The moment from which its work may be done.
    pub(super) fn due(&self) -> Option<Instant> {
        self.fight.as_ref().map(|fight| fight.not_before())
    }

    /// Its health in words, and why its pods do not run.
    fn plight(&self) -> Cow<'_, str> {
        match &self.cause {
            None => Cow::Borrowed(&self.health.message),
            Some(cause) => Cow::Owned(format!("{}; {cause}", self.health.message)),
        }
    }

    fn state(&self) -> (ObjectHealth, Cow<'_, str>) {
        match (&self.refused, &self.preview) {
            (None, Some(Preview::Nothing)) => return (ObjectHealth::Current, Cow::Borrowed("")),
            (None, Some(Preview::Create)) => {
                return (ObjectHealth::NotFound, Cow::Borrowed("would be created"));
            }
            (None, Some(Preview::Change(text))) => return (self.health.health, Cow::Borrowed(text)),
            (Some(_), _) | (None, None) => {}
        }
        match (self.refused.as_deref().or(self.blind.as_deref()), &self.differs) {
            (Some(text), _) => (ObjectHealth::Refused, Cow::Borrowed(text)),
            (None, Some(text)) => (self.health.health, Cow::Borrowed(text)),
            (None, None) => (self.health.health, self.plight()),
        }
    }
}

/// A worker on a unit.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) run: u64,
    pub(super) cancel: CancellationToken,
    /// It was called off. Requests under way are not torn off, because nobody would know what became of
    /// them: it ends after those, and until then the unit waits.
    pub(super) stale: bool,
    /// What it entered into the inventory.
    pub(super) begun: Vec<ObjectId>,
    pub(super) since: Instant,
    pub(super) writes: bool,
    /// Whether it only keeps Helm's record.
    pub(super) records: bool,
}

/// A unit.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) unit: Arc<Unit>,
    /// What others may change about its objects.
    pub(super) leeway: Leeways,
    pub(super) owner: Owner,
    pub(super) order: u32,
    pub(super) objects: Vec<Object>,
    /// Inventory that left the unit.
    pub(super) gone: Vec<Row>,
    pub(super) state: UnitState,
    pub(super) message: String,
    pub(super) since: UnixMillis,
    /// Hash with which it was last healthy.
    pub(super) deployed: Option<Digest>,
    /// That was the unit as it is now, and nothing else was begun since.
    pub(super) in_force: bool,
    /// The unit as it was when it was last healthy.
    pub(super) good: Option<Arc<Unit>>,
    /// The revision of the plan that was given up for that one.
    pub(super) rejected: Option<Box<Rejected>>,
    pub(super) repairs: u64,
    /// What its objects must satisfy beside kstatus.
    pub(super) rules: Option<Arc<Rules>>,
    /// What those rules find wrong with objects of others.
    pub(super) others: Others,
    /// How often it stopped being healthy.
    pub(super) flap: Flap,
    /// The last run of its test hooks.
    pub(super) tested: Option<TestRun>,
    /// Helm's record.
    pub(super) record: Record,
    /// It left the plan.
    pub(super) leaving: bool,
    pub(super) running: Option<Running>,
    /// Objects and hooks of this revision were gone through since the engine began with it.
    pub(super) prepared: bool,
    /// Hooks after the objects were run.
    pub(super) followed: bool,
    /// The kinds that are not known were asked for.
    pub(super) asked: bool,
    /// Why the last step could not go on.
    pub(super) blocked: Option<String>,
    pub(super) failures: u32,
    pub(super) retry_at: Option<Instant>,
    pub(super) deadline: Option<Instant>,
    pub(super) timed_out: bool,
    /// When its pods are asked why they do not run.
    pub(super) ask_at: Option<Instant>,
    /// The store has this revision of the unit.
    pub(super) noted: bool,
    /// Why the unit of the plan is not carried out yet.
    pub(super) deferred: Option<String>,
    /// The revision that people were told to be deployed.
    pub(super) told_deployed: Option<Digest>,
    /// The object that stood for it when it left the plan.
    pub(super) stood: Option<Regarding>,
}

/// What a unit's objects amount to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Something failed.
    Failed(String),
    /// Something is on its way.
    Waiting(String),
    /// All is as it should be.
    Healthy,
}

impl Slot {
    /// Calls the worker off, if there is one.
    pub(super) fn call_off(&mut self) {
        if let Some(running) = self.running.as_mut() {
            running.stale = true;
            running.cancel.cancel();
        }
    }

    pub(super) fn entry(&self, index: usize) -> &ObjectEntry {
        &self.unit.objects[index]
    }

    /// Whether the unit as it is now was deployed healthy.
    pub(super) fn is_deployed(&self) -> bool {
        self.in_force
    }

    /// Once and done: what a unit that is applied once must not be bothered with any more.
    pub(super) fn left_alone(&self) -> bool {
        self.unit.drift == DriftMode::Once && self.deployed.is_some()
    }

    /// Hooks that run before and after this revision.
    pub(super) fn events(&self) -> (HookEvent, HookEvent) {
        match self.deployed {
            _ if self.rejected.is_some() => (HookEvent::PreRollback, HookEvent::PostRollback),
            None => (HookEvent::PreInstall, HookEvent::PostInstall),
            Some(_) => (HookEvent::PreUpgrade, HookEvent::PostUpgrade),
        }
    }

    pub(super) fn has_hooks(&self, event: HookEvent) -> bool {
        self.unit.hooks.iter().any(|hook| hook.events.contains(&event))
    }

    /// Whether there is work that may be done now.
    pub(super) fn has_work(&self, now: Instant) -> bool {
        self.objects.iter().any(|object| object.work != Work::None && object.due().is_none_or(|at| at <= now))
    }

    /// Whether a step is due, its retry time aside.
    pub(super) fn wants_step(&self, now: Instant) -> bool {
        if self.leaving {
            return true;
        }
        if self.unit.is_dry_run() {
            return !self.prepared;
        }
        if self.left_alone() {
            return false;
        }
        self.has_work(now)
            || !self.gone.is_empty()
            || (!self.is_deployed() && !self.prepared)
            || self.wants_finish()
            || self.due_test().is_some()
            || self.wants_record(now)
    }

    /// Whether the last step is due: hooks after the objects, for units that have any hooks.
    pub(super) fn wants_finish(&self) -> bool {
        !self.is_deployed()
            && self.prepared
            && !self.followed
            && !self.unit.hooks.is_empty()
            && self.verdict() == Verdict::Healthy
    }

    /// What the objects amount to.
    pub(super) fn verdict(&self) -> Verdict {
        let text = |index: usize, message: &str| format!("{}: {message}", self.name_of(index));
        let (mut waiting, mut explained) = (None, false);
        for (index, object) in self.objects.iter().enumerate() {
            if let Some(refused) = object.refused.as_deref().or(object.blind.as_deref()) {
                return Verdict::Failed(text(index, refused));
            }
            match object.health.health {
                ObjectHealth::Failed | ObjectHealth::Refused => {
                    return Verdict::Failed(text(index, &object.plight()));
                }
                ObjectHealth::InProgress | ObjectHealth::Terminating | ObjectHealth::NotFound => {
                    // One that says why is told before one that only waits.
                    if waiting.is_none() || object.cause.is_some() && !explained {
                        waiting = Some(text(index, &object.plight()));
                        explained = object.cause.is_some();
                    }
                }
                ObjectHealth::Current => {}
            }
        }
        if let Some(blocked) = &self.blocked {
            return Verdict::Failed(blocked.clone());
        }
        let waiting = waiting.or_else(|| self.others.waiting(self.in_force));
        waiting.map_or(Verdict::Healthy, Verdict::Waiting)
    }

    /// The unit's report.
    pub(super) fn report(&self) -> UnitReport {
        let mut objects: Vec<ObjectReport> = Vec::new();
        let mut ready = 0;
        for (index, object) in self.objects.iter().enumerate() {
            let (health, message) = object.state();
            if health == ObjectHealth::Current {
                ready += 1;
            }
            let fighting = object.fight.as_ref().and_then(|fight| fight.told());
            if health == ObjectHealth::Current && message.is_empty() && fighting.is_none() {
                continue;
            }
            let message = match fighting {
                Some(fight) => format!("{fight}{}{message}", if message.is_empty() { "" } else { "; " }),
                None => message.into_owned(),
            };
            let entry = &self.unit.objects[index].key;
            let key =
                object.place.as_ref().map_or_else(|| entry.clone(), |place| place.id.key(&entry.version));
            objects.push(ObjectReport { key, health, message, since: object.since });
        }
        objects.extend(self.others.wrong.iter().map(|(id, (message, version))| ObjectReport {
            key: id.key(version),
            health: ObjectHealth::InProgress,
            message: message.clone(),
            since: self.since,
        }));
        objects.sort_by_key(|object| rank(object.health));
        objects.truncate(OBJECT_REPORTS_MAX);
        let wanted = self.wanted();
        UnitReport {
            id: wanted.id.clone(),
            version: wanted.version.clone(),
            template: wanted.template.clone(),
            deployed_hash: self.deployed,
            state: self.state,
            message: self
                .deferred
                .iter()
                .chain([&self.message])
                .filter(|text| !text.is_empty())
                .cloned()
                .chain(self.fights())
                .chain(self.test_result())
                .collect::<Vec<_>>()
                .join("; "),
            since: self.since,
            drift_repairs: self.repairs,
            objects_total: u32::try_from(self.objects.len()).unwrap_or(u32::MAX),
            objects_ready: ready,
            objects,
        }
    }

    /// The first object that somebody fights over with the unit, in words.
    fn fights(&self) -> Option<String> {
        self.objects.iter().enumerate().find_map(|(index, object)| {
            let told = object.fight.as_ref()?.told()?;
            Some(format!("{}: {told}", self.name_of(index)))
        })
    }

    /// An object's name, with its namespace where that is known.
    fn name_of(&self, index: usize) -> String {
        match &self.objects[index].place {
            Some(place) => place.id.to_string(),
            None => self.unit.objects[index].key.to_string(),
        }
    }

    /// What the store keeps of it.
    pub(super) fn record(&self) -> UnitRecord {
        UnitRecord {
            spec: Unit::clone(&self.unit),
            deployed: self.deployed,
            state: self.state,
            message: self.message.clone(),
            since: self.since,
            repairs: self.repairs,
        }
    }

    /// The inventory row of an object that was touched.
    pub(super) fn row(&self, index: usize) -> Option<Row> {
        let (object, entry) = (&self.objects[index], self.entry(index));
        let (place, held) = (object.place.as_ref()?, object.held.as_ref()?);
        Some(Row {
            id: ObjectId::clone(&place.id),
            version: entry.key.version.clone(),
            unit: self.owner.unit.clone(),
            ordinal: u32::try_from(index).unwrap_or(u32::MAX),
            digest: held.digest,
            fields: held.fields,
            adopted: held.adopted,
        })
    }
}

/// Worst first.
fn rank(health: ObjectHealth) -> u8 {
    match health {
        ObjectHealth::Refused => 0,
        ObjectHealth::Failed => 1,
        ObjectHealth::NotFound => 2,
        ObjectHealth::Terminating => 3,
        ObjectHealth::InProgress => 4,
        ObjectHealth::Current => 5,
    }
}

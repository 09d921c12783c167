//! When a unit's next step begins, what the unit amounts to, and when to look again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use protocol::plan::{DriftMode, ObjectKey};
use protocol::report::UnitState;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use super::flap::Flap;
use super::slot::{Running, Slot, Verdict, Work};
use super::{Engine, WORKERS_CONCURRENT};
use crate::backoff;
use crate::events::Reason;
use crate::object;
use crate::worker::{Item, Job, Step, Worker};

const RETRY_BASE: Duration = Duration::from_millis(500);
/// What was refused may be allowed any time: a quota is raised, a right given. One request a minute is no load.
const RETRY_CAP: Duration = Duration::from_secs(60);
/// Blobs of plans that are past are deleted this long after a plan was carried out: many at a time.
const COLLECT_AFTER: Duration = Duration::from_secs(10);
/// A unit that is through within this time is not reported as begun first.
const BEGIN_GRACE: Duration = Duration::from_millis(50);

impl Engine {
    /// Begins the steps that are due, in the order of the plan.
    pub(super) fn schedule(&mut self) {
        if self.reachable == Some(false) {
            return;
        }
        let now = Instant::now();
        let mut running = self.slots.values().filter(|slot| slot.running.is_some()).count();
        let mut due: Vec<(u32, u32)> = self
            .slots
            .iter()
            .filter(|(_, slot)| {
                slot.running.is_none() && slot.retry_at.is_none_or(|at| at <= now) && slot.wants_step(now)
            })
            .map(|(key, slot)| (slot.order, *key))
            .collect();
        due.sort_unstable();
        for (_, key) in due {
            if running >= WORKERS_CONCURRENT {
                return;
            }
            if self.may_begin(key) {
                self.begin(key);
                running += 1;
            }
        }
    }

    /// Whether nothing else has to come first; says in the unit's state what does.
    fn may_begin(&mut self, key: u32) -> bool {
        let Some(slot) = self.slots.get(&key) else { return false };
        if slot.leaving {
            let id = &slot.unit.id;
            let needed =
                |other: &Slot| other.leaving && other.unit.id != *id && other.unit.depends_on.contains(id);
            let Some(other) = self.slots.values().find(|other| needed(other)) else { return true };
            let text = format!("waits for unit \"{}\", which depends on it, to be removed", other.unit.id);
            return self.wait(key, UnitState::Deleting, text);
        }
        if slot.is_deployed() || slot.unit.is_dry_run() {
            return true;
        }
        let missing = slot.unit.depends_on.iter().find_map(|id| {
            let other = self.names.get(id).and_then(|key| self.slots.get(key));
            match other {
                Some(other) if other.leaving => {
                    Some(format!("waits for unit \"{id}\", which is being removed"))
                }
                Some(other)
                    if other.state == UnitState::Deployed && (other.is_deployed() || other.left_alone()) =>
                {
                    None
                }
                Some(other) => Some(format!("waits for unit \"{id}\", which is {}", other.state.as_str())),
                None => Some(format!("waits for unit \"{id}\", which is not in the plan")),
            }
        });
        match missing {
            Some(text) => self.wait(key, UnitState::Pending, text),
            None => true,
        }
    }

    /// A unit waits for another; told when it is news.
    fn wait(&mut self, key: u32, state: UnitState, text: String) -> bool {
        if self.slots.get(&key).is_some_and(|slot| slot.state != state || slot.message != text) {
            self.become_state(key, state, text);
        }
        false
    }

    /// Begins a unit's next step.
    fn begin(&mut self, key: u32) {
        self.place(key);
        let now = Instant::now();
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let step = next_step(slot, now);
        let (writes, records) = (matches!(step, Step::Apply { .. }), matches!(step, Step::Record(_)));
        let run = self.next_run;
        self.next_run += 1;
        let cancel = CancellationToken::new();
        let begun = Vec::new();
        slot.running =
            Some(Running { run, cancel: cancel.clone(), stale: false, begun, since: now, writes, records });
        slot.retry_at = None;
        slot.blocked = None;
        slot.record.look &= !records;
        if let Step::Apply { items, .. } = &step {
            for item in items {
                let object = &mut slot.objects[item.index];
                object.writing = true;
                object.late = None;
            }
        }
        // The time to become healthy counts from the end of a step: hooks have their own.
        slot.deadline = None;
        let (unit, owner) = (Arc::clone(&slot.unit), slot.owner.clone());
        let span = tracing::debug_span!(parent: &self.story, "apply", unit = %unit.id, step = step.name());
        let rules = slot.rules.clone();
        let job = Job { slot: key, run, unit, rules, owner, step, cancel };
        let work = Worker::carry_out(Arc::clone(&self.context), job).instrument(span);
        self.tasks.spawn(self.cancel.clone().run_until_cancelled_owned(work));
        self.assess(key);
    }

    /// Draws the conclusion from what is known of a unit.
    pub(super) fn assess(&mut self, key: u32) {
        let now = Instant::now();
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if slot.leaving {
            if slot.running.is_some() && slot.state != UnitState::Deleting {
                self.become_state(key, UnitState::Deleting, String::new());
            }
            return;
        }
        if slot.unit.is_dry_run() {
            self.assess_dry_run(key);
            return;
        }
        if slot.left_alone() {
            self.become_state(key, UnitState::Deployed, String::new());
            return;
        }
        let verdict = slot.verdict();
        if verdict == Verdict::Healthy {
            slot.timed_out = false;
            slot.ask_at = None;
        }
        let unfinished =
            !slot.is_deployed() && (!slot.prepared || slot.wants_finish() || slot.running.is_some());
        let (state, message) = match verdict {
            Verdict::Failed(text) => (UnitState::Failed, text),
            Verdict::Waiting(text) if slot.timed_out => (UnitState::Failed, text),
            Verdict::Waiting(text) if slot.deadline.is_some_and(|at| at <= now) && slot.running.is_none() => {
                slot.timed_out = true;
                let seconds = slot.unit.timeout_ms / 1000;
                (UnitState::Failed, format!("is not healthy after {seconds} s: {text}"))
            }
            // Nothing was begun yet, so there is no state to leave.
            Verdict::Waiting(_) if slot.state == UnitState::Pending && slot.running.is_none() => return,
            Verdict::Waiting(text) => (UnitState::Provisioning, text),
            Verdict::Healthy if unfinished && slot.state == UnitState::Pending && slot.running.is_none() => {
                return;
            }
            Verdict::Healthy if unfinished => (UnitState::Provisioning, "is being applied".to_owned()),
            Verdict::Healthy => {
                slot.deployed = Some(slot.unit.hash);
                slot.in_force = true;
                slot.good = Some(Arc::clone(&slot.unit));
                slot.deadline = None;
                (UnitState::Deployed, String::new())
            }
        };
        let (state, message) = match slot.tries() {
            Some(tries) if state == UnitState::Failed => {
                if slot.gives_up(tries) {
                    self.roll_back(key, message);
                    return;
                }
                // Failed it is when nothing more is tried.
                (UnitState::Provisioning, message)
            }
            _ => (state, message),
        };
        let (state, message) = self.told(key, state, message);
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if state == UnitState::Provisioning && slot.deadline.is_none() && slot.running.is_none() {
            slot.deadline = Some(now + Duration::from_millis(slot.unit.timeout_ms));
        }
        slot.will_ask(now);
        if slot.timed_out && slot.state == UnitState::Failed && state == UnitState::Failed {
            // The reason stays the one that was given when the time was over, unless it is another failure.
            if matches!(slot.verdict(), Verdict::Waiting(_)) && slot.message.starts_with("is not healthy") {
                self.show(key);
                return;
            }
        }
        self.become_state(key, state, message);
    }

    /// Sets a unit's state, notes it, and shows it.
    pub(super) fn become_state(&mut self, key: u32, state: UnitState, message: String) {
        let now = self.context.clock.now();
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if slot.state != state || slot.message != message {
            let moment = Instant::now();
            if slot.state != state {
                let left = slot.state == UnitState::Deployed && slot.in_force && !slot.leaving;
                slot.flap.note(left, moment);
                if !slot.flap.is_active(moment) {
                    tracing::info!(unit = %slot.unit.id, state = state.as_str(), message, "unit");
                }
                slot.since = now;
            }
            // What passes by in no time is not worth a disk write: after a restart it comes up again.
            let settled = matches!(state, UnitState::Deployed | UnitState::Failed | UnitState::Deleting)
                && (!slot.flap.is_active(moment) || slot.leaving);
            let (before, text_before) =
                (std::mem::replace(&mut slot.state, state), std::mem::replace(&mut slot.message, message));
            if settled {
                let stored = self.context.store.put_state(&slot.record(), !slot.noted && !slot.leaving);
                self.events.tell(slot.tidings(before, &text_before, now), Some(stored));
                self.context.store.put_history(slot.owner.unit.clone(), slot.revision(now)).forget();
                slot.noted = true;
            }
        }
        self.show(key);
        self.settle();
    }

    /// Shows a unit, unless it was only just begun and will be through in a moment.
    pub(super) fn show(&mut self, key: u32) {
        let now = Instant::now();
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let fresh = |running: &Running| running.writes && running.since.elapsed() < BEGIN_GRACE;
        if slot.state == UnitState::Provisioning && slot.running.as_ref().is_some_and(fresh) {
            return;
        }
        if slot.flap.is_active(now) && slot.in_force && !slot.leaving {
            if let Some(report) = slot.damped_report(now) {
                let notice = slot.notice(Reason::Flapping, &report.message, self.context.clock.now());
                self.view.show(slot.order, report);
                self.events.tell(vec![notice], None);
            }
            return;
        }
        self.view.show(slot.order, slot.report());
    }

    /// Shows all units.
    pub(super) fn show_all(&mut self) {
        for key in self.slots.keys().copied().collect::<Vec<_>>() {
            self.show(key);
        }
    }

    /// Notes that the plan is carried out, once it is.
    pub(super) fn settle(&mut self) {
        let Some(head) = self.head else { return };
        if self.applied == Some(head.generation)
            || self.deferred.as_ref().is_some_and(|deferred| deferred.open)
        {
            return;
        }
        let settled = |slot: &Slot| {
            let looked = slot.unit.is_dry_run() && slot.prepared && !slot.leaving;
            looked || matches!(slot.state, UnitState::Deployed | UnitState::Failed)
        };
        if !self.slots.values().all(settled) {
            return;
        }
        tracing::info!(generation = %head.generation, "the plan is carried out");
        self.story = Span::none();
        self.applied = Some(head.generation);
        self.view.show_applied(head.generation);
        self.context.store.applied(head.generation).forget();
        self.collect_at = self.collect_at.or_else(|| Some(Instant::now() + COLLECT_AFTER));
    }

    /// The next moment at which something is due without any input.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        let now = Instant::now();
        let reachable = self.reachable != Some(false);
        self.slots
            .values()
            .flat_map(|slot| {
                // What is past needs no timer: it is looked at after every input.
                let retry = slot.retry_at.filter(|at| *at > now && reachable && slot.running.is_none());
                let deadline =
                    slot.deadline.filter(|_| !slot.timed_out && slot.state == UnitState::Provisioning);
                let grace = slot
                    .running
                    .as_ref()
                    .filter(|running| running.writes && slot.state == UnitState::Provisioning)
                    .map(|running| running.since + BEGIN_GRACE)
                    .filter(|at| *at > now);
                let calm = slot
                    .objects
                    .iter()
                    .filter(|object| object.work != Work::None)
                    .filter_map(super::slot::Object::due)
                    .filter(|at| *at > now)
                    .min();
                let record = slot.record_due().filter(|at| *at > now && reachable);
                let ask = slot.ask_at.filter(|_| reachable);
                let peace =
                    slot.objects.iter().filter_map(|object| object.fight.as_ref()).map(|fight| fight.ends());
                let peace = peace.min();
                [retry, deadline, grace, calm.filter(|_| reachable), record, ask, slot.flap.ends(), peace]
            })
            .flatten()
            .chain(self.collect_at)
            .chain(self.hold_ends())
            .min()
    }

    /// Something is due.
    pub(super) fn tick(&mut self) {
        self.release();
        let now = Instant::now();
        if self.collect_at.is_some_and(|at| at <= now) {
            self.collect_at = None;
            if !self.view.is_offering() {
                self.context.store.collect().forget();
            }
        }
        self.ask(now);
        self.make_peace(now);
        for slot in self.slots.values_mut().filter(|slot| slot.flap.is_over(now)) {
            slot.flap = Flap::default();
            // Told as it is now, with what was not written meanwhile.
            self.view.show(slot.order, slot.report());
            self.context.store.put_state(&slot.record(), false).forget();
        }
        let late: Vec<u32> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.state == UnitState::Provisioning)
            .filter(|(_, slot)| slot.deadline.is_some_and(|at| at <= now) || slot.running.is_some())
            .map(|(key, _)| *key)
            .collect();
        for key in late {
            self.assess(key);
            // Whatever came of it, the same moment is not waited for again.
            if let Some(slot) = self.slots.get_mut(&key)
                && slot.deadline.is_some_and(|at| at <= now)
            {
                slot.deadline = Some(now + Duration::from_millis(slot.unit.timeout_ms.max(1000)));
            }
        }
    }

    /// Fights that are over are told no more.
    fn make_peace(&mut self, now: Instant) {
        for slot in self.slots.values_mut() {
            let mut told = false;
            for object in &mut slot.objects {
                if let Some(fight) = object.fight.take_if(|fight| fight.ends() <= now) {
                    told |= fight.is_told();
                }
            }
            if told {
                self.view.show(slot.order, slot.report());
            }
        }
    }

    /// A step did not do all it should: try again later.
    pub(super) fn retry(slot: &mut Slot) {
        let wait = backoff::delay(RETRY_BASE, RETRY_CAP, slot.failures, &slot.owner.unit);
        slot.failures += 1;
        slot.retry_at = Some(Instant::now() + wait);
        slot.asked = false;
    }
}

/// What is to be done next for a unit.
fn next_step(slot: &mut Slot, now: Instant) -> Step {
    if slot.leaving {
        return Step::Remove { rows: slot.gone.clone() };
    }
    let unknown: BTreeSet<(String, String, String)> = slot
        .objects
        .iter()
        .zip(&slot.unit.objects)
        .filter(|(object, _)| object.place.is_none() && object.refused.is_none())
        .map(|(_, entry)| (entry.key.group.clone(), entry.key.version.clone(), entry.key.kind.clone()))
        .collect();
    if !unknown.is_empty() && !slot.asked {
        slot.asked = true;
        return Step::Discover(unknown.into_iter().collect());
    }
    if slot.unit.is_dry_run() {
        return slot.preview_step();
    }
    if slot.wants_finish() && !slot.has_work(now) && slot.gone.is_empty() {
        return Step::Finish(slot.events().1);
    }
    if !slot.has_work(now) && slot.gone.is_empty() {
        if slot.wants_record(now) {
            return Step::Record(slot.failed());
        }
        if let Some(order) = slot.due_test() {
            return Step::Test(order.to_owned());
        }
    }
    let items = items(slot, now);
    let defines = items.iter().any(|item| object::stage(&slot.unit.objects[item.index]) == 1);
    let unplaced = !unknown.is_empty() && defines;
    if !unplaced {
        refuse_unknown(slot);
    }
    let before =
        Some(slot.events().0).filter(|event| !slot.is_deployed() && !slot.prepared && slot.has_hooks(*event));
    Step::Apply { items, unplaced, gone: slot.gone.clone(), before }
}

/// The objects that have work, in the order in which they are applied.
fn items(slot: &Slot, now: Instant) -> Vec<Item> {
    object::apply_order(&slot.unit)
        .into_iter()
        .filter_map(|index| {
            let object = &slot.objects[index];
            if object.work == Work::None || object.due().is_some_and(|at| at > now) {
                return None;
            }
            let ours = object.held.as_ref().is_some_and(|held| held.digest.is_some() || !held.adopted);
            Some(Item {
                index,
                place: object.place.clone()?,
                digest: slot.unit.objects[index].digest,
                row: slot.row(index),
                check: object.work == Work::Check,
                force: slot.unit.take_ownership || (ours && slot.unit.drift == DriftMode::Repair),
            })
        })
        .collect()
}

/// The API server was asked and does not know these kinds.
fn refuse_unknown(slot: &mut Slot) {
    let unit = Arc::clone(&slot.unit);
    for (object, entry) in slot.objects.iter_mut().zip(&unit.objects) {
        if object.place.is_none() && object.refused.is_none() {
            let ObjectKey { group, version, kind, .. } = &entry.key;
            let slash = if group.is_empty() { "" } else { "/" };
            object.refused = Some(format!(
                "the API server does not serve kind \"{kind}\" in \"{group}{slash}{version}\"; \
                 is its CustomResourceDefinition installed?"
            ));
        }
    }
}

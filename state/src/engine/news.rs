//! What workers tell.

use protocol::plan::DriftMode;
use protocol::report::{ObjectHealth, UnitState};
use tokio::time::Instant;

use super::Engine;
use super::slot::{FIGHT_WINDOW, Fight, Held, Object, REPAIRS_AT_ONCE, Work};
use crate::backoff;
use crate::health::Judgement;
use crate::object::ObjectId;
use crate::store::Row;
use crate::worker::{End, Event, News, Outcome};

const CALM_BASE: std::time::Duration = std::time::Duration::from_secs(1);
const CALM_CAP: std::time::Duration = std::time::Duration::from_secs(300);

impl Engine {
    /// Takes in what a worker tells; what a worker tells that was called off counts no more.
    pub(super) fn hear(&mut self, news: News) {
        let News { slot: key, run, event } = news;
        if let Event::Watch(resource) = event {
            self.watch(&resource);
            return;
        }
        let current = |slot: &super::Slot| slot.running.as_ref().is_some_and(|running| running.run == run);
        if !self.slots.get(&key).is_some_and(current) {
            return;
        }
        match event {
            Event::Watch(_) => {}
            Event::Begun(rows) => self.begun(key, rows),
            Event::Outcomes(outcomes) => self.outcomes(key, outcomes),
            Event::Pruned { ids, deleted } => self.pruned(key, &ids, deleted),
            Event::End(end) => self.ended(key, end),
        }
    }

    fn begun(&mut self, key: u32, rows: Vec<(usize, Row)>) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.noted = true;
        for (index, row) in rows {
            let held = Held { digest: row.digest, fields: row.fields, adopted: row.adopted };
            slot.objects[index].held = Some(held);
        }
    }

    fn outcomes(&mut self, key: u32, outcomes: Vec<(usize, Outcome)>) {
        let now = self.context.clock.now();
        let manager = self.context.api.manager().to_owned();
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let (mut rows, mut applied, mut errors, mut repaired) = (Vec::new(), 0, 0, 0);
        let mode = slot.unit.drift;
        let seed = slot.owner.unit.clone();
        for (index, outcome) in outcomes {
            let object = &mut slot.objects[index];
            object.writing = false;
            match outcome {
                Outcome::Written { row, version, health } => {
                    applied += 1;
                    if object.drifted {
                        repaired += 1;
                        object.note_repair(&seed);
                    }
                    object.written(&row, version, health, now);
                    rows.push(*row);
                }
                Outcome::Refused(text) => {
                    errors += 1;
                    object.refused = Some(text);
                }
                Outcome::Failed(message) => {
                    errors += 1;
                    object.judge(Judgement { health: ObjectHealth::InProgress, message }, now);
                }
                Outcome::Differs(text) if mode == DriftMode::Repair => {
                    tracing::debug!(unit = seed, text, "drifted");
                    object.work = Work::Write;
                    object.drifted = true;
                }
                Outcome::Differs(text) => {
                    object.work = Work::None;
                    object.differs = Some(format!("drifted: {text}"));
                }
                Outcome::Same { fields } => {
                    object.work = Work::None;
                    object.differs = None;
                    if let Some(held) = object.held.as_mut() {
                        held.fields = fields;
                    }
                }
            }
        }
        slot.repairs += repaired;
        let mut shown = self.view.lock();
        shown.metrics.applies_total += applied;
        shown.metrics.apply_errors_total += errors;
        shown.metrics.drift_repairs_total += repaired;
        drop(shown);
        tracing::trace!(manager, applied, errors, repaired, "outcomes");
        if !rows.is_empty() {
            self.context.store.put_rows(rows).forget();
        }
    }

    fn pruned(&mut self, key: u32, ids: &[ObjectId], deleted: u64) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.gone.retain(|row| !ids.contains(&row.id));
        self.view.lock().metrics.prunes_total += deleted;
    }

    fn ended(&mut self, key: u32, end: End) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let Some(running) = slot.running.take() else { return };
        for object in &mut slot.objects {
            object.writing = false;
        }
        match end {
            End::Complete => {
                let now = Instant::now();
                // What is held back because of a fight has its own time.
                let failed = slot.objects.iter().any(|object| {
                    (object.work == Work::Write && !object.drifted && object.due().is_none_or(|at| at <= now))
                        || object.refused.is_some()
                });
                if running.writes {
                    slot.prepared = !failed;
                    self.view.lock().metrics.last_apply = running.since.elapsed();
                } else {
                    slot.followed = true;
                }
                match failed {
                    true => Self::retry(slot),
                    false => slot.failures = 0,
                }
            }
            End::Again => slot.asked = !running.writes,
            End::Blocked(text) => {
                if slot.leaving {
                    Self::retry(slot);
                    self.become_state(key, UnitState::Deleting, text);
                    return;
                }
                slot.blocked = Some(text);
                Self::retry(slot);
            }
            End::Unreachable(text) => {
                slot.asked = false;
                self.lost(&text);
                return;
            }
            End::Removed => {
                self.removed(key);
                return;
            }
        }
        self.assess(key);
    }

    /// A unit is off the cluster: told once, then forgotten.
    fn removed(&mut self, key: u32) {
        self.become_state(key, UnitState::Deleted, String::new());
        let Some(slot) = self.slots.remove(&key) else { return };
        self.names.remove(&slot.unit.id);
        self.context.store.drop_unit(slot.owner.unit).forget();
        self.settle();
    }
}

impl Object {
    /// It was written.
    fn written(&mut self, row: &Row, version: u64, health: Judgement, now: u64) {
        self.held = Some(Held { digest: row.digest, fields: row.fields, adopted: row.adopted });
        self.work = Work::None;
        self.drifted = false;
        self.refused = None;
        self.differs = None;
        if version >= self.version {
            self.version = version;
            self.judge(health, now);
        }
        // Somebody may have changed it again right after us.
        if let Some((late, fields)) = self.late.take()
            && late > version
            && fields != row.fields
        {
            self.work = Work::Write;
            self.drifted = true;
        }
    }

    /// Counts a repair; after some in a row the next ones wait.
    fn note_repair(&mut self, seed: &str) {
        let now = Instant::now();
        let fight = self.fight.get_or_insert_with(|| {
            Box::new(Fight { repairs: 0, last: now, not_before: now, rival: String::new() })
        });
        if now.duration_since(fight.last) > FIGHT_WINDOW {
            fight.repairs = 0;
        }
        fight.repairs += 1;
        fight.last = now;
        fight.not_before = match fight.repairs.checked_sub(REPAIRS_AT_ONCE) {
            Some(over) => now + backoff::delay(CALM_BASE, CALM_CAP, over, seed),
            None => now,
        };
    }
}

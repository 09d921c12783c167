//! What workers tell.

use protocol::id::Digest;
use protocol::plan::DriftMode;
use protocol::report::{ObjectHealth, UnitState};
use tokio::time::Instant;

use super::Engine;
use super::slot::{Held, Object, Slot, Work};
use crate::health::Judgement;
use crate::object::ObjectId;
use crate::store::Row;
use crate::worker::{End, Event, News, Outcome};

impl Engine {
    /// Takes in what a worker tells. What a worker did that was called off is done all the same; only its
    /// opinion counts no more.
    pub(super) fn hear(&mut self, news: News) {
        let News { slot: key, run, event } = news;
        if let Event::Mounts { index, used, kinds } = event {
            let current = |slot: &Slot| {
                slot.running.as_ref().is_some_and(|running| running.run == run && !running.stale)
            };
            if self.slots.get(&key).is_some_and(current) {
                self.mounts(key, index, used, &kinds);
            }
            return;
        }
        if let Event::Watch(resource) = event {
            self.watch(&resource);
            return;
        }
        if let Event::Unserved(kind) = event {
            self.seen_all(&kind, None);
            return;
        }
        if let Event::Causes(causes) = event {
            self.learn(key, causes);
            return;
        }
        let running = self.slots.get(&key).and_then(|slot| slot.running.as_ref());
        let Some(running) = running.filter(|running| running.run == run) else { return };
        let stale = running.stale;
        match event {
            Event::Watch(_) | Event::Mounts { .. } | Event::Causes(_) | Event::Unserved(_) => {}
            Event::Begun(rows) => self.begun(key, rows),
            Event::Outcomes(outcomes) => self.outcomes(key, outcomes, stale),
            Event::Pruned { ids, deleted } => self.pruned(key, &ids, deleted),
            Event::End(end) => self.ended(key, end),
        }
    }

    /// Objects are about to be touched for the first time.
    fn begun(&mut self, key: u32, rows: Vec<Row>) {
        if let Some(running) = self.slots.get_mut(&key).and_then(|slot| slot.running.as_mut()) {
            running.begun.extend(rows.iter().map(|row| row.id.clone()));
        }
        for row in rows {
            match self.index.get(&row.id).copied() {
                Some((owner, index)) => {
                    let Some(slot) = self.slots.get_mut(&owner) else { continue };
                    slot.noted |= owner == key;
                    let object = &mut slot.objects[index];
                    if object.held.is_none() {
                        object.held = Some(Held { digest: None, fields: None, adopted: row.adopted });
                    }
                }
                // Meanwhile nobody wants it any more.
                None => self.let_go(key, row),
            }
        }
    }

    /// An object of the inventory has to go with its unit.
    fn let_go(&mut self, key: u32, row: Row) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.gone.retain(|other| other.id != row.id);
        slot.gone.push(row);
    }

    fn outcomes(&mut self, key: u32, outcomes: Vec<(usize, Outcome)>, stale: bool) {
        let now = self.context.clock.now();
        let (mut rows, mut notices, mut tally) = (Vec::new(), Vec::new(), Tally::default());
        for (index, outcome) in outcomes {
            if let Outcome::Written { row, version, health } = outcome {
                tally.applied += 1;
                let (row, repaired) = self.written(key, *row, version, health, now);
                tally.repaired += u64::from(repaired);
                rows.push(row);
                let slot = self.slots.get(&key).filter(|_| repaired);
                notices.extend(slot.map(|slot| slot.repaired(index, now)));
            } else if !stale && let Some(slot) = self.slots.get_mut(&key) {
                tally.errors += u64::from(outcome.is_error());
                notices.extend(slot.refusal(index, &outcome, now));
                let (mode, digest) = (slot.unit.drift, slot.unit.objects[index].digest);
                slot.objects[index].unwritten(outcome, mode, digest, now);
            }
        }
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.repairs += tally.repaired;
            if stale {
                // What a workload used when it was written is not what it uses now.
                slot.look_at_mounts();
            }
        }
        let mut shown = self.view.lock();
        shown.metrics.applies_total += tally.applied;
        shown.metrics.apply_errors_total += tally.errors;
        shown.metrics.drift_repairs_total += tally.repaired;
        drop(shown);
        let stored = (!rows.is_empty()).then(|| self.context.store.put_rows(rows));
        self.events.tell(notices, stored);
    }

    /// An object was written by a unit. Returns what the inventory is to say, and whether a drift was repaired.
    fn written(&mut self, key: u32, row: Row, version: u64, health: Judgement, now: u64) -> (Row, bool) {
        let Some((owner, index)) = self.index.get(&row.id).copied() else {
            self.let_go(key, row.clone());
            return (row, false);
        };
        let Some(slot) = self.slots.get_mut(&owner) else { return (row, false) };
        let digest = slot.unit.objects[index].digest;
        let seed = slot.owner.unit.clone();
        let object = &mut slot.objects[index];
        if owner != key {
            // The unit that has it now must write it after this one, whatever it did before.
            object.work = Work::Write;
            object
                .held
                .get_or_insert(Held { digest: row.digest, fields: None, adopted: row.adopted })
                .fields = None;
            object.late = object.writing.then_some((u64::MAX, None));
            let unit = seed;
            return (Row { digest: None, fields: None, unit, ..row }, false);
        }
        let repaired = object.drifted;
        if repaired {
            object.fight().repaired(Instant::now(), &seed);
        }
        object.written(&row, version, health, digest, now);
        (row, repaired)
    }

    fn pruned(&mut self, key: u32, ids: &[ObjectId], deleted: u64) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.gone.retain(|row| !ids.contains(&row.id));
        self.view.lock().metrics.prunes_total += deleted;
    }

    fn ended(&mut self, key: u32, end: End) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let Some(running) = slot.running.take() else { return };
        for (object, entry) in slot.objects.iter_mut().zip(&slot.unit.objects) {
            if object.writing {
                object.write_over(object.version.saturating_sub(1), entry.digest);
            }
        }
        if running.stale {
            self.reclaim(key, &running.begun);
            if let End::Unreachable(text) = end {
                self.lost(&text);
            }
            return;
        }
        if running.records {
            self.recorded(key, end);
            return;
        }
        match end {
            End::Complete => {
                let now = Instant::now();
                // What is held back because of a fight has its own time.
                let failed = slot.objects.iter().any(|object| {
                    (object.work == Work::Write && !object.drifted && object.due().is_none_or(|at| at <= now))
                        || object.refused.is_some()
                });
                if slot.unit.is_dry_run() {
                    slot.prepared = true;
                    self.assess(key);
                    return;
                }
                if running.writes {
                    let pending = |object: &Object| {
                        object.work != Work::None && object.due().is_none_or(|at| at <= now)
                    };
                    slot.prepared = !failed && !slot.objects.iter().any(pending);
                    self.view.lock().metrics.last_apply = running.since.elapsed();
                } else {
                    slot.followed = true;
                }
                match failed {
                    true => Self::retry(slot),
                    false => slot.failures = 0,
                }
            }
            End::Again => {
                slot.asked = !running.writes;
                // Others may have waited for the same kinds; together they hear their first list.
                for key in self.slots.keys().copied().collect::<Vec<_>>() {
                    self.place(key);
                }
            }
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
            End::Tested { order, result } => self.tested(key, order, result),
            End::Removed if slot.gone.is_empty() => {
                self.removed(key);
                return;
            }
            // It had begun something in its last moment.
            End::Removed | End::Stopped => return,
        }
        self.assess(key);
    }

    /// What a worker that was called off had entered into the inventory belongs to whoever has it now.
    fn reclaim(&mut self, key: u32, begun: &[ObjectId]) {
        let others = begun.iter().filter_map(|id| self.index.get(id)).filter(|(owner, _)| *owner != key);
        let rows: Vec<Row> = others.filter_map(|(owner, index)| self.slots.get(owner)?.row(*index)).collect();
        if !rows.is_empty() {
            self.context.store.put_rows(rows).forget();
        }
    }

    /// A unit is off the cluster: told once, then forgotten.
    fn removed(&mut self, key: u32) {
        self.become_state(key, UnitState::Deleted, String::new());
        let Some(slot) = self.slots.remove(&key) else { return };
        self.names.remove(&slot.unit.id);
        let notice = slot.uninstalled(self.context.clock.now());
        let dropped = self.context.store.drop_unit(slot.owner.unit);
        self.events.tell(vec![notice], Some(dropped));
        self.unwatch();
        self.settle();
    }
}

/// Counts outcomes.
#[derive(Default)]
struct Tally {
    applied: u64,
    errors: u64,
    repaired: u64,
}

impl Object {
    /// It was written.
    fn written(&mut self, row: &Row, version: u64, health: Judgement, digest: Digest, now: u64) {
        self.held = Some(Held { digest: row.digest, fields: row.fields, adopted: row.adopted });
        self.refused = None;
        self.differs = None;
        if row.digest == Some(digest) {
            self.work = Work::None;
            self.drifted = false;
        }
        if version >= self.version {
            self.version = version;
            self.judge(health, now);
        }
        // Somebody may have changed it again right after us.
        self.write_over(version, digest);
    }

    /// It was not written, or only looked at.
    fn unwritten(&mut self, outcome: Outcome, mode: DriftMode, digest: Digest, now: u64) {
        match outcome {
            Outcome::Written { .. } => {}
            Outcome::Would(preview) => self.preview = Some(preview),
            Outcome::Refused(text) | Outcome::Foreign(text) => self.refused = Some(text),
            Outcome::Failed(message) => {
                self.judge(Judgement { health: ObjectHealth::InProgress, message }, now);
            }
            Outcome::Differs(text) if mode == DriftMode::Repair => {
                self.judge(
                    Judgement { health: ObjectHealth::InProgress, message: format!("drifted: {text}") },
                    now,
                );
                self.work = Work::Write;
                self.drifted = true;
                self.fight().changed(None, Instant::now());
            }
            Outcome::Differs(text) => {
                self.work = Work::None;
                self.differs = Some(format!("drifted: {text}"));
            }
            Outcome::Same { fields, version, health } => {
                self.work = Work::None;
                self.differs = None;
                if version >= self.version {
                    self.version = version;
                    self.judge(health, now);
                }
                if let Some(held) = self.held.as_mut() {
                    held.fields = fields;
                }
            }
        }
        self.write_over(self.version.saturating_sub(1), digest);
    }
}
